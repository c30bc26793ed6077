#pragma once
// The completely fair scheduler of Linux 2.6.39 ... 6.5: entities in order of virtual runtime, wakeup preemption, the
// three marks ("buddies") that steer a pick, and directed yield on top of the marks.
//
// Source: kernel/sched/fair.c of v3.4, v5.10 and v6.1 (cfs_tunables names the generation). Tasks of one CPU compete in
// one flat queue. A cfs_queue is one kernel cfs_rq and knows nothing about CPUs, so that groups can be added as
// entities that own a cfs_queue.

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <cstdint>
#include <deque>
#include <memory>

#include "cfs_arithmetic.hpp"
#include "cfs_tunables.hpp"
#include "scheduler.hpp"

namespace vmxsys::models {

class cfs_queue;

/// SCHED_NORMAL, SCHED_BATCH, SCHED_IDLE.
enum class fair_policy { normal, batch, idle };

struct timeline_hook_tag;
struct recency_hook_tag;
using cfs_timeline_hook =
    boost::intrusive::set_base_hook<boost::intrusive::tag<timeline_hook_tag>, boost::intrusive::optimize_size<true>>;
using cfs_recency_hook = boost::intrusive::list_base_hook<boost::intrusive::tag<recency_hook_tag>>;

/// A task of the fair class. kernel: struct sched_entity.
class cfs_entity final : public sched_entity, public cfs_timeline_hook, public cfs_recency_hook {
 public:
  cfs_entity(std::uint32_t entity_id, int entity_nice);
  /// Leaves its queue if it is still on one.
  ~cfs_entity() override;

  virtual_time vruntime() const noexcept { return vruntime_; }
  /// Puts the entity elsewhere on the virtual time line, keeping the tree in order; for tests and what-if studies.
  void set_vruntime(virtual_time v);

  /// CPU time it has had in its life, and since it was picked. Up to the queue's last update.
  nanoseconds sum_exec() const noexcept { return sum_exec_; }
  nanoseconds ran_since_pick() const noexcept { return sum_exec_ - sum_exec_when_picked_; }

  const load_weight& load() const noexcept { return load_; }

  fair_policy policy() const noexcept { return policy_; }
  /// Only while it is on no queue. SCHED_IDLE has weight 3 at every nice value.
  void set_policy(fair_policy policy);

  /// The queue it is on or was on last; nullptr before the first enqueue.
  cfs_queue* queue() const noexcept { return queue_; }

 private:
  friend class cfs_queue;

  load_weight load_;
  fair_policy policy_ = fair_policy::normal;
  virtual_time vruntime_ = 0;  // relative to the floor of its queue while it is being migrated
  bool relative_ = false;
  nanoseconds exec_start_ = 0;  // until when its run time has been accounted; 0 also: moved here, not cache hot
  nanoseconds sum_exec_ = 0;
  nanoseconds sum_exec_when_picked_ = 0;
  enqueue_reason last_enqueue_ = enqueue_reason::fork;
  cfs_queue* queue_ = nullptr;
};

/// The three marks of a queue; each is on one entity at most.
enum class cfs_mark {
  next,  ///< this one is to run: a wakee that preempts, the target of a directed yield
  last,  ///< was preempted by a wakee
  skip,  ///< has yielded
};

/// What the tick finds out about the running entity.
enum class tick_verdict { keep, slice_over, too_far_ahead };

/// The tick's rule. `ideal` is the entity's slice, `ran` its time since the pick (ns), `lead` the signed distance of
/// its virtual time from the leftmost entity's. Both comparisons are strict, and the second one compares virtual with
/// wall time. kernel/sched/fair.c, v6.1: check_preempt_tick.
tick_verdict check_preempt_tick(nanoseconds ideal, nanoseconds ran, std::int64_t lead,
                                nanoseconds min_granularity) noexcept;

/// One run queue: a tree ordered by virtual runtime, FIFO among equals, and the running entity, which is not in the
/// tree. kernel: struct cfs_rq. No operation allocates.
class cfs_queue {
 public:
  explicit cfs_queue(const cfs_tunables& tunables) : tunables_(&tunables) {}
  cfs_queue(const cfs_queue&) = delete;
  cfs_queue& operator=(const cfs_queue&) = delete;
  ~cfs_queue();

  unsigned nr_running() const noexcept { return nr_running_; }
  std::uint64_t total_weight() const noexcept { return total_weight_; }
  /// The running entity, nullptr if none or if it has been dequeued.
  cfs_entity* current() const noexcept;
  cfs_entity* leftmost() const noexcept;
  virtual_time min_vruntime() const noexcept { return min_vruntime_; }
  void set_min_vruntime(virtual_time v) noexcept { min_vruntime_ = v; }  ///< for tests

  cfs_entity* marked(cfs_mark mark) const noexcept;
  /// Moves the mark. An entity of SCHED_IDLE is never made next or last. kernel: set_next_buddy, set_last_buddy,
  /// set_skip_buddy.
  void set_mark(cfs_mark mark, cfs_entity& entity) noexcept;
  /// Takes every mark the entity has. kernel: clear_buddies.
  void clear_marks(const cfs_entity& entity) noexcept;

  /// Charges the running entity for its time up to `now` and moves the floor. kernel: update_curr.
  void update_current(nanoseconds now) noexcept;

  /// kernel: enqueue_entity and, for a fork, task_fork_fair with the running entity as the parent.
  void enqueue(cfs_entity& entity, enqueue_reason why, nanoseconds now);
  /// kernel: dequeue_entity.
  void dequeue(cfs_entity& entity, dequeue_reason why, nanoseconds now);

