#include "exit_bitmaps.hpp"

#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

namespace vmxsys::vmx {

namespace {

constexpr std::uint32_t msrs_per_range = 0x2000;
constexpr std::uint32_t high_range = 0xC000'0000;
constexpr std::uint16_t high_half = 0x400;
constexpr std::uint16_t write_half = 0x800;

bool msr_exits(const vmcs& v, const physical_memory& memory, std::uint32_t msr, msr_access access) {
  if ((primary_controls(v) & primary::use_msr_bitmaps) == 0) return true;
  const msr_bitmap_position at = locate_in_msr_bitmap(msr, access);
  if (!at.covered) return true;
  const auto byte = memory.read<std::uint8_t>(v.read(field::msr_bitmap_address) + at.byte);
  return (byte >> at.bit & 1) != 0;
}

bool port_exits(const vmcs& v, const physical_memory& memory, std::uint32_t port) {
  const physical_address bitmap = v.read(port < 0x8000 ? field::io_bitmap_a_address : field::io_bitmap_b_address);
  const auto byte = memory.read<std::uint8_t>(bitmap + ((port & 0x7FFF) >> 3));
  return (byte >> (port & 7) & 1) != 0;
}

bool shadow_bitmap_exits(const vmcs& v, const physical_memory& memory, field bitmap, std::uint64_t encoding) {
  if ((secondary_controls(v) & secondary::vmcs_shadowing) == 0 || encoding >> 15 != 0) return true;
  const auto byte = memory.read<std::uint8_t>(v.read(bitmap) + (encoding >> 3));
  return (byte >> (encoding & 7) & 1) != 0;
}

}  // namespace

msr_bitmap_position locate_in_msr_bitmap(std::uint32_t msr, msr_access access) noexcept {
  const bool low = msr < msrs_per_range;
  const bool high = msr >= high_range && msr < high_range + msrs_per_range;
  if (!low && !high) return {false, 0, 0};
  const std::uint32_t index = msr & (msrs_per_range - 1);
  const std::uint32_t byte = index / 8 + (high ? high_half : 0u) + (access == msr_access::write ? write_half : 0u);
  return {true, static_cast<std::uint16_t>(byte), static_cast<std::uint8_t>(index & 7)};
}

bool rdmsr_exits(const vmcs& v, const physical_memory& memory, std::uint32_t msr) {
  return msr_exits(v, memory, msr, msr_access::read);
}

bool wrmsr_exits(const vmcs& v, const physical_memory& memory, std::uint32_t msr) {
  return msr_exits(v, memory, msr, msr_access::write);
}

bool vmread_exits(const vmcs& v, const physical_memory& memory, std::uint64_t encoding) {
  return shadow_bitmap_exits(v, memory, field::vmread_bitmap_address, encoding);
}

bool vmwrite_exits(const vmcs& v, const physical_memory& memory, std::uint64_t encoding) {
  return shadow_bitmap_exits(v, memory, field::vmwrite_bitmap_address, encoding);
}

bool io_exits(const vmcs& v, const physical_memory& memory, std::uint16_t port, unsigned bytes) {
  if ((primary_controls(v) & primary::use_io_bitmaps) == 0)
    return (primary_controls(v) & primary::unconditional_io_exiting) != 0;
  if (port + bytes > 0x1'0000) return true;
  for (unsigned i = 0; i < bytes; ++i)
    if (port_exits(v, memory, port + i)) return true;
  return false;
}

}  // namespace vmxsys::vmx
