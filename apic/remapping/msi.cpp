#include "msi.hpp"

#include <vmxsys/apic/local/destination.hpp>

namespace vmxsys::apic {

std::optional<interrupt_command> decode_msi(const msi& m) noexcept {
  const auto mode = static_cast<delivery_mode>(m.data >> 8 & 7);
  if (is_remappable(m) || mode == delivery_mode::reserved || mode == delivery_mode::startup) return std::nullopt;
  interrupt_command c;
  c.vector = static_cast<std::uint8_t>(m.data);
  c.mode = mode;
  c.level_triggered = (m.data >> 15 & 1) != 0;
  c.assert_level = !c.level_triggered || (m.data >> 14 & 1) != 0;
  if ((m.address & msi_address::redirection_hint) != 0 && mode == delivery_mode::fixed)
    c.mode = delivery_mode::lowest_priority;
  const auto low = static_cast<std::uint32_t>(m.address >> 12 & 0xFF);
  const auto high = static_cast<std::uint32_t>(m.address >> 5 & 0x7F);
  c.destination = high << 8 | low;
  if ((m.address & msi_address::destination_mode) != 0)
    c.to = destination_mode::logical;
  else if (c.destination == 0xFF)
    c.destination = broadcast_destination;
  return c;
}

}  // namespace vmxsys::apic
