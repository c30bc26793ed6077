#include "entry_bench.hpp"

// The two sides of every rule about the host-state area. SDM Vol. 3C §29.2.2 to §29.2.4.
namespace vmxsys::vmx::entry_testing {
namespace {

entry_case pair(const char* rule, std::string label, change prepare, change good, change bad) {
  return {rule, std::move(label), ending::error_8, std::move(prepare), std::move(good), std::move(bad)};
}

// The last canonical address of the lower half and the next one; the first of the upper half and the one before.
void add_canonical(std::vector<entry_case>& cases, const char* rule, const std::string& label, const change& prepare,
                   field where, u64 low_bits = 0) {
  cases.push_back(
      pair(rule, label + "_lower_half", prepare, set(where, canonical_end - 1 - low_bits), set(where, canonical_end)));
  cases.push_back(pair(rule, label + "_upper_half", prepare, set(where, ~u64{0} << 56),
                       set(where, (~u64{0} << 56) - 1 - low_bits)));
}

}  // namespace

std::vector<entry_case> host_cases() {
  std::vector<entry_case> c;
  c.push_back(
      pair("host CR0", "cr0_ne_must_be_1", nothing(), set(f::host_cr0, 0x8000'0031), set(f::host_cr0, 0x8000'0011)));
  c.push_back(pair("host CR0", "cr0_pg_must_be_1", nothing(), nothing(), flip(f::host_cr0, 0x8000'0000)));
  c.push_back(pair("host CR0", "cr0_bit_32_must_be_0", nothing(), nothing(), flip(f::host_cr0, u64{1} << 32)));
  c.push_back(pair(
      "host CR0", "cr0_nw_and_cd_are_not_looked_at", [](entry_bench& b) { b.caps.cr0_fixed1 &= ~u64{0x7000'0000}; },
      flip(f::host_cr0, 0x6000'0000), flip(f::host_cr0, 0x1000'0000)));
  c.push_back(pair("host CR4", "cr4_vmxe_must_be_1", nothing(), nothing(), flip(f::host_cr4, 0x2000)));
  c.push_back(
      pair("host CR4", "cr4_bit_15_must_be_0", nothing(), flip(f::host_cr4, 1u << 14), flip(f::host_cr4, 1u << 15)));
  c.push_back(pair("host CR4.CET needs CR0.WP", "cet_without_wp",
                   all(flip(f::host_cr4, 1u << 23), flip(f::host_cr0, 1u << 16)), nothing(),
                   flip(f::host_cr0, 1u << 16)));
  c.push_back(pair("host CR3", "cr3_width", nothing(), set(f::host_cr3, width_end - 1), set(f::host_cr3, width_end)));
  c.push_back(pair("host CR3", "cr3_bit_63", nothing(), nothing(), flip(f::host_cr3, u64{1} << 63)));
  add_canonical(c, "host SYSENTER_ESP", "sysenter_esp", nothing(), f::host_ia32_sysenter_esp);
  add_canonical(c, "host SYSENTER_EIP", "sysenter_eip", nothing(), f::host_ia32_sysenter_eip);

  const change load_pgc = exit_on(vm_exit_control::load_ia32_perf_global_ctrl);
  for (const auto& [label, bit] : {std::pair{"general_counter_4", 4}, {"fixed_counter_3", 35}})
    c.push_back(pair("host PERF_GLOBAL_CTRL", label, load_pgc, set(f::host_ia32_perf_global_ctrl, u64{1} << (bit - 1)),
                     set(f::host_ia32_perf_global_ctrl, u64{1} << bit)));
  c.push_back(pair(
      "host PERF_GLOBAL_CTRL", "counters_the_processor_has", all(load_pgc, set(f::host_ia32_perf_global_ctrl, 0xFF)),
      [](entry_bench& b) { b.features.perf_global_ctrl = 0xFF; },
      [](entry_bench& b) { b.features.perf_global_ctrl = 0x7F; }));
  c.push_back(pair("host PERF_GLOBAL_CTRL", "perf_global_ctrl_when_loaded", set(f::host_ia32_perf_global_ctrl, ~u64{0}),
                   nothing(), load_pgc));
  const change load_pat = exit_on(vm_exit_control::load_ia32_pat);
  c.push_back(pair("host PAT", "pat_1_and_2", load_pat, set(f::host_ia32_pat, 0x0001), set(f::host_ia32_pat, 0x0002)));
  c.push_back(pair("host PAT", "pat_4_and_3", load_pat, set(f::host_ia32_pat, 0x0400), set(f::host_ia32_pat, 0x0300)));
  c.push_back(pair("host PAT", "pat_7_and_8", load_pat, set(f::host_ia32_pat, u64{7} << 56),
                   set(f::host_ia32_pat, u64{8} << 56)));
  c.push_back(pair("host PAT", "pat_when_loaded", set(f::host_ia32_pat, 2), nothing(), load_pat));
  const change load_efer = exit_on(vm_exit_control::load_ia32_efer);
  c.push_back(pair("host EFER: reserved bits", "efer_bit_9", load_efer, set(f::host_ia32_efer, 0xD01),
                   set(f::host_ia32_efer, 0xF01)));
  c.push_back(pair("host EFER: reserved bits", "efer_bit_12", load_efer, nothing(), set(f::host_ia32_efer, 0x1500)));
  for (const auto& [label, value] :
       {std::pair{"efer_lma_alone", 0x400}, {"efer_lme_alone", 0x100}, {"efer_neither", 0}}) {
    const u64 wrong = static_cast<u64>(value);
    c.push_back(pair("host EFER fits the address-space size", label, load_efer, set(f::host_ia32_efer, 0x500),
                     set(f::host_ia32_efer, wrong)));
  }
  c.push_back(pair("host EFER fits the address-space size", "efer_of_a_32_bit_host", all(host_32(), load_efer),
                   set(f::host_ia32_efer, 0x801), set(f::host_ia32_efer, 0xD01)));
  c.push_back(pair("host EFER fits the address-space size", "efer_when_loaded", set(f::host_ia32_efer, 0), nothing(),
                   load_efer));

  const change cet = exit_on(vm_exit_control::load_cet_state);
  for (const unsigned bit : {6u, 7u, 8u, 9u})
    c.push_back(pair("host S_CET: reserved bits", "s_cet_bit_" + std::to_string(bit), cet,
                     set(f::host_ia32_s_cet, 0x3F), set(f::host_ia32_s_cet, 0x3F | u64{1} << bit)));
  c.push_back(pair("host S_CET: reserved bits", "s_cet_when_loaded", set(f::host_ia32_s_cet, 0x40), nothing(), cet));
  c.push_back(pair("host S_CET: SUPPRESS excludes TRACKER", "suppress", cet, set(f::host_ia32_s_cet, 0x400),
                   set(f::host_ia32_s_cet, 0xC00)));
  c.push_back(pair("host S_CET: SUPPRESS excludes TRACKER", "tracker", cet, set(f::host_ia32_s_cet, 0x800),
                   set(f::host_ia32_s_cet, 0xC00)));
  c.push_back(pair("host SSP: alignment", "ssp_bit_0", cet, set(f::host_ssp, 4), set(f::host_ssp, 5)));
  c.push_back(pair("host SSP: alignment", "ssp_bit_1", cet, set(f::host_ssp, 4), set(f::host_ssp, 6)));
  add_canonical(c, "host S_CET fits the address-space size", "s_cet", cet, f::host_ia32_s_cet, 0xFFF);
  add_canonical(c, "host SSP fits the address-space size", "ssp", cet, f::host_ssp, 3);
  add_canonical(c, "host INTERRUPT_SSP_TABLE_ADDR", "ssp_table", cet, f::host_ia32_interrupt_ssp_table_addr);
  const change cet_32 = all(host_32(), cet);
  c.push_back(pair("host S_CET fits the address-space size", "s_cet_of_a_32_bit_host", cet_32,
                   set(f::host_ia32_s_cet, 0xFFFF'F000), set(f::host_ia32_s_cet, u64{1} << 32)));
  c.push_back(pair("host SSP fits the address-space size", "ssp_of_a_32_bit_host", cet_32,
                   set(f::host_ssp, 0xFFFF'FFFC), set(f::host_ssp, u64{1} << 32)));
  add_canonical(c, "host INTERRUPT_SSP_TABLE_ADDR", "ssp_table_of_a_32_bit_host", cet_32,
                f::host_ia32_interrupt_ssp_table_addr);
  const change pkrs = exit_on(vm_exit_control::load_pkrs);
  c.push_back(
      pair("host PKRS", "pkrs", pkrs, set(f::host_ia32_pkrs, 0xFFFF'FFFF), set(f::host_ia32_pkrs, u64{1} << 32)));
  c.push_back(pair("host PKRS", "pkrs_when_loaded", set(f::host_ia32_pkrs, ~u64{0}), nothing(), pkrs));
  const change spec_ctrl = exit_2_on(vm_exit_control_2::load_ia32_spec_ctrl);
  c.push_back(pair("host SPEC_CTRL", "spec_ctrl_bit_9", spec_ctrl, set(f::host_ia32_spec_ctrl, 0x5FF),
                   set(f::host_ia32_spec_ctrl, 0x200)));
  c.push_back(pair("host SPEC_CTRL", "spec_ctrl_bit_11", spec_ctrl, nothing(), set(f::host_ia32_spec_ctrl, 0x800)));
  c.push_back(pair("host SPEC_CTRL", "spec_ctrl_when_loaded",
                   all(set(f::host_ia32_spec_ctrl, ~u64{0}), exit_on(vm_exit_control::activate_secondary_controls)),
                   nothing(), spec_ctrl));
  const change fred = exit_2_on(vm_exit_control_2::load_fred);
  for (const auto& [label, bit] : {std::pair{"fred_config_bit_2", 2},
                                   {"fred_config_bit_4", 4},
                                   {"fred_config_bit_5", 5},
                                   {"fred_config_bit_11", 11}})
    c.push_back(pair("host FRED state", label, fred, set(f::host_ia32_fred_config, 0x7CB),
                     set(f::host_ia32_fred_config, u64{1} << bit)));
  add_canonical(c, "host FRED state", "fred_config", fred, f::host_ia32_fred_config, 0xFFF);
  const std::pair<const char*, field> stacks[] = {{"fred_rsp1", f::host_ia32_fred_rsp1},
                                                  {"fred_rsp2", f::host_ia32_fred_rsp2},
                                                  {"fred_rsp3", f::host_ia32_fred_rsp3}};
  for (const auto& [label, where] : stacks) {
    c.push_back(pair("host FRED state", label, fred, set(where, 64), set(where, 32)));
    add_canonical(c, "host FRED state", label, fred, where, 63);
  }
  const std::pair<const char*, field> shadow_stacks[] = {{"fred_ssp1", f::host_ia32_fred_ssp1},
                                                         {"fred_ssp2", f::host_ia32_fred_ssp2},
                                                         {"fred_ssp3", f::host_ia32_fred_ssp3}};
  for (const auto& [label, where] : shadow_stacks) {
    c.push_back(pair("host FRED state", label, fred, set(where, 8), set(where, 4)));
    add_canonical(c, "host FRED state", label, fred, where, 7);
  }

  const std::pair<const char*, field> selectors[] = {{"cs", f::host_cs_selector}, {"ss", f::host_ss_selector},
                                                     {"ds", f::host_ds_selector}, {"es", f::host_es_selector},
                                                     {"fs", f::host_fs_selector}, {"gs", f::host_gs_selector},
                                                     {"tr", f::host_tr_selector}};
  for (const auto& [label, where] : selectors)
    for (const u64 bit : {1, 2, 4})
      c.push_back(pair("host selectors: RPL and TI", label + std::string{"_bit_"} + std::to_string(bit), nothing(),
                       set(where, 0xFFF8), set(where, 0xFFF8 | bit)));
  c.push_back(
      pair("host CS is not null", "cs_null", nothing(), set(f::host_cs_selector, 8), set(f::host_cs_selector, 0)));
  c.push_back(
      pair("host TR is not null", "tr_null", nothing(), set(f::host_tr_selector, 8), set(f::host_tr_selector, 0)));
  c.push_back(pair("host SS is not null", "ss_null_on_a_32_bit_host", host_32(), set(f::host_ss_selector, 8),
                   set(f::host_ss_selector, 0)));
  const std::pair<const char*, field> bases[] = {{"fs_base", f::host_fs_base},
                                                 {"gs_base", f::host_gs_base},
                                                 {"tr_base", f::host_tr_base},
                                                 {"gdtr_base", f::host_gdtr_base},
                                                 {"idtr_base", f::host_idtr_base}};
  for (const auto& [label, where] : bases)
    add_canonical(c, "host FS, GS, TR, GDTR and IDTR bases", label, nothing(), where);

  c.push_back(pair("host address-space size fits IA32_EFER.LMA", "host_has_left_long_mode", nothing(), nothing(),
                   [](entry_bench& b) { b.long_mode = false; }));
  c.push_back(pair("host address-space size fits IA32_EFER.LMA", "host_has_entered_long_mode", host_32(), nothing(),
                   [](entry_bench& b) { b.long_mode = true; }));
  c.push_back(pair("IA-32e guest needs a 64-bit host", "ia_32e_guest_of_a_32_bit_host", host_32(), nothing(),
                   entry_on(vm_entry_control::ia_32e_mode_guest)));
  c.push_back(pair("64-bit host: CR4.PAE", "pae", nothing(), nothing(), flip(f::host_cr4, 0x20)));
  c.push_back(pair("64-bit host: CR4.PAE", "pae_needs_a_64_bit_host", all(host_32(), set(f::host_cr4, 0x2000)),
                   nothing(), [](entry_bench& b) {
                     b.long_mode = true;
                     b.on(control_word::vm_exit, vm_exit_control::host_address_space_size);
                   }));
  c.push_back(pair("32-bit host: CR4.PCIDE", "pcide", host_32(), nothing(), flip(f::host_cr4, 1u << 17)));
  c.push_back(
      pair("32-bit host: CR4.PCIDE", "pcide_is_for_a_64_bit_host", flip(f::host_cr4, 1u << 17), nothing(), host_32()));
  c.push_back(pair("32-bit host: CR4.FRED", "cr4_fred", host_32(), nothing(), flip(f::host_cr4, u64{1} << 32)));
  c.push_back(pair("32-bit host: CR4.FRED", "cr4_fred_is_for_a_64_bit_host", flip(f::host_cr4, u64{1} << 32), nothing(),
                   host_32()));
  add_canonical(c, "host RIP", "rip", nothing(), f::host_rip);
  c.push_back(pair("host RIP", "rip_of_a_32_bit_host", host_32(), set(f::host_rip, 0xFFFF'FFFF),
                   set(f::host_rip, u64{1} << 32)));
  return c;
}

}  // namespace vmxsys::vmx::entry_testing