  /// The period in which each of n entities runs once, in ns. kernel: __sched_period.
  nanoseconds period(unsigned n) const noexcept;
  /// The wall time (ns) the entity may run before a tick takes it off, as if it were queued here. kernel: sched_slice.
  nanoseconds slice(const cfs_entity& entity) const noexcept;
  /// The same in virtual time. kernel: sched_vslice.
  virtual_time vslice(const cfs_entity& entity) const noexcept;

  /// Where a new (`initial`) or waking entity would be put. kernel: place_entity.
  virtual_time place_entity(const cfs_entity& entity, bool initial, nanoseconds now) const noexcept;

  /// wakeup_granularity in the virtual time of an entity. kernel: wakeup_gran.
  virtual_time wakeup_granularity(const cfs_entity& entity) const noexcept;
  /// -1: `candidate` is not left of `running`; 0: left, but within its wakeup granularity; 1: further left.
  /// kernel: wakeup_preempt_entity.
  int preempt_order(const cfs_entity& running, const cfs_entity& candidate) const noexcept;

  /// The entity that would run next, as marks and virtual times stand; changes nothing. nullptr if the queue is empty.
  /// kernel: pick_next_entity.
  cfs_entity* choose() const noexcept;

  /// choose() and the switch to it. kernel: pick_next_task_fair with put_prev_entity and set_next_entity.
  cfs_entity* pick_next(nanoseconds now);
  /// kernel: task_tick_fair. True: reschedule.
  bool tick(nanoseconds now);
  /// kernel: check_preempt_wakeup. True: reschedule.
  bool check_preempt(cfs_entity& woken, nanoseconds now);
  /// kernel: yield_task_fair.
  void yield(nanoseconds now);

  /// kernel: can_migrate_task and task_hot, over the queue from the least to the most recently run entity.
  cfs_entity* detach_candidate(unsigned to, bool destination_busy, nanoseconds now, cache_heat heat) noexcept;

 private:
  friend class cfs_entity;

  struct by_vruntime {
    bool operator()(const cfs_entity& a, const cfs_entity& b) const noexcept {
      return runs_before(a.vruntime_, b.vruntime_);
    }
  };
  using timeline =
      boost::intrusive::multiset<cfs_entity, boost::intrusive::base_hook<cfs_timeline_hook>,
                                 boost::intrusive::compare<by_vruntime>, boost::intrusive::constant_time_size<false>>;
  using recency = boost::intrusive::list<cfs_entity, boost::intrusive::base_hook<cfs_recency_hook>,
                                         boost::intrusive::constant_time_size<false>>;

  cfs_entity*& slot(cfs_mark mark) noexcept;
  cfs_entity* second_choice(const cfs_entity* best) const noexcept;
  bool close_enough(const cfs_entity* candidate, const cfs_entity& left) const noexcept;
  void adopt(cfs_entity& entity) noexcept;
  void unlink(cfs_entity& entity) noexcept;
  void put_current_back() noexcept;
  void make_current(cfs_entity& entity, nanoseconds now) noexcept;
  void repick(cfs_entity& entity) noexcept;
  void update_min_vruntime() noexcept;
  bool cache_hot(const cfs_entity& entity, bool destination_busy, nanoseconds now) const noexcept;
  bool only_idle_policy() const noexcept { return nr_idle_policy_ == nr_running_; }

  const cfs_tunables* tunables_;
  timeline timeline_;              // runnable entities but the current one
  recency recency_;                // all runnable entities, the last picked or enqueued first
  cfs_entity* current_ = nullptr;  // may have been dequeued, until the next pick
  cfs_entity* next_ = nullptr;
  cfs_entity* last_ = nullptr;
  cfs_entity* skip_ = nullptr;
  virtual_time min_vruntime_ = 0;
  std::uint64_t total_weight_ = 0;
  unsigned nr_running_ = 0;
  unsigned nr_idle_policy_ = 0;
};

/// The policy: one cfs_queue per CPU.
class cfs_scheduler final : public scheduler {
 public:
  cfs_scheduler(unsigned cpus, const cfs_tunables& tunables);

  std::unique_ptr<sched_entity> make_entity(std::uint32_t id, int nice) override;
  void enqueue(unsigned cpu, sched_entity& entity, enqueue_reason why, nanoseconds now) override;
  void dequeue(unsigned cpu, sched_entity& entity, dequeue_reason why, nanoseconds now) override;
  sched_entity* pick_next(unsigned cpu, nanoseconds now) override;
  bool tick(unsigned cpu, nanoseconds now) override;
  bool check_preempt(unsigned cpu, sched_entity& woken, nanoseconds now) override;
  void yield(unsigned cpu, nanoseconds now) override;
  bool yield_to(unsigned cpu, sched_entity& target, nanoseconds now) override;
  unsigned nr_running(unsigned cpu) const override;
  sched_entity* current(unsigned cpu) const override;
  sched_entity* detach_candidate(unsigned from, unsigned to, nanoseconds now,
                                 cache_heat heat = cache_heat::respect) override;

  const cfs_tunables& tunables() const noexcept { return tunables_; }
  cfs_queue& queue(unsigned cpu) { return queues_[cpu]; }
  const cfs_queue& queue(unsigned cpu) const { return queues_[cpu]; }

 private:
  cfs_tunables tunables_;
  std::deque<cfs_queue> queues_;  // by CPU
};

}  // namespace vmxsys::models
