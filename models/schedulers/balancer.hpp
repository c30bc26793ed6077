#pragma once
// A simple load balancer: from which CPU an idle or less loaded CPU pulls a task, and how often it looks.
//
// Simplified from kernel/sched/fair.c, v6.1 (load_balance, newidle_balance): one task per decision, the number of
// runnable tasks as the only measure of imbalance, and three levels (core, last-level cache, machine) as domains.
// The rules for intervals, failures and cache heat are the kernel's.

#include <optional>

#include "scheduler.hpp"
#include "select_task_rq.hpp"

namespace vmxsys::models {

enum class balance_reason {
  newly_idle,  ///< the CPU is about to go idle
  periodic,    ///< its balance interval has passed
};

/// How far a CPU looks: CPUs of its core, of its last-level cache, or all.
enum class balance_level { core, cache, machine };

/// A domain's constants. kernel/sched/topology.c, v6.1.
struct balance_tunables {
  unsigned busy_factor = 16;      ///< a busy CPU looks this much more rarely (32 in v4.19)
  unsigned cache_nice_tries = 1;  ///< failures after which hot tasks are pulled too: core 0, cache 1, NUMA node 2
  unsigned hz = 250;              ///< ticks per second of this kernel
};

/// Jiffies between two periodic balances of a domain: the interval in ms, times busy_factor and less one jiffy if the
/// CPU is busy, at least 1 and at most hz * cpus / 10. kernel: get_sd_balance_interval.
unsigned balance_interval_jiffies(unsigned interval_ms, bool busy, unsigned online_cpus,
                                  const balance_tunables& tunables = {}) noexcept;

/// What one CPU remembers about balancing one domain of `span` CPUs: the interval runs from span ms to 2 * span ms.
class balance_state {
 public:
  explicit balance_state(unsigned span) noexcept : min_interval_(span), interval_(span) {}

  unsigned interval_ms() const noexcept { return interval_; }
  unsigned failures() const noexcept { return failures_; }
  /// A pull brings the interval back to its minimum; finding nothing doubles it, up to the maximum.
  void pulled() noexcept;
  void nothing_to_pull() noexcept;
  /// There was an imbalance but no task that could be moved. Does not count when newly idle.
  void failed(balance_reason why) noexcept;
  /// Whether failures have made hot tasks fair game.
  cache_heat heat(const balance_tunables& tunables) const noexcept;

 private:
  unsigned min_interval_;
  unsigned interval_;
  unsigned failures_ = 0;
};

/// How long a CPU stays idle on average (ns): an average with weight 1/8, at most twice the cost of the dearest
/// new-idle balance seen. kernel: update_avg and rq->avg_idle.
class idle_estimate {
 public:
  explicit idle_estimate(nanoseconds balance_cost = 500'000) noexcept
      : max_cost_(balance_cost), average_(2 * balance_cost) {}

  nanoseconds average() const noexcept { return average_; }
  void idled_for(nanoseconds duration) noexcept;
  /// New-idle balancing that would cost more than the idle time expected is skipped.
  bool worth(nanoseconds balance_cost) const noexcept { return average_ >= balance_cost; }

 private:
  nanoseconds max_cost_;
  nanoseconds average_;
};

/// The CPU from which `to` should pull within a level: the one with most runnable tasks (then most load, then the next
/// behind `to`) that has at least two, and at least two more than `to`. kernel: find_busiest_queue, simplified.
std::optional<unsigned> busiest_cpu(const machine_view& machine, unsigned to, balance_level level);

/// A task to move by dequeue(migrate) and enqueue(migrate).
struct pull_decision {
  unsigned from = 0;
  sched_entity* entity = nullptr;  ///< nullptr: the queue is too long, but nothing there may move
  balance_level level = balance_level::machine;
};

/// Looks level by level, nearest first; the first level with a movable task wins. Nothing: the levels are balanced.
std::optional<pull_decision> find_pull(scheduler& policy, const machine_view& machine, unsigned to, nanoseconds now,
                                       cache_heat heat = cache_heat::respect);

}  // namespace vmxsys::models
