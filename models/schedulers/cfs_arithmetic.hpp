#pragma once
// The integer arithmetic of the completely fair scheduler: weights, their inverses, and "so much time scaled by one
// weight over another" without a division. The rounding is part of the behaviour: two equal tasks on a big host get
// slices of 11 999 994 ns, and because of the missing 6 ns a 4 ms tick ends them at 12 ms and not at 16 ms.

#include <cstdint>
#include <optional>

#include "scheduler.hpp"

namespace vmxsys::models {

/// Virtual runtime: nanoseconds of CPU time scaled by 1024/weight, so for nice 0 simply CPU time. It counts modulo
/// 2^64; only differences mean something, see runs_before() and vruntime_lead().
using virtual_time = std::uint64_t;

/// Weight of nice 0, and of a control group with the default share.
inline constexpr std::uint32_t nice_0_weight = 1024;

/// Weight of a SCHED_IDLE task and its tabulated inverse.
inline constexpr std::uint32_t idle_policy_weight = 3;
inline constexpr std::uint32_t idle_policy_inverse = 1431655765;

/// Which kernel's way of scaling. Both are exact restatements of what the kernels compute.
///  - v3_4: rounds to nearest, in one or two 32-bit steps; inverse of a sum 2^32/weight
///    (kernel/sched/fair.c, v3.4: calc_delta_mine)
///  - v6_1: multiplies in 96 bits and truncates; inverse of a sum (2^32 - 1)/weight
///    (kernel/sched/fair.c, v4.19 to v6.5: __calc_delta)
enum class calc_delta_rule { v3_4, v6_1 };

/// Weight and tabulated inverse (about 2^32/weight, irregularly rounded) of nice -20 ... 19; kernel/sched/core.c,
/// sched_prio_to_weight and sched_prio_to_wmult. Throws std::out_of_range for any other nice.
std::uint32_t weight_of_nice(int nice);
std::uint32_t inverse_weight_of_nice(int nice);

/// The inverse that the rule computes for a weight which is not a task's: a sum of weights, or a group's weight.
/// `weight` is unscaled, 0 gives the largest inverse.
std::uint64_t computed_inverse(calc_delta_rule rule, std::uint64_t weight);

/// A weight with the inverse that goes with it.
struct load_weight {
  std::uint64_t weight = nice_0_weight;
  std::uint64_t inverse = 4194304;

  static load_weight of_nice(int nice) { return {weight_of_nice(nice), inverse_weight_of_nice(nice)}; }
  static load_weight of_sum(calc_delta_rule rule, std::uint64_t weight) {
    return {weight, computed_inverse(rule, weight)};
  }
};

/// delta * weight / divisor.weight in the rule's integer arithmetic. `delta` in ns (or virtual ns).
std::uint64_t calc_delta(calc_delta_rule rule, std::uint64_t delta, std::uint64_t weight, const load_weight& divisor);

/// CPU time to virtual time of an entity of this weight: delta * 1024 / weight, exactly delta for weight 1024.
virtual_time delta_fair(calc_delta_rule rule, nanoseconds delta, const load_weight& entity);

/// a - b as a signed distance; positive if a is later (further right) than b.
constexpr std::int64_t vruntime_lead(virtual_time a, virtual_time b) noexcept {
  return static_cast<std::int64_t>(a - b);
}

/// True if a is strictly earlier (further left) than b.
constexpr bool runs_before(virtual_time a, virtual_time b) noexcept { return vruntime_lead(a, b) < 0; }

/// The later and the earlier of two virtual times.
constexpr virtual_time later_vruntime(virtual_time a, virtual_time b) noexcept { return runs_before(a, b) ? b : a; }
constexpr virtual_time earlier_vruntime(virtual_time a, virtual_time b) noexcept { return runs_before(b, a) ? b : a; }

/// The queue's floor after an update: the earlier of the running and the leftmost entity, but never backwards.
/// kernel/sched/fair.c, v6.1: update_min_vruntime.
constexpr virtual_time next_min_vruntime(virtual_time old, std::optional<virtual_time> current,
                                         std::optional<virtual_time> leftmost) noexcept {
  if (!current && !leftmost) return old;
  const virtual_time candidate =
      current && leftmost ? earlier_vruntime(*current, *leftmost) : (current ? *current : *leftmost);
  return later_vruntime(old, candidate);
}

}  // namespace vmxsys::models
