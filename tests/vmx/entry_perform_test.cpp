#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/vmx/transition/host_state.hpp>
#include <vmxsys/vmx/vmcs/active_vmcs_store.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

#include "exit_state_fields.hpp"
#include "flat_memory.hpp"
#include "foreign_cpu.hpp"

// A whole VM entry by one call, and a CPU model that has nothing but these two: enter, run, exit. SDM Vol. 3C §29.
namespace vmxsys::vmx {
namespace {

constexpr physical_address region = 0x1000;
constexpr physical_address load_list = 0x9000;
constexpr physical_address host_list = 0xA000;
constexpr std::uint32_t bad_msr = 0x830;
constexpr std::uint64_t host_rip = 0xFFFF'8000'0000'1000;

class plain_msrs final : public msr_interface {
 public:
  bool read_msr(std::uint32_t, std::uint64_t& value) override {
    value = 0x77;
    return true;
  }
  bool write_msr(std::uint32_t msr, std::uint64_t) override {
    written.push_back(msr);
    return true;
  }
  std::vector<std::uint32_t> written;
};

class vmx_entry_perform : public ::testing::Test {
 protected:
  void SetUp() override {
    memory.write<std::uint32_t>(region, caps.revision());
    state.current = &store.activate(region, 0, memory);
    state.current_vmcs = region;
    state.mode = operation::root;
    minimal_vmcs_options o;
    o.host_rip = host_rip;
    o.guest_rip = 0;
    *state.current = make_minimal_vmcs(caps, o);
    cpu.registers[segment_name::cs] = {0x10, 0xFFFF'FFFF, 0xA09B, 0};
    cpu.registers[segment_name::ss] = {0x18, 0xFFFF'FFFF, 0xC093, 0};
  }
  vmcs& v() { return *state.current; }
  void set(field f, std::uint64_t bits) { v().write(f, v().read(f) | bits); }
  void list(field address, field count, physical_address at, const std::vector<std::uint32_t>& msr_indexes) {
    v().write(address, at);
    v().write(count, msr_indexes.size());
    for (const std::uint32_t index : msr_indexes) {
      memory.write<std::uint64_t>(at, index);
      at += 16;
    }
  }
  void guest_loads(const std::vector<std::uint32_t>& m) {
    list(field::vm_entry_msr_load_address, field::vm_entry_msr_load_count, load_list, m);
  }
  void host_loads(const std::vector<std::uint32_t>& m) {
    list(field::vm_exit_msr_load_address, field::vm_exit_msr_load_count, host_list, m);
  }
  vm_entry_outcome enter(const entry_situation& at = {}, entry_instruction how = entry_instruction::vmlaunch) {
    return perform_vm_entry(unit, how, cpu.context, cpu.registers, msrs, cpu.now, at);
  }
  void expect_back_in_host(const vm_entry_outcome& o, std::uint32_t reason, std::uint64_t qualification) {
    EXPECT_FALSE(o);
    EXPECT_EQ(o.result.outcome, entry_outcome::failed_entry);
    EXPECT_EQ(v().read(field::exit_reason), 0x8000'0000u | reason);
    EXPECT_EQ(v().read(field::exit_qualification), qualification);
    EXPECT_EQ(static_cast<std::uint32_t>(o.exit.reason), reason);
    EXPECT_TRUE(o.exit.entry_failure);
    EXPECT_EQ(o.exit.qualification, qualification);
    EXPECT_EQ(state.mode, operation::root);
    EXPECT_EQ(v().launch(), launch_state::clear);
    EXPECT_EQ(cpu.registers.rip, host_rip);
    EXPECT_EQ(o.abort, vmx_abort::none);
    EXPECT_EQ(o.work.information_fields_written, 2u);
    EXPECT_NE(o.work.host_fields_loaded, 0u);
    EXPECT_EQ(o.work.events_injected, 0u);
  }

  capabilities caps = find_capability_row("cascade_lake_sp")->values;
  test::flat_memory memory;
  active_vmcs_store store;
  vmx_state state;
  vmx_unit unit{state, caps, memory, store};
  plain_msrs msrs;
  test::foreign_cpu cpu{unit, {caps, memory}, msrs, {}, cycles{1000}, {}};
};

TEST_F(vmx_entry_perform, a_plain_entry) {
  guest_loads({0x174, 0x175});
  const transition_work planned = entry_work(v(), caps);
  const vm_entry_outcome o = enter();
  ASSERT_TRUE(o) << explain(o.result, state.current);
  EXPECT_EQ(state.mode, operation::non_root);
  EXPECT_EQ(v().launch(), launch_state::launched);
  EXPECT_EQ(cpu.registers.rip, 0u);
  EXPECT_EQ(cpu.registers.rflags, 0x202u);
  EXPECT_EQ(msrs.written, (std::vector<std::uint32_t>{0x174, 0x175}));
  EXPECT_EQ(o.loaded.done, 2u);
  EXPECT_EQ(o.first.what, first_action::kind::execute);
  EXPECT_EQ(o.preemption_timer_expiry, cycles::never());
  EXPECT_EQ(o.guest_tsc, 1000u);
  for (std::size_t i = 0; i < transition_step_count; ++i) {
    const auto step = static_cast<transition_step>(i);
    EXPECT_EQ(work_of(step, o.work), work_of(step, planned)) << name_of(step);
  }
}

// ---- entries that do not happen -------------------------------------------------------------------------------------

TEST_F(vmx_entry_perform, vmfail_changes_nothing_but_the_error_number) {
  v().write(field::cr3_target_count, 5);
  const processor_state before = cpu.registers;
  const vm_entry_outcome o = enter();
  EXPECT_EQ(o.result.outcome, entry_outcome::fail_valid);
  EXPECT_EQ(o.result.error, instruction_error::entry_invalid_control_fields);
  EXPECT_EQ(v().read(field::vm_instruction_error), 7u);
  EXPECT_NE(o.result.check, nullptr);
  EXPECT_EQ(state.mode, operation::root);
  for (const test::guest_field& f : test::guest_fields()) EXPECT_EQ(f.get(cpu.registers), f.get(before));
  EXPECT_EQ(work_of(transition_step::load_host_state, o.work), 0u);
}

TEST_F(vmx_entry_perform, the_wrong_instruction_fails_with_its_number) {
  const vm_entry_outcome o = enter({}, entry_instruction::vmresume);
  EXPECT_EQ(o.result.outcome, entry_outcome::fail_valid);
  EXPECT_EQ(v().read(field::vm_instruction_error), 5u);
}

TEST_F(vmx_entry_perform, the_mode_is_that_of_the_registers) {
  cpu.registers[segment_name::ss].rights |= access_rights::dpl;
  EXPECT_EQ(enter().result.outcome, entry_outcome::fault_gp);
  cpu.registers[segment_name::ss].rights &= ~access_rights::dpl;
  cpu.registers[segment_name::cs].rights &= ~access_rights::long_mode;
  EXPECT_EQ(enter().result.outcome, entry_outcome::fault_ud) << "compatibility mode";
}

TEST_F(vmx_entry_perform, exit_33_leads_back_to_the_host) {
  host_loads({0x176});
  guest_loads({0x174});
  v().write(field::vmcs_link_pointer, 0x123);
  cpu.registers.nmi_blocking = true;
  const vm_entry_outcome o = enter();
  expect_back_in_host(o, 33, 4);
  EXPECT_NE(std::string{o.result.check}, "");
  EXPECT_EQ(msrs.written, (std::vector<std::uint32_t>{0x176})) << "the guest's list is not reached";
  EXPECT_TRUE(cpu.registers.nmi_blocking) << "as before the entry";
  EXPECT_EQ(o.work.guest_fields_loaded, 0u);
  EXPECT_EQ(o.work.msrs_loaded, 1u);
}

TEST_F(vmx_entry_perform, exit_34_comes_after_the_guest_was_loaded) {
  host_loads({0x176});
  guest_loads({0x174, bad_msr, 0x175});
  v().write(field::guest_interruptibility_state, interruptibility::nmi);
  const vm_entry_outcome o = enter();
  expect_back_in_host(o, 34, 2);
  EXPECT_EQ(o.loaded.failed, 2u);
  EXPECT_EQ(msrs.written, (std::vector<std::uint32_t>{0x174, 0x176}));
  EXPECT_FALSE(cpu.registers.nmi_blocking) << "the guest's is undone";
  EXPECT_NE(o.work.guest_fields_loaded, 0u);
  EXPECT_EQ(o.work.msrs_loaded, 2u);
}

TEST_F(vmx_entry_perform, exit_41_for_a_machine_check) {
  entry_situation at;
  at.machine_check = true;
  expect_back_in_host(enter(at), 41, 0);
  v().write(field::cr3_target_count, 5);
  EXPECT_EQ(enter(at).result.outcome, entry_outcome::fail_valid) << "VMfail comes first";
}

TEST_F(vmx_entry_perform, a_failed_entry_can_end_in_an_abort) {
  host_loads({bad_msr});
  v().write(field::vmcs_link_pointer, 0x123);
  const vm_entry_outcome o = enter();
  EXPECT_EQ(o.abort, vmx_abort::loading_host_msrs);
  EXPECT_EQ(cpu.registers.activity, activity_state::shutdown);
}

// ---- what an entry leaves behind ------------------------------------------------------------------------------------

TEST_F(vmx_entry_perform, an_injected_nmi_is_delivered_first_and_blocks_the_next) {
  v().write(field::vm_entry_interruption_information, 0x8000'0202);
  v().write(field::guest_activity_state, 1);
  const vm_entry_outcome o = enter();
  EXPECT_EQ(o.first.what, first_action::kind::deliver);
  EXPECT_EQ(o.after.event.vector, 2u);
  EXPECT_EQ(cpu.registers.activity, activity_state::active);
  EXPECT_TRUE(cpu.registers.nmi_blocking);
  EXPECT_EQ(o.work.events_injected, 1u);
}

TEST_F(vmx_entry_perform, an_inactive_guest_waits) {
  v().write(field::guest_activity_state, 1);
  EXPECT_EQ(enter().first.what, first_action::kind::wait);
  EXPECT_EQ(cpu.registers.activity, activity_state::hlt);
}

TEST_F(vmx_entry_perform, what_has_arrived_acts_before_the_first_instruction) {
  entry_situation at;
  at.arrived.external_interrupt = true;
  const vm_entry_outcome o = enter(at);
  EXPECT_EQ(o.first.what, first_action::kind::act);
  EXPECT_EQ(o.first.event, boundary_event::external_interrupt);
}

TEST_F(vmx_entry_perform, a_latched_init_is_the_guests_now) {
  state.latched_init = true;
  const vm_entry_outcome o = enter();
  EXPECT_EQ(o.first.event, boundary_event::init);
  EXPECT_FALSE(state.latched_init);
}

TEST_F(vmx_entry_perform, the_preemption_timer_runs_from_the_cycle_of_the_entry) {
  set(field::pin_based_controls, pin_based::activate_vmx_preemption_timer);
  v().write(field::vmx_preemption_timer_value, 3);
  const vm_entry_outcome o = enter();
  const unsigned shift = caps.preemption_timer_shift();
  EXPECT_EQ(o.preemption_timer, 3u);
  EXPECT_EQ(o.preemption_timer_expiry, cycles{((1000u >> shift) + 3) << shift});
  EXPECT_EQ(o.first.what, first_action::kind::execute);
}

TEST_F(vmx_entry_perform, a_timer_of_0_exits_before_the_first_instruction) {
  set(field::pin_based_controls, pin_based::activate_vmx_preemption_timer);
  EXPECT_EQ(enter().first.event, boundary_event::preemption_timer);
}

TEST_F(vmx_entry_perform, the_pieces_in_order_make_the_whole) {
  guest_loads({0x174});
  v().write(field::vm_entry_interruption_information, 0x8000'0030);
  v().write(field::guest_interruptibility_state, 0);
  const vmcs v0 = v();
  const processor_state p0 = cpu.registers;
  const vm_entry_outcome whole = enter();
  const processor_state p1 = cpu.registers;
  v() = v0;
  cpu.registers = p0;
  state.mode = operation::root;
  ASSERT_TRUE(check_entry(entry_instruction::vmlaunch, state, mode_of(cpu.registers), cpu.context));
  const entered_guest o = enter_guest(unit, entry_instruction::vmlaunch, cpu.registers, msrs, cpu.now);
  ASSERT_TRUE(o);
  EXPECT_EQ(state.mode, operation::non_root);
  EXPECT_EQ(o.after.event.vector, whole.after.event.vector);
  EXPECT_EQ(o.boundary.blocking.rflags, whole.boundary.blocking.rflags);
  for (const test::guest_field& f : test::guest_fields())
    EXPECT_EQ(f.get(cpu.registers), f.get(p1)) << name_of(f.where);
}

// ---- a CPU model with nothing but the two calls ---------------------------------------------------------------------

TEST_F(vmx_entry_perform, a_foreign_cpu_runs_a_guest) {
  cpu.guest_code = {mnemonic::rdpid, mnemonic::rdtsc, mnemonic::cpuid, mnemonic::rdtsc, mnemonic::hlt};
  exit_info exit;
  ASSERT_TRUE(cpu.round_trip(entry_instruction::vmlaunch, exit));
  EXPECT_EQ(exit.reason, exit_reason::cpuid);
  EXPECT_EQ(v().read(field::guest_rip), 4u);
  EXPECT_EQ(cpu.registers.rip, host_rip);
  EXPECT_EQ(cpu.now, cycles{1002});

  v().write(field::guest_rip, 4 + v().read(field::vm_exit_instruction_length));
  ASSERT_TRUE(cpu.round_trip(entry_instruction::vmresume, exit));
  EXPECT_EQ(exit.reason, exit_reason::hlt);
  EXPECT_EQ(v().read(field::guest_rip), 8u);
}

TEST_F(vmx_entry_perform, a_foreign_cpu_delivers_what_is_injected) {
  cpu.guest_code.assign(0x400, mnemonic::rdtsc);
  cpu.guest_code[0x30 * 16 / 2 + 1] = mnemonic::cpuid;
  v().write(field::vm_entry_interruption_information, 0x8000'0030);
  exit_info exit;
  ASSERT_TRUE(cpu.round_trip(entry_instruction::vmlaunch, exit));
  EXPECT_EQ(v().read(field::guest_rip), 0x302u);
  EXPECT_FALSE(v().any(field::vm_entry_interruption_information, event_bits::valid)) << "injected once";
}

TEST_F(vmx_entry_perform, a_foreign_cpu_exits_when_the_preemption_timer_expires) {
  cpu.guest_code.assign(0x1000, mnemonic::rdtsc);
  set(field::pin_based_controls, pin_based::activate_vmx_preemption_timer);
  v().write(field::vmx_preemption_timer_value, 2);
  exit_info exit;
  const vm_entry_outcome o = cpu.round_trip(entry_instruction::vmlaunch, exit);
  EXPECT_EQ(exit.reason, exit_reason::preemption_timer);
  EXPECT_EQ(cpu.now, o.preemption_timer_expiry);
  EXPECT_EQ(v().read(field::guest_rip), 2 * (cpu.now - cycles{1000}).count()) << "one instruction per cycle before it";
}

TEST_F(vmx_entry_perform, a_foreign_cpu_hears_of_a_failed_entry) {
  v().write(field::vmcs_link_pointer, 0x123);
  exit_info exit;
  const vm_entry_outcome o = cpu.round_trip(entry_instruction::vmlaunch, exit);
  expect_back_in_host(o, 33, 4);
  EXPECT_EQ(exit.reason, exit_reason::entry_failure_guest_state);
}

}  // namespace
}  // namespace vmxsys::vmx
