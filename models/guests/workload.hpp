#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <vmxsys/models/kernel/kernel.hpp>

#include "random_stream.hpp"

namespace vmxsys::models {

/// Threads that compute in user mode and, between two computations, enter their kernel and take one of its spinlocks:
/// what dedup, vips or psearchy do to a kernel, with every length stated.
struct lock_bound_parameters {
  unsigned threads = 0;        ///< 0: one for each CPU of the kernel
  unsigned locks = 1;          ///< each round takes a random one of them
  duration_distribution work;  ///< between two critical sections
  duration_distribution hold;  ///< of a critical section
  unsigned user_share = 50;    ///< percent of `work` spent in user mode, the rest in the kernel
};

/// Threads that only compute in user mode (swaptions).
struct cpu_bound_parameters {
  unsigned threads = 0;
  cycles chunk{2'300'000};  ///< one unit of work; not 0
};

/// Threads of one address space that compute in user mode and now and then unmap memory: a system call that changes
/// page tables and makes the TLBs of all CPUs that run one of them forget it (madvise of an allocator, ebizzy).
struct tlb_shootdown_parameters {
  unsigned threads = 0;                              ///< 0: one for each CPU of the kernel
  duration_distribution work;                        ///< in user mode between two system calls
  duration_distribution unmap{.mean = cycles{500}};  ///< of a system call, before the shootdown
};

/// Threads that compute and, between two computations, take a spinlock of their own program: all of it at CPL 3, where
/// holders and waiters are preempted at any instruction.
struct user_spin_parameters {
  unsigned threads = 0;                      ///< 0: one for each CPU of the kernel
  lock_kind lock = lock_kind::test_and_set;  ///< or ticket
  unsigned locks = 1;                        ///< each round takes a random one of them
  duration_distribution work;                ///< between two critical sections
  duration_distribution hold;                ///< of a critical section
};

/// How the workload `ipi` interrupts its targets.
enum class ipi_send : std::uint8_t {
  interrupt,  ///< an interrupt to each, by what the kernel's APIC driver needs for it; the sender goes on
  shorthand,  ///< one ICR write: all excluding self; the sender goes on
  call,       ///< a function call on all of them, for which the sender waits
};

/// A microbenchmark of interrupts between the CPUs of a kernel. A kernel thread on CPU 0 sends rounds to CPUs 1 ..
/// `targets`; each target states when its handler begins and when it has run (`ipi_bench_fact`). A round begins when
/// the one before it is over everywhere.
struct ipi_parameters {
  ipi_send send = ipi_send::interrupt;
  unsigned targets = 1;         ///< 0: all others
  duration_distribution work;   ///< of the sender between two rounds; not always 0
  bool halted_targets = false;  ///< targets have nothing to do; otherwise they compute in user mode
};

/// A microbenchmark of timers: a kernel thread on CPU 0 arms a timer of its kernel, waits for it, computing or asleep,
/// and states each step (`timer_bench_fact`).
struct timer_parameters {
  cycles ahead{10'000};        ///< of the present is the deadline; not 0
  duration_distribution work;  ///< between two rounds
  bool halted = false;         ///< the CPU idles while it waits
};

/// The threads of a workload and what they share. Thread i of one-per-CPU workloads is bound to CPU i. Each finished
/// round or chunk is stated as a `work_fact`.
class workload {
 public:
  virtual ~workload() = default;
  virtual const char* name() const noexcept = 0;
};

// Each throws std::invalid_argument for parameters it cannot run with: what is said to be not 0 is, or as stated.
std::unique_ptr<workload> add_lock_bound(kernel& on, const lock_bound_parameters& parameters, std::uint64_t seed);
std::unique_ptr<workload> add_cpu_bound(kernel& on, const cpu_bound_parameters& parameters);
std::unique_ptr<workload> add_tlb_shootdown(kernel& on, const tlb_shootdown_parameters& parameters, std::uint64_t seed);
/// Throws std::invalid_argument for a kernel with one CPU.
std::unique_ptr<workload> add_ipi(kernel& on, const ipi_parameters& parameters, std::uint64_t seed);
std::unique_ptr<workload> add_timer(kernel& on, const timer_parameters& parameters, std::uint64_t seed);
/// Throws std::invalid_argument for a queued lock.
std::unique_ptr<workload> add_user_spin(kernel& on, const user_spin_parameters& parameters, std::uint64_t seed);

}  // namespace vmxsys::models
