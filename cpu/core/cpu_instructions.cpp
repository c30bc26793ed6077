#include <utility>

#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/program/system_instruction.hpp>
#include <vmxsys/vmx/events/exception.hpp>
#include <vmxsys/vmx/events/tsc.hpp>
#include <vmxsys/vmx/instructions/instruction_exit.hpp>
#include <vmxsys/vmx/instructions/invalidation.hpp>
#include <vmxsys/vmx/instructions/user_wait.hpp>
#include <vmxsys/vmx/instructions/vm_function.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

#include "detail/cpu_engine.hpp"

// Instructions that the rules of VMX have a say in: in a guest the table of vmx/instruction_exit.hpp decides, then they
// execute, fault or exit.
namespace vmxsys::cpu {

using vmx::mnemonic;

namespace {

constexpr std::uint8_t invalid_opcode_vector = vmx::exception_vector::invalid_opcode;
constexpr std::uint8_t general_protection_vector = vmx::exception_vector::general_protection;

struct form {
  mnemonic what;
  std::uint8_t length;
};

/// Does VMX have a say in it? Computing, memory and interrupt flag just execute.
bool has_rule(opcode code) {
  switch (code) {
    case opcode::compute:
    case opcode::load:
    case opcode::store:
    case opcode::cmpxchg:
    case opcode::exchange:
    case opcode::fetch_add:
    case opcode::fetch_or:
    case opcode::fetch_and:
    case opcode::spin_while:
    case opcode::sti:
    case opcode::cli:
    case opcode::xsave:
    case opcode::xrstor:
    case opcode::switch_to:
    case opcode::mmio_read:
    case opcode::mmio_write:
      return false;  // but for the APIC-access page
    default:
      return true;
  }
}

/// The instruction of an opcode that has a rule of its own.
form form_of(const instruction& i) {
  switch (i.code) {
    case opcode::hlt:
      return {mnemonic::hlt, 1};
    case opcode::pause:
      return {mnemonic::pause, 2};
    case opcode::cpuid:
      return {mnemonic::cpuid, 2};
    case opcode::rdtsc:
      return {mnemonic::rdtsc, 2};
    case opcode::rdmsr:
      return {mnemonic::rdmsr, 2};
    case opcode::wrmsr:
      return {mnemonic::wrmsr, 2};
    case opcode::vmcall:
      return {mnemonic::vmcall, 3};
    case opcode::vmxon:
      return {mnemonic::vmxon, 3};
    case opcode::vmxoff:
      return {mnemonic::vmxoff, 3};
    case opcode::vmclear:
      return {mnemonic::vmclear, 3};
    case opcode::vmptrld:
      return {mnemonic::vmptrld, 3};
    case opcode::vmptrst:
      return {mnemonic::vmptrst, 3};
    case opcode::vmread:
      return {mnemonic::vmread, 3};
    case opcode::vmwrite:
      return {mnemonic::vmwrite, 3};
    case opcode::vmlaunch:
      return {mnemonic::vmlaunch, 3};
    case opcode::vmresume:
      return {mnemonic::vmresume, 3};
    default: {
      const auto& s = static_cast<const system_instruction&>(i);
      return {s.what.what, s.what.length};
    }
  }
}

bool looks_in_a_bitmap(const vmx::vmcs& v, mnemonic what) {
  switch (what) {
    case mnemonic::rdmsr:
    case mnemonic::wrmsr:
      return (vmx::primary_controls(v) & vmx::primary::use_msr_bitmaps) != 0;
    case mnemonic::in:
    case mnemonic::out:
    case mnemonic::ins:
    case mnemonic::outs:
      return (vmx::primary_controls(v) & vmx::primary::use_io_bitmaps) != 0;
    case mnemonic::vmread:
    case mnemonic::vmwrite:
      return (vmx::secondary_controls(v) & vmx::secondary::vmcs_shadowing) != 0;
    default:
      return false;
  }
}

cycles cost_of(mnemonic what, const instruction_costs& cost) {
  switch (what) {
    case mnemonic::invept:
    case mnemonic::invvpid:
      return cost.invalidate_translations;
    case mnemonic::vmread:
      return cost.vmread;
    case mnemonic::vmwrite:
      return cost.vmwrite;
    case mnemonic::vmfunc:
      return cost.vmfunc;
    case mnemonic::mov_to_cr0:
    case mnemonic::mov_to_cr3:
    case mnemonic::mov_to_cr4:
    case mnemonic::mov_to_cr8:
    case mnemonic::mov_from_cr0:
    case mnemonic::mov_from_cr3:
    case mnemonic::mov_from_cr4:
    case mnemonic::mov_from_cr8:
    case mnemonic::clts:
    case mnemonic::lmsw:
    case mnemonic::smsw:
      return cost.control_register;
    case mnemonic::mov_to_dr:
    case mnemonic::mov_from_dr:
      return cost.debug_register;
    case mnemonic::in:
    case mnemonic::out:
    case mnemonic::ins:
    case mnemonic::outs:
      return cost.io;
    case mnemonic::lgdt:
    case mnemonic::lidt:
    case mnemonic::sgdt:
    case mnemonic::sidt:
    case mnemonic::lldt:
    case mnemonic::ltr:
    case mnemonic::sldt:
    case mnemonic::str:
      return cost.descriptor_table;
    case mnemonic::invlpg:
    case mnemonic::invpcid:
      return cost.invalidate_page;
    case mnemonic::wbinvd:
    case mnemonic::wbnoinvd:
    case mnemonic::invd:
      return cost.wbinvd;
    case mnemonic::xsetbv:
      return cost.xsetbv;
    case mnemonic::rdpmc:
      return cost.rdpmc;
    case mnemonic::rdrand:
    case mnemonic::rdseed:
      return cost.random;
    case mnemonic::monitor:
    case mnemonic::umonitor:
      return cost.monitor;
    case mnemonic::mwait:
    case mnemonic::tpause:
    case mnemonic::umwait:
      return cost.user_wait;
    case mnemonic::xsaves:
      return cost.xsave;
    case mnemonic::xrstors:
      return cost.xrstor;
    default:
      return cost.rdtsc;  // RDTSCP, RDPID and what this machine does not have
  }
}

/// Outside a guest the model has no units for these: a processor without them raises #UD.
bool implemented(mnemonic what) {
  switch (what) {
    case mnemonic::getsec:
    case mnemonic::seamcall:
    case mnemonic::tdcall:
    case mnemonic::rdmsrlist:
    case mnemonic::wrmsrlist:
    case mnemonic::urdmsr:
    case mnemonic::uwrmsr:
    case mnemonic::encls:
    case mnemonic::enclv:
    case mnemonic::pconfig:
    case mnemonic::pbndkb:
    case mnemonic::loadiwkey:
    case mnemonic::enqcmd:
    case mnemonic::enqcmds:
    case mnemonic::rsm:
    case mnemonic::rdmsr_immediate:
    case mnemonic::wrmsrns_immediate:
      return false;
    default:
      return true;
  }
}

}  // namespace

std::uint32_t cpu_engine::length_of(const instruction& i) {
  return has_rule(i.code) && i.code != opcode::guest_access ? form_of(i).length : 3;
}

// -- instructions of a guest ------------------------------------------------------------------------------------------

/// All that a rule may look at.
vmx::guest_instruction cpu_engine::describe(const instruction& i) const {
  vmx::guest_instruction g;
  const form f = form_of(i);
  if (i.code == opcode::system) g = static_cast<const system_instruction&>(i).what;
  g.what = f.what;
  g.length = f.length;
  g.mode = core_.mode();
  g.rflags = (core_.registers.rflags & ~vmx::rflags_bits::interrupt_flag) |
             (core_.interrupts_enabled ? vmx::rflags_bits::interrupt_flag : std::uint64_t{0});
  g.tsc = core_.time.now().count();
  g.monitor_armed = monitored_ != nullptr;
  g.virtual_interrupt = virtual_work_ && virtual_interrupt_recognized();
  g.xss = msrs_.xss();
  g.umwait_control = msrs_.umwait_control();
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

/// A guest issues an instruction. True: it does not execute, because it exits or faults.
bool cpu_engine::held_back(instruction& i, cycles now) {
  if (!has_rule(i.code))
    return (i.code == opcode::mmio_read || i.code == opcode::mmio_write) && page_access_exits(i, now);
  switch (i.code) {
    case opcode::pause:
      if (!pause_exits({now,
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
      expose_registers(i);
      begin_exit(vmx::exit_of(outcome_, g), now);
      return true;
    case vmx::instruction_verdict::fault_ud:
      return fault_at_issue(i, instruction_fault::invalid_opcode, now);
    case vmx::instruction_verdict::fault_gp:
      return fault_at_issue(i, instruction_fault::general_protection, now);
  }
  return false;
}

/// VMFUNC is decided by its own rule, and acts at once.
bool cpu_engine::function_exits(instruction& i, cycles now) {
  const vmx::guest_instruction g = describe(i);
  const vmx::vmx_outcome done = vmx::vmfunc(vmx_unit_, g.mode, g.eax, g.ecx);
  if (done.kind == vmx::outcome_kind::fault_ud) return fault_at_issue(i, instruction_fault::invalid_opcode, now);
  if (done.kind != vmx::outcome_kind::vm_exit) return false;
  expose_registers(i);
  vmx::exit_info info;
  info.reason = done.reason;
  info.instruction_length = g.length;
  begin_exit(info, now);
  return true;
}

/// The EPT paging structures have a say in an access of the guest to its memory. SDM Vol. 3C §31.3.
bool cpu_engine::access_exits(guest_access_instruction& i, cycles now) {
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
  begin_exit(info, now);
  return true;
}

/// A fault of the guest: exits if the exception bitmap says so, else strikes the program.
bool cpu_engine::fault_at_issue(instruction& i, instruction_fault what, cycles now) {
  if (fault_exits(what, now)) return true;
  i.fault = what;
  core_.book(now);
  core_.run_for(core_.costs.instruction.interrupt, now, phase::read);
  return true;
}

bool cpu_engine::fault_exits(instruction_fault what, cycles now) {
  if (!core_.in_guest) return false;
  vmx::guest_exception exception;
  exception.vector = what == instruction_fault::invalid_opcode ? invalid_opcode_vector : general_protection_vector;
  exception.real_mode = (core_.registers.cr0 & 1) == 0;
  const vmx::exception_outcome o = vmx::raise_exception(core_.current_vmcs(), exception);
  if (o.what != vmx::exception_outcome::kind::vm_exit) return false;
  begin_exit(o.exit, now);
  return true;
}

/// An injected exception that programs see as a fault of the instruction they await. False: it is none of these.
bool cpu_engine::strike(std::uint8_t vector, cycles now) {
  instruction* i = core_.active->in_flight();
  if (i == nullptr || i->started) return false;
  if (vector != invalid_opcode_vector && vector != general_protection_vector) return false;
  core_.guest_activity = vmx::activity_state::active;
  core_.shadow = core_.shadowed = false;
  i->fault =
      vector == invalid_opcode_vector ? instruction_fault::invalid_opcode : instruction_fault::general_protection;
  core_.state(now, interrupt_fact{vector, 1}, core_.cause);
  core_.complete(*i);
  return true;
}

/// The operands of an exiting instruction are where its handler looks for them.
void cpu_engine::expose_registers(const instruction& i) {
  strand& s = *core_.active;
  const auto pair = [&s](std::uint64_t value) {
    s.reg(gpr::rax) = value & 0xFFFFFFFF;
    s.reg(gpr::rdx) = value >> 32;
  };
  switch (i.code) {
    case opcode::mmio_write:
      s.reg(gpr::rax) = i.b;
      break;
    case opcode::wrmsr:
      pair(i.b);
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
    case opcode::system: {
      const vmx::guest_instruction& g = static_cast<const system_instruction&>(i).what;
      switch (g.what) {
        case mnemonic::mov_to_cr0:
        case mnemonic::mov_to_cr3:
        case mnemonic::mov_to_cr4:
        case mnemonic::mov_to_cr8:
        case mnemonic::mov_to_dr:
          s.reg(g.gpr) = g.source;
          break;
        case mnemonic::out:
          s.reg(gpr::rax) = g.source;
          break;
        case mnemonic::xsetbv:
          pair(g.edx_eax);
          s.reg(gpr::rcx) = g.ecx;
          break;
        case mnemonic::tpause:
        case mnemonic::umwait:
          pair(g.edx_eax);
          break;
        case mnemonic::vmfunc:
          s.reg(gpr::rax) = g.eax;
          s.reg(gpr::rcx) = g.ecx;
          break;
        case mnemonic::rdpmc:
        case mnemonic::mwait:
          s.reg(gpr::rcx) = g.ecx;
          break;
        default:
          break;
      }
      break;
    }
    default:
      break;
  }
}

/// An emulated instruction: the handler left its results in the registers and moved RIP past it.
void cpu_engine::complete_from_registers(instruction& i) {
  strand& s = *core_.active;
  const auto pair = [&s] { return s.reg(gpr::rdx) << 32 | (s.reg(gpr::rax) & 0xFFFFFFFF); };
  switch (i.code) {
    case opcode::rdtsc:
    case opcode::rdmsr:
      i.result = pair();
      break;
    case opcode::vmcall:
    case opcode::vmread:
      i.result = s.reg(gpr::rax);
      break;
    case opcode::mmio_read:
      i.result = s.reg(gpr::rax) & (~std::uint64_t{0} >> (64 - 8 * i.size));
      break;
    case opcode::cpuid:
      static_cast<isa::cpuid_operation&>(i).registers = {
          static_cast<std::uint32_t>(s.reg(gpr::rax)), static_cast<std::uint32_t>(s.reg(gpr::rbx)),
          static_cast<std::uint32_t>(s.reg(gpr::rcx)), static_cast<std::uint32_t>(s.reg(gpr::rdx))};
      break;
    case opcode::system: {
      const vmx::guest_instruction& g = static_cast<const system_instruction&>(i).what;
      switch (g.what) {
        case mnemonic::mov_from_cr0:
        case mnemonic::mov_from_cr3:
        case mnemonic::mov_from_cr4:
        case mnemonic::mov_from_cr8:
        case mnemonic::mov_from_dr:
          i.result = s.reg(g.gpr);
          break;
        case mnemonic::rdtscp:
        case mnemonic::rdpmc:
          i.result = pair();
          break;
        default:
          i.result = s.reg(gpr::rax);
          break;
      }
      break;
    }
    default:
      break;
  }
  core_.complete(i);
}

// -- execution --------------------------------------------------------------------------------------------------------

/// Issues an instruction that is neither computing nor memory: all of VMX, and those of `system_instruction`.
bool cpu_engine::execute_system(instruction& i, cycles now) {
  if (i.code != opcode::system) return execute_vmx(i, now);
  auto& s = static_cast<system_instruction&>(i);
  const mnemonic what = s.what.what;
  if (!core_.in_guest) {
    outcome_ = {};
    lookup_ = cycles{0};
    const vmx::guest_instruction g = describe(i);
    for (const vmx::fault_gate gate : vmx::rule_of(what).gates) {
      if (vmx::passes(gate, core_.caps, g)) continue;
      const bool ud = vmx::fault_gate_table[static_cast<std::size_t>(gate)].fault == vmx::gate_fault::ud;
      return fault_at_issue(i, ud ? instruction_fault::invalid_opcode : instruction_fault::general_protection, now);
    }
  }
  if (!implemented(what) || (what == mnemonic::vmfunc && !core_.in_guest))
    return fault_at_issue(i, instruction_fault::invalid_opcode, now);
  if (what == mnemonic::invept || what == mnemonic::invvpid) invalidate(s);
  const bool shadow = core_.in_guest && outcome_.effect == vmx::instruction_effect::tpr_shadow;
  core_.run_for(
      (shadow ? duration_of_cr8(what == mnemonic::mov_to_cr8) : cost_of(what, core_.costs.instruction)) + lookup_, now,
      phase::read);
  return true;
}

void cpu_engine::invalidate(system_instruction& i) {
  const vmx::execution_mode m = core_.mode();
  const vmx::invalidation_outcome o = i.what.what == mnemonic::invept
                                          ? vmx::invept(vmx_unit_, m, i.a, {i.b, 0})
                                          : vmx::invvpid(vmx_unit_, m, i.a, {i.b, i.what.linear_address});
  note_outcome(i, o);
}

void cpu_engine::note_outcome(instruction& i, const vmx::vmx_outcome& outcome) {
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

bool cpu_engine::execute_vmx(instruction& i, cycles now) {
  const instruction_costs& cost = core_.costs.instruction;
  const vmx::execution_mode m = core_.mode();
  cycles duration = cost.vmread;
  switch (i.code) {
    case opcode::vmlaunch:
    case opcode::vmresume:
      begin_entry(static_cast<vm_entry_instruction&>(i), now);
      return true;
    case opcode::vmread:
      note_outcome(i, vmx::vmread(vmx_unit_, m, i.a));
      break;
    case opcode::vmwrite:
      note_outcome(i, vmx::vmwrite(vmx_unit_, m, i.a, i.b));
      duration = cost.vmwrite;
      break;
    case opcode::vmptrld:
      note_outcome(i, vmx::vmptrld(vmx_unit_, m, i.a));
      duration = cost.vmptrld;
      break;
    case opcode::vmclear:
      note_outcome(i, vmx::vmclear(vmx_unit_, m, i.a));
      duration = cost.vmclear;
      break;
    case opcode::vmptrst:
      note_outcome(i, vmx::vmptrst(vmx_unit_, m));
      break;
    case opcode::vmxon:
      note_outcome(i, vmx::vmxon(vmx_unit_, m, i.a));
      duration = cost.vmxon;
      break;
    case opcode::vmxoff:
      note_outcome(i, vmx::vmxoff(vmx_unit_, m));
      duration = cost.vmxon;
      break;
    default:
      note_outcome(i, vmx::vmcall(vmx_unit_, m));
      duration = cost.vmcall;
      break;
  }
  core_.run_for(core_.in_guest ? duration + lookup_ : duration, now, phase::read);
  return true;
}

namespace {
/// splitmix64: RDRAND of a CPU gives the same numbers in every run.
std::uint64_t random_number(std::uint64_t n) {
  std::uint64_t z = (n + 1) * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}
constexpr std::uint64_t cr0_must_be_1 = 1u << 4;  // ET
}  // namespace

/// The completion of a system instruction. False: it goes on (it waits).
bool cpu_engine::finish_system(system_instruction& i, cycles now) {
  using effect = vmx::instruction_effect;
  vmx::processor_state& r = core_.registers;
  const vmx::guest_instruction& g = i.what;
  const effect what = core_.in_guest ? outcome_.effect : effect::as_usual;
  if (what == effect::nothing) return true;
  const auto load_control_register = [&](std::uint64_t& to, std::uint64_t value, bool allowed) {
    if (what == effect::load_control_register)
      to = outcome_.value;
    else if (allowed)
      to = value;
    else
      i.fault = instruction_fault::general_protection;
  };
  const vmx::capabilities& caps = core_.caps;
  switch (g.what) {
    case mnemonic::mov_to_cr0:
      load_control_register(r.cr0, g.source | cr0_must_be_1, vmx::cr0_write_allowed(core_.vmx_state, caps, g.source));
      break;
    case mnemonic::mov_to_cr3:
      r.cr3 = g.source;
      break;
    case mnemonic::mov_to_cr4:
      load_control_register(r.cr4, g.source, vmx::cr4_write_allowed(core_.vmx_state, caps, g.source));
      break;
    case mnemonic::clts:
      load_control_register(r.cr0, r.cr0 & ~vmx::cr0_bits::ts, true);
      break;
    case mnemonic::lmsw:
      load_control_register(r.cr0, (r.cr0 & ~std::uint64_t{14}) | (g.source & 15), true);
      break;
    case mnemonic::mov_from_cr0:
    case mnemonic::smsw:
      i.result = what == effect::deliver_value ? outcome_.value : r.cr0;
      break;
    case mnemonic::mov_from_cr3:
      i.result = r.cr3;
      break;
    case mnemonic::mov_from_cr4:
      i.result = what == effect::deliver_value ? outcome_.value : r.cr4;
      break;
    case mnemonic::mov_to_cr8:
    case mnemonic::mov_from_cr8:
      access_cr8(i, now);
      break;
    case mnemonic::mov_to_dr:
      (g.debug_register == 7   ? r.dr7
       : g.debug_register == 6 ? r.dr6
                               : debug_registers_[g.debug_register & 3]) = g.source;
      break;
    case mnemonic::mov_from_dr:
      i.result = g.debug_register == 7 ? r.dr7 : g.debug_register == 6 ? r.dr6 : debug_registers_[g.debug_register & 3];
      break;
    case mnemonic::in:
      i.result = ~std::uint64_t{0} >> (64 - 8 * g.bytes);
      break;
    case mnemonic::rdtscp:
      i.result = core_.in_guest ? vmx::guest_tsc(core_.current_vmcs(), now.count()) : now.count();
      break;
    case mnemonic::rdpid:
      i.result = msrs_.tsc_aux();
      break;
    case mnemonic::rdpmc:
      i.result = now.count();
      break;
    case mnemonic::rdrand:
    case mnemonic::rdseed:
      i.result = random_number(std::uint64_t{core_.number} << 32 | random_numbers_++);
      break;
    case mnemonic::lgdt:
      r.gdtr.base = g.source;
      break;
    case mnemonic::lidt:
      core_.idtr_base = r.idtr.base = g.source;
      break;
    case mnemonic::sgdt:
      i.result = r.gdtr.base;
      break;
    case mnemonic::sidt:
      i.result = core_.idtr_base;
      break;
    case mnemonic::str:
      i.result = r[vmx::segment_name::tr].selector;
      break;
    case mnemonic::sldt:
      i.result = r[vmx::segment_name::ldtr].selector;
      break;
    case mnemonic::monitor:
    case mnemonic::umonitor:
      if (i.line != nullptr) arm_monitor(*i.line);
      break;
    case mnemonic::mwait:
    case mnemonic::tpause:
    case mnemonic::umwait:
      return !begin_wait(i, now);
    default:
      break;
  }
  return true;
}

/// CR8 is the task-priority class: of the virtual APIC with "use TPR shadow", else of the local APIC. SDM Vol. 3A
/// §13.8.6, Vol. 3C §32.3.
void cpu_engine::access_cr8(system_instruction& i, cycles now) {
  const bool write = i.what.what == mnemonic::mov_to_cr8;
  if (write && i.what.source > 15)
    i.fault = instruction_fault::general_protection;
  else if (core_.in_guest && outcome_.effect == vmx::instruction_effect::tpr_shadow)
    access_virtual_cr8(i, now);
  else if (write)
    core_.local_apic.set_cr8(static_cast<std::uint8_t>(i.what.source));
  else
    i.result = core_.local_apic.cr8();
}

// -- MSRs -------------------------------------------------------------------------------------------------------------

// At the completion of RDMSR or WRMSR. False: #GP(0).
bool cpu_engine::execute_msr(instruction& i, cycles now) {
  if (core_.in_guest && outcome_.effect == vmx::instruction_effect::virtual_x2apic) {
    const apic::x2apic_verdict verdict = access_virtual_msr(i, now);
    if (verdict != apic::x2apic_verdict::native) return verdict == apic::x2apic_verdict::virtualized;
  } else if (core_.in_guest && outcome_.effect == vmx::instruction_effect::apic_timer) {
    access_guest_deadline(i, now);
    return true;
  }
  const auto number = static_cast<std::uint32_t>(i.a);
  if (i.code == opcode::wrmsr) return write_register(number, i.b, now);
  const std::uint64_t tsc = core_.in_guest ? vmx::guest_tsc(core_.current_vmcs(), now.count()) : now.count();
  return read_register(number, tsc, i.result, now);
}

bool cpu_engine::read_register(std::uint32_t number, std::uint64_t tsc, std::uint64_t& value, cycles now) {
  if (!apic::local_apic::handles(number)) return msrs_.read(number, tsc, value);
  const apic::register_outcome outcome = core_.local_apic.read_msr(number, now);
  value = outcome.value;
  return !outcome.fault;
}

bool cpu_engine::write_register(std::uint32_t number, std::uint64_t value, cycles now) {
  if (!apic::local_apic::handles(number)) {
    if (number == msr::gs_base) core_.gs_base = value;
    return msrs_.write(number, value);
  }
  const bool before = core_.local_apic.mode() == apic::apic_mode::x2apic;
  const apic::register_outcome outcome = core_.local_apic.write_msr(number, value, now);
  if (outcome.fault) return false;
  const bool after = core_.local_apic.mode() == apic::apic_mode::x2apic;
  if (before != after) core_.fabric.note_apic_mode(after);
  note_apic_outcome(outcome, now);
  return true;
}

/// What a write of a register of the local APIC sets in motion.
void cpu_engine::note_apic_outcome(const apic::register_outcome& outcome, cycles now) {
  if (outcome.ipi) send_ipi(*outcome.ipi, core_.cause, now);
  if (outcome.eoi) broadcast_eoi(*outcome.eoi, now);
  if (outcome.timer_rearmed) arm_apic_timer(now);
}

void cpu_engine::send_ipi(const apic::interrupt_command& c, fact_id cause, cycles now) {
  const fact_id sent = core_.state(
      now,
      ipi_sent_fact{c.destination, c.vector, static_cast<std::uint8_t>(c.mode), static_cast<std::uint8_t>(c.group)},
      cause);
  core_.fabric.send(c, core_.number, now, sent);
}

void cpu_engine::broadcast_eoi(const apic::eoi_broadcast& eoi, cycles now) {
  core_.state(now, eoi_broadcast_fact{eoi.vector}, core_.cause);
  core_.fabric.broadcast_eoi(eoi.vector, core_.number, now);
}

/// The CPU's own xAPIC page. SDM Vol. 3A §13.4.1.
void cpu_engine::access_own_page(instruction& i, cycles now) {
  const auto offset = static_cast<std::uint32_t>(i.a & 0xFFF);
  if (i.code == opcode::mmio_read)
    i.result = core_.local_apic.read_page(offset, i.size, now).value;
  else
    note_apic_outcome(core_.local_apic.write_page(offset, i.size, i.b, now), now);
}

void cpu_engine::write_apic_page(std::uint32_t offset, unsigned bytes, std::uint64_t value, cycles now) {
  core_.cause = {};  // somebody outside
  note_apic_outcome(core_.local_apic.write_page(offset, bytes, value, now), now);
  disturb(now);
}

/// MSR lists see the processor's own TSC. SDM Vol. 3C §30.4.
bool cpu_engine::read_msr(std::uint32_t number, std::uint64_t& value) {
  return read_register(number, core_.time.now().count(), value, core_.time.now());
}
bool cpu_engine::write_msr(std::uint32_t number, std::uint64_t value) {
  return write_register(number, value, core_.time.now());
}

// -- waiting: MWAIT, TPAUSE, UMWAIT -----------------------------------------------------------------------------------

void cpu_engine::arm_monitor(word& line) {
  disarm_monitor();
  monitored_ = &line;
  core_.registers.monitor_armed = true;
  core_.physical.watch(line, monitor_);
}

void cpu_engine::disarm_monitor() {
  core_.registers.monitor_armed = false;
  if (monitored_ == nullptr) return;
  core_.physical.unwatch(*monitored_, monitor_);
  monitored_ = nullptr;
}

/// Somebody stored to the monitored line: it is armed no more, and who waits for it wakes.
void cpu_engine::monitored_line_changed(cycles now) {
  disarm_monitor();
  if (core_.activity == cpu_activity::waiting &&
      static_cast<system_instruction*>(core_.active->in_flight())->what.what != mnemonic::tpause)
    core_.time.arm(core_.step, now + cycles{1}, phase::read);
}

/// False: there is nothing to wait for.
bool cpu_engine::begin_wait(system_instruction& i, cycles now) {
  const bool by_line = i.what.what != mnemonic::tpause;
  if (by_line && monitored_ == nullptr) return false;
  if (wakes()) return false;
  cycles end = cycles::never();
  if (i.what.what == mnemonic::mwait) {
    waits_for_masked_ = (i.what.ecx & vmx::mwait_break_on_interrupt) != 0;
  } else {
    waits_for_masked_ = false;
    const std::uint64_t delay =
        core_.in_guest ? outcome_.value : i.what.edx_eax - std::min(i.what.edx_eax, now.count());
    const std::uint64_t limit = msrs_.umwait_control() & vmx::umwait_control::maximum_time;
    const bool limited = core_.in_guest ? outcome_.limited : limit != 0 && limit < delay;
    const std::uint64_t real = !core_.in_guest && limited ? limit : delay;
    if (real == 0) return false;
    i.a = limited;
    end = now + cycles{real};
  }
  core_.began = now;
  core_.activity = cpu_activity::waiting;
  core_.book_as(now, bucket::idle);
  if (end == cycles::never())
    core_.time.disarm(core_.step);
  else
    core_.time.arm(core_.step, end, phase::read);
  wait_end_ = end;
  return true;
}

/// The wait is over: by its deadline, by a store or by an event. It takes what leaving the state takes, then the
/// instruction is behind.
void cpu_engine::end_wait(cycles now) {
  auto& i = static_cast<system_instruction&>(*core_.active->in_flight());
  i.result = now == wait_end_ ? i.a : 0;
  disarm_monitor();
  const bool deep = i.what.what == mnemonic::mwait;
  core_.complete(i);
  core_.activity = cpu_activity::waking;
  core_.time.arm(core_.step, now + (deep ? core_.costs.idle_states.front().exit_latency : cycles{1}), phase::read);
}

}  // namespace vmxsys::cpu
