#pragma once
#include <vector>

#include <vmxsys/cpu/core/machine.hpp>
#include <vmxsys/models/kernel/kernel.hpp>
#include <vmxsys/models/kvm/kvm.hpp>

namespace vmxsys::platform {

/// A machine with its software, as traces and collectors see it: hardware, kernels and hypervisor, and nothing of the
/// configuration that they were made from. All of it outlives its observers.
struct observed_machine {
  cpu::machine& hardware;
  models::kernel& host;  ///< switched off on bare metal
  models::kvm& hypervisor;
  std::vector<models::kernel*> guests;  ///< by number of the VM
  bool bare_metal = false;              ///< the only guest's kernel runs on the machine itself

  /// The kernel that runs on the machine itself.
  models::kernel& outer_kernel() const { return bare_metal ? *guests.front() : host; }
};

}  // namespace vmxsys::platform
