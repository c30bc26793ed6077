#include <gtest/gtest.h>

#include <vmxsys/cpu/core/detail/recognition.hpp>

#include "core_rig.hpp"

// What is recognised at a boundary, and how it is acted on: on a core alone. The priorities themselves are those of
// vmx/events/boundary.hpp, tested in tests/vmx.
namespace vmxsys::cpu::testing {
namespace {

using kind = boundary_decision::kind;
using event = vmx::boundary_event;

struct bench {
  static constexpr cycles c{100};

  core_rig rig;
  local_apic_unit own{rig.core, rig.time.add_slot(this, ignore)};
  guest_timers timers{rig.core, rig.time.add_slot(this, timer)};
  monitor_wait wait{rig.core};
  guest_apic virtual_apic{rig.core, timers, own};
  recognition events{rig.core, timers, virtual_apic, wait};

  static void ignore(void*, cycles) {}
  static void timer(void* self, cycles now) { static_cast<bench*>(self)->timers.due(now); }
};

TEST(cpu_recognition, outside_a_guest_nmi_comes_before_interrupt) {
  bench b;
  EXPECT_EQ(b.events.at_root_boundary(), -1);
  b.rig.interrupt(0x41);
  EXPECT_EQ(b.events.at_root_boundary(), -1) << "IF = 0";
  EXPECT_FALSE(b.events.wakes());
  b.rig.core.interrupts_enabled = true;
  b.events.note_nmi();
  EXPECT_TRUE(b.events.wakes());
  EXPECT_EQ(b.events.at_root_boundary(), 2);
  EXPECT_EQ(b.events.at_root_boundary(), 0x41);
  EXPECT_EQ(b.events.at_root_boundary(), -1) << "it is in service";
}

TEST(cpu_recognition, the_shadow_of_sti_holds_for_one_boundary) {
  bench b;
  b.rig.interrupt(0x41);
  b.rig.core.interrupts_enabled = true;
  b.rig.core.shadow = true;
  EXPECT_EQ(b.events.at_root_boundary(), -1);
  EXPECT_TRUE(b.rig.core.shadowed);
  EXPECT_EQ(b.events.at_root_boundary(), 0x41);
}

TEST(cpu_recognition, a_second_nmi_waits_for_iret) {
  bench b;
  b.events.note_nmi();
  EXPECT_EQ(b.events.at_root_boundary(), 2);
  b.events.note_nmi();
  EXPECT_EQ(b.events.at_root_boundary(), -1);
  b.rig.core.nmi.iret();
  EXPECT_EQ(b.events.at_root_boundary(), 2);
}

struct guest_row {
  const char* name;
  void (*arrive)(bench&);
  event due;
  vmx::exit_reason exit;
};
// In order of priority: each row also holds with all below it pending.
const guest_row guest_rows[] = {
    {"INIT", [](bench& b) { b.events.note_init(); }, event::init, vmx::exit_reason::init_signal},
    {"preemption timer", [](bench& b) { b.timers.start_preemption_timer(0, bench::c); }, event::preemption_timer,
     vmx::exit_reason::preemption_timer},
    {"NMI", [](bench& b) { b.events.note_nmi(); }, event::nmi, vmx::exit_reason::exception_or_nmi},
    {"external interrupt", [](bench& b) { b.rig.interrupt(0x51); }, event::external_interrupt,
     vmx::exit_reason::external_interrupt},
};

TEST(cpu_recognition, in_a_guest_the_most_urgent_event_exits) {
  for (std::size_t first = 0; first < std::size(guest_rows); ++first) {
    SCOPED_TRACE(guest_rows[first].name);
    bench b;
    b.rig.enter_guest();
    EXPECT_EQ(b.events.at_guest_boundary(bench::c), event::none);
    for (std::size_t i = std::size(guest_rows); i-- > first;) guest_rows[i].arrive(b);
    EXPECT_TRUE(b.events.wakes());
    const event due = b.events.at_guest_boundary(bench::c);
    ASSERT_EQ(due, guest_rows[first].due);
    const boundary_decision d = b.events.decide(due);
    EXPECT_EQ(d.what, kind::vm_exit);
    EXPECT_EQ(d.exit.reason, guest_rows[first].exit);
  }
}

TEST(cpu_recognition, an_interrupt_that_does_not_exit_is_delivered) {
  bench b;
  vmx::minimal_vmcs_options o;
  o.pin = 0;
  b.rig.enter_guest(o);
  b.rig.interrupt(0x51);
  const boundary_decision d = b.events.decide(b.events.at_guest_boundary(bench::c));
  EXPECT_EQ(d.what, kind::deliver);
  EXPECT_EQ(d.vector, 0x51);
}

TEST(cpu_recognition, an_exit_hands_the_interrupt_out_only_if_it_acknowledges) {
  for (const bool acknowledge : {false, true}) {
    bench b;
    vmx::minimal_vmcs_options o;
    if (!acknowledge) o.vm_exit = vmx::vm_exit_control::host_address_space_size;
    b.rig.enter_guest(o);
    b.rig.interrupt(0x51);
    const boundary_decision d = b.events.decide(b.events.at_guest_boundary(bench::c));
    EXPECT_EQ(d.exit.interruption_information, acknowledge ? 0x8000'0051u : 0u);
    EXPECT_EQ(b.rig.core.local_apic.highest_request() >= 0, !acknowledge);
  }
}

TEST(cpu_recognition, the_monitor_trap_flag_lets_one_instruction_through) {
  bench b;
  b.rig.enter_guest();
  b.events.enter(false, true, false);
  EXPECT_TRUE(b.events.steps_singly());
  EXPECT_EQ(b.events.at_guest_boundary(bench::c), event::none);
  EXPECT_TRUE(b.events.mtf_armed());
  EXPECT_EQ(b.events.at_guest_boundary(bench::c), event::none) << "no instruction has executed in this cycle";
  EXPECT_EQ(b.events.at_guest_boundary(bench::c + cycles{1}), event::monitor_trap_flag);
}

TEST(cpu_recognition, work_of_the_processor_is_no_instruction) {
  bench b;
  b.rig.enter_guest();
  b.events.enter(false, true, false);
  b.events.at_guest_boundary(bench::c);
  b.events.note_no_instruction(bench::c + cycles{50});
  EXPECT_EQ(b.events.at_guest_boundary(bench::c + cycles{50}), event::none);
  EXPECT_EQ(b.events.at_guest_boundary(bench::c + cycles{51}), event::monitor_trap_flag);
}

TEST(cpu_recognition, an_exit_takes_nothing_but_the_init_with_it) {
  bench b;
  b.rig.enter_guest();
  b.events.enter(true, false, true);
  b.events.note_nmi();
  EXPECT_TRUE(b.events.leave()) << "to be latched";
  EXPECT_FALSE(b.events.leave());
  EXPECT_EQ(b.events.at_guest_boundary(bench::c), event::nmi);
}

// ---- the timers that run in a guest only ----------------------------------------------------------------------------

TEST(cpu_guest_timers, the_preemption_timer_expires_in_its_cycle) {
  bench b;
  b.rig.enter_guest();
  b.timers.start_preemption_timer(4, cycles{0});
  const cycles expiry{std::uint64_t{4} << b.rig.caps.preemption_timer_shift()};
  b.rig.time.run_until(expiry);
  EXPECT_FALSE(b.timers.preemption_timer_expired());
  b.rig.time.run_until(expiry + cycles{1});
  EXPECT_TRUE(b.timers.preemption_timer_expired());
  EXPECT_EQ(b.events.at_guest_boundary(expiry), event::preemption_timer);
  b.timers.stop();
  EXPECT_FALSE(b.timers.preemption_timer_expired());
}

TEST(cpu_guest_timers, the_count_is_saved_as_of_the_exit) {
  bench b;
  b.rig.enter_guest();
  b.timers.start_preemption_timer(4, cycles{0});
  b.timers.save_preemption_timer(cycles{std::uint64_t{3} << b.rig.caps.preemption_timer_shift()});
  EXPECT_EQ(b.rig.core.registers.preemption_timer, 1u);
}

TEST(cpu_guest_timers, the_earlier_of_the_two_arms_the_slot) {
  bench b;
  b.rig.enter_guest();
  b.rig.core.registers.guest_deadline = 50;
  b.timers.start_preemption_timer(1000, cycles{0});
  EXPECT_EQ(b.rig.time.next(), cycles{50});
  b.rig.time.run_until(cycles{51});
  EXPECT_TRUE(b.timers.deadline_due());
  EXPECT_FALSE(b.timers.preemption_timer_expired());
  EXPECT_NE(b.rig.time.next(), cycles::never()) << "the other goes on";
}

}  // namespace
}  // namespace vmxsys::cpu::testing
