#include "select_task_rq.hpp"

#include <algorithm>
#include <tuple>

namespace vmxsys::models {
namespace {

constexpr nanoseconds one_second = 1'000'000'000;
constexpr std::uint64_t full_capacity = 1024;

bool allowed(const sched_entity* task, unsigned cpu) { return !task || task->allowed_on(cpu); }

// Visits the CPUs that share the cache of `target`, beginning behind it and ending with it, until `visit` says stop.
template <class Visit>
void for_cache_of(const machine_view& machine, unsigned target, Visit visit) {
  const unsigned cpus = machine.cpu_count();
  for (unsigned step = 1; step <= cpus; ++step) {
    const unsigned cpu = (target + step) % cpus;
    if (machine.shares_cache(target, cpu) && !visit(cpu)) return;
  }
}

bool whole_core_idle(const machine_view& machine, unsigned core) {
  for (unsigned cpu = 0; cpu < machine.cpu_count(); ++cpu)
    if (machine.shares_core(core, cpu) && !machine.idle(cpu)) return false;
  return true;
}

std::optional<unsigned> idle_sibling_of(const machine_view& machine, unsigned core, const sched_entity* task) {
  for (unsigned cpu = 0; cpu < machine.cpu_count(); ++cpu)
    if (machine.shares_core(core, cpu) && allowed(task, cpu) && machine.idle(cpu)) return cpu;
  return std::nullopt;
}

bool has_siblings(const machine_view& machine, unsigned core) {
  for (unsigned cpu = 0; cpu < machine.cpu_count(); ++cpu)
    if (cpu != core && machine.shares_core(core, cpu)) return true;
  return false;
}

// The steps before the scan: places where the task's data is or was.
std::optional<unsigned> familiar_idle_cpu(const machine_view& machine, const idle_query& query) {
  const unsigned target = query.target;
  const unsigned prev = query.prev_cpu;
  if (machine.idle(target)) return target;
  const bool prev_near = machine.shares_cache(prev, target);
  if (prev != target && prev_near && machine.idle(prev)) return prev;
  if (query.kthread_waker_on == prev && machine.nr_running(prev) <= 1) return prev;
  if (query.recent_cpu && *query.recent_cpu != prev && *query.recent_cpu != target &&
      machine.shares_cache(*query.recent_cpu, target) && machine.idle(*query.recent_cpu) &&
      allowed(query.task, *query.recent_cpu))
    return query.recent_cpu;
  return std::nullopt;
}

idle_choice scan_for_core(const machine_view& machine, const idle_query& query) {
  idle_choice choice{query.target, 0, true};
  std::optional<unsigned> idle_thread;
  for_cache_of(machine, query.target, [&](unsigned cpu) {
    if (!allowed(query.task, cpu)) return true;
    ++choice.cpus_scanned;
    if (whole_core_idle(machine, cpu)) {
      choice.cpu = cpu;
      choice.clear_idle_core_hint = false;
      return false;
    }
    if (!idle_thread) idle_thread = idle_sibling_of(machine, cpu, query.task);
    return true;
  });
  if (choice.clear_idle_core_hint && idle_thread) choice.cpu = *idle_thread;
  return choice;
}

idle_choice scan_for_cpu(const machine_view& machine, const idle_query& query) {
  idle_choice choice{query.target, 0, false};
  for_cache_of(machine, query.target, [&](unsigned cpu) {
    if (!allowed(query.task, cpu)) return true;
    if (choice.cpus_scanned == query.scan_limit) return false;
    ++choice.cpus_scanned;
    if (!machine.idle(cpu)) return true;
    choice.cpu = cpu;
    return false;
  });
  return choice;
}

}  // namespace

void wakee_flips::record(std::uint32_t wakee, nanoseconds now) noexcept {
  if (now > decayed_ + one_second) {
    count_ /= 2;
    decayed_ = now;
  }
  if (last_wakee_ == wakee) return;
  last_wakee_ = wakee;
  ++count_;
}

bool wake_wide(unsigned waker_flips, unsigned wakee_flips, unsigned llc_size) noexcept {
  const auto [fewer, more] = std::minmax(waker_flips, wakee_flips);
  return fewer >= llc_size && more >= std::uint64_t{fewer} * llc_size;
}

std::optional<unsigned> wake_affine_idle(const machine_view& machine, const wake_query& query) {
  const bool prev_idle = machine.idle(query.prev_cpu);
  if (machine.idle(query.this_cpu) && machine.shares_cache(query.this_cpu, query.prev_cpu))
    return prev_idle ? query.prev_cpu : query.this_cpu;
  if (query.sync && machine.nr_running(query.this_cpu) == 1) return query.this_cpu;
  if (prev_idle) return query.prev_cpu;
  return std::nullopt;
}

std::optional<unsigned> wake_affine_weight(const machine_view& machine, const wake_query& query) {
  auto this_load = static_cast<std::int64_t>(machine.load(query.this_cpu));
  const auto task = static_cast<std::int64_t>(query.task_load);
  if (query.sync) {
    const auto current = static_cast<std::int64_t>(query.current_load);
    if (current > this_load) return query.this_cpu;
    this_load -= current;
  }
  this_load = (this_load + task) * 100 * static_cast<std::int64_t>(machine.capacity(query.prev_cpu));
  std::int64_t prev_load = static_cast<std::int64_t>(machine.load(query.prev_cpu)) - task;
  prev_load *= 100 + (static_cast<std::int64_t>(query.imbalance_pct) - 100) / 2;
  prev_load *= static_cast<std::int64_t>(machine.capacity(query.this_cpu));
  if (query.sync) ++prev_load;
  return this_load < prev_load ? std::optional<unsigned>(query.this_cpu) : std::nullopt;
}

unsigned wake_affine(const machine_view& machine, const wake_query& query) {
  if (const auto by_idleness = wake_affine_idle(machine, query)) return *by_idleness;
  return wake_affine_weight(machine, query).value_or(query.prev_cpu);
}

unsigned nr_idle_scan(std::uint64_t sum_util, unsigned llc_size, unsigned imbalance_pct) noexcept {
  const std::uint64_t mean = sum_util / llc_size;
  const std::uint64_t pct = imbalance_pct;
  const std::uint64_t used = mean * mean * pct * pct / (10000 * full_capacity);
  return static_cast<unsigned>((full_capacity - std::min(full_capacity, used)) * llc_size / full_capacity);
}

idle_choice select_idle_sibling(const machine_view& machine, const idle_query& query) {
  if (const auto familiar = familiar_idle_cpu(machine, query)) return {*familiar, 0, false};
  const bool threads = has_siblings(machine, query.target);
  const bool core_hint = threads && machine.idle_core_hint(query.target);
  if (threads && !core_hint && machine.shares_cache(query.prev_cpu, query.target))
    if (const auto sibling = idle_sibling_of(machine, query.prev_cpu, query.task)) return {*sibling, 0, false};
  if (query.scan_limit == 0) return {query.target, 0, false};
  return core_hint ? scan_for_core(machine, query) : scan_for_cpu(machine, query);
}

idle_choice select_cpu_for_wakeup(const machine_view& machine, const wake_query& wake, const idle_query& idle,
                                  unsigned waker_flips, unsigned wakee_flips, unsigned llc_size) {
  const bool affine = !wake_wide(waker_flips, wakee_flips, llc_size) && allowed(idle.task, wake.this_cpu);
  idle_query query = idle;
  query.prev_cpu = wake.prev_cpu;
  query.target = affine && wake.this_cpu != wake.prev_cpu ? wake_affine(machine, wake) : wake.prev_cpu;
  return select_idle_sibling(machine, query);
}

unsigned select_cpu_for_fork(const machine_view& machine, unsigned this_cpu, const sched_entity* task) {
  const auto rank = [&](unsigned cpu) {
    const unsigned distance = cpu == this_cpu ? 0 : machine.shares_cache(this_cpu, cpu) ? 1 : 2;
    // An idle hyper-thread beside a busy one counts as half a CPU: whole idle cores come first.
    const unsigned shared = machine.idle(cpu) && !whole_core_idle(machine, cpu) ? 1 : 0;
    return std::tuple(machine.nr_running(cpu), shared, machine.idle(cpu) ? 0 : machine.load(cpu), distance);
  };
  unsigned best = this_cpu;
  bool found = allowed(task, this_cpu);
  for (unsigned step = 1; step < machine.cpu_count(); ++step) {
    const unsigned cpu = (this_cpu + step) % machine.cpu_count();
    if (!allowed(task, cpu) || (found && rank(cpu) >= rank(best))) continue;
    best = cpu;
    found = true;
  }
  return best;
}

wakeup_route route_wakeup(const machine_view& machine, unsigned waker_cpu, unsigned target_cpu) {
  if (waker_cpu == target_cpu) return wakeup_route::local;
  if (!machine.shares_cache(waker_cpu, target_cpu)) return wakeup_route::wake_list;
  return machine.nr_running(target_cpu) == 0 ? wakeup_route::wake_list : wakeup_route::direct;
}

}  // namespace vmxsys::models
