#include <vmxsys/vmx/non_root.hpp>

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

#if defined(__SIZEOF_INT128__)
__extension__ typedef unsigned __int128 wide;

std::uint64_t scale_tsc(std::uint64_t tsc, std::uint64_t multiplier) {
  return static_cast<std::uint64_t>(static_cast<wide>(tsc) * multiplier >> 48);
}
#else
// (a * b) >> 48, low 64 bits, from 32-bit halves.
std::uint64_t scale_tsc(std::uint64_t tsc, std::uint64_t multiplier) {
  const std::uint64_t mask = 0xFFFF'FFFF;
  const std::uint64_t low = (tsc & mask) * (multiplier & mask);
  const std::uint64_t middle_1 = (tsc >> 32) * (multiplier & mask) + (low >> 32);
  const std::uint64_t middle_2 = (tsc & mask) * (multiplier >> 32) + (middle_1 & mask);
  const std::uint64_t high = (tsc >> 32) * (multiplier >> 32) + (middle_1 >> 32) + (middle_2 >> 32);
  return high << 16 | (middle_2 & mask) >> 16;
}
#endif

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

bool io_exits(const vmcs& v, const physical_memory& memory, std::uint16_t port, unsigned bytes) {
  if ((primary_controls(v) & primary::use_io_bitmaps) == 0)
    return (primary_controls(v) & primary::unconditional_io_exiting) != 0;
  if (port + bytes > 0x1'0000) return true;
  for (unsigned i = 0; i < bytes; ++i)
    if (port_exits(v, memory, port + i)) return true;
  return false;
}

interrupt_response respond_to_external_interrupt(const vmcs& v, activity_state activity, const guest_blocking& blocking,
                                                 bool sti_blocks_exit) noexcept {
  if (respond(boundary_event::external_interrupt, activity) != response::acts) return interrupt_response::held;
  if ((pin_controls(v) & pin_based::external_interrupt_exiting) != 0) {
    const bool shadow = (blocking.interruptibility & (interruptibility::sti | interruptibility::mov_ss)) != 0;
    return shadow && sti_blocks_exit ? interrupt_response::held : interrupt_response::exit;
  }
  return blocking.interrupt_window_open() ? interrupt_response::deliver : interrupt_response::held;
}

exit_info external_interrupt_exit(const vmcs& v, std::uint8_t vector) noexcept {
  exit_info exit;
  exit.reason = exit_reason::external_interrupt;
  if (acknowledges_interrupt(v))
    exit.interruption_information = encode({vector, event_type::external_interrupt, false, false, false, true});
  return exit;
}

bool exception_exits(const vmcs& v, unsigned vector, std::uint32_t error_code) noexcept {
  constexpr unsigned page_fault = 14;
  const bool bit = (v.read(field::exception_bitmap) >> (vector & 31) & 1) != 0;
  if (vector != page_fault) return bit;
  const bool match =
      (error_code & v.read(field::page_fault_error_code_mask)) == v.read(field::page_fault_error_code_match);
  return match == bit;
}

std::uint64_t guest_tsc(const vmcs& v, std::uint64_t tsc) noexcept {
  if ((primary_controls(v) & primary::use_tsc_offsetting) == 0) return tsc;
  if ((secondary_controls(v) & secondary::use_tsc_scaling) != 0) tsc = scale_tsc(tsc, v.read(field::tsc_multiplier));
  return tsc + v.read(field::tsc_offset);
}

}  // namespace vmxsys::vmx
