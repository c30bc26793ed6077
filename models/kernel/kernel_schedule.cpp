#include <algorithm>
#include <optional>
#include <utility>

#include "code.hpp"
#include "kernel.hpp"
#include "kernel_facts.hpp"

// Scheduling: the policy decides, this takes the locks, moves the strands and pays.
namespace vmxsys::models {

namespace isa = cpu::isa;

// Only this frame stays while the thread is off its CPU; what comes before the switch is gone by then.
cpu::program kernel::schedule() {
  auto here = co_await isa::in(code::schedule);
  thread* next = co_await choose_next();
  if (next == nullptr) co_return;
  const per_cpu& p = cpus_[index_of(co_await isa::this_cpu())];
  co_await isa::switch_to(next->strand, p.calls ? &p.calls->occupant : nullptr);
  co_await finish_switch();
}

// Picks and prepares the switch. Null: the current thread goes on. Else the queue's lock stays taken across the switch,
// and the next thread releases it.
cpu::task<thread*> kernel::choose_next() {
  const unsigned cpu = index_of(co_await isa::this_cpu());
  per_cpu& p = cpus_[cpu];
  thread& prev = *p.current;
  co_await isa::compute(costs().schedule);
  co_await p.queue_lock->acquire();
  prev.preempted = p.preempt_requested && prev.state == thread_state::runnable;
  if (!prev.idle() && prev.state == thread_state::sleeping) {
    policy_->dequeue(cpu, *prev.entity, dequeue_reason::sleep, now_ns());
    co_await isa::compute(costs().dequeue);
  }
  co_await isa::compute(costs().pick_next);
  sched_entity* picked = policy_->pick_next(cpu, now_ns());
  if (picked == nullptr) {
    const bool pulled = co_await pull_task(p, balance_reason::newly_idle);
    if (pulled) picked = policy_->pick_next(cpu, now_ns());
  }
  p.need_resched = false;
  p.preempt_requested = false;
  thread& next = picked != nullptr ? *static_cast<thread*>(picked->owner) : *p.idle;
  if (&next == &prev) {
    co_await p.queue_lock->release();
    co_return nullptr;
  }
  co_await leave(p, prev, next);
  co_return &next;
}

cpu::program kernel::leave(per_cpu& p, thread& prev, thread& next) {
  const char how = prev.state == thread_state::sleeping ? 'S' : prev.preempted ? 'P' : 'R';
  record(p.index, sched_switch_fact{id_, static_cast<std::uint16_t>(p.index), prev.pid, next.pid, how});
  if (prev.notifier != nullptr) co_await prev.notifier->sched_out(prev);
  if (prev.extended_state_loaded) {
    auto here = co_await isa::in(code::fpu_switch);
    co_await isa::xsave();
    prev.extended_state_loaded = false;
  }
  const bool other_space = next.address_space != 0 && next.address_space != prev.address_space;
  co_await isa::compute(costs().switch_to + (other_space ? costs().switch_mm : cycles{0}));
  p.current = &next;
  p.switched_from = &prev;
  next.on_cpu = true;
  p.queue_lock->hand_over(next.strand, hw_.time().now());
}

// The first thing a thread does on the CPU that it was switched to.
cpu::program kernel::finish_switch() {
  auto here = co_await isa::in(code::finish_task_switch);
  per_cpu& p = cpus_[index_of(co_await isa::this_cpu())];
  thread& self = *p.current;
  // A first call while the stacks were being switched has made the subject too late for the switch to move it.
  if (p.calls && p.calls->occupant.awaited() != &self.strand) p.calls->occupant.await(&self.strand, hw_.time().now());
  std::exchange(p.switched_from, nullptr)->on_cpu = false;
  co_await p.queue_lock->release();
  if (!self.idle() && !p.tick_armed) co_await start_tick(p);
  if (self.notifier != nullptr) co_await self.notifier->sched_in(self);
}

cpu::program kernel::resched(unsigned cpu) {
  per_cpu& p = cpus_[cpu];
  if (p.need_resched) co_return;
  p.need_resched = true;
  p.preempt_requested = true;
  if (cpu != index_of(co_await isa::this_cpu())) co_await send_ipi(cpu, ipi(vector::reschedule));
}

unsigned kernel::select_cpu(thread& t, unsigned this_cpu, unsigned& looked_at) {
  looked_at = 1;
  const auto& allowed = t.entity->affinity;
  if (!allowed.empty() && std::count(allowed.begin(), allowed.end(), true) == 1)
    return static_cast<unsigned>(std::find(allowed.begin(), allowed.end(), true) - allowed.begin());
  wakee_flips& flips = cpus_[this_cpu].current->flips;
  flips.record(t.pid, now_ns());
  wake_query wake;
  wake.this_cpu = this_cpu;
  wake.prev_cpu = t.entity->cpu;
  wake.task_load = 1024;
  idle_query idle;
  idle.prev_cpu = t.entity->cpu;
  idle.task = t.entity.get();
  const idle_choice choice = select_cpu_for_wakeup(*this, wake, idle, flips.count(), t.flips.count(), cache_size());
  looked_at += choice.cpus_scanned;
  return choice.cpu;
}

cpu::task<bool> kernel::wake_up(thread& t) {
  auto here = co_await isa::in(code::try_to_wake_up);
  const bool enabled = co_await irq_save();
  co_await isa::compute(costs().try_to_wake_up);
  bool woken = false;
  while (!woken && t.state == thread_state::sleeping) {
    if (t.entity->on_rq)
      woken = co_await wake_queued(t);
    else if (t.on_cpu)
      co_await isa::pause();  // off its queue, but not switched away from yet
    else
      woken = co_await wake_sleeper(t);
  }
  co_await irq_restore(enabled);
  co_return woken;
}

// On its way to sleep and still queued: taking the mark back under the lock is all.
cpu::task<bool> kernel::wake_queued(thread& t) {
  const unsigned on = t.entity->cpu;
  bool woken = false;
  co_await cpus_[on].queue_lock->acquire();
  if (t.state == thread_state::sleeping && t.entity->on_rq && t.entity->cpu == on) {
    woken = true;
    t.state = thread_state::runnable;
    co_await announce_wakeup(t, on);
  }
  co_await cpus_[on].queue_lock->release();
  co_return woken;
}

// Chooses a CPU and queues the thread there. Another waker may have been faster, and the thread may even have run and
// gone back to sleep meanwhile: everything is looked at again under the lock.
cpu::task<bool> kernel::wake_sleeper(thread& t) {
  const unsigned this_cpu = index_of(co_await isa::this_cpu());
  unsigned looked_at = 0;
  const unsigned target = select_cpu(t, this_cpu, looked_at);
  co_await isa::compute(costs().select_cpu * looked_at);
  bool woken = false;
  co_await cpus_[target].queue_lock->acquire();
  if (t.state == thread_state::sleeping && !t.entity->on_rq && !t.on_cpu) {
    woken = true;
    t.state = thread_state::runnable;
    if (t.entity->cpu != target)
      record(this_cpu, sched_migrate_fact{id_, t.pid, static_cast<std::uint16_t>(t.entity->cpu),
                                          static_cast<std::uint16_t>(target)});
    policy_->enqueue(target, *t.entity, enqueue_reason::wakeup, now_ns());
    co_await isa::compute(costs().enqueue);
    co_await announce_wakeup(t, target);
  }
  co_await cpus_[target].queue_lock->release();
  co_return woken;
}

// With the queue's lock held: the wake-up is a fact, and what runs there may have to give way.
cpu::program kernel::announce_wakeup(thread& t, unsigned target) {
  per_cpu& p = cpus_[target];
  const unsigned this_cpu = index_of(co_await isa::this_cpu());
  record(this_cpu, sched_wakeup_fact{id_, static_cast<std::uint16_t>(target), t.pid});
  if (p.need_resched || p.current == &t) co_return;
  if (p.current->idle() || policy_->check_preempt(target, *t.entity, now_ns())) co_await resched(target);
}

cpu::program kernel::lock_both(unsigned a, unsigned b) {
  if (a > b) std::swap(a, b);
  co_await cpus_[a].queue_lock->acquire();
  if (a != b) co_await cpus_[b].queue_lock->acquire();
}

cpu::program kernel::unlock_both(unsigned a, unsigned b) {
  if (a != b) co_await cpus_[b].queue_lock->release();
  co_await cpus_[a].queue_lock->release();
}

cpu::task<int> kernel::yield_to(thread& target, bool preempt, yield_to_rules rules) {
  auto here = co_await isa::in(code::yield_to);
  const bool enabled = co_await irq_save();
  const unsigned cpu = index_of(co_await isa::this_cpu());
  thread& self = current(cpu);
  yield_to_completion done;
  unsigned other = 0;  // the target's queue
  for (;;) {
    other = target.entity->cpu;
    const yield_to_verdict early = yield_to_before_locks(nr_running(cpu), nr_running(other), rules);
    if (!early.go_on) {
      done.outcome = early.outcome;
      break;
    }
    co_await lock_both(cpu, other);
    if (target.entity->cpu != other) {
      co_await unlock_both(cpu, other);
      continue;
    }
    co_await isa::compute(costs().yield_to);
    yield_to_target seen;
    seen.running = target.on_cpu;
    seen.runnable = target.state == thread_state::runnable && target.entity->on_rq;
    const yield_to_verdict verdict = yield_to_under_locks(seen);
    done.outcome = verdict.outcome;
    if (verdict.go_on)
      done = yield_to_after_policy(policy_->yield_to(cpu, *target.entity, now_ns()), preempt, cpu == other);
    if (done.reschedule_target_cpu) co_await resched(other);
    co_await unlock_both(cpu, other);
    break;
  }
  record(cpu, yield_to_fact{id_, static_cast<std::uint16_t>(cpu), self.pid, target.pid,
                            static_cast<std::uint16_t>(other), static_cast<std::uint8_t>(done.outcome)});
  if (done.schedule_self) co_await schedule();
  co_await irq_restore(enabled);
  co_return kernel_result(done.outcome);
}

cpu::program kernel::yield() {
  auto here = co_await isa::in(code::do_sched_yield);
  const bool enabled = co_await irq_save();
  const unsigned cpu = index_of(co_await isa::this_cpu());
  co_await cpus_[cpu].queue_lock->acquire();
  policy_->yield(cpu, now_ns());
  co_await cpus_[cpu].queue_lock->release();
  co_await schedule();
  co_await irq_restore(enabled);
}

// Looks for a thread to take over from a longer queue. With newly_idle the own lock is held on entry and on return, but
// not while looking; with periodic it is not.
cpu::task<bool> kernel::pull_task(per_cpu& p, balance_reason why) {
  const bool locked = why == balance_reason::newly_idle;
  if (config_.cpus == 1 || (locked && !p.idle_time.worth(500'000))) co_return false;
  auto here = co_await isa::in(code::load_balance);
  if (locked) co_await p.queue_lock->release();
  co_await isa::compute(costs().balance * config_.cpus);
  const cache_heat heat = p.balance.heat({.hz = config_.hz});
  const std::optional<pull_decision> found = find_pull(*policy_, *this, p.index, now_ns(), heat);
  if (!found || found->entity == nullptr) {
    if (found)
      p.balance.failed(why);
    else
      p.balance.nothing_to_pull();
    if (locked) co_await p.queue_lock->acquire();
    co_return locked&& nr_running(p.index) > 0;  // a thread may have been woken here meanwhile
  }
  co_await lock_both(p.index, found->from);
  sched_entity* moved =
      nr_running(found->from) >= 2 ? policy_->detach_candidate(found->from, p.index, now_ns(), heat) : nullptr;
  if (moved != nullptr) {
    policy_->dequeue(found->from, *moved, dequeue_reason::migrate, now_ns());
    policy_->enqueue(p.index, *moved, enqueue_reason::migrate, now_ns());
    co_await isa::compute(costs().dequeue + costs().enqueue);
    record(p.index, sched_migrate_fact{id_, static_cast<thread*>(moved->owner)->pid,
                                       static_cast<std::uint16_t>(found->from), static_cast<std::uint16_t>(p.index)});
    p.balance.pulled();
    if (!locked && !p.need_resched && policy_->check_preempt(p.index, *moved, now_ns()))
      p.need_resched = p.preempt_requested = true;
  } else {
    p.balance.failed(why);
  }
  co_await cpus_[found->from].queue_lock->release();
  if (!locked) co_await p.queue_lock->release();
  co_return moved != nullptr || nr_running(p.index) > 0;
}

}  // namespace vmxsys::models
