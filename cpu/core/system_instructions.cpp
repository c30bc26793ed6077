#include <algorithm>

#include <vmxsys/vmx/events/tsc.hpp>
#include <vmxsys/vmx/instructions/user_wait.hpp>

#include "detail/instruction_unit.hpp"

// What happens when an instruction completes that VMX has rules for.
namespace vmxsys::cpu {

using vmx::mnemonic;

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

bool instruction_unit::finish(system_instruction& i, cycles now) {
  if (!perform(i, now)) return false;
  if (i.fault == instruction_fault::none || !fault_exits(i.fault, now)) return true;
  i.fault = instruction_fault::none;
  return false;
}

/// False: it waits.
bool instruction_unit::perform(system_instruction& i, cycles now) {
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
      i.result = tsc(now);
      break;
    case mnemonic::rdpid:
      i.result = of_.own_apic.msrs().tsc_aux();
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
      if (i.line != nullptr) of_.wait.arm(*i.line);
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
void instruction_unit::access_cr8(system_instruction& i, cycles now) {
  const bool write = i.what.what == mnemonic::mov_to_cr8;
  if (write && i.what.source > 15)
    i.fault = instruction_fault::general_protection;
  else if (core_.in_guest && outcome_.effect == vmx::instruction_effect::tpr_shadow)
    of_.virtual_apic.access_cr8(i, now);
  else if (write)
    core_.local_apic.set_cr8(static_cast<std::uint8_t>(i.what.source));
  else
    i.result = core_.local_apic.cr8();
}

// -- MSRs -------------------------------------------------------------------------------------------------------------

bool instruction_unit::finish_msr(instruction& i, cycles now) {
  if (begin_sending(i, now)) return false;
  if (access_msr(i, now)) return true;
  if (fault_exits(instruction_fault::general_protection, now)) return false;
  i.fault = instruction_fault::general_protection;
  return true;
}

/// False: #GP(0).
bool instruction_unit::access_msr(instruction& i, cycles now) {
  if (core_.in_guest && outcome_.effect == vmx::instruction_effect::virtual_x2apic) {
    const apic::x2apic_verdict verdict = of_.virtual_apic.access_msr(i, now);
    if (verdict != apic::x2apic_verdict::native) return verdict == apic::x2apic_verdict::virtualized;
  } else if (core_.in_guest && outcome_.effect == vmx::instruction_effect::apic_timer) {
    of_.virtual_apic.access_deadline(i, now);
    return true;
  }
  const auto number = static_cast<std::uint32_t>(i.a);
  if (i.code == opcode::wrmsr) return of_.own_apic.write(number, i.b, now);
  return of_.own_apic.read(number, tsc(now), i.result, now);
}

/// As the code that runs reads it.
std::uint64_t instruction_unit::tsc(cycles now) const {
  return core_.in_guest ? vmx::guest_tsc(core_.current_vmcs(), now.count()) : now.count();
}

// -- MWAIT, TPAUSE, UMWAIT --------------------------------------------------------------------------------------------

/// False: there is nothing to wait for.
bool instruction_unit::begin_wait(system_instruction& i, cycles now) {
  if (of_.wait.pointless(i) || of_.events.wakes()) return false;
  monitor_wait::duration timed;
  if (core_.in_guest) {
    timed = {outcome_.value, outcome_.limited};
  } else {
    timed.delay = i.what.edx_eax - std::min(i.what.edx_eax, now.count());
    const std::uint64_t limit = of_.own_apic.msrs().umwait_control() & vmx::umwait_control::maximum_time;
    timed.limited = limit != 0 && limit < timed.delay;
    if (timed.limited) timed.delay = limit;
  }
  return of_.wait.begin(i, timed, now);
}

}  // namespace vmxsys::cpu
