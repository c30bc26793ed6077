#pragma once
#include <cstdint>

#include "interrupt.hpp"

namespace vmxsys::apic {

enum class destination_mode : std::uint8_t { physical = 0, logical = 1 };

/// Destination shorthand, ICR bits 19:18. Any but `none` makes the destination field and mode meaningless.
enum class shorthand : std::uint8_t { none = 0, self = 1, all_including_self = 2, all_excluding_self = 3 };

/// The destination that addresses every local APIC, in physical and in logical mode (SDM Vol. 3A §13.12.9). An xAPIC
/// writes FFH for it; `decode_xapic_icr` translates.
inline constexpr std::uint32_t broadcast_destination = 0xFFFFFFFF;

/// A decoded interrupt command register. In x2APIC mode it is one 64-bit write with a 32-bit destination, in xAPIC
/// mode two 32-bit registers with an 8-bit one (SDM Vol. 3A §13.6.1, §13.12.9).
struct interrupt_command {
  std::uint8_t vector = 0;
  delivery_mode mode = delivery_mode::fixed;
  destination_mode to = destination_mode::physical;
  bool assert_level = true;      ///< bit 14; false means de-assert, which only INIT ever knew
  bool level_triggered = false;  ///< bit 15; processors since the Pentium 4 send level-triggered IPIs as edge
  shorthand group = shorthand::none;
  std::uint32_t destination = 0;  ///< 8 or 32 bits; `broadcast_destination` is everyone

  friend constexpr bool operator==(const interrupt_command& a, const interrupt_command& b) noexcept {
    return a.vector == b.vector && a.mode == b.mode && a.to == b.to && a.assert_level == b.assert_level &&
           a.level_triggered == b.level_triggered && a.group == b.group && a.destination == b.destination;
  }
};

/// Bits that exist in the x2APIC ICR. Bit 12 was "delivery status": Intel processors ignore it when written and
/// it reads as zero. Writing any other bit outside this mask is #GP (SDM Vol. 3A §13.12.9).
inline constexpr std::uint64_t icr_defined_bits = 0xFFFFFFFF'000CCFFF;
inline constexpr std::uint64_t icr_delivery_status = std::uint64_t{1} << 12;

/// Reads the fields; reserved bits are ignored (the code that writes the register checks them first).
interrupt_command decode_icr(std::uint64_t value) noexcept;

/// Inverse of `decode_icr` for values without reserved bits.
std::uint64_t encode_icr(const interrupt_command& command) noexcept;

/// Bits of the two xAPIC registers that software can write, upper register in bits 63:32. Others are read-only or
/// reserved; what is written to them is ignored.
inline constexpr std::uint64_t xapic_icr_writable_bits = 0xFF000000'000CCFFF;

/// The same in the xAPIC format: destination in bits 63:56, where FFH is everyone.
interrupt_command decode_xapic_icr(std::uint64_t value) noexcept;

/// Inverse of `decode_xapic_icr`. A destination that is neither 8 bits wide nor everyone loses its upper bits.
std::uint64_t encode_xapic_icr(const interrupt_command& command) noexcept;

/// What a local APIC does with a command that was written to its ICR.
enum class ipi_verdict : std::uint8_t {
  send,
  send_illegal_vector,       ///< fixed or lowest priority with vector 0..15: ESR bit 5, not sent
  redirectable_unsupported,  ///< lowest priority on a part that does not send it: ESR bit 4, not sent
  deassert_ignored,          ///< INIT level de-assert: nothing happens
  undefined,                 ///< reserved mode, or a shorthand the mode does not allow: the model does not send it
};

/// Applies the rules of SDM Vol. 3A §13.6.1, "Valid combinations": self and all-including-self go with fixed only,
/// all-excluding-self with everything (lowest priority there is model-specific and follows `sends_lowest_priority`).
/// A part that refuses lowest priority reports only that, even if the vector is illegal too.
ipi_verdict judge(const interrupt_command& command, bool sends_lowest_priority = true) noexcept;

/// The message every addressed local APIC receives. IPIs always arrive as edge; only fixed, lowest-priority and
/// startup messages carry a vector.
interrupt_message message_of(const interrupt_command& command) noexcept;

/// The command that a write of `vector` to the SELF IPI register stands for (SDM Vol. 3A §13.12.11).
constexpr interrupt_command self_ipi(std::uint8_t vector) noexcept {
  interrupt_command command{};
  command.vector = vector;
  command.group = shorthand::self;
  return command;
}

}  // namespace vmxsys::apic
