#pragma once
#include <vmxsys/cpu/memory/memory.hpp>

#include "guest_apic.hpp"

namespace vmxsys::cpu {

/// What the rules of apic/ act on. Their writes are this CPU's, so that it has the descriptor's line afterwards.
struct guest_apic::view {
  view(cpu_core& core, held& h)
      : memory{core.physical, core.number}, a{core.current_vmcs(), memory, h.state, core.caps.physical_address_width} {}
  memory_of_cpu memory;
  apic::virtual_apic a;
};

}  // namespace vmxsys::cpu
