#include <gtest/gtest.h>

#include <vmxsys/vmx/spin_detectors/pause_loop_exiting.hpp>

#include "spin_detector_probe.hpp"

// What the manual leaves open about PAUSE-loop exiting: every switch at the cycle where it matters.
namespace vmxsys::vmx {
namespace {

using spin_testing::entered;
using spin_testing::exit_index;
using spin_testing::exits;
using spin_testing::made;
using spin_testing::pause_at;
using spin_testing::ple;

constexpr std::uint64_t wrap = std::uint64_t{1} << 32;

TEST(vmx_ple_switches, exit_updates_last) {
  for (const bool updates : {false, true}) {
    const auto d = entered("pause_loop_exiting", 128, 100, {{"exit_updates_last", updates}});
    EXPECT_FALSE(exits(*d, pause_at(0)));
    EXPECT_FALSE(exits(*d, pause_at(100)));
    EXPECT_TRUE(exits(*d, pause_at(101)));
    // Nobody follows. 129 after the one that executed, 128 after the one that would have exited.
    EXPECT_EQ(exits(*d, pause_at(229)), updates);
  }
}

TEST(vmx_ple_switches, broken_by) {
  const char* const names[] = {"time_only", "user_mode", "any_work"};
  for (const int broken_by : {0, 1, 2}) {
    const settings with{{"broken_by", names[broken_by]}};
    const auto after = [&](const auto& what) {
      const auto d = entered("pause_loop_exiting", 128, 100, with);
      EXPECT_FALSE(exits(*d, pause_at(0)));
      what(*d);
      return exits(*d, pause_at(110));
    };
    EXPECT_EQ(after([](spin_detector& d) { d.on_pause(pause_at(50, 3)); }), broken_by < 1);
    EXPECT_EQ(after([](spin_detector& d) { d.on_work({cycles{50}, 3, 10, 0, 0}); }), broken_by < 1);
    EXPECT_EQ(after([](spin_detector& d) { d.on_work({cycles{50}, 0, 10, 0, 0}); }), broken_by < 2);
    EXPECT_EQ(made("pause_loop_exiting", with)->interests().work, broken_by != 0);
  }
}

TEST(vmx_ple_switches, counter_shift) {
  // Steps of 16: 143 looks like 128, 144 is more than that; 111 looks like 96, 112 is more than 100.
  const settings coarse{{"counter_shift", 4}};
  EXPECT_FALSE(exits(*entered("pause_loop_exiting", 128, 100, coarse), pause_at(0)));
  for (const std::uint64_t second : {111u, 112u, 143u, 144u}) {
    const auto d = entered("pause_loop_exiting", 128, 100, coarse);
    EXPECT_FALSE(exits(*d, pause_at(0)));
    EXPECT_EQ(exits(*d, pause_at(second)), second == 112 || second == 143) << second;
  }
  // A period between two steps: 130 is 128 or 144. From 0 the eighth distance is the first long one.
  EXPECT_EQ(exit_index(*entered("pause_loop_exiting", 128, 128 * 7 - 1, coarse), pause_at(0), 130), 7u);
  EXPECT_EQ(exit_index(*entered("pause_loop_exiting", 128, 128 * 7, coarse), pause_at(0), 130), spin_testing::never);
  EXPECT_EQ(exit_index(*entered("pause_loop_exiting", 128, 300, coarse), pause_at(0), 144), spin_testing::never);
  EXPECT_EQ(exit_index(*entered("pause_loop_exiting", 144, 300, coarse), pause_at(0), 144), 3u);
  // The coarsest: all within one step are at the same time.
  EXPECT_EQ(exit_index(*entered("pause_loop_exiting", 0, 0, {{"counter_shift", 16}}), pause_at(0), 64),
            spin_testing::never);
  EXPECT_EQ(exit_index(*entered("pause_loop_exiting", 65'536, 0, {{"counter_shift", 16}}), pause_at(0), 64), 1'024u);
}

TEST(vmx_ple_switches, elapsed_width_64) {
  const auto d = entered("pause_loop_exiting", 128, 100);
  EXPECT_FALSE(exits(*d, pause_at(0)));
  EXPECT_FALSE(exits(*d, pause_at(wrap + 101))) << "a new loop";
}

TEST(vmx_ple_switches, elapsed_width_32_wrapping) {
  const settings wrapping{{"elapsed_width", "bits_32_wrapping"}};
  for (const std::uint64_t after : {wrap + 100, wrap + 101, wrap + 128, wrap + 129}) {
    const auto d = entered("pause_loop_exiting", 128, 100, wrapping);
    EXPECT_FALSE(exits(*d, pause_at(0)));
    EXPECT_EQ(exits(*d, pause_at(after)), after == wrap + 101 || after == wrap + 128) << after;
  }
  // Of the longest window that can be exceeded only 2^32 - 1 is beyond; a period may step over it time after time.
  const auto longest = entered("pause_loop_exiting", 0xFFFF'FFFF, 0xFFFF'FFFE, wrapping);
  EXPECT_EQ(longest->predict(pause_at(0), cycles{3}).index, 0xFFFF'FFFFu / 3);
  EXPECT_EQ(longest->predict(pause_at(0), cycles{2}).what, spin_prediction::kind::never);
  EXPECT_EQ(entered("pause_loop_exiting", 0xFFFF'FFFF, 0xFFFF'FFFF, wrapping)->predict(pause_at(0), cycles{3}).what,
            spin_prediction::kind::never);
  // 5 * 858993458 is 2^32 - 6, the next 858993452 again: the window of 2^32 - 10 is passed in the first round, one of
  // 2^32 - 6 not there.
  constexpr std::uint64_t fifth = 858'993'458;
  EXPECT_EQ(exit_index(*entered("pause_loop_exiting", fifth, wrap - 7, wrapping), pause_at(0), fifth), 5u);
  EXPECT_GT(entered("pause_loop_exiting", fifth, wrap - 6, wrapping)->predict(pause_at(0), cycles{fifth}).index, 5u);
}

TEST(vmx_ple_switches, elapsed_width_32_saturating) {
  const settings saturating{{"elapsed_width", "bits_32_saturating"}};
  constexpr std::uint64_t quarter = std::uint64_t{1} << 30;
  EXPECT_EQ(exit_index(*entered("pause_loop_exiting", 0xFFFF'FFFF, 0xFFFF'FFFE, saturating), pause_at(0), quarter), 4u);
  EXPECT_EQ(exit_index(*entered("pause_loop_exiting", 0xFFFF'FFFF, 0xFFFF'FFFF, saturating), pause_at(0), quarter),
            spin_testing::never);
  EXPECT_EQ(exit_index(*entered("pause_loop_exiting", 0xFFFF'FFFF, 0xFFFF'FFFF), pause_at(0), quarter), 4u);
  const auto d = entered("pause_loop_exiting", 0xFFFF'FFFF, 0, saturating);
  EXPECT_FALSE(exits(*d, pause_at(0)));
  EXPECT_TRUE(exits(*d, pause_at(5 * quarter))) << "the gap cannot be exceeded";
}

TEST(vmx_ple_switches, kept_across_entries) {
  for (const bool kept : {false, true}) {
    const auto d = entered("pause_loop_exiting", 128, 100, {{"kept_across_entries", kept}});
    EXPECT_FALSE(exits(*d, pause_at(0)));
    d->on_exit(cycles{50});
    d->on_entry(cycles{60}, ple(128, 100));
    EXPECT_EQ(exits(*d, pause_at(101)), kept);
    // Its own exit forgets the loop even so, or the guest would never get past this PAUSE.
    d->on_exit(cycles{101});
    d->on_entry(cycles{102}, ple(128, 100));
    EXPECT_FALSE(exits(*d, pause_at(102)));
  }
}

TEST(vmx_ple_switches, stamp_at_end) {
  for (const bool at_end : {false, true}) {
    // Issued 100 apart; ended 101 apart.
    const auto window = entered("pause_loop_exiting", 128, 100, {{"stamp_at_end", at_end}});
    EXPECT_FALSE(exits(*window, pause_at(0, 0, 40)));
    EXPECT_EQ(exits(*window, pause_at(100, 0, 41)), at_end);
    // Issued 128 apart; ended 129 apart.
    const auto gap = entered("pause_loop_exiting", 128, 0, {{"stamp_at_end", at_end}});
    EXPECT_FALSE(exits(*gap, pause_at(0, 0, 40)));
    EXPECT_EQ(exits(*gap, pause_at(128, 0, 41)), !at_end);
  }
}

TEST(vmx_ple_switches, gap_end_to_start) {
  for (const bool end_to_start : {false, true}) {
    const auto within = entered("pause_loop_exiting", 128, 0, {{"gap_end_to_start", end_to_start}});
    EXPECT_FALSE(exits(*within, pause_at(0, 0, 140)));
    EXPECT_EQ(exits(*within, pause_at(268, 0, 140)), end_to_start);
    // Whatever the window is measured between.
    const auto at_end =
        entered("pause_loop_exiting", 128, 0, {{"gap_end_to_start", end_to_start}, {"stamp_at_end", true}});
    EXPECT_FALSE(exits(*at_end, pause_at(0, 0, 140)));
    EXPECT_EQ(exits(*at_end, pause_at(268, 0, 141)), end_to_start);
    const auto beyond = entered("pause_loop_exiting", 128, 0, {{"gap_end_to_start", end_to_start}});
    EXPECT_FALSE(exits(*beyond, pause_at(0, 0, 140)));
    EXPECT_FALSE(exits(*beyond, pause_at(269, 0, 140)));
  }
}

TEST(vmx_ple_switches, state_bits) {
  const auto bits = [](const settings& with) { return made("pause_loop_exiting", with)->state_bits(); };
  EXPECT_EQ(bits({}), 129u);
  EXPECT_EQ(bits({{"elapsed_width", "bits_32_wrapping"}}), 65u);
  EXPECT_EQ(bits({{"elapsed_width", "bits_32_saturating"}, {"counter_shift", 4}}), 57u);
}

}  // namespace
}  // namespace vmxsys::vmx
