#include <gtest/gtest.h>

#include "storm_fixture.hpp"

namespace vmxsys::cpu::testing {
namespace {

TEST(stepped_equals_fast, a_spinning_guest_under_a_ten_line_vmm) {
  spin_rig fast{false};
  spin_rig stepped{true};
  for (std::uint64_t end = 1'000; end <= 1'000'000; end = end * 3 + 17) {
    fast.hw.run_until(cycles{end});
    stepped.hw.run_until(cycles{end});
    fast.hw.check_accounting();
    stepped.hw.check_accounting();
    ASSERT_EQ(fast.hash.value(), stepped.hash.value()) << "until cycle " << end;
  }
  EXPECT_GT(fast.hash.count(), 1000u);
  EXPECT_GT(stepped.hw.time().events(), 20 * fast.hw.time().events() / 4);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
