#pragma once
#include <cstdint>
#include <memory>

#include <vmxsys/cpu/program/program.hpp>
#include <vmxsys/models/kvm/interrupts/msr_bitmap.hpp>
#include <vmxsys/vmx/base/catalogue.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>
#include <vmxsys/vmx/vmcs/required_control.hpp>

namespace vmxsys::models {

class kernel;
class vcpu;

/// Where the deadline of a vCPU's local APIC timer waits, and how its expiry gets into the guest. One object serves all
/// vCPUs of a hypervisor and keeps no state.
class timer_backend {
 public:
  virtual ~timer_backend() = default;
  /// std::invalid_argument if it cannot work on this host.
  virtual void validate_host(const kernel&) const {}
  /// The controls that it needs in a vCPU's VMCS.
  virtual void select_controls(vmx::minimal_vmcs_options&) const {}
  /// Lets accesses of a VM's guest to the timer through that need not exit; only where interrupts are posted.
  virtual void open(msr_bitmap&) const {}
  /// The rest of the VMCS, which is current; interrupts are off.
  virtual cpu::program init_vmcs(vcpu&) const;
  /// The guest has written the timer's LVT entry.
  virtual cpu::program configured(vcpu& v) const;
  /// The guest has moved its timer's next expiry by an access that exited.
  virtual cpu::program rearmed(vcpu& v) const = 0;
  /// An entry is prepared on the vCPU's CPU and is about to look for interrupts: must its timer start anew before?
  /// Asked at every entry.
  virtual bool must_restart(const vcpu&) const { return false; }
  /// Interrupts may be on.
  virtual cpu::program restart(vcpu& v) const;
  /// The last thing before the entry, with interrupts off. What becomes due here is for the next entry.
  virtual cpu::program before_entry(vcpu& v) const = 0;
  /// The vCPU halts, and wakes again. Interrupts are off.
  virtual cpu::program before_block(vcpu& v) const = 0;
  virtual cpu::program after_block(vcpu& v) const = 0;
  /// The vCPU's timer of the host has expired; in interrupt context.
  virtual cpu::program expired(vcpu& v) const = 0;
};

struct timer_backend_entry : entry {
  vmx::required_controls needs;  ///< of the processor
  bool needs_posting;            ///< of the interrupt path: it must post
  std::unique_ptr<timer_backend> (*make)(const void* options);
};

/// The built-in backends; the first is the default.
catalogue<timer_backend_entry> timer_backends();

}  // namespace vmxsys::models
