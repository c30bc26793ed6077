#pragma once
#include <cstdint>

#include <vmxsys/vmx/base/cycles.hpp>
#include <vmxsys/vmx/events/tsc.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "virtual_interrupts.hpp"

namespace vmxsys::apic {

// APIC-timer virtualization, SDM Vol. 3C §32 (tertiary control bit 8): the guest arms its TSC deadline (MSR 6E0H)
// without an exit, and its expiry makes the virtual-timer vector (field 000AH) pending. It knows nothing of the LVT
// timer's mode or mask: a hypervisor that must honour a masked LVT turns the control off.
//
// The guest deadline is a register of the processor, in units of the physical TSC: `vmx::processor_state::
// guest_deadline`, 0 when disarmed. VM entry loads it from field 2830H, VM exit saves and clears it. The shadow
// (field 204EH), in the guest's units, is what the guest reads back.

/// RDMSR 6E0H: the shadow.
std::uint64_t read_guest_deadline(const vmx::vmcs& v) noexcept;

/// What a write did. `due`: `guest_timer_due` holds already, the event acts at the next boundary
/// (`boundary_event::guest_timer`).
enum class guest_timer_state : std::uint8_t { disarmed, armed, due };

/// WRMSR 6E0H. `tsc` is the physical TSC now; `deadline` the processor's register. The shadow becomes `value`; 0
/// disarms; a value not above the guest's TSC makes the event due now (the register becomes `tsc`, so that the event
/// outlives a VM exit that comes first); any other is converted to the physical TSC.
/// `round`: the manual's formula drops the fraction, so that the event can come while the guest still reads one less;
/// `up` is for a processor on which it never does.
guest_timer_state write_guest_deadline(vmx::vmcs& v, std::uint64_t& deadline, std::uint64_t value, std::uint64_t tsc,
                                       vmx::rounding round = vmx::rounding::down) noexcept;

/// The event is pending at TSC `tsc`: also right after a VM entry with a deadline in the past.
constexpr bool guest_timer_due(std::uint64_t deadline, std::uint64_t tsc) noexcept {
  return deadline != 0 && deadline <= tsc;
}
/// The TSC from which it is; never when disarmed.
constexpr cycles next_guest_timer_event(std::uint64_t deadline) noexcept {
  return deadline == 0 ? cycles::never() : cycles{deadline};
}

/// The event: the virtual-timer vector becomes pending, deadline and shadow 0, virtual interrupts are evaluated. What
/// it makes of a wait: `waits_on`. In shutdown and wait-for-SIPI it does not come (vmx/events/boundary.hpp).
void guest_timer_event(const virtual_apic& a, std::uint64_t& deadline);

}  // namespace vmxsys::apic
