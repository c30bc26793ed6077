#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include <vmxsys/models/kernel/kernel.hpp>
#include <vmxsys/models/kvm/affinity/vcpu_affinity.hpp>
#include <vmxsys/models/kvm/halt/halt_policy.hpp>
#include <vmxsys/models/kvm/interrupts/interrupt_path.hpp>
#include <vmxsys/models/kvm/interrupts/posted_vcpus.hpp>
#include <vmxsys/models/kvm/spin/ple_window.hpp>
#include <vmxsys/models/kvm/spin/spin_policy.hpp>
#include <vmxsys/models/kvm/timers/timer_advance.hpp>
#include <vmxsys/models/kvm/timers/timer_backend.hpp>

#include "kvm_costs.hpp"
#include "loaded_vmcs.hpp"
#include "vcpu.hpp"
#include "virtual_machine.hpp"

namespace vmxsys::models {

struct kvm_config {
  selection<spin_policy_entry> spin_policy = spin_policies().select();
  selection<halt_policy_entry> halt_policy = halt_policies().select();
  std::uint32_t ple_gap = vmx::default_ple_gap;  ///< TSC cycles; 0 turns PAUSE-loop exiting off
  ple_window_parameters ple_window;              ///< window, grow, shrink, max
  selection<interrupt_path_entry> interrupt_path = interrupt_paths().select();
  selection<timer_backend_entry> timer_backend = timer_backends().select();
  selection<timer_advance_entry> timer_advance = timer_advances().select();
  selection<vcpu_affinity_entry> vcpu_affinity = vcpu_affinities().select();  ///< of VMs that list no CPUs themselves
  kvm_costs costs;
};

/// The KVM hypervisor inside a host kernel: vCPU threads, exit handlers, virtual local APICs, the PLE window and
/// policies. Algorithms as in Linux v5.6 (arch/x86/kvm/{x86,lapic}.c, arch/x86/kvm/vmx/vmx.c, virt/kvm/kvm_main.c).
class kvm {
 public:
  kvm(kernel& host, kvm_config config);
  ~kvm();

  /// Creates a VM and its vCPU threads; before the machine runs.
  virtual_machine& add(virtual_machine_config config);

  kernel& host() const { return host_; }
  const kvm_config& config() const { return config_; }
  const kvm_costs& costs() const { return config_.costs; }
  models::spin_policy& policy() const { return *policy_; }
  models::halt_policy& halts() const { return *halts_; }
  const models::timer_backend& timers() const { return *timers_; }
  const models::interrupt_path& path() const { return *path_; }
  const std::vector<std::unique_ptr<virtual_machine>>& vms() const { return vms_; }
  bool pause_loop_exiting() const { return config_.ple_gap != 0 && policy_->wants_exits(); }
  bool fast_paths() const { return fast_paths_; }

  // -- for its VMs and vCPUs
  // -------------------------------------------------------------------------------------------
  current_vmcs_table& current_vmcs() { return current_vmcs_; }
  /// In which every access exits.
  physical_address msr_bitmap() const { return msr_bitmap_; }
  /// Only where interrupts are posted.
  posted_vcpus& posted() { return *posted_; }
  std::unique_ptr<timer_advance> make_timer_advance() const;
  /// The CPUs on which a vCPU of the VM that is being added may run; empty: all.
  std::vector<unsigned> affinity_of(unsigned vcpu) const;
  /// A vector of the host that means `vector` to `target`. std::length_error when none is left.
  std::uint8_t add_device_interrupt(vcpu& target, std::uint8_t vector);

 private:
  /// What a vector of the host's means that a device of a VM has.
  struct device_interrupt {
    vcpu* target;
    std::uint8_t vector;
  };
  static constexpr std::uint8_t first_device_vector = 0x30;
  static constexpr std::size_t device_vectors = 0x80;
  cpu::program enable_on(unsigned cpu);
  cpu::program host_interrupt(unsigned cpu, std::uint8_t vector);

  kernel& host_;
  kvm_config config_;
  current_vmcs_table current_vmcs_;
  std::unique_ptr<models::spin_policy> policy_;
  std::unique_ptr<models::halt_policy> halts_;
  std::unique_ptr<models::interrupt_path> path_;
  std::unique_ptr<models::timer_backend> timers_;
  bool fast_paths_;
  std::unique_ptr<models::vcpu_affinity> affinity_;
  std::vector<std::unique_ptr<virtual_machine>> vms_;
  std::vector<physical_address> vmxon_regions_;  // by CPU
  physical_address msr_bitmap_ = 0;
  std::unique_ptr<posted_vcpus> posted_;             // none: nothing is posted
  std::vector<device_interrupt> device_interrupts_;  // by vector of the host, from first_device_vector
};

}  // namespace vmxsys::models
