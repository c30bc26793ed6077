#include <gtest/gtest.h>

#include <vmxsys/cpu/system_instruction.hpp>

#include "guest_apic_rig.hpp"

// Virtual interrupts at the boundaries of a guest.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;

constexpr std::uint64_t self_ipi_cost = 4 + 50 + 30, eoi_cost = 4 + 50 + 40, deliver_cost = 200, idt_cost = 200,
                        iret_cost = 80;

TEST(virtual_interrupts, of_a_self_ipi_come_right_behind_it_and_end_with_an_eoi_without_an_exit) {
  guest_apic_rig r;
  std::uint64_t before = 0, after = 0;
  r.run_guest([&]() -> program {
    co_await isa::compute(cycles{1000});
    before = r.now().count();
    co_await isa::wrmsr(apic::msr::self_ipi, 0x51);
    after = r.now().count();
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{40'000});
  EXPECT_TRUE(r.exits().empty());
  ASSERT_EQ(r.in_guest.size(), 1u);
  EXPECT_EQ(r.in_guest[0], (guest_apic_rig::seen{before + self_ipi_cost, 0x51}));
  EXPECT_EQ(after, before + self_ipi_cost + deliver_cost + idt_cost + eoi_cost + iret_cost);
  EXPECT_FALSE(r.page().in_service(0x51));
  EXPECT_EQ(r.page().vppr(), 0);
  const auto accesses = r.log.of<virtual_apic_access_fact>();
  ASSERT_EQ(accesses.size(), 2u);
  EXPECT_EQ(accesses[0]->offset, apic::vapic::self_ipi);
  EXPECT_EQ(accesses[0]->value, 0x51u);
  EXPECT_EQ(accesses[1]->offset, apic::vapic::eoi);
  r.hw.check_accounting();
}

}  // namespace
}  // namespace vmxsys::cpu::testing
