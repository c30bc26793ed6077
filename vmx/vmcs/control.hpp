#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "field.hpp"

namespace vmxsys::vmx {

/// Pin-based VM-execution controls, field 4000H, SDM Vol. 3C §27.6.1.
namespace pin_based {
inline constexpr std::uint32_t external_interrupt_exiting = 1u << 0;
inline constexpr std::uint32_t nmi_exiting = 1u << 3;
inline constexpr std::uint32_t virtual_nmis = 1u << 5;
inline constexpr std::uint32_t activate_vmx_preemption_timer = 1u << 6;
inline constexpr std::uint32_t process_posted_interrupts = 1u << 7;
}  // namespace pin_based

/// Primary processor-based VM-execution controls, field 4002H, SDM Vol. 3C §27.6.2.
namespace primary {
inline constexpr std::uint32_t interrupt_window_exiting = 1u << 2;
inline constexpr std::uint32_t use_tsc_offsetting = 1u << 3;
inline constexpr std::uint32_t hlt_exiting = 1u << 7;
inline constexpr std::uint32_t invlpg_exiting = 1u << 9;
inline constexpr std::uint32_t mwait_exiting = 1u << 10;
inline constexpr std::uint32_t rdpmc_exiting = 1u << 11;
inline constexpr std::uint32_t rdtsc_exiting = 1u << 12;
inline constexpr std::uint32_t cr3_load_exiting = 1u << 15;
inline constexpr std::uint32_t cr3_store_exiting = 1u << 16;
inline constexpr std::uint32_t activate_tertiary_controls = 1u << 17;
inline constexpr std::uint32_t cr8_load_exiting = 1u << 19;
inline constexpr std::uint32_t cr8_store_exiting = 1u << 20;
inline constexpr std::uint32_t use_tpr_shadow = 1u << 21;
inline constexpr std::uint32_t nmi_window_exiting = 1u << 22;
inline constexpr std::uint32_t mov_dr_exiting = 1u << 23;
inline constexpr std::uint32_t unconditional_io_exiting = 1u << 24;
inline constexpr std::uint32_t use_io_bitmaps = 1u << 25;
inline constexpr std::uint32_t monitor_trap_flag = 1u << 27;
inline constexpr std::uint32_t use_msr_bitmaps = 1u << 28;
inline constexpr std::uint32_t monitor_exiting = 1u << 29;
inline constexpr std::uint32_t pause_exiting = 1u << 30;
inline constexpr std::uint32_t activate_secondary_controls = 1u << 31;
}  // namespace primary

/// Secondary processor-based VM-execution controls, field 401EH, SDM Vol. 3C §27.6.2. All behave as 0 unless
/// primary control "activate secondary controls" is 1.
namespace secondary {
inline constexpr std::uint32_t virtualize_apic_accesses = 1u << 0;
inline constexpr std::uint32_t enable_ept = 1u << 1;
inline constexpr std::uint32_t descriptor_table_exiting = 1u << 2;
inline constexpr std::uint32_t enable_rdtscp = 1u << 3;
inline constexpr std::uint32_t virtualize_x2apic_mode = 1u << 4;
inline constexpr std::uint32_t enable_vpid = 1u << 5;
inline constexpr std::uint32_t wbinvd_exiting = 1u << 6;
inline constexpr std::uint32_t unrestricted_guest = 1u << 7;
inline constexpr std::uint32_t apic_register_virtualization = 1u << 8;
inline constexpr std::uint32_t virtual_interrupt_delivery = 1u << 9;
inline constexpr std::uint32_t pause_loop_exiting = 1u << 10;
inline constexpr std::uint32_t rdrand_exiting = 1u << 11;
inline constexpr std::uint32_t enable_invpcid = 1u << 12;
inline constexpr std::uint32_t enable_vm_functions = 1u << 13;
inline constexpr std::uint32_t vmcs_shadowing = 1u << 14;
inline constexpr std::uint32_t enable_encls_exiting = 1u << 15;
inline constexpr std::uint32_t rdseed_exiting = 1u << 16;
inline constexpr std::uint32_t enable_pml = 1u << 17;
inline constexpr std::uint32_t ept_violation_ve = 1u << 18;
inline constexpr std::uint32_t conceal_vmx_from_pt = 1u << 19;
inline constexpr std::uint32_t enable_xsaves = 1u << 20;
inline constexpr std::uint32_t pasid_translation = 1u << 21;
inline constexpr std::uint32_t mode_based_execute_control_for_ept = 1u << 22;
inline constexpr std::uint32_t sub_page_write_permissions_for_ept = 1u << 23;
inline constexpr std::uint32_t intel_pt_uses_guest_physical_addresses = 1u << 24;
inline constexpr std::uint32_t use_tsc_scaling = 1u << 25;
inline constexpr std::uint32_t enable_user_wait_and_pause = 1u << 26;
inline constexpr std::uint32_t enable_pconfig = 1u << 27;
inline constexpr std::uint32_t enable_enclv_exiting = 1u << 28;
inline constexpr std::uint32_t vmm_bus_lock_detection = 1u << 30;
inline constexpr std::uint32_t instruction_timeout = 1u << 31;
}  // namespace secondary

/// Tertiary processor-based VM-execution controls, 64-bit field 2034H, SDM Vol. 3C §27.6.2. All behave as 0 unless
/// primary control "activate tertiary controls" is 1.
namespace tertiary {
inline constexpr std::uint64_t loadiwkey_exiting = 1ull << 0;
inline constexpr std::uint64_t enable_hlat = 1ull << 1;
inline constexpr std::uint64_t ept_paging_write_control = 1ull << 2;
inline constexpr std::uint64_t guest_paging_verification = 1ull << 3;
inline constexpr std::uint64_t ipi_virtualization = 1ull << 4;
inline constexpr std::uint64_t seam_guest_physical_address_width = 1ull << 5;
inline constexpr std::uint64_t enable_msr_list_instructions = 1ull << 6;
inline constexpr std::uint64_t virtualize_ia32_spec_ctrl = 1ull << 7;
inline constexpr std::uint64_t apic_timer_virtualization = 1ull << 8;
inline constexpr std::uint64_t enable_pbndkb = 1ull << 9;
inline constexpr std::uint64_t pebs_uses_guest_physical_addresses = 1ull << 12;
}  // namespace tertiary

/// Primary VM-exit controls, field 400CH, SDM Vol. 3C §27.7.1.
namespace vm_exit_control {
inline constexpr std::uint32_t save_debug_controls = 1u << 2;
inline constexpr std::uint32_t host_address_space_size = 1u << 9;
inline constexpr std::uint32_t load_ia32_perf_global_ctrl = 1u << 12;
inline constexpr std::uint32_t acknowledge_interrupt_on_exit = 1u << 15;
inline constexpr std::uint32_t save_ia32_pat = 1u << 18;
inline constexpr std::uint32_t load_ia32_pat = 1u << 19;
inline constexpr std::uint32_t save_ia32_efer = 1u << 20;
inline constexpr std::uint32_t load_ia32_efer = 1u << 21;
inline constexpr std::uint32_t save_vmx_preemption_timer_value = 1u << 22;
inline constexpr std::uint32_t clear_ia32_bndcfgs = 1u << 23;
inline constexpr std::uint32_t conceal_vmx_from_pt = 1u << 24;
inline constexpr std::uint32_t clear_ia32_rtit_ctl = 1u << 25;
inline constexpr std::uint32_t clear_ia32_lbr_ctl = 1u << 26;
inline constexpr std::uint32_t clear_uinv = 1u << 27;
inline constexpr std::uint32_t load_cet_state = 1u << 28;
inline constexpr std::uint32_t load_pkrs = 1u << 29;
inline constexpr std::uint32_t save_ia32_perf_global_ctrl = 1u << 30;
inline constexpr std::uint32_t activate_secondary_controls = 1u << 31;
}  // namespace vm_exit_control

/// Secondary VM-exit controls, 64-bit field 2044H, SDM Vol. 3C §27.7.1.
namespace vm_exit_control_2 {
inline constexpr std::uint64_t save_fred = 1ull << 0;
inline constexpr std::uint64_t load_fred = 1ull << 1;
inline constexpr std::uint64_t load_ia32_spec_ctrl = 1ull << 2;
inline constexpr std::uint64_t prematurely_busy_shadow_stack = 1ull << 3;
}  // namespace vm_exit_control_2

/// VM-entry controls, field 4012H, SDM Vol. 3C §27.8.1.
namespace vm_entry_control {
inline constexpr std::uint32_t load_debug_controls = 1u << 2;
inline constexpr std::uint32_t ia_32e_mode_guest = 1u << 9;
inline constexpr std::uint32_t entry_to_smm = 1u << 10;
inline constexpr std::uint32_t deactivate_dual_monitor_treatment = 1u << 11;
inline constexpr std::uint32_t load_ia32_perf_global_ctrl = 1u << 13;
inline constexpr std::uint32_t load_ia32_pat = 1u << 14;
inline constexpr std::uint32_t load_ia32_efer = 1u << 15;
inline constexpr std::uint32_t load_ia32_bndcfgs = 1u << 16;
inline constexpr std::uint32_t conceal_vmx_from_pt = 1u << 17;
inline constexpr std::uint32_t load_ia32_rtit_ctl = 1u << 18;
inline constexpr std::uint32_t load_uinv = 1u << 19;
inline constexpr std::uint32_t load_cet_state = 1u << 20;
inline constexpr std::uint32_t load_guest_ia32_lbr_ctl = 1u << 21;
inline constexpr std::uint32_t load_pkrs = 1u << 22;
inline constexpr std::uint32_t load_fred = 1u << 23;
inline constexpr std::uint32_t load_ia32_spec_ctrl = 1u << 24;
inline constexpr std::uint32_t allow_seam_guest_telemetry = 1u << 25;
}  // namespace vm_entry_control

/// VM-function controls, 64-bit field 2018H; bit n enables VM function n. SDM Vol. 3C §27.6.14.
namespace vm_function_control {
inline constexpr std::uint64_t eptp_switching = 1ull << 0;
}  // namespace vm_function_control

/// One named control bit, for listings and messages.
struct control_info {
  control_word word;
  std::uint8_t bit;  ///< 0 .. 63
  const char* name;  ///< as the SDM spells it
  /// 1 whenever the word is written by software that knows no better; only the TRUE capability MSRs may allow 0.
  bool default1;
};

/// The default1 class of a control word: reserved bits and controls that are 1 unless known (SDM Vol. 3D §A.2 to A.5).
constexpr std::uint32_t default1_of(control_word word) noexcept {
  switch (word) {
    case control_word::pin:
      return 0x0000'0016;
    case control_word::primary:
      return 0x0401'E172;
    case control_word::vm_exit:
      return 0x0003'6DFF;
    case control_word::vm_entry:
      return 0x0000'11FF;
    default:
      return 0;
  }
}

/// All named controls, ordered by word and bit. Contiguous; `control_table_size` rows.
const control_info* control_table() noexcept;
std::size_t control_table_size() noexcept;

/// The named control at a bit; nullptr when the bit has no name.
const control_info* find_control(control_word word, unsigned bit) noexcept;
/// By SDM name within one word; nullptr when there is none.
const control_info* find_control(control_word word, std::string_view name) noexcept;

/// The VMCS field that holds a word. `none` has no field: precondition word != none.
constexpr field field_of(control_word word) noexcept {
  switch (word) {
    case control_word::primary:
      return field::primary_processor_based_controls;
    case control_word::secondary:
      return field::secondary_processor_based_controls;
    case control_word::tertiary:
      return field::tertiary_processor_based_controls;
    case control_word::vm_exit:
      return field::primary_vm_exit_controls;
    case control_word::vm_exit_2:
      return field::secondary_vm_exit_controls;
    case control_word::vm_entry:
      return field::vm_entry_controls;
    case control_word::vm_function:
      return field::vm_function_controls;
    default:
      return field::pin_based_controls;
  }
}

const char* name_of(control_word word) noexcept;

}  // namespace vmxsys::vmx
