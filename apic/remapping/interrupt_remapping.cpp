#include "interrupt_remapping.hpp"

#include <vmxsys/apic/local/destination.hpp>
#include <vmxsys/apic/virtualization/posted_interrupts.hpp>

namespace vmxsys::apic {

namespace {

constexpr std::uint64_t bit(std::uint64_t value, unsigned place) noexcept { return value >> place & 1; }

// Bits of the low half that both formats have.
constexpr unsigned present = 0;
constexpr unsigned fault_processing_disable = 1;
constexpr unsigned available = 8;
constexpr unsigned format = 15;
constexpr unsigned vector = 16;
// Remapped format
constexpr unsigned to_logical = 2;
constexpr unsigned redirection_hint = 3;
constexpr unsigned trigger = 4;
constexpr unsigned mode = 5;
constexpr unsigned destination = 32;
// Posted format
constexpr unsigned urgent = 14;
constexpr std::uint64_t descriptor_low = 0xFFFFFFC0'00000000;  // bits 63:38 are bits 31:6 of the address
constexpr std::uint64_t descriptor_high = 0xFFFFFFFF'00000000;
// High half
constexpr unsigned qualifier = 16;
constexpr unsigned validation = 18;

bool reachable(const remapping_table& table, physical_address at) noexcept {
  return at >> table.physical_address_width == 0;
}

bool reserved_values(const remapping_entry& e) noexcept {
  return e.validation == source_validation::reserved ||
         (!e.posted && (e.mode == delivery_mode::reserved || e.mode == delivery_mode::startup));
}

interrupt_command command_of(const remapping_entry& e, bool x2apic) noexcept {
  interrupt_command c;
  c.vector = e.vector;
  c.mode = e.redirection_hint && e.mode == delivery_mode::fixed ? delivery_mode::lowest_priority : e.mode;
  c.to = e.to;
  c.level_triggered = e.level;
  c.destination = x2apic ? e.destination : e.destination >> 8 & 0xFF;
  if (!x2apic && e.to == destination_mode::physical && c.destination == 0xFF) c.destination = broadcast_destination;
  return c;
}

// From the entry on; `d.entry` is decoded.
remapping_step step_of(const remapping_table& table, const physical_memory& memory, const remapping_entry_bits& bits,
                       const remapping_entry& e, requester_id requester) {
  if (!e.present) return remapping_step::not_present;
  const remapping_entry_bits reserved = reserved_bits(e.posted, table.x2apic);
  if ((bits.low & reserved.low) != 0 || (bits.high & reserved.high) != 0 || reserved_values(e))
    return remapping_step::reserved_in_entry;
  if (!source_allowed(e, requester)) return remapping_step::wrong_source;
  if (!e.posted) return remapping_step::remaps;
  namespace d = posted_interrupt_descriptor;
  if (!reachable(table, e.descriptor)) return remapping_step::descriptor_unreachable;
  if ((memory.read<std::uint64_t>(e.descriptor + d::information) & d::reserved) != 0)
    return remapping_step::reserved_in_descriptor;
  return remapping_step::posts;
}

}  // namespace

remapping_entry_bits encode(const remapping_entry& e) noexcept {
  remapping_entry_bits bits;
  bits.low = std::uint64_t{e.present} << present |
             std::uint64_t{e.fault_processing_disabled} << fault_processing_disable |
             std::uint64_t{e.available & 0xFU} << available | std::uint64_t{e.posted} << format |
             std::uint64_t{e.vector} << vector;
  bits.high = std::uint64_t{e.source} | std::uint64_t{e.qualifier & 3U} << qualifier |
              std::uint64_t{static_cast<std::uint8_t>(e.validation)} << validation;
  if (e.posted) {
    bits.low |= std::uint64_t{e.urgent} << urgent | (e.descriptor << 32 & descriptor_low);
    bits.high |= e.descriptor & descriptor_high;
  } else {
    bits.low |= std::uint64_t{e.to == destination_mode::logical} << to_logical |
                std::uint64_t{e.redirection_hint} << redirection_hint | std::uint64_t{e.level} << trigger |
                std::uint64_t{static_cast<std::uint8_t>(e.mode)} << mode | std::uint64_t{e.destination} << destination;
  }
  return bits;
}

remapping_entry decode(const remapping_entry_bits& bits) noexcept {
  remapping_entry e;
  e.present = bit(bits.low, present) != 0;
  e.fault_processing_disabled = bit(bits.low, fault_processing_disable) != 0;
  e.available = bits.low >> available & 0xF;
  e.posted = bit(bits.low, format) != 0;
  e.vector = static_cast<std::uint8_t>(bits.low >> vector);
  e.source = static_cast<requester_id>(bits.high);
  e.qualifier = bits.high >> qualifier & 3;
  e.validation = static_cast<source_validation>(bits.high >> validation & 3);
  if (e.posted) {
    e.urgent = bit(bits.low, urgent) != 0;
    e.descriptor = (bits.low & descriptor_low) >> 32 | (bits.high & descriptor_high);
  } else {
    e.to = static_cast<destination_mode>(bit(bits.low, to_logical));
    e.redirection_hint = bit(bits.low, redirection_hint) != 0;
    e.level = bit(bits.low, trigger) != 0;
    e.mode = static_cast<delivery_mode>(bits.low >> mode & 7);
    e.destination = static_cast<std::uint32_t>(bits.low >> destination);
  }
  return e;
}

remapping_entry_bits reserved_bits(bool posted, bool x2apic) noexcept {
  if (posted) return {0x0000003F'FF0030FC, 0x00000000'FFF00000};
  return {0x00000000'FF007000 | (x2apic ? 0 : 0xFFFF00FF'00000000), 0xFFFFFFFF'FFF00000};
}

void write_entry(physical_memory& memory, const remapping_table& table, std::uint32_t index,
                 const remapping_entry& entry) {
  memory.write(table.entry_at(index), encode(entry));
}

bool source_allowed(const remapping_entry& e, requester_id requester) noexcept {
  // What SQ lets go of the function's three bits.
  constexpr std::array<requester_id, 4> ignored{0, 0b100, 0b110, 0b111};
  switch (e.validation) {
    case source_validation::none:
      return true;
    case source_validation::requester:
      return ((requester ^ e.source) & ~ignored[e.qualifier & 3U]) == 0;
    case source_validation::bus:
      return requester >> 8 >= e.source >> 8 && requester >> 8 <= (e.source & 0xFF);
    case source_validation::reserved:
      break;
  }
  return false;
}

remapping_decision decide(const remapping_table& table, const physical_memory& memory, const msi& message,
                          requester_id requester) {
  remapping_decision d;
  const auto at = [&d](remapping_step step) {
    d.step = step;
    const remapping_rule& rule = rule_of(step);
    d.recorded = rule.result == remapping_result::fault && !(rule.qualified && d.entry.fault_processing_disabled);
    return d;
  };
  if (!table.enabled) {
    d.command = decode_msi(message);
    return at(remapping_step::disabled);
  }
  if (!is_remappable(message)) {
    if (table.x2apic || !table.compatibility) return at(remapping_step::compatibility_blocked);
    d.command = decode_msi(message);
    return at(remapping_step::compatibility);
  }
  const remappable_request request = decode_remappable(message);
  if (request.reserved_bits) return at(remapping_step::reserved_in_request);
  d.index = request.index();
  if (d.index >= table.entries()) return at(remapping_step::index_beyond_table);
  if (!reachable(table, table.entry_at(d.index))) return at(remapping_step::table_unreachable);
  const auto bits = memory.read<remapping_entry_bits>(table.entry_at(d.index));
  d.entry = decode(bits);
  at(step_of(table, memory, bits, d.entry, requester));
  if (d.step == remapping_step::remaps) d.command = command_of(d.entry, table.x2apic);
  return d;
}

remapping_outcome remap(const remapping_table& table, physical_memory& memory, const msi& message,
                        requester_id requester) {
  remapping_outcome outcome{decide(table, memory, message, requester), {}};
  if (outcome.step == remapping_step::posts)
    outcome.notify = post(memory, outcome.entry.descriptor, outcome.entry.vector, outcome.entry.urgent);
  return outcome;
}

}  // namespace vmxsys::apic
