#pragma once
// What can be set about a thing that is chosen by name: an options struct whose initialisers are the defaults, and one
// table of rows about its members. Reading, range checks, command lines and documentation all come from the rows.
//
//   struct options {
//     unsigned locks = 1;
//     duration slice = duration::ms(10);
//     bool fair = true;
//   };
//   constexpr std::array rows{
//       row<&options::locks>("locks", "locks", 1, 4096, "spinlocks the threads share"),
//       row<&options::slice>("slice", duration::us(1), duration::s(10), "time slice"),
//       row<&options::fair>("fair", "waiters are served in order").from("Linux v6.1, kernel/sched/fair.c"),
//   };
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "distribution.hpp"
#include "units.hpp"

namespace vmxsys {

enum class parameter_kind : std::uint8_t { flag, integer, duration, size, name, distribution, list };

/// A value of any kind. Integers that are not negative are held unsigned, so that equal values compare equal. Absent:
/// an optional member without a value.
struct parameter_value {
  using list = std::vector<parameter_value>;
  std::variant<std::monostate, bool, std::uint64_t, std::int64_t, duration, byte_size, std::string, distribution, list>
      held;

  parameter_value() = default;
  template <class T, std::enable_if_t<std::is_integral_v<T>, int> = 0>
  parameter_value(T value) {
    if constexpr (std::is_same_v<T, bool>)
      held = value;
    else if (value < T{})
      held = static_cast<std::int64_t>(value);
    else
      held = static_cast<std::uint64_t>(value);
  }
  parameter_value(duration d) : held{d} {}
  parameter_value(byte_size s) : held{s} {}
  parameter_value(const char* name) : held{std::string{name}} {}
  parameter_value(std::string name) : held{std::move(name)} {}
  parameter_value(distribution d) : held{std::move(d)} {}
  parameter_value(list l) : held{std::move(l)} {}

  bool absent() const noexcept { return held.index() == 0; }
  /// As a configuration would show it.
  std::string to_string() const;
  friend bool operator==(const parameter_value& a, const parameter_value& b) { return a.held == b.held; }
  friend bool operator!=(const parameter_value& a, const parameter_value& b) { return !(a == b); }
};

/// One legal value of a name.
struct choice {
  std::string name;
  std::string description;
};
/// A function, because some names are those of a catalogue.
using choice_list = std::vector<choice> (*)();

/// What is wrong with a value, in words, and the legal name most like it (or "").
struct parameter_fault {
  std::string reason;
  std::string nearest;
};

/// A row: what is known about one member of an options struct. Aggregate of constants; made by `row`.
struct parameter {
  const char* name;
  const char* unit;         ///< of an integer: "cycles", "locks", "percent", ...; else the kind
  const char* description;  ///< one line
  parameter_kind kind;      ///< of a list: list
  parameter_kind element;   ///< of a list: of what it holds; else the kind
  bool optional;            ///< may be absent: then the thing itself decides
  std::int64_t lowest;      ///< integers; durations in picoseconds, sizes in bytes; of a distribution: of its members
  std::uint64_t highest;
  choice_list choices;  ///< names: the legal ones; null: any text
  const char* source;   ///< SDM section, kernel file and version, publication; null: a matter of this library
  bool whole_cycle;     ///< a duration, or each member of a distribution, that is less than one cycle is an error
  parameter_value (*get)(const parameter&, const void* options);
  void (*set)(const parameter&, void* options, const parameter_value& value);

  /// The same row with a source.
  constexpr parameter from(const char* where) const noexcept {
    parameter p = *this;
    p.source = where;
    return p;
  }
  /// The same row of a length of time that takes at least one cycle.
  constexpr parameter at_least_one_cycle() const noexcept {
    parameter p = *this;
    p.whole_cycle = true;
    return p;
  }

  parameter_value value(const void* options) const { return get(*this, options); }
  /// Nothing if `value` is legal here. Does not know the machine, so it does not look at `whole_cycle`.
  std::optional<parameter_fault> check(const parameter_value& value) const;
  /// Precondition: check(value) finds nothing.
  void assign(void* options, const parameter_value& value) const { set(*this, options, value); }
  /// "1 .. 4096", "at least 1us", the legal names; empty if everything is legal.
  std::string range() const;
  std::vector<std::string> choice_names() const;
};

/// A view of a table of rows.
class parameter_list {
 public:
  constexpr parameter_list() noexcept = default;
  constexpr parameter_list(const parameter* first, std::size_t count) noexcept : first_{first}, count_{count} {}
  template <std::size_t N>
  constexpr parameter_list(const std::array<parameter, N>& rows) noexcept : first_{rows.data()}, count_{N} {}

