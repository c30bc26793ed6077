#include "host_state.hpp"

#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/pdpte.hpp>
#include <vmxsys/vmx/vmcs/register_bits.hpp>

namespace vmxsys::vmx {

namespace {

constexpr const char* registers = "SDM Vol. 3C §30.5.1";
constexpr const char* segments = "SDM Vol. 3C §30.5.2";
constexpr const char* rip_rsp_rflags = "SDM Vol. 3C §30.5.3";
constexpr const char* non_register = "SDM Vol. 3C §30.5.5";

constexpr std::uint64_t cr4_pae = 1u << 5;
constexpr std::uint64_t cr4_pcide = 1u << 17;
constexpr std::uint64_t cr4_fred = std::uint64_t{1} << 32;

// Access rights, SDM Vol. 3C §27.4.1.
constexpr std::uint32_t flat = access_rights::code_or_data | access_rights::present | access_rights::granularity;
constexpr std::uint32_t code_rights = flat | 11;  // L or D/B are added
constexpr std::uint32_t data_rights = flat | access_rights::default_big | 3;
constexpr std::uint32_t busy_tss_rights = access_rights::present | 11;
constexpr std::uint32_t flat_limit = 0xFFFF'FFFF;
constexpr std::uint32_t tss_limit = 0x67;
constexpr std::uint32_t table_limit = 0xFFFF;

struct conditions {
  std::uint64_t vm_exit, vm_exit_2;

  bool on(std::uint64_t bits) const { return (vm_exit & bits) != 0; }
  bool on_2(std::uint64_t bits) const { return (vm_exit_2 & bits) != 0; }
};

conditions conditions_of(const vmcs& v) {
  return {v.read(field::primary_vm_exit_controls), detail::secondary_exit_controls(v)};
}

struct loading {
  const vmcs& v;
  processor_state& p;
  const capabilities& caps;
  bool host_64_bit;

