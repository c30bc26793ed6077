#pragma once
#include <array>
#include <boost/describe.hpp>
#include <boost/mp11.hpp>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vmxsys::platform {

/// One legal value of a parameter that takes a name: a policy, a detector, a workload, ...
struct choice {
  std::string name;
  std::string description;
};

/// What is known about one configuration parameter beside its type and its default (which are the member's).
struct parameter {
  std::string_view name;  ///< the member's name, which is also the JSON key
  std::string_view unit;  ///< what one of it is: "cores", "Hz", "cycles", "duration", "size", "name", "flag", ...
  std::string_view description;  ///< one line for `vmxsys list parameters`
  /// Numbers: smallest legal value; durations in picoseconds, sizes in bytes. A duration that may not be 0 may not be
  /// shorter than one cycle of the machine either.
  std::uint64_t lowest = 0;
  std::uint64_t highest = std::numeric_limits<std::uint64_t>::max();
  std::vector<choice> (*choices)() = nullptr;  ///< names: the legal ones
  /// Read only when the record's `name` is this one or, separated by ", ", one of these; given otherwise, an error.
  std::string_view only_for{};

  constexpr bool belongs_to(std::string_view record_name) const {
    if (only_for.empty()) return true;
    for (std::string_view rest = only_for;;) {
      const std::size_t comma = rest.find(", ");
      if (rest.substr(0, comma) == record_name) return true;
      if (comma == std::string_view::npos) return false;
      rest.remove_prefix(comma + 2);
    }
  }
};

/// The parameters of a described struct, in the order of its members. Specialise it beside the struct:
///   template <> inline constexpr std::array parameters_of<machine_config>{parameter{...}, ...};
/// The binding refuses to compile while a described member has no entry, or one without unit or description.
template <class T>
inline constexpr std::array<parameter, 0> parameters_of{};

/// The member that a bare string stands for: {"scheduler": "cfs"} means {"scheduler": {"name": "cfs"}}. Empty: none.
template <class T>
inline constexpr std::string_view shorthand_of{};

/// The member that decides what the others mean. Where a document gives it, nothing of an earlier layer or of the
/// defaults is mixed in: {"kind": "uniform", ...} forgets the mean of an exponential. Empty: none.
template <class T>
inline constexpr std::string_view selector_of{};

/// True when parameters_of<T> describes every member of T, in order, with unit and description.
template <class T>
consteval bool every_parameter_is_described() {
  using members = boost::describe::describe_members<T, boost::describe::mod_public>;
  if (parameters_of<T>.size() != boost::mp11::mp_size<members>::value) return false;
  bool complete = true;
  std::size_t index = 0;
  boost::mp11::mp_for_each<members>([&](auto member) {
    const parameter& p = parameters_of<T>[index++];
    if (p.name != std::string_view{member.name} || p.description.empty() || p.unit.empty()) complete = false;
    if (p.lowest > p.highest) complete = false;
  });
  return complete;
}

}  // namespace vmxsys::platform
