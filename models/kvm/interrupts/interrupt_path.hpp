#pragma once
#include <cstdint>
#include <memory>

#include <vmxsys/apic/local/apic_mode.hpp>
#include <vmxsys/cpu/program/program.hpp>
#include <vmxsys/vmx/base/catalogue.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>
#include <vmxsys/vmx/vmcs/required_control.hpp>

namespace vmxsys::models {

class kvm;
class vcpu;
class virtual_machine;

/// How interrupts get from one virtual CPU, or from the host, into another. One object serves all VMs of a hypervisor;
/// what it has to remember of them is its own.
class interrupt_path {
 public:
  virtual ~interrupt_path() = default;
  /// The processor delivers interrupts from a virtual-APIC page, and they get there by a posted-interrupt descriptor.
  virtual bool posts() const noexcept { return false; }
  /// Processors post into descriptors, too: those of vCPUs that are on no CPU must say so.
  virtual bool posts_by_hardware() const noexcept { return false; }
  /// Some exits go back into the guest with interrupts off.
  virtual bool fast_paths() const noexcept { return false; }

  /// A VM is complete and about to be added. std::invalid_argument if it cannot be run this way.
  virtual void validate_vm(virtual_machine&) const {}
  /// Makes what all its vCPUs share.
  virtual void init_vm(virtual_machine&) {}
  /// The controls that it needs in the VMCS of a vCPU whose guest finds its local APIC in `mode`.
  virtual void select_controls(vmx::minimal_vmcs_options& options, apic::apic_mode mode) const = 0;
  /// The rest of the VMCS, which is current; interrupts are off.
  virtual cpu::program init_vmcs(vcpu& v) const = 0;
  /// A fixed interrupt arrives at the virtual local APIC of `target`, which is kicked if need be.
  virtual cpu::program accept(vcpu& target, std::uint8_t vector) const = 0;
  /// The same of a level-triggered one, whose EOI is reported: by the emulated local APIC, or since the vector is in
  /// the EOI-exit bitmap.
  virtual cpu::program accept_level_triggered(vcpu& target, std::uint8_t vector) const;
  /// All vCPUs of a VM have been told to start.
  virtual void all_started(virtual_machine&) const {}
  /// The host has an interrupt that its kernel does not know; in interrupt context.
  virtual cpu::program host_interrupt(kvm& k, unsigned cpu, std::uint8_t vector) const;
};

struct interrupt_path_entry : entry {
  vmx::required_controls needs;  ///< of the processor, with guests in x2APIC mode
  bool posts;                    ///< interrupt_path::posts
  bool pinned;                   ///< vCPU i must be bound to CPU i, and no other vCPU
  std::unique_ptr<interrupt_path> (*make)(const void* options);
};

/// The built-in paths; the first is the default.
catalogue<interrupt_path_entry> interrupt_paths();

}  // namespace vmxsys::models
