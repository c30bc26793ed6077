#pragma once
// Round robin with a fixed quantum: the simplest policy, and the shortest example of how to write one.
//
// A FIFO per CPU, nice values ignored. A woken entity goes to the tail and never preempts; at the first tick at or
// after the end of its quantum the running entity goes to the tail, if another waits. Directed yield: the target goes
// to the head of its queue, the caller to the tail of its own. The real-time round robin of Linux (kernel/sched/rt.c,
// SCHED_RR) is this rule per priority, with 100 ms.

#include <boost/intrusive/list.hpp>
#include <memory>
#include <vector>

#include "scheduler.hpp"

namespace vmxsys::models {

/// Times in ns. The quantum's default is our choice.
struct round_robin_tunables {
  nanoseconds quantum = 10'000'000;
  nanoseconds migration_cost = 500'000;  ///< ran within this time: cache hot (as Linux)
};

using round_robin_hook = boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

/// An entity of round_robin_scheduler.
class round_robin_entity final : public sched_entity, public round_robin_hook {
 public:
  using sched_entity::sched_entity;

 private:
  friend class round_robin_scheduler;
  nanoseconds quantum_start_ = 0;  // when it was picked
  nanoseconds last_ran_ = 0;       // when it was put back
  bool has_run_here_ = false;      // since it came to this CPU
};

class round_robin_scheduler : public scheduler {
 public:
  explicit round_robin_scheduler(unsigned cpus, const round_robin_tunables& tunables = {});
  ~round_robin_scheduler() override;

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

 private:
  using fifo = boost::intrusive::list<round_robin_entity, boost::intrusive::constant_time_size<false>>;
  struct run_queue {
    fifo waiting;  // head runs next; the current entity is not in it
    round_robin_entity* current = nullptr;
    unsigned nr_running = 0;
    bool gives_way = false;  // the current entity has yielded or used up its quantum
  };

  round_robin_tunables tunables_;
  std::vector<run_queue> queues_;  // by CPU
};

}  // namespace vmxsys::models
