#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <vmxsys/cpu/core/logical_cpu.hpp>
#include <vmxsys/cpu/core/machine.hpp>
#include <vmxsys/cpu/memory/cpu_set.hpp>
#include <vmxsys/cpu/program/name_space.hpp>
#include <vmxsys/models/schedulers/balancer.hpp>
#include <vmxsys/models/schedulers/scheduler.hpp>
#include <vmxsys/models/schedulers/select_task_rq.hpp>
#include <vmxsys/models/schedulers/yield_to.hpp>

#include "irq_save.hpp"
#include "kernel_config.hpp"
#include "thread.hpp"
#include "timer_event.hpp"
#include "vectors.hpp"

namespace vmxsys::models {

/// A small Linux-like kernel over the instruction set: threads, per-CPU run queues guarded by contended locks, wake-ups
/// with choice of a CPU, load balancing, reschedule interrupts, ticks, timers, idle. The same class runs as a host, as
/// a guest and on bare metal: whether an instruction exits is the CPU's business.
///
/// Kernel data is plain C++: what one CPU does to another's data happens at the cycle it does it. What takes time
/// in between (locks, lines, interrupts, straight-line work) is awaited.
class kernel : public cpu::interrupt_table, public cpu::boot_if, private machine_view {
 public:
  kernel(cpu::machine& hw, kernel_config config);
  ~kernel() override;

  // -- building ------------------------------------------------------------------------------------------------------
  /// Adds a thread that starts with the kernel. `body` is its program; `affinity` lists CPUs, empty for all.
  thread& add_thread(std::string name, std::function<cpu::program(thread&)> body, const cpu::code_location& where,
                     std::vector<unsigned> affinity = {});

  /// The strand that boots CPU `index`, the bootstrap processor at reset or another at SIPI.
  cpu::strand& boot_cpu(unsigned index);
  cpu::strand& boot(cpu::logical_cpu& cpu, physical_address entry) override;

  /// Destroys the programs of all threads where they stand. The owner of what they name (a workload, a hypervisor)
  /// calls it before that goes.
  void abandon_threads();

  /// Runs on each CPU when it comes up, before it schedules: a hypervisor enables VMX there.
  std::function<cpu::program(unsigned cpu)> on_cpu_up;
  /// Runs in interrupt context for vectors the kernel does not know.
  std::function<cpu::program(unsigned cpu, std::uint8_t vector)> on_vector;
  /// Told at the first instruction of every interrupt handler. For instruments: it takes no time.
  std::function<void(const cpu::logical_cpu& on, unsigned cpu, std::uint8_t vector)> on_interrupt;
  /// A guest's kernel learns the frequency and features of its CPUs by CPUID while it boots.
  unsigned boot_cpuids = 0;

  // -- what it is ----------------------------------------------------------------------------------------------------
  cpu::machine& hardware() { return hw_; }
  const kernel_config& config() const { return config_; }
  const kernel_costs& costs() const { return config_.costs; }
  std::uint16_t id() const { return id_; }
  unsigned cpus() const { return config_.cpus; }
  models::scheduler& policy() { return *policy_; }
  lock_environment& locks() { return *locks_; }
  /// A lock of the kind that this kernel uses.
  std::unique_ptr<spinlock> make_lock() { return config_.locks.make(*locks_, lock_user::kernel); }
  const apic_driver& apic() const { return *apic_; }
  /// In which its local APICs must start.
  apic::apic_mode apic_mode() const { return config_.apic.entry().mode; }
  cpu::region_allocator& memory() { return memory_; }
  const std::vector<std::unique_ptr<thread>>& threads() const { return threads_; }
  thread& idle_thread(unsigned cpu) { return *cpus_[cpu].idle; }

  /// The number of the CPU of this kernel that a (physical) CPU is being right now.
  unsigned index_of(const cpu::logical_cpu& c) const {
    return static_cast<unsigned>((c.gs_base() - data_base_) / cpu::name_space::data_stride);
  }
  std::uint64_t gs_base_of(unsigned cpu) const { return data_base_ + cpu * cpu::name_space::data_stride; }
  thread& current(unsigned cpu) { return *cpus_[cpu].current; }
  bool need_resched(unsigned cpu) const { return cpus_[cpu].need_resched; }
  nanoseconds to_ns(cycles c) const;
  cycles from_ns(nanoseconds ns) const;
  nanoseconds now_ns() const { return to_ns(hw_.time().now()); }
  /// States a fact of one of its CPUs. Nothing to await: coroutines keep what they await in their frames.
  template <cpu::fact_payload F>
  void record(unsigned cpu, const F& fact, cpu::fact_id cause = {}) {
    hw_.facts().record(cpus_[cpu].source, hw_.time().now(), fact, cause);
  }
  /// The source of the facts that one of its CPUs states.
  std::uint32_t fact_source(unsigned cpu) const { return cpus_[cpu].source; }
  unsigned nr_running(unsigned cpu) const override { return policy_->nr_running(cpu); }

