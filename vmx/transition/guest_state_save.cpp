#include <vmxsys/vmx/events/exception.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>
#include <vmxsys/vmx/vmcs/exit_qualification.hpp>
#include <vmxsys/vmx/vmcs/pdpte.hpp>
#include <vmxsys/vmx/vmcs/register_bits.hpp>

#include "guest_state.hpp"

namespace vmxsys::vmx {

namespace {

constexpr const char* registers = "SDM Vol. 3C §30.3.1";
constexpr const char* segments = "SDM Vol. 3C §30.3.2";
constexpr const char* rip_rsp_rflags = "SDM Vol. 3C §30.3.3";
constexpr const char* non_register = "SDM Vol. 3C §30.3.4";

// ---- what the saved values are -------------------------------------------------------------------------------------

bool is_fault(std::uint8_t vector) {
  // #DE, #BR, #UD, #NM, #TS, #NP, #SS, #GP, #PF, #MF, #AC, #XM, #VE, #CP. A #DB is looked at apart; #DF and #MC are
  // aborts.
  constexpr std::uint32_t faults =
      1u << 0 | 1u << 5 | 1u << 6 | 1u << 7 | 0x1Fu << 10 | 1u << 16 | 1u << 17 | 1u << 19 | 1u << 20 | 1u << 21;
  return vector < 32 && (faults >> vector & 1) != 0;
}

// RF in the RFLAGS image that the delivery of the event pushes. Vol. 3B, "Instruction-Breakpoint Exception Condition".
bool rf_in_image(const event_information& event, bool general_detect, bool rf, const exit_situation& at) {
  constexpr std::uint8_t debug = 1;
  switch (event.type) {
    case event_type::software_interrupt:
    case event_type::software_exception:
    case event_type::privileged_software_exception:
      return false;
    case event_type::hardware_exception:
      if (is_fault(event.vector) || (event.vector == debug && general_detect)) return true;
      break;
    default:
      break;
  }
  return rf || at.between_iterations;
}

bool rf_to_save(const exit_info& exit, const exit_situation& at, bool rf) {
  const exit_reason_info* row = find_exit_reason(static_cast<std::uint32_t>(exit.reason));
  const resume_flag_rule rule = row != nullptr ? row->resume_flag : resume_flag_rule::unchanged;
  const event_information delivering = decode_event(exit.idt_vectoring_information);
  switch (rule) {
    case resume_flag_rule::clear:
      return false;
    case resume_flag_rule::image: {
      const event_information event = decode_event(exit.interruption_information);
      // An unacknowledged interrupt is an interrupt all the same.
      if (!event.valid) return rf || at.between_iterations;
      return rf_in_image(event, qualification::decode_debug(exit.qualification).register_access, rf, at);
    }
    case resume_flag_rule::memory:
      return delivering.valid ? rf_in_image(delivering, false, rf, at) : true;
    case resume_flag_rule::task_switch:
      return delivering.valid && rf_in_image(delivering, false, rf, at);
    case resume_flag_rule::unchanged:
      return rf;
  }
  return rf;
}

bool is_debug_exception(const exit_info& exit) {
  constexpr std::uint8_t debug = 1;
  const event_information event = decode_event(exit.interruption_information);
  return exit.reason == exit_reason::exception_or_nmi && event.valid && event.vector == debug &&
         (event.type == event_type::hardware_exception || event.type == event_type::privileged_software_exception);
}

bool keeps_pending_debug(const exit_info& exit) {
  constexpr std::uint8_t machine_check = 18;
  switch (exit.reason) {
    case exit_reason::exception_or_nmi: {
      const event_information event = decode_event(exit.interruption_information);
      return event.valid && event.type == event_type::hardware_exception && event.vector == machine_check;
    }
    case exit_reason::init_signal:
    case exit_reason::io_smi:
    case exit_reason::other_smi:
    case exit_reason::tpr_below_threshold:
    case exit_reason::virtualized_eoi:
    case exit_reason::apic_write:
    case exit_reason::monitor_trap_flag:
    case exit_reason::bus_lock:
      return true;
    default:
      return false;
  }
}

// ---- saving --------------------------------------------------------------------------------------------------------

// What decides which rows apply.
struct saving_conditions {
  const processor_state& p;
  const capabilities& caps;
  std::uint64_t secondary, vm_exit, vm_exit_2;

