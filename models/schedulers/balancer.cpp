#include "balancer.hpp"

#include <algorithm>
#include <cstdint>
#include <tuple>

namespace vmxsys::models {
namespace {

bool within(const machine_view& machine, unsigned a, unsigned b, balance_level level) {
  switch (level) {
    case balance_level::core:
      return machine.shares_core(a, b);
    case balance_level::cache:
      return machine.shares_cache(a, b);
    default:
      return true;
  }
}

std::uint64_t to_jiffies(std::uint64_t ms, unsigned hz) { return (ms * hz + 999) / 1000; }

}  // namespace

unsigned balance_interval_jiffies(unsigned interval_ms, bool busy, unsigned online_cpus,
                                  const balance_tunables& tunables) noexcept {
  const std::uint64_t longest = std::max<std::uint64_t>(1, std::uint64_t{tunables.hz} * online_cpus / 10);
  std::uint64_t jiffies = to_jiffies(std::uint64_t{interval_ms} * (busy ? tunables.busy_factor : 1), tunables.hz);
  if (busy && jiffies > 0) --jiffies;
  return static_cast<unsigned>(std::clamp<std::uint64_t>(jiffies, 1, longest));
}

void balance_state::pulled() noexcept {
  interval_ = min_interval_;
  failures_ = 0;
}

void balance_state::nothing_to_pull() noexcept { interval_ = std::min(2 * interval_, 2 * min_interval_); }

void balance_state::failed(balance_reason why) noexcept {
  if (why == balance_reason::periodic) ++failures_;
  nothing_to_pull();
}

cache_heat balance_state::heat(const balance_tunables& tunables) const noexcept {
  return failures_ > tunables.cache_nice_tries ? cache_heat::ignore : cache_heat::respect;
}

void idle_estimate::idled_for(nanoseconds duration) noexcept {
  const auto distance = static_cast<std::int64_t>(duration) - static_cast<std::int64_t>(average_);
  average_ = static_cast<nanoseconds>(static_cast<std::int64_t>(average_) + distance / 8);
  average_ = std::min(average_, 2 * max_cost_);
}

std::optional<unsigned> busiest_cpu(const machine_view& machine, unsigned to, balance_level level) {
  const unsigned threshold = std::max(2u, machine.nr_running(to) + 2);
  std::optional<unsigned> busiest;
  const auto rank = [&](unsigned cpu) { return std::tuple(machine.nr_running(cpu), machine.load(cpu)); };
  for (unsigned step = 1; step < machine.cpu_count(); ++step) {
    const unsigned cpu = (to + step) % machine.cpu_count();
    if (!within(machine, to, cpu, level) || machine.nr_running(cpu) < threshold) continue;
    if (!busiest || rank(cpu) > rank(*busiest)) busiest = cpu;
  }
  return busiest;
}

std::optional<pull_decision> find_pull(scheduler& policy, const machine_view& machine, unsigned to, nanoseconds now,
                                       cache_heat heat) {
  std::optional<pull_decision> stuck;
  for (const balance_level level : {balance_level::core, balance_level::cache, balance_level::machine}) {
    const auto from = busiest_cpu(machine, to, level);
    if (!from) continue;
    const pull_decision decision{*from, policy.detach_candidate(*from, to, now, heat), level};
    if (decision.entity) return decision;
    stuck = decision;
  }
  return stuck;
}

}  // namespace vmxsys::models
