#include <stdexcept>
#include <string>

#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/models/kvm/kvm.hpp>

#include "detail/injected_path.hpp"
#include "msr_bitmap.hpp"

namespace vmxsys::models {

namespace {

/// The guest has the ICR: its IPIs leave without an exit and address physical CPUs. They take a vCPU out of its guest
/// as any interrupt does, and are injected. Only for vCPUs that have their CPUs to themselves, which is not checked
/// while they run: a guest can interrupt any CPU. As Dune lets a process (Belay et al., OSDI '12) and Shinjuku
/// its dispatcher (Kaffes et al., NSDI '19) send.
class direct_path final : public injected_path {
 public:
  void validate_vm(virtual_machine& vm) const override {
    if (vm.apic_mode() != apic::apic_mode::x2apic)
      throw std::invalid_argument("interrupt path 'direct' needs guests in x2APIC mode");
    if (vm.hypervisor().host().apic_mode() != apic::apic_mode::x2apic)
      throw std::invalid_argument("interrupt path 'direct' needs a host in x2APIC mode: the guest's ICR is the host's");
    for (unsigned i = 0; i < vm.vcpus(); ++i) {
      const std::vector<bool>& allowed = vm.cpu(i).thread().entity->affinity;
      unsigned cpus = 0;
      for (const bool a : allowed) cpus += a;
      if (cpus != 1 || i >= allowed.size() || !allowed[i] || alone_on(i) != nullptr)
        throw std::invalid_argument("interrupt path 'direct' needs vCPU " + std::to_string(i) + " of '" + vm.name() +
                                    "' bound to CPU " + std::to_string(i) + ", and no other vCPU there");
    }
  }
  void init_vm(virtual_machine& vm) override {
    for (unsigned i = static_cast<unsigned>(dedicated_.size()); i < vm.vcpus(); ++i) dedicated_.push_back(nullptr);
    for (unsigned i = 0; i < vm.vcpus(); ++i) dedicated_[i] = &vm.cpu(i);
    vm.make_msr_bitmap();
  }
  // INIT and SIPI are emulated, so the ICR is the guest's only when no vCPU waits for them any more.
  void all_started(virtual_machine& vm) const override {
    msr_bitmap{vm.hypervisor().host().hardware().physical(), vm.msr_bitmap()}.allow_write(apic::msr::icr);
  }
  cpu::program host_interrupt(kvm&, unsigned cpu, std::uint8_t vector) const override {
    vcpu* target = alone_on(cpu);
    if (target != nullptr) co_await accept(*target, vector);
  }

 private:
  vcpu* alone_on(unsigned cpu) const { return cpu < dedicated_.size() ? dedicated_[cpu] : nullptr; }

  std::vector<vcpu*> dedicated_;  // by CPU: the vCPU that has it to itself
};

}  // namespace

extern const interrupt_path_entry direct_path_entry = entry_without<interrupt_path_entry>(
    "direct",
    "the guest writes the physical ICR; receivers exit and are injected. Only for vCPU i bound to CPU i, alone there",
    vmx::required_controls{}, false, true,
    [](const void*) -> std::unique_ptr<interrupt_path> { return std::make_unique<direct_path>(); });

}  // namespace vmxsys::models
