#include <gtest/gtest.h>

#include <vmxsys/cpu/core/detail/vm_transition.hpp>
#include <vmxsys/vmx/vmcs/active_vmcs_store.hpp>

#include "core_rig.hpp"

// VM entries and exits in time, on a core alone; and the waits that an exit ends.
namespace vmxsys::cpu::testing {
namespace {

constexpr physical_address region = 0x1000;

struct bench {
  core_rig rig;
  vmx::active_vmcs_store store;
  vmx::vmx_unit unit{rig.core.vmx_state, rig.caps, rig.physical, store};
  local_apic_unit own{rig.core, rig.time.add_slot(this, ignore)};
  guest_timers timers{rig.core, rig.time.add_slot(this, ignore)};
  monitor_wait wait{rig.core};
  spin_loop spin{rig.core, {}, {}};
  interruptible activity{rig.core, spin, wait};
  guest_apic virtual_apic{rig.core, timers, own};
  recognition events{rig.core, timers, virtual_apic, wait};
  transition_costs costs{rig.costs, rig.caps};
  transition_plans plans{costs};
  vm_transition::hint no_hint;
  vm_transition transition{rig.core, {activity, spin, wait, timers, virtual_apic, events, own}, unit, plans, no_hint};

  static void ignore(void*, cycles) {}

