#include <gtest/gtest.h>

#include <vmxsys/cpu/system_instruction.hpp>

#include "guest_apic_rig.hpp"

// Posted-interrupt processing by a CPU that runs a guest: its steps, each at its cycle, and whatever can come between.
namespace vmxsys::cpu::testing {
namespace {

using apic::posting_step;
using vmx::exit_reason;

constexpr std::uint64_t acknowledge_cost = 120, clear_cost = 200, eoi_cost = 120, merge_cost = 260, raise_cost = 32,
                        evaluate_cost = 80, deliver_cost = 200, idt_cost = 200;
constexpr std::uint64_t posting_cost =
    acknowledge_cost + clear_cost + eoi_cost + merge_cost + raise_cost + evaluate_cost;
constexpr std::uint64_t wake_latency = 4600;

TEST(posting, brings_an_interrupt_into_a_computing_guest_without_an_exit) {
  guest_apic_rig r;
  r.run_guest([]() -> program { co_await rig::sleep(); });
  r.start();
  r.post_at(cycles{20'000}, 0x41);
  r.notify_at(cycles{20'100});
  r.hw.run_until(cycles{40'000});

  EXPECT_TRUE(r.exits().empty());
  ASSERT_EQ(r.in_guest.size(), 1u);
  EXPECT_EQ(r.in_guest[0], (guest_apic_rig::seen{20'100 + posting_cost, 0x41}));
  EXPECT_TRUE(r.in_host.empty());

  const auto steps = r.log.of<posting_step_fact>();
  ASSERT_EQ(steps.size(), 6u);
  const std::uint64_t ends[] = {0, acknowledge_cost + clear_cost, eoi_cost, merge_cost, raise_cost, evaluate_cost};
  const unsigned values[] = {guest_apic_rig::notification_vector, 1, 0, 0x41, 0x41, 1};
  std::uint64_t at = 20'100;
  for (std::size_t i = 0; i < 6; ++i) {
    at += ends[i];
    EXPECT_EQ(steps[i]->step, static_cast<posting_step>(i));
    EXPECT_EQ(steps[i].at(), cycles{at}) << apic::name_of(steps[i]->step);
    EXPECT_EQ(steps[i]->value, values[i]) << apic::name_of(steps[i]->step);
    if (i != 0) EXPECT_EQ(steps[i].header.cause, steps[i - 1].header.id);
  }
  EXPECT_EQ(steps[0].header.cause, r.log.of<ipi_arrived_fact>().back().header.id);
  const auto delivered = r.log.of<virtual_interrupt_fact>();
  ASSERT_EQ(delivered.size(), 1u);
  EXPECT_EQ(delivered[0].header.cause, steps[5].header.id);
  EXPECT_EQ(delivered[0]->vector, 0x41);
  EXPECT_EQ(delivered[0]->rvi, 0);
  EXPECT_EQ(r.log.of<interrupt_fact>().back().header.cause, delivered[0].header.id);
  EXPECT_EQ(r.log.of<interrupt_fact>().back()->non_root, 1);

  EXPECT_TRUE(r.hw.cpu(0).local_apic().in_service().empty()) << "the physical interrupt is over";
  EXPECT_FALSE(apic::read_descriptor_info(r.hw.physical(), guest_apic_rig::descriptor).outstanding);
  EXPECT_FALSE(apic::any_posted(r.hw.physical(), guest_apic_rig::descriptor));
  EXPECT_FALSE(r.page().in_service(0x41)) << "the handler's EOI has ended it";
  r.hw.check_accounting();
  const accounting& a = r.hw.cpu(0).account();
  EXPECT_EQ(a.total(world::non_root, bucket::interrupt).count(),
            posting_cost + deliver_cost + idt_cost + 4 + 50 + 40 + 80)
      << "the EOI is a virtualized WRMSR, then IRET";
}

}  // namespace
}  // namespace vmxsys::cpu::testing
