#include <vmxsys/vmx/control.hpp>
#include <vmxsys/vmx/entry.hpp>
#include <vmxsys/vmx/event.hpp>
#include <vmxsys/vmx/minimal_vmcs.hpp>

#include <gtest/gtest.h>

#include "flat_memory.hpp"
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace vmxsys::vmx {
namespace {

const capabilities& cascade_lake() { return find_capability_row("cascade_lake_sp")->values; }

constexpr std::uint64_t too_wide = std::uint64_t{1} << 46;
constexpr std::uint64_t not_canonical = std::uint64_t{1} << 47;

using changes = std::vector<std::pair<field, std::uint64_t>>;

/// Controls in addition to the minimal ones, then fields overwritten.
struct mutation {
  const char* label;
  const char* check;  // nullptr: passes
  std::uint64_t secondary = 0;
  std::uint64_t primary = 0;
  std::uint64_t pin = 0;
  changes fields;
  std::uint64_t qualification = 0;
};

void PrintTo(const mutation& m, std::ostream* out) { *out << m.label; }

using f = field;
constexpr std::uint64_t tpr = primary::use_tpr_shadow;
constexpr std::uint64_t valid = event_bits::valid;
constexpr std::uint64_t inject_irq = valid | 0x30;
constexpr std::uint64_t inject_nmi = valid | 2 << 8 | 2;
constexpr std::uint64_t legal_eptp = 0x5000 | 3 << 3 | 6;
constexpr std::uint64_t ept = secondary::enable_ept;

const mutation mutations[] = {
    {"nothing", nullptr, 0, 0, 0, {}, 0},
    {"pin_0", "pin-based controls: reserved bits", 0, 0, 0, {{f::pin_based_controls, 0}}, 0},
    {"pin_bit_8", "pin-based controls: reserved bits", 0, 0, 0, {{f::pin_based_controls, 0x11F}}, 0},
    {"primary_0",
     "primary processor-based controls: reserved bits",
     0,
     0,
     0,
     {{f::primary_processor_based_controls, 0}},
     0},
    {"secondary_ignored", nullptr, 0, 0, 0, {{f::secondary_processor_based_controls, 0xFFFF'FFFF}}, 0},
    {"secondary_reserved",
     "secondary processor-based controls: reserved bits",
     secondary::enable_rdtscp,
     0,
     0,
     {{f::secondary_processor_based_controls, 1u << 29}},
     0},
    {"cr3_targets_4", nullptr, 0, 0, 0, {{f::cr3_target_count, 4}}, 0},
    {"cr3_targets_5", "CR3-target count", 0, 0, 0, {{f::cr3_target_count, 5}}, 0},
    {"io_bitmap_a", "I/O-bitmap addresses", 0, primary::use_io_bitmaps, 0, {{f::io_bitmap_a_address, 0x1800}}, 0},
    {"io_bitmap_b", "I/O-bitmap addresses", 0, primary::use_io_bitmaps, 0, {{f::io_bitmap_b_address, too_wide}}, 0},
    {"io_bitmap_unused", nullptr, 0, 0, 0, {{f::io_bitmap_b_address, 1}}, 0},
    {"msr_bitmap", "MSR-bitmap address", 0, primary::use_msr_bitmaps, 0, {{f::msr_bitmap_address, 1}}, 0},
    {"msr_bitmap_ok", nullptr, 0, primary::use_msr_bitmaps, 0, {{f::msr_bitmap_address, 0x4000}}, 0},
    {"virtual_apic", "virtual-APIC address", 0, tpr, 0, {{f::virtual_apic_address, 0x10}}, 0},
    {"threshold_reserved", "TPR threshold: bits 31:4", 0, tpr, 0, {{f::tpr_threshold, 0x10}}, 0},
    {"threshold_above_vtpr", "TPR threshold against VTPR", 0, tpr, 0, {{f::tpr_threshold, 1}}, 0},
    {"virtual_nmis",
     "virtual NMIs need NMI exiting",
     0,
     0,
     0,
     {{f::pin_based_controls, 0x16 | pin_based::virtual_nmis}},
     0},
    {"nmi_window", "NMI-window exiting needs virtual NMIs", 0, primary::nmi_window_exiting, 0, {}, 0},
    {"nmi_window_ok", nullptr, 0, primary::nmi_window_exiting, pin_based::virtual_nmis, {}, 0},
    {"arv_alone", "APIC virtualization needs the TPR shadow", secondary::apic_register_virtualization, 0, 0, {}, 0},
    {"vid_alone", "APIC virtualization needs the TPR shadow", secondary::virtual_interrupt_delivery, 0, 0, {}, 0},
    {"x2apic_and_mmio",
     "x2APIC mode excludes APIC-access virtualization",
     secondary::virtualize_x2apic_mode | secondary::virtualize_apic_accesses,
     tpr,
     0,
     {},
     0},
    {"vid_no_exit",
     "virtual-interrupt delivery needs external-interrupt exiting",
     secondary::virtual_interrupt_delivery,
     tpr,
     0,
     {{f::pin_based_controls, 0x16}},
     0},
    {"posted_no_vid",
     "posted interrupts need virtual-interrupt delivery and acknowledgement",
     0,
     0,
     pin_based::process_posted_interrupts,
     {},
     0},
    {"posted_vector",
     "posted-interrupt notification vector",
     secondary::virtual_interrupt_delivery,
     tpr,
     pin_based::process_posted_interrupts,
     {{f::posted_interrupt_notification_vector, 0x100}},
     0},
    {"posted_address",
     "posted-interrupt descriptor address",
     secondary::virtual_interrupt_delivery,
     tpr,
     pin_based::process_posted_interrupts,
     {{f::posted_interrupt_descriptor_address, 0x20}},
     0},
    {"posted_ok",
     nullptr,
     secondary::virtual_interrupt_delivery,
     tpr,
     pin_based::process_posted_interrupts,
     {{f::posted_interrupt_descriptor_address, 0x40}},
     0},
    {"vpid_0", "VPID is not 0", secondary::enable_vpid, 0, 0, {{f::virtual_processor_identifier, 0}}, 0},
    {"ept_type", "EPT pointer", ept, 0, 0, {{f::ept_pointer, 0x5000 | 3 << 3 | 1}}, 0},
    {"ept_walk", "EPT pointer", ept, 0, 0, {{f::ept_pointer, 0x5000 | 4 << 3 | 6}}, 0},
    {"ept_reserved", "EPT pointer", ept, 0, 0, {{f::ept_pointer, legal_eptp | 0x100}}, 0},
    {"ept_width", "EPT pointer", ept, 0, 0, {{f::ept_pointer, legal_eptp | too_wide}}, 0},
    {"ept_ok", nullptr, ept, 0, 0, {{f::ept_pointer, legal_eptp | 0x40}}, 0},
    {"unrestricted_no_ept", "features that need EPT", secondary::unrestricted_guest, 0, 0, {}, 0},
    {"pml_no_ept", "features that need EPT", secondary::enable_pml, 0, 0, {}, 0},
    {"pml_address",
     "PML address",
     secondary::enable_pml | ept,
     0,
     0,
     {{f::ept_pointer, legal_eptp}, {f::pml_address, 8}},
     0},
    {"apic_access", "APIC-access address", secondary::virtualize_apic_accesses, 0, 0, {{f::apic_access_address, 8}}, 0},
    {"shadowing",
     "VMREAD- and VMWRITE-bitmap addresses",
     secondary::vmcs_shadowing,
     0,
     0,
     {{f::vmwrite_bitmap_address, 8}},
     0},
    {"ve_address",
     "virtualization-exception information address",
     secondary::ept_violation_ve,
     0,
     0,
     {{f::virtualization_exception_information_address, 8}},
     0},
    {"vmfunc", "VM functions", secondary::enable_vm_functions, 0, 0, {{f::vm_function_controls, 2}}, 0},
    {"vmfunc_no_ept", "VM functions", secondary::enable_vm_functions, 0, 0, {{f::vm_function_controls, 1}}, 0},
    {"tsc_multiplier", "TSC multiplier is not 0", secondary::use_tsc_scaling, 0, 0, {{f::tsc_multiplier, 0}}, 0},
    {"ple_any_value", nullptr, secondary::pause_loop_exiting, 0, 0, {{f::ple_gap, 0xFFFF'FFFF}, {f::ple_window, 0}}, 0},
    {"exit_reserved", "VM-exit controls: reserved bits", 0, 0, 0, {{f::primary_vm_exit_controls, 0x200}}, 0},
    {"save_timer",
     "saving the preemption timer needs the timer",
     0,
     0,
     0,
     {{f::primary_vm_exit_controls, 0x3'6FFF | vm_exit_control::save_vmx_preemption_timer_value}},
     0},
    {"msr_store_align",
     "VM-exit MSR-store list",
     0,
     0,
     0,
     {{f::vm_exit_msr_store_count, 1}, {f::vm_exit_msr_store_address, 8}},
     0},
    {"msr_store_unused", nullptr, 0, 0, 0, {{f::vm_exit_msr_store_address, 8}}, 0},
    {"msr_load_fits",
     nullptr,
     0,
     0,
     0,
     {{f::vm_exit_msr_load_count, 1}, {f::vm_exit_msr_load_address, too_wide - 16}},
     0},
    {"msr_load_end",
     "VM-exit MSR-load list",
     0,
     0,
     0,
     {{f::vm_exit_msr_load_count, 2}, {f::vm_exit_msr_load_address, too_wide - 16}},
     0},
    {"entry_reserved", "VM-entry controls: reserved bits", 0, 0, 0, {{f::vm_entry_controls, 0x200}}, 0},
    {"entry_to_smm", "entry to SMM outside SMM", 0, 0, 0, {{f::vm_entry_controls, 0x17FF}}, 0},
    {"entry_msr_load",
     "VM-entry MSR-load list",
     0,
     0,
     0,
     {{f::vm_entry_msr_load_count, 1}, {f::vm_entry_msr_load_address, 8}},
     0},

    {"inject_type_1", "injection: type", 0, 0, 0, {{f::vm_entry_interruption_information, valid | 1 << 8}}, 0},
    {"inject_mtf", nullptr, 0, 0, 0, {{f::vm_entry_interruption_information, valid | 7 << 8}}, 0},
    {"inject_other_1", "injection: type", 0, 0, 0, {{f::vm_entry_interruption_information, valid | 7 << 8 | 1}}, 0},
    {"inject_nmi_vector_3",
     "injection: vector",
     0,
     0,
     0,
     {{f::vm_entry_interruption_information, valid | 2 << 8 | 3}},
     0},
    {"inject_exception_31", nullptr, 0, 0, 0, {{f::vm_entry_interruption_information, valid | 3 << 8 | 31}}, 0},
    {"inject_exception_32",
     "injection: vector",
     0,
     0,
     0,
     {{f::vm_entry_interruption_information, valid | 3 << 8 | 32}},
     0},
    {"inject_gp_without_code",
     "injection: deliver-error-code bit",
     0,
     0,
     0,
     {{f::vm_entry_interruption_information, valid | 3 << 8 | 13}},
     0},
    {"inject_gp_with_code",
     nullptr,
     0,
     0,
     0,
     {{f::vm_entry_interruption_information, valid | 1 << 11 | 3 << 8 | 13}},
     0},
    {"inject_ud_with_code",
     "injection: deliver-error-code bit",
     0,
     0,
     0,
     {{f::vm_entry_interruption_information, valid | 1 << 11 | 3 << 8 | 6}},
     0},
    {"inject_cp_without_code", nullptr, 0, 0, 0, {{f::vm_entry_interruption_information, valid | 3 << 8 | 21}}, 0},
    {"inject_irq_with_code",
     "injection: deliver-error-code bit",
     0,
     0,
     0,
     {{f::vm_entry_interruption_information, inject_irq | 1 << 11}},
     0},
    {"inject_bit_12",
     "injection: reserved bits",
     0,
     0,
     0,
     {{f::vm_entry_interruption_information, inject_irq | 1 << 12}},
     0},
    {"inject_bit_30",
     "injection: reserved bits",
     0,
     0,
     0,
     {{f::vm_entry_interruption_information, inject_irq | 1 << 30}},
     0},
    {"inject_bit_13",
     "injection: reserved bits",
     0,
     0,
     0,
     {{f::vm_entry_interruption_information, valid | 1 << 13 | 3 << 8 | 1}},
     0},
    {"inject_invalid_is_ignored", nullptr, 0, 0, 0, {{f::vm_entry_interruption_information, 0x7FFF'FFFF}}, 0},
    {"inject_wide_code",
     "injection: error code",
     0,
     0,
     0,
     {{f::vm_entry_interruption_information, valid | 1 << 11 | 3 << 8 | 13},
      {f::vm_entry_exception_error_code, 1 << 16}},
     0},
    {"inject_length_16",
     "injection: instruction length",
     0,
     0,
     0,
     {{f::vm_entry_interruption_information, valid | 4 << 8 | 0x80}, {f::vm_entry_instruction_length, 16}},
     0},
    {"inject_length_0_allowed", nullptr, 0, 0, 0, {{f::vm_entry_interruption_information, valid | 4 << 8 | 0x80}}, 0},

    {"host_cr0", "host CR0", 0, 0, 0, {{f::host_cr0, 0x8000'0011}}, 0},
    {"host_cr4", "host CR4", 0, 0, 0, {{f::host_cr4, 0x20}}, 0},
    {"host_cr3", "host CR3", 0, 0, 0, {{f::host_cr3, too_wide}}, 0},
    {"host_sysenter", "host SYSENTER_ESP and SYSENTER_EIP", 0, 0, 0, {{f::host_ia32_sysenter_eip, not_canonical}}, 0},
    {"host_efer",
     "host EFER",
     0,
     0,
     0,
     {{f::primary_vm_exit_controls, 0x3'EFFF | vm_exit_control::load_ia32_efer}, {f::host_ia32_efer, 0x400}},
     0},
    {"host_pat",
     "host PAT",
     0,
     0,
     0,
     {{f::primary_vm_exit_controls, 0x3'EFFF | vm_exit_control::load_ia32_pat}, {f::host_ia32_pat, 2}},
     0},
    {"host_rpl", "host selectors: RPL and TI", 0, 0, 0, {{f::host_ds_selector, 3}}, 0},
    {"host_ti", "host selectors: RPL and TI", 0, 0, 0, {{f::host_gs_selector, 4}}, 0},
    {"host_cs_null", "host CS and TR are not null", 0, 0, 0, {{f::host_cs_selector, 0}}, 0},
    {"host_tr_null", "host CS and TR are not null", 0, 0, 0, {{f::host_tr_selector, 0}}, 0},
    {"host_ss_null_64", nullptr, 0, 0, 0, {{f::host_ss_selector, 0}}, 0},
    {"host_base", "host FS, GS, TR, GDTR and IDTR bases", 0, 0, 0, {{f::host_idtr_base, not_canonical}}, 0},
    {"host_32_bit",
     "host address-space size matches IA32_EFER.LMA",
     0,
     0,
     0,
     {{f::primary_vm_exit_controls, 0x3'6DFF}},
     0},
    {"host_pae", "host CR4 fits the address-space size", 0, 0, 0, {{f::host_cr4, 0x2000}}, 0},
    {"host_rip", "host RIP", 0, 0, 0, {{f::host_rip, not_canonical}}, 0},

    {"guest_cr0", "guest CR0", 0, 0, 0, {{f::guest_cr0, 0x8000'0011}}, 0},
    {"guest_cr0_real_mode",
     nullptr,
     secondary::unrestricted_guest | ept,
     0,
     0,
     {{f::ept_pointer, legal_eptp},
      {f::guest_cr0, 0x20},
      {f::vm_entry_controls, 0x11FF},
      {f::guest_rip, 0xFFF0},
      {f::guest_cs_access_rights, 0x9B},
      {f::guest_cs_limit, 0xFFFF},
      {f::guest_ss_access_rights, 0x93},
      {f::guest_ss_limit, 0xFFFF}},
     0},
    {"guest_pg_without_pe",
     "guest CR0.PG needs PE",
     secondary::unrestricted_guest | ept,
     0,
     0,
     {{f::ept_pointer, legal_eptp}, {f::guest_cr0, 0x8000'0020}},
     0},
    {"guest_cr4", "guest CR4", 0, 0, 0, {{f::guest_cr4, 0x20}}, 0},
    {"guest_pae", "guest paging fits IA-32e mode", 0, 0, 0, {{f::guest_cr4, 0x2000}}, 0},
    {"guest_debugctl",
     "guest DEBUGCTL and DR7",
     0,
     0,
     0,
     {{f::vm_entry_controls, 0x13FF}, {f::guest_ia32_debugctl, 8}},
     0},
    {"guest_dr7",
     "guest DEBUGCTL and DR7",
     0,
     0,
     0,
     {{f::vm_entry_controls, 0x13FF}, {f::guest_dr7, std::uint64_t{1} << 32}},
     0},
    {"guest_cr3", "guest CR3", 0, 0, 0, {{f::guest_cr3, too_wide}}, 0},
    {"guest_sysenter",
     "guest SYSENTER_ESP and SYSENTER_EIP",
     0,
     0,
     0,
     {{f::guest_ia32_sysenter_esp, not_canonical}},
     0},
    {"guest_efer",
     "guest EFER",
     0,
     0,
     0,
     {{f::vm_entry_controls, 0x13FF | vm_entry_control::load_ia32_efer}, {f::guest_ia32_efer, 0x100}},
     0},
    {"guest_pat",
     "guest PAT",
     0,
     0,
     0,
     {{f::vm_entry_controls, 0x13FF | vm_entry_control::load_ia32_pat}, {f::guest_ia32_pat, 3}},
     0},
    {"guest_tr_ti", "guest TR and LDTR selectors", 0, 0, 0, {{f::guest_tr_selector, 0x44}}, 0},
    {"guest_rpl", "guest SS.RPL equals CS.RPL", 0, 0, 0, {{f::guest_ss_selector, 0x1B}}, 0},
    {"guest_gs_base", "guest segment bases", 0, 0, 0, {{f::guest_gs_base, not_canonical}}, 0},
    {"guest_cs_type", "guest CS type", 0, 0, 0, {{f::guest_cs_access_rights, 0xA093}}, 0},
    {"guest_ss_type", "guest SS type", 0, 0, 0, {{f::guest_ss_access_rights, 0xC09B}}, 0},
    {"guest_ds_type", "guest data-segment types", 0, 0, 0, {{f::guest_ds_access_rights, 0xC092}}, 0},
    {"guest_cs_absent", "guest segments: S, P and reserved bits", 0, 0, 0, {{f::guest_cs_access_rights, 0xA01B}}, 0},
    {"guest_cs_dpl", "guest CS.DPL", 0, 0, 0, {{f::guest_cs_access_rights, 0xA0FB}}, 0},
    {"guest_ss_dpl",
     "guest SS.DPL",
     0,
     0,
     0,
     {{f::guest_ss_access_rights, 0xC0F3}, {f::guest_cs_access_rights, 0xA0FB}},
     0},
    {"guest_ds_dpl",
     "guest data-segment DPLs",
     0,
     0,
     0,
     {{f::guest_ds_selector, 3}, {f::guest_ds_access_rights, 0xC093}, {f::guest_ds_limit, 0xFFFF'FFFF}},
     0},
    {"guest_cs_d", "guest CS.D is 0 in 64-bit mode", 0, 0, 0, {{f::guest_cs_access_rights, 0xE09B}}, 0},
    {"guest_granularity", "guest segments: granularity", 0, 0, 0, {{f::guest_cs_limit, 0xFFFF'0000}}, 0},
    {"guest_tr_16_bit", "guest TR", 0, 0, 0, {{f::guest_tr_access_rights, 0x83}}, 0},
    {"guest_tr_unusable", "guest TR", 0, 0, 0, {{f::guest_tr_access_rights, 0x1'008B}}, 0},
    {"guest_ldtr", "guest LDTR", 0, 0, 0, {{f::guest_ldtr_access_rights, 0x83}}, 0},
    {"guest_gdtr", "guest GDTR and IDTR", 0, 0, 0, {{f::guest_gdtr_limit, 0x1'0000}}, 0},
    {"guest_rip_47", nullptr, 0, 0, 0, {{f::guest_rip, not_canonical}}, 0},  // need not be canonical
    {"guest_rip_48", "guest RIP", 0, 0, 0, {{f::guest_rip, std::uint64_t{1} << 48}}, 0},
    {"guest_rflags_bit_1", "guest RFLAGS: reserved bits", 0, 0, 0, {{f::guest_rflags, 0x200}}, 0},
    {"guest_rflags_bit_22", "guest RFLAGS: reserved bits", 0, 0, 0, {{f::guest_rflags, 0x40'0002}}, 0},
    {"guest_if",
     "guest RFLAGS.IF with an injected interrupt",
     0,
     0,
     0,
     {{f::guest_rflags, 2}, {f::vm_entry_interruption_information, inject_irq}},
     0},
    {"inject_irq_ok", nullptr, 0, 0, 0, {{f::vm_entry_interruption_information, inject_irq}}, 0},
    {"activity_4", "activity state is supported", 0, 0, 0, {{f::guest_activity_state, 4}}, 0},
    {"activity_hlt", nullptr, 0, 0, 0, {{f::guest_activity_state, 1}}, 0},
    {"hlt_at_cpl_3",
     "HLT needs SS.DPL 0",
     0,
     0,
     0,
     {{f::guest_activity_state, 1},
      {f::guest_ss_selector, 0x1B},
      {f::guest_cs_selector, 0x13},
      {f::guest_ss_access_rights, 0xC0F3},
      {f::guest_cs_access_rights, 0xA0FB}},
     0},
    {"sti_in_hlt",
     "blocking by STI or MOV SS needs the active state",
     0,
     0,
     0,
     {{f::guest_activity_state, 1}, {f::guest_interruptibility_state, 1}},
     0},
    {"irq_into_shutdown",
     "injection fits the activity state",
     0,
     0,
     0,
     {{f::guest_activity_state, 2}, {f::vm_entry_interruption_information, inject_irq}},
     0},
    {"nmi_into_shutdown",
     nullptr,
     0,
     0,
     0,
     {{f::guest_activity_state, 2}, {f::vm_entry_interruption_information, inject_nmi}},
     0},
    {"gp_into_hlt",
     "injection fits the activity state",
     0,
     0,
     0,
     {{f::guest_activity_state, 1}, {f::vm_entry_interruption_information, valid | 1 << 11 | 3 << 8 | 13}},
     0},
    {"interruptibility_5", "interruptibility: reserved bits", 0, 0, 0, {{f::guest_interruptibility_state, 32}}, 0},
    {"sti_and_mov_ss",
     "interruptibility: STI and MOV SS exclude each other",
     0,
     0,
     0,
     {{f::guest_interruptibility_state, 3}},
     0},
    {"sti_without_if",
     "interruptibility: blocking by STI needs RFLAGS.IF",
     0,
     0,
     0,
     {{f::guest_rflags, 2}, {f::guest_interruptibility_state, 1}},
     0},
    {"irq_in_shadow",
     "interruptibility: no shadow with an injected interrupt",
     0,
     0,
     0,
     {{f::guest_interruptibility_state, 1}, {f::vm_entry_interruption_information, inject_irq}},
     0},
    {"nmi_after_mov_ss",
     "interruptibility: no MOV SS with an injected NMI",
     0,
     0,
     0,
     {{f::guest_interruptibility_state, 2}, {f::vm_entry_interruption_information, inject_nmi}},
     0},
    {"nmi_after_sti",
     "interruptibility: no STI with an injected NMI",
     0,
     0,
     0,
     {{f::guest_interruptibility_state, 1}, {f::vm_entry_interruption_information, inject_nmi}},
     3},
    {"smi_blocking",
     "interruptibility: no blocking by SMI outside SMM",
     0,
     0,
     0,
     {{f::guest_interruptibility_state, 4}},
     0},
    {"virtual_nmi_blocked",
     "interruptibility: no virtual-NMI blocking with an injected NMI",
     0,
     0,
     pin_based::virtual_nmis,
     {{f::guest_interruptibility_state, 8}, {f::vm_entry_interruption_information, inject_nmi}},
     0},
    {"enclave", "interruptibility: enclave interruption", 0, 0, 0, {{f::guest_interruptibility_state, 16}}, 0},
    {"pending_debug_reserved", "pending debug exceptions", 0, 0, 0, {{f::guest_pending_debug_exceptions, 0x10}}, 0},
    {"pending_bs_in_hlt",
     "pending debug exceptions",
     0,
     0,
     0,
     {{f::guest_activity_state, 1}, {f::guest_rflags, 0x302}},
     0},
    {"pending_bs_in_hlt_ok",
     nullptr,
     0,
     0,
     0,
     {{f::guest_activity_state, 1}, {f::guest_rflags, 0x302}, {f::guest_pending_debug_exceptions, 0x4000}},
     0},
    {"link_misaligned", "VMCS link pointer", 0, 0, 0, {{f::vmcs_link_pointer, 0x10}}, 4},
    {"link_to_itself", "VMCS link pointer", 0, 0, 0, {{f::vmcs_link_pointer, 0x8000}}, 4},
    {"link_revision", "VMCS link pointer", 0, 0, 0, {{f::vmcs_link_pointer, 0x9000}}, 4},
    {"link_ok", nullptr, 0, 0, 0, {{f::vmcs_link_pointer, 0xA000}}, 0},
    {"link_to_shadow", "VMCS link pointer", 0, 0, 0, {{f::vmcs_link_pointer, 0xB000}}, 4},
    {"link_to_shadow_ok", nullptr, secondary::vmcs_shadowing, 0, 0, {{f::vmcs_link_pointer, 0xB000}}, 0},
    {"pdpte",
     "PDPTEs",
     ept,
     0,
     0,
     {{f::ept_pointer, legal_eptp},
      {f::vm_entry_controls, 0x11FF},
      {f::guest_rip, 0x1000},
      {f::guest_cs_access_rights, 0xC09B},
      {f::guest_pdpte2, 0x3}},
     2},
};

class vmx_entry_check : public testing::TestWithParam<mutation> {
 protected:
  vmx_entry_check() {
    const std::uint32_t revision = cascade_lake().revision();
    memory.write(0x8000, revision);
    memory.write(0xA000, revision);
    memory.write(0xB000, revision | vmcs_region::shadow_bit);
    context.set_current_vmcs(0x8000);
  }
  static vmcs make(const mutation& m) {
    minimal_vmcs_options options;
    options.secondary = m.secondary;
    options.primary |= m.primary;
    options.pin |= m.pin;
    vmcs v = make_minimal_vmcs(cascade_lake(), options);
    for (const auto& [where, value] : m.fields) v.write(where, value);
    return v;
  }
  test::flat_memory memory;
  entry_context context{cascade_lake(), memory};
};

TEST_P(vmx_entry_check, first_failure_is_the_expected_one) {
  const mutation& m = GetParam();
  vmcs v = make(m);
  const entry_result result = check_entry_fields(v, context);
  ASSERT_STREQ(result.check, m.check);
  EXPECT_EQ(result.outcome == entry_outcome::enter, m.check == nullptr);
  EXPECT_EQ(result.qualification, m.qualification);
}

// Changing a VMCS that has already passed must lead to the same answer as checking it for the first time.
TEST_P(vmx_entry_check, passing_before_does_not_hide_the_failure) {
  const mutation& m = GetParam();
  vmcs v = make(mutations[0]);
  ASSERT_TRUE(check_entry_fields(v, context));
  const vmcs wanted = make(m);
  for (const field_info& row : field_table) v.write(row.encoding, wanted.read(row.encoding));
  EXPECT_STREQ(check_entry_fields(v, context).check, m.check);
}

INSTANTIATE_TEST_SUITE_P(mutations, vmx_entry_check, testing::ValuesIn(mutations),
                         [](const auto& test) { return std::string{test.param.label}; });

TEST(vmx_entry, minimal_vmcs_is_legal_on_every_processor) {
  test::flat_memory memory;
  for (std::size_t i = 0; i < capability_table_size(); ++i) {
    const capability_row& row = capability_table()[i];
    entry_context context{row.values, memory};
    minimal_vmcs_options options;
    options.secondary = secondary::pause_loop_exiting;
    for (const auto& o : {minimal_vmcs_options{}, options}) {
      vmcs v = make_minimal_vmcs(row.values, o);
      EXPECT_STREQ(check_entry_fields(v, context).check, nullptr) << row.name;
    }
  }
}

TEST(vmx_entry, any_single_write_gives_the_same_answer_with_and_without_memory_of_earlier_checks) {
  std::mt19937_64 random{7};
  test::flat_memory memory;
  entry_context context{cascade_lake(), memory};
  minimal_vmcs_options rich;
  rich.primary |= primary::use_tpr_shadow | primary::use_msr_bitmaps | primary::use_io_bitmaps;
  rich.secondary = secondary::enable_ept | secondary::enable_vpid | secondary::unrestricted_guest |
                   secondary::use_tsc_scaling | secondary::virtual_interrupt_delivery | secondary::vmcs_shadowing |
                   secondary::enable_pml | secondary::pause_loop_exiting;
  for (const auto& options : {minimal_vmcs_options{}, rich}) {
    vmcs legal = make_minimal_vmcs(cascade_lake(), options);
    legal.write(field::ept_pointer, legal_eptp);
    ASSERT_STREQ(check_entry_fields(legal, context).check, nullptr);
    for (const field_info& row : field_table) {
      for (int i = 0; i < 100; ++i) {
        const std::uint64_t noise = i < 64 ? legal.read(row.encoding) ^ std::uint64_t{1} << i : random();
        vmcs remembering = legal;
        vmcs forgetting = legal;
        remembering.write(row.encoding, noise);
        forgetting.write(row.encoding, noise);
        forgetting.forget_checks();
        const entry_result a = check_entry_fields(remembering, context);
        const entry_result b = check_entry_fields(forgetting, context);
        ASSERT_STREQ(a.check, b.check) << row.name << " = " << noise;
      }
    }
  }
}

TEST(vmx_entry, earlier_checks_are_remembered_until_something_they_need_changes) {
  test::flat_memory memory;
  entry_context context{cascade_lake(), memory};
  vmcs v = make_minimal_vmcs(cascade_lake());
  EXPECT_FALSE(v.checks_hold(context.digest()));
  ASSERT_TRUE(check_entry_fields(v, context));
  EXPECT_TRUE(v.checks_hold(context.digest()));
  for (const field hot : {field::guest_rip, field::guest_rsp, field::guest_rflags, field::ple_window,
                          field::vm_entry_interruption_information, field::vmx_preemption_timer_value,
                          field::exit_reason, field::exit_qualification})
    v.write(hot, v.read(hot) ^ 4);
  EXPECT_TRUE(v.checks_hold(context.digest()));
  v.write(field::host_cr3, v.read(field::host_cr3));
  EXPECT_TRUE(v.checks_hold(context.digest())) << "the same value again";
  v.write(field::host_cr3, 0x7000);
  EXPECT_FALSE(v.checks_hold(context.digest()));

  const capabilities other = find_capability_row("haswell_ep")->values;
  ASSERT_TRUE(check_entry_fields(v, context));
  EXPECT_FALSE(v.checks_hold(entry_context(other, memory).digest())) << "another processor checks again";
  context.set_long_mode(false);
  EXPECT_FALSE(check_entry_fields(v, context)) << "the host has left long mode";
}

TEST(vmx_entry, the_log_names_every_check_in_order) {
  test::flat_memory memory;
  entry_context context{cascade_lake(), memory};
  vmcs v = make_minimal_vmcs(cascade_lake());
  std::vector<check_record> log;
  ASSERT_TRUE(check_entry_fields(v, context, &log));
  ASSERT_EQ(log.size(), entry_check_table_size());
  std::set<std::string> names;
  for (std::size_t i = 0; i < log.size(); ++i) {
    EXPECT_EQ(log[i].check, entry_check_table()[i].name);
    EXPECT_TRUE(names.insert(log[i].check).second) << log[i].check;
  }
  v.write(field::host_tr_selector, 0);
  log.clear();
  ASSERT_FALSE(check_entry_fields(v, context, &log));
  EXPECT_FALSE(log.back().passed);
  EXPECT_STREQ(log.back().check, "host CS and TR are not null");
}

// Rules no mutation here can break, because no row offers the control; tested when such a row arrives.
TEST(vmx_entry, every_rule_has_a_mutation_that_breaks_it) {
  std::set<std::string> tested{
      "tertiary processor-based controls: reserved bits",
      "sub-page-permission-table pointer",
      "PASID-directory addresses",
      "PID-pointer table",
      "HLAT pointer",
      "APIC-timer virtualization",
      "Intel PT with guest-physical addresses",
      "secondary VM-exit controls: reserved bits",
      "host CR4.CET needs CR0.WP",
      "host CET state",
      "host PKRS",
      "host SPEC_CTRL",
      "host SS is not null",
      "IA-32e guest needs a 64-bit host",
      "guest CR4.CET needs CR0.WP",
      "guest BNDCFGS",
      "guest CET state",
      "guest PKRS",
      "guest UINV",
      "virtual-8086 segments",
      "guest RFLAGS.VM",
  };
  for (const mutation& m : mutations)
    if (m.check != nullptr) tested.insert(m.check);
  for (std::size_t i = 0; i < entry_check_table_size(); ++i)
    EXPECT_EQ(tested.count(entry_check_table()[i].name), 1u) << entry_check_table()[i].name;
}

TEST(vmx_entry, virtual_8086_mode_guest) {
  test::flat_memory memory;
  entry_context context{cascade_lake(), memory};
  vmcs v = make_minimal_vmcs(cascade_lake());
  ASSERT_TRUE(check_entry_fields(v, context));
  v.write(field::guest_rflags, v.read(field::guest_rflags) | rflags_bits::vm);
  EXPECT_STREQ(check_entry_fields(v, context).check, "virtual-8086 segments")
      << "RFLAGS changes at every exit, yet segment rules depend on its VM bit";
}

TEST(vmx_entry, failed_entry_has_its_own_exit_information) {
  test::flat_memory memory;
  entry_context context{cascade_lake(), memory};
  vmcs v = make_minimal_vmcs(cascade_lake());
  v.write(field::vmcs_link_pointer, 1);
  const exit_info exit = failed_entry_exit(check_entry_fields(v, context));
  EXPECT_TRUE(exit.entry_failure);
  EXPECT_EQ(exit.reason, exit_reason::entry_failure_guest_state);
  EXPECT_EQ(exit.qualification, 4u);
}

}  // namespace
}  // namespace vmxsys::vmx
