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
  cycles chunk{2'300'000};  ///< one unit of work
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

/// The threads of a workload and what they share. Thread i of one-per-CPU workloads is bound to CPU i. Each finished
/// round or chunk is stated as a `work_fact`.
class workload {
 public:
  virtual ~workload() = default;
  virtual const char* name() const noexcept = 0;
};

std::unique_ptr<workload> add_lock_bound(kernel& on, const lock_bound_parameters& parameters, std::uint64_t seed);
std::unique_ptr<workload> add_cpu_bound(kernel& on, const cpu_bound_parameters& parameters);
std::unique_ptr<workload> add_tlb_shootdown(kernel& on, const tlb_shootdown_parameters& parameters, std::uint64_t seed);
/// Throws std::invalid_argument for a queued lock.
std::unique_ptr<workload> add_user_spin(kernel& on, const user_spin_parameters& parameters, std::uint64_t seed);

}  // namespace vmxsys::models
