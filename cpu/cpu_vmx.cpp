#include <utility>

#include <vmxsys/vmx/non_root.hpp>
#include <vmxsys/vmx/preemption_timer.hpp>

#include "cpu_facts.hpp"
#include "logical_cpu.hpp"
#include "name_space.hpp"

// VMX on the pCPU: the rules are in vmx/, here they get time, strands and facts.
namespace vmxsys::cpu {

namespace {

constexpr std::uint32_t ia32_time_stamp_counter = 0x10;
constexpr std::uint32_t ia32_feature_control = 0x3A;

std::uint32_t length_of(opcode code) {
  switch (code) {
    case opcode::hlt:
      return 1;
    case opcode::pause:
    case opcode::cpuid:
    case opcode::rdmsr:
    case opcode::wrmsr:
    case opcode::rdtsc:
      return 2;
    default:
      return 3;
  }
}

vmx::exit_reason reason_of(opcode code) {
  using vmx::exit_reason;
  switch (code) {
    case opcode::pause:
      return exit_reason::pause;
    case opcode::hlt:
      return exit_reason::hlt;
    case opcode::cpuid:
      return exit_reason::cpuid;
    case opcode::rdtsc:
      return exit_reason::rdtsc;
    case opcode::rdmsr:
      return exit_reason::rdmsr;
    case opcode::wrmsr:
      return exit_reason::wrmsr;
    case opcode::vmcall:
      return exit_reason::vmcall;
    case opcode::vmxon:
      return exit_reason::vmxon;
    case opcode::vmxoff:
      return exit_reason::vmxoff;
    case opcode::vmclear:
      return exit_reason::vmclear;
    case opcode::vmptrld:
      return exit_reason::vmptrld;
    case opcode::vmptrst:
      return exit_reason::vmptrst;
    case opcode::vmread:
      return exit_reason::vmread;
    case opcode::vmwrite:
      return exit_reason::vmwrite;
    case opcode::vmlaunch:
      return exit_reason::vmlaunch;
    default:
      return exit_reason::vmresume;
  }
}

vmx::execution_mode mode_of(const strand& s) {
  vmx::execution_mode mode;
  mode.cpl = s.location().cpl;
  return mode;
}

}  // namespace

// -- instructions of the guest that exit ------------------------------------------------------------------------------

bool logical_cpu::exits(const instruction& i) {
  const vmx::vmcs& v = *vmx_.current;
  switch (i.code) {
    case opcode::pause:
      return pause_exits({time_.now(),
                          machine_.costs().instruction.pause,
                          active_->location().cpl,
                          active_->location().rip(),
                          {},
                          {}});
    case opcode::hlt:
      return vmx::hlt_exits(v);
    case opcode::rdtsc:
      return vmx::rdtsc_exits(v);
    case opcode::rdmsr:
      return vmx::rdmsr_exits(v, machine_.physical(), static_cast<std::uint32_t>(i.a));
    case opcode::wrmsr:
      return vmx::wrmsr_exits(v, machine_.physical(), static_cast<std::uint32_t>(i.a));
    case opcode::cpuid:
    case opcode::vmcall:
    case opcode::vmxon:
    case opcode::vmxoff:
    case opcode::vmclear:
    case opcode::vmptrld:
    case opcode::vmptrst:
    case opcode::vmread:
    case opcode::vmwrite:
    case opcode::vmlaunch:
    case opcode::vmresume:
      return true;
    default:
      return false;
  }
}

void logical_cpu::exit_for(instruction& i, cycles now) {
  expose_registers(i);
  vmx::exit_info info{};
  info.reason = reason_of(i.code);
  info.instruction_length = length_of(i.code);
  begin_exit(info, now);
}

/// The operands of an exiting instruction are where its handler looks for them.
void logical_cpu::expose_registers(const instruction& i) {
  strand& s = *active_;
  switch (i.code) {
    case opcode::wrmsr:
      s.reg(gpr::rax) = i.b & 0xFFFFFFFF;
      s.reg(gpr::rdx) = i.b >> 32;
      [[fallthrough]];
    case opcode::rdmsr:
      s.reg(gpr::rcx) = i.a;
      break;
    case opcode::cpuid:
      s.reg(gpr::rax) = i.a;
      s.reg(gpr::rcx) = i.b;
      break;
    case opcode::vmcall:
      s.reg(gpr::rax) = i.a;
      s.reg(gpr::rbx) = i.b;
      break;
    default:
      break;
  }
}

/// An emulated instruction: the handler left its results in the registers and moved RIP past it.
void logical_cpu::complete_from_registers(instruction& i) {
  strand& s = *active_;
  switch (i.code) {
    case opcode::rdtsc:
    case opcode::rdmsr:
      i.result = s.reg(gpr::rdx) << 32 | (s.reg(gpr::rax) & 0xFFFFFFFF);
      break;
    case opcode::vmcall:
      i.result = s.reg(gpr::rax);
      break;
    case opcode::cpuid:
      static_cast<isa::cpuid_operation&>(i).registers = {
          static_cast<std::uint32_t>(s.reg(gpr::rax)), static_cast<std::uint32_t>(s.reg(gpr::rbx)),
          static_cast<std::uint32_t>(s.reg(gpr::rcx)), static_cast<std::uint32_t>(s.reg(gpr::rdx))};
      break;
    default:
      break;
  }
  complete(i);
}

std::uint64_t logical_cpu::guest_rip() const {
  const instruction* i = active_->in_flight();
  if (i != nullptr && i->code == opcode::hlt && i->started) return active_->location().rip() + length_of(opcode::hlt);
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
  } else if (i != nullptr && rip == expected + length_of(i->code)) {
    complete_from_registers(*i);
    return;
  }
  throw invariant_error("VM entry at a guest RIP that names no place in strand '" + active_->name() + "'", now);
}

