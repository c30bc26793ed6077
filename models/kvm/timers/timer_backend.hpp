#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <vmxsys/cpu/program/program.hpp>
#include <vmxsys/models/kvm/interrupts/msr_bitmap.hpp>
#include <vmxsys/models/kvm/required_controls.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

namespace vmxsys::models {

class vcpu;

/// Where the deadline of a vCPU's local APIC timer waits, and how its expiry gets into the guest. One object serves all
/// vCPUs of a hypervisor and keeps no state.
class timer_backend {
 public:
  virtual ~timer_backend() = default;
  virtual const char* name() const noexcept = 0;
  /// What it wants of the VMCS.
  virtual void ask_for(vmx::minimal_vmcs_options&) const {}
  /// Lets accesses of a VM's guest to the timer through that need not exit; only where interrupts are posted.
  virtual void open(msr_bitmap&) const {}
  /// The rest of the VMCS, which is current; interrupts are off.
  virtual cpu::program set_up(vcpu&) const;
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
  /// The vCPU's software timer has expired; in interrupt context.
  virtual cpu::program expired(vcpu& v) const = 0;
};

/// A built-in backend.
struct timer_backend_entry {
  const char* name;
  const char* description;
  std::vector<required_control> needs;  ///< of the processor
  bool needs_posting;                   ///< of the interrupt path: it must post
  std::function<std::unique_ptr<timer_backend>()> make;
};

/// The built-in backends; the first is what KVM uses unless told otherwise.
std::span<const timer_backend_entry> timer_backends();
/// nullptr when no built-in backend has this name.
const timer_backend_entry* find_timer_backend(std::string_view name);

}  // namespace vmxsys::models
