#pragma once
#include <array>
#include <bit>
#include <boost/describe.hpp>
#include <boost/mp11.hpp>
#include <concepts>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <vector>

#include <vmxsys/vmx/base/cycles.hpp>

namespace vmxsys::cpu {

/// Names one fact of a run: the component that recorded it and its number among that component's facts, from 1.
/// Index 0 means "no fact".
struct fact_id {
  std::uint32_t source = 0;
  std::uint64_t index = 0;
  explicit operator bool() const { return index != 0; }
  friend bool operator==(const fact_id&, const fact_id&) = default;
};

/// What is known of a fact's type at run time: its name, its fields, and its values as 64-bit integers, which are
/// the canonical form that hashes and generic printers use.
struct fact_kind {
  static constexpr std::size_t max_fields = 16;
  const char* name;
  std::size_t field_count;
  std::array<const char*, max_fields> field_names;
  void (*values)(const void* payload, std::uint64_t* out);
  std::uint64_t name_hash;
  /// The state of a source's hash after these values: what `fact_hash` does with `values`, without an array between.
  std::uint64_t (*hash)(const void* payload, std::uint64_t state);
};

namespace detail {
/// One step of a source's hash.
constexpr std::uint64_t hash_step(std::uint64_t state, std::uint64_t value) {
  return std::rotl(state ^ value * 0x9e3779b97f4a7c15ULL, 29) * 0xbf58476d1ce4e5b9ULL + 0x94d049bb133111ebULL;
}
constexpr std::uint64_t hash_of_name(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}
template <class T>
std::uint64_t canonical(const T& value) {
  if constexpr (std::is_enum_v<T>)
    return static_cast<std::uint64_t>(value);
  else if constexpr (std::is_same_v<T, cycles>)
    return value.count();
  else
    return static_cast<std::uint64_t>(value);
}
template <class F>
using members = boost::describe::describe_members<F, boost::describe::mod_public>;

template <class F>
constexpr fact_kind describe_fact() {
  fact_kind kind{F::fact_name, boost::mp11::mp_size<members<F>>::value, {}, nullptr, hash_of_name(F::fact_name),
                 nullptr};
  static_assert(boost::mp11::mp_size<members<F>>::value <= fact_kind::max_fields);
  std::size_t i = 0;
  boost::mp11::mp_for_each<members<F>>([&](auto member) { kind.field_names[i++] = member.name; });
  kind.values = [](const void* payload, std::uint64_t* out) {
    const F& fact = *static_cast<const F*>(payload);
    boost::mp11::mp_for_each<members<F>>([&](auto member) { *out++ = canonical(fact.*member.pointer); });
  };
  kind.hash = [](const void* payload, std::uint64_t state) {
    const F& fact = *static_cast<const F*>(payload);
    boost::mp11::mp_for_each<members<F>>(
        [&](auto member) { state = hash_step(state, canonical(fact.*member.pointer)); });
    return state;
  };
  return kind;
}
}  // namespace detail

/// A fact type: a described struct of integers, enums and cycles with a static `fact_name`.
template <class F>
concept fact_payload = std::is_trivially_copyable_v<F> && requires {
  { F::fact_name } -> std::convertible_to<const char*>;
};

template <fact_payload F>
inline constexpr fact_kind kind_of = detail::describe_fact<F>();

struct fact_header {
  cycles at;
  fact_id id;
  fact_id cause;  ///< the fact that made this one happen, where the model knows it
  const fact_kind* kind;
};

/// One fact as observers see it. `as<F>()` is null unless the fact is an F.
class fact_view {
 public:
  fact_view(const fact_header& header, const void* payload) : header_{header}, payload_{payload} {}
  const fact_header& header() const { return header_; }
  const void* payload() const { return payload_; }
  template <fact_payload F>
  const F* as() const {
    return header_.kind == &kind_of<F> ? static_cast<const F*>(payload_) : nullptr;
  }

 private:
  const fact_header& header_;
  const void* payload_;
};

/// Everything that counts, prints, draws or checks is an observer. It is called at the time of the fact, in the order
/// facts are recorded; it must not change the machine.
class fact_observer {
 public:
  virtual ~fact_observer() = default;
  virtual void observe(const fact_view& fact) = 0;
};

/// Where components state facts. With no observer, stating one costs a branch.
class fact_bus {
 public:
  /// A new source of facts; its facts are numbered from 1. Call while the machine is built.
  std::uint32_t add_source() {
    next_.push_back(0);
    return static_cast<std::uint32_t>(next_.size() - 1);
  }
  void attach(fact_observer& observer) { observers_.push_back(&observer); }
  void detach(fact_observer& observer) { std::erase(observers_, &observer); }
  bool observed() const { return !observers_.empty(); }

  template <fact_payload F>
  fact_id record(std::uint32_t source, cycles at, const F& fact, fact_id cause = {}) {
    if (observers_.empty()) return {};
    const fact_header header{at, {source, ++next_[source]}, cause, &kind_of<F>};
    for (fact_observer* o : observers_) o->observe({header, &fact});
    return header.id;
  }

 private:
  std::vector<std::uint64_t> next_;
  std::vector<fact_observer*> observers_;
};

}  // namespace vmxsys::cpu
