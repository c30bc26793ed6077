#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>
#include <vmxsys/vmx/vmcs/pdpte.hpp>
#include <vmxsys/vmx/vmcs/register_bits.hpp>

#include "guest_state.hpp"

namespace vmxsys::vmx {

namespace {

constexpr const char* registers = "SDM Vol. 3C §29.3.2.1";
constexpr const char* segments = "SDM Vol. 3C §29.3.2.2";
constexpr const char* rip_rsp_rflags = "SDM Vol. 3C §29.3.2.3";
constexpr const char* pdptes = "SDM Vol. 3C §29.3.2.4";
constexpr const char* non_register = "SDM Vol. 3C §29.3.2.5, §29.6";
constexpr const char* monitoring = "SDM Vol. 3C §29.3.3";

constexpr std::uint64_t cr0_pg = 1u << 31;
constexpr std::uint64_t cr4_pae = 1u << 5;
constexpr std::uint64_t lower_half = 0xFFFF'FFFF;

bool pae_guest(const vmcs& v) {
  return v.any(field::guest_cr0, cr0_pg) && v.any(field::guest_cr4, cr4_pae) &&
         !v.any(field::vm_entry_controls, vm_entry_control::ia_32e_mode_guest);
}

// What decides which rows apply.
struct loading_conditions {
  const vmcs& v;
  std::uint64_t pin, secondary, tertiary, vm_entry;

  bool on(std::uint64_t bits) const { return (vm_entry & bits) != 0; }
};

loading_conditions conditions_of(const vmcs& v) {
  return {v, pin_controls(v), secondary_controls(v), tertiary_controls(v), v.read(field::vm_entry_controls)};
}

struct loading {
  const vmcs& v;
  processor_state& p;
  const capabilities& caps;

