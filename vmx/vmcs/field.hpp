#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vmxsys::vmx {

/// The components of a VMCS, by their SDM names; the value is the encoding that VMREAD and VMWRITE take in full
/// form (bit 0 clear). SDM Vol. 3D, appendix B; structure of an encoding: Vol. 3C §27.11.2.
enum class field : std::uint32_t {
  // 16 bits, control
  virtual_processor_identifier = 0x0000,
  posted_interrupt_notification_vector = 0x0002,
  eptp_index = 0x0004,
  hlat_prefix_size = 0x0006,
  last_pid_pointer_index = 0x0008,
  virtual_timer_vector = 0x000A,
  // 16 bits, guest state
  guest_es_selector = 0x0800,
  guest_cs_selector = 0x0802,
  guest_ss_selector = 0x0804,
  guest_ds_selector = 0x0806,
  guest_fs_selector = 0x0808,
  guest_gs_selector = 0x080A,
  guest_ldtr_selector = 0x080C,
  guest_tr_selector = 0x080E,
  guest_interrupt_status = 0x0810,
  pml_index = 0x0812,
  guest_uinv = 0x0814,
  // 16 bits, host state
  host_es_selector = 0x0C00,
  host_cs_selector = 0x0C02,
  host_ss_selector = 0x0C04,
  host_ds_selector = 0x0C06,
  host_fs_selector = 0x0C08,
  host_gs_selector = 0x0C0A,
  host_tr_selector = 0x0C0C,
  // 64 bits, control
  io_bitmap_a_address = 0x2000,
  io_bitmap_b_address = 0x2002,
  msr_bitmap_address = 0x2004,
  vm_exit_msr_store_address = 0x2006,
  vm_exit_msr_load_address = 0x2008,
  vm_entry_msr_load_address = 0x200A,
  executive_vmcs_pointer = 0x200C,
  pml_address = 0x200E,
  tsc_offset = 0x2010,
  virtual_apic_address = 0x2012,
  apic_access_address = 0x2014,
  posted_interrupt_descriptor_address = 0x2016,
  vm_function_controls = 0x2018,
  ept_pointer = 0x201A,
  eoi_exit_bitmap_0 = 0x201C,
  eoi_exit_bitmap_1 = 0x201E,
  eoi_exit_bitmap_2 = 0x2020,
  eoi_exit_bitmap_3 = 0x2022,
  eptp_list_address = 0x2024,
  vmread_bitmap_address = 0x2026,
  vmwrite_bitmap_address = 0x2028,
  virtualization_exception_information_address = 0x202A,
  xss_exiting_bitmap = 0x202C,
  encls_exiting_bitmap = 0x202E,
  sub_page_permission_table_pointer = 0x2030,
  tsc_multiplier = 0x2032,
  tertiary_processor_based_controls = 0x2034,
  enclv_exiting_bitmap = 0x2036,
  low_pasid_directory_address = 0x2038,
  high_pasid_directory_address = 0x203A,
  shared_ept_pointer = 0x203C,
  pconfig_exiting_bitmap = 0x203E,
  hlat_pointer = 0x2040,
  pid_pointer_table_address = 0x2042,
  secondary_vm_exit_controls = 0x2044,
  ia32_spec_ctrl_mask = 0x204A,
  ia32_spec_ctrl_shadow = 0x204C,
  guest_deadline_shadow = 0x204E,
  injected_event_data = 0x2052,
  // 64 bits, VM-exit information (read-only)
  guest_physical_address = 0x2400,
  msr_data = 0x2402,
  original_event_data = 0x2404,
  // 64 bits, guest state
  vmcs_link_pointer = 0x2800,
  guest_ia32_debugctl = 0x2802,
  guest_ia32_pat = 0x2804,
  guest_ia32_efer = 0x2806,
  guest_ia32_perf_global_ctrl = 0x2808,
  guest_pdpte0 = 0x280A,
  guest_pdpte1 = 0x280C,
  guest_pdpte2 = 0x280E,
  guest_pdpte3 = 0x2810,
  guest_ia32_bndcfgs = 0x2812,
  guest_ia32_rtit_ctl = 0x2814,
  guest_ia32_lbr_ctl = 0x2816,
  guest_ia32_pkrs = 0x2818,
  guest_ia32_fred_config = 0x281A,
  guest_ia32_fred_rsp1 = 0x281C,
  guest_ia32_fred_rsp2 = 0x281E,
  guest_ia32_fred_rsp3 = 0x2820,
  guest_ia32_fred_stklvls = 0x2822,
  guest_ia32_fred_ssp1 = 0x2824,
  guest_ia32_fred_ssp2 = 0x2826,
  guest_ia32_fred_ssp3 = 0x2828,
  guest_ia32_spec_ctrl = 0x282E,
  guest_deadline = 0x2830,
  // 64 bits, host state
  host_ia32_pat = 0x2C00,
  host_ia32_efer = 0x2C02,
  host_ia32_perf_global_ctrl = 0x2C04,
  host_ia32_pkrs = 0x2C06,
  host_ia32_fred_config = 0x2C08,
  host_ia32_fred_rsp1 = 0x2C0A,
  host_ia32_fred_rsp2 = 0x2C0C,
  host_ia32_fred_rsp3 = 0x2C0E,
  host_ia32_fred_stklvls = 0x2C10,
  host_ia32_fred_ssp1 = 0x2C12,
  host_ia32_fred_ssp2 = 0x2C14,
  host_ia32_fred_ssp3 = 0x2C16,
  host_ia32_spec_ctrl = 0x2C1A,
  // 32 bits, control
  pin_based_controls = 0x4000,
  primary_processor_based_controls = 0x4002,
  exception_bitmap = 0x4004,
  page_fault_error_code_mask = 0x4006,
  page_fault_error_code_match = 0x4008,
  cr3_target_count = 0x400A,
  primary_vm_exit_controls = 0x400C,
  vm_exit_msr_store_count = 0x400E,
  vm_exit_msr_load_count = 0x4010,
  vm_entry_controls = 0x4012,
  vm_entry_msr_load_count = 0x4014,
  vm_entry_interruption_information = 0x4016,
  vm_entry_exception_error_code = 0x4018,
  vm_entry_instruction_length = 0x401A,
  tpr_threshold = 0x401C,
  secondary_processor_based_controls = 0x401E,
  ple_gap = 0x4020,
  ple_window = 0x4022,
  instruction_timeout_control = 0x4024,
  seam_guest_keyid = 0x4026,
  // 32 bits, VM-exit information (read-only)
  vm_instruction_error = 0x4400,
  exit_reason = 0x4402,
  vm_exit_interruption_information = 0x4404,
  vm_exit_interruption_error_code = 0x4406,
  idt_vectoring_information = 0x4408,
  idt_vectoring_error_code = 0x440A,
  vm_exit_instruction_length = 0x440C,
  vm_exit_instruction_information = 0x440E,
  // 32 bits, guest state
  guest_es_limit = 0x4800,
  guest_cs_limit = 0x4802,
  guest_ss_limit = 0x4804,
  guest_ds_limit = 0x4806,
  guest_fs_limit = 0x4808,
  guest_gs_limit = 0x480A,
  guest_ldtr_limit = 0x480C,
  guest_tr_limit = 0x480E,
  guest_gdtr_limit = 0x4810,
  guest_idtr_limit = 0x4812,
  guest_es_access_rights = 0x4814,
  guest_cs_access_rights = 0x4816,
  guest_ss_access_rights = 0x4818,
  guest_ds_access_rights = 0x481A,
  guest_fs_access_rights = 0x481C,
  guest_gs_access_rights = 0x481E,
  guest_ldtr_access_rights = 0x4820,
  guest_tr_access_rights = 0x4822,
  guest_interruptibility_state = 0x4824,
  guest_activity_state = 0x4826,
  guest_smbase = 0x4828,
  guest_ia32_sysenter_cs = 0x482A,
  vmx_preemption_timer_value = 0x482E,
  // 32 bits, host state
  host_ia32_sysenter_cs = 0x4C00,
  // natural width, control
  cr0_guest_host_mask = 0x6000,
  cr4_guest_host_mask = 0x6002,
  cr0_read_shadow = 0x6004,
  cr4_read_shadow = 0x6006,
  cr3_target_value_0 = 0x6008,
  cr3_target_value_1 = 0x600A,
  cr3_target_value_2 = 0x600C,
  cr3_target_value_3 = 0x600E,
  // natural width, VM-exit information (read-only)
  exit_qualification = 0x6400,
  io_rcx = 0x6402,
  io_rsi = 0x6404,
  io_rdi = 0x6406,
  io_rip = 0x6408,
  guest_linear_address = 0x640A,
  // natural width, guest state
  guest_cr0 = 0x6800,
  guest_cr3 = 0x6802,
  guest_cr4 = 0x6804,
  guest_es_base = 0x6806,
  guest_cs_base = 0x6808,
  guest_ss_base = 0x680A,
  guest_ds_base = 0x680C,
  guest_fs_base = 0x680E,
  guest_gs_base = 0x6810,
  guest_ldtr_base = 0x6812,
  guest_tr_base = 0x6814,
  guest_gdtr_base = 0x6816,
  guest_idtr_base = 0x6818,
  guest_dr7 = 0x681A,
  guest_rsp = 0x681C,
  guest_rip = 0x681E,
  guest_rflags = 0x6820,
  guest_pending_debug_exceptions = 0x6822,
  guest_ia32_sysenter_esp = 0x6824,
  guest_ia32_sysenter_eip = 0x6826,
  guest_ia32_s_cet = 0x6828,
  guest_ssp = 0x682A,
  guest_ia32_interrupt_ssp_table_addr = 0x682C,
  // natural width, host state
  host_cr0 = 0x6C00,
  host_cr3 = 0x6C02,
  host_cr4 = 0x6C04,
  host_fs_base = 0x6C06,
  host_gs_base = 0x6C08,
  host_tr_base = 0x6C0A,
  host_gdtr_base = 0x6C0C,
  host_idtr_base = 0x6C0E,
  host_ia32_sysenter_esp = 0x6C10,
  host_ia32_sysenter_eip = 0x6C12,
  host_rsp = 0x6C14,
  host_rip = 0x6C16,
  host_ia32_s_cet = 0x6C18,
  host_ssp = 0x6C1A,
  host_ia32_interrupt_ssp_table_addr = 0x6C1C,
};

