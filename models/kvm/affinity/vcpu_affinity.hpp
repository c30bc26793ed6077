#pragma once
// On which CPUs of the host the threads of vCPUs may run.

#include <memory>
#include <vector>

#include <vmxsys/vmx/base/catalogue.hpp>

namespace vmxsys::models {

/// A vCPU that is about to get its thread.
struct vcpu_to_place {
  unsigned cpus;    ///< of the host
  unsigned vm;      ///< from 0
  unsigned vcpu;    ///< in its VM, from 0
  unsigned before;  ///< vCPUs of the VMs before its own
};

/// A rule for all VMs of a hypervisor.
class vcpu_affinity {
 public:
  virtual ~vcpu_affinity() = default;
  /// Numbers of CPUs; empty: all.
  virtual std::vector<unsigned> cpus_of(const vcpu_to_place& v) const = 0;
};

struct vcpu_affinity_entry : entry {
  std::unique_ptr<vcpu_affinity> (*make)(const void* options);
};

/// The built-in rules; the first is the default.
catalogue<vcpu_affinity_entry> vcpu_affinities();

}  // namespace vmxsys::models
