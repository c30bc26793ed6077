#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <vmxsys/vmx/base/physical_memory.hpp>
#include <vmxsys/vmx/vmcs/event.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "notification.hpp"
#include "virtual_apic_page.hpp"

namespace vmxsys::apic {

// The operations that virtualize interrupts and the task priority; SDM Vol. 3C §32.1.2 to §32.2.2. They act on the
// virtual-APIC page, on the VMCS and on a few bits inside the processor. Writing VIRR, VISR or VPPR in memory has no
// effect by itself: what is pending is looked at only by VM entry, TPR, EOI and self-IPI virtualization,
// posted-interrupt processing and guest-timer events.

/// What a processor holds of virtual interrupts while it is in VMX non-root operation. A plain value of 3 bytes.
struct virtual_interrupt_state {
  std::uint8_t rvi = 0;     ///< requesting virtual interrupt: the highest vector requested, 0 for none
  std::uint8_t svi = 0;     ///< servicing virtual interrupt: the highest vector in service, 0 for none
  bool recognized = false;  ///< a pending virtual interrupt is recognized: due at a boundary with RFLAGS.IF = 1

  friend constexpr bool operator==(const virtual_interrupt_state& a, const virtual_interrupt_state& b) noexcept {
    return a.rvi == b.rvi && a.svi == b.svi && a.recognized == b.recognized;
  }
  friend constexpr bool operator!=(const virtual_interrupt_state& a, const virtual_interrupt_state& b) noexcept {
    return !(a == b);
  }
};

/// The guest interrupt status (field 0810H): RVI in bits 7:0, SVI in 15:8. SDM Vol. 3C §27.4.2.
constexpr std::uint16_t guest_interrupt_status(const virtual_interrupt_state& s) noexcept {
  return static_cast<std::uint16_t>(s.rvi | s.svi << 8);
}
/// Nothing is recognized.
constexpr virtual_interrupt_state from_guest_interrupt_status(std::uint64_t status) noexcept {
  return {static_cast<std::uint8_t>(status), static_cast<std::uint8_t>(status >> 8), false};
}

/// What can happen to a virtual APIC.
enum class virtual_operation : std::uint8_t {
  vm_entry,
  tpr_virtualization,
  eoi_virtualization,
  eoi_with_exit,  ///< EOI virtualization of a vector in the EOI-exit bitmap
  self_ipi_virtualization,
  posted_processing,
  guest_timer,
  delivery,
};

/// One row: how an operation ends, with virtual-interrupt delivery. Where a row says no, nothing changes: memory is not
/// looked at.
struct virtual_operation_rule {
  virtual_operation operation;
  const char* name;
  const char* section;
  bool virtualizes_ppr;
  bool evaluates;  ///< pending virtual interrupts
};
inline constexpr std::array<virtual_operation_rule, 8> virtual_operation_table{{
    {virtual_operation::vm_entry, "VM entry", "Vol. 3C §29.3.2.5", true, true},
    {virtual_operation::tpr_virtualization, "TPR virtualization", "Vol. 3C §32.1.2", true, true},
    {virtual_operation::eoi_virtualization, "EOI virtualization", "Vol. 3C §32.1.4", true, true},
    {virtual_operation::eoi_with_exit, "EOI virtualization that exits", "Vol. 3C §32.1.4", true, false},
    {virtual_operation::self_ipi_virtualization, "self-IPI virtualization", "Vol. 3C §32.1.5", false, true},
    {virtual_operation::posted_processing, "posted-interrupt processing", "Vol. 3C §32.6", false, true},
    {virtual_operation::guest_timer, "guest-timer event", "Vol. 3C §32, APIC-timer virtualization", false, true},
    {virtual_operation::delivery, "virtual-interrupt delivery", "Vol. 3C §32.2.2", false, false},
}};

/// What the operations act on. Make one where it is needed; it holds references only.
struct virtual_apic {
  vmx::vmcs& v;  ///< current VMCS; only APIC-timer virtualization writes it (the guest-deadline shadow)
  physical_memory& memory;
  virtual_interrupt_state& state;
  /// Width of addresses in PID-pointer-table entries, bits: MAXPHYADDR (`capabilities::physical_address_width`), or 32
  /// where IA32_VMX_BASIC bit 48 says so.
  unsigned physical_address_width = 46;

