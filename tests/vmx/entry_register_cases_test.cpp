#include "entry_bench.hpp"

// The two sides of every rule about guest control registers, debug registers and MSRs. SDM Vol. 3C §29.3.1.1.
namespace vmxsys::vmx::entry_testing {
namespace {

entry_case pair(const char* rule, std::string label, change prepare, change good, change bad) {
  return {rule, std::move(label), ending::exit_33, std::move(prepare), std::move(good), std::move(bad)};
}

void add_canonical(std::vector<entry_case>& cases, const char* rule, const std::string& label, const change& prepare,
                   field where, u64 low_bits = 0) {
  cases.push_back(
      pair(rule, label + "_lower_half", prepare, set(where, canonical_end - 1 - low_bits), set(where, canonical_end)));
  cases.push_back(pair(rule, label + "_upper_half", prepare, set(where, ~u64{0} << 56),
                       set(where, (~u64{0} << 56) - 1 - low_bits)));
}

void add_control_registers(std::vector<entry_case>& c) {
  c.push_back(pair("guest CR0", "cr0_ne_must_be_1", nothing(), nothing(), flip(f::guest_cr0, 0x20)));
  c.push_back(pair("guest CR0", "cr0_bit_32_must_be_0", nothing(), nothing(), flip(f::guest_cr0, u64{1} << 32)));
  c.push_back(pair(
      "guest CR0", "cr0_nw_and_cd_are_not_looked_at", [](entry_bench& b) { b.caps.cr0_fixed1 &= ~u64{0x7000'0000}; },
      flip(f::guest_cr0, 0x6000'0000), flip(f::guest_cr0, 0x1000'0000)));
  c.push_back(pair("guest CR0", "cr0_pg_must_be_1_without_unrestricted_guest",
                   all(guest_32(), unrestricted_on(), flip(f::guest_cr0, 0x8000'0000)), nothing(),
                   off(control_word::secondary, secondary::unrestricted_guest)));
  const change real_mode =
      all(guest_32(), unrestricted_on(), set(f::guest_cr0, 0x20), set(f::guest_cs_access_rights, 0x9B),
          set(f::guest_cs_limit, 0xFFFF), set(f::guest_rip, 0x7C00));
  c.push_back(pair("guest CR0", "cr0_pe_must_be_1_without_unrestricted_guest", real_mode, nothing(),
                   off(control_word::secondary, secondary::unrestricted_guest)));
  c.push_back(
      pair("guest CR0.PG needs PE", "paging_in_real_mode", real_mode, nothing(), flip(f::guest_cr0, 0x8000'0000)));
  c.push_back(pair("guest CR4", "cr4_vmxe_must_be_1", nothing(), nothing(), flip(f::guest_cr4, 0x2000)));
  c.push_back(
      pair("guest CR4", "cr4_bit_15_must_be_0", nothing(), flip(f::guest_cr4, 1u << 14), flip(f::guest_cr4, 1u << 15)));
  c.push_back(pair("guest CR4.CET needs CR0.WP", "cet_without_wp",
                   all(flip(f::guest_cr4, 1u << 23), flip(f::guest_cr0, 1u << 16)), nothing(),
                   flip(f::guest_cr0, 1u << 16)));
  c.push_back(
      pair("guest CR4.CET needs CR0.WP", "without_wp_no_cet", nothing(), nothing(), flip(f::guest_cr4, 1u << 23)));
  c.push_back(pair("IA-32e guest: CR0.PG", "paging", unrestricted_on(), nothing(), flip(f::guest_cr0, 0x8000'0000)));
  c.push_back(pair("IA-32e guest: CR4.PAE", "pae", nothing(), nothing(), flip(f::guest_cr4, 0x20)));
  c.push_back(pair("guest CR4.PCIDE needs IA-32e mode", "pcide", guest_32(), nothing(), flip(f::guest_cr4, 1u << 17)));
  c.push_back(
      pair("guest CR3", "cr3_width", nothing(), set(f::guest_cr3, width_end - 1), set(f::guest_cr3, width_end)));
  c.push_back(pair("guest CR3", "cr3_bit_63", nothing(), nothing(), set(f::guest_cr3, u64{1} << 63)));
}

void add_debug(std::vector<entry_case>& c) {
  const change load = entry_on(vm_entry_control::load_debug_controls);
  const change no_bus_lock = [](entry_bench& b) { b.features.debugctl = 0xFFC3; };
  c.push_back(pair("guest DEBUGCTL", "debugctl_bit_3", load, set(f::guest_ia32_debugctl, 0xFFC3),
                   set(f::guest_ia32_debugctl, 8)));
  c.push_back(pair("guest DEBUGCTL", "debugctl_bit_16", load, nothing(), set(f::guest_ia32_debugctl, 1u << 16)));
  c.push_back(pair("guest DEBUGCTL", "debugctl_bit_2_with_bus_lock_detection",
                   all(load, set(f::guest_ia32_debugctl, 4)), nothing(), no_bus_lock));
  c.push_back(pair(
      "guest DEBUGCTL", "debugctl_when_loaded",
      all(off(control_word::vm_entry, vm_entry_control::load_debug_controls), set(f::guest_ia32_debugctl, ~u64{0})),
      nothing(), load));
  c.push_back(pair("guest DR7", "dr7_bit_32", load, set(f::guest_dr7, 0xFFFF'FFFF), set(f::guest_dr7, u64{1} << 32)));
  c.push_back(pair("guest DR7", "dr7_when_loaded",
                   all(off(control_word::vm_entry, vm_entry_control::load_debug_controls), set(f::guest_dr7, ~u64{0})),
                   nothing(), load));
}

void add_msrs(std::vector<entry_case>& c) {
  add_canonical(c, "guest SYSENTER_ESP", "sysenter_esp", nothing(), f::guest_ia32_sysenter_esp);
  add_canonical(c, "guest SYSENTER_EIP", "sysenter_eip", nothing(), f::guest_ia32_sysenter_eip);
  const change cet = entry_on(vm_entry_control::load_cet_state);
  for (const unsigned bit : {6u, 7u, 8u, 9u})
    c.push_back(pair("guest S_CET: reserved bits", "s_cet_bit_" + std::to_string(bit), cet,
                     set(f::guest_ia32_s_cet, 0x3F), set(f::guest_ia32_s_cet, 0x3F | u64{1} << bit)));
  c.push_back(pair("guest S_CET: reserved bits", "s_cet_when_loaded", set(f::guest_ia32_s_cet, 0x40), nothing(), cet));
  c.push_back(pair("guest S_CET: SUPPRESS excludes TRACKER", "suppress", cet, set(f::guest_ia32_s_cet, 0x400),
                   set(f::guest_ia32_s_cet, 0xC00)));
  c.push_back(pair("guest S_CET: SUPPRESS excludes TRACKER", "tracker", cet, set(f::guest_ia32_s_cet, 0x800),
                   set(f::guest_ia32_s_cet, 0xC00)));
  add_canonical(c, "guest S_CET: canonical", "s_cet", cet, f::guest_ia32_s_cet, 0xFFF);
  add_canonical(c, "guest INTERRUPT_SSP_TABLE_ADDR", "ssp_table", cet, f::guest_ia32_interrupt_ssp_table_addr);

  const change pgc = entry_on(vm_entry_control::load_ia32_perf_global_ctrl);
  for (const auto& [label, bit] : {std::pair{"general_counter_4", 4}, {"fixed_counter_3", 35}})
    c.push_back(pair("guest PERF_GLOBAL_CTRL", label, pgc, set(f::guest_ia32_perf_global_ctrl, u64{1} << (bit - 1)),
                     set(f::guest_ia32_perf_global_ctrl, u64{1} << bit)));
  c.push_back(pair("guest PERF_GLOBAL_CTRL", "perf_global_ctrl_when_loaded",
                   set(f::guest_ia32_perf_global_ctrl, ~u64{0}), nothing(), pgc));
  const change pat = entry_on(vm_entry_control::load_ia32_pat);
  for (unsigned byte = 0; byte < 8; ++byte) {
    const auto type = [&](u64 value) { return set(f::guest_ia32_pat, value << (8 * byte)); };
    const std::string label = "pat_byte_" + std::to_string(byte);
    c.push_back(pair("guest PAT", label + "_1_and_2", pat, type(1), type(2)));
    c.push_back(pair("guest PAT", label + "_4_and_3", pat, type(4), type(3)));
    c.push_back(pair("guest PAT", label + "_7_and_8", pat, type(7), type(8)));
    c.push_back(pair("guest PAT", label + "_6_and_0x86", pat, type(6), type(0x86)));
  }
  c.push_back(pair("guest PAT", "pat_when_loaded", set(f::guest_ia32_pat, 2), nothing(), pat));
  const change efer = entry_on(vm_entry_control::load_ia32_efer);
  c.push_back(pair("guest EFER: reserved bits", "efer_bit_9", efer, set(f::guest_ia32_efer, 0xD01),
                   set(f::guest_ia32_efer, 0xF01)));
  c.push_back(pair("guest EFER: reserved bits", "efer_bit_12", efer, nothing(), set(f::guest_ia32_efer, 0x1500)));
  c.push_back(pair("guest EFER: reserved bits", "efer_bit_1", efer, nothing(), set(f::guest_ia32_efer, 0x502)));
  c.push_back(pair("guest EFER.LMA", "lma_without_paging",
                   all(guest_32(), unrestricted_on(), flip(f::guest_cr0, 0x8000'0000), efer),
                   set(f::guest_ia32_efer, 0x100), set(f::guest_ia32_efer, 0x500)));
  c.push_back(pair("guest EFER.LMA", "lma_of_an_ia_32e_guest", all(efer, set(f::guest_ia32_efer, 0)),
                   set(f::guest_ia32_efer, 0x500), set(f::guest_ia32_efer, 0)));
  c.push_back(pair("guest EFER.LME", "lme_of_an_ia_32e_guest", efer, set(f::guest_ia32_efer, 0x500),
                   set(f::guest_ia32_efer, 0x400)));
  c.push_back(pair("guest EFER.LME", "lme_of_a_32_bit_guest", all(guest_32(), efer), set(f::guest_ia32_efer, 0),
                   set(f::guest_ia32_efer, 0x100)));
  c.push_back(
      pair("guest EFER.LME", "lme_counts_with_paging",
           all(guest_32(), unrestricted_on(), efer, flip(f::guest_cr0, 0x8000'0000), set(f::guest_ia32_efer, 0x100)),
           nothing(), flip(f::guest_cr0, 0x8000'0000)));
  const change bndcfgs = entry_on(vm_entry_control::load_ia32_bndcfgs);
  c.push_back(pair("guest BNDCFGS: reserved bits", "bndcfgs_bit_2", bndcfgs, set(f::guest_ia32_bndcfgs, 3),
                   set(f::guest_ia32_bndcfgs, 4)));
  c.push_back(pair("guest BNDCFGS: reserved bits", "bndcfgs_bit_11", bndcfgs, set(f::guest_ia32_bndcfgs, 0x1000),
                   set(f::guest_ia32_bndcfgs, 0x800)));
  c.push_back(
      pair("guest BNDCFGS: reserved bits", "bndcfgs_when_loaded", set(f::guest_ia32_bndcfgs, 4), nothing(), bndcfgs));
  add_canonical(c, "guest BNDCFGS: canonical", "bndcfgs", bndcfgs, f::guest_ia32_bndcfgs, 0xFFF);
  const change rtit = entry_on(vm_entry_control::load_ia32_rtit_ctl);
  for (const unsigned bit : {18u, 23u, 28u, 30u, 48u, 54u, 57u, 63u})
    c.push_back(pair("guest RTIT_CTL", "rtit_ctl_bit_" + std::to_string(bit), rtit,
                     set(f::guest_ia32_rtit_ctl, 0x0180'FFFF'8F7B'FFFF), set(f::guest_ia32_rtit_ctl, u64{1} << bit)));
  c.push_back(pair("guest RTIT_CTL", "rtit_ctl_when_loaded", set(f::guest_ia32_rtit_ctl, ~u64{0}), nothing(), rtit));
  const change lbr = entry_on(vm_entry_control::load_guest_ia32_lbr_ctl);
  c.push_back(
      pair("guest LBR_CTL", "lbr_ctl_bit_4", lbr, set(f::guest_ia32_lbr_ctl, 8), set(f::guest_ia32_lbr_ctl, 0x10)));
  c.push_back(pair("guest LBR_CTL", "lbr_ctl_bit_15", lbr, set(f::guest_ia32_lbr_ctl, 0x1'0000),
                   set(f::guest_ia32_lbr_ctl, 0x8000)));
  c.push_back(pair("guest LBR_CTL", "lbr_ctl_bit_23", lbr, set(f::guest_ia32_lbr_ctl, 0x7F'000F),
                   set(f::guest_ia32_lbr_ctl, 0x80'0000)));
  c.push_back(pair("guest LBR_CTL", "lbr_ctl_when_loaded", set(f::guest_ia32_lbr_ctl, ~u64{0}), nothing(), lbr));
  const change pkrs = entry_on(vm_entry_control::load_pkrs);
  c.push_back(
      pair("guest PKRS", "pkrs", pkrs, set(f::guest_ia32_pkrs, 0xFFFF'FFFF), set(f::guest_ia32_pkrs, u64{1} << 32)));
  c.push_back(pair("guest PKRS", "pkrs_when_loaded", set(f::guest_ia32_pkrs, ~u64{0}), nothing(), pkrs));
  const change uinv = entry_on(vm_entry_control::load_uinv);
  c.push_back(pair("guest UINV", "uinv", uinv, set(f::guest_uinv, 0xFF), set(f::guest_uinv, 0x100)));
  c.push_back(pair("guest UINV", "uinv_when_loaded", set(f::guest_uinv, 0x8000), nothing(), uinv));
  const change spec_ctrl = entry_on(vm_entry_control::load_ia32_spec_ctrl);
  c.push_back(pair("guest SPEC_CTRL", "spec_ctrl_bit_9", spec_ctrl, set(f::guest_ia32_spec_ctrl, 0x5FF),
                   set(f::guest_ia32_spec_ctrl, 0x200)));
  c.push_back(pair("guest SPEC_CTRL", "spec_ctrl_bit_11", spec_ctrl, nothing(), set(f::guest_ia32_spec_ctrl, 0x800)));
  c.push_back(
      pair("guest SPEC_CTRL", "spec_ctrl_when_loaded", set(f::guest_ia32_spec_ctrl, ~u64{0}), nothing(), spec_ctrl));
}

void add_fred(std::vector<entry_case>& c) {
  const change fred = entry_on(vm_entry_control::load_fred);
  for (const unsigned bit : {2u, 4u, 5u, 11u})
    c.push_back(pair("guest FRED state", "fred_config_bit_" + std::to_string(bit), fred,
                     set(f::guest_ia32_fred_config, 0x7CB), set(f::guest_ia32_fred_config, u64{1} << bit)));
  c.push_back(pair("guest FRED state", "fred_when_loaded", set(f::guest_ia32_fred_config, 4), nothing(), fred));
  add_canonical(c, "guest FRED state", "fred_config", fred, f::guest_ia32_fred_config, 0xFFF);
  const std::pair<const char*, field> stacks[] = {{"fred_rsp1", f::guest_ia32_fred_rsp1},
                                                  {"fred_rsp2", f::guest_ia32_fred_rsp2},
                                                  {"fred_rsp3", f::guest_ia32_fred_rsp3}};
  for (const auto& [label, where] : stacks) {
    c.push_back(pair("guest FRED state", label, fred, set(where, 64), set(where, 32)));
    add_canonical(c, "guest FRED state", label, fred, where, 63);
  }
  const std::pair<const char*, field> shadow_stacks[] = {{"fred_ssp1", f::guest_ia32_fred_ssp1},
                                                         {"fred_ssp2", f::guest_ia32_fred_ssp2},
                                                         {"fred_ssp3", f::guest_ia32_fred_ssp3}};
  for (const auto& [label, where] : shadow_stacks) {
    c.push_back(pair("guest FRED state", label, fred, set(where, 8), set(where, 4)));
    add_canonical(c, "guest FRED state", label, fred, where, 7);
  }
}

}  // namespace

std::vector<entry_case> register_cases() {
  std::vector<entry_case> c;
  add_control_registers(c);
  add_debug(c);
  add_msrs(c);
  add_fred(c);
  return c;
}

}  // namespace vmxsys::vmx::entry_testing
