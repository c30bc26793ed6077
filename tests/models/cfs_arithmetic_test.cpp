#include <gtest/gtest.h>
#include <optional>
#include <stdexcept>
#include <string>

#include <vmxsys/models/schedulers/cfs_arithmetic.hpp>
#include <vmxsys/models/schedulers/cfs_tunables.hpp>

namespace vmxsys::models {
namespace {

constexpr nanoseconds us = 1'000;
constexpr nanoseconds ms = 1'000'000;

// --- tunables

struct tunables_case {
  const char* label;
  unsigned cpus;
  nanoseconds latency, min_granularity, wakeup_granularity;
};
class cfs_tunables_by_size : public testing::TestWithParam<tunables_case> {};

TEST_P(cfs_tunables_by_size, scale_with_the_logarithm_of_the_host) {
  const tunables_case& c = GetParam();
  for (const cfs_version version : {cfs_version::v3_4, cfs_version::v5_10, cfs_version::v6_1}) {
    const cfs_tunables t = cfs_tunables::of(version, c.cpus);
    EXPECT_EQ(t.latency, c.latency * us);
    EXPECT_EQ(t.min_granularity, c.min_granularity * us);
    EXPECT_EQ(t.wakeup_granularity, c.wakeup_granularity * us);
    EXPECT_EQ(t.nr_latency, t.latency / t.min_granularity);
  }
}
INSTANTIATE_TEST_SUITE_P(
    golden, cfs_tunables_by_size,
    testing::Values(tunables_case{"CFS_01_1", 1, 6000, 750, 1000}, tunables_case{"CFS_01_2", 2, 12000, 1500, 2000},
                    tunables_case{"CFS_01_4", 4, 18000, 2250, 3000}, tunables_case{"CFS_01_8", 8, 24000, 3000, 4000},
                    tunables_case{"CFS_01_64", 64, 24000, 3000, 4000}, tunables_case{"CFS_02_3", 3, 12000, 1500, 2000},
                    tunables_case{"CFS_02_5", 5, 18000, 2250, 3000}, tunables_case{"CFS_02_7", 7, 18000, 2250, 3000}),
    [](const auto& test) { return std::string(test.param.label); });

TEST(cfs_tunables, CFS_03_idle_granularity_is_not_scaled) {
  EXPECT_EQ(cfs_tunables::of(cfs_version::v6_1, 1).idle_min_granularity, 750 * us);
  EXPECT_EQ(cfs_tunables::of(cfs_version::v6_1, 64).idle_min_granularity, 750 * us);
}

// --- weights and scaling

TEST(cfs_weights, inverse_is_close_to_two_to_the_32_over_weight) {
  for (int nice = -20; nice <= 19; ++nice) {
    const double exact = 4294967296.0 / weight_of_nice(nice);
    EXPECT_NEAR(inverse_weight_of_nice(nice), exact, exact * 1e-4) << nice;
  }
  EXPECT_EQ(weight_of_nice(0), nice_0_weight);
  EXPECT_THROW(weight_of_nice(20), std::out_of_range);
  EXPECT_THROW(inverse_weight_of_nice(-21), std::out_of_range);
}

struct delta_case {
  const char* label;
  calc_delta_rule rule;
  nanoseconds delta;
  load_weight load;
  virtual_time expected;
};
class cfs_delta_fair : public testing::TestWithParam<delta_case> {};

TEST_P(cfs_delta_fair, is_the_kernels_integer) {
  const delta_case& c = GetParam();
  EXPECT_EQ(delta_fair(c.rule, c.delta, c.load), c.expected);
}
constexpr auto new_rule = calc_delta_rule::v6_1;
constexpr auto old_rule = calc_delta_rule::v3_4;
INSTANTIATE_TEST_SUITE_P(
    golden, cfs_delta_fair,
    testing::Values(delta_case{"CFS_04", new_rule, ms, load_weight::of_nice(0), 1'000'000},
                    delta_case{"CFS_05", new_rule, ms, load_weight::of_nice(1), 1'248'780},
                    delta_case{"CFS_06", new_rule, ms, load_weight::of_nice(5), 3'056'716},
                    delta_case{"CFS_07", new_rule, ms, load_weight::of_nice(-1), 801'879},
                    delta_case{"CFS_08", new_rule, ms, load_weight::of_nice(-20), 11'536},
                    delta_case{"CFS_09", new_rule, ms, load_weight::of_nice(19), 68'266'666},
                    delta_case{"CFS_10", new_rule, ms, load_weight::of_sum(new_rule, 2048), 499'999},
                    delta_case{"CFS_11_v6_1", new_rule, 4 * ms, load_weight::of_nice(5), 12'226'865},
                    delta_case{"CFS_11_v3_4", old_rule, 4 * ms, load_weight::of_nice(5), 12'226'866}),
    [](const auto& test) { return std::string(test.param.label); });

TEST(cfs_calc_delta, stays_close_to_the_exact_ratio_for_large_values) {
  for (const calc_delta_rule rule : {old_rule, new_rule})
    for (const std::uint64_t weight : {15ull, 1024ull, 88761ull, 1'000'000ull})
      for (const std::uint64_t sum : {1024ull, 100'000ull, 5'000'000ull}) {
        const std::uint64_t delta = 24 * ms;
        const double exact = static_cast<double>(delta) * static_cast<double>(weight) / static_cast<double>(sum);
        const auto scaled = static_cast<double>(calc_delta(rule, delta, weight, load_weight::of_sum(rule, sum)));
        EXPECT_NEAR(scaled, exact, exact * 2e-3 + 2) << weight << "/" << sum;
      }
}

TEST(cfs_calc_delta, inverse_of_extreme_sums) {
  EXPECT_EQ(computed_inverse(new_rule, 0), 4294967295u);
  EXPECT_EQ(computed_inverse(new_rule, 4294967295u), 1u);
  EXPECT_EQ(computed_inverse(old_rule, 1024), 4194304u);
  EXPECT_EQ(computed_inverse(new_rule, 1024), 4194303u);
}

// --- virtual time

TEST(virtual_time, compares_across_the_wrap) {
  const virtual_time before_wrap = 0 - virtual_time{5};
  EXPECT_TRUE(runs_before(before_wrap, 3));
  EXPECT_FALSE(runs_before(3, before_wrap));
  EXPECT_EQ(vruntime_lead(3, before_wrap), 8);
  EXPECT_EQ(later_vruntime(before_wrap, 3), 3u);
  EXPECT_EQ(earlier_vruntime(before_wrap, 3), before_wrap);
}

struct floor_case {
  const char* label;
  virtual_time old;
  std::optional<virtual_time> current, leftmost;
  virtual_time expected;
};
class cfs_min_vruntime : public testing::TestWithParam<floor_case> {};

TEST_P(cfs_min_vruntime, never_goes_back) {
  const floor_case& c = GetParam();
  EXPECT_EQ(next_min_vruntime(c.old, c.current, c.leftmost), c.expected);
}
INSTANTIATE_TEST_SUITE_P(golden, cfs_min_vruntime,
                         testing::Values(floor_case{"CFS_32", 50, 60, 55, 55}, floor_case{"CFS_33", 50, 60, 40, 50},
                                         floor_case{"CFS_34", 50, std::nullopt, 58, 58},
                                         floor_case{"CFS_35", 50, 70, std::nullopt, 70},
                                         floor_case{"empty_queue", 50, std::nullopt, std::nullopt, 50}),
                         [](const auto& test) { return std::string(test.param.label); });

}  // namespace
}  // namespace vmxsys::models
