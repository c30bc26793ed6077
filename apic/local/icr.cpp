#include "icr.hpp"

namespace vmxsys::apic {

interrupt_command decode_icr(std::uint64_t value) noexcept {
  interrupt_command command;
  command.vector = static_cast<std::uint8_t>(value);
  command.mode = static_cast<delivery_mode>((value >> 8) & 7);
  command.to = static_cast<destination_mode>((value >> 11) & 1);
  command.assert_level = ((value >> 14) & 1) != 0;
  command.level_triggered = ((value >> 15) & 1) != 0;
  command.group = static_cast<shorthand>((value >> 18) & 3);
  command.destination = static_cast<std::uint32_t>(value >> 32);
  return command;
}

std::uint64_t encode_icr(const interrupt_command& command) noexcept {
  return std::uint64_t{command.vector} | std::uint64_t{static_cast<std::uint8_t>(command.mode)} << 8 |
         std::uint64_t{static_cast<std::uint8_t>(command.to)} << 11 | std::uint64_t{command.assert_level} << 14 |
         std::uint64_t{command.level_triggered} << 15 | std::uint64_t{static_cast<std::uint8_t>(command.group)} << 18 |
         std::uint64_t{command.destination} << 32;
}

interrupt_command decode_xapic_icr(std::uint64_t value) noexcept {
  interrupt_command command = decode_icr(value);
  command.destination = static_cast<std::uint32_t>(value >> 56);
  if (command.destination == 0xFF) command.destination = broadcast_destination;
  return command;
}

std::uint64_t encode_xapic_icr(const interrupt_command& command) noexcept {
  interrupt_command shifted = command;
  shifted.destination <<= 24;
  return encode_icr(shifted);
}

namespace {

bool shorthand_allows(shorthand group, delivery_mode mode) noexcept {
  return mode == delivery_mode::fixed || group == shorthand::none || group == shorthand::all_excluding_self;
}

bool is_reserved(delivery_mode mode) noexcept {
  return mode == delivery_mode::reserved || mode == delivery_mode::ext_int;
}

bool is_deassert(const interrupt_command& command) noexcept {
  return command.mode == delivery_mode::init && command.level_triggered && !command.assert_level;
}

}  // namespace

ipi_verdict judge(const interrupt_command& command, bool sends_lowest_priority) noexcept {
  if (is_reserved(command.mode)) return ipi_verdict::undefined;
  // Software sends the de-assert with an all-including-self shorthand; that form was always legal.
  if (is_deassert(command)) return ipi_verdict::deassert_ignored;
  if (!shorthand_allows(command.group, command.mode)) return ipi_verdict::undefined;
  if (command.mode == delivery_mode::lowest_priority && !sends_lowest_priority)
    return ipi_verdict::redirectable_unsupported;
  if (goes_through_irr(command.mode) && !is_legal_vector(command.vector)) return ipi_verdict::send_illegal_vector;
  return ipi_verdict::send;
}

interrupt_message message_of(const interrupt_command& command) noexcept {
  const bool carries_vector = goes_through_irr(command.mode) || command.mode == delivery_mode::startup;
  return {command.mode, carries_vector ? command.vector : std::uint8_t{0}, false};
}

}  // namespace vmxsys::apic
