#include <gtest/gtest.h>
#include <random>

#include <vmxsys/cpu/systemc/sc_cycle_clock.hpp>

namespace vmxsys::cpu {
namespace {

using resolution = cycle_clock::resolution;
constexpr resolution resolutions[] = {{1, 1'000'000'000'000'000},
                                      {1, 1'000'000'000'000},
                                      {1, 100'000'000'000},
                                      {1, 1'000'000'000},
                                      {1, 1'000'000},
                                      {1, 1'000},
                                      {1, 1},
                                      {10, 1}};
constexpr std::uint64_t frequencies[] = {1, 999, 1'193'182, 2'000'000, 2'594'112, 2'600'000, 3'333'333, 5'800'001};

// What every clock must satisfy around cycle c.
void check(const cycle_clock& clock, std::uint64_t c) {
  const std::uint64_t t = clock.ticks_of(cycles{c});
  ASSERT_GE(clock.cycle_of_ticks(t).count(), c);  // at its time it has begun,
  if (t > 0) {
    ASSERT_LT(clock.cycle_of_ticks(t - 1).count(), c);  // one tick before it has not,
  }
  ASSERT_LE(clock.ticks_of(clock.cycle_of_ticks(t)), t);  // and what has begun at t has its time by t
  ASSERT_EQ(clock.first_from(sc_core::sc_time::from_value(t)),
            cycles{t == 0 ? 0 : clock.cycle_of_ticks(t - 1).count() + 1});
}

TEST(sc_cycle_clock, boundary_pairs_for_awkward_frequencies_and_resolutions) {
  std::mt19937_64 random{1};
  for (const resolution& r : resolutions)
    for (std::uint64_t khz : frequencies) {
      const cycle_clock clock{khz, r};
      for (std::uint64_t c = 0; c < 300; ++c) check(clock, c);
      for (int i = 0; i < 300; ++i) {
        const std::uint64_t c = random() >> (24 + random() % 30);
        if (clock.ticks_of(cycles{c}) == ~std::uint64_t{0}) continue;
        check(clock, c);
        if (::testing::Test::HasFatalFailure())
          FAIL() << khz << " kHz, tick " << r.seconds << "/" << r.parts << ", " << c;
      }
    }
}

TEST(sc_cycle_clock, round_trip_where_a_cycle_is_at_least_a_tick) {
  for (std::uint64_t khz : frequencies) {
    const cycle_clock clock{khz, {1, 1'000'000'000'000}};
    for (std::uint64_t c : {0ull, 1ull, 2ull, 1'000'003ull, 16'000'000'007ull}) {
      if (khz == 1 && c > 10'000'000) continue;  // beyond what the kernel counts
      EXPECT_EQ(clock.cycle_of_ticks(clock.ticks_of(cycles{c})), cycles{c}) << khz;
    }
  }
}

TEST(sc_cycle_clock, no_drift_over_ten_to_the_twelve_cycles) {
  const cycle_clock clock{2'600'000, {1, 1'000'000'000'000}};
  EXPECT_EQ(clock.ticks_of(cycles{2'600'000'000}), 1'000'000'000'000u);  // one second, not 1001 ms
  EXPECT_EQ(clock.ticks_of(cycles{1'300'000'000'000}), 500'000'000'000'000u);
  EXPECT_EQ(clock.cycle_of_ticks(500'000'000'000'000 - 1), cycles{1'299'999'999'999});
}

TEST(sc_cycle_clock, beyond_the_kernels_time) {
  const cycle_clock clock{1, {1, 1'000'000'000'000'000}};  // 10^12 ticks a cycle
  EXPECT_EQ(clock.ticks_of(cycles{18'446'744}), 18'446'744'000'000'000'000u);
  EXPECT_EQ(clock.ticks_of(cycles{18'446'745}), ~std::uint64_t{0});
  EXPECT_EQ(clock.ticks_of(cycles::never()), ~std::uint64_t{0});
}

TEST(sc_cycle_clock, rounding) {
  EXPECT_DOUBLE_EQ((cycle_clock{2'000'000, {1, 1'000'000'000'000}}.rounding_ppm()), 0);
  EXPECT_NEAR((cycle_clock{2'600'000, {1, 1'000'000'000'000}}.rounding_ppm()), 2600.0 * 12 / 13, 1e-6);
  EXPECT_THROW((cycle_clock{0, {1, 1000}}), std::invalid_argument);
}

TEST(sc_cycle_clock, takes_the_resolution_of_the_kernel) {
  sc_core::sc_set_time_resolution(10, sc_core::SC_PS);
  const cycle_clock clock = cycle_clock::of_kernel(2'600'000);
  EXPECT_EQ(clock.time_of(cycles{2'600}), sc_core::sc_time(1, sc_core::SC_US));
  EXPECT_EQ(clock.time_of(cycles{1}), sc_core::sc_time(390, sc_core::SC_PS));
  EXPECT_EQ(clock.cycle_of(sc_core::sc_time(390, sc_core::SC_PS)), cycles{1});
  EXPECT_EQ(clock.cycle_of(sc_core::sc_time(380, sc_core::SC_PS)), cycles{0});
}

}  // namespace
}  // namespace vmxsys::cpu
