#pragma once
#include <cstdint>

#include <vmxsys/vmx/base/physical_memory.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

namespace vmxsys::vmx {

// What the bitmaps that a VMCS points to say about one access: MSRs, VMCS fields, I/O ports. Pure reads. Whole
// instructions, faults included, are decided in `instruction_exit.hpp`.

/// MSR bitmaps, SDM Vol. 3C §27.6.9: a 4-KByte page with one bit per MSR of 0 .. 1FFFH and C0000000H .. C0001FFFH,
/// reads first. Without the bitmap, and outside the two ranges, every access exits.
bool rdmsr_exits(const vmcs& v, const physical_memory& memory, std::uint32_t msr);
bool wrmsr_exits(const vmcs& v, const physical_memory& memory, std::uint32_t msr);

enum class msr_access : std::uint8_t { read, write };
/// Byte and bit of an MSR in a bitmap page; `covered` false outside the ranges.
struct msr_bitmap_position {
  bool covered;
  std::uint16_t byte;  ///< 0 .. 4095
  std::uint8_t bit;    ///< 0 .. 7
};
msr_bitmap_position locate_in_msr_bitmap(std::uint32_t msr, msr_access access) noexcept;

/// VMREAD and VMWRITE with the field encoding `encoding` (the whole register): without "VMCS shadowing", with a bit of
/// 63:15 set, or where the bitmap says so. SDM Vol. 3C §27.6.15, §28.1.3.
bool vmread_exits(const vmcs& v, const physical_memory& memory, std::uint64_t encoding);
bool vmwrite_exits(const vmcs& v, const physical_memory& memory, std::uint64_t encoding);

/// IN, OUT, INS, OUTS of `bytes` (1, 2 or 4) at `port`; SDM Vol. 3C §27.6.4. An access that wraps past FFFFH exits when
/// the bitmaps are used.
bool io_exits(const vmcs& v, const physical_memory& memory, std::uint16_t port, unsigned bytes);

}  // namespace vmxsys::vmx
