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

/// The threads of a workload and what they share. Thread i of one-per-CPU workloads is bound to CPU i. Each finished
/// round or chunk is stated as a `work_fact`.
class workload {
 public:
  virtual ~workload() = default;
  virtual const char* name() const noexcept = 0;
};

std::unique_ptr<workload> add_lock_bound(kernel& on, const lock_bound_parameters& parameters, std::uint64_t seed);
std::unique_ptr<workload> add_cpu_bound(kernel& on, const cpu_bound_parameters& parameters);

}  // namespace vmxsys::models