/// Bits 14:13 of an encoding. "Natural" is 64 bits here: the model has no processor without Intel 64.
enum class field_width : std::uint8_t { bits_16 = 0, bits_64 = 1, bits_32 = 2, natural = 3 };

/// Bits 11:10 of an encoding. VM-exit information is read-only unless IA32_VMX_MISC bit 29 says otherwise.
enum class field_type : std::uint8_t { control = 0, exit_information = 1, guest_state = 2, host_state = 3 };

/// The words that hold VMX controls (SDM Vol. 3C §27.6 to §27.8; `vm_function`: §27.6.14). `none` means "no control".
enum class control_word : std::uint8_t {
  none,
  pin,
  primary,
  secondary,
  tertiary,
  vm_exit,
  vm_exit_2,
  vm_entry,
  vm_function
};

constexpr field_width width_of(std::uint32_t encoding) noexcept { return field_width((encoding >> 13) & 3); }
constexpr field_type type_of(std::uint32_t encoding) noexcept { return field_type((encoding >> 10) & 3); }
constexpr unsigned index_of(std::uint32_t encoding) noexcept { return (encoding >> 1) & 0x1FF; }
/// Access type "high": bits 63:32 of a 64-bit field.
constexpr bool is_high(std::uint32_t encoding) noexcept { return (encoding & 1) != 0; }

