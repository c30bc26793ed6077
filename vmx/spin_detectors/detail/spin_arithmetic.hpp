#pragma once
#include <cstdint>
#include <limits>
#include <optional>

namespace vmxsys::vmx {

/// The smallest i with elapsed + i * period > limit. Nothing if there is none: with a period of 0, and for a limit of
/// 2^64 - 1, which stands for "no limit".
inline std::optional<std::uint64_t> first_beyond(std::uint64_t elapsed, std::uint64_t period,
                                                 std::uint64_t limit) noexcept {
  if (elapsed > limit) return 0;
  if (period == 0 || limit == std::numeric_limits<std::uint64_t>::max()) return std::nullopt;
  return (limit - elapsed) / period + 1;
}

/// The smallest i for which (start + i * step) mod modulus lies in [low, high]; nothing if it never does. Takes about
/// log(modulus) steps, as Euclid's algorithm. Requires 0 < modulus <= 2^32 and low <= high < modulus.
std::optional<std::uint64_t> first_hit(std::uint64_t start, std::uint64_t step, std::uint64_t modulus,
                                       std::uint64_t low, std::uint64_t high) noexcept;

/// How many bits a counter needs that reaches `largest`.
constexpr unsigned counter_bits(std::uint64_t largest) noexcept {
  unsigned bits = 0;
  for (; largest > 0; largest >>= 1) ++bits;
  return bits;
}

}  // namespace vmxsys::vmx
