#pragma once
#include <cstdint>
#include <optional>

#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/apic/virtualization/virtual_interrupts.hpp>
#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>

#include "cpu_engine.hpp"

namespace vmxsys::cpu {

/// What a CPU holds of its guest's local APIC besides the virtual-APIC page. Most CPUs never need one.
struct cpu_engine::guest_apic {
  apic::virtual_interrupt_state state;
  std::optional<vmx::exit_info> trap;  ///< trap-like exit due at the next boundary
  bool timer_due = false;              ///< a guest-timer event is
  bool acknowledging = false;          ///< posting: the first step takes its time
  apic::posted_processing posting;

  /// An IPI of the guest on its way into a descriptor.
  struct ipi {
    ipi_step step = ipi_step::done;
    std::uint8_t vector = 0;
    physical_address descriptor = 0;
    std::optional<apic::notification> notify;
    fact_id cause;
  };
  ipi sending;
};

}  // namespace vmxsys::cpu
