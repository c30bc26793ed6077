#include "vm_entry.hpp"

#include <utility>

#include <vmxsys/vmx/events/preemption_timer.hpp>
#include <vmxsys/vmx/events/tsc.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>
#include <vmxsys/vmx/vmcs/pdpte.hpp>

namespace vmxsys::vmx {

namespace {

void start_preemption_timer(const vmcs& v, const processor_state& p, const capabilities& caps, cycles now,
                            entered_guest& outcome) {
  if ((pin_controls(v) & pin_based::activate_vmx_preemption_timer) == 0) return;
  outcome.preemption_timer = p.preemption_timer;
  outcome.preemption_timer_expiry =
      preemption_timer_expiry(now, outcome.preemption_timer, caps.preemption_timer_shift());
}

// Records the failure and goes back to the host, whose NMI blocking was `nmi_blocking`.
void fail_entry(const vmx_unit& unit, processor_state& p, msr_interface& msrs, bool nmi_blocking,
                const exit_options& options, vm_entry_outcome& outcome) {
  const exit_outcome host = perform_failed_entry(unit, p, msrs, outcome.exit, nmi_blocking, options);
  outcome.abort = host.abort;
  outcome.work.events_injected = 0;
  outcome.work.msrs_loaded = outcome.loaded.done + host.work.msrs_loaded;
  outcome.work.information_fields_written = host.work.information_fields_written;
  outcome.work.host_fields_loaded = host.work.host_fields_loaded;
  outcome.work.pdptes_loaded += host.work.pdptes_loaded;
}

}  // namespace

vm_entry_outcome perform_vm_entry(const vmx_unit& unit, entry_instruction instruction, entry_context& context,
                                  processor_state& p, msr_interface& msrs, cycles now, const entry_situation& at,
                                  const exit_options& options) {
  execution_mode mode = mode_of(p);
  mode.a20_masked = at.a20_masked;
  mode.inside_smx = at.inside_smx;
  context.look_at(p);
  vm_entry_outcome outcome;
  outcome.result = check_entry(instruction, unit.state, mode, context);
  if (outcome.result && at.machine_check) {
    outcome.result.outcome = entry_outcome::failed_entry;
    outcome.result.reason = exit_reason::entry_failure_machine_check;
    outcome.result.check = "no machine check during the entry";
    outcome.result.section = "SDM Vol. 3C §29.9";
  }
  const bool failed = outcome.result.outcome == entry_outcome::failed_entry;
  if (!outcome.result && !failed) return outcome;

  const bool nmi_blocking = p.nmi_blocking;
  transition_work work = entry_work(*unit.state.current, unit.caps);
  if (failed) {
    work.guest_fields_loaded = work.pdptes_loaded = work.translations_invalidated = 0;
    outcome.exit = failed_entry_exit(outcome.result);
  } else {
    if (!guest_pdptes_in_memory(*unit.state.current, p)) work.pdptes_loaded = 0;
    static_cast<entered_guest&>(outcome) = enter_guest(unit, instruction, p, msrs, now, at.arrived, options);
    work.msrs_loaded = outcome.loaded.done;
    if (!outcome.loaded) {
      outcome.result = check_entry_msrs(outcome.loaded);
      outcome.exit = failed_msr_load_exit(outcome.loaded);
    }
  }
  outcome.work = work;
  if (!outcome.result) {
    fail_entry(unit, p, msrs, nmi_blocking, options, outcome);
    return outcome;
  }
  const vmcs& v = *unit.state.current;
  outcome.first = first_after_entry(v, outcome.after, outcome.boundary);
  outcome.guest_tsc = guest_tsc(v, now.count());
  return outcome;
}

entered_guest enter_guest(const vmx_unit& unit, entry_instruction instruction, processor_state& p, msr_interface& msrs,
                          cycles now, const boundary_state& arrived, const exit_options& options) {
  entered_guest outcome;
  const vmcs& v = *unit.state.current;
  const bool pdptes = guest_pdptes_in_memory(v, p);
  load_guest_state(v, p, unit.caps);
  if (pdptes) load_pdptes(p, unit.memory, unit.caps);  // the checks have found them legal
  outcome.loaded = load_guest_msrs(v, unit.memory, msrs, unit.caps, options);
  if (!outcome.loaded) return outcome;
  complete_entry(instruction, unit.state);
  outcome.after = after_entry(v);
  apply_injection(v, outcome.after, p);
  outcome.boundary = boundary_after_entry(v, unit.memory, outcome.after, p.rflags, arrived);
  // Blocked in root operation, not any more. SDM Vol. 3C §26.8.
  if (std::exchange(unit.state.latched_init, false)) outcome.boundary.init = true;
  start_preemption_timer(v, p, unit.caps, now, outcome);
  return outcome;
}

}  // namespace vmxsys::vmx
