#include <utility>

#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/program/name_space.hpp>
#include <vmxsys/vmx/events/preemption_timer.hpp>
#include <vmxsys/vmx/transition/guest_state.hpp>
#include <vmxsys/vmx/transition/host_state.hpp>
#include <vmxsys/vmx/transition/msr_list.hpp>
#include <vmxsys/vmx/transition/vm_entry.hpp>
#include <vmxsys/vmx/transition/vm_exit.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

#include "detail/cpu_engine.hpp"

// VM entries and VM exits: the rules are in vmx/, here they get time, strands and facts. What a guest sees of the
// processor at the exit is taken when it begins, what the host sees of it when it is over.
namespace vmxsys::cpu {

using vmx::field;
using vmx::segment_name;

// -- registers --------------------------------------------------------------------------------------------------------

/// Brings `core_.registers` up to date with what the engine keeps apart.
void cpu_engine::collect_guest_registers(cycles now) {
  vmx::processor_state& r = core_.registers;
  constexpr std::uint64_t interrupt_flag = vmx::rflags_bits::interrupt_flag;
  r.rip = guest_rip();
  r.rsp = core_.active->rsp();
  r.rflags = (r.rflags & ~interrupt_flag) | (core_.interrupts_enabled ? interrupt_flag : 0);
  r.sti_blocking = core_.shadowed;
  r.mov_ss_blocking = false;
  r.nmi_blocking = core_.nmi.blocked();
  r.virtual_nmi_blocking = core_.nmi.virtual_blocked();
  r.activity = core_.guest_activity;
  r.idtr.base = core_.idtr_base;
  r[segment_name::gs].base = core_.gs_base;
  // The CPL is that of the code; the processor keeps it in SS, and the selectors show it.
  const unsigned cpl = core_.active->location().cpl;
  if (r.cpl() != cpl) {
    for (const segment_name s : {segment_name::ss, segment_name::cs}) {
      r[s].rights = (r[s].rights & ~vmx::access_rights::dpl) | cpl << 5;
      r[s].selector = static_cast<std::uint16_t>((r[s].selector & ~3u) | cpl);
    }
  }
  if (preemption_timer_active_)
    r.preemption_timer = vmx::preemption_timer_value(preemption_timer_loaded_, preemption_timer_start_,
                                                     core_.caps.preemption_timer_shift(), now);
}

/// The other way round, after a transition has loaded `core_.registers`.
void cpu_engine::spread_registers() {
  const vmx::processor_state& r = core_.registers;
  core_.interrupts_enabled = (r.rflags & vmx::rflags_bits::interrupt_flag) != 0;
  core_.shadow = r.sti_blocking;
  core_.idtr_base = r.idtr.base;
  core_.gs_base = r[segment_name::gs].base;
}

// -- where the guest is -----------------------------------------------------------------------------------------------

std::uint64_t cpu_engine::guest_rip() const {
  const instruction* i = core_.active->in_flight();
  if (i != nullptr && i->code == opcode::hlt && i->started) return core_.active->location().rip() + 1;
  if (i != nullptr && i->code == opcode::spin_while && i->started) {
    const auto& spin = static_cast<const spin_instruction&>(*i);
    return spin.site->rip() + (spin.position == spin_position::before_load ? 2 : 0);
  }
  return core_.active->location().rip();
}

// RIP at an instruction executes it again, RIP past it completes it. A HLT that has executed lies behind RIP and stays
// in flight for as long as the activity state is HLT.
void cpu_engine::resume_guest_at(std::uint64_t rip, cycles now) {
  instruction* i = core_.active->in_flight();
  const std::uint64_t expected = guest_rip();
  if (i != nullptr && i->code == opcode::hlt && i->started) {
    if (rip == expected) {
      if (vmx::activity_of(core_.current_vmcs()) == vmx::activity_state::active) core_.complete(*i);
      return;
    }
    if (rip == core_.active->location().rip()) {
      i->started = false;
      return;
    }
  }
  if (rip == expected) return;
  if (i != nullptr && i->code == opcode::spin_while && rip == expected + 2) {
    auto& spin = static_cast<spin_instruction&>(*i);
    if (spin.position == spin_position::before_pause) {
      ++spin.iterations;
      spin.position = spin_position::before_load;
      return;
    }
  } else if (i != nullptr && rip == expected + length_of(*i)) {
    complete_from_registers(*i);
    return;
  }
  throw invariant_error("VM entry at a guest RIP that names no place in strand '" + core_.active->name() + "'", now);
}

// -- micro-steps ------------------------------------------------------------------------------------------------------

/// All steps of a transition are stated when it is complete.
void cpu_engine::state_steps(cycles began, cycles now, fact_id cause) {
  cycles done = began;
  for (const transition_plan::timed_step& s : plan_->steps) {
    done += s.duration;
    core_.state(now, micro_step_fact{s.step, s.duration, done}, cause);
  }
}

// -- VM exit ----------------------------------------------------------------------------------------------------------

void cpu_engine::begin_exit(const vmx::exit_info& info, cycles now) {
  leave_activity(now);
  vmx::vmcs& v = core_.current_vmcs();
  collect_guest_registers(now);
  disarm_monitor();
  exit_info_ = vmx::recorded(info);
  exit_began_ = now;
  exit_cause_ = info.reason == vmx::exit_reason::external_interrupt || info.reason == vmx::exit_reason::preemption_timer
                    ? core_.cause
                    : fact_id{};
  plan_ = &plans_.exit(machine_.plans(), v, core_.registers);
  vmx::record_exit(v, info);
  vmx::save_guest_state(v, core_.registers, core_.caps, info);
  if (guest_apic_) leave_virtual_apic();
  abort_ = vmx::vmcs_corrupted(vmx_unit_) ? vmx::vmx_abort::corrupted_vmcs : vmx::vmx_abort::none;
  if (abort_ == vmx::vmx_abort::none && !vmx::store_guest_msrs(v, core_.physical, *this, core_.caps))
    abort_ = vmx::vmx_abort::saving_guest_msrs;

  core_.time.disarm(guest_timers_slot_);
  preemption_timer_active_ = false;
  preemption_timer_expired_ = false;
  mtf_ = mtf_state::off;
  detectors_.on_exit(now);
  core_.in_guest = false;
  core_.guest_activity = vmx::activity_state::active;
  core_.vmx_state.latched_init |= std::exchange(init_pending_, false);  // this exit came first
  sipi_pending_ = -1;
  core_.shadowed = false;
  core_.book_as(now, bucket::vm_exit);
  core_.run_for(plan_->total, now, phase::read);
  core_.activity = cpu_activity::exiting;
}

void cpu_engine::finish_exit(cycles now) {
  if (core_.facts.observed()) state_steps(exit_began_, now, exit_cause_);
  const vmx::vmcs& v = *core_.vmx_state.current;
  const fact_id exit_fact =
      core_.state(now,
                  vm_exit_fact{core_.vmx_state.current_vmcs, exit_info_.reason, exit_info_.qualification,
                               exit_info_.interruption_information, v.read(field::guest_rip),
                               core_.active->location().cpl, exit_began_},
                  exit_cause_);
  core_.cause = exit_fact;
  if (abort_ == vmx::vmx_abort::none) abort_ = vmx::switch_to_host(vmx_unit_, core_.registers);
  core_.vmx_state.mode = vmx::operation::root;
  core_.nmi.leave(vmx::exit_blocks_nmi(exit_info_));
  if (abort_ == vmx::vmx_abort::none && !vmx::load_host_msrs(v, core_.physical, *this, core_.caps))
    abort_ = vmx::vmx_abort::loading_host_msrs;
  core_.put_down();
  if (abort_ != vmx::vmx_abort::none) {
    enter_vmx_abort(now);
    return;
  }
  spread_registers();
  auto& entry = static_cast<vm_entry_instruction&>(*core_.active->in_flight());
  entry.exit = exit_info_;
  core_.complete(entry);
}

/// VMX abort, SDM Vol. 3C §30.7: the CPU is in a shutdown that only RESET ends.
void cpu_engine::enter_vmx_abort(cycles now) {
  vmx::enter_vmx_abort(vmx_unit_, core_.registers, abort_);
  core_.state(now, vmx_abort_fact{core_.vmx_state.current_vmcs, abort_}, core_.cause);
  core_.time.disarm(core_.step);
  core_.book_as(now, bucket::idle);
  core_.activity = cpu_activity::shutdown;
}

// -- VM entry ---------------------------------------------------------------------------------------------------------

void cpu_engine::begin_entry(vm_entry_instruction& i, cycles now) {
  const auto instruction =
      i.code == opcode::vmlaunch ? vmx::entry_instruction::vmlaunch : vmx::entry_instruction::vmresume;
  entry_context_.set_current_vmcs(core_.vmx_state.current_vmcs);
  const vmx::entry_result result = vmx::check_entry(instruction, core_.vmx_state, core_.mode(), entry_context_);
  core_.book_as(now, bucket::vm_entry);
  const entry_costs& cost = core_.costs.entry;
  switch (result.outcome) {
    case vmx::entry_outcome::enter:
      plan_ = &plans_.entry(machine_.plans(), core_.current_vmcs());
      core_.run_for(plan_->total, now, phase::read);
      core_.activity = cpu_activity::entering;
      return;
    case vmx::entry_outcome::failed_entry:
      fail_entry(i, vmx::failed_entry_exit(result), now,
                 cost.check_controls + cost.check_host_state + cost.check_guest_state);
      return;
    case vmx::entry_outcome::fault_ud:
      i.fault = instruction_fault::invalid_opcode;
      break;
    case vmx::entry_outcome::fault_gp:
      i.fault = instruction_fault::general_protection;
      break;
    default:
      i.fault = instruction_fault::vm_fail;
      i.error = static_cast<std::uint16_t>(result.error);
      why_entry_failed_ = vmx::explain(result, core_.vmx_state.current);
      i.why = &why_entry_failed_;
  }
  core_.run_for(cost.check_controls, now, phase::read);
}

/// Guest state or the MSR-load list is bad: the host state is loaded as by an exit, nothing of the guest is saved. SDM
/// Vol. 3C §29.8.
void cpu_engine::fail_entry(vm_entry_instruction& i, const vmx::exit_info& info, cycles now, cycles before) {
  i.exit = info;
  vmx::record_exit(core_.current_vmcs(), info);
  transition_plan plan;
  machine_.transitions().plan_failed_entry(core_.current_vmcs(), plan);
  core_.run_for(before + plan.total, now, phase::read);
}

void cpu_engine::finish_failed_entry(vm_entry_instruction& i, cycles now) {
  abort_ = vmx::switch_to_host(vmx_unit_, core_.registers);
  if (abort_ == vmx::vmx_abort::none &&
      !vmx::load_host_msrs(*core_.vmx_state.current, core_.physical, *this, core_.caps))
    abort_ = vmx::vmx_abort::loading_host_msrs;
  core_.vmx_state.mode = vmx::operation::root;
  if (abort_ != vmx::vmx_abort::none) return enter_vmx_abort(now);
  spread_registers();
  core_.complete(i);
}

/// False: the MSR-load list is bad, and the way back to the host takes its time.
bool cpu_engine::finish_entry(cycles now) {
  vmx::vmcs& v = core_.current_vmcs();
  auto& entry = static_cast<vm_entry_instruction&>(*core_.active->in_flight());
  const auto injected = static_cast<std::uint32_t>(v.read(field::vm_entry_interruption_information));
  if (core_.facts.observed()) {
    state_steps(now - plan_->total, now, {});
    core_.state(now, vm_entry_fact{core_.vmx_state.current_vmcs, v.read(field::guest_rip), injected,
                                   v.read(field::ple_window), plan_->total});
  }
  const vmx::vm_entry_outcome entered = vmx::enter_guest(
      vmx_unit_, entry.code == opcode::vmlaunch ? vmx::entry_instruction::vmlaunch : vmx::entry_instruction::vmresume,
      core_.registers, *this, now);
  if (!entered) {
    core_.activity = cpu_activity::executing;
    core_.book_as(now, bucket::vm_entry);
    fail_entry(entry, entered.exit, now, cycles{0});
    return false;
  }
  strand* guest = core_.names.strand_at(core_.registers.rsp);
  if (guest == nullptr || guest->depth() == 0)
    throw invariant_error("VM entry: the guest's RSP names no strand that has been started", now);
  if (guest->on_cpu() != nullptr && guest != core_.active->passenger())
    throw invariant_error(
        "VM entry: strand '" + guest->name() + "' is on CPU " + std::to_string(guest->on_cpu()->number()) + " already",
        now);
  core_.carry(*guest, now);
  disarm_monitor();
  spread_registers();
  core_.nmi_rule = &vmx::nmi_rule_of(v);
  core_.nmi = vmx::nmi_state{core_.registers.nmi_blocking, core_.registers.virtual_nmi_blocking};
  core_.guest_activity = core_.registers.activity;
  vmx::spin_parameters spin = spin_parameters_of(v);
  spin.overcommitted = machine_.config().overcommitted && machine_.config().overcommitted(core_.number);
  detectors_.on_entry(now, spin);
  init_pending_ = entered.boundary.init;
  start_preemption_timer(entered, now);
  if ((vmx::primary_controls(v) & vmx::primary::use_tpr_shadow) != 0)
    enter_virtual_apic(entered.boundary.trap_like_exit, now);

  resume_guest_at(core_.registers.rip, now);
  core_.activity = cpu_activity::executing;
  if (entered.boundary.monitor_trap_flag)
    mtf_ = mtf_state::pending;
  else if ((vmx::primary_controls(v) & vmx::primary::monitor_trap_flag) != 0)
    mtf_ = mtf_state::before_first;
  if (entered.after.injection->vectored)
    inject(entered.after.event, now);
  else if (core_.guest_activity != vmx::activity_state::active)
    halt(now);
  return true;
}

void cpu_engine::start_preemption_timer(const vmx::vm_entry_outcome& entered, cycles now) {
  if (entered.preemption_timer_expiry == cycles::never()) return;
  preemption_timer_start_ = entered.preemption_timer;
  preemption_timer_active_ = true;
  preemption_timer_loaded_ = now;
  preemption_timer_expired_ = entered.boundary.preemption_timer;
  arm_guest_timers(now);
}

/// The injected event is delivered as part of the entry, whatever the controls say of events of its kind. SDM Vol. 3C
/// §29.6. A hardware exception that the guest's program can see strikes the instruction in flight.
void cpu_engine::inject(const vmx::event_information& event, cycles now) {
  if (event.type == vmx::event_type::hardware_exception && strike(event.vector, now)) return;
  deliver(event.vector, now, cycles{0});  // its time is part of the entry
}

}  // namespace vmxsys::cpu
