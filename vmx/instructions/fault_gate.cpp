#include "fault_gate.hpp"

#include <vmxsys/vmx/events/control_registers.hpp>

namespace vmxsys::vmx {

namespace {

// Real-address mode has no privilege levels; virtual-8086 mode is CPL 3.
unsigned level(const execution_mode& mode) {
  if ((mode.cr0 & cr0_bits::pe) == 0) return 0;
  return mode.virtual_8086 ? 3 : mode.cpl;
}

bool protected_mode(const execution_mode& mode) { return (mode.cr0 & cr0_bits::pe) != 0 && !mode.virtual_8086; }

}  // namespace

bool passes(fault_gate gate, const capabilities& caps, const guest_instruction& i) noexcept {
  const execution_mode& mode = i.mode;
  const bool cpl_0 = level(mode) == 0;
  switch (gate) {
    case fault_gate::none:
      return true;
    case fault_gate::vmx_mode:
      return protected_mode(mode) && (!mode.long_mode || mode.code_64_bit);
    case fault_gate::protected_mode:
      return protected_mode(mode);
    case fault_gate::mode_64_bit:
      return i.in_64_bit_mode();
    case fault_gate::smxe:
      return (mode.cr4 & cr4_bits::smxe) != 0;
    case fault_gate::osxsave:
      return (mode.cr4 & cr4_bits::osxsave) != 0;
    case fault_gate::key_locker:
      return (mode.cr4 & cr4_bits::kl) != 0;
    case fault_gate::has_invept:
      return (caps.ept_vpid >> 20 & 1) != 0;
    case fault_gate::has_invvpid:
      return (caps.ept_vpid >> 32 & 1) != 0;
    case fault_gate::in_smm:
      return i.in_smm;
    case fault_gate::user_msr_enabled:
      return i.user_msr_enabled;
    case fault_gate::vm_function_number:
      return i.eax < 64;
    case fault_gate::debug_extensions:
      return (mode.cr4 & cr4_bits::de) == 0 || (i.debug_register != 4 && i.debug_register != 5);
    case fault_gate::cpl_0_or_ud:
    case fault_gate::cpl_0:
      return cpl_0;
    case fault_gate::tsd:
      return cpl_0 || (mode.cr4 & cr4_bits::tsd) == 0;
    case fault_gate::pce:
      return cpl_0 || (mode.cr4 & cr4_bits::pce) != 0;
    case fault_gate::umip:
      return cpl_0 || (mode.cr4 & cr4_bits::umip) == 0;
    case fault_gate::io_permission:
      return i.port_permitted || (level(mode) <= (i.rflags >> 12 & 3) && !mode.virtual_8086);
    case fault_gate::user_msr_permitted:
      return i.msr < 0x4000 && i.user_msr_permitted;
  }
  return true;
}

}  // namespace vmxsys::vmx
