#include "detail/vm_transition.hpp"

#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/vmx/transition/guest_state.hpp>
#include <vmxsys/vmx/transition/host_state.hpp>
#include <vmxsys/vmx/transition/msr_list.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

#include "detail/guest_registers.hpp"
#include "detail/instruction_forms.hpp"
#include "logical_cpu.hpp"

namespace vmxsys::cpu {

using vmx::field;
using vmx::segment_name;

namespace {
vmx::entry_instruction instruction_of(const vm_entry_instruction& i) {
  return i.code == opcode::vmlaunch ? vmx::entry_instruction::vmlaunch : vmx::entry_instruction::vmresume;
}
}  // namespace

vm_transition::vm_transition(cpu_core& core, const parts& of, vmx::vmx_unit& unit, transition_plans& plans,
                             const hint& overcommitted)
    : core_{core},
      of_{of},
      unit_{unit},
      all_plans_{plans},
      overcommitted_{overcommitted},
      entry_context_{core.caps, core.physical} {}

// -- registers --------------------------------------------------------------------------------------------------------

/// Brings `registers` up to date with what the engine keeps apart.
void vm_transition::collect_guest_registers(cycles now) {
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
  of_.timers.save_preemption_timer(now);
}

/// The other way round, after a transition has loaded `registers`.
void vm_transition::spread_registers() {
  const vmx::processor_state& r = core_.registers;
  core_.interrupts_enabled = (r.rflags & vmx::rflags_bits::interrupt_flag) != 0;
  core_.shadow = r.sti_blocking;
  core_.idtr_base = r.idtr.base;
  core_.gs_base = r[segment_name::gs].base;
}

// -- where the guest is -----------------------------------------------------------------------------------------------

std::uint64_t vm_transition::guest_rip() const {
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
void vm_transition::resume_guest_at(std::uint64_t rip, cycles now) {
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
    complete_from_registers(*core_.active, *i);
    core_.complete(*i);
    return;
  }
  throw invariant_error("VM entry at a guest RIP that names no place in strand '" + core_.active->name() + "'", now);
}

// -- micro-steps ------------------------------------------------------------------------------------------------------

/// All steps of a transition are recorded when it is complete.
void vm_transition::state_steps(cycles began, cycles now, fact_id cause) {
  cycles done = began;
  for (const transition_plan::timed_step& s : plan_->steps) {
    done += s.duration;
    core_.record(now, micro_step_fact{s.step, s.duration, done}, cause);
  }
}

// -- VM exit ----------------------------------------------------------------------------------------------------------

void vm_transition::begin_exit(const vmx::exit_info& info, cycles now) {
  of_.activity.leave(now);
  vmx::vmcs& v = core_.current_vmcs();
  collect_guest_registers(now);
  of_.wait.disarm();
  exit_info_ = vmx::recorded(info);
  exit_began_ = now;
  exit_cause_ = info.reason == vmx::exit_reason::external_interrupt || info.reason == vmx::exit_reason::preemption_timer
                    ? core_.cause
                    : fact_id{};
  plan_ = &plans_.exit(all_plans_, v, core_.registers);
  vmx::record_exit(v, info);
  vmx::save_guest_state(v, core_.registers, core_.caps, info);
  of_.virtual_apic.leave();
  abort_ = vmx::vmcs_corrupted(unit_) ? vmx::vmx_abort::corrupted_vmcs : vmx::vmx_abort::none;
  if (abort_ == vmx::vmx_abort::none && !vmx::store_guest_msrs(v, core_.physical, of_.msrs, core_.caps))
    abort_ = vmx::vmx_abort::saving_guest_msrs;

  of_.timers.stop();
  of_.spin.detectors().on_exit(now);
  core_.in_guest = false;
  core_.guest_activity = vmx::activity_state::active;
  core_.vmx_state.latched_init |= of_.events.leave();
  core_.shadowed = false;
  core_.book_as(now, bucket::vm_exit);
  core_.run_for(plan_->total, now, phase::read);
  core_.activity = cpu_activity::exiting;
}

void vm_transition::finish_exit(cycles now) {
  if (core_.facts.observed()) state_steps(exit_began_, now, exit_cause_);
  const vmx::vmcs& v = *core_.vmx_state.current;
  const fact_id exit_fact =
      core_.record(now,
                   vm_exit_fact{core_.vmx_state.current_vmcs, exit_info_.reason, exit_info_.qualification,
                                exit_info_.interruption_information, v.read(field::guest_rip),
                                core_.active->location().cpl, exit_began_},
                   exit_cause_);
  core_.cause = exit_fact;
  load_host();
  core_.nmi.leave(vmx::exit_blocks_nmi(exit_info_));
  core_.put_down();
  if (abort_ != vmx::vmx_abort::none) return enter_vmx_abort(now);
  spread_registers();
  auto& entry = static_cast<vm_entry_instruction&>(*core_.active->in_flight());
  entry.exit = exit_info_;
  core_.complete(entry);
}

/// From guest to host registers and MSRs, as far as no abort comes in between.
void vm_transition::load_host() {
  if (abort_ == vmx::vmx_abort::none) abort_ = vmx::switch_to_host(unit_, core_.registers);
  core_.vmx_state.mode = vmx::operation::root;
  if (abort_ == vmx::vmx_abort::none &&
      !vmx::load_host_msrs(core_.current_vmcs(), core_.physical, of_.msrs, core_.caps))
    abort_ = vmx::vmx_abort::loading_host_msrs;
}

/// VMX abort, SDM Vol. 3C §30.7: the CPU is in a shutdown that only RESET ends.
void vm_transition::enter_vmx_abort(cycles now) {
  vmx::enter_vmx_abort(unit_, core_.registers, abort_);
  core_.record(now, vmx_abort_fact{core_.vmx_state.current_vmcs, abort_}, core_.cause);
  core_.time.disarm(core_.step);
  core_.book_as(now, bucket::idle);
  core_.activity = cpu_activity::shutdown;
}

// -- VM entry ---------------------------------------------------------------------------------------------------------

void vm_transition::begin_entry(vm_entry_instruction& i, cycles now) {
  entry_context_.set_current_vmcs(core_.vmx_state.current_vmcs);
  const vmx::entry_result result = vmx::check_entry(instruction_of(i), core_.vmx_state, core_.mode(), entry_context_);
  core_.book_as(now, bucket::vm_entry);
  const entry_costs& cost = core_.costs.entry;
  switch (result.outcome) {
    case vmx::entry_outcome::enter:
      plan_ = &plans_.entry(all_plans_, core_.current_vmcs());
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
void vm_transition::fail_entry(vm_entry_instruction& i, const vmx::exit_info& info, cycles now, cycles before) {
  i.exit = info;
  vmx::record_exit(core_.current_vmcs(), info);
  transition_plan plan;
  all_plans_.costs().plan_failed_entry(core_.current_vmcs(), plan);
  core_.run_for(before + plan.total, now, phase::read);
}

vm_transition::entered vm_transition::finish_entry(cycles now) {
  vmx::vmcs& v = core_.current_vmcs();
  auto& i = static_cast<vm_entry_instruction&>(*core_.active->in_flight());
  const auto injected = static_cast<std::uint32_t>(v.read(field::vm_entry_interruption_information));
  const vmx::entered_guest entry = vmx::enter_guest(unit_, instruction_of(i), core_.registers, of_.msrs, now);
  if (!entry) {
    core_.activity = cpu_activity::executing;
    core_.book_as(now, bucket::vm_entry);
    fail_entry(i, vmx::failed_msr_load_exit(entry.loaded), now, cycles{0});
    return {entered::kind::failed};
  }
  // From here on the entry cannot fail: what fails before leaves no fact of an entry, as with bad guest state.
  if (core_.facts.observed()) {
    state_steps(now - plan_->total, now, {});
    core_.record(now, vm_entry_fact{core_.vmx_state.current_vmcs, v.read(field::guest_rip), injected,
                                    v.read(field::ple_window), plan_->total});
  }
  core_.carry(guest_named_by_rsp(now), now);
  of_.wait.disarm();
  spread_registers();
  core_.nmi_rule = &vmx::nmi_rule_of(v);
  core_.nmi = vmx::nmi_state{core_.registers.nmi_blocking, core_.registers.virtual_nmi_blocking};
  core_.guest_activity = core_.registers.activity;
  vmx::spin_parameters spin = spin_parameters_of(v);
  spin.overcommitted = overcommitted_ && overcommitted_(core_.number);
  of_.spin.detectors().on_entry(now, spin);
  of_.events.enter(entry.boundary.init, (vmx::primary_controls(v) & vmx::primary::monitor_trap_flag) != 0,
                   entry.boundary.monitor_trap_flag);
  if (entry.preemption_timer_expiry != cycles::never()) of_.timers.start_preemption_timer(entry.preemption_timer, now);
  if ((vmx::primary_controls(v) & vmx::primary::use_tpr_shadow) != 0)
    of_.virtual_apic.enter(entry.boundary.trap_like_exit, now);

  resume_guest_at(core_.registers.rip, now);
  core_.activity = cpu_activity::executing;
  if (entry.after.injection->vectored) return {entered::kind::deliver, entry.after.event};
  return {core_.guest_activity == vmx::activity_state::active ? entered::kind::execute : entered::kind::wait};
}

/// The strand that the guest's RSP names, which must be free to run here.
strand& vm_transition::guest_named_by_rsp(cycles now) const {
  strand* guest = core_.names.strand_at(core_.registers.rsp);
  if (guest == nullptr || guest->depth() == 0)
    throw invariant_error("VM entry: the guest's RSP names no strand that has been started", now);
  if (guest->on_cpu() != nullptr && guest != core_.active->passenger())
    throw invariant_error(
        "VM entry: strand '" + guest->name() + "' is on CPU " + std::to_string(guest->on_cpu()->number()) + " already",
        now);
  return *guest;
}

void vm_transition::finish_failed_entry(vm_entry_instruction& i, cycles now) {
  abort_ = vmx::vmx_abort::none;
  load_host();
  if (abort_ != vmx::vmx_abort::none) return enter_vmx_abort(now);
  spread_registers();
  core_.complete(i);
}

}  // namespace vmxsys::cpu
