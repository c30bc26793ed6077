#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <vmxsys/apic/local/apic_mode.hpp>
#include <vmxsys/apic/remapping/interrupt_remapping.hpp>
#include <vmxsys/cpu/program/program.hpp>
#include <vmxsys/models/kvm/halt/halt_policy.hpp>
#include <vmxsys/models/kvm/interrupts/virtual_lapic.hpp>
#include <vmxsys/models/kvm/pv/pv_service.hpp>
#include <vmxsys/models/kvm/spin/spin_policy.hpp>

#include "vcpu.hpp"

namespace vmxsys::models {

class kvm;

/// Where the guest of a VM starts: the strand that boots virtual CPU `index`.
using guest_boot = std::function<cpu::strand&(unsigned index)>;

struct virtual_machine_config {
  std::string name;
  unsigned vcpus = 1;
  guest_boot boot;
  apic::apic_mode apic = apic::apic_mode::x2apic;  ///< in which the guest finds its local APICs
  /// CPUs of the host for each vCPU's thread, none: all. Empty: as kvm_config::vcpu_affinity has it.
  std::vector<std::vector<unsigned>> affinity;
  /// What the hypervisor does for its guest and the guest's kernel uses; in the order in which hypercalls are offered.
  std::vector<selection<pv_service_entry>> pv = {pv_services().select()};
  kernel* guest = nullptr;  ///< the guest's kernel, which PV services set up; none: only hypercalls are answered
};

/// A virtual machine: its vCPUs, and what they share.
class virtual_machine {
 public:
  virtual_machine(kvm& of, unsigned number, virtual_machine_config config);

  kvm& hypervisor() { return kvm_; }
  unsigned number() const { return number_; }
  const std::string& name() const { return config_.name; }
  vcpu& cpu(unsigned i) { return *vcpus_[i]; }
  unsigned vcpus() const { return static_cast<unsigned>(vcpus_.size()); }
  apic::apic_mode apic_mode() const { return config_.apic; }
  const virtual_machine_config& config() const { return config_; }

  /// Gives the VM an interrupt of a device, while the machine is built. The answer is the entry of an
  /// interrupt-remapping table that makes the device's messages arrive as `vector` at virtual CPU `vcpu`: in posted
  /// format if interrupts are posted and `bypass` asks for it (vmx_pi_update_irte); else the message interrupts CPU
  /// `host_cpu` of the host, whose handler passes it on (irqfd_wakeup). The requester is the caller's to fill in.
  /// std::out_of_range for a virtual CPU that is not there, std::length_error when the host has no vector left.
  apic::remapping_entry connect_device_interrupt(unsigned vcpu, std::uint8_t vector, bool bypass = true,
                                                 unsigned host_cpu = 0);
  /// Devices post into its descriptors.
  bool devices_post() const { return devices_post_; }

  /// A level-triggered interrupt of a virtual I/O APIC, from a program of the host; its EOI is reported to `on_eoi`.
  /// Where interrupts are posted the vector is in the EOI-exit bitmaps from then on: each vCPU loads them before its
  /// next entry, and this one is kicked so that it enters anew (KVM_REQ_LOAD_EOI_EXITMAP). std::out_of_range for a
  /// virtual CPU that is not there.
  cpu::program raise_level_triggered(unsigned vcpu, std::uint8_t vector);
  const eoi_exit_bitmap& eoi_exits() const { return eoi_exits_; }

  /// EOIs of level-triggered interrupts are reported here, for a virtual I/O APIC. Runs on the vCPU's thread, and may
  /// raise anew.
  std::function<cpu::program(unsigned vcpu, std::uint8_t vector)> on_eoi;

  // -- for interrupt paths and vCPUs
  // -----------------------------------------------------------------------------------
  /// An MSR bitmap of its own, taken from the host's memory, in which every access exits. While the machine is built.
  physical_address make_msr_bitmap();
  /// The one that its VMCSs name.
  physical_address msr_bitmap() const;
  /// What the hypervisor's spin policy keeps of this VM; nullptr: nothing.
  spin_vm_state* spin_state() const { return spin_state_.get(); }
  /// The same of the halt policy.
  halt_vm_state* halt_state() const { return halt_state_.get(); }
  /// The PV service that answers a hypercall; nullptr: none does.
  pv_service* service_for(std::uint64_t hypercall) const;
  /// A SIPI has told one more vCPU to start.
  void vcpu_started();

 private:
  kvm& kvm_;
  unsigned number_;
  virtual_machine_config config_;
  unsigned started_ = 1;             // vCPUs that run or have been told to
  physical_address msr_bitmap_ = 0;  // of its own, if not 0
  bool devices_post_ = false;
  eoi_exit_bitmap eoi_exits_;
  std::unique_ptr<spin_vm_state> spin_state_;
  std::unique_ptr<halt_vm_state> halt_state_;
  std::vector<std::unique_ptr<pv_service>> services_;
  std::vector<std::unique_ptr<vcpu>> vcpus_;
};

}  // namespace vmxsys::models
