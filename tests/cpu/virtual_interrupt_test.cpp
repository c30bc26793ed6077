#include <gtest/gtest.h>

#include <vmxsys/cpu/program/system_instruction.hpp>

#include "guest_apic_rig.hpp"

// Virtual interrupts at the boundaries of a guest: when they come, what holds them, what they wake, what entries and
// exits do with them.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;
using seen = guest_apic_rig::seen;

constexpr std::uint64_t self_ipi_cost = 4 + 50 + 30, eoi_cost = 4 + 50 + 40, deliver_cost = 200, idt_cost = 200,
                        iret_cost = 80, pause_cost = 40;
constexpr std::uint64_t detour = deliver_cost + idt_cost + eoi_cost + iret_cost;

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
  EXPECT_EQ(r.in_guest[0], (seen{before + self_ipi_cost, 0x51}));
  EXPECT_EQ(after, before + self_ipi_cost + detour);
  EXPECT_FALSE(r.page().in_service(0x51));
  EXPECT_EQ(r.page().vppr(), 0);
  const auto accesses = r.log.of<virtual_apic_access_fact>();
  ASSERT_EQ(accesses.size(), 2u);
  EXPECT_EQ(accesses[0]->offset, apic::vapic::self_ipi);
  EXPECT_EQ(accesses[0]->value, 0x51u);
  EXPECT_EQ(accesses[1]->offset, apic::vapic::eoi);
  r.hw.check_accounting();
  EXPECT_EQ(r.hw.cpu(0).account().total(vmx_operation::non_root, bucket::interrupt).count(), detour);
}

