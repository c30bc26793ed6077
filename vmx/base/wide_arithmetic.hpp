#pragma once
#include <cstdint>

// 128-bit products and quotients for 48-bit fixed-point factors (the TSC multiplier). Where the compiler has a 128-bit
// integer that is used; the portable forms give the same values and are tested against it.
namespace vmxsys::vmx::detail {

inline constexpr unsigned fixed_point = 48;

struct wide_value {
  std::uint64_t high;
  std::uint64_t low;
};

constexpr wide_value wide_product(std::uint64_t a, std::uint64_t b) noexcept {
  const std::uint64_t mask = 0xFFFF'FFFF;
  const std::uint64_t low = (a & mask) * (b & mask);
  const std::uint64_t middle_1 = (a >> 32) * (b & mask) + (low >> 32);
  const std::uint64_t middle_2 = (a & mask) * (b >> 32) + (middle_1 & mask);
  const std::uint64_t high = (a >> 32) * (b >> 32) + (middle_1 >> 32) + (middle_2 >> 32);
  return {high, middle_2 << 32 | (low & mask)};
}

/// A quotient that does not fit is `overflow`; the values are then meaningless.
struct wide_quotient {
  std::uint64_t value;
  std::uint64_t remainder;
  bool overflow;
};

/// n / d, d != 0, bit by bit.
constexpr wide_quotient wide_divide(wide_value n, std::uint64_t d) noexcept {
  if (n.high >= d) return {0, 0, true};
  std::uint64_t remainder = n.high, value = 0;
  for (unsigned i = 64; i-- > 0;) {
    const bool carry = (remainder >> 63) != 0;
    remainder = remainder << 1 | (n.low >> i & 1);
    value <<= 1;
    if (carry || remainder >= d) {
      remainder -= d;
      value |= 1;
    }
  }
  return {value, remainder, false};
}

constexpr std::uint64_t scale_portable(std::uint64_t x, std::uint64_t factor) noexcept {
  const wide_value product = wide_product(x, factor);
  return product.high << (64 - fixed_point) | product.low >> fixed_point;
}

constexpr wide_quotient unscale_portable(std::uint64_t x, std::uint64_t factor) noexcept {
  return wide_divide({x >> (64 - fixed_point), x << fixed_point}, factor);
}

#if defined(__SIZEOF_INT128__)
__extension__ typedef unsigned __int128 wide;

/// Bits 111:48 of x * factor: multiplication by a 16.48 fixed-point factor; the fraction is dropped.
constexpr std::uint64_t scale(std::uint64_t x, std::uint64_t factor) noexcept {
  return static_cast<std::uint64_t>(static_cast<wide>(x) * factor >> fixed_point);
}
/// (x << 48) / factor, factor != 0.
constexpr wide_quotient unscale(std::uint64_t x, std::uint64_t factor) noexcept {
  const wide n = static_cast<wide>(x) << fixed_point;
  const wide q = n / factor;
  if (q >> 64 != 0) return {0, 0, true};
  return {static_cast<std::uint64_t>(q), static_cast<std::uint64_t>(n % factor), false};
}
#else
constexpr std::uint64_t scale(std::uint64_t x, std::uint64_t factor) noexcept { return scale_portable(x, factor); }
constexpr wide_quotient unscale(std::uint64_t x, std::uint64_t factor) noexcept { return unscale_portable(x, factor); }
#endif

}  // namespace vmxsys::vmx::detail