  // -- what its programs call ----------------------------------------------------------------------------------------
  /// Gives up the CPU if that was asked for: at the end of a system call, and in loops that may go on for long.
  cpu::program cond_resched();
  /// An enabled tracepoint's cost, none if tracing is off.
  cpu::isa::conditional<cpu::isa::located_compute> trace();
  /// Gives up the CPU if something else should run, or if the current thread sleeps. Interrupts are off inside and, as
  /// before, outside.
  cpu::program schedule();
  /// Wakes a sleeping thread; true if it slept.
  cpu::task<bool> wake_up(thread& t);
  /// Marks `self` sleeping; the caller then checks its condition and calls `schedule` or takes it back.
  void prepare_to_sleep(thread& self) { self.state = thread_state::sleeping; }
  void cancel_sleep(thread& self) { self.state = thread_state::runnable; }
  /// yield_to() of kernel/sched/core.c for the current thread; >0 accepted, 0 refused, <0 -ESRCH.
  cpu::task<int> yield_to(thread& target, bool preempt, yield_to_rules rules = {});
  /// sched_yield() for the current thread: the policy moves it back, and picks.
  cpu::program yield();
  /// Runs `call` on a CPU in interrupt context and waits for it, spinning; on this CPU it just runs, with interrupts
  /// off, and on one that is not up it does not. Interrupts must be on: two CPUs that call each other with interrupts
  /// off would wait for ever (smp_call_function_single).
  cpu::program call_on(unsigned cpu, std::function<cpu::program()> call);
  /// The same on all CPUs of a set at once: on this one after the interrupts were sent, then it waits for the others
  /// one after the other (smp_call_function_many_cond with SCF_RUN_LOCAL).
  cpu::program call_on(cpu::cpu_set cpus, std::function<cpu::program()> call);
  /// Invalidates what the TLBs of all CPUs that run a thread of this address space, and of this CPU, hold of it. CPUs
  /// that only keep it while they idle are left out: they invalidate when they come back to it (flush_tlb_mm_range; no
  /// page tables are freed).
  cpu::program flush_tlb(std::uint32_t address_space);
  /// Arms or re-arms a timer on the current CPU.
  cpu::program arm(timer_event& timer, cycles due);
  /// Arms or re-arms a timer on another CPU, which is interrupted if that is sooner than what it waits for. Interrupts
  /// are off.
  cpu::program arm_on(unsigned cpu, timer_event& timer, cycles due);
  /// Disarms a timer, on any CPU.
  void cancel(timer_event& timer);
  /// Asks for a reschedule of another CPU, by interrupt unless one is pending.
  cpu::program resched(unsigned cpu);
  /// Sends an interrupt to a CPU of this kernel through the local APIC.
  cpu::program send_ipi(unsigned cpu, std::uint8_t vector) { return apic_->send(cpu, vector); }
  /// What it uses for one of Linux' IPI vectors.
  std::uint8_t ipi(std::uint8_t linux_vector) const {
    return static_cast<std::uint8_t>(linux_vector - config_.ipi_vector_shift);
  }
  /// What the IDT does for a vector, for hypervisors that acknowledged it at the exit; interrupts off.
  cpu::program handle_irq(std::uint8_t vector);
  /// Makes the extended state of the current thread the one in the registers.
  cpu::program load_extended_state(thread& self);
  /// Interrupts off; the answer is what to pass to `irq_restore`.
  irq_save_operation irq_save() { return models::irq_save(); }
  cpu::isa::conditional<cpu::isa::operation<void>> irq_restore(bool enabled) { return models::irq_restore(enabled); }

  // -- what its idle driver calls, on its own CPU with interrupts off ------------------------------------------------
  /// The CPU does without its tick until it runs a thread again; timers stay.
  cpu::program stop_tick(unsigned cpu);
  /// Where a CPU begins to wait, and where it goes on: how long it idles decides whether it balances when it becomes
  /// idle.
  void begin_idle(unsigned cpu) { cpus_[cpu].idle_since = now_ns(); }
  void end_idle(unsigned cpu) { cpus_[cpu].idle_time.idled_for(now_ns() - cpus_[cpu].idle_since); }

