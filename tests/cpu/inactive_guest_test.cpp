#include <gtest/gtest.h>

#include "exits.hpp"

// Guests that halt, wait for SIPI, or are shut down.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;

/// The guest's own EOI would exit: an injected interrupt needs none.
program guest_handler() { co_await isa::compute(cycles{10}); }

struct halting_rig : vmx_rig {
  halting_rig() {
    setup.options.primary = 0;
    handler = [](logical_cpu&, std::uint8_t) { return guest_handler(); };
  }
  std::uint64_t halted = 0, awake = 0;
  cycles halted_at() const { return cycles{halted}; }
  void go() {
    run_guest([this]() -> program {
      co_await isa::compute(cycles{100});
      halted = now().count() + 10;
      co_await isa::hlt();
      awake = now().count();
      co_await isa::cpuid(0);
      co_await sleep();
    });
  }
};

TEST(halted_guest, woken_by_an_interrupt_exit_enters_the_halted_state_again_and_again) {
  halting_rig r;
  r.go();
  int exits = 0;
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    vmx::exit_info exit = co_await isa::vmlaunch();
    for (exits = 1; exits <= 3; ++exits) {
      EXPECT_EQ(exit.reason, exit_reason::external_interrupt);
      const guest_state s = state_of(r);
      EXPECT_EQ(s.activity, activity::hlt) << "HLT";
      EXPECT_EQ(s.rip, test_guest.rip() + 1) << "HLT has executed";
      co_await isa::wrmsr(apic::msr::eoi, 0);
      if (exits == 3) break;
      exit = co_await isa::vmresume();
    }
    EXPECT_EQ(r.awake, 0u);
    co_await isa::vmwrite(field::vm_entry_interruption_information, injected_interrupt);
    exit = co_await isa::vmresume();
    EXPECT_EQ(exit.reason, exit_reason::cpuid);
  });
  for (unsigned i = 1; i <= 3; ++i) r.interrupt(0, cycles{20'000 * i}, 0x51);
  r.hw.run_until(cycles{100'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(exits, 3);
  EXPECT_GT(r.awake, 60'000u);
  // Each interrupt wakes the core, whose guest exits, is entered halted and halts again.
  const auto woken = [](std::uint64_t at) {
    return exit_because(exit_reason::external_interrupt, cycles{at + wake_latency});
  };
  const auto halt = fact<halt_fact>();
  expect_exact_sequence(r.log, {fact<halt_fact>(&halt_fact::began, r.halted_at()), woken(20'000), halt, woken(40'000),
                                halt, woken(60'000), exit_because(exit_reason::cpuid)});
  r.hw.check_accounting();
  EXPECT_GT(r.hw.cpu(0).account().total(vmx_operation::non_root, bucket::idle), cycles{50'000});
}

TEST(halted_guest, made_active_by_the_hypervisor_goes_on_behind_the_hlt) {
  for (const bool inject : {false, true}) {
    halting_rig r;
    r.go();
    r.run_host([&]() -> program {
      co_await rig::enable_apic();
      co_await isa::vmlaunch();
      co_await isa::wrmsr(apic::msr::eoi, 0);
      co_await isa::vmwrite(field::guest_activity_state, activity::active);
      if (inject) co_await isa::vmwrite(field::vm_entry_interruption_information, injected_interrupt);
      const vmx::exit_info exit = co_await isa::vmresume();
      EXPECT_EQ(exit.reason, exit_reason::cpuid);
    });
    r.interrupt(0, cycles{20'000}, 0x51);
    r.hw.run_until(cycles{100'000});
    EXPECT_TRUE(r.done);
    EXPECT_GT(r.awake, 20'000u);
  }
}

TEST(halted_guest, whose_rip_is_moved_back_halts_again) {
  halting_rig r;
  r.go();
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    co_await isa::vmlaunch();
    co_await isa::wrmsr(apic::msr::eoi, 0);
    co_await isa::vmwrite(field::guest_activity_state, activity::active);
    co_await isa::vmwrite(field::guest_rip, test_guest.rip());
    co_await isa::vmresume();
    EXPECT_EQ(state_of(r).activity, activity::hlt);
  });
  r.interrupt(0, cycles{20'000}, 0x51);
  r.interrupt(0, cycles{40'000}, 0x51);
  r.hw.run_until(cycles{100'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(r.awake, 0u);
}

TEST(halted_guest, entered_halted_without_having_executed_hlt) {
  vmx_rig r;
  std::uint64_t started = 0;
  r.setup.more.emplace_back(field::guest_activity_state, activity::hlt);
  r.handler = [](logical_cpu&, std::uint8_t) { return guest_handler(); };
  r.run_guest([&]() -> program {
    started = r.now().count();
    co_await isa::cpuid(0);
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::external_interrupt);
    EXPECT_EQ(state_of(r).activity, activity::hlt);
    EXPECT_EQ(started, 0u);
    co_await isa::wrmsr(apic::msr::eoi, 0);
    co_await isa::vmwrite(field::vm_entry_interruption_information, injected_interrupt);
    exit = co_await isa::vmresume();
    EXPECT_EQ(exit.reason, exit_reason::cpuid);
  });
  r.interrupt(0, cycles{20'000}, 0x51);
  r.hw.run_until(cycles{100'000});
  EXPECT_TRUE(r.done);
  EXPECT_GT(started, 20'000u);
}

TEST(halted_guest, is_woken_through_its_own_table_where_interrupts_do_not_exit) {
  for (std::uint64_t shift = 0; shift < 24; ++shift) {
    halting_rig r;
    r.setup.options.pin = vmx::pin_based::nmi_exiting;
    r.setup.options.primary |= vmx::primary::use_msr_bitmaps;
    r.setup.more.emplace_back(field::msr_bitmap_address, 0x8000);
    r.setup.options.guest_rflags = interrupts_off;
    std::uint64_t awake = 0, sti_at = 0;
    r.run_guest([&]() -> program {
      co_await isa::compute(cycles{20'000 - r.now().count()});
      sti_at = r.now().count();
      co_await isa::sti();
      co_await isa::hlt();
      awake = r.now().count();
      co_await rig::sleep();
    });
    r.run_host([&]() -> program {
      co_await rig::enable_apic();
      co_await isa::vmlaunch();
    });
    r.interrupt(0, cycles{19'998 + shift}, 0x51);
    r.hw.run_until(cycles{50'000});
    ASSERT_EQ(sti_at, 20'000u);
    const std::uint64_t halted = 20'014, at = 19'998 + shift;
    EXPECT_EQ(r.log.of<interrupt_fact>().at(0).at().count(), at <= halted ? halted : at + wake_latency);
    EXPECT_GT(awake, 0u) << "lost at " << at;
  }
}

TEST(halted_guest, with_an_open_window_does_not_halt) {
  halting_rig r;
  r.setup.options.primary = vmx::primary::interrupt_window_exiting;
  r.setup.options.guest_rflags = interrupts_off;
  std::uint64_t sti = 0;
  r.run_guest([&]() -> program {
    co_await isa::sti();
    sti = r.now().count();
    co_await isa::hlt();
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::interrupt_window);
    EXPECT_EQ(state_of(r).activity, activity::hlt);
    EXPECT_EQ(r.exits().back()->began.count(), sti + 10);
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  EXPECT_TRUE(r.log.of<halt_fact>().empty());
}

// -- waiting for SIPI, and shutdown -----------------------------------------------------------------------------------

TEST(inactive_guest, waiting_for_sipi_exits_with_the_start_up_vector_and_with_nothing_else) {
  vmx_rig r;
  std::uint64_t started = 0;
  r.setup.more.emplace_back(field::guest_activity_state, activity::wait_for_sipi);
  r.setup.options.pin |= vmx::pin_based::activate_vmx_preemption_timer;
  r.setup.more.emplace_back(field::vmx_preemption_timer_value, 1);
  r.run_guest([&]() -> program {
    started = r.now().count();
    co_await isa::cpuid(0);
  });
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::startup_ipi);
    EXPECT_EQ(exit.qualification, 0x9Au);
    EXPECT_EQ(r.exits().back()->qualification, 0x9Au);
    EXPECT_EQ(r.exits().back()->began.count(), 30'000 + wake_latency);
    EXPECT_EQ(state_of(r).activity, activity::wait_for_sipi) << "active only after the exit";
    EXPECT_EQ(r.field(field::guest_rip), test_guest.rip());
    EXPECT_TRUE(r.hw.cpu(0).local_apic().requests().test(0x51)) << "held back, not lost";
    EXPECT_EQ(started, 0u);
    co_await isa::wrmsr(apic::msr::svr, 0xFF);
    co_await isa::vmwrite(field::guest_activity_state, activity::active);
    co_await isa::vmwrite(field::pin_based_controls, r.field(field::pin_based_controls) &
                                                         ~std::uint64_t{vmx::pin_based::activate_vmx_preemption_timer |
                                                                        vmx::pin_based::external_interrupt_exiting});
    co_await isa::vmwrite(field::guest_rflags, interrupts_off);
    exit = co_await isa::vmresume();
    EXPECT_EQ(exit.reason, exit_reason::cpuid);
  });
  r.interrupt(0, cycles{20'000}, 0x51);
  r.interrupt(0, cycles{30'000}, 0x9A, apic::delivery_mode::startup);
  r.interrupt(0, cycles{30'010}, 0x9B, apic::delivery_mode::startup);
  r.hw.run_until(cycles{100'000});
  EXPECT_TRUE(r.done);
  EXPECT_GT(started, 30'000u);
  r.hw.check_accounting();
}

TEST(inactive_guest, in_shutdown_ignores_interrupts_and_exits_with_an_nmi) {
  vmx_rig r;
  r.setup.more.emplace_back(field::guest_activity_state, activity::shutdown);
  r.run_guest(rig::sleep);
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::exception_or_nmi);
    EXPECT_EQ(state_of(r).activity, activity::shutdown);
    EXPECT_EQ(r.exits().back()->began.count(), 30'000 + wake_latency);
  });
  r.interrupt(0, cycles{20'000}, 0x51);
  r.interrupt(0, cycles{30'000}, 0, apic::delivery_mode::nmi);
  r.hw.run_until(cycles{100'000});
  EXPECT_TRUE(r.done);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
