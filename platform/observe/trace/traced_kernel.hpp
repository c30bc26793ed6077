#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vmxsys/cpu/facts/fact.hpp>
#include <vmxsys/platform/observe/base/observed_machine.hpp>

#include "trace_format.hpp"

namespace vmxsys::platform {

/// What is appended to the vCPU threads' names of each VM, so that two VMs can be told apart: nothing where there is
/// one VM, else a slash and the VM's name as far as 15 characters hold "CPU 7/KVM/name" for each vCPU of each VM.
/// Where names cut like that are empty or equal, the numbers of the VMs, from 0, take their place.
std::vector<std::string> vm_marks(const std::vector<std::string>& names, unsigned most_vcpus);

/// The kernel that runs on the machine itself, as a tracer inside it names CPUs and threads: the host, or on bare metal
/// the only kernel. vCPU threads are called as QEMU calls them, "CPU 7/KVM", with a mark of the VM where there are
/// several (QEMU gives all VMs the same names; only the thread ids differ).
class traced_kernel {
 public:
  explicit traced_kernel(const observed_machine& of);

  unsigned cpus() const { return kernel_.cpus(); }
  /// The CPU of this kernel that recorded the fact; none: some other component did.
  std::optional<unsigned> cpu_of(const cpu::fact_view& fact) const {
    const std::uint32_t source = fact.header().id.source;
    if (source >= cpu_of_source_.size() || cpu_of_source_[source] < 0) return std::nullopt;
    return static_cast<unsigned>(cpu_of_source_[source]);
  }
  std::uint64_t to_ns(cycles c) const { return kernel_.to_ns(c); }
  /// A thread that runs on `cpu` or is to run there; pid 0 is that CPU's idle thread. The text is the kernel's own and
  /// lasts as long as this object.
  models::trace::task_name task(std::uint32_t pid, unsigned cpu) const;
  /// The thread of virtual CPU `vcpu` of VM `vm`.
  std::uint32_t vcpu_pid(unsigned vm, unsigned vcpu) const { return vms_[vm]->cpu(vcpu).thread().pid; }
  /// The thread that a CPU executes now.
  models::trace::task_name current(unsigned cpu) const { return task(kernel_.current(cpu).pid, cpu); }

 private:
  models::kernel& kernel_;
  const std::vector<std::unique_ptr<models::virtual_machine>>& vms_;
  std::vector<int> cpu_of_source_;   // by source of facts; -1: not a CPU of this kernel
  std::vector<std::string> comms_;   // by pid
  std::vector<std::string> idlers_;  // by CPU
};

}  // namespace vmxsys::platform
