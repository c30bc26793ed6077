#pragma once
// On which CPU a woken or new task is put: pure decisions over a view of the machine.
//
// Source: kernel/sched/fair.c, v6.1: record_wakee, wake_wide, wake_affine, select_idle_sibling, update_idle_cpu_scan;
// kernel/sched/core.c, v6.1: ttwu_queue_cond. That version's defaults: WA_IDLE, WA_WEIGHT, WA_BIAS and SIS_UTIL on.

#include <cstdint>
#include <optional>

#include "scheduler.hpp"

namespace vmxsys::models {

/// What the choice of a CPU and balancing may look at. CPU numbers are 0 ... cpu_count()-1. Loads are in the kernel's
/// unit: a nice-0 task that always runs is 1024.
class machine_view {
 public:
  virtual ~machine_view() = default;
  virtual unsigned cpu_count() const = 0;
  /// Nothing runs or waits there and, if this kernel is itself a guest, its vCPU is not preempted.
  /// kernel: available_idle_cpu.
  virtual bool idle(unsigned cpu) const = 0;
  /// Runnable tasks, the running one included.
  virtual unsigned nr_running(unsigned cpu) const = 0;
  virtual std::uint64_t load(unsigned cpu) const = 0;
  /// Same last-level cache; true for a CPU and itself.
  virtual bool shares_cache(unsigned a, unsigned b) const = 0;
  /// Hyper-threads of one core; true for a CPU and itself.
  virtual bool shares_core(unsigned a, unsigned b) const { return a == b; }
  /// Compute capacity, 1024 for the strongest CPU.
  virtual std::uint64_t capacity(unsigned) const { return 1024; }
  /// The hint "this cache may have a wholly idle core"; only used with hyper-threads.
  virtual bool idle_core_hint(unsigned) const { return false; }
};

/// How often a task wakes a different task than the last time: the kernel's measure of one-to-many wakers.
/// kernel: record_wakee.
class wakee_flips {
 public:
  /// The owner wakes `wakee` at `now`; the count is halved at most once a second.
  void record(std::uint32_t wakee, nanoseconds now) noexcept;
  unsigned count() const noexcept { return count_; }
  void set_count(unsigned count) noexcept { count_ = count; }

 private:
  unsigned count_ = 0;
  nanoseconds decayed_ = 0;
  std::optional<std::uint32_t> last_wakee_;
};

/// True if waker and wakee belong to so wide a circle that pulling them together would overload one cache.
/// `llc_size` is the number of CPUs under one last-level cache. kernel: wake_wide.
bool wake_wide(unsigned waker_flips, unsigned wakee_flips, unsigned llc_size) noexcept;

/// A wakeup from `this_cpu` of a task that last ran on `prev_cpu`.
struct wake_query {
  unsigned this_cpu = 0;
  unsigned prev_cpu = 0;
  bool sync = false;               ///< the waker is about to sleep
  std::uint64_t task_load = 0;     ///< of the wakee
  std::uint64_t current_load = 0;  ///< of the waker
  unsigned imbalance_pct = 117;    ///< of the lowest domain that holds both CPUs (110 for hyper-threads)
};

/// The first half of wake_affine: decides by idleness, or not at all. kernel: wake_affine_idle.
std::optional<unsigned> wake_affine_idle(const machine_view& machine, const wake_query& query);

/// The second half: this_cpu if it would be less loaded, else nothing. kernel: wake_affine_weight.
std::optional<unsigned> wake_affine_weight(const machine_view& machine, const wake_query& query);

/// this_cpu or prev_cpu. kernel: wake_affine.
unsigned wake_affine(const machine_view& machine, const wake_query& query);

/// How many CPUs of a cache a wakeup may scan for an idle one. `sum_util` is the summed utilisation of its `llc_size`
/// CPUs, 1024 each when full; 0 from about 85 % on. The kernel refreshes it at periodic balancing only.
/// kernel: update_idle_cpu_scan.
unsigned nr_idle_scan(std::uint64_t sum_util, unsigned llc_size, unsigned imbalance_pct = 117) noexcept;

/// A search for an idle CPU near `target`.
struct idle_query {
  unsigned target = 0;
  unsigned prev_cpu = 0;
  std::optional<unsigned> recent_cpu = std::nullopt;        ///< where it ran before prev_cpu
  std::optional<unsigned> kthread_waker_on = std::nullopt;  ///< the waker is a per-CPU kernel thread of this CPU
  unsigned scan_limit = ~0u;                                ///< nr_idle_scan() of the cache
  const sched_entity* task = nullptr;                       ///< for its affinity; nullptr: every CPU
};

/// What the search found; the counts are what the kernel charges for.
struct idle_choice {
  unsigned cpu = 0;                   ///< an idle CPU, or the target if none was found
  unsigned cpus_scanned = 0;          ///< in the cache scan
  bool clear_idle_core_hint = false;  ///< the hint was wrong
};

/// kernel: select_idle_sibling, with select_idle_smt and select_idle_cpu.
idle_choice select_idle_sibling(const machine_view& machine, const idle_query& query);

/// The whole decision for a wakeup. The waker's count already includes this wakeup (wakee_flips::record).
/// kernel: select_task_rq_fair with WF_TTWU.
idle_choice select_cpu_for_wakeup(const machine_view& machine, const wake_query& wake, const idle_query& idle,
                                  unsigned waker_flips, unsigned wakee_flips, unsigned llc_size);

/// For a new task: an idle CPU, as near to `this_cpu` as possible; else the one with the fewest runnable tasks, then
/// the least load. Simplified from kernel: find_idlest_cpu, which descends the domains group by group.
unsigned select_cpu_for_fork(const machine_view& machine, unsigned this_cpu, const sched_entity* task = nullptr);

/// How the waker hands a task over to a CPU.
enum class wakeup_route {
  local,      ///< own queue, own lock
  direct,     ///< takes the other CPU's queue lock; interrupt only if the wakee preempts
  wake_list,  ///< puts it on the other CPU's list and sends CALL_FUNCTION_SINGLE, unless that CPU idles polling
};

/// kernel: ttwu_queue_cond.
wakeup_route route_wakeup(const machine_view& machine, unsigned waker_cpu, unsigned target_cpu);

}  // namespace vmxsys::models
