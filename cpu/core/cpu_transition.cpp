#include <utility>

#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/program/name_space.hpp>
#include <vmxsys/vmx/events/monitor_trap_flag.hpp>
#include <vmxsys/vmx/events/preemption_timer.hpp>
#include <vmxsys/vmx/transition/guest_state.hpp>
#include <vmxsys/vmx/transition/host_state.hpp>
#include <vmxsys/vmx/transition/msr_list.hpp>
#include <vmxsys/vmx/transition/vm_exit.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

#include "logical_cpu.hpp"

// VM entries and VM exits: the rules are in vmx/, here they get time, strands and facts. What a guest sees of the
// processor at the exit is taken when it begins, what the host sees of it when it is over.
namespace vmxsys::cpu {

using vmx::field;
using vmx::segment_name;

// -- registers --------------------------------------------------------------------------------------------------------

/// Brings `registers_` up to date with what the engine keeps apart.
void logical_cpu::collect_guest_registers(cycles now) {
  vmx::processor_state& r = registers_;
  constexpr std::uint64_t interrupt_flag = vmx::rflags_bits::interrupt_flag;
  r.rip = guest_rip();
  r.rsp = active_->rsp();
  r.rflags = (r.rflags & ~interrupt_flag) | (interrupts_enabled_ ? interrupt_flag : 0);
  r.sti_blocking = shadowed_;
  r.mov_ss_blocking = false;
  r.nmi_blocking = nmi_.blocked();
  r.virtual_nmi_blocking = nmi_.virtual_blocked();
  r.activity = guest_activity_;
  r.idtr.base = idtr_base_;
  r[segment_name::gs].base = gs_base_;
  // The CPL is that of the code; the processor keeps it in SS, and the selectors show it.
  const unsigned cpl = active_->location().cpl;
  if (r.cpl() != cpl) {
    for (const segment_name s : {segment_name::ss, segment_name::cs}) {
      r[s].rights = (r[s].rights & ~vmx::access_rights::dpl) | cpl << 5;
      r[s].selector = static_cast<std::uint16_t>((r[s].selector & ~3u) | cpl);
    }
  }
  if (preemption_timer_active_)
    r.preemption_timer = vmx::preemption_timer_value(preemption_timer_loaded_, preemption_timer_start_,
                                                     machine_.config().capabilities.preemption_timer_shift(), now);
}

/// The other way round, after a transition has loaded `registers_`.
void logical_cpu::spread_registers() {
  const vmx::processor_state& r = registers_;
  interrupts_enabled_ = (r.rflags & vmx::rflags_bits::interrupt_flag) != 0;
  shadow_ = r.sti_blocking;
  idtr_base_ = r.idtr.base;
  gs_base_ = r[segment_name::gs].base;
}

vmx::execution_mode logical_cpu::mode() const {
  vmx::execution_mode m;
  m.cpl = active_->location().cpl;
  m.cr0 = registers_.cr0;
  m.cr4 = registers_.cr4;
  m.virtual_8086 = (registers_.rflags & vmx::rflags_bits::vm) != 0;
  m.long_mode = (registers_.efer & 1u << 10) != 0;
  m.code_64_bit = (registers_[segment_name::cs].rights & vmx::access_rights::long_mode) != 0;
  return m;
}

// -- where the guest is -----------------------------------------------------------------------------------------------

std::uint64_t logical_cpu::guest_rip() const {
  const instruction* i = active_->in_flight();
  if (i != nullptr && i->code == opcode::hlt && i->started) return active_->location().rip() + 1;
  if (i != nullptr && i->code == opcode::spin_while && i->started) {
    const auto& spin = static_cast<const spin_instruction&>(*i);
    return spin.site->rip() + (spin.position == spin_position::before_load ? 2 : 0);
  }
  return active_->location().rip();
}

// RIP at an instruction executes it again, RIP past it completes it. A HLT that has executed lies behind RIP and stays
// in flight for as long as the activity state is HLT.
void logical_cpu::resume_guest_at(std::uint64_t rip, cycles now) {
  instruction* i = active_->in_flight();
  const std::uint64_t expected = guest_rip();
  if (i != nullptr && i->code == opcode::hlt && i->started) {
    if (rip == expected) {
      if (vmx::activity_of(current_vmcs()) == vmx::activity_state::active) complete(*i);
      return;
    }
    if (rip == active_->location().rip()) {
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
  throw invariant_error("VM entry at a guest RIP that names no place in strand '" + active_->name() + "'", now);
}

// -- micro-steps ------------------------------------------------------------------------------------------------------

/// All steps of a transition are stated when it is complete.
void logical_cpu::state_steps(cycles began, cycles now, fact_id cause) {
  cycles done = began;
  for (const transition_plan::timed_step& s : plan_->steps) {
    done += s.duration;
    machine_.facts().state(source_, now, micro_step_fact{s.step, s.duration, done}, cause);
  }
}

// -- VM exit ----------------------------------------------------------------------------------------------------------

void logical_cpu::begin_exit(const vmx::exit_info& info, cycles now) {
  leave_activity(now);
  vmx::vmcs& v = current_vmcs();
  collect_guest_registers(now);
  disarm_monitor();
  exit_info_ = vmx::recorded(info);
  exit_began_ = now;
  exit_cause_ = info.reason == vmx::exit_reason::external_interrupt || info.reason == vmx::exit_reason::preemption_timer
                    ? cause_
                    : fact_id{};
  plan_ = &plans_.exit(machine_.plans(), v, registers_);
  vmx::record_exit(v, info);
  vmx::save_guest_state(v, registers_, machine_.config().capabilities, info);
  if (guest_apic_) leave_virtual_apic();
  abort_ = vmx::vmcs_corrupted(vmx_unit_) ? vmx::vmx_abort::corrupted_vmcs : vmx::vmx_abort::none;
  if (abort_ == vmx::vmx_abort::none &&
      !vmx::store_guest_msrs(v, machine_.physical(), *this, machine_.config().capabilities))
    abort_ = vmx::vmx_abort::saving_guest_msrs;

  time_.disarm(guest_timers_slot_);
  preemption_timer_active_ = false;
  preemption_timer_expired_ = false;
  mtf_ = mtf_state::off;
  detectors_.on_exit(now);
  in_guest_ = false;
  guest_activity_ = vmx::activity_state::active;
  vmx_.latched_init |= std::exchange(init_pending_, false);  // this exit came first
  sipi_pending_ = -1;
  shadowed_ = false;
  book_as(now, bucket::vm_exit);
  run_for(plan_->total, now, phase::read);
  activity_ = activity::exiting;
}

void logical_cpu::finish_exit(cycles now) {
  if (machine_.facts().observed()) state_steps(exit_began_, now, exit_cause_);
  const vmx::vmcs& v = *vmx_.current;
  const fact_id exit_fact = machine_.facts().state(
      source_, now,
      vm_exit_fact{vmx_.current_vmcs, exit_info_.reason, exit_info_.qualification, exit_info_.interruption_information,
                   v.read(field::guest_rip), active_->location().cpl, exit_began_},
      exit_cause_);
  cause_ = exit_fact;
  if (abort_ == vmx::vmx_abort::none) abort_ = vmx::switch_to_host(vmx_unit_, registers_);
  vmx_.mode = vmx::operation::root;
  nmi_.leave(vmx::exit_blocks_nmi(exit_info_));
  if (abort_ == vmx::vmx_abort::none &&
      !vmx::load_host_msrs(v, machine_.physical(), *this, machine_.config().capabilities))
    abort_ = vmx::vmx_abort::loading_host_msrs;
  active_ = host_;
  host_ = nullptr;
  if (abort_ != vmx::vmx_abort::none) {
    enter_vmx_abort(now);
    return;
  }
  spread_registers();
  auto& entry = static_cast<vm_entry_instruction&>(*active_->in_flight());
  entry.exit = exit_info_;
  complete(entry);
}

/// VMX abort, SDM Vol. 3C §30.7: the CPU is in a shutdown that only RESET ends.
void logical_cpu::enter_vmx_abort(cycles now) {
  vmx::enter_vmx_abort(vmx_unit_, registers_, abort_);
  machine_.facts().state(source_, now, vmx_abort_fact{vmx_.current_vmcs, abort_}, cause_);
  time_.disarm(step_);
  book_as(now, bucket::idle);
  activity_ = activity::shutdown;
}

// -- VM entry ---------------------------------------------------------------------------------------------------------

void logical_cpu::begin_entry(vm_entry_instruction& i, cycles now) {
  const auto instruction =
      i.code == opcode::vmlaunch ? vmx::entry_instruction::vmlaunch : vmx::entry_instruction::vmresume;
  entry_context_.set_current_vmcs(vmx_.current_vmcs);
  const vmx::entry_result result = vmx::check_entry(instruction, vmx_, mode(), entry_context_);
  book_as(now, bucket::vm_entry);
  const entry_costs& cost = machine_.costs().entry;
  switch (result.outcome) {
    case vmx::entry_outcome::enter:
      plan_ = &plans_.entry(machine_.plans(), current_vmcs());
      run_for(plan_->total, now, phase::read);
      activity_ = activity::entering;
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
      why_entry_failed_ = vmx::explain(result, vmx_.current);
      i.why = &why_entry_failed_;
  }
  run_for(cost.check_controls, now, phase::read);
}

/// Guest state or the MSR-load list is bad: the host state is loaded as by an exit, nothing of the guest is saved. SDM
/// Vol. 3C §29.8.
void logical_cpu::fail_entry(vm_entry_instruction& i, const vmx::exit_info& info, cycles now, cycles before) {
  i.exit = info;
  vmx::record_exit(current_vmcs(), info);
  transition_plan plan;
  machine_.transitions().plan_failed_entry(current_vmcs(), plan);
  run_for(before + plan.total, now, phase::read);
}

void logical_cpu::finish_failed_entry(vm_entry_instruction& i, cycles now) {
  abort_ = vmx::switch_to_host(vmx_unit_, registers_);
  if (abort_ == vmx::vmx_abort::none &&
      !vmx::load_host_msrs(*vmx_.current, machine_.physical(), *this, machine_.config().capabilities))
    abort_ = vmx::vmx_abort::loading_host_msrs;
  vmx_.mode = vmx::operation::root;
  if (abort_ != vmx::vmx_abort::none) return enter_vmx_abort(now);
  spread_registers();
  complete(i);
}

/// False: the MSR-load list is bad, and the way back to the host takes its time.
bool logical_cpu::finish_entry(cycles now) {
  vmx::vmcs& v = current_vmcs();
  auto& entry = static_cast<vm_entry_instruction&>(*active_->in_flight());
  const auto injected = static_cast<std::uint32_t>(v.read(field::vm_entry_interruption_information));
  vmx::load_guest_state(v, registers_, machine_.config().capabilities);
  if (const vmx::msr_list_result loaded =
          vmx::load_guest_msrs(v, machine_.physical(), *this, machine_.config().capabilities);
      !loaded) {
    activity_ = activity::executing;
    book_as(now, bucket::vm_entry);
    fail_entry(entry, vmx::failed_msr_load_exit(loaded), now, cycles{0});
    return false;
  }
  // From here on the entry cannot fail: what fails before leaves no fact of an entry, as with bad guest state.
  if (machine_.facts().observed()) {
    state_steps(now - plan_->total, now, {});
    machine_.facts().state(
        source_, now,
        vm_entry_fact{vmx_.current_vmcs, v.read(field::guest_rip), injected, v.read(field::ple_window), plan_->total});
  }
  strand* guest = machine_.names().strand_at(registers_.rsp);
  if (guest == nullptr || guest->depth() == 0)
    throw invariant_error("VM entry: the guest's RSP names no strand that has been started", now);
  vmx::complete_entry(
      entry.code == opcode::vmlaunch ? vmx::entry_instruction::vmlaunch : vmx::entry_instruction::vmresume, vmx_);
  if (guest->on_cpu() != nullptr && guest != active_->passenger())
    throw invariant_error(
        "VM entry: strand '" + guest->name() + "' is on CPU " + std::to_string(guest->on_cpu()->number()) + " already",
        now);
  active_->set_passenger(guest, now);
  host_ = active_;
  active_ = guest;
  in_guest_ = true;
  disarm_monitor();
  spread_registers();
  nmi_rule_ = &vmx::nmi_rule_of(v);
  nmi_.enter(*nmi_rule_, static_cast<std::uint32_t>(v.read(field::guest_interruptibility_state)));
  guest_activity_ = registers_.activity;
  vmx::spin_parameters spin = spin_parameters_of(v);
  spin.overcommitted = machine_.config().overcommitted && machine_.config().overcommitted(number_);
  detectors_.on_entry(now, spin);
  init_pending_ = std::exchange(vmx_.latched_init, false);  // blocked in root operation, not any more
  start_preemption_timer(now);
  if ((vmx::primary_controls(v) & vmx::primary::use_tpr_shadow) != 0) enter_virtual_apic(now);

  resume_guest_at(registers_.rip, now);
  activity_ = activity::executing;
  const vmx::event_information event = vmx::decode_event(injected);
  const bool mtf = (vmx::primary_controls(v) & vmx::primary::monitor_trap_flag) != 0;
  if (vmx::is_injecting(injected)) {
    registers_.pending_debug = 0;
    inject(event, now);
    if (vmx::mtf_pending(vmx::first_step::injects_vectored_event, mtf) != vmx::mtf_boundary::none)
      mtf_ = mtf_state::pending;
    return true;
  }
  if (event.valid)
    mtf_ = mtf_state::pending;  // "other event", vector 0
  else if (mtf)
    mtf_ = mtf_state::before_first;
  if (guest_activity_ != vmx::activity_state::active) halt(now);
  return true;
}

void logical_cpu::start_preemption_timer(cycles now) {
  if ((vmx::pin_controls(current_vmcs()) & vmx::pin_based::activate_vmx_preemption_timer) == 0) return;
  preemption_timer_start_ = registers_.preemption_timer;
  preemption_timer_active_ = true;
  preemption_timer_loaded_ = now;
  preemption_timer_expired_ = preemption_timer_start_ == 0;
  arm_guest_timers(now);
}

/// The injected event is delivered as part of the entry, whatever the controls say of events of its kind. SDM Vol. 3C
/// §29.6. A hardware exception that the guest's program can see strikes the instruction in flight.
void logical_cpu::inject(const vmx::event_information& event, cycles now) {
  if (event.type == vmx::event_type::nmi) nmi_.inject(*nmi_rule_);
  if (event.type == vmx::event_type::hardware_exception && strike(event.vector, now)) return;
  deliver(event.vector, now, cycles{0});  // its time is part of the entry
}

}  // namespace vmxsys::cpu