  std::uint64_t read(field f) const { return v.read(f); }
  std::uint64_t base(field f) const { return sign_extended(v.read(f), caps); }
  std::uint16_t selector(field f) const { return static_cast<std::uint16_t>(v.read(f)); }
};

// Bits that VMX operation fixes are so already, and stay so.
void load_cr0(loading& l) {
  const std::uint64_t loaded = (l.read(field::host_cr0) & ~cr0_kept_bits) | (l.p.cr0 & cr0_kept_bits);
  l.p.cr0 = (loaded | l.caps.cr0_fixed0) & l.caps.cr0_fixed1;
}

void load_cr4(loading& l) {
  std::uint64_t loaded = (l.read(field::host_cr4) | l.caps.cr4_fixed0) & l.caps.cr4_fixed1;
  if (l.host_64_bit)
    loaded |= cr4_pae;
  else
    loaded &= ~(cr4_pcide | cr4_fred);
  l.p.cr4 = loaded;
}

void set_lma_and_lme(loading& l) {
  constexpr std::uint64_t both = efer_bits::lma | efer_bits::lme;
  l.p.efer = (l.p.efer & ~both) | (l.host_64_bit ? both : 0);
}

void load_fred(loading& l) {
  l.p.fred.config = l.read(field::host_ia32_fred_config);
  l.p.fred.rsp = {l.read(field::host_ia32_fred_rsp1), l.read(field::host_ia32_fred_rsp2),
                  l.read(field::host_ia32_fred_rsp3)};
  l.p.fred.stklvls = l.read(field::host_ia32_fred_stklvls);
  l.p.fred.ssp = {l.read(field::host_ia32_fred_ssp1), l.read(field::host_ia32_fred_ssp2),
                  l.read(field::host_ia32_fred_ssp3)};
}

void load_cs(loading& l) {
  const std::uint32_t mode = l.host_64_bit ? access_rights::long_mode : access_rights::default_big;
  l.p[segment_name::cs] = {l.selector(field::host_cs_selector), flat_limit, code_rights | mode, 0};
}

segment_register data_segment(std::uint16_t selector, std::uint64_t base) {
  return {selector, flat_limit, selector == 0 ? data_rights | access_rights::unusable : data_rights, base};
}

using row = detail::transfer_row<conditions, loading>;
using on = const conditions&;
constexpr auto always = detail::always<conditions>;

constexpr row rows[] = {
    {{"CR0", registers, nullptr, 1}, always, load_cr0},
    {{"CR3", registers, nullptr, 1}, always, [](loading& l) { l.p.cr3 = l.read(field::host_cr3); }},
    {{"CR4", registers, nullptr, 1}, always, load_cr4},
    {{"DR7 is 400H", registers, nullptr, 0}, always, [](loading& l) { l.p.dr7 = 0x400; }},
    {{"IA32_DEBUGCTL is 0", registers, nullptr, 0}, always, [](loading& l) { l.p.debugctl = 0; }},
    {{"SYSENTER MSRs", registers, nullptr, 3},
     always,
     [](loading& l) {
       l.p.sysenter_cs = static_cast<std::uint32_t>(l.read(field::host_ia32_sysenter_cs));
       l.p.sysenter_esp = l.read(field::host_ia32_sysenter_esp);
       l.p.sysenter_eip = l.read(field::host_ia32_sysenter_eip);
     }},
    {{"IA32_EFER", registers, "load IA32_EFER", 1},
     [](on c) { return c.on(vm_exit_control::load_ia32_efer); },
     [](loading& l) { l.p.efer = l.read(field::host_ia32_efer); }},
    {{"IA32_EFER.LMA and LME", registers, nullptr, 0}, always, set_lma_and_lme},
    {{"IA32_PERF_GLOBAL_CTRL", registers, "load IA32_PERF_GLOBAL_CTRL", 1},
     [](on c) { return c.on(vm_exit_control::load_ia32_perf_global_ctrl); },
     [](loading& l) { l.p.perf_global_ctrl = l.read(field::host_ia32_perf_global_ctrl); }},
    {{"IA32_PAT", registers, "load IA32_PAT", 1},
     [](on c) { return c.on(vm_exit_control::load_ia32_pat); },
     [](loading& l) { l.p.pat = l.read(field::host_ia32_pat); }},
    {{"IA32_BNDCFGS is 0", registers, "clear IA32_BNDCFGS", 0},
     [](on c) { return c.on(vm_exit_control::clear_ia32_bndcfgs); },
     [](loading& l) { l.p.bndcfgs = 0; }},
    {{"IA32_RTIT_CTL is 0", registers, "clear IA32_RTIT_CTL", 0},
     [](on c) { return c.on(vm_exit_control::clear_ia32_rtit_ctl); },
     [](loading& l) { l.p.rtit_ctl = 0; }},
    {{"IA32_LBR_CTL is 0", registers, "clear IA32_LBR_CTL", 0},
     [](on c) { return c.on(vm_exit_control::clear_ia32_lbr_ctl); },
     [](loading& l) { l.p.lbr_ctl = 0; }},
    {{"UINV is 0", registers, "clear UINV", 0},
     [](on c) { return c.on(vm_exit_control::clear_uinv); },
     [](loading& l) { l.p.uinv = 0; }},
    {{"CET state", registers, "load CET state", 3},
     [](on c) { return c.on(vm_exit_control::load_cet_state); },
     [](loading& l) {
       l.p.s_cet = l.read(field::host_ia32_s_cet);
       l.p.interrupt_ssp_table_addr = l.read(field::host_ia32_interrupt_ssp_table_addr);
       l.p.ssp = l.read(field::host_ssp);
     }},
    {{"IA32_PKRS", registers, "load PKRS", 1},
     [](on c) { return c.on(vm_exit_control::load_pkrs); },
     [](loading& l) { l.p.pkrs = l.read(field::host_ia32_pkrs); }},
    {{"FRED MSRs", registers, "load FRED", 8}, [](on c) { return c.on_2(vm_exit_control_2::load_fred); }, load_fred},
    {{"IA32_SPEC_CTRL", registers, "load IA32_SPEC_CTRL", 1},
     [](on c) { return c.on_2(vm_exit_control_2::load_ia32_spec_ctrl); },
     [](loading& l) { l.p.spec_ctrl = l.read(field::host_ia32_spec_ctrl); }},
    {{"CS", segments, nullptr, 1}, always, load_cs},
    {{"SS, DS, ES", segments, nullptr, 3},
     always,
     [](loading& l) {
       l.p[segment_name::ss] = data_segment(l.selector(field::host_ss_selector), 0);
       l.p[segment_name::ds] = data_segment(l.selector(field::host_ds_selector), 0);
       l.p[segment_name::es] = data_segment(l.selector(field::host_es_selector), 0);
     }},
    {{"FS and GS", segments, nullptr, 4},
     always,
     [](loading& l) {
       l.p[segment_name::fs] = data_segment(l.selector(field::host_fs_selector), l.base(field::host_fs_base));
       l.p[segment_name::gs] = data_segment(l.selector(field::host_gs_selector), l.base(field::host_gs_base));
     }},
    {{"TR", segments, nullptr, 2},
     always,
     [](loading& l) {
       l.p[segment_name::tr] = {l.selector(field::host_tr_selector), tss_limit, busy_tss_rights,
                                l.base(field::host_tr_base)};
     }},
    {{"LDTR is unusable", segments, nullptr, 0},
     always,
     [](loading& l) {
       l.p[segment_name::ldtr] = {0, 0, access_rights::unusable, 0};
     }},
    {{"GDTR and IDTR", segments, nullptr, 2},
     always,
     [](loading& l) {
       l.p.gdtr = {l.base(field::host_gdtr_base), table_limit};
       l.p.idtr = {l.base(field::host_idtr_base), table_limit};
     }},
    {{"RIP and RSP", rip_rsp_rflags, nullptr, 2},
     always,
     [](loading& l) {
       l.p.rip = l.read(field::host_rip);
       l.p.rsp = l.read(field::host_rsp);
     }},
    {{"RFLAGS is 2", rip_rsp_rflags, nullptr, 0}, always, [](loading& l) { l.p.rflags = rflags_bits::one; }},
    {{"active, no blocking by STI or MOV SS", non_register, nullptr, 0},
     always,
     [](loading& l) {
       l.p.activity = activity_state::active;
       l.p.sti_blocking = false;
       l.p.mov_ss_blocking = false;
       l.p.virtual_nmi_blocking = false;
       l.p.enclave_interruption = false;
     }},
    {{"no pending debug exceptions", non_register, nullptr, 0}, always, [](loading& l) { l.p.pending_debug = 0; }},
    {{"address-range monitoring is cleared", non_register, nullptr, 0},
     always,
     [](loading& l) { l.p.monitor_armed = false; }},
    {{"timers of the guest stop", non_register, nullptr, 0},
     always,
     [](loading& l) {
       l.p.preemption_timer = 0;
       l.p.guest_deadline = 0;
     }},
};
constexpr auto rules = detail::rules_of<rows>();

}  // namespace

void load_host_state(const vmcs& v, processor_state& p, const capabilities& caps) noexcept {
  loading operation{v, p, caps, v.any(field::primary_vm_exit_controls, vm_exit_control::host_address_space_size)};
  detail::carry_out<rows>(conditions_of(v), operation);
}

const transfer_rule* host_loading_table() noexcept { return rules.data(); }
std::size_t host_loading_table_size() noexcept { return rules.size(); }

unsigned host_fields_loaded(const vmcs& v) noexcept { return detail::count_fields<rows>(conditions_of(v)); }

bool exit_blocks_nmi(const exit_info& exit) noexcept {
  const event_information event = decode_event(exit.interruption_information);
  return exit.reason == exit_reason::exception_or_nmi && event.valid && event.type == event_type::nmi;
}

bool leaves_ia_32e_mode(const vmcs& v, const processor_state& p) noexcept {
  return (p.efer & efer_bits::lma) != 0 &&
         !v.any(field::primary_vm_exit_controls, vm_exit_control::host_address_space_size);
}

bool host_pdptes_in_memory(const processor_state& p) noexcept { return pae_paging(p); }

}  // namespace vmxsys::vmx
