#pragma once
#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <vmxsys/vmx/vmcs/capability.hpp>

namespace vmxsys::vmx::test {

/// The fields as the manual lists them (SDM Vol. 3D, appendix B and its notes), written down a second time.
/// `exists_with`: control word and bit whose 1-setting the processor must support, or one of two; empty: always exists.
struct listed_field {
  std::uint32_t encoding;
  const char* name;
  const char* exists_with;
};

// clang-format off
inline constexpr listed_field field_list[] = {
    {0x0000, "virtual_processor_identifier", "secondary 5"},
    {0x0002, "posted_interrupt_notification_vector", "pin 7"},
    {0x0004, "eptp_index", "secondary 18"},
    {0x0006, "hlat_prefix_size", "tertiary 1"},
    {0x0008, "last_pid_pointer_index", "tertiary 4"},
    {0x000A, "virtual_timer_vector", "tertiary 8"},
    {0x0800, "guest_es_selector", ""},
    {0x0802, "guest_cs_selector", ""},
    {0x0804, "guest_ss_selector", ""},
    {0x0806, "guest_ds_selector", ""},
    {0x0808, "guest_fs_selector", ""},
    {0x080A, "guest_gs_selector", ""},
    {0x080C, "guest_ldtr_selector", ""},
    {0x080E, "guest_tr_selector", ""},
    {0x0810, "guest_interrupt_status", "secondary 9"},
    {0x0812, "pml_index", "secondary 17"},
    {0x0814, "guest_uinv", "entry 19 exit 27"},
    {0x0C00, "host_es_selector", ""},
    {0x0C02, "host_cs_selector", ""},
    {0x0C04, "host_ss_selector", ""},
    {0x0C06, "host_ds_selector", ""},
    {0x0C08, "host_fs_selector", ""},
    {0x0C0A, "host_gs_selector", ""},
    {0x0C0C, "host_tr_selector", ""},
    {0x2000, "io_bitmap_a_address", ""},
    {0x2002, "io_bitmap_b_address", ""},
    {0x2004, "msr_bitmap_address", "primary 28"},
    {0x2006, "vm_exit_msr_store_address", ""},
    {0x2008, "vm_exit_msr_load_address", ""},
    {0x200A, "vm_entry_msr_load_address", ""},
    {0x200C, "executive_vmcs_pointer", ""},
    {0x200E, "pml_address", "secondary 17"},
    {0x2010, "tsc_offset", ""},
    {0x2012, "virtual_apic_address", "primary 21"},
    {0x2014, "apic_access_address", "secondary 0"},
    {0x2016, "posted_interrupt_descriptor_address", "pin 7"},
    {0x2018, "vm_function_controls", "secondary 13"},
    {0x201A, "ept_pointer", "secondary 1"},
    {0x201C, "eoi_exit_bitmap_0", "secondary 9"},
    {0x201E, "eoi_exit_bitmap_1", "secondary 9"},
    {0x2020, "eoi_exit_bitmap_2", "secondary 9"},
    {0x2022, "eoi_exit_bitmap_3", "secondary 9"},
    {0x2024, "eptp_list_address", "function 0"},
    {0x2026, "vmread_bitmap_address", "secondary 14"},
    {0x2028, "vmwrite_bitmap_address", "secondary 14"},
    {0x202A, "virtualization_exception_information_address", "secondary 18"},
    {0x202C, "xss_exiting_bitmap", "secondary 20"},
    {0x202E, "encls_exiting_bitmap", "secondary 15"},
    {0x2030, "sub_page_permission_table_pointer", "secondary 23"},
    {0x2032, "tsc_multiplier", "secondary 25"},
    {0x2034, "tertiary_processor_based_controls", "primary 17"},
    {0x2036, "enclv_exiting_bitmap", "secondary 28"},
    {0x2038, "low_pasid_directory_address", "secondary 21"},
    {0x203A, "high_pasid_directory_address", "secondary 21"},
    {0x203C, "shared_ept_pointer", "tertiary 5"},
    {0x203E, "pconfig_exiting_bitmap", "secondary 27"},
    {0x2040, "hlat_pointer", "tertiary 1"},
    {0x2042, "pid_pointer_table_address", "tertiary 4"},
    {0x2044, "secondary_vm_exit_controls", "exit 31"},
    {0x204A, "ia32_spec_ctrl_mask", "tertiary 7"},
    {0x204C, "ia32_spec_ctrl_shadow", "tertiary 7"},
    {0x204E, "guest_deadline_shadow", "tertiary 8"},
    {0x2052, "injected_event_data", "entry 23"},
    {0x2400, "guest_physical_address", "secondary 1"},
    {0x2402, "msr_data", "tertiary 6"},
    {0x2404, "original_event_data", "entry 23"},
    {0x2800, "vmcs_link_pointer", ""},
    {0x2802, "guest_ia32_debugctl", ""},
    {0x2804, "guest_ia32_pat", "entry 14 exit 18"},
    {0x2806, "guest_ia32_efer", "entry 15 exit 20"},
    {0x2808, "guest_ia32_perf_global_ctrl", "entry 13"},
    {0x280A, "guest_pdpte0", "secondary 1"},
    {0x280C, "guest_pdpte1", "secondary 1"},
    {0x280E, "guest_pdpte2", "secondary 1"},
    {0x2810, "guest_pdpte3", "secondary 1"},
    {0x2812, "guest_ia32_bndcfgs", "entry 16 exit 23"},
    {0x2814, "guest_ia32_rtit_ctl", "entry 18 exit 25"},
    {0x2816, "guest_ia32_lbr_ctl", "entry 21 exit 26"},
    {0x2818, "guest_ia32_pkrs", "entry 22"},
    {0x281A, "guest_ia32_fred_config", "entry 23 exit_2 0"},
    {0x281C, "guest_ia32_fred_rsp1", "entry 23 exit_2 0"},
    {0x281E, "guest_ia32_fred_rsp2", "entry 23 exit_2 0"},
    {0x2820, "guest_ia32_fred_rsp3", "entry 23 exit_2 0"},
    {0x2822, "guest_ia32_fred_stklvls", "entry 23 exit_2 0"},
    {0x2824, "guest_ia32_fred_ssp1", "entry 23 exit_2 0"},
    {0x2826, "guest_ia32_fred_ssp2", "entry 23 exit_2 0"},
    {0x2828, "guest_ia32_fred_ssp3", "entry 23 exit_2 0"},
    {0x282E, "guest_ia32_spec_ctrl", "entry 24"},
    {0x2830, "guest_deadline", "tertiary 8"},
    {0x2C00, "host_ia32_pat", "exit 19"},
    {0x2C02, "host_ia32_efer", "exit 21"},
    {0x2C04, "host_ia32_perf_global_ctrl", "exit 12"},
    {0x2C06, "host_ia32_pkrs", "exit 29"},
    {0x2C08, "host_ia32_fred_config", "exit_2 1"},
    {0x2C0A, "host_ia32_fred_rsp1", "exit_2 1"},
    {0x2C0C, "host_ia32_fred_rsp2", "exit_2 1"},
    {0x2C0E, "host_ia32_fred_rsp3", "exit_2 1"},
    {0x2C10, "host_ia32_fred_stklvls", "exit_2 1"},
    {0x2C12, "host_ia32_fred_ssp1", "exit_2 1"},
    {0x2C14, "host_ia32_fred_ssp2", "exit_2 1"},
    {0x2C16, "host_ia32_fred_ssp3", "exit_2 1"},
    {0x2C1A, "host_ia32_spec_ctrl", "exit_2 2"},
    {0x4000, "pin_based_controls", ""},
    {0x4002, "primary_processor_based_controls", ""},
    {0x4004, "exception_bitmap", ""},
    {0x4006, "page_fault_error_code_mask", ""},
    {0x4008, "page_fault_error_code_match", ""},
    {0x400A, "cr3_target_count", ""},
    {0x400C, "primary_vm_exit_controls", ""},
    {0x400E, "vm_exit_msr_store_count", ""},
    {0x4010, "vm_exit_msr_load_count", ""},
    {0x4012, "vm_entry_controls", ""},
    {0x4014, "vm_entry_msr_load_count", ""},
    {0x4016, "vm_entry_interruption_information", ""},
    {0x4018, "vm_entry_exception_error_code", ""},
    {0x401A, "vm_entry_instruction_length", ""},
    {0x401C, "tpr_threshold", "primary 21"},
    {0x401E, "secondary_processor_based_controls", "primary 31"},
    {0x4020, "ple_gap", "secondary 10"},
    {0x4022, "ple_window", "secondary 10"},
    {0x4024, "instruction_timeout_control", "secondary 31"},
    {0x4026, "seam_guest_keyid", "tertiary 5"},
    {0x4400, "vm_instruction_error", ""},
    {0x4402, "exit_reason", ""},
    {0x4404, "vm_exit_interruption_information", ""},
    {0x4406, "vm_exit_interruption_error_code", ""},
    {0x4408, "idt_vectoring_information", ""},
    {0x440A, "idt_vectoring_error_code", ""},
    {0x440C, "vm_exit_instruction_length", ""},
    {0x440E, "vm_exit_instruction_information", ""},
    {0x4800, "guest_es_limit", ""},
    {0x4802, "guest_cs_limit", ""},
    {0x4804, "guest_ss_limit", ""},
    {0x4806, "guest_ds_limit", ""},
    {0x4808, "guest_fs_limit", ""},
    {0x480A, "guest_gs_limit", ""},
    {0x480C, "guest_ldtr_limit", ""},
    {0x480E, "guest_tr_limit", ""},
    {0x4810, "guest_gdtr_limit", ""},
    {0x4812, "guest_idtr_limit", ""},
    {0x4814, "guest_es_access_rights", ""},
    {0x4816, "guest_cs_access_rights", ""},
    {0x4818, "guest_ss_access_rights", ""},
    {0x481A, "guest_ds_access_rights", ""},
    {0x481C, "guest_fs_access_rights", ""},
    {0x481E, "guest_gs_access_rights", ""},
    {0x4820, "guest_ldtr_access_rights", ""},
    {0x4822, "guest_tr_access_rights", ""},
    {0x4824, "guest_interruptibility_state", ""},
    {0x4826, "guest_activity_state", ""},
    {0x4828, "guest_smbase", ""},
    {0x482A, "guest_ia32_sysenter_cs", ""},
    {0x482E, "vmx_preemption_timer_value", "pin 6"},
    {0x4C00, "host_ia32_sysenter_cs", ""},
    {0x6000, "cr0_guest_host_mask", ""},
    {0x6002, "cr4_guest_host_mask", ""},
    {0x6004, "cr0_read_shadow", ""},
    {0x6006, "cr4_read_shadow", ""},
    {0x6008, "cr3_target_value_0", ""},
    {0x600A, "cr3_target_value_1", ""},
    {0x600C, "cr3_target_value_2", ""},
    {0x600E, "cr3_target_value_3", ""},
    {0x6400, "exit_qualification", ""},
    {0x6402, "io_rcx", ""},
    {0x6404, "io_rsi", ""},
    {0x6406, "io_rdi", ""},
    {0x6408, "io_rip", ""},
    {0x640A, "guest_linear_address", ""},
    {0x6800, "guest_cr0", ""},
    {0x6802, "guest_cr3", ""},
    {0x6804, "guest_cr4", ""},
    {0x6806, "guest_es_base", ""},
    {0x6808, "guest_cs_base", ""},
    {0x680A, "guest_ss_base", ""},
    {0x680C, "guest_ds_base", ""},
    {0x680E, "guest_fs_base", ""},
    {0x6810, "guest_gs_base", ""},
    {0x6812, "guest_ldtr_base", ""},
    {0x6814, "guest_tr_base", ""},
    {0x6816, "guest_gdtr_base", ""},
    {0x6818, "guest_idtr_base", ""},
    {0x681A, "guest_dr7", ""},
    {0x681C, "guest_rsp", ""},
    {0x681E, "guest_rip", ""},
    {0x6820, "guest_rflags", ""},
    {0x6822, "guest_pending_debug_exceptions", ""},
    {0x6824, "guest_ia32_sysenter_esp", ""},
    {0x6826, "guest_ia32_sysenter_eip", ""},
    {0x6828, "guest_ia32_s_cet", "entry 20"},
    {0x682A, "guest_ssp", "entry 20"},
    {0x682C, "guest_ia32_interrupt_ssp_table_addr", "entry 20"},
    {0x6C00, "host_cr0", ""},
    {0x6C02, "host_cr3", ""},
    {0x6C04, "host_cr4", ""},
    {0x6C06, "host_fs_base", ""},
    {0x6C08, "host_gs_base", ""},
    {0x6C0A, "host_tr_base", ""},
    {0x6C0C, "host_gdtr_base", ""},
    {0x6C0E, "host_idtr_base", ""},
    {0x6C10, "host_ia32_sysenter_esp", ""},
    {0x6C12, "host_ia32_sysenter_eip", ""},
    {0x6C14, "host_rsp", ""},
    {0x6C16, "host_rip", ""},
    {0x6C18, "host_ia32_s_cet", "exit 28"},
    {0x6C1A, "host_ssp", "exit 28"},
    {0x6C1C, "host_ia32_interrupt_ssp_table_addr", "exit 28"},
};
// clang-format on

inline control_word word_named(std::string_view name) {
  if (name == "pin") return control_word::pin;
  if (name == "primary") return control_word::primary;
  if (name == "secondary") return control_word::secondary;
  if (name == "tertiary") return control_word::tertiary;
  if (name == "exit") return control_word::vm_exit;
  if (name == "exit_2") return control_word::vm_exit_2;
  if (name == "entry") return control_word::vm_entry;
  if (name == "function") return control_word::vm_function;
  return control_word::none;
}

inline std::vector<std::pair<control_word, unsigned>> conditions_of(const listed_field& row) {
  std::vector<std::pair<control_word, unsigned>> all;
  std::istringstream text{row.exists_with};
  std::string word;
  for (unsigned bit = 0; text >> word >> bit;) all.emplace_back(word_named(word), bit);
  return all;
}

/// A processor that supports the 1-setting of no control (`false`) or of every control (`true`) of every word.
inline capabilities with_controls(bool all) {
  capabilities c = find_capability_row("sapphire_rapids")->values;
  const std::uint64_t ones = all ? ~std::uint64_t{0} : 0;
  for (std::uint64_t* msr : {&c.pin, &c.primary, &c.secondary, &c.vm_exit, &c.vm_entry})
    *msr = (*msr & 0xFFFF'FFFF) | ones << 32;
  c.tertiary = c.vm_exit_2 = c.vmfunc = ones;
  return c;
}

/// Adds one control to those supported, or takes it away.
inline void support(capabilities& c, control_word word, unsigned bit, bool yes) {
  const auto set = [&](std::uint64_t& msr, unsigned at) {
    msr = (msr & ~(std::uint64_t{1} << at)) | std::uint64_t{yes} << at;
  };
  switch (word) {
    case control_word::pin:
      return set(c.pin, 32 + bit);
    case control_word::primary:
      return set(c.primary, 32 + bit);
    case control_word::secondary:
      return set(c.secondary, 32 + bit);
    case control_word::tertiary:
      return set(c.tertiary, bit);
    case control_word::vm_exit:
      return set(c.vm_exit, 32 + bit);
    case control_word::vm_exit_2:
      return set(c.vm_exit_2, bit);
    case control_word::vm_entry:
      return set(c.vm_entry, 32 + bit);
    case control_word::vm_function:
      return set(c.vmfunc, bit);
    case control_word::none:
      return;
  }
}

}  // namespace vmxsys::vmx::test
