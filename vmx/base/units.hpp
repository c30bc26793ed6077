#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cycles.hpp"

namespace vmxsys {

/// A length of time as a configuration writes it: "10ms", "2.5us", "800ns", "3s", "3000cycles" ("0" needs no unit).
/// Real time is kept in picoseconds, so a value is exact and does not depend on the machine's clock until it is
/// converted. Largest: 2^64 - 1 picoseconds, 213 days.
class duration {
 public:
  constexpr duration() noexcept = default;
  static constexpr duration from_cycles(std::uint64_t count) noexcept { return {count, true}; }
  static constexpr duration from_picoseconds(std::uint64_t count) noexcept { return {count, false}; }
  static constexpr duration ns(std::uint64_t count) noexcept { return {count * 1000, false}; }
  static constexpr duration us(std::uint64_t count) noexcept { return {count * 1000000, false}; }
  static constexpr duration ms(std::uint64_t count) noexcept { return {count * 1000000000, false}; }
  static constexpr duration s(std::uint64_t count) noexcept { return {count * 1000000000000, false}; }

  constexpr bool in_cycles() const noexcept { return in_cycles_; }
  /// Cycles or picoseconds, as in_cycles() says.
  constexpr std::uint64_t count() const noexcept { return count_; }
  constexpr bool is_zero() const noexcept { return count_ == 0; }

  /// On a machine whose TSC runs at `tsc_khz`; a time that is no whole number of cycles rounds down. A result that
  /// does not fit 64 bits becomes the largest value.
  cycles to_cycles(std::uint64_t tsc_khz) const noexcept;
  /// The same in nanoseconds, rounded down.
  constexpr std::uint64_t to_nanoseconds(std::uint64_t tsc_khz) const noexcept {
    return in_cycles_ ? vmxsys::to_nanoseconds(cycles{count_}, tsc_khz) : count_ / 1000;
  }

  /// The shortest exact spelling, which parse_duration() reads back.
  std::string to_string() const;

  friend constexpr bool operator==(duration a, duration b) noexcept {
    return a.count_ == b.count_ && (a.in_cycles_ == b.in_cycles_ || a.count_ == 0);
  }
  friend constexpr bool operator!=(duration a, duration b) noexcept { return !(a == b); }

 private:
  constexpr duration(std::uint64_t count, bool in_cycles) noexcept : count_{count}, in_cycles_{in_cycles} {}
  std::uint64_t count_ = 0;
  bool in_cycles_ = false;
};

/// Nothing when `text` is no duration; then `reason`, if given, says why.
std::optional<duration> parse_duration(std::string_view text, std::string* reason = nullptr);

/// A number of bytes: "64GiB", "512MiB", "4KiB", "1TiB", or decimal "16GB", "100MB", "1000B".
struct byte_size {
  std::uint64_t bytes = 0;
  static constexpr byte_size gib(std::uint64_t count) noexcept { return {count << 30}; }
  std::string to_string() const;
  friend constexpr bool operator==(byte_size a, byte_size b) noexcept { return a.bytes == b.bytes; }
};

std::optional<byte_size> parse_byte_size(std::string_view text, std::string* reason = nullptr);

}  // namespace vmxsys