// -- VM exit ----------------------------------------------------------------------------------------------------------

void logical_cpu::begin_exit(vmx::exit_info info, cycles now) {
  leave_activity(now);
  vmx::vmcs& v = current_vmcs();
  using vmx::field;
  v.write(field::guest_rip, guest_rip());
  v.write(field::guest_rsp, active_->rsp());
  v.write(field::guest_rflags,
          vmx::rflags_bits::one | (interrupts_enabled_ ? vmx::rflags_bits::interrupt_flag : std::uint64_t{0}));
  v.write(field::guest_interruptibility_state,
          (shadowed_ ? vmx::interruptibility::sti : 0) | (nmi_blocked_ ? vmx::interruptibility::nmi : 0));
  v.write(field::guest_activity_state, static_cast<std::uint64_t>(guest_activity_));
  v.write(field::guest_idtr_base, idtr_base_);
  v.write(field::guest_gs_base, gs_base_);
  save_privilege_level(v);
  if (preemption_timer_active_ &&
      v.any(field::primary_vm_exit_controls, vmx::vm_exit_control::save_vmx_preemption_timer_value)) {
    v.write(field::vmx_preemption_timer_value,
            vmx::preemption_timer_value(preemption_timer_loaded_,
                                        static_cast<std::uint32_t>(v.read(field::vmx_preemption_timer_value)),
                                        machine_.config().capabilities.preemption_timer_shift(), now));
  }
  time_.disarm(preemption_timer_slot_);
  preemption_timer_active_ = false;
  preemption_timer_expired_ = false;
  vmx::record_exit(v, info);
  detectors_.on_exit(now);

  exit_info_ = info;
  exit_began_ = now;
  exit_cause_ = info.reason == vmx::exit_reason::external_interrupt || info.reason == vmx::exit_reason::preemption_timer
                    ? cause_
                    : fact_id{};
  in_guest_ = false;
  guest_activity_ = vmx::activity_state::active;
  sipi_pending_ = -1;
  shadowed_ = false;
  book_as(now, bucket::vm_exit);
  const exit_costs& cost = machine_.costs().exit;
  run_for(cost.record_information + cost.save_guest_state + cost.load_host_state + cost.flush_translations, now,
          phase::read);
  activity_ = activity::exiting;
}

