#include <vmxsys/vmx/instructions/ept.hpp>

#include "detail/entry_checks.hpp"

// SDM Vol. 3C §29.2.1.1: the VM-execution controls.
namespace vmxsys::vmx::entry_checks {

namespace {

constexpr const char* section = "SDM Vol. 3C §29.2.1.1";

constexpr entry_check row(const char* name, field_list fields, rule holds) {
  return control(name, section, once, fields, holds);
}

// A structure of one page that a secondary control makes the processor use.
template <u64 Control, field Address>
constexpr entry_check page(const char* name) {
  return row(name, reads<primary_word, secondary_word, Address>,
             [](V v, C c) { return !secondary_on(v, Control) || page_ok(v, Address, c); });
}

template <u64 Control>
constexpr entry_check needs_ept(const char* name) {
  return row(name, reads<primary_word, secondary_word>,
             [](V v, C) { return secondary_on(v, secondary::enable_ept) || !secondary_on(v, Control); });
}
template <u64 Control>
constexpr entry_check tertiary_needs_ept(const char* name) {
  return row(name, reads<primary_word, secondary_word, tertiary_word>,
             [](V v, C) { return secondary_on(v, secondary::enable_ept) || !tertiary_on(v, Control); });
}

template <u64 Control>
constexpr entry_check needs_tpr_shadow(const char* name) {
  return row(name, reads<primary_word, secondary_word>,
             [](V v, C) { return primary_on(v, primary::use_tpr_shadow) || !secondary_on(v, Control); });
}

// The threshold is the processor's to compare only where it does not virtualize more than the TPR.
bool threshold_fits_vtpr(V v, C c) {
  if (!primary_on(v, primary::use_tpr_shadow) ||
      secondary_on(v, secondary::virtual_interrupt_delivery | secondary::virtualize_apic_accesses))
    return true;
  constexpr u64 vtpr_offset = 0x80;
  const auto vtpr = c.memory().read<std::uint8_t>(v.read(field::virtual_apic_address) + vtpr_offset);
  return (v.read(field::tpr_threshold) & 15) <= (vtpr >> 4);
}

bool switches_eptp(V v) {
  return secondary_on(v, secondary::enable_vm_functions) &&
         v.any(field::vm_function_controls, vm_function_control::eptp_switching);
}

bool pt_uses_guest_addresses(V v) { return secondary_on(v, secondary::intel_pt_uses_guest_physical_addresses); }
bool posts(V v) { return pin_on(v, pin_based::process_posted_interrupts); }
bool virtualizes_timer(V v) { return tertiary_on(v, tertiary::apic_timer_virtualization); }

constexpr entry_check rows[] = {
    row("pin-based controls: reserved bits", reads<pin_word>, [](V v, C c) { return legal(v, c, control_word::pin); }),
    row("primary processor-based controls: reserved bits", reads<primary_word>,
        [](V v, C c) { return legal(v, c, control_word::primary); }),
    row("secondary processor-based controls: reserved bits", reads<primary_word, secondary_word>,
        [](V v, C c) {
          return !primary_on(v, primary::activate_secondary_controls) || legal(v, c, control_word::secondary);
        }),
    row("tertiary processor-based controls: reserved bits", reads<primary_word, tertiary_word>,
        [](V v, C c) {
          return !primary_on(v, primary::activate_tertiary_controls) || legal(v, c, control_word::tertiary);
        }),
    row("CR3-target count", reads<field::cr3_target_count>,
        [](V v, C c) { return v.read(field::cr3_target_count) <= c.caps().max_cr3_targets(); }),
    row("I/O-bitmap A address", reads<primary_word, field::io_bitmap_a_address>,
        [](V v, C c) { return !primary_on(v, primary::use_io_bitmaps) || page_ok(v, field::io_bitmap_a_address, c); }),
    row("I/O-bitmap B address", reads<primary_word, field::io_bitmap_b_address>,
        [](V v, C c) { return !primary_on(v, primary::use_io_bitmaps) || page_ok(v, field::io_bitmap_b_address, c); }),
    row("MSR-bitmap address", reads<primary_word, field::msr_bitmap_address>,
        [](V v, C c) { return !primary_on(v, primary::use_msr_bitmaps) || page_ok(v, field::msr_bitmap_address, c); }),
    row("virtual-APIC address", reads<primary_word, field::virtual_apic_address>,
        [](V v, C c) { return !primary_on(v, primary::use_tpr_shadow) || page_ok(v, field::virtual_apic_address, c); }),
    row("TPR threshold: bits 31:4", reads<primary_word, secondary_word, field::tpr_threshold>,
        [](V v, C) {
          return !primary_on(v, primary::use_tpr_shadow) || secondary_on(v, secondary::virtual_interrupt_delivery) ||
                 v.read(field::tpr_threshold) >> 4 == 0;
        }),
    control("TPR threshold against VTPR", section, always,
            reads<primary_word, secondary_word, field::virtual_apic_address, field::tpr_threshold>,
            threshold_fits_vtpr),
    row("virtual NMIs need NMI exiting", reads<pin_word>,
        [](V v, C) { return pin_on(v, pin_based::nmi_exiting) || !pin_on(v, pin_based::virtual_nmis); }),
    row("NMI-window exiting needs virtual NMIs", reads<pin_word, primary_word>,
        [](V v, C) { return pin_on(v, pin_based::virtual_nmis) || !primary_on(v, primary::nmi_window_exiting); }),
    needs_tpr_shadow<secondary::virtualize_x2apic_mode>("x2APIC mode needs the TPR shadow"),
    needs_tpr_shadow<secondary::apic_register_virtualization>("APIC-register virtualization needs the TPR shadow"),
    needs_tpr_shadow<secondary::virtual_interrupt_delivery>("virtual-interrupt delivery needs the TPR shadow"),
    row("IPI virtualization needs the TPR shadow", reads<primary_word, tertiary_word>,
        [](V v, C) { return primary_on(v, primary::use_tpr_shadow) || !tertiary_on(v, tertiary::ipi_virtualization); }),
    row("x2APIC mode excludes APIC-access virtualization", reads<primary_word, secondary_word>,
        [](V v, C) {
          return !secondary_on(v, secondary::virtualize_x2apic_mode) ||
                 !secondary_on(v, secondary::virtualize_apic_accesses);
        }),
    row("virtual-interrupt delivery needs external-interrupt exiting", reads<pin_word, primary_word, secondary_word>,
        [](V v, C) {
          return !secondary_on(v, secondary::virtual_interrupt_delivery) ||
                 pin_on(v, pin_based::external_interrupt_exiting);
        }),
    row("posted interrupts need virtual-interrupt delivery", reads<pin_word, primary_word, secondary_word>,
        [](V v, C) { return !posts(v) || secondary_on(v, secondary::virtual_interrupt_delivery); }),
    row("posted interrupts need acknowledgement on exit", reads<pin_word, exit_word>,
        [](V v, C) { return !posts(v) || exit_on(v, vm_exit_control::acknowledge_interrupt_on_exit); }),
    row("posted-interrupt notification vector", reads<pin_word, field::posted_interrupt_notification_vector>,
        [](V v, C) { return !posts(v) || v.read(field::posted_interrupt_notification_vector) <= 0xFF; }),
    row("posted-interrupt descriptor address", reads<pin_word, field::posted_interrupt_descriptor_address>,
        [](V v, C c) { return !posts(v) || address_ok(v.read(field::posted_interrupt_descriptor_address), 64, c); }),
    row("VPID is not 0", reads<primary_word, secondary_word, field::virtual_processor_identifier>,
        [](V v, C) {
          return !secondary_on(v, secondary::enable_vpid) || v.read(field::virtual_processor_identifier) != 0;
        }),
    row("EPT pointer", reads<primary_word, secondary_word, field::ept_pointer>,
        [](V v, C c) {
          return !secondary_on(v, secondary::enable_ept) || eptp_legal(v.read(field::ept_pointer), c.caps());
        }),
    needs_ept<secondary::enable_pml>("PML needs EPT"),
    needs_ept<secondary::unrestricted_guest>("unrestricted guest needs EPT"),
    needs_ept<secondary::mode_based_execute_control_for_ept>("mode-based execute control needs EPT"),
    needs_ept<secondary::sub_page_write_permissions_for_ept>("sub-page write permissions need EPT"),
    needs_ept<secondary::intel_pt_uses_guest_physical_addresses>("Intel PT with guest-physical addresses needs EPT"),
    tertiary_needs_ept<tertiary::pebs_uses_guest_physical_addresses>("PEBS with guest-physical addresses needs EPT"),
    tertiary_needs_ept<tertiary::enable_hlat>("HLAT needs EPT"),
    tertiary_needs_ept<tertiary::ept_paging_write_control>("EPT paging-write control needs EPT"),
    tertiary_needs_ept<tertiary::guest_paging_verification>("guest-paging verification needs EPT"),
    page<secondary::enable_pml, field::pml_address>("PML address"),
    page<secondary::virtualize_apic_accesses, field::apic_access_address>("APIC-access address"),
    page<secondary::vmcs_shadowing, field::vmread_bitmap_address>("VMREAD-bitmap address"),
    page<secondary::vmcs_shadowing, field::vmwrite_bitmap_address>("VMWRITE-bitmap address"),
    page<secondary::ept_violation_ve, field::virtualization_exception_information_address>(
        "virtualization-exception information address"),
    page<secondary::sub_page_write_permissions_for_ept, field::sub_page_permission_table_pointer>(
        "sub-page-permission-table pointer"),
    page<secondary::pasid_translation, field::low_pasid_directory_address>("low PASID-directory address"),
    page<secondary::pasid_translation, field::high_pasid_directory_address>("high PASID-directory address"),
    row("VM functions: reserved bits", reads<primary_word, secondary_word, field::vm_function_controls>,
        [](V v, C c) {
          return !secondary_on(v, secondary::enable_vm_functions) ||
                 !v.any(field::vm_function_controls, ~c.caps().vmfunc);
        }),
    row("EPTP switching needs EPT", reads<primary_word, secondary_word, field::vm_function_controls>,
        [](V v, C) { return !switches_eptp(v) || secondary_on(v, secondary::enable_ept); }),
    row("EPTP-list address", reads<primary_word, secondary_word, field::vm_function_controls, field::eptp_list_address>,
        [](V v, C c) { return !switches_eptp(v) || page_ok(v, field::eptp_list_address, c); }),
    row("TSC multiplier is not 0", reads<primary_word, secondary_word, field::tsc_multiplier>,
        [](V v, C) { return !secondary_on(v, secondary::use_tsc_scaling) || v.read(field::tsc_multiplier) != 0; }),
    row("PID-pointer table address", reads<primary_word, tertiary_word, field::pid_pointer_table_address>,
        [](V v, C c) {
          return !tertiary_on(v, tertiary::ipi_virtualization) ||
                 address_ok(v.read(field::pid_pointer_table_address), 8, c);
        }),
    row("PID-pointer table: last entry",
        reads<primary_word, tertiary_word, field::pid_pointer_table_address, field::last_pid_pointer_index>,
        [](V v, C c) {
          return !tertiary_on(v, tertiary::ipi_virtualization) ||
                 in_width(v.read(field::pid_pointer_table_address) + 8 * v.read(field::last_pid_pointer_index), c);
        }),
    row("HLAT pointer", reads<primary_word, tertiary_word, field::hlat_pointer>,
        [](V v, C c) {
          constexpr u64 reserved = 0xFE7;
          return !tertiary_on(v, tertiary::enable_hlat) ||
                 (!v.any(field::hlat_pointer, reserved) && in_maxphyaddr(v.read(field::hlat_pointer), c));
        }),
    row("APIC-timer virtualization needs virtual-interrupt delivery",
        reads<primary_word, secondary_word, tertiary_word>,
        [](V v, C) { return !virtualizes_timer(v) || secondary_on(v, secondary::virtual_interrupt_delivery); }),
    row("APIC-timer virtualization excludes RDTSC exiting", reads<primary_word, tertiary_word>,
        [](V v, C) { return !virtualizes_timer(v) || !rdtsc_exits(v); }),
    row("virtual-timer vector", reads<primary_word, tertiary_word, field::virtual_timer_vector>,
        [](V v, C) { return !virtualizes_timer(v) || v.read(field::virtual_timer_vector) <= 0xFF; }),
    row("Intel PT with guest-physical addresses needs RTIT_CTL loaded",
        reads<primary_word, secondary_word, entry_controls_word>,
        [](V v, C) { return !pt_uses_guest_addresses(v) || entry_on(v, vm_entry_control::load_ia32_rtit_ctl); }),
    row("Intel PT with guest-physical addresses needs RTIT_CTL cleared", reads<primary_word, secondary_word, exit_word>,
        [](V v, C) { return !pt_uses_guest_addresses(v) || exit_on(v, vm_exit_control::clear_ia32_rtit_ctl); }),
    row("RTIT_CTL is not loaded while the host traces", reads<entry_controls_word>,
        [](V v, C c) { return !c.tracing() || !entry_on(v, vm_entry_control::load_ia32_rtit_ctl); }),
};

}  // namespace

const entry_check_group execution_controls = group<rows>("VM-execution controls");

}  // namespace vmxsys::vmx::entry_checks
