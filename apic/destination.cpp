#include <vmxsys/apic/destination.hpp>

namespace vmxsys::apic {

bool addresses(const interrupt_command& command, std::uint32_t sender, std::uint32_t candidate) noexcept {
  switch (command.group) {
    case shorthand::self: return candidate == sender;
    case shorthand::all_including_self: return true;
    case shorthand::all_excluding_self: return candidate != sender;
    case shorthand::none: break;
  }
  if (command.to == destination_mode::physical) return matches_physical(command.destination, candidate);
  return matches_logical(command.destination, x2apic_logical_id(candidate));
}

namespace {

std::optional<std::uint32_t> only_logical_target(std::uint32_t destination) noexcept {
  const std::uint32_t members = destination & 0xFFFFU;
  const bool one_member = members != 0 && (members & (members - 1)) == 0;
  if (!one_member) return std::nullopt;
  const auto place = static_cast<std::uint32_t>(__builtin_ctz(members));
  return (destination >> 16) << 4 | place;
}

}  // namespace

std::optional<std::uint32_t> only_target(const interrupt_command& command, std::uint32_t sender) noexcept {
  if (command.group == shorthand::self) return sender;
  if (command.group != shorthand::none || command.destination == broadcast_destination) return std::nullopt;
  if (command.to == destination_mode::physical) return command.destination;
  return only_logical_target(command.destination);
}

}  // namespace vmxsys::apic