constexpr std::uint32_t encoding_of(field f) noexcept { return static_cast<std::uint32_t>(f); }
constexpr field_width width_of(field f) noexcept { return width_of(encoding_of(f)); }
constexpr field_type type_of(field f) noexcept { return type_of(encoding_of(f)); }

/// The bits a field can hold.
constexpr std::uint64_t mask_of(field_width w) noexcept {
  return w == field_width::bits_16 ? 0xFFFFu : w == field_width::bits_32 ? 0xFFFF'FFFFu : ~std::uint64_t{0};
}

/// One row of the field table. A field with `word != none` exists on processors whose capability MSRs allow control
/// `bit` of that word to be 1 or, where `other_word != none`, control `other_bit` of that one; `condition` is the SDM
/// name of the control or controls, nullptr for a field that always exists. SDM Vol. 3D, the notes of appendix B.
struct field_info {
  field encoding;
  const char* name;  ///< spelled as the enumerator
  field_width width;
  field_type type;
  control_word word;
  std::uint8_t bit;
  const char* condition;
  control_word other_word;
  std::uint8_t other_bit;
};

namespace detail {
constexpr field_info row(field f, const char* name, control_word word = control_word::none, unsigned bit = 0,
                         const char* condition = nullptr, control_word other_word = control_word::none,
                         unsigned other_bit = 0) noexcept {
  return {f,          name,       width_of(f),
          type_of(f), word,       static_cast<std::uint8_t>(bit),
          condition,  other_word, static_cast<std::uint8_t>(other_bit)};
}
}  // namespace detail

inline constexpr std::size_t field_count = 206;

