#pragma once
#include <cstdint>
#include <optional>

#include "apic_mode.hpp"
#include "icr.hpp"

namespace vmxsys::apic {

/// What a local APIC compares destinations with: `local_apic::address()` says it, a fabric asks it of every candidate.
struct apic_address {
  apic_mode mode = apic_mode::x2apic;
  std::uint32_t id = 0;  ///< physical destinations: the x2APIC ID, or bits 31:24 of the xAPIC ID register
  /// Logical destinations: LDR; in xAPIC mode its bits 31:24, or 0 (no APIC) if the model in DFR is neither flat nor
  /// cluster.
  std::uint32_t logical_id = 0;
  bool flat = false;  ///< xAPIC mode: DFR selects the flat model, otherwise cluster
  /// The ID hardware gave. It tells the sender from others even where software gave two APICs one xAPIC ID.
  std::uint32_t hardware_id = 0;
};

/// The logical ID (LDR) that hardware derives from an x2APIC ID: cluster number ID[19:4] in bits 31:16, one bit
/// for the place within the cluster, ID[3:0], in bits 15:0 (SDM Vol. 3A §13.12.10.2).
constexpr std::uint32_t x2apic_logical_id(std::uint32_t id) noexcept {
  return ((id & 0xFFFF0U) << 12) | (1U << (id & 0xFU));
}

constexpr bool matches_physical(std::uint32_t destination, std::uint32_t id) noexcept {
  return destination == id || destination == broadcast_destination;
}

/// Logical cluster addressing in x2APIC mode: the same cluster, and at least one common bit within it.
constexpr bool matches_logical(std::uint32_t destination, std::uint32_t logical_id) noexcept {
  if (destination == broadcast_destination) return true;
  return (destination >> 16) == (logical_id >> 16) && (destination & logical_id & 0xFFFFU) != 0;
}

/// Flat addressing in xAPIC mode: up to eight APICs, one bit each (SDM Vol. 3A §13.6.2.2). Destinations are 8 bits
/// wide or `broadcast_destination`.
constexpr bool matches_flat(std::uint32_t destination, std::uint32_t logical_id) noexcept {
  if (destination == broadcast_destination) return true;
  return destination <= 0xFF && (destination & logical_id) != 0;
}

/// Cluster addressing in xAPIC mode: bits 7:4 name the cluster, bits 3:0 its members (SDM Vol. 3A §13.6.2.2).
constexpr bool matches_cluster(std::uint32_t destination, std::uint32_t logical_id) noexcept {
  if (destination == broadcast_destination) return true;
  return destination <= 0xFF && (destination >> 4) == (logical_id >> 4) && (destination & logical_id & 0xFU) != 0;
}

/// Does the command address the candidate? `sender` is the hardware ID (`local_apic::id`) of the APIC that sent it;
/// only shorthands look at it. Shorthand first, then destination mode; a broadcast destination includes the sender
/// (SDM Vol. 3A §13.6.2). A globally disabled APIC receives nothing. Every candidate reads the destination field in
/// its own mode; a destination above FFH names no APIC in xAPIC mode. For lowest priority the answer is "takes part
/// in the arbitration" (arbitration.hpp).
bool addresses(const interrupt_command& command, std::uint32_t sender, const apic_address& candidate) noexcept;

/// The same for a machine whose APICs are all in x2APIC mode: IDs say everything.
bool addresses(const interrupt_command& command, std::uint32_t sender, std::uint32_t candidate) noexcept;

/// The one x2APIC ID a command addresses, if the command alone tells: self shorthand, a physical destination, or a
/// logical destination with one bit (IDs from 2^20 on share logical IDs with lower ones; such machines must ask each
/// APIC). No value for groups. The target need not exist. Lets a fabric whose APICs are all in x2APIC mode route the
/// common IPI without asking each of them.
std::optional<std::uint32_t> only_target(const interrupt_command& command, std::uint32_t sender) noexcept;

}  // namespace vmxsys::apic
