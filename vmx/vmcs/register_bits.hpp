#pragma once
#include <cstdint>

#include "capability.hpp"

namespace vmxsys::vmx {

// Bits of control registers and MSRs that entries and exits treat apart.

/// CR0 bits that neither VM entry nor VM exit changes: ET, CD, NW and the reserved 15:6, 17, 28:19, 63:32. SDM Vol. 3C
/// §29.3.2.1, §30.5.1.
inline constexpr std::uint64_t cr0_kept_bits = 0xFFFF'FFFF'7FFA'FFD0;

namespace efer_bits {
inline constexpr std::uint64_t lme = 1u << 8;
inline constexpr std::uint64_t lma = 1u << 10;
}  // namespace efer_bits

namespace debugctl_bits {
inline constexpr std::uint64_t btf = 1u << 1;  ///< single-step on branches
}  // namespace debugctl_bits

/// Bits of the pending debug exceptions, field 6822H (SDM Vol. 3C §27.4.2).
namespace pending_debug_bits {
inline constexpr std::uint64_t breakpoints = 15;
inline constexpr std::uint64_t bus_lock = 1u << 11;
inline constexpr std::uint64_t enabled_breakpoint = 1u << 12;
inline constexpr std::uint64_t single_step = 1u << 14;
inline constexpr std::uint64_t rtm = 1u << 16;
inline constexpr std::uint64_t defined = breakpoints | bus_lock | enabled_breakpoint | single_step | rtm;
}  // namespace pending_debug_bits

/// Copies bit (width - 1) to all bits above it: what a processor with `linear_address_width` bits makes of a base.
constexpr std::uint64_t sign_extended(std::uint64_t address, const capabilities& caps) noexcept {
  const unsigned shift = 64 - caps.linear_address_width;
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(address << shift) >> shift);
}

}  // namespace vmxsys::vmx
