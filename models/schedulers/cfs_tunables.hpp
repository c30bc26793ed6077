#pragma once
// The constants and feature switches of the completely fair scheduler, and the kernel generations they come from.

#include <cstdint>

#include "cfs_arithmetic.hpp"
#include "scheduler.hpp"

namespace vmxsys::models {

/// Kernel generations whose fair scheduler differs in ways this model shows.
enum class cfs_version { v3_4, v5_10, v6_1 };

/// The factor by which latency and granularities grow with the host: 1 + log2(min(CPUs, 8)), so 1 for one CPU, 2 for
/// 2-3, 3 for 4-7, 4 from 8 on. kernel/sched/fair.c: get_update_sysctl_factor (logarithmic scaling, the default).
unsigned tunable_scaling_factor(unsigned online_cpus) noexcept;

/// Everything that can be tuned. Times in ns; defaults are a one-CPU host of v6.1. Sources: kernel/sched/fair.c and
/// kernel/sched/features.h of the version named.
struct cfs_tunables {
  calc_delta_rule arithmetic = calc_delta_rule::v6_1;

  nanoseconds latency = 6'000'000;             ///< period in which every task runs once, up to nr_latency tasks
  nanoseconds min_granularity = 750'000;       ///< shortest slice
  nanoseconds wakeup_granularity = 1'000'000;  ///< threshold of wakeup preemption and of the buddies
  nanoseconds idle_min_granularity = 750'000;  ///< shortest slice of a SCHED_IDLE task beside others; never scaled
  nanoseconds migration_cost = 500'000;        ///< ran within this time: cache hot; 0: never hot
  unsigned nr_latency = 8;                     ///< latency / min_granularity

  bool gentle_fair_sleepers = true;  ///< a sleeper gets half the latency as credit, not all of it
  bool start_debit = true;           ///< a new task starts one slice to the right
  bool next_buddy = false;           ///< mark every wakee as next, not only one that preempts
  bool last_buddy = true;            ///< remember the entity that a wakee preempted
  bool cache_hot_buddy = true;       ///< marked tasks stay when the pulling CPU is busy
  bool wakeup_preemption = true;     ///< wakees may preempt at all
  bool alt_period = true;            ///< v6.1: the period counts all tasks of the CPU, not of the group
  bool base_slice = true;            ///< v6.1: no slice below min_granularity
  bool idle_entities = true;         ///< v5.15+: SCHED_IDLE has its own credit and smallest slice

  /// Picking the same entity again counts as a new pick: its slice starts anew and its marks go. Up to v3.14 every
  /// schedule() put the running task back first; since v3.15 (start of slice) a task that is picked again simply goes
  /// on. The marks went with every pick until v5.13 and go only with a change of task since v5.14.
  bool repick_restarts_slice = false;
  bool repick_clears_marks = false;

  /// A sleep longer than this loses the old virtual time, because the distance could have wrapped; v6.1: 2^63/1024 ns
  /// (104 days). 0: no such rule.
  nanoseconds long_sleep = std::uint64_t{1} << 53;

  /// The defaults of a kernel generation on a host with that many online CPUs (1 or more).
  static cfs_tunables of(cfs_version version, unsigned online_cpus);
};

}  // namespace vmxsys::models
