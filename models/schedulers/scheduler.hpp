#pragma once
// The policy interface of a CPU scheduler. A scheduler is a pure data structure: it keeps the run queues in order and
// decides who runs. The kernel that owns it takes the run-queue locks, sends the reschedule interrupts, switches the
// contexts and charges what all of that costs; nothing here takes time.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace vmxsys::models {

/// Nanoseconds on the scheduler clock of the kernel that owns the scheduler. Never runs backwards on one CPU.
using nanoseconds = std::uint64_t;

/// One schedulable thing: a thread, and later a group of threads. Made by scheduler::make_entity(), owned by the
/// caller, and must outlive its time on a queue. The scheduler keeps `cpu` and `on_rq`; the kernel only reads them.
class sched_entity {
 public:
  sched_entity(std::uint32_t entity_id, int entity_nice) : id(entity_id), nice(entity_nice) {}
  sched_entity(const sched_entity&) = delete;
  sched_entity& operator=(const sched_entity&) = delete;
  virtual ~sched_entity() = default;

  /// True where affinity lets this entity run on `target`.
  bool allowed_on(unsigned target) const { return affinity.empty() || (target < affinity.size() && affinity[target]); }

  std::uint32_t id;            ///< any number; only ever shown, never used to order
  int nice = 0;                ///< -20 (most CPU time) ... 19 (least); fixed while the entity is queued
  unsigned cpu = 0;            ///< the CPU whose queue holds it, or held it last
  bool on_rq = false;          ///< runnable: queued or current
  std::uint16_t group = 0;     ///< the VM or process it belongs to, as its owner numbers them; 0: none
  void* owner = nullptr;       ///< the kernel's thread; the scheduler never looks at it
  std::vector<bool> affinity;  ///< by CPU number; empty means every CPU
};

enum class enqueue_reason {
  fork,     ///< first time on any queue
  wakeup,   ///< was asleep, perhaps on another CPU
  migrate,  ///< was runnable on another CPU and has been dequeued with dequeue_reason::migrate
};

enum class dequeue_reason {
  sleep,    ///< blocks or exits
  migrate,  ///< stays runnable and is about to be enqueued on another CPU
};

/// Whether a recently run entity may be pulled although its data is probably still in the other CPU's cache.
enum class cache_heat { respect, ignore };

/// One class per policy. Calls that name a CPU are made by the kernel with that CPU's run-queue lock held; yield_to()
/// with the locks of both CPUs. `cpu` must be below cpu_count().
class scheduler {
 public:
  explicit scheduler(unsigned cpus) : cpu_count_(cpus) {}
  scheduler(const scheduler&) = delete;
  scheduler& operator=(const scheduler&) = delete;
  virtual ~scheduler() = default;

  unsigned cpu_count() const noexcept { return cpu_count_; }

  /// An entity of this policy. Only entities made by a scheduler may be given to it.
  virtual std::unique_ptr<sched_entity> make_entity(std::uint32_t id, int nice) = 0;

  /// Makes `entity` runnable on `cpu`. Never preempts by itself: ask check_preempt() afterwards.
  virtual void enqueue(unsigned cpu, sched_entity& entity, enqueue_reason why, nanoseconds now) = 0;

  /// Takes `entity` off the queue of `cpu`, also when it is the current one; it then stays the one that is being
  /// switched away from until the next pick_next() of this CPU, but current() no longer names it.
  virtual void dequeue(unsigned cpu, sched_entity& entity, dequeue_reason why, nanoseconds now) = 0;

  /// Puts the previous current entity back where the policy wants it, makes the chosen one current and returns it;
  /// nullptr means that the CPU has nothing to run. May choose the entity that was current before.
  virtual sched_entity* pick_next(unsigned cpu, nanoseconds now) = 0;

  /// The periodic tick of a CPU. True: the current entity has had its share, reschedule.
  virtual bool tick(unsigned cpu, nanoseconds now) = 0;

  /// True if `woken`, already enqueued on `cpu`, shall preempt what runs there; an idle CPU is always preempted. To be
  /// asked only if no reschedule of this CPU is pending yet. May leave marks that steer the next pick.
  virtual bool check_preempt(unsigned cpu, sched_entity& woken, nanoseconds now) = 0;

  /// sched_yield() of the current entity of `cpu`. The kernel calls pick_next() afterwards.
  virtual void yield(unsigned cpu, nanoseconds now) = 0;

  /// The policy's part of a directed yield: the current entity of `cpu` gives way in favour of `target`, which may be
  /// queued on any CPU. False: nothing was done. The rest of the rule is in <vmxsys/models/schedulers/yield_to.hpp>.
  virtual bool yield_to(unsigned cpu, sched_entity& target, nanoseconds now) = 0;

  /// Runnable entities of `cpu`, the current one included.
  virtual unsigned nr_running(unsigned cpu) const = 0;

  /// The entity running on `cpu`; nullptr if it is idle or its entity has just been dequeued.
  virtual sched_entity* current(unsigned cpu) const = 0;

  /// Load balancing: a runnable entity that may be moved from `from` to `to` (not current, allowed there, not cache
  /// hot unless heat is ignored), or nullptr. Moving it is dequeue(migrate) and enqueue(migrate).
  virtual sched_entity* detach_candidate(unsigned from, unsigned to, nanoseconds now,
                                         cache_heat heat = cache_heat::respect) = 0;

 private:
  unsigned cpu_count_;
};

}  // namespace vmxsys::models
