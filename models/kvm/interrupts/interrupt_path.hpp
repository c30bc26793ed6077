#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <vmxsys/apic/local/apic_mode.hpp>
#include <vmxsys/cpu/program/program.hpp>
#include <vmxsys/models/kvm/required_controls.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

namespace vmxsys::models {

class kvm;
class vcpu;
class virtual_machine;

/// How interrupts get from one virtual CPU, or from the host, into another. One object serves all VMs of a hypervisor
/// and keeps no state.
class interrupt_path {
 public:
  virtual ~interrupt_path() = default;
  virtual const char* name() const noexcept = 0;
  /// The processor delivers interrupts from a virtual-APIC page, and they get there by a posted-interrupt descriptor.
  virtual bool posts() const noexcept { return false; }
  /// Processors post into descriptors, too: those of vCPUs that are on no CPU must say so.
  virtual bool posts_by_hardware() const noexcept { return false; }

  /// A VM is complete: what the path allows of it, and what all its vCPUs share. std::invalid_argument if the VM cannot
  /// be run this way.
  virtual void prepare(virtual_machine&) const {}
  /// What it wants of the VMCS of a vCPU whose guest finds its local APIC in `mode`.
  virtual void ask_for(vmx::minimal_vmcs_options& options, apic::apic_mode mode) const = 0;
  /// The rest of the VMCS, which is current; interrupts are off.
  virtual cpu::program set_up(vcpu& v) const = 0;
  /// A fixed interrupt arrives at the virtual local APIC of `target`, which is made to notice.
  virtual cpu::program accept(vcpu& target, std::uint8_t vector) const = 0;
  /// The same of a level-triggered one, whose EOI is heard of: by the emulated local APIC, or since the vector is in
  /// the EOI-exit bitmap.
  virtual cpu::program accept_level_triggered(vcpu& target, std::uint8_t vector) const;
  /// All vCPUs of a VM have been told to start.
  virtual void all_started(virtual_machine&) const {}
  /// The host has an interrupt that its kernel does not know; in interrupt context.
  virtual cpu::program host_interrupt(kvm& k, unsigned cpu, std::uint8_t vector) const;
};

/// A built-in path.
struct interrupt_path_entry {
  const char* name;
  const char* description;
  std::vector<required_control> needs;  ///< of the processor, with guests in x2APIC mode
  bool posts;                           ///< interrupt_path::posts
  bool pinned;                          ///< vCPU i must be bound to CPU i, and no other vCPU
  std::function<std::unique_ptr<interrupt_path>()> make;
};

/// The built-in paths; the first is what KVM uses unless told otherwise.
std::span<const interrupt_path_entry> interrupt_paths();
/// nullptr when no built-in path has this name.
const interrupt_path_entry* find_interrupt_path(std::string_view name);

}  // namespace vmxsys::models