  constexpr const parameter* begin() const noexcept { return first_; }
  constexpr const parameter* end() const noexcept { return first_ + count_; }
  constexpr std::size_t size() const noexcept { return count_; }
  const parameter* find(std::string_view name) const noexcept;
  std::vector<std::string> names() const;

 private:
  const parameter* first_ = nullptr;
  std::size_t count_ = 0;
};

/// Two tables as one: for a thing that has another inside.
template <std::size_t A, std::size_t B>
constexpr std::array<parameter, A + B> operator+(const std::array<parameter, A>& a, const std::array<parameter, B>& b) {
  std::array<parameter, A + B> all{};
  for (std::size_t i = 0; i < A; ++i) all[i] = a[i];
  for (std::size_t i = 0; i < B; ++i) all[A + i] = b[i];
  return all;
}

/// The names of a constant array of `choice`-like pairs {name, description}, as a `choice_list`.
struct named {
  const char* name;
  const char* description;
};
template <const auto& Names>
std::vector<choice> names() {
  std::vector<choice> all;
  for (const named& n : Names) all.push_back({n.name, n.description});
  return all;
}

namespace detail {

template <class Class, class Member>
Class class_of(Member Class::*);
template <auto First, auto...>
struct first_of {
  using options = decltype(class_of(First));
};
template <auto... Path>
using options_of = typename first_of<Path...>::options;
template <auto... Path>
using member_of = std::remove_reference_t<decltype((std::declval<options_of<Path...>&>().*....*Path))>;

template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};
template <class T>
struct is_list : std::false_type {};
template <class T>
struct is_list<std::vector<T>> : std::true_type {};

template <class T>
constexpr parameter_kind kind_of() {
  if constexpr (is_optional<T>::value || is_list<T>::value)
    return kind_of<typename T::value_type>();
  else if constexpr (std::is_same_v<T, bool>)
    return parameter_kind::flag;
  else if constexpr (std::is_integral_v<T>)
    return parameter_kind::integer;
  else if constexpr (std::is_same_v<T, duration>)
    return parameter_kind::duration;
  else if constexpr (std::is_same_v<T, byte_size>)
    return parameter_kind::size;
  else if constexpr (std::is_same_v<T, std::string> || std::is_enum_v<T>)
    return parameter_kind::name;
  else {
    static_assert(std::is_same_v<T, distribution>,
                  "flag, integer, duration, size, name, distribution, or an optional or a list of these");
    return parameter_kind::distribution;
  }
}

template <class T>
struct scalar {
  using type = T;
};
template <class T>
struct scalar<std::optional<T>> : scalar<T> {};
template <class T>
struct scalar<std::vector<T>> : scalar<T> {};

template <class T>
constexpr std::uint64_t highest_of() {
  using S = typename scalar<T>::type;
  if constexpr (std::is_integral_v<S> && !std::is_same_v<S, bool>)
    return static_cast<std::uint64_t>(std::numeric_limits<S>::max());
  else
    return std::numeric_limits<std::uint64_t>::max();
}
template <class T>
constexpr std::int64_t lowest_of() {
  using S = typename scalar<T>::type;
  if constexpr (std::is_integral_v<S> && std::is_signed_v<S>)
    return static_cast<std::int64_t>(std::numeric_limits<S>::min());
  else
    return 0;
}

std::string name_of_index(const parameter& p, std::size_t index);
std::size_t index_of_name(const parameter& p, const std::string& name);
std::uint64_t bits_of(const parameter_value& value);

template <class T>
parameter_value to_value(const parameter& p, const T& member) {
  if constexpr (is_optional<T>::value) {
    return member ? to_value(p, *member) : parameter_value{};
  } else if constexpr (is_list<T>::value) {
    parameter_value::list all;
    for (const auto& element : member) all.push_back(to_value(p, element));
    return all;
  } else if constexpr (std::is_enum_v<T>) {
    return name_of_index(p, static_cast<std::size_t>(member));
  } else {
    return member;
  }
}

template <class T>
void from_value(const parameter& p, T& member, const parameter_value& value) {
  if constexpr (is_optional<T>::value) {
    if (value.absent())
      member.reset();
    else
      from_value(p, member.emplace(), value);
  } else if constexpr (is_list<T>::value) {
    member.clear();
    for (const parameter_value& element : std::get<parameter_value::list>(value.held)) {
      typename T::value_type one{};
      from_value(p, one, element);
      member.push_back(std::move(one));
    }
  } else if constexpr (std::is_enum_v<T>) {
    member = static_cast<T>(index_of_name(p, std::get<std::string>(value.held)));
  } else if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    member = static_cast<T>(bits_of(value));
  } else {
    member = std::get<T>(value.held);
  }
}

