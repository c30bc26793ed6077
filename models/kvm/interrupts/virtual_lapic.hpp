#pragma once
#include <array>
#include <cstdint>
#include <memory>

#include <vmxsys/apic/local/local_apic.hpp>
#include <vmxsys/models/kernel/kernel.hpp>

#include "virtual_apic_memory.hpp"

namespace vmxsys::models {

/// Vectors that a VM's virtual I/O APIC has raised level-triggered: their EOIs exit. None is ever taken out.
class eoi_exit_bitmap {
 public:
  void add(std::uint8_t vector);
  const std::array<std::uint64_t, 4>& words() const { return words_; }
  /// Goes up with each vector.
  std::uint32_t version() const { return version_; }

 private:
  std::array<std::uint64_t, 4> words_{};
  std::uint32_t version_ = 0;
};

/// The virtual local APIC of a vCPU: emulated registers, which follow the same rules as a real one's, and what the
/// processor knows of them: nothing, the TPR (FlexPriority, in xAPIC mode), or a virtual-APIC page from which it
/// delivers what is posted. Programs run on the vCPU's thread, its VMCS current.
class virtual_lapic {
 public:
  virtual_lapic(unsigned index, apic::apic_mode mode, kernel& host);

  /// Gives it a virtual-APIC page; then, where interrupts are posted, a descriptor. `number` is the vCPU's among all of
  /// the hypervisor. While the machine is built.
  void make_page();
  void make_descriptor(std::uint16_t number);

  apic::local_apic& registers() { return registers_; }
  const apic::local_apic& registers() const { return registers_; }
  bool has_page() const { return memory_ != nullptr; }
  bool posts() const { return memory_ && memory_->info != nullptr; }
  /// Only with a page.
  virtual_apic_memory& memory() { return *memory_; }
  const virtual_apic_memory& memory() const { return *memory_; }

  /// A register by its number in the x2APIC map, in each mode of the APIC.
  apic::register_outcome read(std::uint32_t msr);
  /// Copies what is emulated to the page, since the processor answers reads from there.
  void show(std::uint32_t msr);
  /// The vector of the LVT timer, 0 if it is masked.
  std::uint8_t timer_vector();

  /// TPR threshold (update_cr8_intercept): the guest leaves when its TPR lets the highest request through.
  bool tpr_threshold_changed() const { return wanted_tpr_threshold() != memory_->tpr_threshold; }
  cpu::program update_tpr_threshold();

  // -- where interrupts are posted
  // -------------------------------------------------------------------------------------
  /// The VMCS does not have these bitmaps yet.
  bool must_load(const eoi_exit_bitmap& exits) const {
    return posts() && memory_->eoi_exits_version != exits.version();
  }
  /// vmx_load_eoi_exitmap
  cpu::program load(const eoi_exit_bitmap& exits);
  /// Something is posted and not yet in the page.
  bool interrupt_posted() const;
  /// Whether priorities let a vector through; -1 stands for none.
  bool can_take(int vector) const;

 private:
  std::uint8_t wanted_tpr_threshold() const;

  kernel& host_;
  apic::local_apic registers_;
  std::unique_ptr<virtual_apic_memory> memory_;  // none: the processor knows nothing of the local APIC
};

}  // namespace vmxsys::models
