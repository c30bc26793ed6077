#pragma once
#include <vector>

#include <vmxsys/apic/virtualization/apic_access.hpp>
#include <vmxsys/apic/virtualization/virtual_interrupts.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>

#include "vmx/flat_memory.hpp"

namespace vmxsys::apic::apic_testing {

using vmx::field;

/// A guest whose APIC is virtualized: VMCS, memory and processor state, with the usual addresses filled in. No control
/// but "use TPR shadow" is 1 until asked for.
struct virtual_apic_bench {
  static constexpr physical_address page_at = 0x10000;
  static constexpr physical_address access_page = 0x20000;
  static constexpr physical_address descriptor = 0x30040;
  static constexpr physical_address table = 0x40008;
  static constexpr std::uint8_t notification_vector = 0xF2;

  vmx::vmcs v;
  vmx::test::flat_memory memory;
  virtual_interrupt_state state;
  virtual_apic a{v, memory, state};

  virtual_apic_bench() {
    v.write(field::primary_processor_based_controls, vmx::primary::use_tpr_shadow |
                                                         vmx::primary::activate_secondary_controls |
                                                         vmx::primary::activate_tertiary_controls);
    v.write(field::virtual_apic_address, page_at);
    v.write(field::apic_access_address, access_page);
    v.write(field::posted_interrupt_descriptor_address, descriptor);
    v.write(field::posted_interrupt_notification_vector, notification_vector);
    v.write(field::pid_pointer_table_address, table);
  }
  virtual_apic_bench(const virtual_apic_bench&) = delete;

  void set(field f, std::uint64_t bits, bool on = true) { v.write(f, on ? v.read(f) | bits : v.read(f) & ~bits); }
  virtual_apic_bench& window(bool on) {
    set(field::primary_processor_based_controls, vmx::primary::interrupt_window_exiting, on);
    return *this;
  }
  virtual_apic_bench& with(apic_controls controls) {
    set(field::primary_processor_based_controls, vmx::primary::use_tpr_shadow, has(controls, apic_control::tpr_shadow));
    set(field::secondary_processor_based_controls, vmx::secondary::apic_register_virtualization,
        has(controls, apic_control::register_virtualization));
    set(field::secondary_processor_based_controls, vmx::secondary::virtual_interrupt_delivery,
        has(controls, apic_control::interrupt_delivery));
    set(field::tertiary_processor_based_controls, vmx::tertiary::ipi_virtualization,
        has(controls, apic_control::ipi_virtualization));
    return *this;
  }
  virtual_apic_bench& delivering() {
    return with(apic_control::tpr_shadow | apic_control::register_virtualization | apic_control::interrupt_delivery);
  }
  virtual_apic_bench& posting() {
    set(field::pin_based_controls, vmx::pin_based::process_posted_interrupts);
    return delivering();
  }
  virtual_apic_page page() { return a.page(); }
  void eoi_exit(std::uint8_t vector) {
    constexpr field words[] = {field::eoi_exit_bitmap_0, field::eoi_exit_bitmap_1, field::eoi_exit_bitmap_2,
                               field::eoi_exit_bitmap_3};
    set(words[vector / 64], std::uint64_t{1} << vector % 64);
  }
};

/// All 16 sets of controls.
inline std::vector<apic_controls> all_apic_controls() {
  std::vector<apic_controls> all;
  for (unsigned c = 0; c < 16; ++c) all.push_back(static_cast<apic_controls>(c));
  return all;
}

inline apic_access reads(std::uint16_t offset, std::uint8_t bytes = 4) {
  apic_access access;
  access.offset = offset;
  access.bytes = bytes;
  return access;
}
inline apic_access writes(std::uint16_t offset, std::uint8_t bytes = 4) {
  apic_access access = reads(offset, bytes);
  access.write = true;
  return access;
}

/// A trap-like exit with this reason and qualification, and nothing else.
inline bool is_trap(const virtualization_result& r, vmx::exit_reason reason, std::uint64_t qualification) {
  return r.trap && r.trap->reason == reason && r.trap->qualification == qualification && !r.notify && !r.posted;
}
inline bool is_quiet(const virtualization_result& r) { return !r.trap && !r.notify && !r.posted; }

}  // namespace vmxsys::apic::apic_testing
