#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include <vmxsys/models/kernel/kernel.hpp>
#include <vmxsys/vmx/base/catalogue.hpp>

#include "workload.hpp"

namespace vmxsys::models {

struct workload_environment {
  std::uint64_t seed;  ///< of the run: random streams of all workloads derive from it
  std::uint64_t tsc_khz;
};

struct workload_entry : entry {
  /// Adds its threads to a kernel that has not been booted yet.
  std::unique_ptr<workload> (*make)(const void* options, kernel& on, const workload_environment&);
  /// What is wrong with the options in a machine of so many CPUs; null: nothing can be.
  void (*check_vm)(const void* options, unsigned vcpus, std::vector<option_fault>& faults);
};

/// What the threads of a kernel may do.
catalogue<workload_entry> workloads();

}  // namespace vmxsys::models