/// The guest's CPL as the manual keeps it: DPL of SS, and the selectors' RPL.
void logical_cpu::save_privilege_level(vmx::vmcs& v) {
  using vmx::field;
  const std::uint64_t cpl = active_->location().cpl;
  const std::uint64_t ss = v.read(field::guest_ss_access_rights);
  if ((ss >> 5 & 3) == cpl) return;
  const auto with_dpl = [cpl](std::uint64_t rights) { return (rights & ~std::uint64_t{0x60}) | cpl << 5; };
  v.write(field::guest_ss_access_rights, with_dpl(ss));
  v.write(field::guest_cs_access_rights, with_dpl(v.read(field::guest_cs_access_rights)));
  v.write(field::guest_ss_selector, (v.read(field::guest_ss_selector) & ~std::uint64_t{3}) | cpl);
  v.write(field::guest_cs_selector, (v.read(field::guest_cs_selector) & ~std::uint64_t{3}) | cpl);
}

void logical_cpu::finish_exit(cycles now) {
  if (machine_.facts().observed()) {
    const exit_costs& cost = machine_.costs().exit;
    const std::pair<micro_step, cycles> steps[] = {{micro_step::record_information, cost.record_information},
                                                   {micro_step::save_guest_state, cost.save_guest_state},
                                                   {micro_step::load_host_state, cost.load_host_state},
                                                   {micro_step::exit_flush_translations, cost.flush_translations}};
    cycles done = exit_began_;
    for (const auto& [step, duration] : steps) {
      done += duration;
      machine_.facts().state(source_, now, micro_step_fact{step, duration, done}, exit_cause_);
    }
  }
  const vmx::vmcs& v = *vmx_.current;
  const fact_id exit_fact = machine_.facts().state(
      source_, now,
      vm_exit_fact{vmx_.current_vmcs, exit_info_.reason, exit_info_.qualification, exit_info_.interruption_information,
                   v.read(vmx::field::guest_rip), active_->location().cpl, exit_began_},
      exit_cause_);
  vmx_.mode = vmx::operation::root;
  // An NMI that causes an exit blocks further ones; every other exit leaves the blocking as it was (SDM Vol. 3C
  // §30.5.5).
  if (exit_info_.reason == vmx::exit_reason::exception_or_nmi &&
      vmx::decode_event(exit_info_.interruption_information).type == vmx::event_type::nmi)
    nmi_blocked_ = true;
  active_ = host_;
  host_ = nullptr;
  idtr_base_ = v.read(vmx::field::host_idtr_base);
  gs_base_ = v.read(vmx::field::host_gs_base);
  interrupts_enabled_ = false;
  cause_ = exit_fact;
  auto& entry = static_cast<vm_entry_instruction&>(*active_->in_flight());
  entry.exit = exit_info_;
  complete(entry);
}

// -- VM entry ---------------------------------------------------------------------------------------------------------

cycles logical_cpu::entry_duration(bool injecting) const {
  const entry_costs& cost = machine_.costs().entry;
  return cost.check_controls + cost.check_host_state + cost.check_guest_state + cost.load_guest_state +
         cost.flush_translations + (injecting ? cost.inject_event : cycles{0});
}

void logical_cpu::begin_entry(vm_entry_instruction& i, cycles now) {
  const auto instruction =
      i.code == opcode::vmlaunch ? vmx::entry_instruction::vmlaunch : vmx::entry_instruction::vmresume;
  entry_context_.set_current_vmcs(vmx_.current_vmcs);
  const vmx::entry_result result = vmx::check_entry(instruction, vmx_, mode_of(*active_), entry_context_);
  book_as(now, bucket::vm_entry);
  const entry_costs& cost = machine_.costs().entry;
  switch (result.outcome) {
    case vmx::entry_outcome::enter:
      run_for(entry_duration(vmx::is_injecting(
                  static_cast<std::uint32_t>(current_vmcs().read(vmx::field::vm_entry_interruption_information)))),
              now, phase::read);
      activity_ = activity::entering;
      return;
    case vmx::entry_outcome::failed_entry:
      i.exit = vmx::failed_entry_exit(result);
      vmx::record_exit(current_vmcs(), i.exit);
      run_for(
          cost.check_controls + cost.check_host_state + cost.check_guest_state + machine_.costs().exit.load_host_state,
          now, phase::read);
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
  }
  run_for(cost.check_controls, now, phase::read);
}

