#include "round_robin.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <memory>
#include <utility>

#include "catalogue.hpp"

namespace vmxsys::models {
namespace {

round_robin_entity& round_robin(sched_entity& entity) { return static_cast<round_robin_entity&>(entity); }

}  // namespace

round_robin_scheduler::round_robin_scheduler(unsigned cpus, const round_robin_tunables& tunables)
    : scheduler(cpus), tunables_(tunables), queues_(cpus) {}

round_robin_scheduler::~round_robin_scheduler() {
  for (run_queue& queue : queues_) queue.waiting.clear();
}

std::unique_ptr<sched_entity> round_robin_scheduler::make_entity(std::uint32_t id, int nice) {
  return std::make_unique<round_robin_entity>(id, nice);
}

void round_robin_scheduler::enqueue(unsigned cpu, sched_entity& entity, enqueue_reason, nanoseconds) {
  assert(!entity.on_rq);
  round_robin_entity& e = round_robin(entity);
  if (entity.cpu != cpu) e.has_run_here_ = false;
  queues_[cpu].waiting.push_back(e);
  ++queues_[cpu].nr_running;
  entity.cpu = cpu;
  entity.on_rq = true;
}

void round_robin_scheduler::dequeue(unsigned cpu, sched_entity& entity, dequeue_reason, nanoseconds now) {
  assert(entity.on_rq && entity.cpu == cpu);
  run_queue& queue = queues_[cpu];
  round_robin_entity& e = round_robin(entity);
  if (queue.current == &e) {
    e.last_ran_ = now;
    queue.current = nullptr;
  } else {
    queue.waiting.erase(queue.waiting.iterator_to(e));
  }
  --queue.nr_running;
  entity.on_rq = false;
}

sched_entity* round_robin_scheduler::pick_next(unsigned cpu, nanoseconds now) {
  run_queue& queue = queues_[cpu];
  const bool gives_way = std::exchange(queue.gives_way, false);
  if (queue.current && (!gives_way || queue.waiting.empty())) return queue.current;
  if (queue.current) {
    queue.current->last_ran_ = now;
    queue.waiting.push_back(*queue.current);
    queue.current = nullptr;
  }
  if (queue.waiting.empty()) return nullptr;
  queue.current = &queue.waiting.front();
  queue.waiting.pop_front();
  queue.current->quantum_start_ = now;
  queue.current->has_run_here_ = true;
  return queue.current;
}

bool round_robin_scheduler::tick(unsigned cpu, nanoseconds now) {
  run_queue& queue = queues_[cpu];
  if (!queue.current || queue.waiting.empty()) return false;
  if (now - queue.current->quantum_start_ < tunables_.quantum) return false;
  queue.gives_way = true;
  return true;
}

bool round_robin_scheduler::check_preempt(unsigned cpu, sched_entity&, nanoseconds) {
  return queues_[cpu].current == nullptr;
}

void round_robin_scheduler::yield(unsigned cpu, nanoseconds) {
  queues_[cpu].gives_way = queues_[cpu].current != nullptr;
}

bool round_robin_scheduler::yield_to(unsigned cpu, sched_entity& target, nanoseconds now) {
  run_queue& queue = queues_[target.cpu];
  round_robin_entity& e = round_robin(target);
  if (!target.on_rq || queue.current == &e) return false;
  queue.waiting.erase(queue.waiting.iterator_to(e));
  queue.waiting.push_front(e);
  yield(cpu, now);
  return true;
}

unsigned round_robin_scheduler::nr_running(unsigned cpu) const { return queues_[cpu].nr_running; }

sched_entity* round_robin_scheduler::current(unsigned cpu) const { return queues_[cpu].current; }

sched_entity* round_robin_scheduler::detach_candidate(unsigned from, unsigned to, nanoseconds now, cache_heat heat) {
  const auto movable = [&](const round_robin_entity& e) {
    const bool hot = e.has_run_here_ && now - e.last_ran_ < tunables_.migration_cost;
    return e.allowed_on(to) && (heat == cache_heat::ignore || !hot);
  };
  fifo& waiting = queues_[from].waiting;
  const auto found = std::find_if(waiting.rbegin(), waiting.rend(), movable);
  return found == waiting.rend() ? nullptr : &*found;
}

namespace {

struct round_robin_options {
  duration quantum = duration::ms(10);
  duration migration_cost = duration::us(500);
};
constexpr std::array rows{
    row<&round_robin_options::quantum>("quantum", duration::us(1), duration::s(10), "time slice"),
    row<&round_robin_options::migration_cost>("migration_cost", duration{}, duration::s(10),
                                              "a thread that ran within this time is cache hot; 0: none is")};

}  // namespace

extern const scheduler_entry round_robin_entry = entry_with<scheduler_entry, round_robin_options, rows>(
    "round_robin", "a queue and a fixed time slice",
    [](const void* given, const scheduler_environment& on) -> std::unique_ptr<scheduler> {
      const auto& o = options_as<round_robin_options>(given);
      return std::make_unique<round_robin_scheduler>(
          on.cpus,
          round_robin_tunables{o.quantum.to_nanoseconds(on.tsc_khz), o.migration_cost.to_nanoseconds(on.tsc_khz)});
    });

}  // namespace vmxsys::models
