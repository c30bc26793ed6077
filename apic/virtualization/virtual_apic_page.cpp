#include "virtual_apic_page.hpp"

#include <array>

namespace vmxsys::apic {

namespace {

constexpr std::size_t registers_in_set = 8;

constexpr std::uint16_t register_of(std::uint16_t set, std::uint8_t vector) noexcept {
  return static_cast<std::uint16_t>(set | (vector & 0xE0) >> 1);
}
constexpr std::uint32_t bit_of(std::uint8_t vector) noexcept { return std::uint32_t{1} << (vector & 0x1F); }

}  // namespace

// Byte by byte, so that a value has the page's byte order on any machine.
std::uint64_t virtual_apic_page::read(std::uint16_t offset, unsigned bytes) const {
  std::array<std::uint8_t, 8> data{};
  memory_->read(page_ + offset, data.data(), bytes);
  std::uint64_t value = 0;
  for (unsigned i = 0; i < bytes; ++i) value |= std::uint64_t{data[i]} << 8 * i;
  return value;
}

void virtual_apic_page::write(std::uint16_t offset, unsigned bytes, std::uint64_t value) {
  std::array<std::uint8_t, 8> data{};
  for (unsigned i = 0; i < bytes; ++i) data[i] = static_cast<std::uint8_t>(value >> 8 * i);
  memory_->write(page_ + offset, data.data(), bytes);
}

bool virtual_apic_page::test(std::uint16_t set, std::uint8_t vector) const {
  return (read_32(register_of(set, vector)) & bit_of(vector)) != 0;
}

void virtual_apic_page::assign(std::uint16_t set, std::uint8_t vector, bool on) {
  const std::uint16_t at = register_of(set, vector);
  const std::uint32_t others = read_32(at) & ~bit_of(vector);
  write_32(at, others | (on ? bit_of(vector) : 0));
}

int virtual_apic_page::highest(std::uint16_t set) const {
  for (std::size_t i = registers_in_set; i-- > 0;) {
    const std::uint32_t vectors = read_32(static_cast<std::uint16_t>(set + 16 * i));
    if (vectors != 0) return static_cast<int>(32 * i) + 31 - __builtin_clz(vectors);
  }
  return none;
}

void virtual_apic_page::request_64(unsigned word, std::uint64_t vectors) {
  for (unsigned half = 0; half < 2; ++half) {
    const auto more = static_cast<std::uint32_t>(vectors >> 32 * half);
    const auto at = static_cast<std::uint16_t>(vapic::irr + 16 * (2 * word + half));
    if (more != 0) write_32(at, read_32(at) | more);
  }
}

}  // namespace vmxsys::apic
