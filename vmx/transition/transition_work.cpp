#include "transition_work.hpp"

#include <array>
#include <iterator>
#include <utility>

#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>
#include <vmxsys/vmx/vmcs/event.hpp>
#include <vmxsys/vmx/vmcs/processor.hpp>

#include "guest_state.hpp"
#include "host_state.hpp"
#include "msr_list.hpp"

namespace vmxsys::vmx {

namespace {

using step = transition_step;
using work = transition_work;

constexpr transition_step_info steps[transition_step_count] = {
    {step::check_controls, "check controls", "SDM Vol. 3C §29.2.1", true, false, false, &work::control_fields_checked},
    {step::check_host_state, "check host state", "SDM Vol. 3C §29.2.2", true, false, false, &work::host_fields_checked},
    {step::check_guest_state, "check guest state", "SDM Vol. 3C §29.3.1", true, false, false,
     &work::guest_fields_checked},
    {step::load_guest_state, "load guest state", "SDM Vol. 3C §29.3.2", true, false, false, &work::guest_fields_loaded},
    {step::load_guest_pdptes, "load PDPTEs of the guest", "SDM Vol. 3C §29.3.2.4", true, false, false,
     &work::pdptes_loaded},
    {step::load_guest_msrs, "VM-entry MSR-load list", "SDM Vol. 3C §29.4", true, false, false, &work::msrs_loaded},
    {step::invalidate_at_entry, "invalidate translations", "SDM Vol. 3C §29.3.2.5", true, false, false,
     &work::translations_invalidated},
    {step::inject_event, "inject an event", "SDM Vol. 3C §29.6", true, false, false, &work::events_injected},
    {step::record_information, "record exit information", "SDM Vol. 3C §30.2", false, true, true,
     &work::information_fields_written},
    {step::save_guest_state, "save guest state", "SDM Vol. 3C §30.3", false, true, false, &work::guest_fields_saved},
    {step::store_guest_msrs, "VM-exit MSR-store list", "SDM Vol. 3C §30.4", false, true, false, &work::msrs_stored},
    {step::load_host_state, "load host state", "SDM Vol. 3C §30.5", false, true, true, &work::host_fields_loaded},
    {step::load_host_pdptes, "load PDPTEs of the host", "SDM Vol. 3C §30.5.4", false, true, true, &work::pdptes_loaded},
    {step::invalidate_at_exit, "invalidate translations", "SDM Vol. 3C §30.5.5", false, true, true,
     &work::translations_invalidated},
    {step::load_host_msrs, "VM-exit MSR-load list", "SDM Vol. 3C §30.6", false, true, true, &work::msrs_loaded},
};

// ---- the fields that entry checks ----------------------------------------------------------------------------------

struct words {
  const vmcs& v;
  std::uint64_t pin, primary, secondary, tertiary, vm_exit, vm_exit_2, vm_entry;
  event_information event;  // the injected one
};

words words_of(const vmcs& v) {
  const std::uint64_t vm_exit = v.read(field::primary_vm_exit_controls);
  return {v,
          pin_controls(v),
          primary_controls(v),
          secondary_controls(v),
          tertiary_controls(v),
          vm_exit,
          detail::secondary_exit_controls(v),
          v.read(field::vm_entry_controls),
          decode_event(static_cast<std::uint32_t>(v.read(field::vm_entry_interruption_information)))};
}

bool has_instruction_length(const event_information& e) {
  return e.valid && (e.type == event_type::software_interrupt || e.type == event_type::software_exception ||
                     e.type == event_type::privileged_software_exception);
}

struct checked_row {
  checked_fields fields;
  bool (*checked)(const words&);
};

using area = checked_fields::area;
using W = const words&;
constexpr bool always(W) { return true; }

constexpr checked_row checked[] = {
    {{area::control, "pin-based, primary, VM-exit and VM-entry controls", 4}, always},
    {{area::control, "secondary controls", 1},
     [](W w) { return (w.primary & primary::activate_secondary_controls) != 0; }},
    {{area::control, "tertiary controls", 1},
     [](W w) { return (w.primary & primary::activate_tertiary_controls) != 0; }},
    {{area::control, "secondary VM-exit controls", 1},
     [](W w) { return (w.vm_exit & vm_exit_control::activate_secondary_controls) != 0; }},
    {{area::control, "CR3-target count and MSR-list counts", 4}, always},
    {{area::control, "VM-exit MSR-store address", 1},
     [](W w) { return w.v.read(field::vm_exit_msr_store_count) != 0; }},
    {{area::control, "VM-exit MSR-load address", 1}, [](W w) { return w.v.read(field::vm_exit_msr_load_count) != 0; }},
    {{area::control, "VM-entry MSR-load address", 1},
     [](W w) { return w.v.read(field::vm_entry_msr_load_count) != 0; }},
    {{area::control, "I/O-bitmap addresses", 2}, [](W w) { return (w.primary & primary::use_io_bitmaps) != 0; }},
    {{area::control, "MSR-bitmap address", 1}, [](W w) { return (w.primary & primary::use_msr_bitmaps) != 0; }},
    {{area::control, "virtual-APIC address", 1}, [](W w) { return (w.primary & primary::use_tpr_shadow) != 0; }},
    {{area::control, "TPR threshold", 1},
     [](W w) {
       return (w.primary & primary::use_tpr_shadow) != 0 && (w.secondary & secondary::virtual_interrupt_delivery) == 0;
     }},
    {{area::control, "APIC-access address", 1},
     [](W w) { return (w.secondary & secondary::virtualize_apic_accesses) != 0; }},
    {{area::control, "posted-interrupt notification vector and descriptor address", 2},
     [](W w) { return (w.pin & pin_based::process_posted_interrupts) != 0; }},
    {{area::control, "VPID", 1}, [](W w) { return (w.secondary & secondary::enable_vpid) != 0; }},
    {{area::control, "EPT pointer", 1}, [](W w) { return (w.secondary & secondary::enable_ept) != 0; }},
    {{area::control, "PML address", 1}, [](W w) { return (w.secondary & secondary::enable_pml) != 0; }},
    {{area::control, "VMREAD- and VMWRITE-bitmap addresses", 2},
     [](W w) { return (w.secondary & secondary::vmcs_shadowing) != 0; }},
    {{area::control, "virtualization-exception information address", 1},
     [](W w) { return (w.secondary & secondary::ept_violation_ve) != 0; }},
    {{area::control, "sub-page-permission-table pointer", 1},
     [](W w) { return (w.secondary & secondary::sub_page_write_permissions_for_ept) != 0; }},
    {{area::control, "PASID-directory addresses", 2},
     [](W w) { return (w.secondary & secondary::pasid_translation) != 0; }},
    {{area::control, "VM-function controls", 1},
     [](W w) { return (w.secondary & secondary::enable_vm_functions) != 0; }},
    {{area::control, "EPTP-list address", 1},
     [](W w) {
       return (w.secondary & secondary::enable_vm_functions) != 0 && w.v.any(field::vm_function_controls, 1);
     }},
    {{area::control, "TSC multiplier", 1}, [](W w) { return (w.secondary & secondary::use_tsc_scaling) != 0; }},
    {{area::control, "PID-pointer table address and last index", 2},
     [](W w) { return (w.tertiary & tertiary::ipi_virtualization) != 0; }},
    {{area::control, "HLAT pointer", 1}, [](W w) { return (w.tertiary & tertiary::enable_hlat) != 0; }},
    {{area::control, "virtual-timer vector", 1},
     [](W w) { return (w.tertiary & tertiary::apic_timer_virtualization) != 0; }},
    {{area::control, "VM-entry interruption information", 1}, always},
    {{area::control, "VM-entry exception error code", 1}, [](W w) { return w.event.valid && w.event.error_code; }},
    {{area::control, "VM-entry instruction length", 1}, [](W w) { return has_instruction_length(w.event); }},

    {{area::host, "CR0, CR3, CR4", 3}, always},
    {{area::host, "SYSENTER_ESP and SYSENTER_EIP", 2}, always},
    {{area::host, "selectors", 7}, always},
    {{area::host, "FS, GS, TR, GDTR and IDTR bases", 5}, always},
    {{area::host, "RIP", 1}, always},
    {{area::host, "IA32_PERF_GLOBAL_CTRL", 1},
     [](W w) { return (w.vm_exit & vm_exit_control::load_ia32_perf_global_ctrl) != 0; }},
    {{area::host, "IA32_PAT", 1}, [](W w) { return (w.vm_exit & vm_exit_control::load_ia32_pat) != 0; }},
    {{area::host, "IA32_EFER", 1}, [](W w) { return (w.vm_exit & vm_exit_control::load_ia32_efer) != 0; }},
    {{area::host, "CET state", 3}, [](W w) { return (w.vm_exit & vm_exit_control::load_cet_state) != 0; }},
    {{area::host, "IA32_PKRS", 1}, [](W w) { return (w.vm_exit & vm_exit_control::load_pkrs) != 0; }},
    {{area::host, "FRED MSRs", 8}, [](W w) { return (w.vm_exit_2 & vm_exit_control_2::load_fred) != 0; }},
    {{area::host, "IA32_SPEC_CTRL", 1},
     [](W w) { return (w.vm_exit_2 & vm_exit_control_2::load_ia32_spec_ctrl) != 0; }},

    {{area::guest, "CR0, CR3, CR4", 3}, always},
    {{area::guest, "SYSENTER_ESP and SYSENTER_EIP", 2}, always},
    {{area::guest, "segment registers", 32}, always},
    {{area::guest, "GDTR and IDTR", 4}, always},
    {{area::guest, "RIP and RFLAGS", 2}, always},
    {{area::guest, "activity, interruptibility, pending debug exceptions, link pointer", 4}, always},
    {{area::guest, "DR7 and IA32_DEBUGCTL", 2},
     [](W w) { return (w.vm_entry & vm_entry_control::load_debug_controls) != 0; }},
    {{area::guest, "IA32_PERF_GLOBAL_CTRL", 1},
     [](W w) { return (w.vm_entry & vm_entry_control::load_ia32_perf_global_ctrl) != 0; }},
    {{area::guest, "IA32_PAT", 1}, [](W w) { return (w.vm_entry & vm_entry_control::load_ia32_pat) != 0; }},
    {{area::guest, "IA32_EFER", 1}, [](W w) { return (w.vm_entry & vm_entry_control::load_ia32_efer) != 0; }},
    {{area::guest, "IA32_BNDCFGS", 1}, [](W w) { return (w.vm_entry & vm_entry_control::load_ia32_bndcfgs) != 0; }},
    {{area::guest, "IA32_RTIT_CTL", 1}, [](W w) { return (w.vm_entry & vm_entry_control::load_ia32_rtit_ctl) != 0; }},
    {{area::guest, "UINV", 1}, [](W w) { return (w.vm_entry & vm_entry_control::load_uinv) != 0; }},
    {{area::guest, "CET state", 3}, [](W w) { return (w.vm_entry & vm_entry_control::load_cet_state) != 0; }},
    {{area::guest, "IA32_LBR_CTL", 1},
     [](W w) { return (w.vm_entry & vm_entry_control::load_guest_ia32_lbr_ctl) != 0; }},
    {{area::guest, "IA32_PKRS", 1}, [](W w) { return (w.vm_entry & vm_entry_control::load_pkrs) != 0; }},
    {{area::guest, "FRED MSRs", 8}, [](W w) { return (w.vm_entry & vm_entry_control::load_fred) != 0; }},
    {{area::guest, "IA32_SPEC_CTRL", 1}, [](W w) { return (w.vm_entry & vm_entry_control::load_ia32_spec_ctrl) != 0; }},
    {{area::guest, "PDPTEs", 4},
     [](W w) {
       constexpr std::uint64_t pg = 1u << 31;
       constexpr std::uint64_t pae = 1u << 5;
       return (w.secondary & secondary::enable_ept) != 0 && w.v.any(field::guest_cr0, pg) &&
              w.v.any(field::guest_cr4, pae) && (w.vm_entry & vm_entry_control::ia_32e_mode_guest) == 0;
     }},
};

constexpr auto make_checked_fields() {
  std::array<checked_fields, std::size(checked)> rows{};
  for (std::size_t n = 0; n < std::size(checked); ++n) rows[n] = checked[n].fields;
  return rows;
}
constexpr auto checked_table = make_checked_fields();

// Unrolled, so that the conditions are inlined.
template <area Where, std::size_t... I>
unsigned count_checked(W w, std::index_sequence<I...>) {
  return (0u + ... + (checked[I].fields.where == Where && checked[I].checked(w) ? checked[I].fields.fields : 0u));
}
template <area Where>
unsigned count_checked(W w) {
  return count_checked<Where>(w, std::make_index_sequence<std::size(checked)>{});
}

bool reads_vtpr(W w) {
  return (w.primary & primary::use_tpr_shadow) != 0 &&
         (w.secondary & (secondary::virtual_interrupt_delivery | secondary::virtualize_apic_accesses)) == 0;
}

unsigned list_entries(const vmcs& v, field count, const capabilities& caps) {
  return msr_entries_processed(static_cast<std::uint32_t>(v.read(count)), caps);
}

unsigned invalidations(const vmcs& v) { return (secondary_controls(v) & secondary::enable_vpid) != 0 ? 0 : 1; }

// The host's paging as it will be.
bool pae_host(const vmcs& v) {
  constexpr std::uint64_t pg = 1u << 31;
  constexpr std::uint64_t pae = 1u << 5;
  return v.any(field::host_cr0, pg) && v.any(field::host_cr4, pae) &&
         !v.any(field::primary_vm_exit_controls, vm_exit_control::host_address_space_size);
}

void add_host_loading(transition_work& w, const vmcs& v, const capabilities& caps) {
  w.host_fields_loaded = host_fields_loaded(v);
  w.pdptes_loaded = pae_host(v) ? 4 : 0;
  w.translations_invalidated = invalidations(v);
  w.msrs_loaded = list_entries(v, field::vm_exit_msr_load_count, caps);
}

}  // namespace

const transition_step_info* transition_step_table() noexcept { return steps; }
const char* name_of(transition_step s) noexcept { return steps[static_cast<std::size_t>(s)].name; }

const checked_fields* checked_fields_table() noexcept { return checked_table.data(); }
std::size_t checked_fields_table_size() noexcept { return checked_table.size(); }

transition_work entry_work(const vmcs& v, const capabilities& caps) noexcept {
  const words w = words_of(v);
  transition_work out;
  out.control_fields_checked = count_checked<area::control>(w);
  out.host_fields_checked = count_checked<area::host>(w);
  out.guest_fields_checked = count_checked<area::guest>(w);
  out.checks_in_memory = (reads_vtpr(w) ? 1u : 0u) + (v.read(field::vmcs_link_pointer) != no_vmcs ? 1u : 0u);
  out.guest_fields_loaded = guest_fields_loaded(v);
  processor_state without_paging;
  without_paging.cr0 = 0;
  out.pdptes_loaded = guest_pdptes_in_memory(v, without_paging) ? 4 : 0;
  out.msrs_loaded = list_entries(v, field::vm_entry_msr_load_count, caps);
  out.translations_invalidated = invalidations(v);
  out.events_injected =
      is_injecting(static_cast<std::uint32_t>(v.read(field::vm_entry_interruption_information))) ? 1 : 0;
  return out;
}

transition_work exit_work(const vmcs& v, const processor_state& p, const capabilities& caps) noexcept {
  transition_work out;
  out.information_fields_written = recorded_fields(exit_info{});
  out.guest_fields_saved = guest_fields_saved(v, p, caps);
  out.msrs_stored = list_entries(v, field::vm_exit_msr_store_count, caps);
  add_host_loading(out, v, caps);
  return out;
}

transition_work failed_entry_work(const vmcs& v, const capabilities& caps) noexcept {
  exit_info failure;
  failure.entry_failure = true;
  transition_work out;
  out.information_fields_written = recorded_fields(failure);
  add_host_loading(out, v, caps);
  return out;
}

unsigned bitmap_pages(const vmcs& v) noexcept {
  return ((primary_controls(v) & primary::use_io_bitmaps) != 0 ? 2u : 0u) +
         ((primary_controls(v) & primary::use_msr_bitmaps) != 0 ? 1u : 0u) +
         ((secondary_controls(v) & secondary::vmcs_shadowing) != 0 ? 2u : 0u);
}

}  // namespace vmxsys::vmx
