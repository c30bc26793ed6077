#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/vmcs/capability.hpp>

#include "guest_instruction.hpp"

namespace vmxsys::vmx {

/// The faults that beat a VM exit of the same instruction: invalid opcode or mode, privilege, I/O permission. All other
/// faults come after the exit. SDM Vol. 3C §28.1.1; the instruction pages of Vol. 2 for which of them an instruction
/// has.
enum class fault_gate : std::uint8_t {
  none,
  vmx_mode,
  protected_mode,
  mode_64_bit,
  smxe,
  osxsave,
  key_locker,
  has_invept,
  has_invvpid,
  in_smm,
  user_msr_enabled,
  vm_function_number,
  debug_extensions,
  cpl_0_or_ud,
  cpl_0,
  tsd,
  pce,
  umip,
  io_permission,
  user_msr_permitted,
};

enum class gate_fault : std::uint8_t { ud, gp };

struct fault_gate_rule {
  fault_gate gate;
  gate_fault fault;
  const char* name;  ///< the condition under which it faults
};

inline constexpr std::array<fault_gate_rule, 20> fault_gate_table{{
    {fault_gate::none, gate_fault::ud, "-"},
    {fault_gate::vmx_mode, gate_fault::ud, "CR0.PE = 0, RFLAGS.VM = 1 or compatibility mode"},
    {fault_gate::protected_mode, gate_fault::ud, "CR0.PE = 0 or RFLAGS.VM = 1"},
    {fault_gate::mode_64_bit, gate_fault::ud, "not in 64-bit mode"},
    {fault_gate::smxe, gate_fault::ud, "CR4.SMXE = 0"},
    {fault_gate::osxsave, gate_fault::ud, "CR4.OSXSAVE = 0"},
    {fault_gate::key_locker, gate_fault::ud, "CR4.KL = 0"},
    {fault_gate::has_invept, gate_fault::ud, "INVEPT not supported"},
    {fault_gate::has_invvpid, gate_fault::ud, "INVVPID not supported"},
    {fault_gate::in_smm, gate_fault::ud, "not in system-management mode"},
    {fault_gate::user_msr_enabled, gate_fault::ud, "IA32_USER_MSR_CTL bit 0 = 0"},
    {fault_gate::vm_function_number, gate_fault::ud, "EAX > 63"},
    {fault_gate::debug_extensions, gate_fault::ud, "DR4 or DR5 with CR4.DE = 1"},
    {fault_gate::cpl_0_or_ud, gate_fault::ud, "CPL > 0"},
    {fault_gate::cpl_0, gate_fault::gp, "CPL > 0"},
    {fault_gate::tsd, gate_fault::gp, "CR4.TSD = 1 and CPL > 0"},
    {fault_gate::pce, gate_fault::gp, "CR4.PCE = 0 and CPL > 0"},
    {fault_gate::umip, gate_fault::gp, "CR4.UMIP = 1 and CPL > 0"},
    {fault_gate::io_permission, gate_fault::gp, "CPL > IOPL or RFLAGS.VM = 1, and the TSS forbids the port"},
    {fault_gate::user_msr_permitted, gate_fault::gp, "the MSR is above 3FFFH or its user bitmap forbids it"},
}};

/// The gate lets the instruction through.
bool passes(fault_gate gate, const capabilities& caps, const guest_instruction& i) noexcept;

}  // namespace vmxsys::vmx
