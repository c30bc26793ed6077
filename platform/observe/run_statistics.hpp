#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include <vmxsys/cpu/facts/accounting.hpp>
#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/facts/fact.hpp>
#include <vmxsys/models/kernel/kernel_facts.hpp>
#include <vmxsys/models/kernel/locks/spinlock.hpp>
#include <vmxsys/models/kvm/kvm_facts.hpp>
#include <vmxsys/platform/machine/simulation.hpp>
#include <vmxsys/platform/observe/base/per_vcpu.hpp>
#include <vmxsys/platform/observe/collectors/collector_set.hpp>

#include "detector_scores.hpp"
#include "run_result.hpp"

namespace vmxsys::platform {

/// Observes one run and sums it up, together with the run's collectors. Attach it to the machine's facts, call `begin`
/// at the cycle from which to measure and `finish` at the end.
class run_statistics final : public cpu::fact_observer {
 public:
  explicit run_statistics(simulation& of);

  void observe(const cpu::fact_view& fact) override;
  void begin();
  run_result finish();

 private:
  static constexpr std::size_t buckets = cpu::accounting::buckets;
  using totals = std::array<std::uint64_t, 2 * buckets>;

  struct vcpu_record {
    bool entered = false;
    bool in_guest = false;
    cycles entered_at{0};
    std::uint64_t window = 0;  // at its latest entry
    std::uint64_t guest_cycles = 0;
    // The exit being handled.
    bool exited = false;
    vmx::exit_reason reason{};
    cycles exit_began{0};
    cycles exit_visible{0};
    // Its parts, for PAUSE exits.
    bool on_cpu = false;
    unsigned cpu = 0;
    totals at_switch{};
    totals parts{};
    cycles off_since{0};
    std::uint64_t waited = 0;
  };

  void on_vm_entry(const cpu::vm_entry_fact& f, cycles at);
  void on_vm_exit(const cpu::vm_exit_fact& f, cycles at);
  void on_kvm_exit(const models::kvm_exit_fact& f);
  void on_switch(const models::sched_switch_fact& f, cycles at);
  void note_window(std::uint64_t window);
  totals snapshot(unsigned cpu) const;
  static void add_difference(totals& to, const totals& after, const totals& before);
  std::uint64_t ns(std::uint64_t count) const { return of_.host().to_ns(cycles{count}); }
  void sum_up_cpu_time(run_result& r) const;
  void sum_up_pauses(run_result& r) const;
  void sum_up_vms(run_result& r) const;

  simulation& of_;
  collector_set collectors_;
  detector_scores detectors_;
  bool measuring_ = false;
  cycles from_{0};
  std::vector<totals> cpu_at_begin_;
  per_vcpu<vcpu_record> vcpus_;
  std::vector<std::uint64_t> work_;
  std::uint64_t pause_rounds_ = 0;
  totals pause_parts_{};
  std::uint64_t pause_waited_ = 0;
  std::uint64_t pause_hardware_exit_ = 0;
  time_tally guest_slices_;
  time_tally lock_waits_, host_lock_waits_;
  run_result result_;
};

}  // namespace vmxsys::platform
