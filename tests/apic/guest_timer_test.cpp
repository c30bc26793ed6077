#include <gtest/gtest.h>

#include <vmxsys/apic/virtualization/guest_timer.hpp>

#include "virtual_apic_bench.hpp"

namespace vmxsys::apic {
namespace {

using apic_testing::virtual_apic_bench;
using vmx::field;

struct timer_bench : virtual_apic_bench {
  std::uint64_t deadline = 0;

  timer_bench() {
    delivering();
    set(field::tertiary_processor_based_controls, vmx::tertiary::apic_timer_virtualization);
    v.write(field::virtual_timer_vector, 0xEC);
  }
  // The guest's clock: offset only, or 3/2 of the real one.
  void offset(std::uint64_t by) {
    set(field::primary_processor_based_controls, vmx::primary::use_tsc_offsetting);
    v.write(field::tsc_offset, by);
  }
  void scale_by_three_halves() {
    offset(v.read(field::tsc_offset));
    set(field::secondary_processor_based_controls, vmx::secondary::use_tsc_scaling);
    v.write(field::tsc_multiplier, std::uint64_t{3} << 47);
  }
  guest_timer_state write(std::uint64_t value, std::uint64_t tsc, vmx::rounding round = vmx::rounding::down) {
    return write_guest_deadline(v, deadline, value, tsc, round);
  }
};

TEST(guest_deadline, is_read_back_as_written) {
  timer_bench b;
  b.offset(1000);
  EXPECT_EQ(b.write(9000, 100), guest_timer_state::armed);
  EXPECT_EQ(read_guest_deadline(b.v), 9000u);
  EXPECT_EQ(b.deadline, 8000u);
}

TEST(guest_deadline, passes_at_the_guests_own_clock) {
  timer_bench b;
  b.offset(1000);
  // The guest reads 6000 now.
  EXPECT_EQ(b.write(5999, 5000), guest_timer_state::due);
  EXPECT_EQ(b.write(6000, 5000), guest_timer_state::due);
  EXPECT_TRUE(guest_timer_due(b.deadline, 5000));
  EXPECT_EQ(b.write(6001, 5000), guest_timer_state::armed);
  EXPECT_EQ(b.deadline, 5001u);
  EXPECT_FALSE(guest_timer_due(b.deadline, 5000));
  EXPECT_TRUE(guest_timer_due(b.deadline, 5001));
}

// A clock of half the speed reads one value twice: the register holds when it was written, not when the value came.
TEST(guest_deadline, that_is_reached_is_due_from_the_write_on) {
  timer_bench b;
  b.scale_by_three_halves();
  b.v.write(field::tsc_multiplier, std::uint64_t{1} << 47);
  ASSERT_EQ(vmx::guest_tsc(b.v, 1001), 500u);
  EXPECT_EQ(b.write(500, 1001), guest_timer_state::due);
  EXPECT_EQ(b.deadline, 1001u);
}

TEST(guest_deadline, zero_disarms) {
  timer_bench b;
  b.write(9000, 100);
  EXPECT_EQ(b.write(0, 200), guest_timer_state::disarmed);
  EXPECT_EQ(b.deadline, 0u);
  EXPECT_EQ(read_guest_deadline(b.v), 0u);
  EXPECT_FALSE(guest_timer_due(b.deadline, ~std::uint64_t{0}));
  EXPECT_EQ(next_guest_timer_event(b.deadline), cycles::never());
}

TEST(guest_deadline, a_fraction_is_dropped_or_rounded_up) {
  timer_bench b;
  b.scale_by_three_halves();
  // The guest reads 3/2 of the counter: 1000 comes between 666 and 667.
  EXPECT_EQ(b.write(1000, 0), guest_timer_state::armed);
  EXPECT_EQ(b.deadline, 666u);
  EXPECT_LT(vmx::guest_tsc(b.v, 666), 1000u);
  EXPECT_EQ(b.write(1000, 0, vmx::rounding::up), guest_timer_state::armed);
  EXPECT_EQ(b.deadline, 667u);
  EXPECT_GE(vmx::guest_tsc(b.v, 667), 1000u);
  EXPECT_EQ(next_guest_timer_event(b.deadline), cycles{667});
  // Exact: no difference.
  b.write(999, 0);
  EXPECT_EQ(b.deadline, 666u);
}

// The fraction dropped makes it due although the guest's clock has not quite reached it.
TEST(guest_deadline, can_be_due_by_a_dropped_fraction) {
  timer_bench b;
  b.scale_by_three_halves();
  EXPECT_EQ(b.write(1000, 666), guest_timer_state::due);
  EXPECT_EQ(b.write(1000, 666, vmx::rounding::up), guest_timer_state::armed);
  EXPECT_EQ(b.write(1000, 665), guest_timer_state::armed);
}

TEST(guest_deadline, that_passed_stays_pending_across_an_exit) {
  timer_bench b;
  EXPECT_EQ(b.write(10, 5000), guest_timer_state::due);
  EXPECT_EQ(b.deadline, 5000u);
  EXPECT_TRUE(guest_timer_due(b.deadline, 9000));
  // Not even at the start of time is it mistaken for a disarmed one.
  b.offset(100);
  EXPECT_EQ(b.write(10, 0), guest_timer_state::armed);
  EXPECT_EQ(b.deadline, 1u);
}

TEST(guest_timer_event, makes_the_vector_pending_and_disarms) {
  timer_bench b;
  b.write(9000, 100);
  guest_timer_event(b.a, b.deadline);
  EXPECT_EQ(b.deadline, 0u);
  EXPECT_EQ(read_guest_deadline(b.v), 0u);
  EXPECT_TRUE(b.page().requested(0xEC));
  EXPECT_EQ(b.state.rvi, 0xEC);
  EXPECT_TRUE(b.state.recognized);
}

// No exit: the tick that the preemption timer gives with exit 52 comes as a virtual interrupt.
TEST(guest_timer_event, is_delivered_without_an_exit) {
  timer_bench b;
  b.write(9000, 100);
  ASSERT_FALSE(guest_timer_due(b.deadline, 8999));
  ASSERT_TRUE(guest_timer_due(b.deadline, 9000));
  guest_timer_event(b.a, b.deadline);
  EXPECT_EQ(deliver(b.a), 0xEC);
  EXPECT_FALSE(eoi_virtualization(b.a).trap);
}

TEST(guest_timer_event, does_not_lower_rvi_and_heeds_priority) {
  timer_bench b;
  b.v.write(field::virtual_timer_vector, 0x31);
  b.page().write_32(vapic::ppr, 0x40);
  b.state.rvi = 0x45;
  guest_timer_event(b.a, b.deadline);
  EXPECT_EQ(b.state.rvi, 0x45);
  EXPECT_TRUE(b.page().requested(0x31));
  EXPECT_FALSE(b.state.recognized);
}

// The mode and the mask of the LVT entry in the virtual-APIC page play no part.
TEST(guest_timer_event, ignores_the_lvt_entry) {
  timer_bench b;
  b.page().write_32(vapic::lvt_timer, 0x10000 | 0x55);
  guest_timer_event(b.a, b.deadline);
  EXPECT_EQ(b.state.rvi, 0xEC);
}

}  // namespace
}  // namespace vmxsys::apic
