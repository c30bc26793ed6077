#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include <vmxsys/apic/remapping/msi.hpp>

namespace vmxsys::models {

/// The I/O APIC that most firmware finds: 24 pins and, from version 20H on, an EOI register.
struct io_apic_config {
  unsigned pins = 24;           ///< 1 .. 240
  std::uint8_t version = 0x20;  ///< 11H: 82093AA, no EOI register; 20H: I/O controller hubs
  std::uint8_t id = 0;          ///< 0 .. 15
  /// Redirection entries have bits 55:48, the extended destination ID; in a machine with interrupt remapping bit 48 is
  /// the format and 63:49 and 11 are the handle. Absent in the 82093AA.
  bool extended_destination = true;
};

/// What takes the interrupt messages of an I/O APIC to the local APICs: a bus, a bridge, an interrupt-remapping unit.
class io_apic_sink {
 public:
  virtual ~io_apic_sink() = default;
  /// True if the message is on its way. False: not now; the pin's delivery status stays "send pending" until
  /// `io_apic::retry`.
  virtual bool send(const apic::msi& message, unsigned pin) = 0;
};

/// An I/O APIC: input pins, a redirection table, and the registers that software reaches it by (Intel 82093AA
/// datasheet §3; "APIC registers" of the I/O controller hub datasheets). A value without a clock; what it does, it does
/// in the call. Effects take the caller's time.
///
/// - A pin is asserted while its line differs from the inactive level that the entry's polarity names: high is
///   asserted unless bit 13 is set. Lines are low at reset.
/// - Edge (bit 15 clear): the transition to asserted sends one message if the entry is not masked, and is forgotten if
///   it is. Level: a message is sent while the pin is asserted, the entry not masked and remote IRR clear; sending sets
///   remote IRR, and an EOI for the entry's vector clears it. Then a pin that is still asserted sends again.
/// - SMI, NMI, INIT and ExtINT are always edges, and reserved delivery modes send nothing.
/// - Writing a trigger mode of edge clears remote IRR, which software without an EOI register uses as one. Changing the
///   polarity or the trigger mode makes no edge.
/// - A message that the sink has not taken is pending. Masking or releasing a level withdraws it; an edge stays latched
///   and is sent when the entry is unmasked.
/// - Changing the vector while remote IRR is set leaves that to an EOI of the new vector, as in hardware: software
///   masks and waits, or migrates by destination only.
class io_apic {
 public:
  /// Throws std::invalid_argument for a number of pins or an ID that does not exist. The sink must outlive its use; the
  /// I/O APIC is copyable, and a copy has the same sink.
  explicit io_apic(io_apic_sink& sink, const io_apic_config& config = {});
  /// A copy that talks to another sink.
  io_apic(const io_apic& other, io_apic_sink& sink) : io_apic{other} { sink_ = &sink; }

  const io_apic_config& config() const { return config_; }
  unsigned pins() const { return config_.pins; }

  /// Power-on state: every entry masked, edge and fixed; lines keep their levels.
  void reset();

  // -- pins -----------------------------------------------------------------------------------------------------------
  /// The electrical level of a line. Pins beyond the last have no effect.
  void set_line(unsigned pin, bool high);
  bool line(unsigned pin) const { return pin < pins() && entries_[pin].high; }

  // -- from the local APICs, and the sink -----------------------------------------------------------------------------
  /// An EOI message: ends the level-triggered interrupt of every entry with this vector.
  void end_of_interrupt(std::uint8_t vector);
  /// Offers the pending messages to the sink again, lowest pin first.
  void retry();

  // -- registers ------------------------------------------------------------------------------------------------------
  static constexpr std::uint32_t select_offset = 0x00;  ///< IOREGSEL
  static constexpr std::uint32_t window_offset = 0x10;  ///< IOWIN
  static constexpr std::uint32_t eoi_offset = 0x40;     ///< EOIR, from version 20H on

  /// A read of `bytes` at `offset` from the base address. Defined are reads of four bytes at a multiple of four, and of
  /// the low byte of IOREGSEL; any other gives no value. What is not there reads as zero. No read has a side effect.
  std::optional<std::uint32_t> read(std::uint32_t offset, unsigned bytes) const;
  /// A write; false if its size or alignment is not defined, and nothing has happened.
  bool write(std::uint32_t offset, unsigned bytes, std::uint32_t value);

  /// Registers behind IOREGSEL. Bits and registers that are not there read as zero and ignore writes.
  std::uint32_t read_register(std::uint8_t index) const;
  void write_register(std::uint8_t index, std::uint32_t value);

  /// One entry as software reads it: bits 31:0 and 63:32.
  std::uint64_t entry(unsigned pin) const;

  friend bool operator==(const io_apic& a, const io_apic& b) {
    return a.select_ == b.select_ && a.id_ == b.id_ && a.entries_ == b.entries_;
  }

 private:
  struct redirection {
    std::uint64_t bits = masked;
    bool high = false;     // the line
    bool pending = false;  // delivery status: an edge that was latched, or a level that the sink has not taken
    friend bool operator==(const redirection&, const redirection&) = default;
  };
  static constexpr std::uint64_t masked = 1U << 16;

  void write_entry(redirection& e, unsigned shift, std::uint32_t value);
  void consider(unsigned pin);

  io_apic_sink* sink_;
  io_apic_config config_;
  std::vector<redirection> entries_;
  std::uint8_t select_ = 0;
  std::uint8_t id_;
};

/// Fields of a redirection entry (82093AA datasheet §3.2.4).
namespace redirection_bits {
inline constexpr std::uint64_t vector = 0xFF;
inline constexpr unsigned delivery_mode_shift = 8;
inline constexpr std::uint64_t logical = 1U << 11;          ///< destination mode; bit 15 of the handle when remappable
inline constexpr std::uint64_t delivery_status = 1U << 12;  ///< read-only: send pending
inline constexpr std::uint64_t active_low = 1U << 13;
inline constexpr std::uint64_t remote_irr = 1U << 14;  ///< read-only
inline constexpr std::uint64_t level = 1U << 15;
inline constexpr std::uint64_t masked = 1U << 16;
inline constexpr std::uint64_t remappable = std::uint64_t{1} << 48;
inline constexpr unsigned handle_shift = 49;
inline constexpr unsigned destination_shift = 56;
}  // namespace redirection_bits

/// What an entry sends: the fields of the entry at their places in address and data, the redirection hint for lowest
/// priority in compatibility format.
apic::msi message_of_redirection(std::uint64_t entry);

}  // namespace vmxsys::models
