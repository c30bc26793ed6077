#pragma once
#include <algorithm>
#include <cstdint>

namespace vmxsys::apic {

/// Which of the local APICs that it addresses gets a lowest-priority interrupt (SDM Vol. 3A §13.6.2.4). The choice is
/// the fabric's; parts differ.
enum class arbitration_rule : std::uint8_t {
  lowest_priority,             ///< the lowest priority the candidates report; Pentium 4 and later report TPR
  focus_then_lowest_priority,  ///< the focus processor if there is one (P6 family, Pentium), else the lowest priority
  round_robin,                 ///< priorities do not matter: recent server parts
};

/// One local APIC that a lowest-priority interrupt addresses.
struct arbitration_candidate {
  std::uint32_t id = 0;       ///< any number that names it; ties go by it
  std::uint8_t priority = 0;  ///< TPR, PPR or `arbitration_priority`, as the part compares
  bool focus = false;         ///< see `local_apic::is_focus_of`
};

/// The arbitration priority register of parts that have an APIC bus. Vectors are -1 if there is none.
constexpr std::uint8_t arbitration_priority(std::uint8_t tpr, int highest_in_service, int highest_request) noexcept {
  const int task = tpr >> 4;
  const int service = highest_in_service < 0 ? 0 : highest_in_service >> 4;
  const int request = highest_request < 0 ? 0 : highest_request >> 4;
  if (task >= request && task > service) return tpr;
  return static_cast<std::uint8_t>((std::max)(task & service, request) << 4);
}

/// Does `a` win against `b`? A tie goes to the one that comes first in the cyclic order of IDs after `last_winner`, so
/// equals take turns. A strict order: the winner does not depend on the order in which candidates are asked.
constexpr bool beats(const arbitration_candidate& a, const arbitration_candidate& b, arbitration_rule rule,
                     std::uint32_t last_winner) noexcept {
  if (rule == arbitration_rule::focus_then_lowest_priority && a.focus != b.focus) return a.focus;
  if (rule != arbitration_rule::round_robin && a.priority != b.priority) return a.priority < b.priority;
  const std::uint32_t first = last_winner + 1;
  return a.id - first < b.id - first;
}

/// The winner among candidates in [first, last); `last` if there is none.
template <class Iterator>
constexpr Iterator arbitrate(Iterator first, Iterator last, arbitration_rule rule, std::uint32_t last_winner) {
  return std::min_element(first, last, [=](const arbitration_candidate& a, const arbitration_candidate& b) {
    return beats(a, b, rule, last_winner);
  });
}

}  // namespace vmxsys::apic
