#include <algorithm>
#include <gtest/gtest.h>
#include <vector>

#include <vmxsys/models/kvm/timers/preemption_timer_load.hpp>
#include <vmxsys/models/kvm/timers/timer_advance.hpp>

// The arithmetic of the virtual local APIC timer against values worked out by hand from the kernel functions named.
namespace vmxsys::models {
namespace {

using advance = std::unique_ptr<timer_advance>;

advance adaptive(std::uint32_t ns = 1000, std::uint64_t khz = 2'000'000) {
  // Starts at `ns` and goes back to 1000: as if it had been adjusted before.
  advance a = timer_advances().select("adaptive").make(khz);
  while (a->nanoseconds() != ns) {
    const std::int64_t by = static_cast<std::int64_t>(ns) - static_cast<std::int64_t>(a->nanoseconds());
    a->adjust(std::clamp<std::int64_t>(by * 8 * static_cast<std::int64_t>(khz) / 1'000'000, -10'000, 10'000), khz);
  }
  return a;
}

advance fixed(std::uint32_t ns) {
  return timer_advances().select("fixed", {{"lead", duration::ns(ns)}}).make(std::uint64_t{2'000'000});
}

std::vector<std::uint32_t> advances(const advance& a, std::uint64_t khz, const std::vector<std::int64_t>& deltas) {
  std::vector<std::uint32_t> found;
  for (const std::int64_t d : deltas) {
    a->adjust(d, khz);
    found.push_back(a->nanoseconds());
  }
  return found;
}

using values = std::vector<std::uint32_t>;
const std::vector<std::int64_t> nine{3000, 2600, 2200, 1800, -500, -99, -8000, 12000, 9999};

// adjust_lapic_timer_advance, v5.10 to v7.2
TEST(timer_advance, follows_the_error_by_an_eighth) {
  EXPECT_EQ(advances(adaptive(), 2'000'000, nine), (values{1187, 1349, 1486, 1598, 1567, 1567, 1067, 1067, 1691}));
  EXPECT_EQ(advances(adaptive(1691), 2'000'000, std::vector<std::int64_t>(6, 9999)),
            (values{2315, 2939, 3563, 4187, 4811, 1000}));
  EXPECT_EQ(advances(adaptive(), 2'500'000, nine), (values{1150, 1280, 1390, 1480, 1455, 1455, 1055, 1055, 1554}));
}

TEST(timer_advance, ignores_fluctuations_and_spikes) {
  EXPECT_EQ(advances(adaptive(), 3'000'000, {100, -100, 99, -99, 10'000, -10'000, 10'001}),
            (values{1004, 1000, 1000, 1000, 1416, 1000, 1000}));
}

TEST(timer_advance, starts_anew_when_it_leaves_its_bounds) {
  EXPECT_EQ(advances(adaptive(1000), 1'000'000, {-9000}), values{1000}) << "1125 less would be below zero";
  EXPECT_EQ(advances(adaptive(5000), 2'000'000, {100}), values{1000}) << "5006";
  EXPECT_EQ(advances(adaptive(4994), 2'000'000, {100}), values{5000}) << "the bound itself is kept";
}

TEST(timer_advance, that_has_become_zero_is_never_waited_for_nor_adjusted_again) {
  const advance a = adaptive(500);
  a->adjust(-8000, 2'000'000);
  EXPECT_EQ(a->nanoseconds(), 0u);
  a->expired(cycles{1});
  EXPECT_FALSE(a->awaited());
}

TEST(timer_advance, a_fixed_one_stays) {
  const advance a = fixed(2000);
  for (const std::int64_t d : nine) a->adjust(d, 2'000'000);
  EXPECT_EQ(a->nanoseconds(), 2000u);
}

TEST(timer_advance, an_adaptive_one_is_as_its_options_say) {
  const advance a = timer_advances()
                        .select("adaptive", {{"initial", duration::ns(700)},
                                             {"most", duration::ns(900)},
                                             {"least_delta", 10},
                                             {"most_delta", 1000},
                                             {"step", 2}})
                        .make(std::uint64_t{2'000'000});
  EXPECT_EQ(advances(a, 2'000'000, {9, 10, 1001, 788, 4}), (values{700, 702, 702, 899, 899}));
  EXPECT_EQ(advances(a, 2'000'000, {10}), values{700}) << "901";
}

TEST(timer_advance, off_is_none) { EXPECT_EQ(timer_advances().select().make(std::uint64_t{2'000'000}), nullptr); }

// __wait_lapic_expire
TEST(timer_advance, waits_for_the_deadline_but_no_longer_than_it_expires_early) {
  const advance a = fixed(1187);
  a->expired(cycles{103'000});
  ASSERT_EQ(a->awaited(), cycles{103'000});
  EXPECT_EQ(a->settle(cycles{100'000}, 2'000'000), cycles{2374});
  EXPECT_FALSE(a->awaited()) << "once";
  a->expired(cycles{101'000});
  EXPECT_EQ(a->settle(cycles{100'000}, 2'000'000), cycles{1000});
  a->expired(cycles{100'000});
  EXPECT_EQ(a->settle(cycles{100'000}, 2'000'000), cycles{0});
  a->expired(cycles{99'000});
  EXPECT_EQ(a->settle(cycles{100'000}, 2'000'000), cycles{0});
}

// vmx_set_hv_timer: advance 2000 cycles, a tick is 32 cycles
TEST(preemption_timer_load, a_deadline_becomes_one_of_the_host) {
  const auto set = [](std::uint64_t deadline) {
    return set_preemption_deadline(deadline, 1'000'000, 5'000'000, 2000, 5);
  };
  EXPECT_EQ(set(1'010'000)->tsc, 5'008'000u);
  EXPECT_FALSE(set(1'010'000)->expired);
  for (const std::uint64_t past : {1'002'000u, 900'000u}) {
    EXPECT_EQ(set(past)->tsc, 5'000'000u);
    EXPECT_TRUE(set(past)->expired);
  }
  EXPECT_FALSE(set(1'002'001)->expired);
  const std::uint64_t reach = std::uint64_t{1} << 37;
  EXPECT_FALSE(set(1'000'000 + 2000 + reach)) << "a software timer has to do";
  EXPECT_EQ(set(1'000'000 + 2000 + reach - 1)->tsc, 137'443'953'471u);
}

// vmx_update_hv_timer, handle_fastpath_preemption_timer
TEST(preemption_timer_load, is_what_is_left_in_ticks) {
  preemption_timer_load t;
  EXPECT_EQ(t.at_entry(5'008'000, 5'000'100, 5), 246u);
  EXPECT_EQ(t.at_entry(5'008'000, 5'008'000, 5), 0u);
  EXPECT_EQ(t.at_entry(5'008'000, 5'009'000, 5), 0u);
  EXPECT_EQ(t.at_entry(5'008'000, 5'000'100, 5, true), 0u) << "an immediate exit";
}

TEST(preemption_timer_load, without_a_deadline_is_written_once) {
  preemption_timer_load t;
  EXPECT_FALSE(t.soft_disabled());
  EXPECT_EQ(t.at_entry(std::nullopt, 1, 5), 0xffffffffu);
  EXPECT_TRUE(t.soft_disabled()) << "an exit by it would mean nothing";
  EXPECT_FALSE(t.at_entry(std::nullopt, 2, 5));
  EXPECT_EQ(t.at_entry(1000, 0, 5), 31u);
  EXPECT_FALSE(t.soft_disabled());
  EXPECT_EQ(t.at_entry(std::nullopt, 3, 5), 0xffffffffu);
  preemption_timer_load made{true};
  EXPECT_FALSE(made.at_entry(std::nullopt, 1, 5));
}

}  // namespace
}  // namespace vmxsys::models