/// What a row does with its member. The struct's type is a template argument of its own: g++ 12 gives external linkage
/// to what is made from pointers to members alone, even of a struct in an unnamed namespace, and two structs of one
/// name in two files would share these functions.
template <class options, auto... Path>
struct row_access {
  static parameter_value get(const parameter& p, const void* o) {
    return to_value(p, (*static_cast<const options*>(o).*....*Path));
  }
  static void set(const parameter& p, void* o, const parameter_value& v) {
    from_value(p, (*static_cast<options*>(o).*....*Path), v);
  }
};

template <auto... Path>
constexpr parameter make_row(const char* name, const char* unit, std::int64_t lowest, std::uint64_t highest,
                             choice_list choices, const char* description) {
  using member = member_of<Path...>;
  return {name,
          unit,
          description,
          is_list<member>::value ? parameter_kind::list : kind_of<member>(),
          kind_of<member>(),
          is_optional<member>::value,
          lowest < lowest_of<member>() ? lowest_of<member>() : lowest,
          highest > highest_of<member>() ? highest_of<member>() : highest,
          choices,
          nullptr,
          false,
          row_access<options_of<Path...>, Path...>::get,
          row_access<options_of<Path...>, Path...>::set};
}

constexpr std::uint64_t picoseconds(duration d) noexcept { return d.count(); }
inline constexpr std::uint64_t longest = duration::s(3600).count();

}  // namespace detail

/// A row about the member that Path leads to, pointers to members from the options struct inwards. An integer, or a
/// list of them, within `lowest` .. `highest`.
template <auto... Path>
constexpr parameter row(const char* name, const char* unit, std::int64_t lowest, std::uint64_t highest,
                        const char* description) {
  static_assert(detail::kind_of<detail::member_of<Path...>>() == parameter_kind::integer, "limits without unit");
  return detail::make_row<Path...>(name, unit, lowest, highest, nullptr, description);
}
/// An integer that may have every value of its type.
template <auto... Path>
constexpr parameter row(const char* name, const char* unit, const char* description) {
  using member = detail::member_of<Path...>;
  static_assert(detail::kind_of<member>() == parameter_kind::integer, "a unit is for integers");
  return detail::make_row<Path...>(name, unit, detail::lowest_of<member>(), detail::highest_of<member>(), nullptr,
                                   description);
}
/// A flag, a distribution whose members are at most an hour, a text, or a duration of at most an hour.
template <auto... Path>
constexpr parameter row(const char* name, const char* description) {
  constexpr parameter_kind kind = detail::kind_of<detail::member_of<Path...>>();
  static_assert(kind != parameter_kind::integer && kind != parameter_kind::size, "say unit and limits");
  constexpr bool time = kind == parameter_kind::distribution || kind == parameter_kind::duration;
  constexpr const char* unit = kind == parameter_kind::flag   ? "flag"
                               : kind == parameter_kind::name ? "text"
                                                              : "duration";
  return detail::make_row<Path...>(name, unit, 0, time ? detail::longest : std::numeric_limits<std::uint64_t>::max(),
                                   nullptr, description);
}
/// A duration within limits in real time. For the range a cycle counts as a third of a nanosecond.
template <auto... Path>
constexpr parameter row(const char* name, duration lowest, duration highest, const char* description) {
  return detail::make_row<Path...>(name, "duration", static_cast<std::int64_t>(detail::picoseconds(lowest)),
                                   detail::picoseconds(highest), nullptr, description);
}
template <auto... Path>
constexpr parameter row(const char* name, byte_size lowest, byte_size highest, const char* description) {
  return detail::make_row<Path...>(name, "size", static_cast<std::int64_t>(lowest.bytes), highest.bytes, nullptr,
                                   description);
}
/// A name among `choices`. The member is text, or an enumeration whose values are numbered as the choices are.
template <auto... Path>
constexpr parameter row(const char* name, choice_list choices, const char* description) {
  static_assert(detail::kind_of<detail::member_of<Path...>>() == parameter_kind::name, "choices are for names");
  return detail::make_row<Path...>(name, "name", 0, std::numeric_limits<std::uint64_t>::max(), choices, description);
}

/// One option given by name.
struct setting {
  std::string name;
  parameter_value value;
  friend bool operator==(const setting& a, const setting& b) { return a.name == b.name && a.value == b.value; }
};
using settings = std::vector<setting>;

}  // namespace vmxsys
