#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "units.hpp"

namespace vmxsys {

/// A random length of time, as a configuration writes it. `fixed` needs `mean`; `uniform` needs `min` and `max`;
/// `exponential` needs `mean` and may be cut off by `min` and `max`.
struct distribution {
  enum class shape : std::uint8_t { fixed, uniform, exponential };
  shape kind = shape::fixed;
  std::optional<duration> mean, min, max;

  static distribution fixed(duration d) { return {shape::fixed, d, {}, {}}; }
  static distribution uniform(duration low, duration high) { return {shape::uniform, {}, low, high}; }
  static distribution exponential(duration d) { return {shape::exponential, d, {}, {}}; }

  friend bool operator==(const distribution& a, const distribution& b) {
    return a.kind == b.kind && a.mean == b.mean && a.min == b.min && a.max == b.max;
  }
};

/// "fixed", "uniform", "exponential".
const char* to_string(distribution::shape shape) noexcept;
/// Nothing when no shape has this name.
std::optional<distribution::shape> distribution_shape_named(std::string_view name) noexcept;

/// What is wrong with a distribution as a whole; empty if nothing. `member` is the one at fault, or "". Times in cycles
/// and in real time are compared on a machine whose TSC runs at `tsc_khz`.
struct distribution_fault {
  std::string member;
  std::string reason;
};
std::optional<distribution_fault> fault_of(const distribution& d, std::uint64_t tsc_khz);

}  // namespace vmxsys
