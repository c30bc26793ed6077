#include <gtest/gtest.h>

#include "exits.hpp"

// NMI, INIT and SIPI, and which of several exits of one boundary comes first.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;

TEST(exits, of_nmi_and_init) {
  vmx_rig r;
  r.run_guest(rig::sleep);
  r.run_host([&]() -> program {
    vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::exception_or_nmi);
    EXPECT_EQ(exit.interruption_information, an_nmi);
    exit = co_await isa::vmresume();
    EXPECT_EQ(exit.reason, exit_reason::init_signal);
    EXPECT_EQ(exit.interruption_information, 0u);
  });
  r.interrupt(0, cycles{20'000}, 0, apic::delivery_mode::nmi);
  r.interrupt(0, cycles{30'000}, 0, apic::delivery_mode::init);
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  expect_exact_sequence(r.log, {exit_because(exit_reason::exception_or_nmi, cycles{20'000}),
                                exit_because(exit_reason::init_signal, cycles{30'000})});
  EXPECT_NE(r.hw.cpu(0).active(), nullptr) << "the INIT is spent";
}

TEST(exits, because_of_an_nmi_block_further_ones_in_the_host_until_iret) {
  vmx_rig r;
  std::vector<std::uint64_t> handled;
  r.handler = [&](logical_cpu&, std::uint8_t vector) {
    handled.push_back(vector * 100'000 + r.now().count());
    return rig::acknowledge();
  };
  std::uint64_t opened = 0;
  r.run_guest(rig::sleep);
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    EXPECT_EQ((co_await isa::vmlaunch()).reason, exit_reason::exception_or_nmi);
    EXPECT_EQ(r.field(field::guest_interruptibility_state), 0u) << "the guest's blocking was none";
    co_await isa::compute(cycles{5000});
    EXPECT_TRUE(handled.empty());
    r.interrupt(0, r.now() + cycles{100}, 0x51);
    co_await isa::compute(cycles{200});
    opened = r.now().count() + 4;
    co_await isa::sti();
    co_await isa::pause();
  });
  r.interrupt(0, cycles{20'000}, 0, apic::delivery_mode::nmi);
  r.interrupt(0, cycles{22'000}, 0, apic::delivery_mode::nmi);
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  ASSERT_EQ(handled.size(), 2u);
  EXPECT_EQ(handled[0], 0x51 * 100'000 + opened + 40);
  EXPECT_EQ(handled[1], 2 * 100'000 + opened + 40 + 200 + 80 + 80) << "the IRET of any handler unblocks";
}

TEST(exits, an_init_in_root_operation_or_during_a_transition_waits_for_the_guest) {
  // Sweep it over an exit, the host and an entry: it is never lost, never resets, and exits from the guest.
  for (std::uint64_t at = 19'990; at < 20'000 + exit_cost + 100 + entry_cost + 10; at += 7) {
    vmx_rig r;
    r.run_guest([&]() -> program {
      co_await isa::compute(cycles{20'000 - r.now().count()});
      co_await isa::cpuid(0);
      co_await rig::sleep();
    });
    r.run_host([&]() -> program {
      vmx::exit_info exit = co_await isa::vmlaunch();
      for (int i = 0; i < 2; ++i) {
        if (exit.reason == exit_reason::cpuid) co_await skip(exit);
        exit = co_await isa::vmresume();
      }
    });
    r.interrupt(0, cycles{at}, 0, apic::delivery_mode::init);
    r.hw.run_until(cycles{50'000});
    ASSERT_NE(r.hw.cpu(0).active(), nullptr) << at;
    ASSERT_EQ(r.boots.size(), 1u);
    SCOPED_TRACE(at);
    const expected_fact init = exit_because(exit_reason::init_signal), cpuid = exit_because(exit_reason::cpuid);
    if (at <= 20'000)
      expect_exact_sequence(r.log, {init, cpuid});
    else
      expect_exact_sequence(r.log, {cpuid, init});
  }
}

TEST(exits, a_start_up_ipi_is_dropped_by_a_running_guest) {
  vmx_rig r;
  r.run_guest(rig::sleep);
  r.run_host([]() -> program { co_await isa::vmlaunch(); });
  r.interrupt(0, cycles{20'000}, 1, apic::delivery_mode::startup);
  r.hw.run_until(cycles{50'000});
  EXPECT_FALSE(r.done);
  EXPECT_TRUE(r.exits().empty());
}

TEST(exits, of_one_boundary_come_in_the_order_of_their_priority) {
  // All of them during one uninterruptible instruction; each exit leaves those behind it pending. An NMI that the first
  // exit leaves pending is the host's.
  for (const int urgent : {2, 1, 0}) {
    vmx_rig r;
    const unsigned shift = r.hw.config().capabilities.preemption_timer_shift();
    r.setup.options.pin |= vmx::pin_based::activate_vmx_preemption_timer;
    r.setup.options.vm_exit |= vmx::vm_exit_control::save_vmx_preemption_timer_value;
    r.setup.options.primary |= vmx::primary::interrupt_window_exiting;
    r.setup.options.guest_rflags = interrupts_off;
    word& w = r.hw.physical().word_at(0x20'0000);
    r.run_guest([&]() -> program {
      co_await isa::compute(cycles{20'000 - 4 - r.now().count()});
      co_await isa::sti();
      co_await isa::load(w);  // 110 cycles, in the shadow
      co_await rig::sleep();
    });
    r.run_host([&]() -> program {
      co_await rig::enable_apic();
      const std::uint64_t expiry = urgent >= 1 ? 20'096 : 80'000;
      co_await isa::vmwrite(field::vmx_preemption_timer_value,
                            (expiry >> shift) - ((r.now().count() + 30 + entry_cost) >> shift));
      vmx::exit_info exit = co_await isa::vmlaunch();
      for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(r.field(field::guest_rip), test_guest.rip());
        if (exit.reason == exit_reason::preemption_timer)
          co_await isa::vmwrite(field::vmx_preemption_timer_value, 0xFFFF'FFFF);
        if (exit.reason == exit_reason::interrupt_window)
          co_await isa::vmwrite(field::primary_processor_based_controls,
                                r.field(field::primary_processor_based_controls) &
                                    ~std::uint64_t{vmx::primary::interrupt_window_exiting});
        exit = co_await isa::vmresume();
      }
    });
    r.interrupt(0, cycles{20'010}, 0x51);
    r.interrupt(0, cycles{20'020}, 0, apic::delivery_mode::nmi);
    if (urgent >= 2) r.interrupt(0, cycles{20'030}, 0, apic::delivery_mode::init);
    r.hw.run_until(cycles{50'000});
    SCOPED_TRACE(urgent);
    const auto because = [](exit_reason why) { return exit_because(why); };
    const auto first = [](exit_reason why) { return exit_because(why, cycles{20'110}); };  // where the load ends
    using e = exit_reason;
    if (urgent == 0)
      expect_exact_sequence(r.log,
                            {first(e::exception_or_nmi), because(e::interrupt_window), because(e::external_interrupt)});
    if (urgent == 1)
      expect_exact_sequence(r.log,
                            {first(e::preemption_timer), because(e::interrupt_window), because(e::external_interrupt)});
    if (urgent == 2)
      expect_exact_sequence(r.log, {first(e::init_signal), because(e::preemption_timer), because(e::interrupt_window),
                                    because(e::external_interrupt)});
    EXPECT_EQ(r.log.of<interrupt_fact>().size(), urgent == 0 ? 0u : 1u);
  }
}

}  // namespace
}  // namespace vmxsys::cpu::testing
