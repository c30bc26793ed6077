#include "units.hpp"

#include <array>
#include <limits>

namespace vmxsys {

namespace {

__extension__ using wide = unsigned __int128;
constexpr std::uint64_t largest = std::numeric_limits<std::uint64_t>::max();

struct unit {
  std::string_view name;
  std::uint64_t factor;
};
// From large to small, so that printing takes the first that divides.
constexpr std::array<unit, 5> time_units{
    {{"s", 1000000000000}, {"ms", 1000000000}, {"us", 1000000}, {"ns", 1000}, {"ps", 1}}};
constexpr std::array<unit, 9> size_units{{{"TiB", std::uint64_t{1} << 40},
                                          {"GiB", std::uint64_t{1} << 30},
                                          {"MiB", std::uint64_t{1} << 20},
                                          {"KiB", std::uint64_t{1} << 10},
                                          {"TB", 1000000000000},
                                          {"GB", 1000000000},
                                          {"MB", 1000000},
                                          {"kB", 1000},
                                          {"B", 1}}};

struct number_and_unit {
  wide digits = 0;        // the number without its decimal point
  unsigned decimals = 0;  // digits after the point
  std::string_view unit;
};

void explain(std::string* reason, std::string text) {
  if (reason) *reason = std::move(text);
}

std::optional<number_and_unit> split(std::string_view text) {
  number_and_unit result;
  std::size_t at = 0;
  bool point = false;
  std::size_t digits = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c >= '0' && c <= '9') {
      if (++digits > 30) return std::nullopt;
      result.digits = result.digits * 10 + static_cast<unsigned>(c - '0');
      if (point) ++result.decimals;
    } else if (c == '.' && !point) {
      point = true;
    } else {
      break;
    }
  }
  if (digits == 0 || (point && result.decimals == 0)) return std::nullopt;
  while (at < text.size() && text[at] == ' ') ++at;
  result.unit = text.substr(at);
  return result;
}

enum class scaling { exact, not_whole, too_large };

scaling scale(const number_and_unit& from, std::uint64_t factor, std::uint64_t& to) {
  wide divisor = 1;
  for (unsigned i = 0; i < from.decimals; ++i) divisor *= 10;
  // digits has at most 30 decimal digits; one that would overflow the product is far too large anyway.
  if (from.digits / divisor > largest) return scaling::too_large;
  wide whole = from.digits / divisor * factor;
  const wide rest = from.digits % divisor;
  if (rest != 0) {
    if (rest > (~wide{0}) / factor) return scaling::not_whole;
    if (rest * factor % divisor != 0) return scaling::not_whole;
    whole += rest * factor / divisor;
  }
  if (whole > largest) return scaling::too_large;
  to = static_cast<std::uint64_t>(whole);
  return scaling::exact;
}

template <class Units>
std::string print(std::uint64_t count, const Units& units) {
  for (const auto& u : units) {
    if (count % u.factor == 0 && count != 0) return std::to_string(count / u.factor) + std::string{u.name};
  }
  return "0" + std::string{units.back().name};
}

}  // namespace

cycles duration::to_cycles(std::uint64_t tsc_khz) const noexcept {
  if (in_cycles_) return cycles{count_};
  // count ps * khz * 1000 / 10^12
  const wide result = static_cast<wide>(count_) * tsc_khz / 1000000000u;
  return cycles{result > largest ? largest : static_cast<std::uint64_t>(result)};
}

std::string duration::to_string() const {
  if (in_cycles_) return std::to_string(count_) + "cycles";
  return count_ == 0 ? "0s" : print(count_, time_units);
}

std::optional<duration> parse_duration(std::string_view text, std::string* reason) {
  constexpr const char* form = "a duration needs a number and a unit: ps, ns, us, ms, s or cycles, e.g. \"10ms\"";
  const auto parts = split(text);
  if (!parts) {
    explain(reason, form);
    return std::nullopt;
  }
  std::uint64_t count = 0;
  if (parts->unit == "cycles" || parts->unit == "cycle") {
    switch (scale(*parts, 1, count)) {
      case scaling::exact:
        return duration::from_cycles(count);
      case scaling::not_whole:
        explain(reason, "cycles come whole");
        return std::nullopt;
      case scaling::too_large:
        explain(reason, "too large: at most 2^64 - 1 cycles");
        return std::nullopt;
    }
  }
  if (parts->unit.empty() && parts->digits == 0) return duration{};
  for (const unit& u : time_units) {
    if (u.name != parts->unit) continue;
    switch (scale(*parts, u.factor, count)) {
      case scaling::exact:
        return duration::from_picoseconds(count);
      case scaling::not_whole:
        explain(reason, "finer than a picosecond");
        return std::nullopt;
      case scaling::too_large:
        explain(reason, "too large: at most 213 days");
        return std::nullopt;
    }
  }
  explain(reason, form);
  return std::nullopt;
}

std::string byte_size::to_string() const { return bytes == 0 ? "0B" : print(bytes, size_units); }

std::optional<byte_size> parse_byte_size(std::string_view text, std::string* reason) {
  const auto parts = split(text);
  std::uint64_t count = 0;
  if (parts) {
    for (const unit& u : size_units) {
      if (u.name != parts->unit) continue;
      switch (scale(*parts, u.factor, count)) {
        case scaling::exact:
          return byte_size{count};
        case scaling::not_whole:
          explain(reason, "not a whole number of bytes");
          return std::nullopt;
        case scaling::too_large:
          explain(reason, "too large: at most 2^64 - 1 bytes");
          return std::nullopt;
      }
    }
  }
  explain(reason, "a size needs a number and a unit: KiB, MiB, GiB, TiB (or kB, MB, GB, TB), e.g. \"4GiB\"");
  return std::nullopt;
}

}  // namespace vmxsys
