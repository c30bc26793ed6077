#pragma once
#include <vmxsys/vmx/vmcs/processor_state.hpp>

#include "../random_numbers.hpp"
#include "entry_bench.hpp"

namespace vmxsys::vmx::entry_testing {

/// A random VMCS that must be able to enter, with what it needs in memory. What no rule looks at is noise. Written from
/// the manual's text, without a look at the rules in vmx/.
class legal_vmcs {
 public:
  legal_vmcs(entry_bench& bench, testing::random_numbers& random) : b_{bench}, r_{random} {}

  void make() {
    for (const field_info& row : field_table) b_.set(row.encoding, r_());
    make_surroundings();
    make_controls();
    fix_controls();
    make_addresses();
    make_host();
    make_mode();
    make_registers();
    make_segments();
    make_event();
    make_non_register();
  }

 private:
  enum class mode { long_64, compatibility, paged, unpaged, real, v86 };

  bool coin() { return r_.one_in(2); }
  u64 wish() {
    const u64 a = r_(), b = r_(), c = r_();
    return r_.one_in(3) ? a : r_.one_in(2) ? a & b : a & b & c;
  }
  bool may(control_word word, u64 bits) const { return (b_.caps.allowed_1(word) & bits) == bits; }
  bool has(control_word word, u64 bits) const { return b_.v.any(field_of(word), bits); }
  bool pin(u64 bits) const { return has(control_word::pin, bits); }
  bool primary(u64 bits) const { return has(control_word::primary, bits); }
  bool secondary(u64 bits) const {
    return primary(primary::activate_secondary_controls) && has(control_word::secondary, bits);
  }
  bool tertiary(u64 bits) const {
    return primary(primary::activate_tertiary_controls) && has(control_word::tertiary, bits);
  }
  bool exits(u64 bits) const { return has(control_word::vm_exit, bits); }
  bool exits_2(u64 bits) const {
    return exits(vm_exit_control::activate_secondary_controls) && has(control_word::vm_exit_2, bits);
  }
  bool enters(u64 bits) const { return has(control_word::vm_entry, bits); }

