#include "io_apic.hpp"

#include <stdexcept>

#include <vmxsys/apic/local/interrupt.hpp>

namespace vmxsys::models {

namespace bits = redirection_bits;
using apic::delivery_mode;

namespace {

constexpr std::uint8_t id_index = 0x00;
constexpr std::uint8_t version_index = 0x01;
constexpr std::uint8_t arbitration_index = 0x02;
constexpr std::uint8_t first_entry_index = 0x10;
constexpr std::uint8_t first_version_with_eoi_register = 0x20;

constexpr std::uint64_t writable_low = 0x1'AFFF;
constexpr std::uint64_t writable_destination = std::uint64_t{0xFF} << bits::destination_shift;
constexpr std::uint64_t writable_extension = std::uint64_t{0xFF} << 48;

delivery_mode mode_of(std::uint64_t entry) {
  return static_cast<delivery_mode>(entry >> bits::delivery_mode_shift & 7);
}
// What a remappable entry's delivery mode says is the remapping table's to say; the pin's behaviour is bit 15's alone.
bool is_level(std::uint64_t entry) {
  return (entry & bits::level) != 0 && ((entry & bits::remappable) != 0 || apic::goes_through_irr(mode_of(entry)));
}
bool sends(std::uint64_t entry) {
  const delivery_mode mode = mode_of(entry);
  return (entry & bits::remappable) != 0 || (mode != delivery_mode::reserved && mode != delivery_mode::startup);
}

}  // namespace

apic::msi message_of_redirection(std::uint64_t entry) {
  apic::msi m;
  m.address = apic::msi_window | (entry >> 48) << 4 | (entry >> 11 & 1) << 2;
  if ((entry & bits::remappable) == 0 && mode_of(entry) == delivery_mode::lowest_priority)
    m.address |= apic::msi_address::redirection_hint;
  m.data = static_cast<std::uint32_t>(entry & 0x7FF);
  if (is_level(entry)) m.data |= 0xC000;  // asserted
  return m;
}

io_apic::io_apic(io_apic_sink& sink, const io_apic_config& config)
    : sink_{&sink}, config_{config}, entries_(config.pins), id_{config.id} {
  if (config.pins < 1 || config.pins > 240) throw std::invalid_argument("an I/O APIC has 1 to 240 pins");
  if (config.id > 15) throw std::invalid_argument("the ID of an I/O APIC has four bits");
}

void io_apic::reset() {
  select_ = 0;
  id_ = config_.id;
  for (redirection& e : entries_) {
    const bool high = e.high;
    e = {};
    e.high = high;
  }
}

void io_apic::set_line(unsigned pin, bool high) {
  if (pin >= pins() || entries_[pin].high == high) return;
  redirection& e = entries_[pin];
  e.high = high;
  const bool asserted = high == ((e.bits & bits::active_low) == 0);
  if (!is_level(e.bits) && asserted && (e.bits & masked) == 0 && sends(e.bits)) e.pending = true;
  consider(pin);
}

// Sends what the pin has to send, if it may.
void io_apic::consider(unsigned pin) {
  redirection& e = entries_[pin];
  const bool level = is_level(e.bits);
  if (level) {
    const bool asserted = e.high == ((e.bits & bits::active_low) == 0);
    e.pending = asserted && (e.bits & (masked | bits::remote_irr)) == 0;
  }
  if (!e.pending || (e.bits & masked) != 0) return;
  if (!sink_->send(message_of_redirection(e.bits), pin)) return;
  e.pending = false;
  if (level) e.bits |= bits::remote_irr;
}

void io_apic::end_of_interrupt(std::uint8_t vector) {
  for (unsigned pin = 0; pin < pins(); ++pin) {
    redirection& e = entries_[pin];
    if ((e.bits & bits::remote_irr) == 0 || (e.bits & bits::vector) != vector) continue;
    e.bits &= ~bits::remote_irr;
    consider(pin);
  }
}

void io_apic::retry() {
  for (unsigned pin = 0; pin < pins(); ++pin)
    if (entries_[pin].pending) consider(pin);
}

std::optional<std::uint32_t> io_apic::read(std::uint32_t offset, unsigned bytes) const {
  if (offset == select_offset && bytes == 1) return select_;
  if (bytes != 4 || offset % 4 != 0) return std::nullopt;
  if (offset == select_offset) return select_;
  if (offset == window_offset) return read_register(select_);
  return 0;
}

bool io_apic::write(std::uint32_t offset, unsigned bytes, std::uint32_t value) {
  if (!(bytes == 4 && offset % 4 == 0) && !(bytes == 1 && offset == select_offset)) return false;
  if (offset == select_offset)
    select_ = static_cast<std::uint8_t>(value);
  else if (offset == window_offset)
    write_register(select_, value);
  else if (offset == eoi_offset && config_.version >= first_version_with_eoi_register)
    end_of_interrupt(static_cast<std::uint8_t>(value));
  return true;
}

std::uint64_t io_apic::entry(unsigned pin) const {
  const redirection& e = entries_.at(pin);
  return e.bits | (e.pending ? bits::delivery_status : 0);
}

std::uint32_t io_apic::read_register(std::uint8_t index) const {
  switch (index) {
    case id_index:
    case arbitration_index:
      return std::uint32_t{id_} << 24;
    case version_index:
      return (config_.pins - 1) << 16 | config_.version;
    default:
      break;
  }
  const unsigned word = index - first_entry_index;
  if (index < first_entry_index || word / 2 >= pins()) return 0;
  return static_cast<std::uint32_t>(entry(word / 2) >> (word % 2 != 0 ? 32 : 0));
}

void io_apic::write_register(std::uint8_t index, std::uint32_t value) {
  if (index == id_index) {
    id_ = value >> 24 & 0xF;
    return;
  }
  const unsigned word = index - first_entry_index;
  if (index < first_entry_index || word / 2 >= pins()) return;
  write_entry(entries_[word / 2], word % 2 != 0 ? 32 : 0, value);
  consider(word / 2);
}

void io_apic::write_entry(redirection& e, unsigned shift, std::uint32_t value) {
  const bool was_level = is_level(e.bits);
  std::uint64_t writable = writable_low | writable_destination;
  if (config_.extended_destination) writable |= writable_extension;
  writable &= std::uint64_t{0xFFFFFFFF} << shift;
  e.bits = (e.bits & ~writable) | (std::uint64_t{value} << shift & writable);
  if ((e.bits & bits::level) == 0) e.bits &= ~bits::remote_irr;
  // A level that waited to be sent is no edge, and an edge that waited no level.
  if (was_level != is_level(e.bits)) e.pending = false;
}

}  // namespace vmxsys::models
