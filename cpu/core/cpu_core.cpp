#include "cpu_core.hpp"

#include <vmxsys/vmx/transition/vm_entry.hpp>

#include "logical_cpu.hpp"

namespace vmxsys::cpu {

logical_cpu::~logical_cpu() = default;

vmx::processor_state cpu_core::running_state() {
  vmx::processor_state r;
  using vmx::segment_name;
  r[segment_name::cs] = {0x10, 0xFFFF'FFFF, 0xA09B, 0};
  r[segment_name::ss] = {0x18, 0xFFFF'FFFF, 0xC093, 0};
  r[segment_name::tr] = {0x40, 0x67, 0x8B, 0};
  return r;
}

vmx::execution_mode cpu_core::mode() const {
  vmx::execution_mode m = vmx::mode_of(registers);
  m.cpl = active->location().cpl;
  return m;
}

}  // namespace vmxsys::cpu
