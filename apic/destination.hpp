#pragma once
#include <vmxsys/apic/icr.hpp>

#include <cstdint>
#include <optional>

namespace vmxsys::apic {

/// The 32-bit destination that addresses every local APIC, in physical and in logical mode (SDM Vol. 3A §13.12.9).
inline constexpr std::uint32_t broadcast_destination = 0xFFFFFFFF;

/// The logical ID (LDR) that hardware derives from an x2APIC ID: cluster number ID[19:4] in bits 31:16, one bit
/// for the place within the cluster, ID[3:0], in bits 15:0 (SDM Vol. 3A §13.12.10.2).
constexpr std::uint32_t x2apic_logical_id(std::uint32_t id) noexcept {
  return ((id & 0xFFFF0U) << 12) | (1U << (id & 0xFU));
}

constexpr bool matches_physical(std::uint32_t destination, std::uint32_t id) noexcept {
  return destination == id || destination == broadcast_destination;
}

/// Logical cluster addressing: the same cluster, and at least one common bit within it.
constexpr bool matches_logical(std::uint32_t destination, std::uint32_t logical_id) noexcept {
  if (destination == broadcast_destination) return true;
  return (destination >> 16) == (logical_id >> 16) && (destination & logical_id & 0xFFFFU) != 0;
}

/// Does the command, sent by the x2APIC `sender`, address the x2APIC `candidate`? Shorthand first, then destination
/// mode; a broadcast destination includes the sender (SDM Vol. 3A §13.6.2). For lowest priority the answer is
/// "takes part in the arbitration"; picking one is the fabric's business.
bool addresses(const interrupt_command& command, std::uint32_t sender, std::uint32_t candidate) noexcept;

/// The one x2APIC ID a command addresses, if the command alone tells: self shorthand, a physical destination, or a
/// logical destination with one bit (IDs from 2^20 on share logical IDs with lower ones; such machines must ask each
/// APIC). No value for groups. The target need not exist. Lets a fabric route the common IPI without asking every
/// local APIC.
std::optional<std::uint32_t> only_target(const interrupt_command& command, std::uint32_t sender) noexcept;

}  // namespace vmxsys::apic
