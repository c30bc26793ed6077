#pragma once
// What a hypervisor does when a guest halts: the policy, and what it may see and do.
//
// A policy is a program over a small context, as a spin policy is. One policy object serves all VMs of a hypervisor;
// what it keeps of a VM between calls is in the state that it makes for each.

#include <memory>

#include <vmxsys/cpu/program/program.hpp>
#include <vmxsys/vmx/base/catalogue.hpp>
#include <vmxsys/vmx/base/cycles.hpp>

namespace vmxsys::models {

/// What a policy keeps of one VM: of its vCPUs, or of the VM as a whole.
class halt_vm_state {
 public:
  virtual ~halt_vm_state() = default;
};

/// What a halt policy can see and do. The timer backend waits for the guest's deadline already. Interrupts of the host
/// are off, and as before after each call.
class halt_context {
 public:
  virtual ~halt_context() = default;

  virtual unsigned vcpus() const = 0;  ///< of the VM
  virtual unsigned me() const = 0;     ///< the vCPU whose guest halts
  virtual cycles now() const = 0;      ///< the TSC of the host
  /// What the policy made for this VM.
  virtual halt_vm_state& state() = 0;

  /// There is something to run for (kvm_vcpu_check_block).
  virtual bool runnable() const = 0;
  /// Looks again and again whether there is, with interrupts on, until `end` at most or until another thread wants the
  /// CPU. True if there is.
  virtual cpu::task<bool> poll(cycles end) = 0;
  /// Sleeps until there is.
  virtual cpu::program block() = 0;
};

class halt_policy {
 public:
  virtual ~halt_policy() = default;
  /// For a new VM of `vcpus` vCPUs. Null: it keeps none.
  virtual std::unique_ptr<halt_vm_state> make_vm_state(unsigned vcpus) const {
    static_cast<void>(vcpus);
    return nullptr;
  }
  /// One halt. When it returns, there must be something to run for: the vCPU enters its guest.
  virtual cpu::program on_halt(halt_context& context) = 0;
};

struct halt_policy_entry : entry {
  std::unique_ptr<halt_policy> (*make)(const void* options);
};

/// The built-in policies; the first is the default.
catalogue<halt_policy_entry> halt_policies();

}  // namespace vmxsys::models
