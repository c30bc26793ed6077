#include "cfs_arithmetic.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <stdexcept>
#include <string>

namespace vmxsys::models {
namespace {

__extension__ typedef unsigned __int128 wide;  // deltas times 32-bit factors need 96 bits

constexpr int nice_min = -20;
constexpr int nice_max = 19;
constexpr std::uint64_t two_to_32 = std::uint64_t{1} << 32;

constexpr std::array<std::uint32_t, 40> weights{88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916,
                                                9548,  7620,  6100,  4904,  3906,  3121,  2501,  1991,  1586,  1277,
                                                1024,  820,   655,   526,   423,   335,   272,   215,   172,   137,
                                                110,   87,    70,    56,    45,    36,    29,    23,    18,    15};

constexpr std::array<std::uint32_t, 40> inverse_weights{
    48388,    59856,    76040,    92818,    118348,   147320,    184698,    229616,    287308,    360437,
    449829,   563644,   704093,   875809,   1099582,  1376151,   1717300,   2157191,   2708050,   3363326,
    4194304,  5237765,  6557202,  8165337,  10153587, 12820798,  15790321,  19976592,  24970740,  31350126,
    39045157, 49367440, 61356676, 76695844, 95443717, 119304647, 148102320, 186737708, 238609294, 286331153};

std::size_t index_of_nice(int nice) {
  if (nice < nice_min || nice > nice_max)
    throw std::out_of_range("nice " + std::to_string(nice) + " is not in -20 ... 19");
  return static_cast<std::size_t>(nice - nice_min);
}

// A fixed-point factor with the number of fraction bits it has left.
struct fixed_point {
  std::uint64_t value;
  int fraction_bits;
};

// Keeps the value within 32 bits by giving up fraction bits.
fixed_point narrowed(fixed_point f) {
  const int excess = static_cast<int>(std::bit_width(f.value >> 32));
  return {f.value >> excess, f.fraction_bits - excess};
}

std::uint64_t multiply_truncating(std::uint64_t delta, std::uint64_t weight, std::uint64_t inverse) {
  fixed_point factor = narrowed({weight, 32});
  factor.value *= inverse;
  factor = narrowed(factor);
  const wide product = static_cast<wide>(delta) * factor.value;
  // A weight ratio beyond 2^32 would leave fewer than no fraction bits; none of the tables comes near.
  return static_cast<std::uint64_t>(product >> std::max(factor.fraction_bits, 0));
}

constexpr std::uint64_t rounded_shift(std::uint64_t value, int bits) {
  return (value + (std::uint64_t{1} << (bits - 1))) >> bits;
}

std::uint64_t multiply_rounding(std::uint64_t delta, std::uint64_t weight, std::uint64_t inverse) {
  const std::uint64_t weighted = weight > 1 ? delta * weight : delta;
  if (weighted > two_to_32) return rounded_shift(rounded_shift(weighted, 16) * inverse, 16);
  return rounded_shift(weighted * inverse, 32);
}

}  // namespace

std::uint32_t weight_of_nice(int nice) { return weights[index_of_nice(nice)]; }

std::uint32_t inverse_weight_of_nice(int nice) { return inverse_weights[index_of_nice(nice)]; }

std::uint64_t computed_inverse(calc_delta_rule rule, std::uint64_t weight) {
  const std::uint64_t one = rule == calc_delta_rule::v3_4 ? two_to_32 : two_to_32 - 1;
  if (weight == 0) return one;
  return weight >= one ? 1 : one / weight;
}

std::uint64_t calc_delta(calc_delta_rule rule, std::uint64_t delta, std::uint64_t weight, const load_weight& divisor) {
  return rule == calc_delta_rule::v3_4 ? multiply_rounding(delta, weight, divisor.inverse)
                                       : multiply_truncating(delta, weight, divisor.inverse);
}

virtual_time delta_fair(calc_delta_rule rule, nanoseconds delta, const load_weight& entity) {
  return entity.weight == nice_0_weight ? delta : calc_delta(rule, delta, nice_0_weight, entity);
}

}  // namespace vmxsys::models
