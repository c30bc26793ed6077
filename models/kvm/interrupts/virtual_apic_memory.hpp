#pragma once
#include <array>
#include <cstdint>

#include <vmxsys/apic/virtualization/virtual_apic_page.hpp>
#include <vmxsys/cpu/memory/memory.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>

namespace vmxsys::models {

/// What a vCPU has in memory so that the processor can virtualize its local APIC: the page, and if interrupts are
/// posted to it the descriptor, whose words CPUs contend for.
struct virtual_apic_memory {
  apic::virtual_apic_page page;
  std::uint8_t tpr_threshold = 0;  ///< as the VMCS has it

  // With posted interrupts.
  std::uint16_t number = 0;  ///< among all vCPUs of the hypervisor
  physical_address descriptor = 0;
  std::array<cpu::word*, 4> pir{};
  cpu::word* info = nullptr;            ///< ON, SN, NV, NDST
  cpu::word* mode = nullptr;            ///< vcpu_mode: senders look at it
  std::uint32_t last_cpu = ~0u;         ///< on which it was loaded last
  std::uint32_t eoi_exits_version = 0;  ///< of the EOI-exit bitmaps that the VMCS has
  bool timer_pending = false;           ///< its timer has expired in software and waits for the next entry
  vmx::exit_info exit{};                ///< of the last entry
};

}  // namespace vmxsys::models