  vmx::vmcs& make_current() {
    vmx::minimal_vmcs_options o;
    o.guest_rip = core_rig::here.rip();
    rig.core.vmx_state.mode = vmx::operation::root;
    rig.core.vmx_state.current_vmcs = region;
    rig.core.vmx_state.current = &store.activate(region, 0, rig.physical);
    *rig.core.vmx_state.current = vmx::make_minimal_vmcs(rig.caps, o);
    return *rig.core.vmx_state.current;
  }
  void in_guest() {
    vmx::vmcs& v = make_current();
    rig.core.vmx_state.mode = vmx::operation::non_root;
    rig.core.nmi_rule = &vmx::nmi_rule_of(v);
    rig.core.in_guest = true;
    rig.core.interrupts_enabled = true;
  }
  vmx::exit_info external_interrupt() const {
    vmx::exit_info info;
    info.reason = vmx::exit_reason::external_interrupt;
    return info;
  }
};

TEST(cpu_vm_transition, an_entry_takes_its_micro_steps) {
  bench b;
  vmx::vmcs& v = b.make_current();
  transition_plan plan;
  b.costs.plan_entry(v, plan);
  vm_entry_instruction i{opcode::vmlaunch};
  b.transition.begin_entry(i, cycles{10});
  EXPECT_EQ(b.rig.core.activity, cpu_activity::entering);
  EXPECT_EQ(b.rig.time.next(), cycles{10} + plan.total);
  EXPECT_EQ(b.rig.core.account.open_bucket(), bucket::vm_entry);
  EXPECT_FALSE(b.rig.core.in_guest) << "not before it is over";
}

TEST(cpu_vm_transition, vmfail_takes_the_control_checks_and_says_why) {
  bench b;
  b.make_current().write(vmx::field::cr3_target_count, 5);
  vm_entry_instruction i{opcode::vmlaunch};
  b.transition.begin_entry(i, cycles{10});
  EXPECT_EQ(i.fault, instruction_fault::vm_fail);
  EXPECT_EQ(i.error, 7u);
  ASSERT_NE(i.why, nullptr);
  EXPECT_EQ(b.rig.time.next(), cycles{10} + b.rig.costs.entry.check_controls);
}

TEST(cpu_vm_transition, a_failed_entry_pays_for_the_way_back) {
  bench b;
  vmx::vmcs& v = b.make_current();
  v.write(vmx::field::vmcs_link_pointer, 0x123);
  vm_entry_instruction i{opcode::vmlaunch};
  b.transition.begin_entry(i, cycles{10});
  transition_plan back;
  b.costs.plan_failed_entry(v, back);
  const entry_costs& cost = b.rig.costs.entry;
  EXPECT_EQ(i.exit.reason, vmx::exit_reason::entry_failure_guest_state);
  EXPECT_EQ(b.rig.time.next(),
            cycles{10} + cost.check_controls + cost.check_host_state + cost.check_guest_state + back.total);
}

TEST(cpu_vm_transition, the_guest_stops_where_its_exit_begins) {
  bench b;
  b.in_guest();
  b.timers.start_preemption_timer(0, cycles{5});
  b.events.note_init();
  b.transition.begin_exit(b.external_interrupt(), cycles{10});
  EXPECT_EQ(b.rig.core.activity, cpu_activity::exiting);
  EXPECT_FALSE(b.rig.core.in_guest);
  EXPECT_FALSE(b.timers.preemption_timer_expired());
  EXPECT_TRUE(b.rig.core.vmx_state.latched_init) << "another exit came first";
  const vmx::vmcs& v = *b.rig.core.vmx_state.current;
  EXPECT_EQ(v.read(vmx::field::exit_reason), 1u);
  EXPECT_EQ(v.read(vmx::field::guest_rip), core_rig::here.rip());
  EXPECT_TRUE(v.any(vmx::field::guest_rflags, vmx::rflags_bits::interrupt_flag));
  EXPECT_EQ(b.rig.core.account.open_bucket(), bucket::vm_exit);
}

// ---- what an exit, or an interrupt, ends ----------------------------------------------------------------------------

TEST(cpu_interruptible, a_block_keeps_what_is_left_of_it) {
  bench b;
  instruction i{opcode::compute};
  i.a = 100;
  EXPECT_TRUE(b.activity.begin_compute(i, false, cycles{10}));
  EXPECT_EQ(b.rig.time.next(), cycles{110});
  EXPECT_FALSE(b.activity.compute_over(cycles{109}));
  EXPECT_TRUE(b.activity.compute_over(cycles{110}));
}

TEST(cpu_interruptible, what_waits_for_a_shadow_sees_the_boundary_behind_the_first_instruction) {
  bench b;
  instruction i{opcode::compute};
  i.a = 100;
  b.activity.begin_compute(i, true, cycles{10});
  EXPECT_EQ(b.rig.time.next(), cycles{11});
  b.activity.resume_compute();
  EXPECT_EQ(b.rig.time.next(), cycles{110});
}

TEST(cpu_monitor_wait, ends_at_its_deadline) {
  bench b;
  system_instruction i{vmx::mnemonic::tpause};
  EXPECT_FALSE(b.wait.pointless(i)) << "it needs no line";
  EXPECT_FALSE(b.wait.begin(i, {0, false}, cycles{10}));
  EXPECT_TRUE(b.wait.begin(i, {90, true}, cycles{10}));
  EXPECT_EQ(b.rig.core.activity, cpu_activity::waiting);
  EXPECT_EQ(b.rig.time.next(), cycles{100});
  EXPECT_EQ(i.a, 1u) << "the limit made it so short";
}

TEST(cpu_monitor_wait, mwait_needs_its_line) {
  bench b;
  system_instruction i{vmx::mnemonic::mwait};
  EXPECT_TRUE(b.wait.pointless(i));
  b.wait.arm(b.rig.physical.word_at(0x5000));
  EXPECT_FALSE(b.wait.pointless(i));
  i.what.ecx = 1;
  EXPECT_TRUE(b.wait.begin(i, {}, cycles{10}));
  EXPECT_TRUE(b.wait.waits_for_masked());
  EXPECT_EQ(b.rig.time.next(), cycles::never()) << "without a deadline";
}

TEST(cpu_monitor_wait, a_store_disarms_the_line) {
  bench b;
  word& line = b.rig.physical.word_at(0x5000);
  b.wait.arm(line);
  EXPECT_TRUE(b.rig.core.registers.monitor_armed);
  b.rig.physical.complete_store(line, 1, cycles{5}, 7);
  EXPECT_FALSE(b.wait.armed());
  EXPECT_FALSE(b.rig.core.registers.monitor_armed);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
