#pragma once
// What a run is summed up in: statistics with names. A collector counts into a struct of figures, and one table of rows
// about its members says what each means; names, units, descriptions and values all come from the rows.
//
//   struct figures {
//     std::uint64_t wakeups = 0;
//     time_tally slept;                                    // lengths of time: number, shortest, mean and longest
//     std::map<vmx::exit_reason, std::uint64_t> by_reason;
//   };
//   constexpr std::array given{
//       figure<&figures::wakeups>("wakeups", "wake-ups", "threads woken"),
//       figure<&figures::slept>("slept", "how long a thread slept"),
//       figure<&figures::by_reason>("<reason>.exits", "exits", "VM exits of one reason"),
//   };
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <vmxsys/vmx/base/cycles.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>

namespace vmxsys::platform {

/// Lengths of time that were seen.
struct time_tally {
  std::uint64_t count = 0;
  cycles total;
  cycles least = cycles::never();
  cycles most;
  void add(cycles c) noexcept {
    ++count;
    total += c;
    least = min(least, c);
    most = max(most, c);
  }
};

/// A tally in the unit of its statistic; all 0 when nothing was seen.
struct tally_summary {
  std::uint64_t count = 0;
  std::uint64_t min = 0;
  std::uint64_t mean = 0;
  std::uint64_t max = 0;
  friend bool operator==(const tally_summary&, const tally_summary&) = default;
};
/// In ns where the TSC runs at `tsc_khz`.
tally_summary summary_of(const time_tally& times, std::uint64_t tsc_khz);

using statistic_value = std::variant<std::uint64_t, double, tally_summary>;

/// One statistic of one run.
struct statistic {
  std::string name;  ///< dotted: "exits.PAUSE_INSTRUCTION.count"
  std::string unit;  ///< of times: "ns"
  statistic_value value;
  friend bool operator==(const statistic&, const statistic&) = default;
};

/// All statistics of one run.
class statistics {
 public:
  void add(statistic s) { all_.push_back(std::move(s)); }
  auto begin() const { return all_.begin(); }
  auto end() const { return all_.end(); }
  std::size_t size() const { return all_.size(); }
  const statistic* find(std::string_view name) const;
  /// A count or a time in ns; 0 for one that is not there.
  std::uint64_t count(std::string_view name) const;
  tally_summary tally(std::string_view name) const;
  friend bool operator==(const statistics&, const statistics&) = default;

 private:
  std::vector<statistic> all_;
};

class statistic_sink;

/// What is known of a statistic before a run. Aggregate of constants; made by `figure`.
struct statistic_row {
  /// Below the collector's, dotted. A part in angle brackets stands for each key of a map: "<reason>.count".
  const char* name;
  const char* unit;
  const char* description;  ///< one line
  void (*give)(const statistic_row& row, const void* figures, statistic_sink& to);
};

/// A view of a table of rows.
class statistic_list {
 public:
  constexpr statistic_list() noexcept = default;
  template <std::size_t N>
  constexpr statistic_list(const std::array<statistic_row, N>& rows) noexcept : first_{rows.data()}, count_{N} {}
  constexpr const statistic_row* begin() const noexcept { return first_; }
  constexpr const statistic_row* end() const noexcept { return first_ + count_; }
  constexpr std::size_t size() const noexcept { return count_; }

 private:
  const statistic_row* first_ = nullptr;
  std::size_t count_ = 0;
};

/// Turns figures into statistics: gives them their full names, and times in ns.
class statistic_sink {
 public:
  /// `prefix` is put in front of every name, with a dot.
  statistic_sink(std::string prefix, std::uint64_t tsc_khz, statistics& to)
      : prefix_{std::move(prefix)}, tsc_khz_{tsc_khz}, to_{to} {}
  void put(const statistic_row& row, const std::string& key, std::uint64_t count);
  void put(const statistic_row& row, const std::string& key, double number);
  void put(const statistic_row& row, const std::string& key, cycles time);
  void put(const statistic_row& row, const std::string& key, const time_tally& times);

 private:
  void put_value(const statistic_row& row, const std::string& key, statistic_value value);

  std::string prefix_;
  std::uint64_t tsc_khz_;
  statistics& to_;
};

namespace detail {

inline std::string key_text(const std::string& name) { return name; }
inline std::string key_text(vmx::exit_reason reason) { return vmx::trace_name_of(reason); }

template <class T>
struct is_map : std::false_type {};
template <class Key, class T, class... More>
struct is_map<std::map<Key, T, More...>> : std::true_type {};

template <class Class, class Member>
Class class_of_figure(Member Class::*);

template <auto... Path>
struct figure_access;
/// The end of the path: a value, or a map of values.
template <>
struct figure_access<> {
  template <class T>
  static void give(const statistic_row& row, const std::string& key, const T& at, statistic_sink& to) {
    if constexpr (is_map<T>::value) {
      for (const auto& [k, value] : at) to.put(row, key_text(k), value);
    } else {
      to.put(row, key, at);
    }
  }
};
template <auto First, auto... Rest>
struct figure_access<First, Rest...> {
  template <class T>
  static void give(const statistic_row& row, const std::string& key, const T& at, statistic_sink& to) {
    if constexpr (is_map<T>::value) {
      for (const auto& [k, value] : at) figure_access<Rest...>::give(row, key_text(k), value.*First, to);
    } else {
      figure_access<Rest...>::give(row, key, at.*First, to);
    }
  }
};
/// The figures' type is a template argument of its own, as in row_access (parameter.hpp).
template <class Figures, auto... Path>
struct figures_access {
  static void give(const statistic_row& row, const void* figures, statistic_sink& to) {
    figure_access<Path...>::give(row, "", *static_cast<const Figures*>(figures), to);
  }
};
template <auto First, auto...>
struct figures_of {
  using type = decltype(class_of_figure(First));
};
template <class T>
struct mapped {
  using type = T;
};
template <class Key, class T, class... More>
struct mapped<std::map<Key, T, More...>> {
  using type = T;
};
template <class T, auto First, auto... Rest>
constexpr auto value_at() {
  using next = typename mapped<std::remove_cvref_t<decltype(std::declval<T&>().*First)>>::type;
  if constexpr (sizeof...(Rest) == 0)
    return std::type_identity<next>{};
  else
    return value_at<next, Rest...>();
}
template <auto... Path>
using figure_type = typename decltype(value_at<typename figures_of<Path...>::type, Path...>())::type;

}  // namespace detail

/// A count or a number: the member that Path leads to, pointers to members from the figures inwards, through maps.
template <auto... Path>
constexpr statistic_row figure(const char* name, const char* unit, const char* description) {
  static_assert(std::is_arithmetic_v<detail::figure_type<Path...>>, "a unit is for counts and numbers");
  return {name, unit, description, detail::figures_access<typename detail::figures_of<Path...>::type, Path...>::give};
}
/// A time, or a tally of times: in ns.
template <auto... Path>
constexpr statistic_row figure(const char* name, const char* description) {
  static_assert(!std::is_arithmetic_v<detail::figure_type<Path...>>, "say the unit");
  return {name, "ns", description, detail::figures_access<typename detail::figures_of<Path...>::type, Path...>::give};
}

}  // namespace vmxsys::platform