TEST(virtual_interrupts, are_held_by_if_and_for_one_more_instruction_by_sti) {
  guest_apic_rig r;
  std::uint64_t opened = 0;
  r.run_guest([&]() -> program {
    co_await isa::cli();
    co_await isa::wrmsr(apic::msr::self_ipi, 0x51);
    co_await isa::compute(cycles{5000});
    co_await isa::sti();
    opened = r.now().count();
    co_await isa::pause();
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{40'000});
  EXPECT_EQ(r.in_guest, (std::vector<seen>{{opened + pause_cost, 0x51}}));
  EXPECT_TRUE(r.exits().empty());
}

TEST(virtual_interrupts, nest_by_class_and_wait_for_the_eoi_of_their_own) {
  guest_apic_rig r;
  std::vector<std::pair<std::uint8_t, int>> order;  // vector, nesting
  int depth = 0;
  r.handler = [&](logical_cpu&, std::uint8_t vector) -> program {
    return [](int& d, std::vector<std::pair<std::uint8_t, int>>& to, std::uint8_t v) -> program {
      to.emplace_back(v, d++);
      if (v == 0x51) {
        co_await isa::wrmsr(apic::msr::self_ipi, 0x5F);  // the same class: waits for the EOI
        co_await isa::wrmsr(apic::msr::self_ipi, 0x62);  // a higher one: nests
        co_await isa::sti();
        co_await isa::compute(cycles{3000});
        co_await isa::cli();
      }
      co_await isa::wrmsr(apic::msr::eoi, 0);
      --d;
    }(depth, order, vector);
  };
  r.run_guest([]() -> program {
    co_await isa::wrmsr(apic::msr::self_ipi, 0x51);
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{40'000});
  EXPECT_EQ(order, (std::vector<std::pair<std::uint8_t, int>>{{0x51, 0}, {0x62, 1}, {0x5F, 0}}));
  EXPECT_TRUE(r.exits().empty());
}

TEST(virtual_interrupts, below_the_task_priority_wait_until_it_falls) {
  guest_apic_rig r;
  std::uint64_t lowered = 0, cr8 = 0;
  r.run_guest([&]() -> program {
    co_await isa::mov_to_cr(8, 5);
    cr8 = co_await isa::mov_from_cr(8);
    co_await isa::wrmsr(apic::msr::self_ipi, 0x5F);
    co_await isa::compute(cycles{3000});
    co_await isa::wrmsr(apic::msr::tpr, 0x4F);
    lowered = r.now().count();
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{40'000});
  EXPECT_EQ(cr8, 5u);
  ASSERT_EQ(r.in_guest.size(), 1u);
  EXPECT_EQ(r.in_guest[0].at, lowered - detour) << "at the end of the WRMSR";
}

TEST(virtual_interrupts, whose_eoi_the_bitmap_names_exit_behind_the_eoi) {
  guest_apic_rig r;
  r.setup.more.emplace_back(field::eoi_exit_bitmap_1, std::uint64_t{1} << (0x51 - 64));
  std::uint64_t ended = 0;
  std::uint64_t status = ~0ull;
  r.handler = [&](logical_cpu&, std::uint8_t) -> program {
    return [](guest_apic_rig& of, std::uint64_t& to) -> program {
      co_await isa::wrmsr(apic::msr::eoi, 0);
      if (to == 0) to = of.now().count();
    }(r, ended);
  };
  r.at_exit = [&](const vmx::exit_info& exit) -> program {
    EXPECT_EQ(exit.reason, exit_reason::virtualized_eoi);
    EXPECT_EQ(exit.qualification, 0x51u);
    EXPECT_EQ(exit.instruction_length, 0u);
    status = co_await isa::vmread(field::guest_interrupt_status);
  };
  r.run_guest([]() -> program {
    co_await isa::cli();
    co_await isa::wrmsr(apic::msr::self_ipi, 0x41);
    co_await isa::wrmsr(apic::msr::self_ipi, 0x51);
    co_await isa::sti();
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{40'000});
  ASSERT_EQ(r.exits().size(), 1u);
  EXPECT_EQ(status, 0x41u) << "RVI still waits, nothing is in service";
  EXPECT_GT(ended, r.exits()[0]->began.count()) << "the program goes on behind its WRMSR after the entry";
  const auto delivered = r.log.of<virtual_interrupt_fact>();
  ASSERT_EQ(delivered.size(), 2u);
  EXPECT_EQ(delivered[0]->vector, 0x51);
  EXPECT_EQ(delivered[1]->vector, 0x41) << "evaluated at the entry";
  EXPECT_LT(r.exits()[0].at(), delivered[1].at());
}

TEST(virtual_interrupts, are_evaluated_at_an_entry_and_saved_at_an_exit) {
  for (const bool window : {true, false}) {
    guest_apic_rig r;
    r.setup.more.emplace_back(field::guest_interrupt_status, 0x3151);
    r.setup.options.guest_rflags = window ? 0x202 : 2;
    r.page().set_requested(0x51);
    r.page().set_in_service(0x31);
    r.at_exit = [&](const vmx::exit_info&) -> program {
      const std::uint64_t status = co_await isa::vmread(field::guest_interrupt_status);
      EXPECT_EQ(status, window ? 0x5100u : 0x3151u);
    };
    r.handler = [&](logical_cpu&, std::uint8_t vector) -> program {
      r.in_guest.push_back({r.now().count(), vector});
      return rig::sleep();
    };
    r.run_guest([]() -> program { co_await rig::sleep(); });
    r.start();
    r.notify_at(cycles{20'000}, 0xE0);  // an ordinary interrupt: an exit that looks at the state
    r.hw.run_until(cycles{30'000});
    ASSERT_GE(r.exits().size(), 1u);
    EXPECT_EQ(r.exits()[0]->reason, exit_reason::external_interrupt);
    const auto entries = r.log.of<vm_entry_fact>();
    if (window)
      EXPECT_EQ(r.in_guest.at(0), (seen{entries[0].at().count(), 0x51})) << "at the first boundary";
    else
      EXPECT_TRUE(r.in_guest.empty());
  }
}

TEST(virtual_interrupts, wait_while_the_hypervisor_wants_the_interrupt_window) {
  guest_apic_rig r;
  r.setup.options.primary |= vmx::primary::interrupt_window_exiting;
  r.setup.more.emplace_back(field::guest_interrupt_status, 0x51);
  r.page().set_requested(0x51);
  r.at_exit = [&](const vmx::exit_info& exit) -> program {
    EXPECT_EQ(exit.reason, exit_reason::interrupt_window);
    EXPECT_TRUE(r.in_guest.empty());
    const std::uint64_t controls = co_await isa::vmread(field::primary_processor_based_controls);
    co_await isa::vmwrite(field::primary_processor_based_controls,
                          controls & ~std::uint64_t{vmx::primary::interrupt_window_exiting});
  };
  r.run_guest([]() -> program { co_await rig::sleep(); });
  r.start();
  r.hw.run_until(cycles{20'000});
  EXPECT_EQ(r.exits().size(), 1u);
  EXPECT_EQ(r.in_guest.size(), 1u);
}

TEST(virtual_interrupts, come_before_external_interrupts_and_after_nmis) {
  guest_apic_rig r;
  std::vector<exit_reason> reasons;
  std::size_t delivered_at_nmi = 9, delivered_at_interrupt = 9;
  std::uint64_t ended = 0;
  r.at_exit = [&](const vmx::exit_info& exit) -> program {
    reasons.push_back(exit.reason);
    (exit.reason == exit_reason::exception_or_nmi ? delivered_at_nmi : delivered_at_interrupt) =
        r.count<virtual_interrupt_fact>();
    if (exit.reason == exit_reason::external_interrupt) co_await isa::wrmsr(apic::msr::eoi, 0);
    ended = r.now().count();
  };
  std::uint64_t at = 0;
  r.run_guest([&]() -> program {
    co_await isa::compute(cycles{20'000 - r.now().count()});
    at = r.now().count();
    co_await isa::wrmsr(apic::msr::self_ipi, 0x51);  // ends at 20'084
    co_await rig::sleep();
  });
  r.start();
  r.interrupt(0, cycles{20'010}, 0, apic::delivery_mode::nmi);
  r.notify_at(cycles{20'020}, 0xE0);
  r.hw.run_until(cycles{60'000});
  EXPECT_EQ(at, 20'000u);
  EXPECT_EQ(reasons, (std::vector<exit_reason>{exit_reason::exception_or_nmi, exit_reason::external_interrupt}));
  EXPECT_EQ(delivered_at_nmi, 0u);
  EXPECT_EQ(delivered_at_interrupt, 1u) << "delivered right after the NMI's exit, the other at the next boundary";
}

TEST(virtual_interrupts, at_an_entry_into_the_halted_state_wake_the_guest_at_once) {
  for (const bool open : {true, false}) {
    guest_apic_rig r;
    r.setup.options.primary |= vmx::primary::hlt_exiting;
    std::uint64_t woken = 0;
    r.at_exit = [&](const vmx::exit_info& exit) -> program {
      EXPECT_EQ(exit.reason, exit_reason::hlt);
      r.page().set_requested(0x51);
      co_await isa::vmwrite(field::guest_interrupt_status, 0x51);
      co_await isa::vmwrite(field::guest_activity_state, 1);
    };
    r.run_guest([&]() -> program {
      if (!open) co_await isa::cli();
      co_await isa::hlt();
      woken = r.now().count();
      co_await rig::sleep();
    });
    r.start();
    r.hw.run_until(cycles{40'000});
    ASSERT_EQ(r.exits().size(), 1u);
    const std::uint64_t entered = r.log.of<vm_entry_fact>().at(1).at().count();
    EXPECT_EQ(r.in_guest, open ? std::vector<seen>({{entered, 0x51}}) : std::vector<seen>{});
    EXPECT_EQ(woken, open ? entered + detour : 0);
    EXPECT_EQ(r.hw.cpu(0).halted(), !open);
  }
}

TEST(virtual_interrupts, come_behind_an_injected_event) {
  guest_apic_rig r;
  r.setup.more.emplace_back(field::guest_interrupt_status, 0x51);
  r.page().set_requested(0x51);
  r.setup.more.emplace_back(field::vm_entry_interruption_information, 0x8000'0000u | 0x61);
  std::vector<std::uint8_t> order;
  r.handler = [&](logical_cpu&, std::uint8_t vector) -> program {
    order.push_back(vector);
    return []() -> program { co_await isa::compute(cycles{100}); }();  // IF = 0
  };
  r.run_guest([]() -> program { co_await rig::sleep(); });
  r.start();
  r.hw.run_until(cycles{40'000});
  EXPECT_EQ(order, (std::vector<std::uint8_t>{0x61, 0x51}));
  EXPECT_TRUE(r.exits().empty());
}

// What is pending inside the processor belongs to one stay in the guest.
TEST(virtual_interrupts, of_one_guest_do_not_reach_another) {
  guest_apic_rig r;
  r.setup.options.guest_rflags = 2;
  vmcs_setup other = r.setup;
  other.options = {};
  std::uint64_t ran = 0;
  strand& second = r.make(
      "second",
      [&]() -> program {
        co_await isa::sti();
        co_await isa::compute(cycles{5000});
        ran = r.now().count();
        co_await rig::sleep();
      },
      test_guest);
  r.run_guest([]() -> program {
    co_await isa::wrmsr(apic::msr::self_ipi, 0x51);  // recognized, and held by IF = 0
    co_await isa::vmcall(1);
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::vmcall);
    EXPECT_EQ(co_await isa::vmread(field::guest_interrupt_status), 0x51u);
    co_await make_vmcs(r.hw, second, 0x9'0000, other);
    co_await isa::vmlaunch();
    ADD_FAILURE();
  });
  r.hw.run_until(cycles{60'000});
  EXPECT_NE(ran, 0u);
  EXPECT_TRUE(r.in_guest.empty());
}

// -- TPR threshold ----------------------------------------------------------------------------------------------------

TEST(tpr_threshold, exits_behind_the_instruction_that_lowers_the_task_priority) {
  guest_apic_rig r;
  r.setup.options.secondary = 0;
  r.setup.options.pin &= ~std::uint64_t{vmx::pin_based::process_posted_interrupts};
  r.setup.more.emplace_back(field::tpr_threshold, 4);
  r.page().write_32(apic::vapic::tpr, 0x60);
  std::vector<std::uint64_t> ends;
  r.at_exit = [&](const vmx::exit_info& exit) -> program {
    EXPECT_EQ(exit.reason, exit_reason::tpr_below_threshold);
    co_await isa::vmwrite(field::tpr_threshold, 0);
  };
  r.run_guest([&]() -> program {
    co_await isa::cli();  // does not matter
    for (const std::uint64_t to : {5, 4, 3, 2}) {
      co_await isa::mov_to_cr(8, to);
      ends.push_back(r.now().count());
    }
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{30'000});
  ASSERT_EQ(r.exits().size(), 1u);
  EXPECT_EQ(r.exits()[0]->began.count(), ends[1] + 50 + 20) << "CR8 = 3 is below 4; CR8 = 4 is not";
  EXPECT_EQ(r.page().vtpr(), 0x20);
}

TEST(tpr_threshold, above_the_shadow_at_an_entry_exits_before_the_first_instruction) {
  for (const unsigned tpr : {0x40u, 0x30u}) {
    guest_apic_rig r;
    r.setup.options.secondary = vmx::secondary::virtualize_apic_accesses;
    r.setup.options.pin &= ~std::uint64_t{vmx::pin_based::process_posted_interrupts};
    r.setup.more.emplace_back(field::tpr_threshold, 4);
    r.page().write_32(apic::vapic::tpr, tpr);
    r.at_exit = [&](const vmx::exit_info& exit) -> program {
      EXPECT_EQ(exit.reason, exit_reason::tpr_below_threshold);
      co_await isa::vmwrite(field::tpr_threshold, 0);
    };
    r.run_guest([]() -> program { co_await rig::sleep(); });
    r.start();
    r.hw.run_until(cycles{30'000});
    if (tpr == 0x40) {
      EXPECT_TRUE(r.exits().empty());
      continue;
    }
    ASSERT_EQ(r.exits().size(), 1u);
    EXPECT_EQ(r.exits()[0]->began, r.log.of<vm_entry_fact>()[0].at());
  }
}

}  // namespace
}  // namespace vmxsys::cpu::testing