/// Every field, sorted by encoding. The position in this table is the field's slot.
inline constexpr std::array<field_info, field_count> field_table{{
    detail::row(field::virtual_processor_identifier, "virtual_processor_identifier", control_word::secondary, 5,
                "enable VPID"),
    detail::row(field::posted_interrupt_notification_vector, "posted_interrupt_notification_vector", control_word::pin,
                7, "process posted interrupts"),
    detail::row(field::eptp_index, "eptp_index", control_word::secondary, 18, "EPT-violation #VE"),
    detail::row(field::hlat_prefix_size, "hlat_prefix_size", control_word::tertiary, 1, "enable HLAT"),
    detail::row(field::last_pid_pointer_index, "last_pid_pointer_index", control_word::tertiary, 4,
                "IPI virtualization"),
    detail::row(field::virtual_timer_vector, "virtual_timer_vector", control_word::tertiary, 8,
                "APIC-timer virtualization"),
    detail::row(field::guest_es_selector, "guest_es_selector"),
    detail::row(field::guest_cs_selector, "guest_cs_selector"),
    detail::row(field::guest_ss_selector, "guest_ss_selector"),
    detail::row(field::guest_ds_selector, "guest_ds_selector"),
    detail::row(field::guest_fs_selector, "guest_fs_selector"),
    detail::row(field::guest_gs_selector, "guest_gs_selector"),
    detail::row(field::guest_ldtr_selector, "guest_ldtr_selector"),
    detail::row(field::guest_tr_selector, "guest_tr_selector"),
    detail::row(field::guest_interrupt_status, "guest_interrupt_status", control_word::secondary, 9,
                "virtual-interrupt delivery"),
    detail::row(field::pml_index, "pml_index", control_word::secondary, 17, "enable PML"),
    detail::row(field::guest_uinv, "guest_uinv", control_word::vm_entry, 19, "load UINV or clear UINV",
                control_word::vm_exit, 27),
    detail::row(field::host_es_selector, "host_es_selector"),
    detail::row(field::host_cs_selector, "host_cs_selector"),
    detail::row(field::host_ss_selector, "host_ss_selector"),
    detail::row(field::host_ds_selector, "host_ds_selector"),
    detail::row(field::host_fs_selector, "host_fs_selector"),
    detail::row(field::host_gs_selector, "host_gs_selector"),
    detail::row(field::host_tr_selector, "host_tr_selector"),
    detail::row(field::io_bitmap_a_address, "io_bitmap_a_address"),
    detail::row(field::io_bitmap_b_address, "io_bitmap_b_address"),
    detail::row(field::msr_bitmap_address, "msr_bitmap_address", control_word::primary, 28, "use MSR bitmaps"),
    detail::row(field::vm_exit_msr_store_address, "vm_exit_msr_store_address"),
    detail::row(field::vm_exit_msr_load_address, "vm_exit_msr_load_address"),
    detail::row(field::vm_entry_msr_load_address, "vm_entry_msr_load_address"),
    detail::row(field::executive_vmcs_pointer, "executive_vmcs_pointer"),
    detail::row(field::pml_address, "pml_address", control_word::secondary, 17, "enable PML"),
    detail::row(field::tsc_offset, "tsc_offset"),
    detail::row(field::virtual_apic_address, "virtual_apic_address", control_word::primary, 21, "use TPR shadow"),
    detail::row(field::apic_access_address, "apic_access_address", control_word::secondary, 0,
                "virtualize APIC accesses"),
    detail::row(field::posted_interrupt_descriptor_address, "posted_interrupt_descriptor_address", control_word::pin, 7,
                "process posted interrupts"),
    detail::row(field::vm_function_controls, "vm_function_controls", control_word::secondary, 13,
                "enable VM functions"),
    detail::row(field::ept_pointer, "ept_pointer", control_word::secondary, 1, "enable EPT"),
    detail::row(field::eoi_exit_bitmap_0, "eoi_exit_bitmap_0", control_word::secondary, 9,
                "virtual-interrupt delivery"),
    detail::row(field::eoi_exit_bitmap_1, "eoi_exit_bitmap_1", control_word::secondary, 9,
                "virtual-interrupt delivery"),
    detail::row(field::eoi_exit_bitmap_2, "eoi_exit_bitmap_2", control_word::secondary, 9,
                "virtual-interrupt delivery"),
    detail::row(field::eoi_exit_bitmap_3, "eoi_exit_bitmap_3", control_word::secondary, 9,
                "virtual-interrupt delivery"),
    detail::row(field::eptp_list_address, "eptp_list_address", control_word::vm_function, 0, "EPTP switching"),
    detail::row(field::vmread_bitmap_address, "vmread_bitmap_address", control_word::secondary, 14, "VMCS shadowing"),
    detail::row(field::vmwrite_bitmap_address, "vmwrite_bitmap_address", control_word::secondary, 14, "VMCS shadowing"),
    detail::row(field::virtualization_exception_information_address, "virtualization_exception_information_address",
                control_word::secondary, 18, "EPT-violation #VE"),
    detail::row(field::xss_exiting_bitmap, "xss_exiting_bitmap", control_word::secondary, 20, "enable XSAVES/XRSTORS"),
    detail::row(field::encls_exiting_bitmap, "encls_exiting_bitmap", control_word::secondary, 15,
                "enable ENCLS exiting"),
    detail::row(field::sub_page_permission_table_pointer, "sub_page_permission_table_pointer", control_word::secondary,
                23, "sub-page write permissions for EPT"),
    detail::row(field::tsc_multiplier, "tsc_multiplier", control_word::secondary, 25, "use TSC scaling"),
    detail::row(field::tertiary_processor_based_controls, "tertiary_processor_based_controls", control_word::primary,
                17, "activate tertiary controls"),
    detail::row(field::enclv_exiting_bitmap, "enclv_exiting_bitmap", control_word::secondary, 28,
                "enable ENCLV exiting"),
    detail::row(field::low_pasid_directory_address, "low_pasid_directory_address", control_word::secondary, 21,
                "PASID translation"),
    detail::row(field::high_pasid_directory_address, "high_pasid_directory_address", control_word::secondary, 21,
                "PASID translation"),
    detail::row(field::shared_ept_pointer, "shared_ept_pointer", control_word::tertiary, 5,
                "SEAM guest-physical address width"),
    detail::row(field::pconfig_exiting_bitmap, "pconfig_exiting_bitmap", control_word::secondary, 27, "enable PCONFIG"),
    detail::row(field::hlat_pointer, "hlat_pointer", control_word::tertiary, 1, "enable HLAT"),
    detail::row(field::pid_pointer_table_address, "pid_pointer_table_address", control_word::tertiary, 4,
                "IPI virtualization"),
    detail::row(field::secondary_vm_exit_controls, "secondary_vm_exit_controls", control_word::vm_exit, 31,
                "activate secondary VM-exit controls"),
    detail::row(field::ia32_spec_ctrl_mask, "ia32_spec_ctrl_mask", control_word::tertiary, 7,
                "virtualize IA32_SPEC_CTRL"),
    detail::row(field::ia32_spec_ctrl_shadow, "ia32_spec_ctrl_shadow", control_word::tertiary, 7,
                "virtualize IA32_SPEC_CTRL"),
    detail::row(field::guest_deadline_shadow, "guest_deadline_shadow", control_word::tertiary, 8,
                "APIC-timer virtualization"),
    detail::row(field::injected_event_data, "injected_event_data", control_word::vm_entry, 23, "load FRED"),
    detail::row(field::guest_physical_address, "guest_physical_address", control_word::secondary, 1, "enable EPT"),
    detail::row(field::msr_data, "msr_data", control_word::tertiary, 6, "enable MSR-list instructions"),
    detail::row(field::original_event_data, "original_event_data", control_word::vm_entry, 23, "load FRED"),
    detail::row(field::vmcs_link_pointer, "vmcs_link_pointer"),
    detail::row(field::guest_ia32_debugctl, "guest_ia32_debugctl"),
    detail::row(field::guest_ia32_pat, "guest_ia32_pat", control_word::vm_entry, 14, "load IA32_PAT or save IA32_PAT",
                control_word::vm_exit, 18),
    detail::row(field::guest_ia32_efer, "guest_ia32_efer", control_word::vm_entry, 15,
                "load IA32_EFER or save IA32_EFER", control_word::vm_exit, 20),
    detail::row(field::guest_ia32_perf_global_ctrl, "guest_ia32_perf_global_ctrl", control_word::vm_entry, 13,
                "load IA32_PERF_GLOBAL_CTRL"),
    detail::row(field::guest_pdpte0, "guest_pdpte0", control_word::secondary, 1, "enable EPT"),
    detail::row(field::guest_pdpte1, "guest_pdpte1", control_word::secondary, 1, "enable EPT"),
    detail::row(field::guest_pdpte2, "guest_pdpte2", control_word::secondary, 1, "enable EPT"),
    detail::row(field::guest_pdpte3, "guest_pdpte3", control_word::secondary, 1, "enable EPT"),
    detail::row(field::guest_ia32_bndcfgs, "guest_ia32_bndcfgs", control_word::vm_entry, 16,
                "load IA32_BNDCFGS or clear IA32_BNDCFGS", control_word::vm_exit, 23),
    detail::row(field::guest_ia32_rtit_ctl, "guest_ia32_rtit_ctl", control_word::vm_entry, 18,
                "load IA32_RTIT_CTL or clear IA32_RTIT_CTL", control_word::vm_exit, 25),
    detail::row(field::guest_ia32_lbr_ctl, "guest_ia32_lbr_ctl", control_word::vm_entry, 21,
                "load guest IA32_LBR_CTL or clear IA32_LBR_CTL", control_word::vm_exit, 26),
    detail::row(field::guest_ia32_pkrs, "guest_ia32_pkrs", control_word::vm_entry, 22, "load PKRS"),
    detail::row(field::guest_ia32_fred_config, "guest_ia32_fred_config", control_word::vm_entry, 23,
                "load FRED or save FRED", control_word::vm_exit_2, 0),
    detail::row(field::guest_ia32_fred_rsp1, "guest_ia32_fred_rsp1", control_word::vm_entry, 23,
                "load FRED or save FRED", control_word::vm_exit_2, 0),
    detail::row(field::guest_ia32_fred_rsp2, "guest_ia32_fred_rsp2", control_word::vm_entry, 23,
                "load FRED or save FRED", control_word::vm_exit_2, 0),
    detail::row(field::guest_ia32_fred_rsp3, "guest_ia32_fred_rsp3", control_word::vm_entry, 23,
                "load FRED or save FRED", control_word::vm_exit_2, 0),
    detail::row(field::guest_ia32_fred_stklvls, "guest_ia32_fred_stklvls", control_word::vm_entry, 23,
                "load FRED or save FRED", control_word::vm_exit_2, 0),
    detail::row(field::guest_ia32_fred_ssp1, "guest_ia32_fred_ssp1", control_word::vm_entry, 23,
                "load FRED or save FRED", control_word::vm_exit_2, 0),
    detail::row(field::guest_ia32_fred_ssp2, "guest_ia32_fred_ssp2", control_word::vm_entry, 23,
                "load FRED or save FRED", control_word::vm_exit_2, 0),
    detail::row(field::guest_ia32_fred_ssp3, "guest_ia32_fred_ssp3", control_word::vm_entry, 23,
                "load FRED or save FRED", control_word::vm_exit_2, 0),
    detail::row(field::guest_ia32_spec_ctrl, "guest_ia32_spec_ctrl", control_word::vm_entry, 24, "load IA32_SPEC_CTRL"),
    detail::row(field::guest_deadline, "guest_deadline", control_word::tertiary, 8, "APIC-timer virtualization"),
    detail::row(field::host_ia32_pat, "host_ia32_pat", control_word::vm_exit, 19, "load host IA32_PAT"),
    detail::row(field::host_ia32_efer, "host_ia32_efer", control_word::vm_exit, 21, "load host IA32_EFER"),
    detail::row(field::host_ia32_perf_global_ctrl, "host_ia32_perf_global_ctrl", control_word::vm_exit, 12,
                "load host IA32_PERF_GLOBAL_CTRL"),
    detail::row(field::host_ia32_pkrs, "host_ia32_pkrs", control_word::vm_exit, 29, "load host PKRS"),
    detail::row(field::host_ia32_fred_config, "host_ia32_fred_config", control_word::vm_exit_2, 1, "load host FRED"),
    detail::row(field::host_ia32_fred_rsp1, "host_ia32_fred_rsp1", control_word::vm_exit_2, 1, "load host FRED"),
    detail::row(field::host_ia32_fred_rsp2, "host_ia32_fred_rsp2", control_word::vm_exit_2, 1, "load host FRED"),
    detail::row(field::host_ia32_fred_rsp3, "host_ia32_fred_rsp3", control_word::vm_exit_2, 1, "load host FRED"),
    detail::row(field::host_ia32_fred_stklvls, "host_ia32_fred_stklvls", control_word::vm_exit_2, 1, "load host FRED"),
    detail::row(field::host_ia32_fred_ssp1, "host_ia32_fred_ssp1", control_word::vm_exit_2, 1, "load host FRED"),
    detail::row(field::host_ia32_fred_ssp2, "host_ia32_fred_ssp2", control_word::vm_exit_2, 1, "load host FRED"),
    detail::row(field::host_ia32_fred_ssp3, "host_ia32_fred_ssp3", control_word::vm_exit_2, 1, "load host FRED"),
    detail::row(field::host_ia32_spec_ctrl, "host_ia32_spec_ctrl", control_word::vm_exit_2, 2,
                "load host IA32_SPEC_CTRL"),
    detail::row(field::pin_based_controls, "pin_based_controls"),
    detail::row(field::primary_processor_based_controls, "primary_processor_based_controls"),
    detail::row(field::exception_bitmap, "exception_bitmap"),
    detail::row(field::page_fault_error_code_mask, "page_fault_error_code_mask"),
    detail::row(field::page_fault_error_code_match, "page_fault_error_code_match"),
    detail::row(field::cr3_target_count, "cr3_target_count"),
    detail::row(field::primary_vm_exit_controls, "primary_vm_exit_controls"),
    detail::row(field::vm_exit_msr_store_count, "vm_exit_msr_store_count"),
    detail::row(field::vm_exit_msr_load_count, "vm_exit_msr_load_count"),
    detail::row(field::vm_entry_controls, "vm_entry_controls"),
    detail::row(field::vm_entry_msr_load_count, "vm_entry_msr_load_count"),
    detail::row(field::vm_entry_interruption_information, "vm_entry_interruption_information"),
    detail::row(field::vm_entry_exception_error_code, "vm_entry_exception_error_code"),
    detail::row(field::vm_entry_instruction_length, "vm_entry_instruction_length"),
    detail::row(field::tpr_threshold, "tpr_threshold", control_word::primary, 21, "use TPR shadow"),
    detail::row(field::secondary_processor_based_controls, "secondary_processor_based_controls", control_word::primary,
                31, "activate secondary controls"),
    detail::row(field::ple_gap, "ple_gap", control_word::secondary, 10, "PAUSE-loop exiting"),
    detail::row(field::ple_window, "ple_window", control_word::secondary, 10, "PAUSE-loop exiting"),
    detail::row(field::instruction_timeout_control, "instruction_timeout_control", control_word::secondary, 31,
                "instruction timeout"),
    detail::row(field::seam_guest_keyid, "seam_guest_keyid", control_word::tertiary, 5,
                "SEAM guest-physical address width"),
    detail::row(field::vm_instruction_error, "vm_instruction_error"),
    detail::row(field::exit_reason, "exit_reason"),
    detail::row(field::vm_exit_interruption_information, "vm_exit_interruption_information"),
    detail::row(field::vm_exit_interruption_error_code, "vm_exit_interruption_error_code"),
    detail::row(field::idt_vectoring_information, "idt_vectoring_information"),
    detail::row(field::idt_vectoring_error_code, "idt_vectoring_error_code"),
    detail::row(field::vm_exit_instruction_length, "vm_exit_instruction_length"),
    detail::row(field::vm_exit_instruction_information, "vm_exit_instruction_information"),
    detail::row(field::guest_es_limit, "guest_es_limit"),
    detail::row(field::guest_cs_limit, "guest_cs_limit"),
    detail::row(field::guest_ss_limit, "guest_ss_limit"),
    detail::row(field::guest_ds_limit, "guest_ds_limit"),
    detail::row(field::guest_fs_limit, "guest_fs_limit"),
    detail::row(field::guest_gs_limit, "guest_gs_limit"),
    detail::row(field::guest_ldtr_limit, "guest_ldtr_limit"),
    detail::row(field::guest_tr_limit, "guest_tr_limit"),
    detail::row(field::guest_gdtr_limit, "guest_gdtr_limit"),
    detail::row(field::guest_idtr_limit, "guest_idtr_limit"),
    detail::row(field::guest_es_access_rights, "guest_es_access_rights"),
    detail::row(field::guest_cs_access_rights, "guest_cs_access_rights"),
    detail::row(field::guest_ss_access_rights, "guest_ss_access_rights"),
    detail::row(field::guest_ds_access_rights, "guest_ds_access_rights"),
    detail::row(field::guest_fs_access_rights, "guest_fs_access_rights"),
    detail::row(field::guest_gs_access_rights, "guest_gs_access_rights"),
    detail::row(field::guest_ldtr_access_rights, "guest_ldtr_access_rights"),
    detail::row(field::guest_tr_access_rights, "guest_tr_access_rights"),
    detail::row(field::guest_interruptibility_state, "guest_interruptibility_state"),
    detail::row(field::guest_activity_state, "guest_activity_state"),
    detail::row(field::guest_smbase, "guest_smbase"),
    detail::row(field::guest_ia32_sysenter_cs, "guest_ia32_sysenter_cs"),
    detail::row(field::vmx_preemption_timer_value, "vmx_preemption_timer_value", control_word::pin, 6,
                "activate VMX-preemption timer"),
    detail::row(field::host_ia32_sysenter_cs, "host_ia32_sysenter_cs"),
    detail::row(field::cr0_guest_host_mask, "cr0_guest_host_mask"),
    detail::row(field::cr4_guest_host_mask, "cr4_guest_host_mask"),
    detail::row(field::cr0_read_shadow, "cr0_read_shadow"),
    detail::row(field::cr4_read_shadow, "cr4_read_shadow"),
    detail::row(field::cr3_target_value_0, "cr3_target_value_0"),
    detail::row(field::cr3_target_value_1, "cr3_target_value_1"),
    detail::row(field::cr3_target_value_2, "cr3_target_value_2"),
    detail::row(field::cr3_target_value_3, "cr3_target_value_3"),
    detail::row(field::exit_qualification, "exit_qualification"),
    detail::row(field::io_rcx, "io_rcx"),
    detail::row(field::io_rsi, "io_rsi"),
    detail::row(field::io_rdi, "io_rdi"),
    detail::row(field::io_rip, "io_rip"),
    detail::row(field::guest_linear_address, "guest_linear_address"),
    detail::row(field::guest_cr0, "guest_cr0"),
    detail::row(field::guest_cr3, "guest_cr3"),
    detail::row(field::guest_cr4, "guest_cr4"),
    detail::row(field::guest_es_base, "guest_es_base"),
    detail::row(field::guest_cs_base, "guest_cs_base"),
    detail::row(field::guest_ss_base, "guest_ss_base"),
    detail::row(field::guest_ds_base, "guest_ds_base"),
    detail::row(field::guest_fs_base, "guest_fs_base"),
    detail::row(field::guest_gs_base, "guest_gs_base"),
    detail::row(field::guest_ldtr_base, "guest_ldtr_base"),
    detail::row(field::guest_tr_base, "guest_tr_base"),
    detail::row(field::guest_gdtr_base, "guest_gdtr_base"),
    detail::row(field::guest_idtr_base, "guest_idtr_base"),
    detail::row(field::guest_dr7, "guest_dr7"),
    detail::row(field::guest_rsp, "guest_rsp"),
    detail::row(field::guest_rip, "guest_rip"),
    detail::row(field::guest_rflags, "guest_rflags"),
    detail::row(field::guest_pending_debug_exceptions, "guest_pending_debug_exceptions"),
    detail::row(field::guest_ia32_sysenter_esp, "guest_ia32_sysenter_esp"),
    detail::row(field::guest_ia32_sysenter_eip, "guest_ia32_sysenter_eip"),
    detail::row(field::guest_ia32_s_cet, "guest_ia32_s_cet", control_word::vm_entry, 20, "load CET state"),
    detail::row(field::guest_ssp, "guest_ssp", control_word::vm_entry, 20, "load CET state"),
    detail::row(field::guest_ia32_interrupt_ssp_table_addr, "guest_ia32_interrupt_ssp_table_addr",
                control_word::vm_entry, 20, "load CET state"),
    detail::row(field::host_cr0, "host_cr0"),
    detail::row(field::host_cr3, "host_cr3"),
    detail::row(field::host_cr4, "host_cr4"),
    detail::row(field::host_fs_base, "host_fs_base"),
    detail::row(field::host_gs_base, "host_gs_base"),
    detail::row(field::host_tr_base, "host_tr_base"),
    detail::row(field::host_gdtr_base, "host_gdtr_base"),
    detail::row(field::host_idtr_base, "host_idtr_base"),
    detail::row(field::host_ia32_sysenter_esp, "host_ia32_sysenter_esp"),
    detail::row(field::host_ia32_sysenter_eip, "host_ia32_sysenter_eip"),
    detail::row(field::host_rsp, "host_rsp"),
    detail::row(field::host_rip, "host_rip"),
    detail::row(field::host_ia32_s_cet, "host_ia32_s_cet", control_word::vm_exit, 28, "load host CET state"),
    detail::row(field::host_ssp, "host_ssp", control_word::vm_exit, 28, "load host CET state"),
    detail::row(field::host_ia32_interrupt_ssp_table_addr, "host_ia32_interrupt_ssp_table_addr", control_word::vm_exit,
                28, "load host CET state"),
}};

