#include "detail/entry_checks.hpp"

// SDM Vol. 3C §29.3.1.1: guest control registers, debug registers and MSRs.
namespace vmxsys::vmx::entry_checks {

namespace {

constexpr const char* section = "SDM Vol. 3C §29.3.1.1";

constexpr entry_check row(const char* name, field_list fields, rule holds) {
  return guest(name, section, once, fields, holds);
}

constexpr fred_fields guest_fred{field::guest_ia32_fred_config, field::guest_ia32_fred_rsp1,
                                 field::guest_ia32_fred_rsp2,   field::guest_ia32_fred_rsp3,
                                 field::guest_ia32_fred_ssp1,   field::guest_ia32_fred_ssp2,
                                 field::guest_ia32_fred_ssp3};

constexpr entry_check rows[] = {
    row("guest CR0", reads<primary_word, secondary_word, field::guest_cr0>,
        [](V v, C c) { return cr0_ok(v.read(field::guest_cr0), c, unrestricted(v) ? cr0_pe | cr0_pg : 0); }),
    row("guest CR0.PG needs PE", reads<field::guest_cr0>,
        [](V v, C) { return !v.any(field::guest_cr0, cr0_pg) || v.any(field::guest_cr0, cr0_pe); }),
    row("guest CR4", reads<field::guest_cr4>, [](V v, C c) { return c.caps().cr4_legal(v.read(field::guest_cr4)); }),
    row("guest CR4.CET needs CR0.WP", reads<field::guest_cr4, field::guest_cr0>,
        [](V v, C) { return !v.any(field::guest_cr4, cr4_cet) || v.any(field::guest_cr0, cr0_wp); }),
    row("guest DEBUGCTL", reads<entry_controls_word, field::guest_ia32_debugctl>,
        [](V v, C c) {
          return !entry_on(v, vm_entry_control::load_debug_controls) ||
                 !v.any(field::guest_ia32_debugctl, ~c.features().debugctl);
        }),
    row("IA-32e guest: CR0.PG", reads<entry_controls_word, field::guest_cr0>,
        [](V v, C) { return !ia_32e_guest(v) || v.any(field::guest_cr0, cr0_pg); }),
    row("IA-32e guest: CR4.PAE", reads<entry_controls_word, field::guest_cr4>,
        [](V v, C) { return !ia_32e_guest(v) || v.any(field::guest_cr4, cr4_pae); }),
    row("guest CR4.PCIDE needs IA-32e mode", reads<entry_controls_word, field::guest_cr4>,
        [](V v, C) { return ia_32e_guest(v) || !v.any(field::guest_cr4, cr4_pcide); }),
    guest("guest CR3", section, always, reads<field::guest_cr3>,
          [](V v, C c) { return in_maxphyaddr(v.read(field::guest_cr3), c); }),
    row("guest DR7", reads<entry_controls_word, field::guest_dr7>,
        [](V v, C) {
          return !entry_on(v, vm_entry_control::load_debug_controls) || upper_half_zero(v, field::guest_dr7);
        }),
    row("guest SYSENTER_ESP", reads<field::guest_ia32_sysenter_esp>,
        [](V v, C c) { return canonical(v, field::guest_ia32_sysenter_esp, c); }),
    row("guest SYSENTER_EIP", reads<field::guest_ia32_sysenter_eip>,
        [](V v, C c) { return canonical(v, field::guest_ia32_sysenter_eip, c); }),
    row("guest S_CET: reserved bits", reads<entry_controls_word, field::guest_ia32_s_cet>,
        [](V v, C) {
          return !entry_on(v, vm_entry_control::load_cet_state) || !v.any(field::guest_ia32_s_cet, s_cet_reserved);
        }),
    row("guest S_CET: SUPPRESS excludes TRACKER", reads<entry_controls_word, field::guest_ia32_s_cet>,
        [](V v, C) {
          return !entry_on(v, vm_entry_control::load_cet_state) ||
                 (v.read(field::guest_ia32_s_cet) & s_cet_suppress_and_tracker) != s_cet_suppress_and_tracker;
        }),
    row("guest S_CET: canonical", reads<entry_controls_word, field::guest_ia32_s_cet>,
        [](V v, C c) {
          return !entry_on(v, vm_entry_control::load_cet_state) || canonical(v, field::guest_ia32_s_cet, c);
        }),
    row("guest INTERRUPT_SSP_TABLE_ADDR", reads<entry_controls_word, field::guest_ia32_interrupt_ssp_table_addr>,
        [](V v, C c) {
          return !entry_on(v, vm_entry_control::load_cet_state) ||
                 canonical(v, field::guest_ia32_interrupt_ssp_table_addr, c);
        }),
    row("guest PERF_GLOBAL_CTRL", reads<entry_controls_word, field::guest_ia32_perf_global_ctrl>,
        [](V v, C c) {
          return !entry_on(v, vm_entry_control::load_ia32_perf_global_ctrl) ||
                 !v.any(field::guest_ia32_perf_global_ctrl, ~c.features().perf_global_ctrl);
        }),
    row("guest PAT", reads<entry_controls_word, field::guest_ia32_pat>,
        [](V v, C) { return !entry_on(v, vm_entry_control::load_ia32_pat) || pat_ok(v.read(field::guest_ia32_pat)); }),
    row("guest EFER: reserved bits", reads<entry_controls_word, field::guest_ia32_efer>,
        [](V v, C) {
          return !entry_on(v, vm_entry_control::load_ia32_efer) || !v.any(field::guest_ia32_efer, ~efer_defined);
        }),
    row("guest EFER.LMA", reads<entry_controls_word, field::guest_ia32_efer>,
        [](V v, C) {
          return !entry_on(v, vm_entry_control::load_ia32_efer) ||
                 v.any(field::guest_ia32_efer, efer_bits::lma) == ia_32e_guest(v);
        }),
    row("guest EFER.LME", reads<entry_controls_word, field::guest_ia32_efer, field::guest_cr0>,
        [](V v, C) {
          return !entry_on(v, vm_entry_control::load_ia32_efer) || !v.any(field::guest_cr0, cr0_pg) ||
                 v.any(field::guest_ia32_efer, efer_bits::lma) == v.any(field::guest_ia32_efer, efer_bits::lme);
        }),
    row("guest BNDCFGS: reserved bits", reads<entry_controls_word, field::guest_ia32_bndcfgs>,
        [](V v, C) {
          return !entry_on(v, vm_entry_control::load_ia32_bndcfgs) || !v.any(field::guest_ia32_bndcfgs, 0xFFC);
        }),
    row("guest BNDCFGS: canonical", reads<entry_controls_word, field::guest_ia32_bndcfgs>,
        [](V v, C c) {
          return !entry_on(v, vm_entry_control::load_ia32_bndcfgs) || canonical(v, field::guest_ia32_bndcfgs, c);
        }),
    row("guest RTIT_CTL", reads<entry_controls_word, field::guest_ia32_rtit_ctl>,
        [](V v, C c) {
          return !entry_on(v, vm_entry_control::load_ia32_rtit_ctl) ||
                 !v.any(field::guest_ia32_rtit_ctl, ~c.features().rtit_ctl);
        }),
    row("guest LBR_CTL", reads<entry_controls_word, field::guest_ia32_lbr_ctl>,
        [](V v, C c) {
          return !entry_on(v, vm_entry_control::load_guest_ia32_lbr_ctl) ||
                 !v.any(field::guest_ia32_lbr_ctl, ~c.features().lbr_ctl);
        }),
    row("guest PKRS", reads<entry_controls_word, field::guest_ia32_pkrs>,
        [](V v, C) { return !entry_on(v, vm_entry_control::load_pkrs) || upper_half_zero(v, field::guest_ia32_pkrs); }),
    row("guest UINV", reads<entry_controls_word, field::guest_uinv>,
        [](V v, C) { return !entry_on(v, vm_entry_control::load_uinv) || v.read(field::guest_uinv) <= 0xFF; }),
    row("guest SPEC_CTRL", reads<entry_controls_word, field::guest_ia32_spec_ctrl>,
        [](V v, C c) {
          return !entry_on(v, vm_entry_control::load_ia32_spec_ctrl) ||
                 !v.any(field::guest_ia32_spec_ctrl, ~c.features().spec_ctrl);
        }),
    row("guest FRED state",
        reads<entry_controls_word, field::guest_ia32_fred_config, field::guest_ia32_fred_rsp1,
              field::guest_ia32_fred_rsp2, field::guest_ia32_fred_rsp3, field::guest_ia32_fred_ssp1,
              field::guest_ia32_fred_ssp2, field::guest_ia32_fred_ssp3>,
        [](V v, C c) { return !entry_on(v, vm_entry_control::load_fred) || fred_ok(v, guest_fred, c); }),
};

}  // namespace

const entry_check_group guest_registers = group<rows>("guest control registers, debug registers and MSRs");

}  // namespace vmxsys::vmx::entry_checks
