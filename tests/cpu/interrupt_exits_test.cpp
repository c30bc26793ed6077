#include <gtest/gtest.h>

#include "exits.hpp"

// External interrupts that exit, injection, and the interrupt window.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;

// -- external interrupts ----------------------------------------------------------------------------------------------

class interrupt_exits : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(acknowledge, interrupt_exits, ::testing::Bool());

TEST_P(interrupt_exits, acknowledge_or_leave_it_pending) {
  const bool acknowledge = GetParam();
  vmx_rig r;
  if (!acknowledge) r.setup.options.vm_exit &= ~std::uint64_t{vmx::vm_exit_control::acknowledge_interrupt_on_exit};
  std::vector<std::uint64_t> handled;
  r.handler = [&](logical_cpu&, std::uint8_t vector) {
    handled.push_back(vector);
    return rig::acknowledge();
  };
  r.run_guest([]() -> program {
    co_await isa::cli();  // external-interrupt exiting does not look at IF
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::external_interrupt);
    EXPECT_EQ(exit.interruption_information,
              acknowledge ? information_of(vmx::event_type::external_interrupt, 0x51) : 0u);
    EXPECT_EQ(r.field(field::vm_exit_interruption_information), exit.interruption_information);
    EXPECT_EQ(exit.instruction_length, 0u);
    EXPECT_EQ(r.field(field::guest_rflags), vmx::rflags_bits::one);
    EXPECT_EQ(r.field(field::guest_rip), test_guest.rip());
    const apic::local_apic& apic = r.hw.cpu(0).local_apic();
    EXPECT_EQ(apic.in_service().test(0x51), acknowledge);
    EXPECT_EQ(apic.requests().test(0x51), !acknowledge);
    co_await isa::compute(cycles{100});
    EXPECT_TRUE(handled.empty()) << "interrupts are disabled after an exit";
    if (acknowledge) co_await isa::wrmsr(apic::msr::eoi, 0);
    co_await isa::sti();
    co_await isa::compute(cycles{100});
  });
  r.hw.run_until(cycles{10'000});
  r.interrupt(0, cycles{20'000}, 0x51);
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(handled, acknowledge ? std::vector<std::uint64_t>{} : std::vector<std::uint64_t>{0x51});
  expect_exact_sequence(r.log, {arrival(0x51), exit_because(exit_reason::external_interrupt, cycles{20'000})});
  expect_gap(r.log, arrival(0x51), exit_because(exit_reason::external_interrupt), cycles{exit_cost});
  ASSERT_EQ(r.exits().size(), 1u);
  EXPECT_EQ(r.exits()[0].header.cause, r.log.of<ipi_arrived_fact>().at(0).header.id);
}

TEST(external_interrupts, that_leave_a_compute_let_it_go_on_with_what_is_left) {
  for (std::uint64_t shift = 0; shift <= 31; ++shift) {
    vmx_rig r;
    std::uint64_t begin = 0, end = 0;
    r.run_guest([&]() -> program {
      co_await isa::compute(cycles{20'000 - r.now().count()});
      begin = r.now().count();
      co_await isa::compute(cycles{30});
      end = r.now().count();
      co_await rig::sleep();
    });
    std::uint64_t away = 0;
    r.run_host([&]() -> program {
      co_await rig::enable_apic();
      (void)co_await isa::vmlaunch();
      away = r.now().count() - exit_cost;
      co_await isa::wrmsr(apic::msr::eoi, 0);
      (void)co_await isa::vmresume();
    });
    r.interrupt(0, cycles{20'000 + shift}, 0x51);
    r.hw.run_until(cycles{50'000});
    ASSERT_EQ(away, 20'000 + shift);
    const std::uint64_t detour = exit_cost + 80 + entry_cost;
    EXPECT_EQ(begin, shift == 0 ? 20'000 + detour : 20'000u);
    EXPECT_EQ(end, shift <= 30 ? 20'030 + detour : 20'030u);
  }
}

TEST(external_interrupts, without_exiting_go_through_the_guests_table) {
  vmx_rig r;
  r.setup.options.pin = vmx::pin_based::nmi_exiting;
  r.setup.options.primary |= vmx::primary::use_msr_bitmaps;
  r.setup.more.emplace_back(field::msr_bitmap_address, 0x8000);
  std::vector<std::uint64_t> handled;
  r.handler = [&](logical_cpu& cpu, std::uint8_t vector) {
    handled.push_back(vector);
    EXPECT_EQ(cpu.current_operation(), vmx_operation::non_root);
    return rig::acknowledge();
  };
  std::uint64_t open = 0;
  r.run_guest([&]() -> program {
    co_await isa::cli();
    co_await isa::compute(cycles{20'000});
    co_await isa::sti();
    co_await isa::pause();
    open = r.log.of<interrupt_fact>().at(0).at().count();
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    co_await isa::vmlaunch();
  });
  r.interrupt(0, cycles{15'000}, 0x51);
  r.hw.run_until(cycles{90'000});
  EXPECT_EQ(handled, std::vector<std::uint64_t>{0x51});
  expect_exact_sequence(r.log, {arrival(0x51).at(cycles{15'000}), interrupt_of(0x51, vmx_operation::non_root)});
  EXPECT_TRUE(r.exits().empty());
  EXPECT_GT(open, 20'000u);
}

TEST(external_interrupts, wait_for_the_instruction_behind_sti_and_the_shadow_is_saved_with_an_exit_in_it) {
  vmx_rig r;
  std::vector<guest_state> states;
  std::vector<exit_reason> reasons;
  r.setup.options.guest_rflags = interrupts_off;
  r.run_guest([]() -> program {
    co_await isa::compute(cycles{20'000});
    co_await isa::sti();
    co_await isa::cpuid(0);
    co_await isa::sti();
    co_await isa::cpuid(0);
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    vmx::exit_info exit = co_await isa::vmlaunch();
    for (;;) {
      reasons.push_back(exit.reason);
      states.push_back(state_of(r));
      if (exit.reason == exit_reason::external_interrupt) {
        co_await isa::wrmsr(apic::msr::eoi, 0);
      } else {
        co_await skip(exit);
        co_await isa::vmwrite(field::guest_interruptibility_state, 0);
      }
      exit = co_await isa::vmresume();
    }
  });
  r.hw.run_until(cycles{90'000});
  ASSERT_EQ(reasons, (std::vector<exit_reason>{exit_reason::cpuid, exit_reason::cpuid}));
  EXPECT_EQ(states[0].interruptibility, vmx::interruptibility::sti);
  EXPECT_EQ(states[0].rflags & interrupt_flag, interrupt_flag);
  EXPECT_EQ(states[1].interruptibility, 0u) << "STI with IF = 1 casts none";
  const std::uint64_t sti_done = r.exits().at(0)->began.count();

  vmx_rig again;
  again.setup.options.guest_rflags = interrupts_off;
  again.run_guest([]() -> program {
    co_await isa::compute(cycles{20'000});
    co_await isa::sti();
    co_await isa::pause();
    co_await rig::sleep();
  });
  again.run_host([&]() -> program {
    co_await rig::enable_apic();
    co_await isa::vmlaunch();
  });
  again.interrupt(0, cycles{sti_done - 1}, 0x51);
  again.hw.run_until(cycles{90'000});
  expect_sequence(again.log, {arrival(0x51).at(cycles{sti_done - 1}),
                              exit_because(exit_reason::external_interrupt, cycles{sti_done + 40})});  // behind PAUSE
  EXPECT_EQ(again.field(field::guest_interruptibility_state), 0u);
}

TEST(external_interrupts, a_shadow_in_the_vmcs_holds_them_for_one_instruction) {
  for (const bool shadow : {false, true}) {
    vmx_rig r;
    r.run_guest([]() -> program {
      for (;;) co_await isa::pause();
    });
    std::uint64_t entered = 0;
    r.run_host([&]() -> program {
      co_await rig::enable_apic();
      if (shadow) co_await isa::vmwrite(field::guest_interruptibility_state, vmx::interruptibility::sti);
      r.interrupt(0, r.now() + cycles{20}, 0x51);  // during the entry
      entered = r.now().count() + entry_cost;
      co_await isa::vmlaunch();
    });
    r.hw.run_until(cycles{50'000});
    EXPECT_EQ(r.exits().at(0)->began.count(), entered + (shadow ? 40 : 0));
  }
}

// -- injection and the interrupt window -------------------------------------------------------------------------------

TEST(injection, goes_through_the_guests_table_before_its_first_instruction) {
  vmx_rig r;
  std::vector<std::string> order;
  r.handler = [&](logical_cpu& cpu, std::uint8_t vector) -> program {
    order.push_back("handler " + std::to_string(vector) + (cpu.interrupts_enabled() ? " open" : " closed"));
    co_await isa::compute(cycles{10});
  };
  std::uint64_t entered = 0;
  r.run_guest([&]() -> program {
    order.emplace_back("guest");
    co_await isa::cpuid(0);
    order.emplace_back("guest again");
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    co_await isa::vmwrite(field::vm_entry_interruption_information, injected_interrupt);
    entered = r.now().count() + entry_cost + inject_cost;
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(r.field(field::vm_entry_interruption_information), injected_interrupt & ~vmx::event_bits::valid)
        << "valid is cleared by the exit";
    co_await skip(exit);
    co_await isa::vmresume();
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_EQ(order, (std::vector<std::string>{"handler 97 closed", "guest", "guest again"}));
  const auto injecting = fact<vm_entry_fact>(&vm_entry_fact::interruption_information, injected_interrupt);
  expect_exact_sequence({r.log, cycles{0}, r.exits().at(0).at() + cycles{1}},
                        {injecting.at(cycles{entered}), interrupt_of(injected_vector).at(cycles{entered}),
                         exit_because(exit_reason::cpuid, cycles{entered + 10 + 80})});
  EXPECT_EQ(r.log.of<interrupt_fact>().size(), 1u);
  EXPECT_EQ(r.log.of<vm_entry_fact>()[0]->duration, cycles{entry_cost + inject_cost});
}

TEST(injection, an_event_pending_at_entry_exits_from_the_handlers_first_instruction) {
  vmx_rig r;
  r.run_guest(rig::sleep);
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    co_await isa::vmwrite(field::vm_entry_interruption_information, injected_interrupt);
    r.interrupt(0, r.now() + cycles{20}, 0x51);
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::external_interrupt);
    EXPECT_NE(r.field(field::guest_rip), test_guest.rip());
    EXPECT_EQ(r.field(field::guest_rip), r.guest->location().rip());
    EXPECT_EQ(r.field(field::guest_rflags) & interrupt_flag, 0u);
    EXPECT_EQ(r.guest->depth(), 2u);
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
}

TEST(injection, ends_the_shadow_that_the_entry_loaded) {
  vmx_rig r;
  std::uint64_t entered = 0;
  r.run_guest(rig::sleep);
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    co_await isa::vmwrite(field::guest_interruptibility_state, vmx::interruptibility::sti);
    co_await isa::vmwrite(field::vm_entry_interruption_information, injected_ud);
    r.interrupt(0, r.now() + cycles{20}, 0x51);
    entered = r.now().count() + entry_cost + inject_cost;
    EXPECT_EQ((co_await isa::vmlaunch()).reason, exit_reason::external_interrupt);
    EXPECT_EQ(state_of(r).interruptibility, 0u);
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(r.exits().at(0)->began.count(), entered) << "no instruction of the handler comes first";
}

TEST(interrupt_window, exits_before_any_instruction_where_it_is_open) {
  vmx_rig r;
  r.setup.options.primary |= vmx::primary::interrupt_window_exiting;
  std::uint64_t entered = 0;
  r.run_guest([]() -> program {
    ADD_FAILURE();
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    entered = r.now().count() + entry_cost;
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::interrupt_window);
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(r.exits().at(0)->began.count(), entered);
}

TEST(interrupt_window, opens_behind_the_instruction_after_sti_and_after_iret) {
  vmx_rig r;
  r.setup.options.guest_rflags = interrupts_off;
  r.setup.options.primary |= vmx::primary::interrupt_window_exiting;
  std::uint64_t sti = 0, iret = 0;
  r.run_guest([&]() -> program {
    co_await isa::compute(cycles{500});
    co_await isa::sti();
    sti = r.now().count();
    co_await isa::pause();
    co_await rig::sleep();
  });
  r.handler = [&](logical_cpu&, std::uint8_t) -> program {
    co_await isa::compute(cycles{77});
    iret = r.now().count() + 80;
  };
  r.run_host([&]() -> program {
    vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::interrupt_window);
    EXPECT_EQ(r.exits().back()->began.count(), sti + 40);
    EXPECT_EQ(state_of(r).interruptibility, 0u);
    co_await isa::vmwrite(field::vm_entry_interruption_information, injected_interrupt);
    exit = co_await isa::vmresume();
    EXPECT_EQ(exit.reason, exit_reason::interrupt_window);
    EXPECT_EQ(r.exits().back()->began.count(), iret);
    EXPECT_EQ(r.guest->depth(), 1u);
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