namespace detail {

inline constexpr std::uint8_t no_slot = 0xFF;
inline constexpr unsigned indexes_per_group = 64;  // no architectural field has an index above 41

// Width and type make 16 groups; a group has 64 indexes. One byte each: the slot, or no_slot.
constexpr std::array<std::uint8_t, 16 * indexes_per_group> make_slot_index() noexcept {
  std::array<std::uint8_t, 16 * indexes_per_group> index{};
  for (auto& slot : index) slot = no_slot;
  for (std::size_t i = 0; i < field_count; ++i) {
    const auto encoding = encoding_of(field_table[i].encoding);
    const unsigned group = ((encoding >> 13) & 3) * 4 + ((encoding >> 10) & 3);
    index[group * indexes_per_group + index_of(encoding)] = static_cast<std::uint8_t>(i);
  }
  return index;
}
inline constexpr auto slot_index = make_slot_index();

constexpr std::size_t slot_position(std::uint32_t encoding) noexcept {
  return ((((encoding >> 13) & 3) * 4 + ((encoding >> 10) & 3)) * indexes_per_group) + (index_of(encoding) & 63);
}

}  // namespace detail

/// Slot of a field, 0 .. field_count - 1.
constexpr std::size_t slot_of(field f) noexcept { return detail::slot_index[detail::slot_position(encoding_of(f))]; }

/// The row of an encoding, in full or (64-bit fields only) high form; nullptr when no such component is defined.
/// Constant time.
constexpr const field_info* find_field(std::uint32_t encoding) noexcept {
  if ((encoding & 0xFFFF'9000u) != 0 || index_of(encoding) >= detail::indexes_per_group) return nullptr;
  const std::uint8_t slot = detail::slot_index[detail::slot_position(encoding)];
  if (slot == detail::no_slot) return nullptr;
  if (is_high(encoding) && width_of(encoding) != field_width::bits_64) return nullptr;
  return &field_table[slot];
}

/// The row whose name this is (linear search); nullptr when there is none.
const field_info* find_field(std::string_view name) noexcept;

const char* name_of(field f) noexcept;
const char* name_of(field_width w) noexcept;
const char* name_of(field_type t) noexcept;

}  // namespace vmxsys::vmx
