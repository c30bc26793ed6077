#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <vmxsys/apic/local/icr.hpp>
#include <vmxsys/apic/virtualization/notification.hpp>
#include <vmxsys/vmx/base/physical_memory.hpp>

#include "msi.hpp"

namespace vmxsys::apic {

// Interrupt remapping and posting as an I/O memory management unit does them: Intel Virtualization Technology for
// Directed I/O, Architecture Specification, chapter 5 and §9.9 to §9.11. A message in remappable format names an entry
// of a table in memory; the entry names the CPUs it interrupts, or into which posted-interrupt descriptor it is posted.

/// The sender of an interrupt request: bus (15:8), device (7:3) and function (2:0) on PCI.
using requester_id = std::uint16_t;

/// What the SVT field asks of the requester.
enum class source_validation : std::uint8_t {
  none = 0,
  requester = 1,  ///< the requester is SID, but for the bits of the function that SQ lets go
  bus = 2,        ///< the requester's bus lies in SID[15:8] .. SID[7:0]
  reserved = 3,
};

/// An entry of the interrupt-remapping table (IRTE), decoded. The fields of the other format mean nothing.
struct remapping_entry {
  bool present = false;                                    ///< P
  bool fault_processing_disabled = false;                  ///< FPD: qualified faults are not recorded
  bool posted = false;                                     ///< IM
  std::uint8_t vector = 0;                                 ///< V; in posted format the virtual vector
  source_validation validation = source_validation::none;  ///< SVT
  std::uint8_t qualifier = 0;                              ///< SQ, 0 .. 3
  requester_id source = 0;                                 ///< SID
  std::uint8_t available = 0;                              ///< AVAIL, 4 bits for software

  // Remapped format
  destination_mode to = destination_mode::physical;  ///< DM
  bool redirection_hint = false;                     ///< RH
  bool level = false;                                ///< TM
  delivery_mode mode = delivery_mode::fixed;         ///< DLM
  std::uint32_t destination = 0;                     ///< DST: an x2APIC ID, or an xAPIC ID in bits 15:8

  // Posted format
  bool urgent = false;              ///< URG
  physical_address descriptor = 0;  ///< PDA, a multiple of 64
};

/// An entry as it lies in memory, 16 bytes at a multiple of 16: bits 63:0 and 127:64.
struct remapping_entry_bits {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  friend constexpr bool operator==(const remapping_entry_bits& a, const remapping_entry_bits& b) noexcept {
    return a.low == b.low && a.high == b.high;
  }
};
inline constexpr std::size_t remapping_entry_size = 16;

remapping_entry_bits encode(const remapping_entry& entry) noexcept;
/// Reads the fields of the format that bit 15 names; reserved bits are dropped.
remapping_entry decode(const remapping_entry_bits& bits) noexcept;
/// The reserved bits of an entry, by its format; in xAPIC mode those of the destination, too.
remapping_entry_bits reserved_bits(bool posted, bool x2apic) noexcept;

/// What the registers of a remapping unit say.
struct remapping_table {
  bool enabled = true;                   ///< IES: otherwise messages pass as if there were no unit
  physical_address address = 0;          ///< a multiple of 4096
  std::uint8_t size = 7;                 ///< S, 0 .. 15: the table has 2^(S+1) entries
  bool x2apic = true;                    ///< EIME: destinations have 32 bits; the compatibility format is blocked
  bool compatibility = false;            ///< CFIS: messages in compatibility format pass, unless `x2apic`
  unsigned physical_address_width = 46;  ///< host address width in bits; what lies beyond is a fault to access

