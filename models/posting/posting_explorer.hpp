#pragma once
// Runs the posting protocol in every order that its steps allow: breadth first over all states that can be reached,
// each state once.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "posting_world.hpp"

namespace vmxsys::models {

/// An order of steps by name.
struct posting_order_info {
  posting_order order;
  std::string_view name;
  std::string_view description;
  /// Where hardware posts too, the put's look at ON repairs what this mistake loses: it shows only without a device.
  bool repaired_by_put = false;
};
/// All of them, in the order of the enumeration: what ships first, then the mistakes.
const std::vector<posting_order_info>& posting_orders();

/// What an exploration found.
struct posting_exploration {
  posting_scenario scenario;
  std::uint64_t states = 0;       ///< different ones
  std::uint64_t transitions = 0;  ///< steps tried
  std::uint64_t settled = 0;      ///< states where nothing is under way; each was checked
  std::uint64_t quiescent = 0;    ///< of these, states where nothing can begin any more
  std::uint64_t depth = 0;        ///< steps to the state that is farthest away, by the shortest way
  bool complete = false;  ///< every reachable state was seen; not so after a limit, a stop or, as a rule, a violation
  double seconds = 0;     ///< of the clock; the only number here that differs between two runs

  std::uint64_t violations = 0;        ///< states with one; at most one unless `posting_limits::past_violations`
  std::string violation;               ///< empty: none
  std::vector<posting_choice> path;    ///< the shortest way to the violation
  std::vector<posting_event> trace;    ///< the same for people
  std::vector<posting_event> outcome;  ///< the state it ends in
};

struct posting_limits {
  std::uint64_t states = 50'000'000;
  std::function<bool()> stop = {};  ///< asked now and then
  bool past_violations = false;     ///< go on after the first violation, to count them all
};

/// Explores a scenario up to its end or the first violation, which is one of the nearest. Throws std::invalid_argument
/// for a scenario with an error.
posting_exploration explore(const posting_scenario& scenario, const posting_limits& limits = {});

/// Where a path leads: the verdict there, null if all is well. `trace`: what happened, for people.
const char* replay(const posting_world& start, const std::vector<posting_choice>& path,
                   std::vector<posting_event>* trace = nullptr);

}  // namespace vmxsys::models
