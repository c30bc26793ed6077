#include <gtest/gtest.h>

#include <vmxsys/vmx/spin_detectors/pause_loop_exiting.hpp>

namespace vmxsys {
namespace {

// The example of vmx/README.md, line by line; keep the two alike.
TEST(vmx_readme, example_says_what_it_says) {
  vmx::pause_loop_exiting detector;
  detector.on_entry(cycles{0}, {128, 4096, true, false});  // gap, window, PLE on, PAUSE exiting off
  const vmx::pause_event first{cycles{300}, cycles{40}, 0, 0x1000};
  const auto when = detector.predict(first, cycles{45});  // one PAUSE every 45 cycles
  ASSERT_EQ(when.what, vmx::spin_prediction::kind::at);
  EXPECT_EQ(when.index + 1, 93u);
}

}  // namespace
}  // namespace vmxsys
