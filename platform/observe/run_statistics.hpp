#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include <vmxsys/cpu/facts/accounting.hpp>
#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/facts/fact.hpp>
#include <vmxsys/models/kernel/kernel_facts.hpp>
#include <vmxsys/models/kernel/locks/spinlock.hpp>
#include <vmxsys/models/kvm/kvm_facts.hpp>
#include <vmxsys/platform/machine/simulation.hpp>

#include "detector_scores.hpp"
#include "run_result.hpp"

namespace vmxsys::platform {

/// Observes one run and sums it up. Attach it to the machine's facts, call `begin` at the cycle from which to measure
/// and `finish` at the end.
class run_statistics final : public cpu::fact_observer {
 public:
  explicit run_statistics(simulation& of);

  void observe(const cpu::fact_view& fact) override;
  void begin();
  run_result finish();

 private:
  static constexpr std::size_t buckets = cpu::accounting::buckets;
  using totals = std::array<std::uint64_t, 2 * buckets>;

  struct times {
    std::uint64_t count = 0, total = 0, min = ~std::uint64_t{0}, max = 0;
    void add(cycles c);
  };
  struct vcpu_record {
    unsigned vm = 0;
    unsigned index = 0;
    std::uint32_t pid = 0;
    bool entered = false;
    bool in_guest = false;
    cycles entered_at{0};
    std::uint64_t window = 0;  // at its latest entry
    std::uint64_t guest_cycles = 0;
    std::uint64_t ple_exits = 0;
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
    bool yield_accepted = false;
    bool switched = false;
    // The run of equal PAUSE exits.
    std::uint64_t run = 0;
    std::uint64_t run_rip = 0;
    cycles run_began{0};
  };
  struct exit_record {
    times software, all;
  };

  void on_vm_entry(const cpu::vm_entry_fact& f, cycles at);
  void on_vm_exit(const cpu::vm_exit_fact& f, cycles at);
  void on_kvm_exit(const models::kvm_exit_fact& f, cycles at);
  void on_kvm_entry(const models::kvm_entry_fact& f, cycles at);
  void on_switch(const models::sched_switch_fact& f, cycles at);
  void on_yield(const models::yield_to_fact& f);
  void end_run(vcpu_record& v);
  void note_window(std::uint64_t window);
  vcpu_record* by_vmcs(std::uint64_t vmcs);
  vcpu_record& at(unsigned vm, unsigned vcpu) { return vcpus_[first_of_vm_[vm] + vcpu]; }
  vcpu_record* by_pid(std::uint32_t pid) {
    const auto it = by_pid_.find(pid);
    return it == by_pid_.end() ? nullptr : &vcpus_[it->second];
  }
  totals snapshot(unsigned cpu) const;
  static void add_difference(totals& to, const totals& after, const totals& before);
  time_summary summary(const times& t) const;
  std::uint64_t ns(std::uint64_t count) const { return of_.host().to_ns(cycles{count}); }
  void sum_up_cpu_time(run_result& r) const;
  void sum_up_exits(run_result& r) const;
  void sum_up_vms(run_result& r) const;

  simulation& of_;
  detector_scores detectors_;
  bool measuring_ = false;
  cycles from_{0};
  std::vector<totals> cpu_at_begin_;
  std::vector<vcpu_record> vcpus_;
  std::vector<std::size_t> first_of_vm_;
  std::unordered_map<std::uint64_t, std::size_t> by_vmcs_;
  std::unordered_map<std::uint32_t, std::size_t> by_pid_;
  std::map<vmx::exit_reason, exit_record> exits_;
  std::vector<std::uint64_t> work_;
  std::uint64_t pause_rounds_ = 0;
  totals pause_parts_{};
  std::uint64_t pause_waited_ = 0;
  std::uint64_t pause_hardware_exit_ = 0;
  times guest_slices_;
  times lock_waits_, host_lock_waits_;
  run_result result_;
};

}  // namespace vmxsys::platform
