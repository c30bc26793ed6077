#pragma once
#include <cstdint>
#include <vector>

#include <vmxsys/cpu/program/program.hpp>
#include <vmxsys/models/kernel/kernel.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

namespace vmxsys::models {

/// The VMCSs that are current on the CPUs of a host. The vCPUs of a hypervisor share it.
struct current_vmcs_table {
  kernel& host;
  std::vector<physical_address> by_cpu;
};

/// The VMCS of a vCPU, and on which CPU it is active (struct loaded_vmcs, arch/x86/kvm/vmx/vmcs.h). Programs run on the
/// vCPU's thread with interrupts off, the VMCS current.
class loaded_vmcs {
 public:
  /// Takes the region from the host's memory.
  explicit loaded_vmcs(current_vmcs_table& current);

  physical_address address() const { return address_; }
  /// Some CPU has it active.
  bool active() const { return on_ >= 0; }
  /// What is in it; nullptr if it is active nowhere. Takes no time.
  const vmx::vmcs* peek() const { return current_.host.hardware().active_vmcs().find(address_); }

  /// A fresh VMCS, made current here and filled (vmx_create_vcpu, vmx_vcpu_reset).
  cpu::program create(const vmx::minimal_vmcs_options& options);
  /// Makes it current on `cpu`, which is this one. A VMCS that is active on another CPU is cleared there first
  /// (loaded_vmcs_clear): SDM Vol. 3C §27.11.1 forbids two. Interrupts are on for a while then.
  cpu::program load_on(unsigned cpu);
  /// VMLAUNCH where it was cleared, else VMRESUME.
  cpu::vm_entry_instruction entry();

  /// "Interrupt-window exiting" is set.
  bool window_exiting() const { return window_exiting_; }
  cpu::program set_window_exiting(bool on);

 private:
  current_vmcs_table& current_;
  physical_address address_;
  std::uint32_t primary_controls_ = 0;
  int on_ = -1;  // the CPU on which it is active
  bool launched_ = false;
  bool window_exiting_ = false;
};

}  // namespace vmxsys::models
