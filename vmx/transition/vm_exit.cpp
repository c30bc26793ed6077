#include "vm_exit.hpp"

#include <vmxsys/vmx/vmcs/pdpte.hpp>

namespace vmxsys::vmx {

namespace {

constexpr vmx_abort_info table[vmx_abort_count] = {
    {vmx_abort::saving_guest_msrs, "saving guest MSRs failed", "SDM Vol. 3C §30.4"},
    {vmx_abort::host_pdptes, "a host PDPTE is illegal", "SDM Vol. 3C §30.5.4"},
    {vmx_abort::corrupted_vmcs, "the current VMCS is corrupted", "SDM Vol. 3C §30.7"},
    {vmx_abort::loading_host_msrs, "loading host MSRs failed", "SDM Vol. 3C §30.6"},
    {vmx_abort::machine_check, "machine check during the VM exit", "SDM Vol. 3C §30.8"},
    {vmx_abort::leaving_ia_32e_mode, "a guest in IA-32e mode, a 32-bit host", "SDM Vol. 3C §30.5"},
};

void end_by(vmx_abort abort, const vmx_unit& unit, processor_state& p, exit_outcome& outcome) {
  enter_vmx_abort(unit, p, abort);
  outcome.abort = abort;
}

// Nothing of the host has been loaded yet.
void take_back_host(transition_work& work) {
  work.host_fields_loaded = 0;
  work.pdptes_loaded = 0;
  work.translations_invalidated = 0;
  work.msrs_loaded = 0;
}

// Host state and host MSRs, common to exits and failed entries. `outcome.work` holds what is planned; what an abort
// leaves undone is taken back.
void go_to_host(const vmx_unit& unit, processor_state& p, msr_interface& msrs, bool nmi_blocking,
                const exit_situation& at, const exit_options& options, exit_outcome& outcome) {
  const vmx_abort abort = switch_to_host(unit, p, at);
  if (abort != vmx_abort::none) {
    take_back_host(outcome.work);
    end_by(abort, unit, p, outcome);
    return;
  }
  p.nmi_blocking = nmi_blocking;
  outcome.loaded = load_host_msrs(*unit.state.current, unit.memory, msrs, unit.caps, options);
  outcome.work.msrs_loaded = outcome.loaded.done;
  if (!outcome.loaded) {
    end_by(vmx_abort::loading_host_msrs, unit, p, outcome);
    return;
  }
  unit.state.mode = operation::root;
}

}  // namespace

const vmx_abort_info* vmx_abort_table() noexcept { return table; }

const char* name_of(vmx_abort abort) noexcept {
  const auto number = static_cast<std::size_t>(abort);
  return number >= 1 && number <= vmx_abort_count ? table[number - 1].name : "none";
}

exit_outcome perform_vm_exit(const vmx_unit& unit, processor_state& p, msr_interface& msrs, const exit_info& exit,
                             const exit_situation& at, const exit_options& options) {
  exit_outcome outcome;
  if (vmcs_corrupted(unit)) {
    end_by(vmx_abort::corrupted_vmcs, unit, p, outcome);
    return outcome;
  }
  vmcs& v = *unit.state.current;
  outcome.work = exit_work(v, p, unit.caps);

  record_exit(v, exit);
  save_guest_state(v, p, unit.caps, exit, at, options);
  outcome.stored = store_guest_msrs(v, unit.memory, msrs, unit.caps, options);
  outcome.work.msrs_stored = outcome.stored.done;
  if (!outcome.stored) {
    take_back_host(outcome.work);
    end_by(vmx_abort::saving_guest_msrs, unit, p, outcome);
    return outcome;
  }
  go_to_host(unit, p, msrs, p.nmi_blocking || exit_blocks_nmi(exit), at, options, outcome);
  return outcome;
}

exit_outcome perform_failed_entry(const vmx_unit& unit, processor_state& p, msr_interface& msrs, const exit_info& exit,
                                  bool nmi_blocking, const exit_options& options) {
  vmcs& v = *unit.state.current;
  exit_outcome outcome;
  outcome.work = failed_entry_work(v, unit.caps);
  record_exit(v, exit);
  go_to_host(unit, p, msrs, nmi_blocking, {}, options, outcome);
  return outcome;
}

bool vmcs_corrupted(const vmx_unit& unit) noexcept {
  const vmcs* v = unit.state.current;
  return v == nullptr || v->is_shadow() || v->revision() != unit.caps.revision();
}

vmx_abort switch_to_host(const vmx_unit& unit, processor_state& p, const exit_situation& at) {
  const vmcs& v = *unit.state.current;
  if (leaves_ia_32e_mode(v, p)) return vmx_abort::leaving_ia_32e_mode;
  if (at.machine_check) return vmx_abort::machine_check;
  load_host_state(v, p, unit.caps);
  if (host_pdptes_in_memory(p) && !load_pdptes(p, unit.memory, unit.caps)) return vmx_abort::host_pdptes;
  return vmx_abort::none;
}

void enter_vmx_abort(const vmx_unit& unit, processor_state& p, vmx_abort abort) {
  const auto indicator = static_cast<std::uint32_t>(abort);
  if (unit.state.current != nullptr) unit.state.current->set_abort_indicator(indicator);
  if (unit.state.has_current()) unit.memory.write(unit.state.current_vmcs + vmcs_region::abort_indicator, indicator);
  p.activity = activity_state::shutdown;
  p.vmx_abort = static_cast<std::uint8_t>(abort);
  unit.state.mode = operation::root;
}

exit_info failed_machine_check_exit() noexcept {
  exit_info exit;
  exit.reason = exit_reason::entry_failure_machine_check;
  exit.entry_failure = true;
  return exit;
}

}  // namespace vmxsys::vmx
