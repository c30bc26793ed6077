#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/models/kvm/spin/ple_window.hpp>
#include <vmxsys/platform/observe/trace/trace_format.hpp>

// The tracepoint kvm_ple_window_update beside the window itself.
namespace vmxsys::models {
namespace {

TEST(ple_window_trace, WIN_18_WIN_19_exits_and_sched_ins) {
  ple_window window;
  std::vector<std::string> trace;
  const auto follow = [&](const ple_window_change& change) {
    trace.push_back(trace::ple_window(trace::trace_version::v6_1, 3, change.before, change.after, change.grew));
  };
  follow(window.on_pause_exit());
  follow(window.on_pause_exit());
  follow(window.on_sched_in());
  follow(window.on_pause_exit());
  EXPECT_EQ(trace,
            (std::vector<std::string>{"vcpu 3 old 4096 new 8192 (growed)", "vcpu 3 old 8192 new 16384 (growed)",
                                      "vcpu 3 old 16384 new 4096 (shrinked)", "vcpu 3 old 4096 new 8192 (growed)"}));
}

TEST(ple_window_trace, WIN_20_a_change_to_the_same_value) {
  ple_window window;
  const ple_window_change change = window.on_sched_in();
  EXPECT_FALSE(trace::ple_window_traced(trace::trace_version::v6_1, change.before, change.after));
  EXPECT_TRUE(trace::ple_window_traced(trace::trace_version::v4_19, change.before, change.after));
  EXPECT_EQ(trace::ple_window(trace::trace_version::v4_19, 3, change.before, change.after, change.grew),
            "vcpu 3: ple_window 4096 (shrink 4096)");
}

}  // namespace
}  // namespace vmxsys::models
