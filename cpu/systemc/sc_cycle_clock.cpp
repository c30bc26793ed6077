#include "sc_cycle_clock.hpp"

#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace vmxsys::cpu {

namespace {
__extension__ using wide = unsigned __int128;
constexpr std::uint64_t largest = std::numeric_limits<std::uint64_t>::max();
}  // namespace

cycle_clock::cycle_clock(std::uint64_t khz, resolution tick) {
  if (khz == 0 || khz > 1'000'000'000'000) throw std::invalid_argument("a TSC runs at 1 kHz .. 10^12 kHz");
  if (tick.parts == 0 || tick.seconds == 0 || tick.seconds > 10'000)
    throw std::invalid_argument("not a time resolution");
  const std::uint64_t hertz = khz * 1000;
  const std::uint64_t common = std::gcd(hertz, tick.parts);
  numerator_ = hertz / common * tick.seconds;
  denominator_ = tick.parts / common;
}

cycle_clock cycle_clock::of_kernel(std::uint64_t khz) {
  // A resolution is a power of ten, so the double is next to an integer one way or the other.
  const double seconds = sc_core::sc_get_time_resolution().to_seconds();
  if (seconds >= 1) return {khz, {static_cast<std::uint64_t>(std::llround(seconds)), 1}};
  const long digits = std::lround(-std::log10(seconds));
  if (digits > 18) throw std::invalid_argument("a time resolution below one attosecond");
  std::uint64_t parts = 1;
  for (long i = 0; i < digits; ++i) parts *= 10;
  return {khz, {1, parts}};
}

cycles cycle_clock::cycle_of_ticks(std::uint64_t ticks) const {
  const wide c = static_cast<wide>(ticks) * numerator_ / denominator_;
  // The timeline counts to 2^62: a coarse resolution reaches further than that.
  constexpr std::uint64_t end_of_time = (std::uint64_t{1} << 62) - 2;
  return cycles{c > end_of_time ? end_of_time : static_cast<std::uint64_t>(c)};
}

std::uint64_t cycle_clock::ticks_of(cycles c) const {
  const wide last = static_cast<wide>(largest) * numerator_ / denominator_;
  if (c.count() > last) return largest;
  return static_cast<std::uint64_t>((static_cast<wide>(c.count()) * denominator_ + numerator_ - 1) / numerator_);
}

double cycle_clock::rounding_ppm() const {
  // Remainders are multiples of 1/numerator of a tick, so the largest is (numerator - 1) / numerator of one.
  const double tick_in_cycles = static_cast<double>(numerator_) / static_cast<double>(denominator_);
  return 1e6 * tick_in_cycles * static_cast<double>(numerator_ - 1) / static_cast<double>(numerator_);
}

}  // namespace vmxsys::cpu