  // cpu::interrupt_table
  cpu::program entry(cpu::logical_cpu& cpu, std::uint8_t vector) override;

 private:
  /// One function on its way to one CPU. `lock` is 1 until it has run there.
  struct call_single_data {
    const std::function<cpu::program()>* call;
    cpu::word* lock;
  };
  struct call_data {
    std::vector<call_single_data> queued;  // what others want run here
    cpu::word* lock = nullptr;             // of this CPU's calls to one other, which Linux has on its stack
    std::vector<cpu::word*> locks;         // of its calls to several, by target
    cpu::spin_subject occupant;            // the truth beside waits for this CPU: awaits the strand that runs on it
  };
  struct per_cpu {
    unsigned index = 0;
    std::uint32_t source = 0;
    std::unique_ptr<thread> idle;
    thread* current = nullptr;
    thread* switched_from = nullptr;  // until finish_switch
    std::unique_ptr<spinlock> queue_lock;
    bool need_resched = false;
    bool preempt_requested = false;  // need_resched was set from outside, not by the thread itself
    bool online = false;
    bool tick_armed = false;
    bool deadline_moved = false;  // by another CPU, whose interrupt is on its way
    cycles tick_due{0};
    cycles armed_deadline = cycles::never();
    std::vector<timer_event*> timers;
    std::unique_ptr<call_data> calls;  // made at the first call from here or to here
    balance_state balance{1};
    std::uint64_t next_balance = 0;  // in ticks
    std::uint64_t ticks = 0;
    nanoseconds idle_since = 0;
    idle_estimate idle_time;
  };
  class environment;

  // machine_view
  unsigned cpu_count() const override { return config_.cpus; }
  bool idle(unsigned cpu) const override;
  std::uint64_t load(unsigned cpu) const override { return 1024 * nr_running(cpu); }
  bool shares_cache(unsigned a, unsigned b) const override;

  cpu::program boot_program(unsigned index);
  cpu::program bring_up(unsigned index);
  cpu::program idle_loop(unsigned index);
  cpu::program begin_thread();
  cpu::program end_thread(thread& t);
  cpu::program thread_main(thread& t);
  cpu::task<thread*> choose_next();
  cpu::program leave(per_cpu& p, thread& prev, thread& next);
  cpu::program finish_switch();
  cpu::task<bool> wake_queued(thread& t);
  cpu::task<bool> wake_sleeper(thread& t);
  cpu::program announce_wakeup(thread& t, unsigned target);
  cpu::program timer_interrupt();
  cpu::program tick(per_cpu& p);
  cpu::program start_tick(per_cpu& p);
  cpu::program program_deadline(per_cpu& p);
  cpu::program run_calls(per_cpu& p, const cpu::code_location& handler);
  cpu::program interrupt(const std::vector<unsigned>& targets);
  bool online(unsigned cpu) const { return cpu < config_.cpus && cpus_[cpu].online; }
  cpu::program run_here(const std::function<cpu::program()>& call);
  bool queue_call(unsigned on, call_single_data call);
  cpu::word& call_lock(cpu::word*& known);
  call_data& calls_of(per_cpu& p);
  cpu::task<bool> pull_task(per_cpu& p, balance_reason why);
  cpu::program lock_both(unsigned a, unsigned b);
  cpu::program unlock_both(unsigned a, unsigned b);
  cpu::program start_threads();
  unsigned select_cpu(thread& t, unsigned this_cpu, unsigned& looked_at);
  unsigned cache_size() const;
  std::uint64_t tick_phase() const;
  cycles tick_period() const { return cycles{config_.tsc_khz * 1000 / config_.hz}; }

  cpu::machine& hw_;
  kernel_config config_;
  std::uint16_t id_;
  std::uint64_t data_base_;
  std::uint64_t idtr_base_;
  cpu::region_allocator memory_;
  std::unique_ptr<lock_environment> locks_;
  std::unique_ptr<models::scheduler> policy_;
  std::unique_ptr<apic_driver> apic_;
  std::unique_ptr<idle_driver> idle_;
  std::vector<per_cpu> cpus_;
  std::vector<std::unique_ptr<thread>> threads_;
  std::uint32_t next_pid_ = 1;
  unsigned online_ = 0;
  std::uint64_t timers_known_ = 0;
};

}  // namespace vmxsys::models
