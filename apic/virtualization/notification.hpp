#pragma once
#include <cstdint>

#include <vmxsys/apic/local/icr.hpp>

namespace vmxsys::apic {

/// The physical interrupt that announces posted interrupts: what a poster sends after it has set ON. Vector and
/// destination are those of the descriptor (NV, NDST).
struct notification {
  std::uint8_t vector = 0;
  std::uint32_t destination = 0;  ///< as in the descriptor: an x2APIC ID, or an xAPIC ID in bits 15:8

  friend constexpr bool operator==(const notification& a, const notification& b) noexcept {
    return a.vector == b.vector && a.destination == b.destination;
  }
  friend constexpr bool operator!=(const notification& a, const notification& b) noexcept { return !(a == b); }
};

/// The command the sender's local APIC carries out: fixed, edge, physical destination. `x2apic`: the mode of that
/// local APIC, and so how NDST is read. SDM Vol. 3C §32.1.6.
constexpr interrupt_command command_of(const notification& n, bool x2apic) noexcept {
  interrupt_command command{};
  command.vector = n.vector;
  command.destination = x2apic ? n.destination : n.destination >> 8 & 0xFF;
  return command;
}

}  // namespace vmxsys::apic
