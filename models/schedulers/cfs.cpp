#include "cfs.hpp"

#include <algorithm>
#include <cassert>

namespace vmxsys::models {
namespace {

cfs_entity& fair(sched_entity& entity) { return static_cast<cfs_entity&>(entity); }

}  // namespace

// --- cfs_entity

cfs_entity::cfs_entity(std::uint32_t entity_id, int entity_nice)
    : sched_entity(entity_id, entity_nice), load_(load_weight::of_nice(entity_nice)) {}

cfs_entity::~cfs_entity() {
  if (on_rq) queue_->unlink(*this);
}

void cfs_entity::set_vruntime(virtual_time v) {
  const bool in_tree = static_cast<const cfs_timeline_hook&>(*this).is_linked();
  if (in_tree) queue_->timeline_.erase(queue_->timeline_.iterator_to(*this));
  vruntime_ = v;
  if (in_tree) queue_->timeline_.insert(*this);
}

void cfs_entity::set_policy(fair_policy policy) {
  assert(!on_rq);
  policy_ = policy;
  load_ =
      policy == fair_policy::idle ? load_weight{idle_policy_weight, idle_policy_inverse} : load_weight::of_nice(nice);
}

// --- cfs_queue: marks and accounting

cfs_queue::~cfs_queue() {
  timeline_.clear();
  recency_.clear_and_dispose([](cfs_entity* entity) { entity->on_rq = false; });
}

cfs_entity* cfs_queue::current() const noexcept { return current_ && current_->on_rq ? current_ : nullptr; }

cfs_entity* cfs_queue::leftmost() const noexcept {
  return timeline_.empty() ? nullptr : const_cast<cfs_entity*>(&*timeline_.begin());
}

cfs_entity*& cfs_queue::slot(cfs_mark mark) noexcept {
  return mark == cfs_mark::next ? next_ : mark == cfs_mark::last ? last_ : skip_;
}

cfs_entity* cfs_queue::marked(cfs_mark mark) const noexcept {
  return mark == cfs_mark::next ? next_ : mark == cfs_mark::last ? last_ : skip_;
}

void cfs_queue::set_mark(cfs_mark mark, cfs_entity& entity) noexcept {
  if (mark != cfs_mark::skip && entity.policy_ == fair_policy::idle) return;
  slot(mark) = &entity;
}

void cfs_queue::clear_marks(const cfs_entity& entity) noexcept {
  for (const cfs_mark mark : {cfs_mark::next, cfs_mark::last, cfs_mark::skip})
    if (slot(mark) == &entity) slot(mark) = nullptr;
}

void cfs_queue::update_min_vruntime() noexcept {
  const cfs_entity* running = current();
  const cfs_entity* left = leftmost();
  min_vruntime_ =
      next_min_vruntime(min_vruntime_, running ? std::optional<virtual_time>(running->vruntime_) : std::nullopt,
                        left ? std::optional<virtual_time>(left->vruntime_) : std::nullopt);
}

void cfs_queue::update_current(nanoseconds now) noexcept {
  cfs_entity* running = current();
  if (!running || now <= running->exec_start_) return;
  const nanoseconds ran = now - running->exec_start_;
  running->exec_start_ = now;
  running->sum_exec_ += ran;
  running->vruntime_ += delta_fair(tunables_->arithmetic, ran, running->load_);
  update_min_vruntime();
}

// --- cfs_queue: shares and placement

nanoseconds cfs_queue::period(unsigned n) const noexcept {
  return n > tunables_->nr_latency ? n * tunables_->min_granularity : tunables_->latency;
}

nanoseconds cfs_queue::slice(const cfs_entity& entity) const noexcept {
  const bool guest = !entity.on_rq;
  const std::uint64_t weight = total_weight_ + (guest ? entity.load_.weight : 0);
  const nanoseconds share = calc_delta(tunables_->arithmetic, period(nr_running_ + (guest ? 1 : 0)),
                                       entity.load_.weight, load_weight::of_sum(tunables_->arithmetic, weight));
  if (!tunables_->base_slice) return share;
  const bool idle_beside_others =
      tunables_->idle_entities && entity.policy_ == fair_policy::idle && !only_idle_policy();
  return std::max(share, idle_beside_others ? tunables_->idle_min_granularity : tunables_->min_granularity);
}

virtual_time cfs_queue::vslice(const cfs_entity& entity) const noexcept {
  return delta_fair(tunables_->arithmetic, slice(entity), entity.load_);
}

virtual_time cfs_queue::place_entity(const cfs_entity& entity, bool initial, nanoseconds now) const noexcept {
  virtual_time v = min_vruntime_;
  if (initial) {
    if (tunables_->start_debit) v += vslice(entity);
  } else {
    const bool idle = tunables_->idle_entities && entity.policy_ == fair_policy::idle;
    const nanoseconds credit = idle ? tunables_->min_granularity : tunables_->latency;
    v -= tunables_->gentle_fair_sleepers ? credit / 2 : credit;
  }
  const bool long_sleeper = tunables_->long_sleep != 0 && entity.exec_start_ != 0 && now > entity.exec_start_ &&
                            now - entity.exec_start_ > tunables_->long_sleep;
  return long_sleeper ? v : later_vruntime(entity.vruntime_, v);
}

// Brings the virtual time of an entity that slept on another queue or is being migrated onto this queue's line.
void cfs_queue::adopt(cfs_entity& entity) noexcept {
  if (entity.relative_)
    entity.vruntime_ += min_vruntime_;
  else if (entity.queue_ && entity.queue_ != this)
    entity.vruntime_ += min_vruntime_ - entity.queue_->min_vruntime_;
  else
    return;
  entity.relative_ = false;
  entity.exec_start_ = 0;
}

void cfs_queue::enqueue(cfs_entity& entity, enqueue_reason why, nanoseconds now) {
  assert(!entity.on_rq);
  if (entity.queue_ && entity.queue_ != this && entity.queue_->current_ == &entity) entity.queue_->current_ = nullptr;
  update_current(now);
  adopt(entity);
  entity.queue_ = this;
  entity.last_enqueue_ = why;
  if (why == enqueue_reason::fork) {
    if (const cfs_entity* parent = current()) entity.vruntime_ = parent->vruntime_;
    entity.vruntime_ = place_entity(entity, true, now);
  } else if (why == enqueue_reason::wakeup) {
    entity.vruntime_ = place_entity(entity, false, now);
  }
  ++nr_running_;
  nr_idle_policy_ += entity.policy_ == fair_policy::idle;
  total_weight_ += entity.load_.weight;
  if (current_ != &entity) timeline_.insert(entity);
  recency_.push_front(entity);
  entity.on_rq = true;
}

// Takes the entity out of everything that points to it.
void cfs_queue::unlink(cfs_entity& entity) noexcept {
  clear_marks(entity);
  if (current_ == &entity)
    current_ = nullptr;
  else
    timeline_.erase(timeline_.iterator_to(entity));
  recency_.erase(recency_.iterator_to(entity));
  entity.on_rq = false;
  --nr_running_;
  nr_idle_policy_ -= entity.policy_ == fair_policy::idle;
  total_weight_ -= entity.load_.weight;
}

void cfs_queue::dequeue(cfs_entity& entity, dequeue_reason why, nanoseconds now) {
  assert(entity.on_rq && entity.queue_ == this);
  cfs_entity* switched_away = current_;
  update_current(now);
  unlink(entity);
  current_ = switched_away;
  if (why == dequeue_reason::migrate) {
    entity.vruntime_ -= min_vruntime_;
    entity.relative_ = true;
  }
  update_min_vruntime();
}

// --- cfs_queue: picking

virtual_time cfs_queue::wakeup_granularity(const cfs_entity& entity) const noexcept {
  return delta_fair(tunables_->arithmetic, tunables_->wakeup_granularity, entity.load_);
}

int cfs_queue::preempt_order(const cfs_entity& running, const cfs_entity& candidate) const noexcept {
  const std::int64_t lead = vruntime_lead(running.vruntime_, candidate.vruntime_);
  if (lead <= 0) return -1;
  return lead > static_cast<std::int64_t>(wakeup_granularity(candidate)) ? 1 : 0;
}

bool cfs_queue::close_enough(const cfs_entity* candidate, const cfs_entity& left) const noexcept {
  return candidate && preempt_order(*candidate, left) < 1;
}

// Who stands behind `best`; the running entity stands behind those in the tree that are level with it.
cfs_entity* cfs_queue::second_choice(const cfs_entity* best) const noexcept {
  cfs_entity* running = current();
  if (best == running) return leftmost();
  const auto after = std::next(timeline_.iterator_to(*best));
  cfs_entity* second = after == timeline_.end() ? nullptr : const_cast<cfs_entity*>(&*after);
  return !second || (running && runs_before(running->vruntime_, second->vruntime_)) ? running : second;
}

cfs_entity* cfs_queue::choose() const noexcept {
  cfs_entity* running = current();
  cfs_entity* left = leftmost();
  if (!left || (running && runs_before(running->vruntime_, left->vruntime_))) left = running;
  if (!left) return nullptr;

  if (close_enough(next_, *left)) return next_;
  if (close_enough(last_, *left)) return last_;
  if (skip_ != left) return left;
  cfs_entity* second = second_choice(left);
  return close_enough(second, *left) ? second : left;
}

void cfs_queue::put_current_back() noexcept {
  if (current()) timeline_.insert(*current_);
  current_ = nullptr;
}

void cfs_queue::make_current(cfs_entity& entity, nanoseconds now) noexcept {
  clear_marks(entity);
  timeline_.erase(timeline_.iterator_to(entity));
  entity.exec_start_ = now;
  entity.sum_exec_when_picked_ = entity.sum_exec_;
  current_ = &entity;
}

void cfs_queue::repick(cfs_entity& entity) noexcept {
  if (tunables_->repick_clears_marks) clear_marks(entity);
  if (tunables_->repick_restarts_slice) entity.sum_exec_when_picked_ = entity.sum_exec_;
}

cfs_entity* cfs_queue::pick_next(nanoseconds now) {
  update_current(now);
  cfs_entity* best = choose();
  if (best && best == current_) {
    repick(*best);
  } else {
    put_current_back();
    if (best) make_current(*best, now);
  }
  if (best) recency_.splice(recency_.begin(), recency_, recency_.iterator_to(*best));
  return best;
}

// --- cfs_queue: tick, wakeup, yield

tick_verdict check_preempt_tick(nanoseconds ideal, nanoseconds ran, std::int64_t lead,
                                nanoseconds min_granularity) noexcept {
  if (ran > ideal) return tick_verdict::slice_over;
  if (ran < min_granularity || lead < 0) return tick_verdict::keep;
  return static_cast<std::uint64_t>(lead) > ideal ? tick_verdict::too_far_ahead : tick_verdict::keep;
}

bool cfs_queue::tick(nanoseconds now) {
  update_current(now);
  cfs_entity* running = current();
  const cfs_entity* left = leftmost();
  if (!running || !left) return false;
  const tick_verdict verdict =
      check_preempt_tick(slice(*running), running->ran_since_pick(), vruntime_lead(running->vruntime_, left->vruntime_),
                         tunables_->min_granularity);
  if (verdict == tick_verdict::slice_over) clear_marks(*running);
  return verdict != tick_verdict::keep;
}

bool cfs_queue::check_preempt(cfs_entity& woken, nanoseconds now) {
  cfs_entity* running = current();
  if (!running) return true;
  if (running == &woken) return false;
  const bool crowded = nr_running_ >= tunables_->nr_latency;
  if (tunables_->next_buddy && crowded && woken.last_enqueue_ != enqueue_reason::fork) set_mark(cfs_mark::next, woken);

  const bool out_of_idle_policy = running->policy_ == fair_policy::idle && woken.policy_ != fair_policy::idle;
  if (!out_of_idle_policy) {
    if (woken.policy_ != fair_policy::normal || !tunables_->wakeup_preemption) return false;
    update_current(now);
    if (preempt_order(*running, woken) != 1) return false;
    set_mark(cfs_mark::next, woken);
  }
  if (tunables_->last_buddy && crowded) set_mark(cfs_mark::last, *running);
  return true;
}

void cfs_queue::yield(nanoseconds now) {
  cfs_entity* running = current();
  if (!running || nr_running_ == 1) return;
  clear_marks(*running);
  if (running->policy_ != fair_policy::batch) update_current(now);
  set_mark(cfs_mark::skip, *running);
}

// --- cfs_queue: balancing

bool cfs_queue::cache_hot(const cfs_entity& entity, bool destination_busy, nanoseconds now) const noexcept {
  if (entity.policy_ == fair_policy::idle) return false;
  if (tunables_->cache_hot_buddy && destination_busy && (&entity == next_ || &entity == last_)) return true;
  return now < entity.exec_start_ || now - entity.exec_start_ < tunables_->migration_cost;
}

cfs_entity* cfs_queue::detach_candidate(unsigned to, bool destination_busy, nanoseconds now, cache_heat heat) noexcept {
  const cfs_entity* running = current();
  const auto movable = [&](const cfs_entity& entity) {
    return &entity != running && entity.allowed_on(to) &&
           (heat == cache_heat::ignore || !cache_hot(entity, destination_busy, now));
  };
  const auto found = std::find_if(recency_.rbegin(), recency_.rend(), movable);
  return found == recency_.rend() ? nullptr : &*found;
}

// --- cfs_scheduler

cfs_scheduler::cfs_scheduler(unsigned cpus, const cfs_tunables& tunables) : scheduler(cpus), tunables_(tunables) {
  for (unsigned cpu = 0; cpu < cpus; ++cpu) queues_.emplace_back(tunables_);
}

std::unique_ptr<sched_entity> cfs_scheduler::make_entity(std::uint32_t id, int nice) {
  return std::make_unique<cfs_entity>(id, nice);
}

void cfs_scheduler::enqueue(unsigned cpu, sched_entity& entity, enqueue_reason why, nanoseconds now) {
  queues_[cpu].enqueue(fair(entity), why, now);
  entity.cpu = cpu;
}

void cfs_scheduler::dequeue(unsigned cpu, sched_entity& entity, dequeue_reason why, nanoseconds now) {
  queues_[cpu].dequeue(fair(entity), why, now);
}

sched_entity* cfs_scheduler::pick_next(unsigned cpu, nanoseconds now) { return queues_[cpu].pick_next(now); }

bool cfs_scheduler::tick(unsigned cpu, nanoseconds now) { return queues_[cpu].tick(now); }

bool cfs_scheduler::check_preempt(unsigned cpu, sched_entity& woken, nanoseconds now) {
  return queues_[cpu].check_preempt(fair(woken), now);
}

void cfs_scheduler::yield(unsigned cpu, nanoseconds now) { queues_[cpu].yield(now); }

bool cfs_scheduler::yield_to(unsigned cpu, sched_entity& target, nanoseconds now) {
  if (!target.on_rq) return false;
  cfs_entity& entity = fair(target);
  entity.queue()->set_mark(cfs_mark::next, entity);
  yield(cpu, now);
  return true;
}

unsigned cfs_scheduler::nr_running(unsigned cpu) const { return queues_[cpu].nr_running(); }

sched_entity* cfs_scheduler::current(unsigned cpu) const { return queues_[cpu].current(); }

sched_entity* cfs_scheduler::detach_candidate(unsigned from, unsigned to, nanoseconds now, cache_heat heat) {
  return queues_[from].detach_candidate(to, queues_[to].nr_running() != 0, now, heat);
}

}  // namespace vmxsys::models
