#include <array>
#include <memory>
#include <optional>

#include "catalogue.hpp"
#include "cfs.hpp"

// The fair scheduler by name. What is not given is the kernel generation's, scaled by the number of CPUs.
namespace vmxsys::models {

namespace {

/// Numbered as cfs_version.
constexpr std::array profile_names{named{"v3.4", "Linux 3.4"}, named{"v5.10", "Linux 5.10"},
                                   named{"v6.1", "Linux 6.1, the last long-term version that picks by CFS"}};

struct cfs_options {
  cfs_version profile = cfs_version::v6_1;
  std::optional<duration> latency, min_granularity, wakeup_granularity, idle_min_granularity, migration_cost;
  std::optional<bool> gentle_fair_sleepers, start_debit, next_buddy, last_buddy, cache_hot_buddy, wakeup_preemption,
      alt_period, base_slice;
};

constexpr const char* fair_c = "Linux v6.1, kernel/sched/fair.c";
constexpr const char* core_c = "Linux v6.1, kernel/sched/core.c";
constexpr const char* features_h = "Linux v6.1, kernel/sched/features.h";
constexpr duration shortest = duration::us(1), longest = duration::s(10);

constexpr std::array rows{
    row<&cfs_options::profile>("profile", names<profile_names>, "Linux version whose rules apply"),
    row<&cfs_options::latency>("latency", shortest, longest, "period in which every runnable thread runs once")
        .from(fair_c),
    row<&cfs_options::min_granularity>("min_granularity", shortest, longest, "shortest slice").from(fair_c),
    row<&cfs_options::wakeup_granularity>("wakeup_granularity", duration{}, longest,
                                          "lead a woken thread or a buddy needs; 0 lets any lead preempt")
        .from(fair_c),
    row<&cfs_options::idle_min_granularity>("idle_min_granularity", shortest, longest,
                                            "shortest slice of a SCHED_IDLE thread beside others")
        .from(fair_c),
    row<&cfs_options::migration_cost>("migration_cost", duration{}, longest,
                                      "a thread that ran within this time is cache hot; 0: none is")
        .from(core_c),
    row<&cfs_options::gentle_fair_sleepers>("gentle_fair_sleepers",
                                            "a sleeper gets half the latency as credit, not all of it")
        .from(features_h),
    row<&cfs_options::start_debit>("start_debit", "a new thread starts one slice to the right").from(features_h),
    row<&cfs_options::next_buddy>("next_buddy", "every woken thread is marked next, not only one that preempts")
        .from(features_h),
    row<&cfs_options::last_buddy>("last_buddy", "a thread that a woken one preempted is marked last").from(features_h),
    row<&cfs_options::cache_hot_buddy>("cache_hot_buddy", "marked threads stay when the pulling CPU is busy")
        .from(features_h),
    row<&cfs_options::wakeup_preemption>("wakeup_preemption", "woken threads may preempt at all").from(features_h),
    row<&cfs_options::alt_period>("alt_period", "the period counts all threads of the CPU, not of the group")
        .from(features_h),
    row<&cfs_options::base_slice>("base_slice", "no slice below min_granularity").from(features_h)};

template <class T>
void put(T& tunable, const std::optional<T>& given) {
  if (given) tunable = *given;
}

std::unique_ptr<scheduler> make(const void* given, const scheduler_environment& on) {
  const auto& o = options_as<cfs_options>(given);
  cfs_tunables t = cfs_tunables::of(o.profile, on.cpus);
  const auto put_time = [&](nanoseconds& tunable, const std::optional<duration>& time) {
    if (time) tunable = time->to_nanoseconds(on.tsc_khz);
  };
  put_time(t.latency, o.latency);
  put_time(t.min_granularity, o.min_granularity);
  put_time(t.wakeup_granularity, o.wakeup_granularity);
  put_time(t.idle_min_granularity, o.idle_min_granularity);
  put_time(t.migration_cost, o.migration_cost);
  put(t.gentle_fair_sleepers, o.gentle_fair_sleepers);
  put(t.start_debit, o.start_debit);
  put(t.next_buddy, o.next_buddy);
  put(t.last_buddy, o.last_buddy);
  put(t.cache_hot_buddy, o.cache_hot_buddy);
  put(t.wakeup_preemption, o.wakeup_preemption);
  put(t.alt_period, o.alt_period);
  put(t.base_slice, o.base_slice);
  return std::make_unique<cfs_scheduler>(on.cpus, t);
}

void check(const void* given, std::uint64_t tsc_khz, std::vector<option_fault>& faults) {
  const auto& o = options_as<cfs_options>(given);
  if (o.latency && o.min_granularity && o.latency->to_cycles(tsc_khz) < o.min_granularity->to_cycles(tsc_khz))
    faults.push_back({"min_granularity", "greater than latency (" + o.latency->to_string() + ")", "latency"});
}

}  // namespace

extern const scheduler_entry cfs_entry = checked(
    entry_with<scheduler_entry, cfs_options, rows>(
        "cfs", "Linux's Completely Fair Scheduler: virtual run time, buddies, wakeup granularity, yield_to", make),
    check);

}  // namespace vmxsys::models
