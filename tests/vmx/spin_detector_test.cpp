#include <gtest/gtest.h>
#include <ostream>
#include <string>
#include <vector>

#include <vmxsys/vmx/spin_detectors/catalogue.hpp>
#include <vmxsys/vmx/spin_detectors/pause_exiting.hpp>
#include <vmxsys/vmx/spin_detectors/pause_filter.hpp>
#include <vmxsys/vmx/spin_detectors/pause_loop_exiting.hpp>

#include "spin_detector_probe.hpp"

namespace vmxsys::vmx {

namespace {

using spin_testing::entered;
using spin_testing::exit_index;
using spin_testing::exits;
using spin_testing::made;
using spin_testing::pause_at;
using spin_testing::ple;

// ---- golden vectors ------------------------------------------------------------------------------------------------

struct step {
  std::uint64_t at;
  unsigned cpl = 0;
  bool entry = false;  // a VM entry instead of a PAUSE
};

std::vector<step> every(std::uint64_t period, std::uint64_t from, std::uint64_t to) {
  std::vector<step> steps;
  for (std::uint64_t t = from; t <= to; t += period) steps.push_back({t});
  return steps;
}

std::vector<step> operator+(std::vector<step> a, const std::vector<step>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

constexpr std::uint64_t never = 0;

struct vector {
  const char* label;
  const char* detector;
  std::uint64_t gap;
  std::uint64_t window;
  std::vector<step> steps;
  std::uint64_t exit_at;      // cycle; `never` (0) if no PAUSE exits
  std::uint64_t exit_number;  // PAUSEs since the first, 1-based; 0: not checked
  settings with = {};
};

void PrintTo(const vector& v, std::ostream* out) { *out << v.label; }

const vector golden[] = {
    {"PLE_01", "pause_loop_exiting", 128, 4096, every(50, 0, 10000), 4100, 83},
    {"PLE_02", "pause_loop_exiting", 128, 4096, every(128, 0, 10000), 4224, 34},
    {"PLE_03", "pause_loop_exiting", 128, 4096, every(129, 0, 1000000), never, 0},
    {"PLE_04", "pause_loop_exiting", 128, 4096, every(100, 0, 10000), 4100, 42},
    {"PLE_05", "pause_loop_exiting", 128, 8192, every(50, 0, 20000), 8200, 165},
    {"PLE_06", "pause_loop_exiting", 128, 0, every(50, 0, 1000), 50, 2},
    {"PLE_07", "pause_loop_exiting", 0, 4096, every(1, 0, 100000), never, 0},
    {"PLE_08", "pause_loop_exiting", 127, 4096, every(128, 0, 1000000), never, 0},
    {"PLE_09", "pause_loop_exiting", 128, 4096, every(50, 0, 4000) + every(50, 4129, 20000), 8229, 0},
    {"PLE_10", "pause_loop_exiting", 128, 4096, {{0}, {100, 3}, {140}}, never, 0},
    {"PLE_11", "pause_loop_exiting", 128, 4096,
     every(50, 0, 2000) + std::vector<step>{{2030, 0, true}} + every(50, 2060, 20000), 6160, 0},
    {"PLE_12", "pause_loop_exiting", 128, 4096, every(128, 0, 4096), never, 0},
    {"PLE_13", "pause_filter", 0, 5, every(10, 0, 1000), 50, 6},
    {"PLE_13_literal", "pause_filter", 0, 5, every(10, 0, 1000), 40, 5, {{"count_adjustment", -1}}},
    {"PLE_14",
     "pause_filter",
     128,
     5,
     {{0}, {10}, {20}, {30}, {200}, {210}, {220}, {230}, {240}, {250}, {260}, {270}},
     260,
     11},
    // Boundary pairs: the gap and the window hold at the limit and break one cycle later.
    {"gap_at_limit", "pause_loop_exiting", 128, 100, {{0}, {128}}, 128, 2},
    {"gap_past_limit", "pause_loop_exiting", 128, 100, {{0}, {129}}, never, 0},
    {"window_at_limit", "pause_loop_exiting", 128, 100, {{0}, {100}}, never, 0},
    {"window_past_limit", "pause_loop_exiting", 128, 100, {{0}, {101}}, 101, 2},
    {"filter_threshold_at_limit", "pause_filter", 100, 1, {{0}, {100}, {200}}, 200, 3},
    {"filter_threshold_past_limit", "pause_filter", 100, 1, {{0}, {100}, {201}}, never, 0},
    {"filter_count_0", "pause_filter", 100, 0, {{7}}, 7, 1},
    {"filter_any_cpl", "pause_filter", 0, 1, {{10, 3}, {20, 3}}, 20, 2},
    // A handler without PAUSE in the middle of a spin: longer than the gap it breaks the loop, shorter it does not.
    {"handler_500", "pause_loop_exiting", 128, 4096, every(50, 0, 2000) + every(50, 2500, 9000), 6600, 0},
    {"handler_100", "pause_loop_exiting", 128, 4096, every(50, 0, 2000) + every(50, 2100, 9000), 4100, 0},
    {"waiter_45", "pause_loop_exiting", 128, 4096, every(45, 300, 9000), 4440, 93},
};

class vmx_spin_golden : public testing::TestWithParam<vector> {};

TEST_P(vmx_spin_golden, exits_where_expected) {
  const vector& v = GetParam();
  const auto detector = made(v.detector, v.with);
  detector->on_entry(cycles{}, ple(v.gap, v.window));
  std::uint64_t number = 0;
  for (const step& s : v.steps) {
    if (s.entry) {
      detector->on_exit(cycles{s.at});
      detector->on_entry(cycles{s.at}, ple(v.gap, v.window));
      continue;
    }
    ++number;
    if (detector->on_pause(pause_at(s.at, s.cpl)) == spin_verdict::exit) {
      EXPECT_EQ(s.at, v.exit_at);
      EXPECT_TRUE(v.exit_number == 0 || number == v.exit_number) << number;
      return;
    }
  }
  EXPECT_EQ(v.exit_at, never);
}

INSTANTIATE_TEST_SUITE_P(vectors, vmx_spin_golden, testing::ValuesIn(golden),
                         [](const auto& test) { return std::string{test.param.label}; });

TEST(vmx_spin, ple_10_leaves_the_loop_start_at_140) {
  pause_loop_exiting detector;
  detector.on_entry(cycles{}, ple(128, 4096));
  detector.on_pause(pause_at(0));
  detector.on_pause(pause_at(100, 3));
  detector.on_pause(pause_at(140));
  EXPECT_EQ(detector.loop_start(), cycles{140});
}

TEST(vmx_spin, end_to_start_does_not_let_a_slow_pause_break_its_loop) {
  pause_loop_exiting start;
  pause_loop_exiting end{{true, 0}};
  start.on_entry(cycles{}, ple(128, 4096));
  end.on_entry(cycles{}, ple(128, 4096));
  EXPECT_EQ(start.predict(pause_at(0, 0, 140), cycles{150}).what, spin_prediction::kind::never);
  EXPECT_EQ(end.predict(pause_at(0, 0, 140), cycles{150}).what, spin_prediction::kind::at);
  EXPECT_EQ(end.predict(pause_at(0, 0, 140), cycles{150}).index, 4096u / 150 + 1);
}

// SDM Vol. 3C §28.1.3 in numbers: a loop with a PAUSE every P cycles exits floor(W / P) + 1 periods after its first.
TEST(vmx_spin, worked_numbers_of_the_closed_form) {
  struct row {
    std::uint64_t gap, window, period, elapsed;
  };
  constexpr std::uint64_t none = spin_testing::never;
  for (const row& r : {row{128, 4096, 128, 4224}, row{128, 4096, 100, 4100}, row{128, 4096, 129, none},
                       row{128, 4096, 40, 4120}, row{128, 4096, 45, 4140}, row{128, 0, 7, 7}, row{128, 0, 128, 128},
                       row{0, 4096, 1, none}, row{128, 0xFFFF'FFFF, 128, none}}) {
    const auto detector = entered("pause_loop_exiting", r.gap, r.window);
    const std::uint64_t index = exit_index(*detector, pause_at(300), r.period);
    EXPECT_EQ(index == none ? none : index * r.period, r.elapsed) << r.window << ' ' << r.period;
  }
  // The largest window is not infinite: 2^32 / 128 periods, and one cycle more than the window.
  const auto largest = entered("pause_loop_exiting", 128, 0xFFFF'FFFF);
  EXPECT_EQ(largest->predict(pause_at(0), cycles{128}).index, 0x200'0000u);
}

TEST(vmx_spin, after_the_exit_the_same_waiter_needs_the_same_time_again) {
  const auto detector = entered("pause_loop_exiting", 128, 4096);
  EXPECT_EQ(exit_index(*detector, pause_at(300), 45), 92u);
  detector->on_exit(cycles{4440});
  detector->on_entry(cycles{4500}, ple(128, 4096));
  EXPECT_EQ(exit_index(*detector, pause_at(4500), 45), 92u);
}

TEST(vmx_spin, a_host_tick_within_the_window_keeps_it_from_ever_firing) {
  for (const std::uint64_t tick : {3'000u, 4'095u, 4'142u, 4'200u}) {
    const auto detector = entered("pause_loop_exiting", 128, 4096);
    bool exited = false;
    std::uint64_t next_tick = tick;
    for (std::uint64_t t = 0; t < 100'000 && !exited; t += 45) {
      if (t >= next_tick) {
        detector->on_exit(cycles{t});
        detector->on_entry(cycles{t}, ple(128, 4096));
        next_tick += tick;
      }
      exited = exits(*detector, pause_at(t));
    }
    EXPECT_EQ(exited, tick > 4'096 + 45) << tick;
  }
}

TEST(vmx_spin, first_pause_after_an_entry_never_exits) {
  for (const char* name : {"pause_loop_exiting", "rip_matched", "pause_count_in_period", "progress", "backward_branch",
                           "lock_line", "overcommit_aware"}) {
    const auto detector = entered(name, 128, 0);
    for (std::uint64_t t = 0; t < 1'000; t += 10) {
      detector->on_entry(cycles{t}, ple(128, 0));
      EXPECT_FALSE(exits(*detector, spin_testing::poll_at(t))) << name;
    }
  }
}

TEST(vmx_spin, control_pause_exiting_beats_every_detector) {
  for (const spin_detector_entry* e : spin_detectors()) {
    const auto detector = made(e->name);
    EXPECT_FALSE(exits(*detector, pause_at(0))) << "nothing latched yet";
    detector->on_entry(cycles{}, {128, 4096, true, true});
    EXPECT_EQ(detector->predict(pause_at(1, 3), cycles{5}).index, 0u);
    EXPECT_TRUE(exits(*detector, pause_at(1, 3))) << e->name;
  }
  EXPECT_THROW(made("crystal_ball"), catalogue_error);
}

TEST(vmx_spin, without_the_two_controls_no_detector_exits) {
  for (const spin_detector_entry* e : spin_detectors()) {
    const auto detector = made(e->name);
    detector->on_entry(cycles{}, {128, 0, false, false, true});
    detector->on_work({cycles{1}, 0, 5'000, 0, 0});
    pause_event pause = spin_testing::poll_at(2);
    pause.truth.futile = true;
    for (pause.truth.episode = 1; pause.truth.episode < 50; ++pause.truth.episode)
      EXPECT_EQ(exit_index(*detector, pause, 1, 50), spin_testing::never) << e->name;
  }
}

TEST(vmx_spin, filter_saturates_its_16_bit_fields) {
  pause_filter detector;
  detector.on_entry(cycles{}, ple(1'000'000, 1'000'000));
  EXPECT_EQ(detector.remaining(), 0xFFFFu);
  detector.on_pause(pause_at(0));
  EXPECT_EQ(detector.predict(pause_at(65535), cycles{65536}).what, spin_prediction::kind::never);
  EXPECT_EQ(detector.predict(pause_at(65535), cycles{65535}).index, 65535u);
}

TEST(vmx_spin, filter_first_reloads) {
  for (const bool first_reloads : {false, true}) {
    const auto detector = entered("pause_filter", 128, 1, {{"first_reloads", first_reloads}});
    EXPECT_FALSE(exits(*detector, pause_at(10'000)));
    EXPECT_EQ(exits(*detector, pause_at(10'010)), !first_reloads);
  }
}

TEST(vmx_spin, filter_count_adjustment) {
  for (const int adjustment : {-1, 0, 1})
    EXPECT_EQ(exit_index(*entered("pause_filter", 0, 5, {{"count_adjustment", adjustment}}), pause_at(0), 10),
              5u + static_cast<unsigned>(adjustment));
}

}  // namespace
}  // namespace vmxsys::vmx
