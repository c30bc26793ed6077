#pragma once
#include <type_traits>
#include <variant>

#include <vmxsys/models/posting/posting_world.hpp>

// One of the protocol's machines, or none, as one thing.
namespace vmxsys::models {

/// The word of a PIR that holds every vector of a scenario.
inline constexpr unsigned posting_world_pir_word = 1;

inline bool finished(const posting_machine& machine) {
  return std::visit(
      [](const auto& m) {
        if constexpr (std::is_same_v<std::decay_t<decltype(m)>, std::monostate>) {
          return true;
        } else {
          return m.finished();
        }
      },
      machine);
}

inline posting_action next_of(const posting_machine& machine) {
  return std::visit(
      [](const auto& m) {
        if constexpr (std::is_same_v<std::decay_t<decltype(m)>, std::monostate>) {
          return posting_action{};
        } else {
          return m.next();
        }
      },
      machine);
}

inline void tell(posting_machine& machine, std::uint64_t result) {
  std::visit(
      [result](auto& m) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(m)>, std::monostate>) m.done(result);
      },
      machine);
}

inline void encode(const posting_machine& machine, state_bytes& to) {
  to.put(machine.index());
  std::visit(
      [&to](const auto& m) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(m)>, std::monostate>) m.encode(to);
      },
      machine);
}

}  // namespace vmxsys::models