  std::uint64_t read(field f) const { return v.read(f); }
  std::uint32_t read_32(field f) const { return static_cast<std::uint32_t>(v.read(f)); }
};

template <segment_name S>
segment_register& load_segment(loading& l) {
  using f = detail::segment_fields<S>;
  segment_register& r = l.p[S];
  r.selector = static_cast<std::uint16_t>(l.read(f::selector));
  r.base = l.read(f::base);
  r.limit = l.read_32(f::limit);
  r.rights = l.read_32(f::rights) & ~access_rights::reserved;
  return r;
}

void load_debug_controls(loading& l) {
  constexpr std::uint64_t cleared = 1u << 12 | 3u << 14;
  constexpr std::uint64_t set = 1u << 10;
  l.p.dr7 = (l.read(field::guest_dr7) & ~cleared) | set;
  l.p.debugctl = l.read(field::guest_ia32_debugctl);
}

// LMA as the guest's mode; LME too if it pages.
void load_lma_and_lme(loading& l) {
  const bool ia_32e = l.v.any(field::vm_entry_controls, vm_entry_control::ia_32e_mode_guest);
  std::uint64_t changed = efer_bits::lma;
  if (l.v.any(field::guest_cr0, cr0_pg)) changed |= efer_bits::lme;
  l.p.efer = (l.p.efer & ~changed) | (ia_32e ? changed : 0);
}

void load_fred(loading& l) {
  l.p.fred.config = l.read(field::guest_ia32_fred_config);
  l.p.fred.rsp = {l.read(field::guest_ia32_fred_rsp1), l.read(field::guest_ia32_fred_rsp2),
                  l.read(field::guest_ia32_fred_rsp3)};
  l.p.fred.stklvls = l.read(field::guest_ia32_fred_stklvls);
  l.p.fred.ssp = {l.read(field::guest_ia32_fred_ssp1), l.read(field::guest_ia32_fred_ssp2),
                  l.read(field::guest_ia32_fred_ssp3)};
}

void load_ss(loading& l) {
  segment_register& r = load_segment<segment_name::ss>(l);
  if (r.usable()) return;
  r.base &= lower_half & ~std::uint64_t{15};
  r.rights |= access_rights::default_big;
}

template <segment_name S>
void load_data_segment(loading& l) {
  segment_register& r = load_segment<S>(l);
  if (!r.usable()) r.base &= lower_half;
}

void load_ldtr(loading& l) {
  segment_register& r = load_segment<segment_name::ldtr>(l);
  if (!r.usable()) r.base = sign_extended(r.base, l.caps);
}

void load_interruptibility(loading& l) {
  const std::uint32_t state = l.read_32(field::guest_interruptibility_state);
  const bool nmi = (state & interruptibility::nmi) != 0;
  const bool virtual_nmis = (pin_controls(l.v) & pin_based::virtual_nmis) != 0;
  l.p.sti_blocking = (state & interruptibility::sti) != 0;
  l.p.mov_ss_blocking = (state & interruptibility::mov_ss) != 0;
  l.p.nmi_blocking = nmi && !virtual_nmis;
  l.p.virtual_nmi_blocking = nmi && virtual_nmis;
  l.p.enclave_interruption = (state & interruptibility::enclave) != 0;
}

using row = detail::transfer_row<loading_conditions, loading>;
using on = const loading_conditions&;
constexpr auto always = detail::always<loading_conditions>;

constexpr row rows[] = {
    {{"CR0", registers, nullptr, 1},
     always,
     [](loading& l) { l.p.cr0 = (l.read(field::guest_cr0) & ~cr0_kept_bits) | (l.p.cr0 & cr0_kept_bits); }},
    {{"CR3 and CR4", registers, nullptr, 2},
     always,
     [](loading& l) {
       l.p.cr3 = l.read(field::guest_cr3);
       l.p.cr4 = l.read(field::guest_cr4);
     }},
    {{"DR7 and IA32_DEBUGCTL", registers, "load debug controls", 2},
     [](on c) { return c.on(vm_entry_control::load_debug_controls); },
     load_debug_controls},
    {{"SYSENTER MSRs", registers, nullptr, 3},
     always,
     [](loading& l) {
       l.p.sysenter_cs = l.read_32(field::guest_ia32_sysenter_cs);
       l.p.sysenter_esp = l.read(field::guest_ia32_sysenter_esp);
       l.p.sysenter_eip = l.read(field::guest_ia32_sysenter_eip);
     }},
    {{"IA32_EFER", registers, "load IA32_EFER", 1},
     [](on c) { return c.on(vm_entry_control::load_ia32_efer); },
     [](loading& l) { l.p.efer = l.read(field::guest_ia32_efer); }},
    {{"IA32_EFER.LMA and LME", registers, "load IA32_EFER is 0", 0},
     [](on c) { return !c.on(vm_entry_control::load_ia32_efer); },
     load_lma_and_lme},
    {{"IA32_PERF_GLOBAL_CTRL", registers, "load IA32_PERF_GLOBAL_CTRL", 1},
     [](on c) { return c.on(vm_entry_control::load_ia32_perf_global_ctrl); },
     [](loading& l) { l.p.perf_global_ctrl = l.read(field::guest_ia32_perf_global_ctrl); }},
    {{"IA32_PAT", registers, "load IA32_PAT", 1},
     [](on c) { return c.on(vm_entry_control::load_ia32_pat); },
     [](loading& l) { l.p.pat = l.read(field::guest_ia32_pat); }},
    {{"IA32_BNDCFGS", registers, "load IA32_BNDCFGS", 1},
     [](on c) { return c.on(vm_entry_control::load_ia32_bndcfgs); },
     [](loading& l) { l.p.bndcfgs = l.read(field::guest_ia32_bndcfgs); }},
    {{"IA32_RTIT_CTL", registers, "load IA32_RTIT_CTL", 1},
     [](on c) { return c.on(vm_entry_control::load_ia32_rtit_ctl); },
     [](loading& l) { l.p.rtit_ctl = l.read(field::guest_ia32_rtit_ctl); }},
    {{"UINV", registers, "load UINV", 1},
     [](on c) { return c.on(vm_entry_control::load_uinv); },
     [](loading& l) { l.p.uinv = static_cast<std::uint8_t>(l.read(field::guest_uinv)); }},
    {{"CET state", registers, "load CET state", 3},
     [](on c) { return c.on(vm_entry_control::load_cet_state); },
     [](loading& l) {
       l.p.s_cet = l.read(field::guest_ia32_s_cet);
       l.p.interrupt_ssp_table_addr = l.read(field::guest_ia32_interrupt_ssp_table_addr);
       l.p.ssp = l.read(field::guest_ssp);
     }},
    {{"IA32_LBR_CTL", registers, "load guest IA32_LBR_CTL", 1},
     [](on c) { return c.on(vm_entry_control::load_guest_ia32_lbr_ctl); },
     [](loading& l) { l.p.lbr_ctl = l.read(field::guest_ia32_lbr_ctl); }},
    {{"IA32_PKRS", registers, "load PKRS", 1},
     [](on c) { return c.on(vm_entry_control::load_pkrs); },
     [](loading& l) { l.p.pkrs = l.read(field::guest_ia32_pkrs); }},
    {{"FRED MSRs", registers, "load FRED", 8}, [](on c) { return c.on(vm_entry_control::load_fred); }, load_fred},
    {{"IA32_SPEC_CTRL", registers, "load IA32_SPEC_CTRL", 1},
     [](on c) { return c.on(vm_entry_control::load_ia32_spec_ctrl); },
     [](loading& l) { l.p.spec_ctrl = l.read(field::guest_ia32_spec_ctrl); }},
    {{"CS", segments, nullptr, 4}, always, [](loading& l) { load_segment<segment_name::cs>(l); }},
    {{"SS", segments, nullptr, 4}, always, load_ss},
    {{"DS and ES", segments, nullptr, 8},
     always,
     [](loading& l) {
       load_data_segment<segment_name::ds>(l);
       load_data_segment<segment_name::es>(l);
     }},
    // Their bases, which are the MSRs FS_BASE and GS_BASE, count even if the registers are unusable.
    {{"FS and GS", segments, nullptr, 8},
     always,
     [](loading& l) {
       load_segment<segment_name::fs>(l);
       load_segment<segment_name::gs>(l);
     }},
    {{"LDTR", segments, nullptr, 4}, always, load_ldtr},
    {{"TR", segments, nullptr, 4}, always, [](loading& l) { load_segment<segment_name::tr>(l); }},
    {{"GDTR and IDTR", segments, nullptr, 4},
     always,
     [](loading& l) {
       l.p.gdtr = {l.read(field::guest_gdtr_base), l.read_32(field::guest_gdtr_limit)};
       l.p.idtr = {l.read(field::guest_idtr_base), l.read_32(field::guest_idtr_limit)};
     }},
    {{"RSP, RIP, RFLAGS", rip_rsp_rflags, nullptr, 3},
     always,
     [](loading& l) {
       l.p.rsp = l.read(field::guest_rsp);
       l.p.rip = l.read(field::guest_rip);
       l.p.rflags = l.read(field::guest_rflags);
     }},
    {{"PDPTEs", pdptes, "enable EPT, and the guest uses PAE paging", 4},
     [](on c) { return (c.secondary & secondary::enable_ept) != 0 && pae_guest(c.v); },
     [](loading& l) {
       l.p.pdpte = {l.read(field::guest_pdpte0), l.read(field::guest_pdpte1), l.read(field::guest_pdpte2),
                    l.read(field::guest_pdpte3)};
     }},
    {{"activity state", non_register, nullptr, 1},
     always,
     [](loading& l) { l.p.activity = static_cast<activity_state>(l.read(field::guest_activity_state) & 3); }},
    {{"interruptibility state", non_register, nullptr, 1}, always, load_interruptibility},
    {{"pending debug exceptions", non_register, nullptr, 1},
     always,
     [](loading& l) {
       l.p.pending_debug = l.read(field::guest_pending_debug_exceptions) & pending_debug_bits::defined;
     }},
    {{"VMX-preemption timer", "SDM Vol. 3C §29.7.4", "activate VMX-preemption timer", 1},
     [](on c) { return (c.pin & pin_based::activate_vmx_preemption_timer) != 0; },
     [](loading& l) { l.p.preemption_timer = l.read_32(field::vmx_preemption_timer_value); }},
    {{"guest deadline", non_register, "APIC-timer virtualization", 1},
     [](on c) { return (c.tertiary & tertiary::apic_timer_virtualization) != 0; },
     [](loading& l) { l.p.guest_deadline = l.read(field::guest_deadline); }},
    {{"address-range monitoring is cleared", monitoring, nullptr, 0},
     always,
     [](loading& l) { l.p.monitor_armed = false; }},
};
constexpr auto rules = detail::rules_of<rows>();

}  // namespace

void load_guest_state(const vmcs& v, processor_state& p, const capabilities& caps) noexcept {
  loading operation{v, p, caps};
  detail::carry_out<rows>(conditions_of(v), operation);
}

const transfer_rule* guest_loading_table() noexcept { return rules.data(); }
std::size_t guest_loading_table_size() noexcept { return rules.size(); }

unsigned guest_fields_loaded(const vmcs& v) noexcept { return detail::count_fields<rows>(conditions_of(v)); }

bool guest_pdptes_in_memory(const vmcs& v, const processor_state& before) noexcept {
  if (!pae_guest(v) || (secondary_controls(v) & secondary::enable_ept) != 0) return false;
  return !pae_paging(before) || before.cr3 != v.read(field::guest_cr3);
}

}  // namespace vmxsys::vmx
