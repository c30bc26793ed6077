#include "detail/entry_checks.hpp"

// SDM Vol. 3C §29.2.2 to §29.2.4: the host-state area.
namespace vmxsys::vmx::entry_checks {

namespace {

constexpr const char* registers = "SDM Vol. 3C §29.2.2";
constexpr const char* segments = "SDM Vol. 3C §29.2.3";
constexpr const char* address_space = "SDM Vol. 3C §29.2.4";

bool host_is_64_bit(V v) { return exit_on(v, vm_exit_control::host_address_space_size); }

bool loads(V v, u64 bit) { return exit_on(v, bit); }

// 64 bits wide where the host is, else 32.
bool fits_host(V v, field f, C c) { return host_is_64_bit(v) ? canonical(v, f, c) : upper_half_zero(v, f); }

constexpr fred_fields host_fred{field::host_ia32_fred_config, field::host_ia32_fred_rsp1, field::host_ia32_fred_rsp2,
                                field::host_ia32_fred_rsp3,   field::host_ia32_fred_ssp1, field::host_ia32_fred_ssp2,
                                field::host_ia32_fred_ssp3};

constexpr entry_check rows[] = {
    host("host CR0", registers, reads<field::host_cr0>, [](V v, C c) { return cr0_ok(v.read(field::host_cr0), c); }),
    host("host CR4", registers, reads<field::host_cr4>,
         [](V v, C c) { return c.caps().cr4_legal(v.read(field::host_cr4)); }),
    host("host CR4.CET needs CR0.WP", registers, reads<field::host_cr4, field::host_cr0>,
         [](V v, C) { return !v.any(field::host_cr4, cr4_cet) || v.any(field::host_cr0, cr0_wp); }),
    host("host CR3", registers, reads<field::host_cr3>,
         [](V v, C c) { return in_maxphyaddr(v.read(field::host_cr3), c); }),
    host("host SYSENTER_ESP", registers, reads<field::host_ia32_sysenter_esp>,
         [](V v, C c) { return canonical(v, field::host_ia32_sysenter_esp, c); }),
    host("host SYSENTER_EIP", registers, reads<field::host_ia32_sysenter_eip>,
         [](V v, C c) { return canonical(v, field::host_ia32_sysenter_eip, c); }),
    host("host PERF_GLOBAL_CTRL", registers, reads<exit_word, field::host_ia32_perf_global_ctrl>,
         [](V v, C c) {
           return !loads(v, vm_exit_control::load_ia32_perf_global_ctrl) ||
                  !v.any(field::host_ia32_perf_global_ctrl, ~c.features().perf_global_ctrl);
         }),
    host("host PAT", registers, reads<exit_word, field::host_ia32_pat>,
         [](V v, C) { return !loads(v, vm_exit_control::load_ia32_pat) || pat_ok(v.read(field::host_ia32_pat)); }),
    host("host EFER: reserved bits", registers, reads<exit_word, field::host_ia32_efer>,
         [](V v, C) {
           return !loads(v, vm_exit_control::load_ia32_efer) || !v.any(field::host_ia32_efer, ~efer_defined);
         }),
    host(
        "host EFER fits the address-space size", registers, reads<exit_word, field::host_ia32_efer>,
        [](V v, C) {
          const u64 wanted = host_is_64_bit(v) ? efer_bits::lma | efer_bits::lme : 0;
          return !loads(v, vm_exit_control::load_ia32_efer) ||
                 (v.read(field::host_ia32_efer) & (efer_bits::lma | efer_bits::lme)) == wanted;
        },
        check_area::address_space),
    host("host S_CET: reserved bits", registers, reads<exit_word, field::host_ia32_s_cet>,
         [](V v, C) {
           return !loads(v, vm_exit_control::load_cet_state) || !v.any(field::host_ia32_s_cet, s_cet_reserved);
         }),
    host("host S_CET: SUPPRESS excludes TRACKER", registers, reads<exit_word, field::host_ia32_s_cet>,
         [](V v, C) {
           return !loads(v, vm_exit_control::load_cet_state) ||
                  (v.read(field::host_ia32_s_cet) & s_cet_suppress_and_tracker) != s_cet_suppress_and_tracker;
         }),
    host("host SSP: alignment", registers, reads<exit_word, field::host_ssp>,
         [](V v, C) { return !loads(v, vm_exit_control::load_cet_state) || !v.any(field::host_ssp, 3); }),
    host("host PKRS", registers, reads<exit_word, field::host_ia32_pkrs>,
         [](V v, C) { return !loads(v, vm_exit_control::load_pkrs) || upper_half_zero(v, field::host_ia32_pkrs); }),
    host("host SPEC_CTRL", registers, reads<exit_word, exit_2_word, field::host_ia32_spec_ctrl>,
         [](V v, C c) {
           return !exit_2_on(v, vm_exit_control_2::load_ia32_spec_ctrl) ||
                  !v.any(field::host_ia32_spec_ctrl, ~c.features().spec_ctrl);
         }),
    host("host FRED state", registers,
         reads<exit_word, exit_2_word, field::host_ia32_fred_config, field::host_ia32_fred_rsp1,
               field::host_ia32_fred_rsp2, field::host_ia32_fred_rsp3, field::host_ia32_fred_ssp1,
               field::host_ia32_fred_ssp2, field::host_ia32_fred_ssp3>,
         [](V v, C c) { return !exit_2_on(v, vm_exit_control_2::load_fred) || fred_ok(v, host_fred, c); }),

    host("host selectors: RPL and TI", segments,
         reads<field::host_cs_selector, field::host_ss_selector, field::host_ds_selector, field::host_es_selector,
               field::host_fs_selector, field::host_gs_selector, field::host_tr_selector>,
         [](V v, C) {
           for (const field f :
                {field::host_cs_selector, field::host_ss_selector, field::host_ds_selector, field::host_es_selector,
                 field::host_fs_selector, field::host_gs_selector, field::host_tr_selector})
             if ((v.read(f) & 7) != 0) return false;
           return true;
         }),
    host("host CS is not null", segments, reads<field::host_cs_selector>,
         [](V v, C) { return v.read(field::host_cs_selector) != 0; }),
    host("host TR is not null", segments, reads<field::host_tr_selector>,
         [](V v, C) { return v.read(field::host_tr_selector) != 0; }),
    host("host SS is not null", segments, reads<exit_word, field::host_ss_selector>,
         [](V v, C) { return host_is_64_bit(v) || v.read(field::host_ss_selector) != 0; }),
    host("host FS, GS, TR, GDTR and IDTR bases", segments,
         reads<field::host_fs_base, field::host_gs_base, field::host_tr_base, field::host_gdtr_base,
               field::host_idtr_base>,
         [](V v, C c) {
           for (const field f : {field::host_fs_base, field::host_gs_base, field::host_tr_base, field::host_gdtr_base,
                                 field::host_idtr_base})
             if (!canonical(v, f, c)) return false;
           return true;
         }),

    host(
        "host address-space size fits IA32_EFER.LMA", address_space, reads<exit_word>,
        [](V v, C c) { return host_is_64_bit(v) == c.long_mode(); }, check_area::address_space),
    host("IA-32e guest needs a 64-bit host", address_space, reads<exit_word, entry_controls_word>,
         [](V v, C) { return host_is_64_bit(v) || !ia_32e_guest(v); }),
    host("64-bit host: CR4.PAE", address_space, reads<exit_word, field::host_cr4>,
         [](V v, C) { return !host_is_64_bit(v) || v.any(field::host_cr4, cr4_pae); }),
    host("32-bit host: CR4.PCIDE", address_space, reads<exit_word, field::host_cr4>,
         [](V v, C) { return host_is_64_bit(v) || !v.any(field::host_cr4, cr4_pcide); }),
    host("32-bit host: CR4.FRED", address_space, reads<exit_word, field::host_cr4>,
         [](V v, C) { return host_is_64_bit(v) || !v.any(field::host_cr4, cr4_fred); }),
    host("host RIP", address_space, reads<exit_word, field::host_rip>,
         [](V v, C c) { return fits_host(v, field::host_rip, c); }),
    host(
        "host S_CET fits the address-space size", address_space, reads<exit_word, field::host_ia32_s_cet>,
        [](V v, C c) { return !loads(v, vm_exit_control::load_cet_state) || fits_host(v, field::host_ia32_s_cet, c); }),
    host("host SSP fits the address-space size", address_space, reads<exit_word, field::host_ssp>,
         [](V v, C c) { return !loads(v, vm_exit_control::load_cet_state) || fits_host(v, field::host_ssp, c); }),
    host("host INTERRUPT_SSP_TABLE_ADDR", address_space, reads<exit_word, field::host_ia32_interrupt_ssp_table_addr>,
         [](V v, C c) {
           return !loads(v, vm_exit_control::load_cet_state) ||
                  canonical(v, field::host_ia32_interrupt_ssp_table_addr, c);
         }),
};

}  // namespace

const entry_check_group host_state = group<rows>("host state");

}  // namespace vmxsys::vmx::entry_checks