void logical_cpu::finish_entry(cycles now) {
  vmx::vmcs& v = current_vmcs();
  using vmx::field;
  const auto injected = static_cast<std::uint32_t>(v.read(field::vm_entry_interruption_information));
  if (machine_.facts().observed()) {
    const entry_costs& cost = machine_.costs().entry;
    const std::pair<micro_step, cycles> steps[] = {{micro_step::check_controls, cost.check_controls},
                                                   {micro_step::check_host_state, cost.check_host_state},
                                                   {micro_step::check_guest_state, cost.check_guest_state},
                                                   {micro_step::load_guest_state, cost.load_guest_state},
                                                   {micro_step::entry_flush_translations, cost.flush_translations},
                                                   {micro_step::inject_event, cost.inject_event}};
    cycles done = now - entry_duration(vmx::is_injecting(injected));
    for (const auto& [step, duration] : steps) {
      if (step == micro_step::inject_event && !vmx::is_injecting(injected)) continue;
      done += duration;
      machine_.facts().state(source_, now, micro_step_fact{step, duration, done});
    }
    machine_.facts().state(source_, now,
                           vm_entry_fact{vmx_.current_vmcs, v.read(field::guest_rip), injected,
                                         v.read(field::ple_window), entry_duration(vmx::is_injecting(injected))});
  }
  strand* guest = machine_.names().strand_at(v.read(field::guest_rsp));
  if (guest == nullptr || guest->depth() == 0)
    throw invariant_error("VM entry: the guest's RSP names no strand that has been started", now);
  const instruction& entry = *active_->in_flight();
  vmx::complete_entry(
      entry.code == opcode::vmlaunch ? vmx::entry_instruction::vmlaunch : vmx::entry_instruction::vmresume, vmx_);
  if (guest->on_cpu() != nullptr && guest != active_->passenger())
    throw invariant_error(
        "VM entry: strand '" + guest->name() + "' is on CPU " + std::to_string(guest->on_cpu()->number()) + " already",
        now);
  active_->set_passenger(guest, now);
  host_ = active_;
  active_ = guest;
  idtr_base_ = v.read(field::guest_idtr_base);
  gs_base_ = v.read(field::guest_gs_base);
  in_guest_ = true;
  interrupts_enabled_ = v.any(field::guest_rflags, vmx::rflags_bits::interrupt_flag);
  shadow_ = v.any(field::guest_interruptibility_state, vmx::interruptibility::sti);
  nmi_blocked_ = v.any(field::guest_interruptibility_state, vmx::interruptibility::nmi);
  vmx::spin_parameters spin = vmx::spin_parameters_of(v);
  spin.overcommitted = machine_.config().overcommitted && machine_.config().overcommitted(number_);
  detectors_.on_entry(now, spin);
  init_pending_ = std::exchange(vmx_.latched_init, false);  // blocked in root operation, not any more

  if ((vmx::pin_controls(v) & vmx::pin_based::activate_vmx_preemption_timer) != 0) {
    const auto value = static_cast<std::uint32_t>(v.read(field::vmx_preemption_timer_value));
    preemption_timer_active_ = true;
    preemption_timer_loaded_ = now;
    preemption_timer_expired_ = value == 0;
    if (value != 0)
      time_.arm(preemption_timer_slot_,
                max(now + cycles{1},
                    vmx::preemption_timer_expiry(now, value, machine_.config().capabilities.preemption_timer_shift())),
                phase::timer);
  }

  resume_guest_at(v.read(field::guest_rip), now);
  const bool injecting = vmx::is_injecting(injected);
  guest_activity_ = vmx::activity_of(v);
  activity_ = activity::executing;
  if (injecting) {
    deliver(vmx::decode_event(injected).vector, now, cycles{0});  // its time is part of the entry
  } else if (guest_activity_ != vmx::activity_state::active) {
    halt(now);
  }
}

