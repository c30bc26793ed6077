#pragma once
#include <array>
#include <cstdint>

#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "boundary.hpp"

namespace vmxsys::vmx {

// NMIs of a guest: what "NMI exiting" and "virtual NMIs" make of bit 3 of the interruptibility state, of a physical
// NMI and of IRET. SDM Vol. 3C §27.6.1, §28.3, §29.7.1, §30.2.3.

/// One combination of the two controls. "Virtual NMIs" without "NMI exiting" fails the VM-entry checks.
struct nmi_rule {
  bool nmi_exiting;
  bool virtual_nmis;
  const char* name;
  const char* section;
  bool bit_3_is_virtual;  ///< interruptibility bit 3 is virtual-NMI blocking, which holds no physical NMI back
  bool nmi_exits;         ///< an NMI that is not blocked: exit 0, else the guest's IDT
  bool iret_unblocks;     ///< IRET ends the blocking that bit 3 stands for, even if the IRET faults
};

inline constexpr std::array<nmi_rule, 3> nmi_table{{
    {false, false, "NMIs delivered to the guest", "Vol. 3C §28.3", false, false, true},
    {true, false, "NMIs exit", "Vol. 3C §28.3", false, true, false},
    {true, true, "NMIs exit, virtual NMIs", "Vol. 3C §28.3", true, true, true},
}};

/// The row of a VMCS; of the illegal combination the first one.
const nmi_rule& nmi_rule_of(const vmcs& v) noexcept;

/// A physical NMI is not held back: no NMI blocking (where bit 3 says so), no shadow of MOV SS or, by the switch, STI.
bool nmi_open(const vmcs& v, const guest_blocking& blocking, bool sti_blocks_nmi = true) noexcept;

/// NMI blocking of a logical processor, over entry, injection, delivery, IRET and exit.
class nmi_state {
 public:
  constexpr nmi_state() noexcept = default;
  constexpr explicit nmi_state(bool blocked, bool virtual_blocked = false) noexcept
      : blocked_{blocked}, virtual_blocked_{virtual_blocked} {}

  constexpr bool blocked() const noexcept { return blocked_; }                  ///< physical NMIs
  constexpr bool virtual_blocked() const noexcept { return virtual_blocked_; }  ///< only with "virtual NMIs"

  /// VM entry loads bit 3 of the interruptibility state.
  constexpr void enter(const nmi_rule& rule, std::uint32_t interruptibility_state) noexcept {
    const bool bit_3 = (interruptibility_state & interruptibility::nmi) != 0;
    blocked_ = !rule.bit_3_is_virtual && bit_3;
    virtual_blocked_ = rule.bit_3_is_virtual && bit_3;
  }
  /// VM entry injects an NMI: blocking begins before the delivery, so an exit during the delivery saves bit 3 as 1.
  constexpr void inject(const nmi_rule& rule) noexcept { (rule.bit_3_is_virtual ? virtual_blocked_ : blocked_) = true; }
  /// An NMI is delivered through an IDT.
  constexpr void deliver() noexcept { blocked_ = true; }
  /// IRET in non-root operation. True if it has ended blocking: then a fault of this same IRET that exits reports it
  /// (`note_nmi_unblocking`).
  constexpr bool iret(const nmi_rule& rule) noexcept {
    bool& blocking = rule.bit_3_is_virtual ? virtual_blocked_ : blocked_;
    const bool unblocked = rule.iret_unblocks && blocking;
    if (rule.iret_unblocks) blocking = false;
    return unblocked;
  }
  /// IRET outside non-root operation.
  constexpr void iret() noexcept { blocked_ = false; }
  /// Bit 3 as a VM exit saves it.
  constexpr std::uint32_t saved(const nmi_rule& rule) const noexcept {
    return (rule.bit_3_is_virtual ? virtual_blocked_ : blocked_) ? interruptibility::nmi : 0;
  }
  /// After a VM exit: an NMI that caused it directly blocks further ones; every other exit leaves the blocking of
  /// physical NMIs as it was. SDM Vol. 3C §30.5.5.
  constexpr void leave(bool caused_by_nmi) noexcept {
    blocked_ = blocked_ || caused_by_nmi;
    virtual_blocked_ = false;
  }

  friend constexpr bool operator==(const nmi_state& a, const nmi_state& b) noexcept {
    return a.blocked_ == b.blocked_ && a.virtual_blocked_ == b.virtual_blocked_;
  }

 private:
  bool blocked_ = false;
  bool virtual_blocked_ = false;
};

}  // namespace vmxsys::vmx
