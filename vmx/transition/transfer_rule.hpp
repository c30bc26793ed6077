#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/processor_state.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

namespace vmxsys::vmx {

/// One row of the tables of what VM entries load and VM exits save and load. The rows are the code: a transition
/// carries out its rows in order, and `guest_saving_table` and its like show them.
struct transfer_rule {
  const char* name;
  const char* section;    ///< SDM, newest numbering
  const char* condition;  ///< in words; nullptr: always
  unsigned fields;        ///< VMCS fields read or written; 0: the value is fixed or derived
};

namespace detail {

// A rule with its code. `applies` looks at the controls, `act` moves the state.
template <class Conditions, class Operation>
struct transfer_row {
  transfer_rule rule;
  bool (*applies)(const Conditions&);
  void (*act)(Operation&);
};

template <class Conditions>
constexpr bool always(const Conditions&) {
  return true;
}

// The rows are unrolled at compile time and their functions, being constants, are inlined: no loop, no indirect call.
template <const auto& Rows, class Conditions, class Operation, std::size_t... I>
inline void carry_out(const Conditions& conditions, Operation& operation, std::index_sequence<I...>) {
  ((Rows[I].applies(conditions) ? Rows[I].act(operation) : void()), ...);
}
template <const auto& Rows, class Conditions, class Operation>
inline void carry_out(const Conditions& conditions, Operation& operation) {
  carry_out<Rows>(conditions, operation, std::make_index_sequence<std::size(Rows)>{});
}

template <const auto& Rows, class Conditions, std::size_t... I>
inline unsigned count_fields(const Conditions& conditions, std::index_sequence<I...>) {
  return (0u + ... + (Rows[I].applies(conditions) ? Rows[I].rule.fields : 0u));
}
template <const auto& Rows, class Conditions>
inline unsigned count_fields(const Conditions& conditions) {
  return count_fields<Rows>(conditions, std::make_index_sequence<std::size(Rows)>{});
}

// The four fields of a guest segment register: they lie at equal distances, in the order of `segment_name`.
template <segment_name S>
struct segment_fields {
  static constexpr std::uint32_t n = static_cast<std::uint32_t>(S);
  static constexpr field selector{encoding_of(field::guest_es_selector) + 2 * n};
  static constexpr field base{encoding_of(field::guest_es_base) + 2 * n};
  static constexpr field limit{encoding_of(field::guest_es_limit) + 2 * n};
  static constexpr field rights{encoding_of(field::guest_es_access_rights) + 2 * n};
};

// Secondary VM-exit controls as they take effect.
inline std::uint64_t secondary_exit_controls(const vmcs& v) noexcept {
  return v.any(field::primary_vm_exit_controls, vm_exit_control::activate_secondary_controls)
             ? v.read(field::secondary_vm_exit_controls)
             : 0;
}

// The rows without their code, for printing and tests.
template <const auto& Rows>
constexpr auto rules_of() {
  std::array<transfer_rule, std::size(Rows)> rules{};
  for (std::size_t n = 0; n < std::size(Rows); ++n) rules[n] = Rows[n].rule;
  return rules;
}

}  // namespace detail
}  // namespace vmxsys::vmx
