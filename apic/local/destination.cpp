#include "destination.hpp"

namespace vmxsys::apic {
namespace {

/// The answer of the shorthand alone; no value if there is none.
std::optional<bool> by_shorthand(shorthand group, bool is_sender) noexcept {
  switch (group) {
    case shorthand::self:
      return is_sender;
    case shorthand::all_including_self:
      return true;
    case shorthand::all_excluding_self:
      return !is_sender;
    case shorthand::none:
      break;
  }
  return std::nullopt;
}

bool matches_in_its_model(std::uint32_t destination, const apic_address& candidate) noexcept {
  if (candidate.mode == apic_mode::x2apic) return matches_logical(destination, candidate.logical_id);
  return candidate.flat ? matches_flat(destination, candidate.logical_id)
                        : matches_cluster(destination, candidate.logical_id);
}

std::optional<std::uint32_t> only_logical_target(std::uint32_t destination) noexcept {
  const std::uint32_t members = destination & 0xFFFFU;
  const bool one_member = members != 0 && (members & (members - 1)) == 0;
  if (!one_member) return std::nullopt;
  const auto place = static_cast<std::uint32_t>(__builtin_ctz(members));
  return (destination >> 16) << 4 | place;
}

}  // namespace

bool addresses(const interrupt_command& command, std::uint32_t sender, const apic_address& candidate) noexcept {
  if (candidate.mode == apic_mode::disabled) return false;
  if (const auto answer = by_shorthand(command.group, candidate.hardware_id == sender)) return *answer;
  if (command.to == destination_mode::physical) return matches_physical(command.destination, candidate.id);
  return matches_in_its_model(command.destination, candidate);
}

bool addresses(const interrupt_command& command, std::uint32_t sender, std::uint32_t candidate) noexcept {
  const std::uint32_t logical_id = x2apic_logical_id(candidate);
  return addresses(command, sender, apic_address{apic_mode::x2apic, candidate, logical_id, false, candidate});
}

std::optional<std::uint32_t> only_target(const interrupt_command& command, std::uint32_t sender) noexcept {
  if (command.group == shorthand::self) return sender;
  if (command.group != shorthand::none || command.destination == broadcast_destination) return std::nullopt;
  if (command.to == destination_mode::physical) return command.destination;
  return only_logical_target(command.destination);
}

}  // namespace vmxsys::apic
