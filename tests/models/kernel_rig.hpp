#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <vmxsys/cpu/core/logical_cpu.hpp>
#include <vmxsys/cpu/core/machine.hpp>
#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/facts/fact_hash.hpp>
#include <vmxsys/models/kernel/code.hpp>
#include <vmxsys/models/kernel/kernel.hpp>
#include <vmxsys/models/kernel/kernel_facts.hpp>
#include <vmxsys/models/kvm/kvm_facts.hpp>
#include <vmxsys/models/schedulers/cfs.hpp>
#include <vmxsys/models/schedulers/round_robin.hpp>
#include <vmxsys/vmx/spin_detectors/catalogue.hpp>
#include <vmxsys/vmx/vmcs/capability.hpp>

#include "fact_expectations.hpp"

// A bare machine with a kernel whose threads are lambdas, a record of what it states, and a spy between the kernel and
// its scheduler. The TSC runs at 1 GHz: a cycle is a nanosecond.
namespace vmxsys::models::testing {

namespace isa = cpu::isa;

inline constexpr cycles us{1'000};
inline constexpr cycles ms{1'000'000};
inline constexpr cpu::code_location user_text{"user_work", 0x402000, 0, 3, cpu::bucket::user};
inline constexpr cpu::code_location kernel_text{"kernel_work", 0xffffffff82001000, 0, 0, cpu::bucket::kernel};

using vmxsys::testing::expect_exact_sequence;
using vmxsys::testing::expect_first_at;
using vmxsys::testing::expect_gap;
using vmxsys::testing::expect_none;
using vmxsys::testing::expect_sequence;
using vmxsys::testing::expected_fact;
using vmxsys::testing::fact;
using vmxsys::testing::fact_log;
using vmxsys::testing::fact_range;
using vmxsys::testing::overloaded;
using vmxsys::testing::recorded;

// What tests expect most often.
inline expected_fact switch_to(std::uint32_t pid) { return fact<sched_switch_fact>(&sched_switch_fact::next_pid, pid); }
inline expected_fact switch_from(std::uint32_t pid, char state) {
  return fact<sched_switch_fact>(&sched_switch_fact::prev_pid, pid, &sched_switch_fact::prev_state, state);
}
inline expected_fact wakeup_of(std::uint32_t pid) { return fact<sched_wakeup_fact>(&sched_wakeup_fact::pid, pid); }

/// Passes every call on to the policy it watches, and notes it.
class spying_scheduler final : public scheduler {
 public:
  enum class call_kind { enqueue, dequeue, pick_next, tick, check_preempt, yield, yield_to };
  struct call {
    call_kind kind;
    unsigned cpu;
    const sched_entity* entity;  ///< argument, or what was picked
    nanoseconds now;
    bool answer;
  };

  explicit spying_scheduler(std::unique_ptr<scheduler> watched)
      : scheduler{watched->cpu_count()}, to_{std::move(watched)} {}

  std::unique_ptr<sched_entity> make_entity(std::uint32_t id, int nice) override { return to_->make_entity(id, nice); }
  void enqueue(unsigned cpu, sched_entity& e, enqueue_reason why, nanoseconds now) override {
    to_->enqueue(cpu, e, why, now);
    note({call_kind::enqueue, cpu, &e, now, false});
  }
  void dequeue(unsigned cpu, sched_entity& e, dequeue_reason why, nanoseconds now) override {
    to_->dequeue(cpu, e, why, now);
    note({call_kind::dequeue, cpu, &e, now, false});
  }
  sched_entity* pick_next(unsigned cpu, nanoseconds now) override {
    sched_entity* picked = to_->pick_next(cpu, now);
    note({call_kind::pick_next, cpu, picked, now, false});
    return picked;
  }
  bool tick(unsigned cpu, nanoseconds now) override {
    const sched_entity* e = to_->current(cpu);
    const bool answer = to_->tick(cpu, now);
    note({call_kind::tick, cpu, e, now, answer});
    return answer;
  }
  bool check_preempt(unsigned cpu, sched_entity& woken, nanoseconds now) override {
    const bool answer = to_->check_preempt(cpu, woken, now) || always_preempts;
    note({call_kind::check_preempt, cpu, &woken, now, answer});
    return answer;
  }
  void yield(unsigned cpu, nanoseconds now) override {
    to_->yield(cpu, now);
    note({call_kind::yield, cpu, nullptr, now, false});
  }
  bool yield_to(unsigned cpu, sched_entity& target, nanoseconds now) override {
    const bool answer = to_->yield_to(cpu, target, now);
    note({call_kind::yield_to, cpu, &target, now, answer});
    return answer;
  }
  unsigned nr_running(unsigned cpu) const override { return to_->nr_running(cpu); }
  sched_entity* current(unsigned cpu) const override { return to_->current(cpu); }
  sched_entity* detach_candidate(unsigned from, unsigned to, nanoseconds now, cache_heat heat) override {
    return to_->detach_candidate(from, to, now, heat);
  }

  const std::vector<call>& calls() const { return calls_; }
  std::vector<call> calls(call_kind kind, unsigned cpu) const {
    std::vector<call> found;
    for (const call& c : calls_)
      if (c.kind == kind && c.cpu == cpu) found.push_back(c);
    return found;
  }
  std::function<void(const call&)> on_call;
  bool always_preempts = false;  ///< what check_preempt answers in any case

 private:
  void note(const call& c) {
    calls_.push_back(c);
    if (on_call) on_call(c);
  }
  std::unique_ptr<scheduler> to_;
  std::vector<call> calls_;
};

using scheduler_maker = std::function<std::unique_ptr<scheduler>(unsigned cpus)>;

/// The fair scheduler with the constants of a host of eight CPUs (latency 24 ms, granularities 3 and 4 ms).
inline scheduler_maker fair(cfs_version version = cfs_version::v6_1) {
  return [version](unsigned cpus) { return std::make_unique<cfs_scheduler>(cpus, cfs_tunables::of(version, 8)); };
}
inline scheduler_maker round_robin(nanoseconds quantum) {
  return [quantum](unsigned cpus) {
    return std::make_unique<round_robin_scheduler>(cpus, round_robin_tunables{.quantum = quantum});
  };
}
inline cfs_entity& fair_entity(thread& t) { return static_cast<cfs_entity&>(*t.entity); }

inline cpu::machine_config bare_hardware(unsigned cpus, bool stepped = false) {
  cpu::machine_config c;
  c.shape = {1, cpus, 1};
  c.capabilities = vmx::find_capability_row("cascade_lake_sp")->values;
  c.make_detector = [] { return vmx::spin_detectors().select("pause_loop_exiting").make(); };
  c.stepped = stepped;
  return c;
}

/// What a configuration holds of a scheduler that is not in the catalogue.
inline selection<scheduler_entry> by(scheduler_maker make) {
  static constexpr scheduler_entry entry{
      {"of this test", "", {}, nullptr},
      [](const void* m, const scheduler_environment& e) { return options_as<scheduler_maker>(m)(e.cpus); }};
  return {entry, std::make_shared<const scheduler_maker>(std::move(make))};
}

inline kernel_config kernel_settings(unsigned cpus, scheduler_maker make) {
  kernel_config k;
  k.cpus = cpus;
  k.tsc_khz = 1'000'000;
  k.memory_base = 0x100'0000;
  k.memory_bytes = 0x1000'0000;
  k.scheduler = by(std::move(make));
  return k;
}

// -- what threads are made of -----------------------------------------------------------------------------------------

/// Computes until a cycle: exactly, unless an interrupt comes in the last 100 us.
inline cpu::program until(cycles when) {
  for (;;) {
    const cycles now = (co_await isa::this_cpu()).now();
    if (now >= when) co_return;
    const cycles left = when - now;
    co_await isa::compute(left > 100 * us ? left - cycles{left.count() / 4} : left);
  }
}
inline cpu::program nothing() { co_return; }
inline cpu::program compute_for_ever(cycles chunk = 10 * ms) {
  for (;;) co_await isa::compute(chunk);
}

/// The machine with one kernel on it.
class kernel_rig {
 public:
  using body = std::function<cpu::program(thread&)>;

  explicit kernel_rig(unsigned cpus, scheduler_maker make = fair(), std::function<void(kernel_config&)> change = {},
                      bool stepped = false)
      : hw{bare_hardware(cpus, stepped)} {
    hw.facts().attach(log);
    hw.facts().attach(hash);
    kernel_config c = kernel_settings(cpus, [this, make](unsigned n) {
      auto watched = std::make_unique<spying_scheduler>(make(n));
      spy = watched.get();
      return watched;
    });
    if (change) change(c);
    owned_ = std::make_unique<kernel>(hw, std::move(c));
    hw.connect(*owned_);
  }

  kernel& k() { return *owned_; }
  /// A thread in user mode, or at another place.
  thread& add(std::string name, std::vector<unsigned> on, body what, const cpu::code_location& where = user_text) {
    return k().add_thread(std::move(name), std::move(what), where, std::move(on));
  }
  thread& hog(std::string name, std::vector<unsigned> on, const cpu::code_location& where = user_text) {
    return add(
        std::move(name), std::move(on), [](thread&) { return compute_for_ever(); }, where);
  }
  void run_until(cycles end) {
    hw.run_until(end);
    hw.check_accounting();
  }
  cycles now() { return hw.time().now(); }

  struct switched {
    cycles at;
    std::uint32_t from, to;
    char state;
  };
  std::vector<switched> switches(unsigned cpu) const {
    std::vector<switched> found;
    for (const auto& s : log.of<sched_switch_fact>())
      if (s->cpu == cpu) found.push_back({s.at(), s->prev_pid, s->next_pid, s->prev_state});
    return found;
  }
  /// When the local APIC timer of a CPU fired.
  std::vector<cycles> timer_interrupts(unsigned cpu, cycles since) const {
    std::vector<cycles> found;
    for (const auto& f : log.of<cpu::timer_fired_fact>())
      if (f.header.id.source == cpu && f.at() >= since) found.push_back(f.at());
    return found;
  }
  /// Interrupts with this vector sent by the ICR.
  std::size_t sent(std::uint8_t vec, cycles since = cycles{0}) const {
    std::size_t n = 0;
    for (const auto& s : log.of<cpu::ipi_sent_fact>()) n += s->vector == vec && s->mode == 0 && s.at() >= since;
    return n;
  }

  fact_log log;
  cpu::fact_hash hash;
  cpu::machine hw;
  spying_scheduler* spy = nullptr;

 private:
  std::unique_ptr<kernel> owned_;
};

}  // namespace vmxsys::models::testing
