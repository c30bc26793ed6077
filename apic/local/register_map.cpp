#include "register_map.hpp"

namespace vmxsys::apic {
namespace {

constexpr std::uint8_t no_row = register_map.size();

/// Place in the register map of each of the 256 numbers.
constexpr std::array<std::uint8_t, 256> make_index() noexcept {
  std::array<std::uint8_t, 256> index{};
  for (std::size_t i = 0; i < index.size(); ++i) index[i] = no_row;
  for (std::size_t row = 0; row < register_map.size(); ++row)
    for (std::size_t i = 0; i < register_map[row].count; ++i)
      index[register_map[row].first - msr::x2apic_first + i] = static_cast<std::uint8_t>(row);
  return index;
}

constexpr std::array<std::uint8_t, 256> row_index = make_index();

}  // namespace

const register_row& row_of(std::uint32_t number) noexcept {
  if (!is_x2apic_msr(number)) return absent_row;
  const std::uint8_t row = row_index[number - msr::x2apic_first];
  return row == no_row ? absent_row : register_map[row];
}

}  // namespace vmxsys::apic
