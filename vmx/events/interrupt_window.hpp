#pragma once
#include <cstdint>

#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>
#include <vmxsys/vmx/vmcs/event.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "boundary.hpp"

namespace vmxsys::vmx {

// External interrupts in VMX non-root operation, and the windows for interrupts and NMIs. SDM Vol. 3C §28.2. What is
// most urgent at a boundary is decided in `boundary.hpp`.

/// What happens to an unmasked external interrupt that has reached the processor; SDM Vol. 3C §28.2. `held`: it stays
/// pending in the local APIC. `deliver`: through the guest's IDT, no exit. `exit`: basic reason 1.
enum class interrupt_response : std::uint8_t { held, deliver, exit };

/// `sti_blocks_exit`: with "external-interrupt exiting" RFLAGS.IF does not hold the interrupt back; whether the shadow
/// of STI or MOV SS does is left to the processor, and most hold it for that one instruction.
interrupt_response respond_to_external_interrupt(const vmcs& v, activity_state activity, const guest_blocking& blocking,
                                                 bool sti_blocks_exit = true) noexcept;

/// The exit information of an external interrupt; `vector` is used only if it is acknowledged.
exit_info external_interrupt_exit(const vmcs& v, std::uint8_t vector) noexcept;

/// An interrupt-window exit (basic reason 7) is due: the control is 1 and the window is open.
inline bool interrupt_window_exit_due(const vmcs& v, const guest_blocking& blocking) noexcept {
  return (primary_controls(v) & primary::interrupt_window_exiting) != 0 && blocking.interrupt_window_open();
}
/// Basic reason 8. `sti_blocks_nmi`: see `guest_blocking`.
inline bool nmi_window_exit_due(const vmcs& v, const guest_blocking& blocking, bool sti_blocks_nmi = true) noexcept {
  return (primary_controls(v) & primary::nmi_window_exiting) != 0 && blocking.nmi_window_open(sti_blocks_nmi);
}
/// From the guest-state area itself.
inline bool interrupt_window_open(const vmcs& v) noexcept { return blocking_of(v).interrupt_window_open(); }

}  // namespace vmxsys::vmx