  u64 physical(u64 alignment) {
    const u64 end = u64{1} << b_.caps.physical_address_width;
    return (r_.one_in(4) ? end - alignment : r_() & (end - 1)) & ~(alignment - 1);
  }
  void page_if(bool used, field where) {
    if (used) b_.set(where, physical(4096));
  }
  u64 canonical(u64 alignment = 1) {
    const unsigned shift = 64 - b_.caps.linear_address_width;
    const u64 edge = u64{1} << (b_.caps.linear_address_width - 1);
    const u64 any = r_.one_in(4) ? (coin() ? edge - 1 : 0 - edge)
                                 : static_cast<u64>(static_cast<std::int64_t>(r_() << shift) >> shift);
    return any & ~(alignment - 1);
  }
  // Bits above the width agree; bit width-1 need not agree with them.
  u64 loosely_canonical() {
    const u64 mask = (u64{1} << b_.caps.linear_address_width) - 1;
    return coin() ? r_() & mask : r_() | ~mask;
  }
  u64 in_32() { return r_() & 0xFFFF'FFFF; }

  // ---- controls
  // ------------------------------------------------------------------------------------------------------

  void make_surroundings() {
    b_.long_mode = !r_.one_in(5);
    b_.in_smm = may(control_word::vm_entry, vm_entry_control::entry_to_smm) && r_.one_in(6);
    b_.tracing = r_.one_in(6);
    b_.pae_paging = !b_.long_mode && coin();
    b_.cr3 = physical(32);
  }

  void make_controls() {
    for (const control_word word :
         {control_word::pin, control_word::primary, control_word::vm_exit, control_word::vm_entry})
      b_.set(field_of(word), adjust(wish(), word, b_.caps));
    if (primary(primary::activate_secondary_controls))
      b_.set(field_of(control_word::secondary), adjust(wish(), control_word::secondary, b_.caps));
    if (primary(primary::activate_tertiary_controls))
      b_.set(field_of(control_word::tertiary), adjust(wish(), control_word::tertiary, b_.caps));
    if (exits(vm_exit_control::activate_secondary_controls))
      b_.set(field_of(control_word::vm_exit_2), adjust(wish(), control_word::vm_exit_2, b_.caps));
    if (b_.long_mode)
      b_.on(control_word::vm_exit, vm_exit_control::host_address_space_size);
    else
      b_.off(control_word::vm_exit, vm_exit_control::host_address_space_size);
  }

  void drop_secondary(u64 bits) { b_.off(control_word::secondary, bits); }
  void drop_tertiary(u64 bits) { b_.off(control_word::tertiary, bits); }

  void fix_controls() {
    if (!pin(pin_based::nmi_exiting)) b_.off(control_word::pin, pin_based::virtual_nmis);
    if (!pin(pin_based::virtual_nmis)) b_.off(control_word::primary, primary::nmi_window_exiting);
    if (!primary(primary::use_tpr_shadow)) {
      if (primary(primary::activate_secondary_controls))
        drop_secondary(secondary::virtualize_x2apic_mode | secondary::apic_register_virtualization |
                       secondary::virtual_interrupt_delivery);
      if (primary(primary::activate_tertiary_controls)) drop_tertiary(tertiary::ipi_virtualization);
    }
    if (secondary(secondary::virtualize_x2apic_mode)) drop_secondary(secondary::virtualize_apic_accesses);
    const bool delivery = secondary(secondary::virtual_interrupt_delivery);
    if (delivery) b_.on(control_word::pin, pin_based::external_interrupt_exiting);
    if (!delivery) b_.off(control_word::pin, pin_based::process_posted_interrupts);
    if (pin(pin_based::process_posted_interrupts))
      b_.on(control_word::vm_exit, vm_exit_control::acknowledge_interrupt_on_exit);
    if (!secondary(secondary::enable_ept) && primary(primary::activate_secondary_controls))
      drop_secondary(secondary::enable_pml | secondary::unrestricted_guest |
                     secondary::mode_based_execute_control_for_ept | secondary::sub_page_write_permissions_for_ept |
                     secondary::intel_pt_uses_guest_physical_addresses);
    if (!secondary(secondary::enable_ept) && primary(primary::activate_tertiary_controls))
      drop_tertiary(tertiary::enable_hlat | tertiary::ept_paging_write_control | tertiary::guest_paging_verification |
                    tertiary::pebs_uses_guest_physical_addresses);
    if (tertiary(tertiary::apic_timer_virtualization) && (!delivery || primary(primary::rdtsc_exiting)))
      drop_tertiary(tertiary::apic_timer_virtualization);
    if (b_.tracing) b_.off(control_word::vm_entry, vm_entry_control::load_ia32_rtit_ctl);
    if (secondary(secondary::intel_pt_uses_guest_physical_addresses) &&
        !(enters(vm_entry_control::load_ia32_rtit_ctl) && exits(vm_exit_control::clear_ia32_rtit_ctl)))
      drop_secondary(secondary::intel_pt_uses_guest_physical_addresses);
    if (!pin(pin_based::activate_vmx_preemption_timer))
      b_.off(control_word::vm_exit, vm_exit_control::save_vmx_preemption_timer_value);
    if (!b_.in_smm || coin()) b_.off(control_word::vm_entry, vm_entry_control::entry_to_smm);
    if (!b_.in_smm || enters(vm_entry_control::entry_to_smm))
      b_.off(control_word::vm_entry, vm_entry_control::deactivate_dual_monitor_treatment);
  }

  void make_list(field count, field address) {
    const u64 n = coin() ? 0 : r_.between(1, 100);
    b_.set(count, n);
    if (n == 0) return;
    const u64 end = u64{1} << b_.caps.physical_address_width;
    b_.set(address, r_.one_in(3) ? end - 16 * n : (r_() & (end / 2 - 1)) & ~u64{15});
  }

  void make_addresses() {
    b_.set(f::cr3_target_count, r_.below(b_.caps.max_cr3_targets() + 1));
    page_if(primary(primary::use_io_bitmaps), f::io_bitmap_a_address);
    page_if(primary(primary::use_io_bitmaps), f::io_bitmap_b_address);
    page_if(primary(primary::use_msr_bitmaps), f::msr_bitmap_address);
    if (primary(primary::use_tpr_shadow)) {
      b_.set(f::virtual_apic_address, physical(4096));
      const u64 threshold = r_.below(16);
      if (!secondary(secondary::virtual_interrupt_delivery)) b_.set(f::tpr_threshold, threshold);
      if (!secondary(secondary::virtual_interrupt_delivery | secondary::virtualize_apic_accesses))
        b_.memory.write(b_.of(f::virtual_apic_address) + 0x80,
                        static_cast<std::uint8_t>(r_.between(threshold, 15) << 4 | r_.below(16)));
    }
    page_if(secondary(secondary::virtualize_apic_accesses), f::apic_access_address);
    page_if(secondary(secondary::enable_pml), f::pml_address);
    page_if(secondary(secondary::vmcs_shadowing), f::vmread_bitmap_address);
    page_if(secondary(secondary::vmcs_shadowing), f::vmwrite_bitmap_address);
    page_if(secondary(secondary::ept_violation_ve), f::virtualization_exception_information_address);
    page_if(secondary(secondary::sub_page_write_permissions_for_ept), f::sub_page_permission_table_pointer);
    page_if(secondary(secondary::pasid_translation), f::low_pasid_directory_address);
    page_if(secondary(secondary::pasid_translation), f::high_pasid_directory_address);
    if (pin(pin_based::process_posted_interrupts)) {
      b_.set(f::posted_interrupt_notification_vector, r_.below(256));
      b_.set(f::posted_interrupt_descriptor_address, physical(64));
    }
    if (secondary(secondary::enable_vpid)) b_.set(f::virtual_processor_identifier, r_.between(1, 0xFFFF));
    if (secondary(secondary::enable_ept)) b_.set(f::ept_pointer, eptp());
    if (secondary(secondary::enable_vm_functions)) {
      u64 functions = r_() & b_.caps.vmfunc;
      if (!secondary(secondary::enable_ept)) functions &= ~u64{1};
      b_.set(f::vm_function_controls, functions);
      page_if((functions & 1) != 0, f::eptp_list_address);
    }
    if (secondary(secondary::use_tsc_scaling)) b_.set(f::tsc_multiplier, r_.between(1, ~u64{0} - 1));
    if (tertiary(tertiary::ipi_virtualization)) {
      const u64 last = r_.below(0x1'0000);
      const u64 end = u64{1} << b_.caps.physical_address_width;
      b_.set(f::last_pid_pointer_index, last);
      b_.set(f::pid_pointer_table_address, coin() ? end - 8 * last - 8 : (r_() & (end / 2 - 1)) & ~u64{7});
    }
    if (tertiary(tertiary::enable_hlat)) b_.set(f::hlat_pointer, physical(4096) | r_.below(4) << 3);
    if (tertiary(tertiary::apic_timer_virtualization)) b_.set(f::virtual_timer_vector, r_.below(256));
    make_list(f::vm_exit_msr_store_count, f::vm_exit_msr_store_address);
    make_list(f::vm_exit_msr_load_count, f::vm_exit_msr_load_address);
    make_list(f::vm_entry_msr_load_count, f::vm_entry_msr_load_address);
  }

  u64 eptp() {
    const auto cap = [&](unsigned bit) { return (b_.caps.ept_vpid >> bit & 1) != 0; };
    const u64 type = cap(14) && (coin() || !cap(8)) ? 6 : 0;
    const u64 walk = cap(7) && (coin() || !cap(6)) ? 4 : 3;
    return physical(4096) | type | walk << 3 | (cap(21) ? r_.below(2) << 6 : 0) | (cap(23) ? r_.below(2) << 7 : 0);
  }

  // ---- host
  // ----------------------------------------------------------------------------------------------------------

  u64 cr0() { return ((r_() | b_.caps.cr0_fixed0) & b_.caps.cr0_fixed1) ^ (r_() & 0x6000'0000); }
  u64 cr4(bool wp) {
    const u64 value = (r_() | b_.caps.cr4_fixed0) & b_.caps.cr4_fixed1;
    return wp ? value : value & ~(u64{1} << 23);
  }
  u64 pat() {
    constexpr u64 types[] = {0, 1, 4, 5, 6, 7};
    u64 value = 0;
    for (unsigned i = 0; i < 8; ++i) value |= types[r_.below(6)] << (8 * i);
    return value;
  }
  u64 s_cet(u64 base) {
    constexpr u64 modes[] = {0, 0x400, 0x800};
    return (base & ~u64{0xFFF}) | r_.below(64) | modes[r_.below(3)];
  }
  void make_fred(std::array<field, 3> rsps, std::array<field, 3> ssps, field config) {
    for (const field where : rsps) b_.set(where, canonical(64));
    for (const field where : ssps) b_.set(where, canonical(8));
    b_.set(config, canonical(4096) | (r_() & 0x7CB));
  }

  void make_host() {
    const bool is_64 = b_.long_mode;
    const u64 host_cr0 = cr0();
    u64 host_cr4 = cr4((host_cr0 >> 16 & 1) != 0);
    if (is_64)
      host_cr4 |= 1u << 5;
    else
      host_cr4 &= ~(u64{1} << 17 | u64{1} << 32);
    b_.set(f::host_cr0, host_cr0);
    b_.set(f::host_cr4, host_cr4);
    b_.set(f::host_cr3, physical(1));
    for (const field where : {f::host_ia32_sysenter_esp, f::host_ia32_sysenter_eip, f::host_fs_base, f::host_gs_base,
                              f::host_tr_base, f::host_gdtr_base, f::host_idtr_base})
      b_.set(where, canonical());
    if (exits(vm_exit_control::load_ia32_perf_global_ctrl))
      b_.set(f::host_ia32_perf_global_ctrl, r_() & b_.features.perf_global_ctrl);
    if (exits(vm_exit_control::load_ia32_pat)) b_.set(f::host_ia32_pat, pat());
    if (exits(vm_exit_control::load_ia32_efer)) b_.set(f::host_ia32_efer, (r_() & 0x801) | (is_64 ? 0x500 : 0));
    if (exits(vm_exit_control::load_cet_state)) {
      b_.set(f::host_ia32_s_cet, s_cet(is_64 ? canonical() : in_32()));
      b_.set(f::host_ssp, (is_64 ? canonical() : in_32()) & ~u64{3});
      b_.set(f::host_ia32_interrupt_ssp_table_addr, canonical());
    }
    if (exits(vm_exit_control::load_pkrs)) b_.set(f::host_ia32_pkrs, in_32());
    if (exits_2(vm_exit_control_2::load_ia32_spec_ctrl)) b_.set(f::host_ia32_spec_ctrl, r_() & b_.features.spec_ctrl);
    if (exits_2(vm_exit_control_2::load_fred))
      make_fred({f::host_ia32_fred_rsp1, f::host_ia32_fred_rsp2, f::host_ia32_fred_rsp3},
                {f::host_ia32_fred_ssp1, f::host_ia32_fred_ssp2, f::host_ia32_fred_ssp3}, f::host_ia32_fred_config);
    for (const field where : {f::host_ds_selector, f::host_es_selector, f::host_fs_selector, f::host_gs_selector})
      b_.set(where, r_() & 0xFFF8);
    for (const field where : {f::host_cs_selector, f::host_tr_selector, f::host_ss_selector})
      b_.set(where, 8 * r_.between(1, 0x1FFF));
    if (is_64 && coin()) b_.set(f::host_ss_selector, 0);
    b_.set(f::host_rip, is_64 ? canonical() : in_32());
  }

  // ---- guest
  // ---------------------------------------------------------------------------------------------------------

  bool unrestricted() const { return secondary(secondary::unrestricted_guest); }
  bool ia_32e() const { return mode_ == mode::long_64 || mode_ == mode::compatibility; }

  void make_mode() {
    const mode modes[] = {mode::long_64, mode::compatibility, mode::paged, mode::v86, mode::unpaged, mode::real};
    do mode_ = modes[r_.below(unrestricted() ? 6 : 4)];
    while (ia_32e() && !b_.long_mode);
    if (ia_32e())
      b_.on(control_word::vm_entry, vm_entry_control::ia_32e_mode_guest);
    else
      b_.off(control_word::vm_entry, vm_entry_control::ia_32e_mode_guest);
    pe_ = mode_ != mode::real;
    pg_ = mode_ != mode::real && mode_ != mode::unpaged;
    if (mode_ == mode::v86 && unrestricted()) pg_ = coin();
    const std::uint64_t supported[] = {0, 1, 2, 3};
    do activity_ = r_.one_in(2) ? 0 : supported[r_.below(4)];
    while ((activity_ != 0 && (b_.caps.misc >> (5 + activity_) & 1) == 0) || (activity_ == 1 && mode_ == mode::v86) ||
           (activity_ == 3 && enters(vm_entry_control::entry_to_smm)));
  }

  void make_registers() {
    u64 guest_cr0 = cr0() & ~u64{0x8000'0001};
    guest_cr0 |= (pe_ ? 1u : 0u) | (pg_ ? 0x8000'0000u : 0u);
    u64 guest_cr4 = cr4((guest_cr0 >> 16 & 1) != 0);
    if (ia_32e())
      guest_cr4 |= 1u << 5;
    else
      guest_cr4 &= ~(u64{1} << 17);
    pae_ = pg_ && !ia_32e() && (guest_cr4 >> 5 & 1) != 0;
    b_.set(f::guest_cr0, guest_cr0);
    b_.set(f::guest_cr4, guest_cr4);
    b_.set(f::guest_cr3, physical(1));
    if (enters(vm_entry_control::load_debug_controls)) {
      b_.set(f::guest_ia32_debugctl, r_() & b_.features.debugctl);
      b_.set(f::guest_dr7, in_32());
    }
    b_.set(f::guest_ia32_sysenter_esp, canonical());
    b_.set(f::guest_ia32_sysenter_eip, canonical());
    if (enters(vm_entry_control::load_cet_state)) {
      b_.set(f::guest_ia32_s_cet, s_cet(canonical()));
      b_.set(f::guest_ssp, loosely_canonical() & ~u64{3});
      b_.set(f::guest_ia32_interrupt_ssp_table_addr, canonical());
    }
    if (enters(vm_entry_control::load_ia32_perf_global_ctrl))
      b_.set(f::guest_ia32_perf_global_ctrl, r_() & b_.features.perf_global_ctrl);
    if (enters(vm_entry_control::load_ia32_pat)) b_.set(f::guest_ia32_pat, pat());
    if (enters(vm_entry_control::load_ia32_efer)) {
      const bool lme = pg_ ? ia_32e() : coin();
      b_.set(f::guest_ia32_efer, (r_() & 0x801) | (ia_32e() ? 0x400 : 0) | (lme ? 0x100 : 0));
    }
    if (enters(vm_entry_control::load_ia32_bndcfgs)) b_.set(f::guest_ia32_bndcfgs, canonical(4096) | r_.below(4));
    if (enters(vm_entry_control::load_ia32_rtit_ctl)) b_.set(f::guest_ia32_rtit_ctl, r_() & b_.features.rtit_ctl);
    if (enters(vm_entry_control::load_guest_ia32_lbr_ctl)) b_.set(f::guest_ia32_lbr_ctl, r_() & b_.features.lbr_ctl);
    if (enters(vm_entry_control::load_pkrs)) b_.set(f::guest_ia32_pkrs, in_32());
    if (enters(vm_entry_control::load_uinv)) b_.set(f::guest_uinv, r_.below(256));
    if (enters(vm_entry_control::load_ia32_spec_ctrl)) b_.set(f::guest_ia32_spec_ctrl, r_() & b_.features.spec_ctrl);
    if (enters(vm_entry_control::load_fred))
      make_fred({f::guest_ia32_fred_rsp1, f::guest_ia32_fred_rsp2, f::guest_ia32_fred_rsp3},
                {f::guest_ia32_fred_ssp1, f::guest_ia32_fred_ssp2, f::guest_ia32_fred_ssp3}, f::guest_ia32_fred_config);
    make_pdptes();
  }

  u64 pdpte() {
    if (r_.one_in(3)) return r_() & ~u64{1};  // not present: anything
    return (physical(4096) | (r_() & 0xE18)) | 1;
  }
  void make_pdptes() {
    if (!pae_) return;
    if (secondary(secondary::enable_ept)) {
      for (const field where : {f::guest_pdpte0, f::guest_pdpte1, f::guest_pdpte2, f::guest_pdpte3})
        b_.set(where, pdpte());
      return;
    }
    if (b_.pae_paging && coin()) {  // goes on with the host's: they are not loaded, so anything may be there
      b_.set(f::guest_cr3, b_.cr3);
      return;
    }
    const u64 table = b_.of(f::guest_cr3) & 0xFFFF'FFE0;
    for (unsigned i = 0; i < 4; ++i) b_.memory.write(table + 8 * i, pdpte());
  }

  struct limit_and_g {
    u64 limit, g;
  };
  limit_and_g limit() {
    switch (r_.below(4)) {
      case 0:
        return {in_32() | 0xFFF, 0x8000};
      case 1:
        return {r_() & 0xF'FFFF, 0};
      case 2:
        return {0xF'FFFF, 0};
      default:
        return {0xFFF, coin() ? 0x8000u : 0u};
    }
  }
  u64 noise_bits() { return r_() & 0x7000; }  // AVL, L, D/B

  void make_segments() {
    b_.set(f::guest_gdtr_base, canonical());
    b_.set(f::guest_idtr_base, canonical());
    b_.set(f::guest_gdtr_limit, r_() & 0xFFFF);
    b_.set(f::guest_idtr_limit, r_() & 0xFFFF);
    b_.set(f::guest_tr_selector, r_() & ~u64{4});
    b_.set(f::guest_tr_base, canonical());
    const limit_and_g tr = limit();
    b_.set(f::guest_tr_limit, tr.limit);
    b_.set(f::guest_tr_access_rights, (!ia_32e() && coin() ? 0x83u : 0x8Bu) | noise_bits() | tr.g);
    if (coin()) {
      b_.set(f::guest_ldtr_access_rights, r_() | 0x1'0000);
    } else {
      const limit_and_g l = limit();
      b_.set(f::guest_ldtr_selector, r_() & ~u64{4});
      b_.set(f::guest_ldtr_base, canonical());
      b_.set(f::guest_ldtr_limit, l.limit);
      b_.set(f::guest_ldtr_access_rights, 0x82 | noise_bits() | l.g);
    }
    if (mode_ == mode::v86)
      make_v86_segments();
    else
      make_code_and_data();
  }

  void make_v86_segments() {
    for (const auto& [selector, base, limit, rights] :
         {std::array{f::guest_cs_selector, f::guest_cs_base, f::guest_cs_limit, f::guest_cs_access_rights},
          std::array{f::guest_ss_selector, f::guest_ss_base, f::guest_ss_limit, f::guest_ss_access_rights},
          std::array{f::guest_ds_selector, f::guest_ds_base, f::guest_ds_limit, f::guest_ds_access_rights},
          std::array{f::guest_es_selector, f::guest_es_base, f::guest_es_limit, f::guest_es_access_rights},
          std::array{f::guest_fs_selector, f::guest_fs_base, f::guest_fs_limit, f::guest_fs_access_rights},
          std::array{f::guest_gs_selector, f::guest_gs_base, f::guest_gs_limit, f::guest_gs_access_rights}}) {
      b_.set(base, b_.of(selector) << 4);
      b_.set(limit, 0xFFFF);
      b_.set(rights, 0xF3);
    }
  }

  void make_code_and_data() {
    const bool data_cs = unrestricted() && r_.one_in(4);
    const u64 cpl = !pe_ || data_cs || activity_ == 1 ? 0 : r_.below(4);
    const u64 ss_rpl = unrestricted() ? r_.below(4) : cpl;
    const u64 cs_rpl = unrestricted() ? r_.below(4) : ss_rpl;
    constexpr u64 code_types[] = {9, 11, 13, 15};
    const u64 cs_type = data_cs ? 3 : code_types[r_.below(4)];
    const u64 cs_dpl = data_cs ? 0 : cs_type >= 13 ? r_.below(cpl + 1) : cpl;
    u64 l_d = r_() & 0x6000;
    if (mode_ == mode::long_64) l_d = 0x2000;
    if (mode_ == mode::compatibility) l_d &= 0x4000;
    const limit_and_g cs = limit();
    b_.set(f::guest_cs_selector, (r_() & 0xFFFC) | cs_rpl);
    b_.set(f::guest_cs_base, in_32());
    b_.set(f::guest_cs_limit, cs.limit);
    b_.set(f::guest_cs_access_rights,
           0x90 | cs_type | cs_dpl << 5 | l_d | (r_() & 0x1000) | cs.g | (r_.one_in(8) ? 0x1'0000 : 0));

    b_.set(f::guest_ss_selector, (r_() & 0xFFFC) | ss_rpl);
    if (r_.one_in(4)) {
      b_.set(f::guest_ss_access_rights, ((r_() | 0x1'0000) & ~u64{0x60}) | cpl << 5);
    } else {
      const limit_and_g ss = limit();
      b_.set(f::guest_ss_base, in_32());
      b_.set(f::guest_ss_limit, ss.limit);
      b_.set(f::guest_ss_access_rights, 0x93 | r_.below(2) << 2 | cpl << 5 | noise_bits() | ss.g);
    }
    make_data(f::guest_ds_selector, f::guest_ds_base, f::guest_ds_limit, f::guest_ds_access_rights);
    make_data(f::guest_es_selector, f::guest_es_base, f::guest_es_limit, f::guest_es_access_rights);
    make_data(f::guest_fs_selector, f::guest_fs_base, f::guest_fs_limit, f::guest_fs_access_rights);
    make_data(f::guest_gs_selector, f::guest_gs_base, f::guest_gs_limit, f::guest_gs_access_rights);
    for (const field base : {f::guest_fs_base, f::guest_gs_base}) b_.set(base, canonical());
  }

  void make_data(field selector, field base, field limit_field, field rights) {
    if (r_.one_in(3)) {
      b_.set(rights, r_() | 0x1'0000);
      return;
    }
    constexpr u64 types[] = {1, 3, 5, 7, 11, 15};
    const u64 type = types[r_.below(6)];
    const u64 rpl = r_.below(4);
    const u64 dpl = unrestricted() || type > 11 ? r_.below(4) : r_.between(rpl, 3);
    const limit_and_g l = limit();
    b_.set(selector, (r_() & 0xFFFC) | rpl);
    b_.set(base, in_32());
    b_.set(limit_field, l.limit);
    b_.set(rights, 0x90 | type | dpl << 5 | noise_bits() | l.g);
  }

  // ---- event, flags, the rest
  // ------------------------------------------------------------------------------------------

  void make_event() {
    const field word = f::vm_entry_interruption_information;
    b_.set(word, r_() & 0x7FFF'FFFF);
    type_ = no_event;
    if (coin()) return;
    struct kind {
      u64 type, vector;
    };
    std::vector<kind> kinds;
    if (activity_ <= 2) kinds = {{2, 2}, {3, 18}};
    if (activity_ <= 1) {
      kinds.push_back({0, r_.below(256)});
      kinds.push_back({3, 1});
      if (may(control_word::primary, primary::monitor_trap_flag)) kinds.push_back({7, 0});
    }
    if (activity_ == 0) {
      for (const u64 type : {4, 5, 6}) kinds.push_back({type, r_.below(256)});
      for (int i = 0; i < 4; ++i) kinds.push_back({3, r_.below(32)});
      if (may(control_word::vm_entry, vm_entry_control::load_fred)) kinds.push_back({7, r_.between(1, 2)});
    }
    if (kinds.empty()) return;
    const kind k = kinds[r_.below(kinds.size())];
    type_ = k.type;
    u64 value = event_bits::valid | k.type << 8 | k.vector;
    if (k.type == 3 && (pe_ || !unrestricted())) {
      constexpr u64 with_code = 1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17;
      const bool cp = k.vector == 21 && b_.options.cp_has_error_code;
      const bool free = (b_.caps.basic >> 56 & 1) != 0;
      if (free ? coin() : cp || (with_code >> k.vector & 1) != 0) value |= event_bits::error_code;
    }
    if (k.type == 3 && (b_.caps.basic >> 58 & 1) != 0 && coin()) value |= event_bits::nested;
    b_.set(word, value);
    if ((value & event_bits::error_code) != 0) b_.set(f::vm_entry_exception_error_code, r_() & 0xFFFF);
    const bool software = k.type >= 4 && k.type <= 6;
    if (software) b_.set(f::vm_entry_instruction_length, r_.between((b_.caps.misc >> 30 & 1) != 0 ? 0 : 1, 15));
  }

  void make_non_register() {
    const bool code_64 = mode_ == mode::long_64;
    b_.set(f::guest_rip, code_64 ? loosely_canonical() : in_32());

    u64 flags = (r_() & 0x3D'7FD7) | 2;
    if (mode_ == mode::v86) flags |= 1u << 17;
    u64 blocking = r_() & 8;
    if (activity_ == 0 && type_ != 0 && type_ != 2) blocking |= r_.below(3);  // none, STI, MOV SS
    if (type_ == 2 && activity_ == 0 && !b_.options.sti_blocks_nmi_injection) blocking |= r_.below(2);
    if (type_ == 0 || (blocking & 1) != 0) flags |= 1u << 9;
    if (type_ == 2 && pin(pin_based::virtual_nmis)) blocking &= ~u64{8};
    if (b_.in_smm && (enters(vm_entry_control::entry_to_smm) || coin())) blocking |= 4;
    if (b_.features.sgx && (blocking & 2) == 0) blocking |= r_() & 0x10;
    b_.set(f::guest_rflags, flags);
    b_.set(f::guest_interruptibility_state, blocking);
    b_.set(f::guest_activity_state, activity_);

    const bool stepping = (flags >> 8 & 1) != 0 && (b_.of(f::guest_ia32_debugctl) >> 1 & 1) == 0;
    const bool held = (blocking & 3) != 0 || activity_ == 1;
    u64 pending = r_() & 0x500F;
    if (b_.options.bus_lock_in_pending_debug) pending |= r_() & 0x800;
    if (held) pending = (pending & ~u64{0x4000}) | (stepping ? 0x4000 : 0);
    if (r_.one_in(6) && b_.features.rtm && (blocking & 2) == 0 && !(held && stepping)) pending = 0x1'1000;
    b_.set(f::guest_pending_debug_exceptions, pending);

    if (coin()) {
      b_.set(f::vmcs_link_pointer, no_vmcs);
    } else {
      u64 link = physical(4096);
      while (link == entry_bench::vmcs_address || link == b_.of(f::executive_vmcs_pointer)) link = physical(4096);
      b_.set(f::vmcs_link_pointer, link);
      b_.memory.write(link, b_.caps.revision() | (secondary(secondary::vmcs_shadowing) ? 0x8000'0000u : 0u));
    }
  }

  static constexpr u64 no_event = 8;

  entry_bench& b_;
  testing::random_numbers& r_;
  mode mode_ = mode::long_64;
  bool pe_ = true, pg_ = true, pae_ = false;
  u64 activity_ = 0;
  u64 type_ = no_event;
};

/// Processors to try: every row, the one with everything, and its options.
inline std::vector<entry_bench> processors() {
  std::vector<entry_bench> all;
  for (std::size_t i = 0; i < capability_table_size(); ++i) all.emplace_back(capability_table()[i].values);
  all.emplace_back();
  capabilities newer = everything();
  newer.basic |= u64{1} << 56 | u64{1} << 58;
  newer.linear_address_width = 48;
  all.emplace_back(newer);
  entry_bench other;
  other.options = {true, false, 0, true, true};
  other.features.perf_global_ctrl = 0x1'000F'0000'00FF;
  all.push_back(other);
  return all;
}

}  // namespace vmxsys::vmx::entry_testing
