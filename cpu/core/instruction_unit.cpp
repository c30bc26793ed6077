#include "detail/instruction_unit.hpp"

#include <optional>

#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/vmx/events/exception.hpp>
#include <vmxsys/vmx/instructions/invalidation.hpp>
#include <vmxsys/vmx/instructions/vm_function.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

#include "detail/guest_registers.hpp"
#include "detail/instruction_forms.hpp"

// What happens when an instruction is issued: it exits, faults or begins to execute.
namespace vmxsys::cpu {

using vmx::mnemonic;

namespace {
constexpr std::uint8_t invalid_opcode_vector = vmx::exception_vector::invalid_opcode;
constexpr std::uint8_t general_protection_vector = vmx::exception_vector::general_protection;
}  // namespace

/// All that a rule may look at.
vmx::guest_instruction instruction_unit::describe(const instruction& i) const {
  vmx::guest_instruction g;
  const instruction_form f = form_of(i);
  if (i.code == opcode::system) g = static_cast<const system_instruction&>(i).what;
  g.what = f.what;
  g.length = f.length;
  g.mode = core_.mode();
  g.rflags = (core_.registers.rflags & ~vmx::rflags_bits::interrupt_flag) |
             (core_.interrupts_enabled ? vmx::rflags_bits::interrupt_flag : std::uint64_t{0});
  g.tsc = core_.time.now().count();
  g.monitor_armed = of_.wait.armed();
  g.virtual_interrupt = of_.virtual_apic.interrupt_recognized();
  g.xss = of_.own_apic.msrs().xss();
  g.umwait_control = of_.own_apic.msrs().umwait_control();
  switch (i.code) {
    case opcode::rdmsr:
    case opcode::wrmsr:
      g.msr = static_cast<std::uint32_t>(i.a);
      break;
    case opcode::vmread:
    case opcode::vmwrite:
      g.source = i.a;
      break;
    default:
      break;
  }
  return g;
}

bool instruction_unit::held_back(instruction& i, cycles now) {
  if (!has_rule(i.code)) {
    if (i.code != opcode::mmio_read && i.code != opcode::mmio_write) return false;
    const std::optional<vmx::exit_info> exit = of_.virtual_apic.page_access_exit(i);
    if (!exit) return false;
    expose_registers(*core_.active, i);
    of_.transition.begin_exit(*exit, now);
    return true;
  }
  switch (i.code) {
    case opcode::pause:
      if (!of_.spin.pause_exits({now,
                                 core_.costs.instruction.pause,
                                 core_.active->location().cpl,
                                 core_.active->location().rip(),
                                 {},
                                 {}}))
        return false;
      exit_for_pause(now);
      return true;
    case opcode::guest_access:
      return access_exits(static_cast<guest_access_instruction&>(i), now);
    default:
      break;
  }
  const vmx::guest_instruction g = describe(i);
  const vmx::vmcs& v = core_.current_vmcs();
  outcome_ = vmx::decide(v, core_.caps, core_.physical, g);
  lookup_ = looks_in_a_bitmap(v, g.what) ? core_.costs.instruction.bitmap_lookup : cycles{0};
  switch (outcome_.verdict) {
    case vmx::instruction_verdict::execute:
      if (outcome_.effect == vmx::instruction_effect::vm_function) return function_exits(i, now);
      return false;
    case vmx::instruction_verdict::vm_exit:
      expose_registers(*core_.active, i);
      of_.transition.begin_exit(vmx::exit_of(outcome_, g), now);
      return true;
    case vmx::instruction_verdict::fault_ud:
      return fault_at_issue(i, instruction_fault::invalid_opcode, now);
    case vmx::instruction_verdict::fault_gp:
      return fault_at_issue(i, instruction_fault::general_protection, now);
  }
  return false;
}

/// VMFUNC is decided by its own rule, and acts at once.
bool instruction_unit::function_exits(instruction& i, cycles now) {
  const vmx::guest_instruction g = describe(i);
  const vmx::vmx_outcome done = vmx::vmfunc(unit_, g.mode, g.eax, g.ecx);
  if (done.kind == vmx::outcome_kind::fault_ud) return fault_at_issue(i, instruction_fault::invalid_opcode, now);
  if (done.kind != vmx::outcome_kind::vm_exit) return false;
  expose_registers(*core_.active, i);
  vmx::exit_info info;
  info.reason = done.reason;
  info.instruction_length = g.length;
  of_.transition.begin_exit(info, now);
  return true;
}

/// The EPT paging structures have a say in an access of the guest to its memory. SDM Vol. 3C §31.3.
bool instruction_unit::access_exits(guest_access_instruction& i, cycles now) {
  vmx::vmcs& v = core_.current_vmcs();
  i.result = i.address;
  lookup_ = cycles{0};
  if ((vmx::secondary_controls(v) & vmx::secondary::enable_ept) == 0) return false;
  vmx::ept_access access = i.access;
  access.guest_physical = i.address;
  const vmx::ept_result r = vmx::translate_guest_physical(v, core_.caps, core_.physical, access);
  const std::uint64_t references = std::uint64_t{r.references} + r.flag_updates + (r.logged ? 1 : 0);
  lookup_ = references * core_.costs.instruction.ept_reference;
  vmx::exit_info info;
  switch (r.outcome) {
    case vmx::ept_outcome::translated:
      i.result = r.host_physical;
      return false;
    case vmx::ept_outcome::violation:
      info.reason = vmx::exit_reason::ept_violation;
      break;
    case vmx::ept_outcome::misconfiguration:
      info.reason = vmx::exit_reason::ept_misconfiguration;
      break;
    case vmx::ept_outcome::log_full:
      info.reason = vmx::exit_reason::page_modification_log_full;
      break;
  }
  info.qualification = r.qualification;
  info.guest_physical_address = i.address;
  of_.transition.begin_exit(info, now);
  return true;
}

/// A fault where the instruction is issued: exits, or strikes the program after its time.
bool instruction_unit::fault_at_issue(instruction& i, instruction_fault what, cycles now) {
  if (fault_exits(what, now)) return true;
  i.fault = what;
  core_.book(now);
  core_.run_for(core_.costs.instruction.interrupt, now, phase::read);
  return true;
}

/// A fault of the guest exits if the exception bitmap says so. False: it strikes the program.
bool instruction_unit::fault_exits(instruction_fault what, cycles now) {
  if (!core_.in_guest) return false;
  vmx::guest_exception exception;
  exception.vector = what == instruction_fault::invalid_opcode ? invalid_opcode_vector : general_protection_vector;
  exception.real_mode = (core_.registers.cr0 & 1) == 0;
  const vmx::exception_outcome o = vmx::raise_exception(core_.current_vmcs(), exception);
  if (o.what != vmx::exception_outcome::kind::vm_exit) return false;
  of_.transition.begin_exit(o.exit, now);
  return true;
}

bool instruction_unit::strike(std::uint8_t vector, cycles now) {
  instruction* i = core_.active->in_flight();
  if (i == nullptr || i->started) return false;
  if (vector != invalid_opcode_vector && vector != general_protection_vector) return false;
  core_.guest_activity = vmx::activity_state::active;
  core_.shadow = core_.shadowed = false;
  i->fault =
      vector == invalid_opcode_vector ? instruction_fault::invalid_opcode : instruction_fault::general_protection;
  core_.record(now, interrupt_fact{vector, 1}, core_.cause);
  core_.complete(*i);
  return true;
}

void instruction_unit::execute(instruction& i, cycles now) {
  if (i.code != opcode::system) return execute_vmx(i, now);
  auto& s = static_cast<system_instruction&>(i);
  const mnemonic what = s.what.what;
  const instruction_fault fault = fault_of(s);
  if (fault != instruction_fault::none) {
    fault_at_issue(i, fault, now);
    return;
  }
  if (what == mnemonic::invept || what == mnemonic::invvpid) invalidate(s);
  const bool shadow = core_.in_guest && outcome_.effect == vmx::instruction_effect::tpr_shadow;
  core_.run_for((shadow ? of_.virtual_apic.duration_of_cr8(what == mnemonic::mov_to_cr8)
                        : cost_of(what, core_.costs.instruction)) +
                    lookup_,
                now, phase::read);
}

/// Of a system instruction, besides what non-root operation has decided.
instruction_fault instruction_unit::fault_of(const system_instruction& i) {
  const mnemonic what = i.what.what;
  if (!core_.in_guest) {
    outcome_ = {};
    lookup_ = cycles{0};
    const vmx::guest_instruction g = describe(i);
    for (const vmx::fault_gate gate : vmx::rule_of(what).gates) {
      if (vmx::passes(gate, core_.caps, g)) continue;
      const bool ud = vmx::fault_gate_table[static_cast<std::size_t>(gate)].fault == vmx::gate_fault::ud;
      return ud ? instruction_fault::invalid_opcode : instruction_fault::general_protection;
    }
  }
  const bool exists = implemented(what) && (what != mnemonic::vmfunc || core_.in_guest);
  return exists ? instruction_fault::none : instruction_fault::invalid_opcode;
}

void instruction_unit::invalidate(system_instruction& i) {
  const vmx::execution_mode m = core_.mode();
  const vmx::invalidation_outcome o = i.what.what == mnemonic::invept
                                          ? vmx::invept(unit_, m, i.a, {i.b, 0})
                                          : vmx::invvpid(unit_, m, i.a, {i.b, i.what.linear_address});
  note_outcome(i, o);
}

void instruction_unit::note_outcome(instruction& i, const vmx::vmx_outcome& outcome) {
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
}

void instruction_unit::execute_vmx(instruction& i, cycles now) {
  const instruction_costs& cost = core_.costs.instruction;
  const vmx::execution_mode m = core_.mode();
  cycles duration = cost.vmread;
  switch (i.code) {
    case opcode::vmlaunch:
    case opcode::vmresume:
      of_.transition.begin_entry(static_cast<vm_entry_instruction&>(i), now);
      return;
    case opcode::vmread:
      note_outcome(i, vmx::vmread(unit_, m, i.a));
      break;
    case opcode::vmwrite:
      note_outcome(i, vmx::vmwrite(unit_, m, i.a, i.b));
      duration = cost.vmwrite;
      break;
    case opcode::vmptrld:
      note_outcome(i, vmx::vmptrld(unit_, m, i.a));
      duration = cost.vmptrld;
      break;
    case opcode::vmclear:
      note_outcome(i, vmx::vmclear(unit_, m, i.a));
      duration = cost.vmclear;
      break;
    case opcode::vmptrst:
      note_outcome(i, vmx::vmptrst(unit_, m));
      break;
    case opcode::vmxon:
      note_outcome(i, vmx::vmxon(unit_, m, i.a));
      duration = cost.vmxon;
      break;
    case opcode::vmxoff:
      note_outcome(i, vmx::vmxoff(unit_, m));
      duration = cost.vmxon;
      break;
    default:
      note_outcome(i, vmx::vmcall(unit_, m));
      duration = cost.vmcall;
      break;
  }
  core_.run_for(core_.in_guest ? duration + lookup_ : duration, now, phase::read);
}

void instruction_unit::exit_for_pause(cycles now) {
  vmx::exit_info info{};
  info.reason = vmx::exit_reason::pause;
  info.instruction_length = 2;
  of_.transition.begin_exit(info, now);
}

}  // namespace vmxsys::cpu
