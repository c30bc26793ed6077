#include <gtest/gtest.h>
#include <optional>
#include <string>

#include "machine_double.hpp"

namespace vmxsys::models {
namespace {

// --- how far to scan

struct scan_case {
  const char* label;
  unsigned llc_size;
  std::uint64_t sum_util;
  unsigned expected;
};
class sis_scan : public testing::TestWithParam<scan_case> {};

TEST_P(sis_scan, shrinks_with_utilisation) {
  EXPECT_EQ(nr_idle_scan(GetParam().sum_util, GetParam().llc_size), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(golden, sis_scan,
                         testing::Values(scan_case{"WK_01", 16, 0, 16}, scan_case{"WK_02", 16, 4096, 14},
                                         scan_case{"WK_03", 16, 8192, 10}, scan_case{"WK_04", 16, 12288, 3},
                                         scan_case{"WK_05", 16, 13926, 0}, scan_case{"WK_06", 16, 14745, 0},
                                         scan_case{"WK_07", 64, 32768, 42}),
                         [](const auto& test) { return std::string(test.param.label); });

// --- wide wakers

struct wide_case {
  const char* label;
  unsigned waker, wakee;
  bool expected;
};
class wide_wakers : public testing::TestWithParam<wide_case> {};

TEST_P(wide_wakers, are_told_by_their_flips) {
  EXPECT_EQ(wake_wide(GetParam().waker, GetParam().wakee, 8), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(golden, wide_wakers,
                         testing::Values(wide_case{"WK_08", 7, 8, false}, wide_case{"WK_09", 64, 8, true},
                                         wide_case{"WK_10", 63, 8, false}, wide_case{"WK_11", 200, 4, false},
                                         wide_case{"WK_12", 8, 64, true}),
                         [](const auto& test) { return std::string(test.param.label); });

TEST(wakee_flips, counts_changes_and_halves_once_a_second) {
  wakee_flips flips;
  flips.record(1, 0);
  flips.record(1, 1);
  flips.record(2, 2);
  flips.record(1, 3);
  EXPECT_EQ(flips.count(), 3u);
  flips.record(1, 1'000'000'000);
  EXPECT_EQ(flips.count(), 3u) << "not more than a second";
  flips.record(1, 1'000'000'001);
  EXPECT_EQ(flips.count(), 1u);
  flips.record(2, 5'000'000'000);
  EXPECT_EQ(flips.count(), 1u) << "halved once, however long the pause, and one flip";
}

// --- pulling the wakee to the waker

constexpr unsigned this_cpu = 0;

TEST(wake_affine_idle, WK_13_both_idle_under_one_cache) {
  machine_double m(4, 4);
  m.running = {0, 0, 1, 1};
  EXPECT_EQ(wake_affine_idle(m, {this_cpu, 1}), 1u);
}

TEST(wake_affine_idle, WK_14_this_idle_under_one_cache) {
  machine_double m(4, 4);
  m.running = {0, 1, 1, 1};
  EXPECT_EQ(wake_affine_idle(m, {this_cpu, 1}), this_cpu);
}

TEST(wake_affine_idle, WK_15_sync_waker_is_alone) {
  machine_double m(4, 2);
  m.running = {1, 1, 0, 1};
  EXPECT_EQ(wake_affine_idle(m, {this_cpu, 2, true}), this_cpu);
  EXPECT_EQ(wake_affine_idle(m, {this_cpu, 2, false}), 2u);
}

TEST(wake_affine_idle, WK_16_previous_is_idle) {
  machine_double m(4, 2);
  m.running = {2, 1, 0, 1};
  EXPECT_EQ(wake_affine_idle(m, {this_cpu, 2, true}), 2u);
  m.running[2] = 1;
  EXPECT_EQ(wake_affine_idle(m, {this_cpu, 2, true}), std::nullopt);
}

struct weight_case {
  const char* label;
  std::uint64_t this_load, prev_load, task_load, current_load;
  bool sync;
  bool pulls;
};
class affine_weight : public testing::TestWithParam<weight_case> {};

TEST_P(affine_weight, compares_loads_after_the_move) {
  const weight_case& c = GetParam();
  machine_double m(2, 1);
  m.running = {2, 2};
  m.loads = {c.this_load, c.prev_load};
  const wake_query query{this_cpu, 1, c.sync, c.task_load, c.current_load};
  EXPECT_EQ(wake_affine_weight(m, query), c.pulls ? std::optional<unsigned>(this_cpu) : std::nullopt);
  EXPECT_EQ(wake_affine(m, query), c.pulls ? this_cpu : 1u);
}
INSTANTIATE_TEST_SUITE_P(golden, affine_weight,
                         testing::Values(weight_case{"WK_17", 1024, 2048, 512, 0, false, true},
                                         weight_case{"WK_18", 1536, 2048, 512, 0, false, false},
                                         weight_case{"WK_19", 1024, 1024, 0, 1024, true, true},
                                         weight_case{"WK_20", 2048, 3072, 512, 1024, true, true},
                                         weight_case{"WK_21", 512, 2048, 512, 1024, true, true},
                                         weight_case{"WK_22", 2048, 2048, 0, 0, false, true},
                                         weight_case{"WK_23", 2212, 2048, 0, 0, false, false}),
                         [](const auto& test) { return std::string(test.param.label); });

// --- looking for an idle CPU

TEST(idle_sibling, prefers_target_then_previous_then_recent) {
  machine_double m(8, 4);
  m.running = {0, 0, 0, 1, 0, 0, 0, 0};
  EXPECT_EQ(select_idle_sibling(m, {0, 1, 2}).cpu, 0u);
  m.running[0] = 1;
  EXPECT_EQ(select_idle_sibling(m, {0, 1, 2}).cpu, 1u);
  m.running[1] = 1;
  EXPECT_EQ(select_idle_sibling(m, {0, 1, 2}).cpu, 2u);
  EXPECT_EQ(select_idle_sibling(m, {0, 1, 2}).cpus_scanned, 0u);
  EXPECT_EQ(select_idle_sibling(m, {0, 1, 4}).cpu, 2u) << "a recent CPU under another cache is not looked at";
  EXPECT_EQ(select_idle_sibling(m, {0, 1, 4}).cpus_scanned, 2u);
}

TEST(idle_sibling, never_leaves_the_targets_cache) {
  machine_double m(8, 4);
  m.running = {1, 1, 1, 1, 0, 0, 0, 0};
  EXPECT_EQ(select_idle_sibling(m, {0, 5, 6}).cpu, 0u);
}

TEST(idle_sibling, a_per_cpu_kernel_thread_may_stack) {
  machine_double m(4, 4);
  EXPECT_EQ(select_idle_sibling(m, {0, 2, {}, 2}).cpu, 2u);
  m.running[2] = 2;
  EXPECT_EQ(select_idle_sibling(m, {0, 2, {}, 2}).cpu, 0u);
}

TEST(idle_sibling, scans_behind_the_target_up_to_the_limit) {
  machine_double m(8, 8);
  m.running[1] = 0;
  EXPECT_EQ(select_idle_sibling(m, {5, 5}).cpu, 1u);
  EXPECT_EQ(select_idle_sibling(m, {5, 5}).cpus_scanned, 4u);
  EXPECT_EQ(select_idle_sibling(m, {5, 5, {}, {}, 4}).cpu, 1u);
  EXPECT_EQ(select_idle_sibling(m, {5, 5, {}, {}, 3}).cpu, 5u);
  EXPECT_EQ(select_idle_sibling(m, {5, 5, {}, {}, 0}).cpus_scanned, 0u);
}

TEST(idle_sibling, respects_affinity) {
  machine_double m(4, 4);
  m.running = {1, 0, 0, 1};
  sched_entity task(1, 0);
  task.affinity = {true, false, true, true};
  const idle_choice choice = select_idle_sibling(m, {0, 0, {}, {}, ~0u, &task});
  EXPECT_EQ(choice.cpu, 2u);
  EXPECT_EQ(choice.cpus_scanned, 1u) << "CPUs it may not use cost no budget";
}

TEST(idle_sibling, hyper_threads) {
  machine_double m(8, 8, 2);
  m.running = {1, 0, 1, 1, 1, 0, 0, 0};
  EXPECT_EQ(select_idle_sibling(m, {2, 0}).cpu, 1u) << "no idle core known: the sibling of the previous CPU";
  m.hint = true;
  EXPECT_EQ(select_idle_sibling(m, {2, 0}).cpu, 6u) << "the whole idle core, though 5 comes first";
  m.running[6] = 1;
  const idle_choice wrong = select_idle_sibling(m, {2, 0});
  EXPECT_EQ(wrong.cpu, 5u) << "no idle core after all: the first idle thread on the way";
  EXPECT_TRUE(wrong.clear_idle_core_hint);
}

TEST(wakeup_placement, wide_wakers_stay_with_the_previous_cpu) {
  machine_double m(8, 4);
  m.running = {1, 1, 1, 0, 1, 1, 1, 0};
  const wake_query wake{0, 4, true};
  EXPECT_EQ(select_cpu_for_wakeup(m, wake, {}, 1, 1, 4).cpu, 3u) << "sync: near the waker";
  EXPECT_EQ(select_cpu_for_wakeup(m, wake, {}, 16, 4, 4).cpu, 7u) << "wide: near the previous CPU";
  sched_entity task(1, 0);
  task.affinity = {false, true, true, true, true, true, true, true};
  idle_query idle;
  idle.task = &task;
  EXPECT_EQ(select_cpu_for_wakeup(m, wake, idle, 1, 1, 4).cpu, 7u) << "may not run on the waker's CPU";
}

TEST(fork_placement, spreads_out) {
  machine_double m(8, 4, 2);
  m.running = {1, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(select_cpu_for_fork(m, 0), 2u) << "an idle core under the same cache";
  m.running = {1, 0, 1, 0, 0, 0, 1, 0};
  EXPECT_EQ(select_cpu_for_fork(m, 0), 4u) << "an idle core elsewhere before a sibling nearby";
  m.running = {3, 2, 2, 2, 2, 1, 2, 2};
  EXPECT_EQ(select_cpu_for_fork(m, 0), 5u);
  sched_entity task(1, 0);
  task.affinity = {false, true};
  EXPECT_EQ(select_cpu_for_fork(m, 0, &task), 1u);
}

// --- handing over

TEST(wakeup_routes, WK_24_another_cache) {
  machine_double m(4, 2);
  EXPECT_EQ(route_wakeup(m, 0, 2), wakeup_route::wake_list);
}
TEST(wakeup_routes, WK_25_an_idle_neighbour) {
  machine_double m(4, 2);
  m.running[1] = 0;
  EXPECT_EQ(route_wakeup(m, 0, 1), wakeup_route::wake_list);
}
TEST(wakeup_routes, WK_26_a_busy_neighbour) {
  machine_double m(4, 2);
  EXPECT_EQ(route_wakeup(m, 0, 1), wakeup_route::direct);
}
TEST(wakeup_routes, WK_27_the_wakers_own_cpu) {
  machine_double m(4, 2);
  EXPECT_EQ(route_wakeup(m, 1, 1), wakeup_route::local);
}

}  // namespace
}  // namespace vmxsys::models