// -- VMX instructions and MSRs ----------------------------------------------------------------------------------------

bool logical_cpu::execute_vmx(instruction& i, cycles now) {
  const instruction_costs& cost = machine_.costs().instruction;
  const vmx::execution_mode mode = mode_of(*active_);
  vmx::vmx_outcome outcome;
  cycles duration = cost.vmread;
  switch (i.code) {
    case opcode::vmlaunch:
    case opcode::vmresume:
      begin_entry(static_cast<vm_entry_instruction&>(i), now);
      return true;
    case opcode::vmread:
      outcome = vmx::vmread(vmx_unit_, mode, i.a);
      break;
    case opcode::vmwrite:
      outcome = vmx::vmwrite(vmx_unit_, mode, i.a, i.b);
      duration = cost.vmwrite;
      break;
    case opcode::vmptrld:
      outcome = vmx::vmptrld(vmx_unit_, mode, i.a);
      duration = cost.vmptrld;
      break;
    case opcode::vmclear:
      outcome = vmx::vmclear(vmx_unit_, mode, i.a);
      duration = cost.vmclear;
      break;
    case opcode::vmptrst:
      outcome = vmx::vmptrst(vmx_unit_, mode);
      break;
    case opcode::vmxon:
      outcome = vmx::vmxon(vmx_unit_, mode, i.a);
      duration = cost.vmxon;
      break;
    case opcode::vmxoff:
      outcome = vmx::vmxoff(vmx_unit_, mode);
      duration = cost.vmxon;
      break;
    default:
      outcome = vmx::vmcall(vmx_unit_, mode);
      duration = cost.vmcall;
      break;
  }
  i.result = outcome.value;
  switch (outcome.kind) {
    case vmx::outcome_kind::succeed:
      break;
    case vmx::outcome_kind::fault_ud:
      i.fault = instruction_fault::invalid_opcode;
      break;
    case vmx::outcome_kind::fault_gp:
      i.fault = instruction_fault::general_protection;
      break;
    default:
      i.fault = instruction_fault::vm_fail;
      i.error = static_cast<std::uint16_t>(outcome.error);
  }
  run_for(duration, now, phase::read);
  return true;
}

// At the completion of RDMSR or WRMSR. False: #GP(0).
bool logical_cpu::execute_msr(instruction& i, cycles now) {
  const auto msr = static_cast<std::uint32_t>(i.a);
  const bool write = i.code == opcode::wrmsr;
  if (apic::local_apic::handles(msr)) {
    const apic::register_outcome outcome = write ? apic_.write_msr(msr, i.b, now) : apic_.read_msr(msr, now);
    if (outcome.fault) return false;
    i.result = outcome.value;
    if (outcome.ipi) {
      const apic::interrupt_command& c = *outcome.ipi;
      const fact_id sent = machine_.facts().state(
          source_, now,
          ipi_sent_fact{c.destination, c.vector, static_cast<std::uint8_t>(c.mode), static_cast<std::uint8_t>(c.group)},
          cause_);
      machine_.send(c, number_, now, sent);
    }
    if (outcome.timer_rearmed) arm_apic_timer(now);
    return true;
  }
  if (write) return false;
  if (msr == ia32_time_stamp_counter) {
    i.result = in_guest_ ? vmx::guest_tsc(current_vmcs(), now.count()) : now.count();
  } else if (msr == ia32_feature_control) {
    i.result = vmx_.feature_control;
  } else if (const std::uint64_t* capability = vmx::find_capability_msr(machine_.config().capabilities, msr)) {
    i.result = *capability;
  } else {
    return false;
  }
  return true;
}

}  // namespace vmxsys::cpu
