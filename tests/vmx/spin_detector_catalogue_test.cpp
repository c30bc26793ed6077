#include <gtest/gtest.h>

#include <vmxsys/vmx/spin_detectors/coin_flip.hpp>
#include <vmxsys/vmx/spin_detectors/dynamic_pause_exiting.hpp>
#include <vmxsys/vmx/spin_detectors/pause_count_in_period.hpp>
#include <vmxsys/vmx/spin_detectors/progress.hpp>

#include "spin_detector_probe.hpp"

// The detectors beside Intel's and AMD's: what each of them sees, at the cycle or the instruction where it matters.
namespace vmxsys::vmx {
namespace {

using spin_testing::entered;
using spin_testing::exit_index;
using spin_testing::exits;
using spin_testing::made;
using spin_testing::never;
using spin_testing::pause_at;
using spin_testing::ple;
using spin_testing::poll_at;

pause_event at_rip(pause_event pause, std::uint64_t rip) {
  pause.rip = rip;
  return pause;
}

// ---- rip_matched ---------------------------------------------------------------------------------------------------

TEST(vmx_rip_matched, exits_as_ple_where_the_address_stays) {
  EXPECT_EQ(exit_index(*entered("rip_matched", 128, 4096), pause_at(300), 45), 92u);
  EXPECT_EQ(exit_index(*entered("rip_matched", 128, 4096), pause_at(0), 128), 33u);
  EXPECT_EQ(exit_index(*entered("rip_matched", 128, 4096), pause_at(0), 129), never);
}

TEST(vmx_rip_matched, another_address_starts_a_loop) {
  const auto ple_itself = entered("pause_loop_exiting", 128, 100);
  const auto matched = entered("rip_matched", 128, 100);
  for (spin_detector* d : {ple_itself.get(), matched.get()}) {
    EXPECT_FALSE(exits(*d, at_rip(pause_at(0), 0x1000)));
    EXPECT_EQ(exits(*d, at_rip(pause_at(101), 0x2000)), d == ple_itself.get());
  }
  EXPECT_FALSE(exits(*matched, at_rip(pause_at(201), 0x2000)));
  EXPECT_TRUE(exits(*matched, at_rip(pause_at(202), 0x2000)));
}

TEST(vmx_rip_matched, two_pauses_in_one_loop_need_reach) {
  for (const std::uint64_t apart : {16u, 17u}) {
    const auto d = entered("rip_matched", 128, 100, {{"reach", 16}});
    EXPECT_FALSE(exits(*d, at_rip(pause_at(0), 0x1000 + apart)));
    EXPECT_FALSE(exits(*d, at_rip(pause_at(50), 0x1000)));
    EXPECT_EQ(exits(*d, at_rip(pause_at(101), 0x1000 + apart)), apart <= 16) << "in either direction";
  }
}

TEST(vmx_rip_matched, a_pause_in_user_mode_is_not_looked_at) {
  const auto d = entered("rip_matched", 128, 100);
  EXPECT_FALSE(exits(*d, pause_at(0)));
  EXPECT_FALSE(exits(*d, at_rip(pause_at(50, 3), 0x7000)));
  EXPECT_TRUE(exits(*d, pause_at(101)));
}

// ---- pause_count_in_period -----------------------------------------------------------------------------------------

TEST(vmx_pause_count, takes_count_and_period_from_the_two_fields) {
  const auto numbers = [](std::uint64_t gap, std::uint64_t window, pause_count_in_period_options options) {
    pause_count_in_period d{options};
    d.on_entry(cycles{}, ple(gap, window));
    return std::pair{d.count(), d.period().count()};
  };
  EXPECT_EQ(numbers(128, 4096, {}), std::pair(33ul, 4224ul));
  EXPECT_EQ(numbers(128, 0, {}), std::pair(1ul, 128ul));
  EXPECT_EQ(numbers(128, 4096, {10, 0, false}), std::pair(10ul, 1280ul));
  EXPECT_EQ(numbers(128, 4096, {0, 1024, false}), std::pair(8ul, 1024ul));
  EXPECT_EQ(numbers(128, 4096, {0, 100, false}), std::pair(1ul, 100ul));
  EXPECT_EQ(numbers(128, 4096, {3, 50, false}), std::pair(3ul, 50ul));
  EXPECT_EQ(numbers(0, 4096, {3, 50, false}), std::pair(3ul, 50ul));
}

TEST(vmx_pause_count, exits_the_loosest_loop_where_ple_does) {
  for (const std::uint64_t window : {0u, 127u, 128u, 4095u, 4096u})
    EXPECT_EQ(exit_index(*entered("pause_count_in_period", 128, window), pause_at(9), 128),
              exit_index(*entered("pause_loop_exiting", 128, window), pause_at(9), 128));
  EXPECT_EQ(exit_index(*entered("pause_count_in_period", 128, 4096), pause_at(9), 129), never);
  EXPECT_EQ(exit_index(*entered("pause_count_in_period", 128, 4096), pause_at(9), 64), 33u) << "a tighter one sooner";
  EXPECT_EQ(exit_index(*entered("pause_count_in_period", 0, 4096), pause_at(9), 1), never);
}

TEST(vmx_pause_count, count) {
  for (const int count : {1, 2, 7})
    EXPECT_EQ(exit_index(*entered("pause_count_in_period", 128, 4096, {{"count", count}}), pause_at(9), 100),
              static_cast<unsigned>(count));
}

TEST(vmx_pause_count, period) {
  // The fourth PAUSE, 300 after the first: in a period of 300 it is one too many, in one of 299 it starts the next.
  EXPECT_EQ(exit_index(*entered("pause_count_in_period", 1, 1, {{"count", 3}, {"period", 300}}), pause_at(9), 100), 3u);
  EXPECT_EQ(exit_index(*entered("pause_count_in_period", 1, 1, {{"count", 3}, {"period", 299}}), pause_at(9), 100),
            never);
}

TEST(vmx_pause_count, one_late_pause_is_forgiven) {
  const auto count = entered("pause_count_in_period", 128, 1280, {});
  const auto pause_loop = entered("pause_loop_exiting", 128, 1280);
  bool counted = false, looped = false;
  for (std::uint64_t t = 0; t <= 1'290; t += t == 500 ? 500 : 50) {
    counted = counted || exits(*count, pause_at(t));
    looped = looped || exits(*pause_loop, pause_at(t));
  }
  EXPECT_TRUE(counted);
  EXPECT_FALSE(looped);
}

TEST(vmx_pause_count, any_cpl) {
  for (const bool any : {false, true})
    EXPECT_EQ(exit_index(*entered("pause_count_in_period", 128, 1280, {{"any_cpl", any}}), pause_at(0, 3), 50),
              any ? 11 : never);
}

TEST(vmx_pause_count, an_entry_starts_afresh) {
  const auto d = entered("pause_count_in_period", 128, 4096, {{"count", 2}});
  EXPECT_FALSE(exits(*d, pause_at(0)));
  EXPECT_FALSE(exits(*d, pause_at(10)));
  d->on_entry(cycles{15}, ple(128, 4096));
  EXPECT_EQ(exit_index(*d, pause_at(20), 10), 2u);
}

// ---- dynamic_pause_exiting -----------------------------------------------------------------------------------------

const settings phases{{"enable_after", 10'000}, {"disable_after", 1'000}, {"with_ple", false}};

TEST(vmx_dynamic_pause_exiting, is_on_at_the_start_of_every_stretch) {
  const auto d = entered("dynamic_pause_exiting", 128, 4096, phases);
  for (const std::uint64_t t : {0u, 999u, 10'000u, 10'999u, 70'000u}) EXPECT_TRUE(exits(*d, pause_at(t, 3))) << t;
  for (const std::uint64_t t : {1'000u, 9'999u, 11'000u, 69'999u}) EXPECT_FALSE(exits(*d, pause_at(t, 3))) << t;
}

TEST(vmx_dynamic_pause_exiting, enable_after_and_disable_after) {
  EXPECT_EQ(exit_index(*entered("dynamic_pause_exiting", 128, 4096, phases), pause_at(1'000, 3), 10), 900u);
  const auto with = [](std::int64_t enable, std::int64_t disable) {
    return entered("dynamic_pause_exiting", 128, 4096,
                   {{"enable_after", enable}, {"disable_after", disable}, {"with_ple", false}});
  };
  EXPECT_EQ(exit_index(*with(9'999, 1'000), pause_at(1'000, 3), 1), 8'999u);
  EXPECT_EQ(exit_index(*with(10'000, 999), pause_at(999, 3), 1), 9'001u);
  EXPECT_EQ(exit_index(*with(10'000, 0), pause_at(0, 3), 100), never);
  EXPECT_EQ(exit_index(*with(10'000, 10'000), pause_at(9'999, 3), 1), 0u);
}

TEST(vmx_dynamic_pause_exiting, a_long_period_may_miss_the_phase) {
  // 4000 apart, on for the first 1000 of 10000: from 2000 the phases are 6000, 0. From 3000 they are 7000, 1000, 5000,
  // 9000, 3000, and again.
  EXPECT_EQ(exit_index(*entered("dynamic_pause_exiting", 128, 4096, phases), pause_at(2'000, 3), 4'000), 2u);
  EXPECT_EQ(exit_index(*entered("dynamic_pause_exiting", 128, 4096, phases), pause_at(3'000, 3), 4'000), never);
}

TEST(vmx_dynamic_pause_exiting, offset) {
  auto with = phases;
  with.push_back({"offset", 1'500});
  const auto d = entered("dynamic_pause_exiting", 128, 4096, with);
  EXPECT_FALSE(exits(*d, pause_at(0)));
  EXPECT_FALSE(exits(*d, pause_at(8'499)));
  EXPECT_TRUE(exits(*d, pause_at(8'500)));
}

TEST(vmx_dynamic_pause_exiting, entries_do_not_restart_the_phase) {
  const auto d = entered("dynamic_pause_exiting", 128, 4096, phases);
  d->on_exit(cycles{5'000});
  d->on_entry(cycles{5'500}, ple(128, 4096));
  EXPECT_EQ(exit_index(*d, pause_at(6'000), 10), 400u);
  // The same when nobody follows: it is on until cycle 10999.
  std::uint64_t exited = 0;
  for (std::uint64_t t = 10'000; t < 12'000; t += 10) {
    if (!exits(*d, pause_at(t))) continue;
    ++exited;
    d->on_exit(cycles{t});
    d->on_entry(cycles{t}, ple(128, 4096));
  }
  EXPECT_EQ(exited, 100u);
}

TEST(vmx_dynamic_pause_exiting, with_ple) {
  for (const bool with_ple : {false, true}) {
    const auto make = [&] {
      return entered("dynamic_pause_exiting", 128, 4096,
                     {{"enable_after", 10'000}, {"disable_after", 1'000}, {"with_ple", with_ple}});
    };
    EXPECT_EQ(exit_index(*make(), pause_at(1'000), 45), with_ple ? 92u : 200u);
    EXPECT_EQ(exit_index(*make(), pause_at(1'000, 3), 45), 200u);
    EXPECT_EQ(exit_index(*make(), pause_at(8'000), 45), 45u) << "the phase comes first";
    EXPECT_EQ(make()->state_bits(), with_ple ? 129u : 0u);
  }
}

// ---- progress ------------------------------------------------------------------------------------------------------

TEST(vmx_progress, window) {
  // Four instructions an iteration: 250 of them are 1000.
  EXPECT_EQ(exit_index(*entered("progress", 0, 0), poll_at(0), 45), 251u);
  EXPECT_EQ(exit_index(*entered("progress", 0, 0, {{"window", 999}}), poll_at(0), 45), 250u);
  EXPECT_EQ(exit_index(*entered("progress", 0, 0, {{"window", 1'003}}), poll_at(0), 45), 251u);
  EXPECT_EQ(exit_index(*entered("progress", 0, 0, {{"window", 1'004}}), poll_at(0), 45), 252u);
  EXPECT_EQ(exit_index(*entered("progress", 0, 400, {{"window", 0}}), poll_at(0), 45), 101u) << "ple_window";
}

TEST(vmx_progress, sees_slow_loops_and_user_mode) {
  pause_event pause = poll_at(0);
  pause.cpl = 3;
  EXPECT_EQ(exit_index(*entered("progress", 128, 4096), pause, 1'000'000), 251u);
}

TEST(vmx_progress, a_pause_outside_a_loop_is_one_instruction) {
  EXPECT_EQ(exit_index(*entered("progress", 0, 0), pause_at(0), 45), 1'001u);
}

TEST(vmx_progress, instructions_of_straight_line_code_count) {
  for (const std::uint64_t retired : {1'000u, 1'001u}) {
    const auto d = entered("progress", 0, 0);
    d->on_work({cycles{10}, 0, retired - 1, 0, 0});
    d->on_work({cycles{20}, 3, 1, 0, 5});
    EXPECT_EQ(exits(*d, pause_at(30)), retired == 1'001);
  }
}

TEST(vmx_progress, unique_stores_of_straight_line_code_are_progress) {
  const auto d = entered("progress", 0, 0);
  d->on_work({cycles{10}, 0, 5'000, 0, 0});
  d->on_work({cycles{20}, 0, 5'000, 1, 0});
  EXPECT_EQ(exit_index(*d, poll_at(30), 45), 251u);
}

TEST(vmx_progress, a_new_store_is_progress_and_an_old_one_is_not) {
  const auto after = [](physical_address address, std::uint64_t value) {
    const auto d = entered("progress", 0, 0);
    d->on_store({cycles{5}, 0x4000, 1, 0});
    d->on_work({cycles{10}, 0, 1'001, 0, 0});
    d->on_store({cycles{20}, address, value, 0});
    return exits(*d, pause_at(30));
  };
  EXPECT_TRUE(after(0x4000, 1));
  EXPECT_FALSE(after(0x4000, 2));
  EXPECT_FALSE(after(0x4008, 1));
}

TEST(vmx_progress, entries) {
  // A loop that stores so many different values in turn: the table holds all of them, or not one when it comes again.
  for (const std::uint64_t entries : {1u, 3u, 8u})
    for (const std::uint64_t different : {entries, entries + 1}) {
      const auto d = entered("progress", 0, 0, {{"entries", static_cast<std::int64_t>(entries)}});
      bool exited = false;
      for (std::uint64_t i = 0; i < 2'000 && !exited; ++i) {
        d->on_store({cycles{10 * i}, 0, i % different, 0});
        exited = exits(*d, pause_at(10 * i));
      }
      EXPECT_EQ(exited, different <= entries) << entries;
    }
}

TEST(vmx_progress, an_entry_forgets_everything) {
  const auto d = entered("progress", 0, 0);
  d->on_store({cycles{5}, 0x4000, 1, 0});
  d->on_work({cycles{10}, 0, 900, 0, 0});
  d->on_entry(cycles{20}, ple(0, 0));
  EXPECT_EQ(exit_index(*d, poll_at(30), 1), 251u);
  d->on_store({cycles{600}, 0x4000, 1, 0});
  EXPECT_FALSE(exits(*d, poll_at(700))) << "new again";
}

TEST(vmx_progress, state_bits) {
  EXPECT_EQ(progress{}.state_bits(), 8 * 117 + 3 + 10u);
  EXPECT_EQ((progress{{0, 1}}.state_bits()), 117 + 0 + 32u);
}

// ---- backward_branch -----------------------------------------------------------------------------------------------

TEST(vmx_backward_branch, iterations) {
  for (const int n : {1, 2, 7})
    EXPECT_EQ(
        exit_index(*entered("backward_branch", 0, 4096, {{"iterations", n}, {"obeys_window", false}}), poll_at(0), 5),
        static_cast<unsigned>(n));
  // The window is long over; the iterations are not.
  EXPECT_EQ(exit_index(*entered("backward_branch", 0, 10, {{"iterations", 7}}), poll_at(0), 100), 7u);
}

TEST(vmx_backward_branch, obeys_window) {
  EXPECT_EQ(exit_index(*entered("backward_branch", 0, 99), poll_at(0), 25), 4u);
  EXPECT_EQ(exit_index(*entered("backward_branch", 0, 100), poll_at(0), 25), 5u);
  EXPECT_EQ(exit_index(*entered("backward_branch", 0, 100, {{"obeys_window", false}}), poll_at(0), 25), 2u);
}

TEST(vmx_backward_branch, sees_slow_loops_and_user_mode) {
  pause_event pause = poll_at(0);
  pause.cpl = 3;
  EXPECT_EQ(exit_index(*entered("backward_branch", 128, 4096), pause, 5'000), 2u);
}

TEST(vmx_backward_branch, what_breaks_the_row) {
  const auto third_exits = [](const auto& between, pause_event third) {
    const auto d = entered("backward_branch", 0, 0, {{"iterations", 2}});
    EXPECT_FALSE(exits(*d, poll_at(0)));
    EXPECT_FALSE(exits(*d, poll_at(10)));
    between(*d);
    return exits(*d, third);
  };
  const auto nothing = [](spin_detector&) {};
  EXPECT_TRUE(third_exits(nothing, poll_at(20)));
  EXPECT_FALSE(third_exits(nothing, poll_at(20, 0x4000, 2))) << "another value";
  EXPECT_FALSE(third_exits(nothing, poll_at(20, 0x4008))) << "another word";
  pause_event branch = poll_at(20);
  branch.loop.branch += 2;
  EXPECT_FALSE(third_exits(nothing, branch)) << "another branch";
  EXPECT_FALSE(third_exits([](spin_detector& d) { d.on_store({cycles{15}, 0x9000, 0, 0}); }, poll_at(20)));
  EXPECT_FALSE(third_exits([](spin_detector& d) { d.on_work({cycles{15}, 0, 1, 0, 0}); }, poll_at(20)));
  EXPECT_FALSE(third_exits([](spin_detector& d) { d.on_pause(pause_at(15)); }, poll_at(20)));
  EXPECT_FALSE(third_exits([](spin_detector& d) { d.on_entry(cycles{15}, ple(0, 0)); }, poll_at(20)));
  pause_event missed = poll_at(20);
  missed.loop.line_changed = true;
  EXPECT_TRUE(third_exits(nothing, missed)) << "the line came back with the same value";
}

TEST(vmx_backward_branch, state_bits) {
  EXPECT_EQ(made("backward_branch")->state_bits(), 64 + 17 * 64 + 2 + 64 + 1u);
  EXPECT_EQ(made("backward_branch", {{"iterations", 4}, {"obeys_window", false}})->state_bits(), 64 + 17 * 64 + 3 + 1u);
}

// ---- lock_line -----------------------------------------------------------------------------------------------------

TEST(vmx_lock_line, window) {
  for (const std::uint64_t second : {100u, 101u}) {
    const auto d = entered("lock_line", 0, 100);
    EXPECT_FALSE(exits(*d, poll_at(0)));
    EXPECT_EQ(exits(*d, poll_at(second)), second == 101);
  }
}

TEST(vmx_lock_line, a_poll_that_missed_starts_afresh) {
  const auto d = entered("lock_line", 128, 4096);
  EXPECT_EQ(d->predict(poll_at(0), cycles{45}).index, 92u);
  for (std::uint64_t t = 0; t <= 4'000; t += 40) EXPECT_FALSE(exits(*d, poll_at(t)));
  pause_event missed = poll_at(4'100);
  missed.loop.line_changed = true;
  EXPECT_EQ(exit_index(*d, missed, 45), 92u);
}

TEST(vmx_lock_line, knows_lines_of_64_bytes) {
  const auto second_exits = [](physical_address word) {
    const auto d = entered("lock_line", 0, 100);
    EXPECT_FALSE(exits(*d, poll_at(0, 0x4000)));
    return exits(*d, poll_at(101, word));
  };
  EXPECT_TRUE(second_exits(0x403F));
  EXPECT_FALSE(second_exits(0x4040));
  EXPECT_FALSE(second_exits(0x3FF8));
  const auto d = entered("lock_line", 0, 100);
  EXPECT_FALSE(exits(*d, poll_at(0)));
  EXPECT_FALSE(exits(*d, pause_at(101))) << "outside a loop";
  EXPECT_TRUE(exits(*d, poll_at(102))) << "which it does not see";
}

TEST(vmx_lock_line, own_store_restarts) {
  for (const bool restarts : {false, true})
    for (const physical_address address : {0x4038u, 0x4040u}) {
      const auto d = entered("lock_line", 0, 100, {{"own_store_restarts", restarts}});
      EXPECT_EQ(d->interests().stores, restarts);
      EXPECT_FALSE(exits(*d, poll_at(0)));
      d->on_store({cycles{50}, address, 0, 0});
      EXPECT_EQ(exits(*d, poll_at(101)), !(restarts && address == 0x4038));
    }
}

TEST(vmx_lock_line, obeys_gap) {
  for (const bool obeys : {false, true})
    for (const std::uint64_t period : {128u, 129u})
      EXPECT_EQ(exit_index(*entered("lock_line", 128, 4096, {{"obeys_gap", obeys}}), poll_at(0), period),
                obeys && period > 128 ? never : 4096 / period + 1);
}

TEST(vmx_lock_line, any_cpl) {
  pause_event pause = poll_at(0);
  pause.cpl = 3;
  for (const bool any : {false, true})
    EXPECT_EQ(exit_index(*entered("lock_line", 128, 4096, {{"any_cpl", any}}), pause, 45), any ? 92u : never);
}

TEST(vmx_lock_line, state_bits) {
  EXPECT_EQ(made("lock_line")->state_bits(), 46 + 64 + 1u);
  EXPECT_EQ(made("lock_line", {{"obeys_gap", true}})->state_bits(), 46 + 2 * 64 + 1u);
}

// ---- overcommit_aware ----------------------------------------------------------------------------------------------

TEST(vmx_overcommit_aware, acts_only_on_the_hint) {
  const auto d = made("overcommit_aware");
  for (const bool hint : {false, true, false}) {
    d->on_entry(cycles{}, {128, 4096, true, false, hint});
    EXPECT_EQ(exit_index(*d, pause_at(0), 45), hint ? 92u : never);
  }
  d->on_entry(cycles{}, {128, 4096, false, false, true});
  EXPECT_EQ(exit_index(*d, pause_at(0), 45), never);
}

// ---- the two controls ----------------------------------------------------------------------------------------------

TEST(vmx_oracle, exits_exactly_where_the_wait_is_futile) {
  const auto d = entered("oracle", 0, 0);
  EXPECT_TRUE(d->interests().truth);
  for (const unsigned cpl : {0u, 3u})
    for (const bool futile : {false, true}) {
      pause_event pause = poll_at(0);
      pause.cpl = cpl;
      pause.truth.futile = futile;
      EXPECT_EQ(exit_index(*d, pause, 45), futile ? 0u : never);
    }
  EXPECT_EQ(d->state_bits(), 0u);
}

pause_event of_episode(std::uint64_t episode, std::uint64_t t) {
  pause_event pause = poll_at(t);
  pause.truth.episode = episode;
  return pause;
}

TEST(vmx_coin_flip, probability) {
  for (const std::int64_t ppm : {0, 1'000, 500'000, 999'999, 1'000'000}) {
    const auto d = entered("coin_flip", 0, 0, {{"probability_ppm", ppm}});
    EXPECT_TRUE(d->interests().truth);
    constexpr int waits = 100'000;
    int exited = 0;
    for (int e = 1; e <= waits; ++e) exited += exits(*d, of_episode(static_cast<std::uint64_t>(e), 0)) ? 1 : 0;
    if (ppm == 0) EXPECT_EQ(exited, 0);
    if (ppm == 1'000'000) EXPECT_EQ(exited, waits);
    // Within five standard deviations, 158 being that of a fair coin.
    EXPECT_NEAR(exited, static_cast<double>(ppm) / 10, 5 * 158);
  }
}

TEST(vmx_coin_flip, flips_once_for_a_wait) {
  const auto d = entered("coin_flip", 0, 0, {{"probability_ppm", 1'000'000}});
  EXPECT_FALSE(exits(*d, of_episode(0, 0))) << "outside a loop";
  EXPECT_TRUE(exits(*d, of_episode(1, 10)));
  EXPECT_FALSE(exits(*d, of_episode(0, 15))) << "nor does it end the wait";
  EXPECT_EQ(exit_index(*d, of_episode(1, 20), 45), never);
  d->on_exit(cycles{2'000'000});
  d->on_entry(cycles{2'000'000}, ple(0, 0));
  EXPECT_EQ(exit_index(*d, of_episode(1, 2'000'000), 45), never) << "the PAUSE that exited gets through";
  EXPECT_TRUE(exits(*d, of_episode(2, 4'000'000)));
}

TEST(vmx_coin_flip, seed) {
  const coin_flip one{{500'000, 1}}, same{{500'000, 1}}, other{{500'000, 2}};
  int equal = 0;
  for (std::uint64_t e = 1; e <= 10'000; ++e) {
    EXPECT_EQ(one.heads(e), same.heads(e));
    equal += one.heads(e) == other.heads(e) ? 1 : 0;
  }
  EXPECT_NEAR(equal, 5'000, 5 * 50) << "two seeds know nothing of each other";
}

}  // namespace
}  // namespace vmxsys::vmx