  constexpr std::uint32_t entries() const noexcept { return std::uint32_t{2} << size; }
  constexpr physical_address entry_at(std::uint32_t index) const noexcept {
    return address + remapping_entry_size * index;
  }
};
/// The interrupt remapping table address register: address in 63:12, EIME in 11, S in 3:0. The rest of the answer is
/// `table`'s.
constexpr remapping_table with_table_address(remapping_table table, std::uint64_t value) noexcept {
  table.address = value & ~std::uint64_t{0xFFF};
  table.x2apic = (value >> 11 & 1) != 0;
  table.size = value & 0xF;
  return table;
}

void write_entry(physical_memory& memory, const remapping_table& table, std::uint32_t index,
                 const remapping_entry& entry);

/// What becomes of a message, in the order in which it is decided. Faults have the reason codes of the specification,
/// §5.1.4.1.
enum class remapping_step : std::uint8_t {
  disabled,
  compatibility_blocked,
  compatibility,
  reserved_in_request,
  index_beyond_table,
  table_unreachable,
  not_present,
  reserved_in_entry,
  wrong_source,
  descriptor_unreachable,
  reserved_in_descriptor,
  posts,
  remaps,
};
inline constexpr std::size_t remapping_step_count = 13;

enum class remapping_result : std::uint8_t { passes, fault, posts, remaps };

struct remapping_rule {
  remapping_step step;
  const char* name;
  remapping_result result;
  std::uint8_t reason;  ///< of a fault
  bool qualified;       ///< the entry's FPD keeps the fault from being recorded
};
inline constexpr std::array<remapping_rule, remapping_step_count> remapping_rules{{
    {remapping_step::disabled, "remapping is not enabled", remapping_result::passes, 0, false},
    {remapping_step::compatibility_blocked, "compatibility format, blocked", remapping_result::fault, 0x25, false},
    {remapping_step::compatibility, "compatibility format, allowed", remapping_result::passes, 0, false},
    {remapping_step::reserved_in_request, "reserved bits in the request", remapping_result::fault, 0x20, false},
    {remapping_step::index_beyond_table, "index beyond the table", remapping_result::fault, 0x21, false},
    {remapping_step::table_unreachable, "error on the access to the table", remapping_result::fault, 0x23, false},
    {remapping_step::not_present, "entry not present", remapping_result::fault, 0x22, true},
    {remapping_step::reserved_in_entry, "reserved bits or values in the entry", remapping_result::fault, 0x24, true},
    {remapping_step::wrong_source, "source validation failed", remapping_result::fault, 0x26, true},
    {remapping_step::descriptor_unreachable, "error on the access to the descriptor", remapping_result::fault, 0x27,
     true},
    {remapping_step::reserved_in_descriptor, "reserved bits in the descriptor", remapping_result::fault, 0x28, true},
    {remapping_step::posts, "posted", remapping_result::posts, 0, false},
    {remapping_step::remaps, "remapped", remapping_result::remaps, 0, false},
}};
constexpr const remapping_rule& rule_of(remapping_step step) noexcept {
  return remapping_rules[static_cast<std::size_t>(step)];
}

/// The requester may use the entry: the rules of SVT, SQ and SID (§9.9).
bool source_allowed(const remapping_entry& entry, requester_id requester) noexcept;

/// What a message means, before anything is written.
struct remapping_decision {
  remapping_step step = remapping_step::disabled;
  std::uint32_t index = 0;  ///< of the entry, from `index_beyond_table` on
  remapping_entry entry{};  ///< from `not_present` on
  bool recorded = false;    ///< a fault that is to be recorded
  /// Whom it interrupts, if it passes or is remapped. No value for a message that passes and says nothing: a reserved
  /// delivery mode, or the remappable format where remapping is not enabled.
  std::optional<interrupt_command> command{};

  constexpr remapping_result result() const noexcept { return rule_of(step).result; }
  constexpr std::uint8_t reason() const noexcept { return rule_of(step).reason; }
};

remapping_decision decide(const remapping_table& table, const physical_memory& memory, const msi& message,
                          requester_id requester);

/// What a message sets in motion. A posting has been done when this is returned; `notify` is the notification to send,
/// if there is one to send.
struct remapping_outcome : remapping_decision {
  std::optional<notification> notify{};

  /// The interrupt to deliver now: of a message that passes or is remapped, or of a notification.
  std::optional<interrupt_command> interrupt(bool x2apic) const noexcept {
    return notify ? std::optional{command_of(*notify, x2apic)} : command;
  }
};

/// Remaps a message. Posting is two atomic accesses of the descriptor, `set_pir` and `announce`; the entry's URG makes
/// the latter ignore SN.
remapping_outcome remap(const remapping_table& table, physical_memory& memory, const msi& message,
                        requester_id requester);

}  // namespace vmxsys::apic