  virtual_apic_page page() const noexcept { return {memory, v}; }
};

/// What an operation sets in motion.
struct virtualization_result {
  /// A trap-like VM exit, pending at the next boundary (`boundary_event::trap_like_exit`): TPR below threshold (43),
  /// virtualized EOI (45, qualification: the vector), APIC write (56, qualification: the page offset).
  std::optional<vmx::exit_info> trap;
  /// A physical IPI to send (IPI virtualization).
  std::optional<notification> notify;
  /// The descriptor that the operation posted into (IPI virtualization).
  std::optional<physical_address> posted;
};

/// The result that is nothing but a trap-like exit.
virtualization_result traps(vmx::exit_reason reason, std::uint64_t qualification) noexcept;

/// Bit `vector` of the EOI-exit bitmap (fields 201CH to 2022H).
bool eoi_exits(const vmx::vmcs& v, std::uint8_t vector) noexcept;

/// VPPR := VTPR[7:4] >= SVI[7:4] ? VTPR & FFH : SVI & F0H; its bytes 3:1 become 0. SDM Vol. 3C §32.1.3.
void ppr_virtualization(const virtual_apic& a);

/// After a write of VTPR. Without virtual-interrupt delivery: exit 43 if VTPR[7:4] is below bits 3:0 of the TPR
/// threshold. With it: PPR virtualization and evaluation. SDM Vol. 3C §32.1.2.
virtualization_result tpr_virtualization(const virtual_apic& a);

/// The interrupt in service ends; the next one below it, or none, is in service. A vector in the EOI-exit bitmap gives
/// exit 45 and no evaluation; any other an evaluation. SDM Vol. 3C §32.1.4. Precondition: virtual-interrupt delivery.
virtualization_result eoi_virtualization(const virtual_apic& a);

/// SDM Vol. 3C §32.1.5. Precondition: virtual-interrupt delivery; `vector` is 16 .. 255.
void self_ipi_virtualization(const virtual_apic& a, std::uint8_t vector);

/// Evaluation of pending virtual interrupts: recognized exactly if "interrupt-window exiting" is 0 and
/// RVI[7:4] > VPPR[7:4]. SDM Vol. 3C §32.2.1. Precondition: virtual-interrupt delivery.
void evaluate(const virtual_apic& a);

/// PPR virtualization and evaluation as the row of the operation says.
void conclude(const virtual_apic& a, virtual_operation operation);

/// VIRR[vector] := 1, RVI := max(RVI, vector), and `conclude`: self-IPI virtualization and guest-timer events.
void request(const virtual_apic& a, virtual_operation operation, std::uint8_t vector);

/// Virtual-interrupt delivery: RVI goes into service; recognition ends. Returns the vector for the guest's IDT. No VM
/// exit. SDM Vol. 3C §32.2.2. Precondition: recognized, at a boundary where `boundary_event::virtual_interrupt` acts.
/// (Delivery as a user interrupt, where the vector is UINV, is not modelled.)
std::uint8_t deliver(const virtual_apic& a);

/// At VM entry, after the guest state is loaded. With virtual-interrupt delivery: RVI and SVI from the guest interrupt
/// status, PPR virtualization, evaluation; without it the state is cleared. SDM Vol. 3C §29.3.2.5. The TPR-threshold
/// exit of an entry without virtual-interrupt delivery is `vmx::boundary_after_entry`'s.
void at_entry(const virtual_apic& a);

/// At VM exit: the guest interrupt status is saved (with virtual-interrupt delivery) and the state cleared, so that
/// nothing is recognized. SDM Vol. 3C §30.3.4.
void at_exit(vmx::vmcs& v, virtual_interrupt_state& state) noexcept;

/// How a processor waits while an interrupt is posted to it or its guest timer comes due.
enum class guest_wait : std::uint8_t {
  none,
  hlt,
  monitored,  ///< MWAIT, TPAUSE, UMWAIT
};

/// One row: what posted-interrupt processing and a guest-timer event make of the wait. SDM Vol. 3C §32.6.
struct wait_rule {
  guest_wait wait;
  const char* name;
  bool goes_on;  ///< the processor returns to the waiting state
};
inline constexpr std::array<wait_rule, 3> wait_table{{
    {guest_wait::none, "active", false},
    {guest_wait::hlt, "HLT", true},
    {guest_wait::monitored, "MWAIT, TPAUSE or UMWAIT", false},
}};

/// The processor waits on after posted-interrupt processing or a guest-timer event. What ends HLT is the delivery of a
/// virtual interrupt recognized by it (`boundary_event::virtual_interrupt`), at that very boundary if RFLAGS.IF is 1.
constexpr bool waits_on(guest_wait wait) noexcept { return wait_table[static_cast<std::size_t>(wait)].goes_on; }

}  // namespace vmxsys::apic