  bool on(std::uint64_t bits) const { return (vm_exit & bits) != 0; }
  bool on_2(std::uint64_t bits) const { return (vm_exit_2 & bits) != 0; }
  // The processor supports the 1-setting of one of these.
  bool entry_has(std::uint64_t bits) const { return (caps.allowed_1(control_word::vm_entry) & bits) != 0; }
  bool exit_has(std::uint64_t bits) const { return (caps.allowed_1(control_word::vm_exit) & bits) != 0; }
};

saving_conditions conditions_of(const vmcs& v, const processor_state& p, const capabilities& caps) {
  return {p, caps, secondary_controls(v), v.read(field::primary_vm_exit_controls), detail::secondary_exit_controls(v)};
}

struct saving {
  vmcs& v;
  const processor_state& p;
  const exit_info& exit;
  const exit_situation& at;
  const exit_options& options;
};

template <segment_name S>
void save_segment(saving& s) {
  using f = detail::segment_fields<S>;
  const segment_register& r = s.p[S];
  s.v.write(f::selector, r.selector);
  s.v.write(f::base, r.base);
  s.v.write(f::limit, r.limit);
  s.v.write(f::rights, r.rights);
}

using saving_row = detail::transfer_row<saving_conditions, saving>;
using on_saving = const saving_conditions&;
constexpr auto always_saved = detail::always<saving_conditions>;

constexpr saving_row saving_rows[] = {
    {{"CR0, CR3, CR4", registers, nullptr, 3},
     always_saved,
     [](saving& s) {
       s.v.write(field::guest_cr0, s.p.cr0);
       s.v.write(field::guest_cr3, s.p.cr3);
       s.v.write(field::guest_cr4, s.p.cr4);
     }},
    {{"SYSENTER MSRs", registers, nullptr, 3},
     always_saved,
     [](saving& s) {
       s.v.write(field::guest_ia32_sysenter_cs, s.p.sysenter_cs);
       s.v.write(field::guest_ia32_sysenter_esp, s.p.sysenter_esp);
       s.v.write(field::guest_ia32_sysenter_eip, s.p.sysenter_eip);
     }},
    {{"DR7 and IA32_DEBUGCTL", registers, "save debug controls", 2},
     [](on_saving c) { return c.on(vm_exit_control::save_debug_controls); },
     [](saving& s) {
       s.v.write(field::guest_dr7, s.p.dr7);
       s.v.write(field::guest_ia32_debugctl, s.p.debugctl);
     }},
    {{"IA32_PAT", registers, "save IA32_PAT", 1},
     [](on_saving c) { return c.on(vm_exit_control::save_ia32_pat); },
     [](saving& s) { s.v.write(field::guest_ia32_pat, s.p.pat); }},
    {{"IA32_EFER", registers, "save IA32_EFER", 1},
     [](on_saving c) { return c.on(vm_exit_control::save_ia32_efer); },
     [](saving& s) { s.v.write(field::guest_ia32_efer, s.p.efer); }},
    {{"IA32_PERF_GLOBAL_CTRL", registers, "save IA32_PERF_GLOBAL_CTRL", 1},
     [](on_saving c) { return c.on(vm_exit_control::save_ia32_perf_global_ctrl); },
     [](saving& s) { s.v.write(field::guest_ia32_perf_global_ctrl, s.p.perf_global_ctrl); }},
    {{"IA32_BNDCFGS", registers, "the processor can load or clear it", 1},
     [](on_saving c) {
       return c.entry_has(vm_entry_control::load_ia32_bndcfgs) || c.exit_has(vm_exit_control::clear_ia32_bndcfgs);
     },
     [](saving& s) { s.v.write(field::guest_ia32_bndcfgs, s.p.bndcfgs); }},
    {{"IA32_RTIT_CTL", registers, "the processor can load or clear it", 1},
     [](on_saving c) {
       return c.entry_has(vm_entry_control::load_ia32_rtit_ctl) || c.exit_has(vm_exit_control::clear_ia32_rtit_ctl);
     },
     [](saving& s) { s.v.write(field::guest_ia32_rtit_ctl, s.p.rtit_ctl); }},
    {{"IA32_LBR_CTL", registers, "the processor can load or clear it", 1},
     [](on_saving c) {
       return c.entry_has(vm_entry_control::load_guest_ia32_lbr_ctl) || c.exit_has(vm_exit_control::clear_ia32_lbr_ctl);
     },
     [](saving& s) { s.v.write(field::guest_ia32_lbr_ctl, s.p.lbr_ctl); }},
    {{"IA32_PKRS", registers, "the processor can load it", 1},
     [](on_saving c) { return c.entry_has(vm_entry_control::load_pkrs); },
     [](saving& s) { s.v.write(field::guest_ia32_pkrs, s.p.pkrs); }},
    {{"UINV", registers, "the processor can load or clear it", 1},
     [](on_saving c) { return c.entry_has(vm_entry_control::load_uinv) || c.exit_has(vm_exit_control::clear_uinv); },
     [](saving& s) { s.v.write(field::guest_uinv, s.p.uinv); }},
    {{"CET state", registers, "the processor can load it", 3},
     [](on_saving c) { return c.entry_has(vm_entry_control::load_cet_state); },
     [](saving& s) {
       s.v.write(field::guest_ia32_s_cet, s.p.s_cet);
       s.v.write(field::guest_ia32_interrupt_ssp_table_addr, s.p.interrupt_ssp_table_addr);
       s.v.write(field::guest_ssp, s.p.ssp);
     }},
    // Not in the manual's text for this MSR; by analogy with the other MSRs that an entry can load.
    {{"IA32_SPEC_CTRL", registers, "the processor can load it", 1},
     [](on_saving c) { return c.entry_has(vm_entry_control::load_ia32_spec_ctrl); },
     [](saving& s) { s.v.write(field::guest_ia32_spec_ctrl, s.p.spec_ctrl); }},
    {{"FRED MSRs", registers, "save FRED", 8},
     [](on_saving c) { return c.on_2(vm_exit_control_2::save_fred); },
     [](saving& s) {
       s.v.write(field::guest_ia32_fred_config, s.p.fred.config);
       s.v.write(field::guest_ia32_fred_rsp1, s.p.fred.rsp[0]);
       s.v.write(field::guest_ia32_fred_rsp2, s.p.fred.rsp[1]);
       s.v.write(field::guest_ia32_fred_rsp3, s.p.fred.rsp[2]);
       s.v.write(field::guest_ia32_fred_stklvls, s.p.fred.stklvls);
       s.v.write(field::guest_ia32_fred_ssp1, s.p.fred.ssp[0]);
       s.v.write(field::guest_ia32_fred_ssp2, s.p.fred.ssp[1]);
       s.v.write(field::guest_ia32_fred_ssp3, s.p.fred.ssp[2]);
     }},
    {{"CS, SS, DS, ES, FS, GS, LDTR, TR", segments, nullptr, 32},
     always_saved,
     [](saving& s) {
       save_segment<segment_name::es>(s);
       save_segment<segment_name::cs>(s);
       save_segment<segment_name::ss>(s);
       save_segment<segment_name::ds>(s);
       save_segment<segment_name::fs>(s);
       save_segment<segment_name::gs>(s);
       save_segment<segment_name::ldtr>(s);
       save_segment<segment_name::tr>(s);
     }},
    {{"GDTR and IDTR", segments, nullptr, 4},
     always_saved,
     [](saving& s) {
       s.v.write(field::guest_gdtr_base, s.p.gdtr.base);
       s.v.write(field::guest_gdtr_limit, s.p.gdtr.limit);
       s.v.write(field::guest_idtr_base, s.p.idtr.base);
       s.v.write(field::guest_idtr_limit, s.p.idtr.limit);
     }},
    {{"RIP", rip_rsp_rflags, nullptr, 1},
     always_saved,
     [](saving& s) { s.v.write(field::guest_rip, rip_to_save(s.exit, s.at, s.p)); }},
    {{"RSP", rip_rsp_rflags, nullptr, 1}, always_saved, [](saving& s) { s.v.write(field::guest_rsp, s.p.rsp); }},
    {{"RFLAGS", rip_rsp_rflags, nullptr, 1},
     always_saved,
     [](saving& s) { s.v.write(field::guest_rflags, rflags_to_save(s.exit, s.at, s.p)); }},
    {{"activity state", non_register, nullptr, 1},
     always_saved,
     [](saving& s) { s.v.write(field::guest_activity_state, static_cast<std::uint64_t>(s.p.activity)); }},
    {{"interruptibility state", non_register, nullptr, 1},
     always_saved,
     [](saving& s) {
       const bool virtual_nmis = (pin_controls(s.v) & pin_based::virtual_nmis) != 0;
       s.v.write(field::guest_interruptibility_state, interruptibility_to_save(s.exit, virtual_nmis, s.p));
     }},
    {{"pending debug exceptions", non_register, nullptr, 1},
     always_saved,
     [](saving& s) {
       s.v.write(field::guest_pending_debug_exceptions, pending_debug_to_save(s.exit, s.p, s.options));
     }},
    {{"VMX-preemption timer", non_register, "save VMX-preemption timer value", 1},
     [](on_saving c) { return c.on(vm_exit_control::save_vmx_preemption_timer_value); },
     [](saving& s) {
       s.v.write(field::vmx_preemption_timer_value,
                 s.exit.reason == exit_reason::preemption_timer ? 0 : s.p.preemption_timer);
     }},
    {{"guest deadline", non_register, "the processor has APIC-timer virtualization", 1},
     [](on_saving c) { return (c.caps.allowed_1(control_word::tertiary) & tertiary::apic_timer_virtualization) != 0; },
     [](saving& s) { s.v.write(field::guest_deadline, s.p.guest_deadline); }},
    {{"PDPTEs", non_register, "enable EPT, and PAE paging was in use", 4},
     [](on_saving c) { return (c.secondary & secondary::enable_ept) != 0 && pae_paging(c.p); },
     [](saving& s) {
       s.v.write(field::guest_pdpte0, s.p.pdpte[0]);
       s.v.write(field::guest_pdpte1, s.p.pdpte[1]);
       s.v.write(field::guest_pdpte2, s.p.pdpte[2]);
       s.v.write(field::guest_pdpte3, s.p.pdpte[3]);
     }},
    {{"VM-entry control \"IA-32e mode guest\"", "SDM Vol. 3C §30.2, Vol. 3D §A.6", "IA32_VMX_MISC bit 5", 1},
     [](on_saving c) { return (c.caps.misc >> 5 & 1) != 0; },
     [](saving& s) {
       const std::uint64_t others =
           s.v.read(field::vm_entry_controls) & ~std::uint64_t{vm_entry_control::ia_32e_mode_guest};
       const bool lma = (s.p.efer & efer_bits::lma) != 0;
       s.v.write(field::vm_entry_controls, others | (lma ? vm_entry_control::ia_32e_mode_guest : 0u));
     }},
};
constexpr auto saving_rules = detail::rules_of<saving_rows>();

}  // namespace

std::uint64_t rip_to_save(const exit_info& exit, const exit_situation& at, const processor_state& p) noexcept {
  if (at.completed_length == 0 || class_of(exit.reason) != exit_class::trap) return p.rip;
  const std::uint64_t next = p.rip + at.completed_length;
  const bool mode_64_bit =
      (p.efer & efer_bits::lma) != 0 && (p[segment_name::cs].rights & access_rights::long_mode) != 0;
  return mode_64_bit ? next : next & 0xFFFF'FFFF;
}

std::uint64_t rflags_to_save(const exit_info& exit, const exit_situation& at, const processor_state& p) noexcept {
  const bool rf = rf_to_save(exit, at, (p.rflags & rflags_bits::rf) != 0);
  return (p.rflags & ~rflags_bits::rf) | (rf ? rflags_bits::rf : 0);
}

std::uint32_t interruptibility_to_save(const exit_info& exit, bool virtual_nmis, const processor_state& p) noexcept {
  const bool nmi = virtual_nmis ? p.virtual_nmi_blocking : p.nmi_blocking;
  const bool enclave = p.enclave_interruption || (exit.flags & exit_reason_flag::enclave) != 0;
  return (p.sti_blocking ? interruptibility::sti : 0) | (p.mov_ss_blocking ? interruptibility::mov_ss : 0) |
         (nmi ? interruptibility::nmi : 0) | (enclave ? interruptibility::enclave : 0);
}

std::uint64_t pending_debug_to_save(const exit_info& exit, const processor_state& p,
                                    const exit_options& options) noexcept {
  using namespace pending_debug_bits;
  const bool by_debug = is_debug_exception(exit);
  const bool kept = keeps_pending_debug(exit) || (p.mov_ss_blocking && !by_debug);
  const bool tf = (p.rflags & rflags_bits::tf) != 0;
  std::uint64_t saved = kept ? p.pending_debug & defined : 0;
  // Otherwise the re-entry with what this exit saves would fail.
  const bool checked = p.sti_blocking || p.mov_ss_blocking || p.activity == activity_state::hlt;
  if (checked && (!by_debug || options.debug_exit_saves_step)) {
    const bool stepping = tf && (p.debugctl & debugctl_bits::btf) == 0;
    saved = (saved & ~single_step) | (stepping ? single_step : 0);
  }
  return saved;
}

void save_guest_state(vmcs& v, const processor_state& p, const capabilities& caps, const exit_info& exit,
                      const exit_situation& at, const exit_options& options) noexcept {
  saving operation{v, p, exit, at, options};
  detail::carry_out<saving_rows>(conditions_of(v, p, caps), operation);
}

const transfer_rule* guest_saving_table() noexcept { return saving_rules.data(); }
std::size_t guest_saving_table_size() noexcept { return saving_rules.size(); }

unsigned guest_fields_saved(const vmcs& v, const processor_state& p, const capabilities& caps) noexcept {
  return detail::count_fields<saving_rows>(conditions_of(v, p, caps));
}

}  // namespace vmxsys::vmx
