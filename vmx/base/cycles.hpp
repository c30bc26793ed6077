#pragma once
#include <cstdint>
#include <limits>

namespace vmxsys {

/// A time or a duration in cycles. One cycle is one tick of the invariant time-stamp counter (SDM Vol. 3B,
/// "Invariant TSC"); costs that were measured in core clocks are converted before they come here.
/// Unsigned 64 bits; sums that would pass the largest value are the caller's error.
class cycles {
 public:
  constexpr cycles() noexcept = default;
  constexpr explicit cycles(std::uint64_t count) noexcept : count_{count} {}

  constexpr std::uint64_t count() const noexcept { return count_; }

  /// Later than everything: "never" for a timer.
  static constexpr cycles never() noexcept { return cycles{std::numeric_limits<std::uint64_t>::max()}; }

  friend constexpr cycles operator+(cycles a, cycles b) noexcept { return cycles{a.count_ + b.count_}; }
  friend constexpr cycles operator-(cycles a, cycles b) noexcept { return cycles{a.count_ - b.count_}; }
  friend constexpr cycles operator*(cycles a, std::uint64_t n) noexcept { return cycles{a.count_ * n}; }
  friend constexpr cycles operator*(std::uint64_t n, cycles a) noexcept { return cycles{a.count_ * n}; }
  friend constexpr std::uint64_t operator/(cycles a, cycles b) noexcept { return a.count_ / b.count_; }
  constexpr cycles& operator+=(cycles b) noexcept {
    count_ += b.count_;
    return *this;
  }
  constexpr cycles& operator-=(cycles b) noexcept {
    count_ -= b.count_;
    return *this;
  }

  friend constexpr bool operator==(cycles a, cycles b) noexcept { return a.count_ == b.count_; }
  friend constexpr bool operator!=(cycles a, cycles b) noexcept { return a.count_ != b.count_; }
  friend constexpr bool operator<(cycles a, cycles b) noexcept { return a.count_ < b.count_; }
  friend constexpr bool operator<=(cycles a, cycles b) noexcept { return a.count_ <= b.count_; }
  friend constexpr bool operator>(cycles a, cycles b) noexcept { return a.count_ > b.count_; }
  friend constexpr bool operator>=(cycles a, cycles b) noexcept { return a.count_ >= b.count_; }

 private:
  std::uint64_t count_ = 0;
};

constexpr cycles max(cycles a, cycles b) noexcept { return a < b ? b : a; }
constexpr cycles min(cycles a, cycles b) noexcept { return b < a ? b : a; }

/// In nanoseconds where the TSC runs at `tsc_khz`, rounded down.
constexpr std::uint64_t to_nanoseconds(cycles c, std::uint64_t tsc_khz) noexcept {
  return c.count() / tsc_khz * 1'000'000 + c.count() % tsc_khz * 1'000'000 / tsc_khz;
}

}  // namespace vmxsys
