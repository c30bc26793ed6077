#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include <vmxsys/cpu/program/program.hpp>
#include <vmxsys/models/kernel/kernel.hpp>
#include <vmxsys/models/posting/posting_protocol.hpp>

namespace vmxsys::models {

class vcpu;

/// The vCPUs of a hypervisor to which interrupts are posted, as the posting protocol names them. What comes in which
/// order is the protocol's; here its steps are instructions.
class posted_vcpus {
 public:
  explicit posted_vcpus(kernel& host);

  /// The number of a new vCPU.
  std::uint16_t add(vcpu& v);
  /// The vCPU that is loaded on a CPU, or no_vcpu.
  std::uint16_t running_on(unsigned cpu) const { return running_[cpu]; }
  void set_running_on(unsigned cpu, std::uint16_t vcpu) { running_[cpu] = vcpu; }

  /// Carries out steps until the machine has finished.
  template <class Machine>
  cpu::program run(Machine& machine) {
    while (!machine.finished()) {
      const std::uint64_t result = co_await perform(machine.next());
      machine.done(result);
    }
  }
  cpu::task<std::uint64_t> perform(posting_action action);

 private:
  /// vCPUs that are blocked and were on this CPU last: the wake-up vector's list.
  struct waiters {
    std::unique_ptr<spinlock> lock;
    std::vector<std::uint16_t> vcpus;
  };

  kernel& host_;
  std::vector<vcpu*> numbered_;
  std::vector<std::uint16_t> running_;  // by CPU
  std::vector<waiters> waiting_;        // by CPU
};

}  // namespace vmxsys::models
