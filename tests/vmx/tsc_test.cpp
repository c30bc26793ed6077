#include <gtest/gtest.h>
#include <string>

#include <vmxsys/vmx/base/wide_arithmetic.hpp>
#include <vmxsys/vmx/events/tsc.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>

#include "random_numbers.hpp"

namespace vmxsys::vmx {
namespace {

constexpr std::uint64_t one = 1ull << 48;
constexpr std::uint64_t all_ones = ~std::uint64_t{0};

vmcs with(bool offsetting, bool scaling, std::uint64_t offset = 0, std::uint64_t multiplier = one) {
  vmcs v{4};
  v.write(field::primary_processor_based_controls,
          primary::activate_secondary_controls | (offsetting ? primary::use_tsc_offsetting : 0));
  v.write(field::secondary_processor_based_controls, scaling ? secondary::use_tsc_scaling : 0);
  v.write(field::tsc_offset, offset);
  v.write(field::tsc_multiplier, multiplier);
  return v;
}

TEST(guest_tsc, offset_and_multiplier) {
  const std::uint64_t offset = all_ones, multiplier = 3ull << 47;  // -1, 1.5
  EXPECT_EQ(guest_tsc(with(false, false, offset, multiplier), 1000), 1000u);
  EXPECT_EQ(guest_tsc(with(false, true, offset, multiplier), 1000), 1000u) << "scaling alone has no effect";
  EXPECT_EQ(guest_tsc(with(true, false, offset, multiplier), 1000), 999u);
  EXPECT_EQ(guest_tsc(with(true, true, offset, multiplier), 1000), 1499u);
  EXPECT_EQ(guest_tsc(with(true, true, offset, multiplier), 1ull << 62), (3ull << 61) - 1) << "a 128-bit product";
  vmcs inactive = with(true, true, offset, multiplier);
  inactive.write(field::primary_processor_based_controls, primary::use_tsc_offsetting);
  EXPECT_EQ(guest_tsc(inactive, 1000), 999u) << "secondary controls not activated";
}

TEST(guest_tsc, wraps) {
  EXPECT_EQ(guest_tsc(with(true, false, 10), all_ones - 10), all_ones);
  EXPECT_EQ(guest_tsc(with(true, false, 10), all_ones - 9), 0u);
  EXPECT_EQ(guest_tsc(with(true, true, 0, 2 * one), (1ull << 63) - 1), all_ones - 1);
  EXPECT_EQ(guest_tsc(with(true, true, 0, 2 * one), 1ull << 63), 0u);
}

TEST(host_tsc, is_the_way_back) {
  EXPECT_EQ(host_tsc(with(false, true, 5, 2 * one), 1000), 1000u);
  EXPECT_EQ(host_tsc(with(true, false, 5, 2 * one), 1000), 995u);
  EXPECT_EQ(host_tsc(with(true, false, 5), 4), all_ones) << "wraps";
  EXPECT_EQ(host_tsc(with(true, true, 5, 2 * one), 1005), 500u);
  EXPECT_EQ(host_tsc(with(true, true, 0, 2 * one), 1001), 500u);
  EXPECT_EQ(host_tsc(with(true, true, 0, 2 * one), 1001, rounding::up), 501u);
  EXPECT_EQ(host_tsc(with(true, true, 0, 2 * one), 1002, rounding::up), 501u);
}

TEST(host_tsc, beyond_64_bits_is_never) {
  const vmcs half = with(true, true, 0, one / 2);
  EXPECT_EQ(host_tsc(half, (1ull << 63) - 1), all_ones - 1);
  EXPECT_EQ(host_tsc(half, 1ull << 63), all_ones);
  EXPECT_EQ(host_tsc(half, all_ones, rounding::up), all_ones);
  EXPECT_EQ(host_tsc(with(true, true, 0, 0), 1), all_ones) << "the guest's clock stands";
  EXPECT_EQ(host_tsc(with(true, true, 7, 0), 7), 0u);
  EXPECT_EQ(host_tsc(with(true, true, 0, one + 1), all_ones, rounding::up), 0xFFFF'FFFF'FFFF'0000u);
}

// down: the guest reads no more than the value; up: it reads the value or more, and one cycle earlier it did not.
TEST(host_tsc, brackets_the_guests_time_on_random_clocks) {
  vmxsys::testing::random_numbers random{5};
  for (int n = 0; n < 100'000; ++n) {
    const vmcs v = with(true, true, random(), random() >> random.between(8, 24));
    const std::uint64_t offset = v.read(field::tsc_offset);
    const std::uint64_t at = random() >> random.between(10, 40);
    const std::uint64_t ahead = detail::scale(at, v.read(field::tsc_multiplier));
    if (v.read(field::tsc_multiplier) == 0 || ahead == 0) continue;
    const std::uint64_t guest = ahead + offset;
    const std::uint64_t down = host_tsc(v, guest), up = host_tsc(v, guest, rounding::up);
    ASSERT_LE(guest_tsc(v, down) - offset, ahead);
    ASSERT_GE(guest_tsc(v, up) - offset, ahead);
    ASSERT_LT(guest_tsc(v, up - 1) - offset, ahead);
    ASSERT_LE(up - down, 1u);
    ASSERT_LE(up, at);
  }
}

TEST(tsc_access, who_sees_whose_time) {
  const vmcs v = with(true, true, 7, 2 * one);
  EXPECT_EQ(tsc_seen(v, tsc_access::rdtsc, 100), 207u);
  EXPECT_EQ(tsc_seen(v, tsc_access::rdtscp, 100), 207u);
  EXPECT_EQ(tsc_seen(v, tsc_access::rdmsr_time_stamp_counter, 100), 207u);
  EXPECT_EQ(tsc_seen(v, tsc_access::user_wait_deadline, 100), 207u);
  EXPECT_EQ(tsc_seen(v, tsc_access::wrmsr_time_stamp_counter, 100), 100u);
  EXPECT_EQ(tsc_seen(v, tsc_access::rdmsr_tsc_deadline, 100), 100u);
  EXPECT_EQ(tsc_seen(v, tsc_access::wrmsr_tsc_deadline, 100), 100u);
  EXPECT_EQ(tsc_seen(v, tsc_access::vm_exit_msr_store, 100), 100u);
  EXPECT_EQ(tsc_seen(v, tsc_access::vmx_preemption_timer, 100), 100u);
  EXPECT_EQ(tsc_seen(v, tsc_access::apic_timer, 100), 100u);
  for (std::size_t i = 0; i < tsc_table.size(); ++i) {
    EXPECT_EQ(static_cast<std::size_t>(tsc_table[i].access), i);
    EXPECT_EQ(tsc_table[i].unless_apic_timer_virtualization, std::string{tsc_table[i].name}.find("6E0H") < 10);
  }
}

TEST(real_duration, divides_only_with_both_controls) {
  EXPECT_EQ(real_duration(with(true, true, 7, 2 * one), 1001), cycles{500});
  EXPECT_EQ(real_duration(with(true, false, 7, 2 * one), 1001), cycles{1001});
  EXPECT_EQ(real_duration(with(false, true, 7, 2 * one), 1001), cycles{1001});
}

TEST(wide_arithmetic, portable_forms_agree) {
  vmxsys::testing::random_numbers random{6};
  for (int n = 0; n < 100'000; ++n) {
    const std::uint64_t x = random() >> random.below(64), factor = random() >> random.below(64);
    ASSERT_EQ(detail::scale_portable(x, factor), detail::scale(x, factor));
    if (factor == 0) continue;
    const detail::wide_quotient a = detail::unscale_portable(x, factor), b = detail::unscale(x, factor);
    ASSERT_EQ(a.overflow, b.overflow) << x << ' ' << factor;
    ASSERT_EQ(a.value, b.value);
    ASSERT_EQ(a.remainder, b.remainder);
  }
  EXPECT_EQ(detail::scale_portable(all_ones, all_ones), 0xFFFF'FFFF'FFFE'0000u);
}

}  // namespace
}  // namespace vmxsys::vmx
