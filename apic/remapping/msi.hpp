#pragma once
#include <cstdint>
#include <optional>

#include <vmxsys/apic/local/icr.hpp>
#include <vmxsys/vmx/base/physical_memory.hpp>

namespace vmxsys::apic {

/// The architectural window for message-signalled interrupts, FEE00000H..FEEFFFFFH (SDM Vol. 3A §13.11.1).
inline constexpr physical_address msi_window = 0xFEE00000;
inline constexpr std::uint64_t msi_window_size = 0x100000;

/// A message-signalled interrupt as it crosses the bus: a write of four bytes to the window. Devices and I/O APICs send
/// the same thing. Whether it names its target (compatibility format) or names an entry of the
/// interrupt-remapping table (remappable format) is bit 4 of the address.
struct msi {
  std::uint64_t address = msi_window;
  std::uint32_t data = 0;

  friend constexpr bool operator==(const msi& a, const msi& b) noexcept {
    return a.address == b.address && a.data == b.data;
  }
};

namespace msi_address {
inline constexpr std::uint64_t destination_mode = 1U << 2;  ///< logical; in remappable format bit 15 of the handle
inline constexpr std::uint64_t redirection_hint = 1U << 3;  ///< in remappable format "subhandle valid"
inline constexpr std::uint64_t remappable = 1U << 4;
}  // namespace msi_address

constexpr bool is_remappable(const msi& m) noexcept { return (m.address & msi_address::remappable) != 0; }

/// A message in compatibility format as an interrupt command (SDM Vol. 3A §13.11): address bits 19:12 are the
/// destination, bit 2 its mode, bit 3 the redirection hint, which makes a fixed interrupt one of lowest priority; data
/// bits 7:0 are the vector, 10:8 the delivery mode, 15 the trigger mode, 14 the level. Address bits 11:5 are bits 14:8
/// of the destination, the "extended destination ID" that hypervisors and guests agree on. The physical destination FFH
/// with those bits clear addresses everyone.
///
/// No value for a message in remappable format and for the delivery modes 3 and 6, which are reserved. The destination
/// mode counts without the redirection hint, too; the manual has it ignored then, but what I/O APICs send to logical
/// destinations has no hint.
std::optional<interrupt_command> decode_msi(const msi& m) noexcept;

/// A message in remappable format (VT-d specification §5.1.2.2): address bits 19:5 and 2 are the handle. With
/// "subhandle valid" data bits 15:0 are added to it, and bits 31:16 are reserved; without, the data says nothing.
struct remappable_request {
  std::uint16_t handle = 0;
  bool subhandle_valid = false;
  std::uint16_t subhandle = 0;
  bool reserved_bits = false;  ///< a reserved bit is set: such a request is a fault

  /// Of the entry in the interrupt-remapping table, 0..1FFFEH.
  constexpr std::uint32_t index() const noexcept {
    return std::uint32_t{handle} + (subhandle_valid ? std::uint32_t{subhandle} : 0);
  }
};

/// Reads the fields of a message in remappable format.
constexpr remappable_request decode_remappable(const msi& m) noexcept {
  remappable_request r;
  r.handle = static_cast<std::uint16_t>((m.address >> 5 & 0x7FFF) | (m.address >> 2 & 1) << 15);
  r.subhandle_valid = (m.address >> 3 & 1) != 0;
  if (r.subhandle_valid) {
    r.subhandle = static_cast<std::uint16_t>(m.data);
    r.reserved_bits = (m.data >> 16) != 0;
  }
  return r;
}

/// The message that names entry `handle` of the interrupt-remapping table.
constexpr msi remappable_msi(std::uint16_t handle) noexcept {
  return {
      msi_window | std::uint64_t{handle & 0x7FFFU} << 5 | msi_address::remappable | std::uint64_t{handle} >> 15 << 2,
      0};
}
/// The message that names entry `handle + subhandle`: one of a device's several vectors, which differ in the data.
constexpr msi remappable_msi(std::uint16_t handle, std::uint16_t subhandle) noexcept {
  return {remappable_msi(handle).address | msi_address::redirection_hint, subhandle};
}

}  // namespace vmxsys::apic
