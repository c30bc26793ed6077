#include "boundary.hpp"

#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

#include "exception.hpp"
#include "interrupt_window.hpp"
#include "nmi.hpp"

namespace vmxsys::vmx {

pending_events due_events(const vmcs& v, const boundary_state& state, const boundary_switches& switches) noexcept {
  using e = boundary_event;
  const guest_blocking& held = state.blocking;
  const bool window = held.interrupt_window_open();
  const bool external = state.external_interrupt &&
                        respond_to_external_interrupt(v, state.activity, held, switches.shadow_holds_interrupt_exit) !=
                            interrupt_response::held;
  pending_events due;
  due.set(e::machine_check, state.machine_check)
      .set(e::trap_like_exit, state.trap_like_exit)
      .set(e::smi, state.smi && (held.interruptibility & interruptibility::smi) == 0)
      .set(e::init, state.init)
      .set(e::sipi, state.sipi)
      .set(e::monitor_trap_flag, state.monitor_trap_flag)
      .set(e::debug_trap,
           debug_exception_pending(state.pending_debug) && (held.interruptibility & interruptibility::mov_ss) == 0)
      .set(e::preemption_timer, state.preemption_timer)
      .set(e::nmi_window, nmi_window_exit_due(v, held, switches.sti_blocks_nmi))
      .set(e::nmi, state.nmi && nmi_open(v, held, switches.sti_blocks_nmi))
      .set(e::guest_timer, state.guest_timer)
      .set(e::interrupt_window, interrupt_window_exit_due(v, held))
      .set(e::virtual_interrupt,
           state.virtual_interrupt && window && (primary_controls(v) & primary::interrupt_window_exiting) == 0)
      .set(e::external_interrupt, external)
      .set(e::user_interrupt, state.user_interrupt);
  return unblocked(due, state.activity);
}

boundary_outcome outcome_of(const vmcs& v, boundary_event event) noexcept {
  constexpr unsigned debug = 1;
  constexpr unsigned machine_check = 18;
  const auto exit = [](exit_reason reason) { return boundary_outcome{boundary_action::vm_exit, reason}; };
  const auto exit_if = [&](bool exits, exit_reason reason) {
    return exits ? exit(reason) : boundary_outcome{boundary_action::deliver, exit_reason::exception_or_nmi};
  };
  switch (event) {
    case boundary_event::machine_check:
      return exit_if(exception_exits(v, machine_check, 0), exit_reason::exception_or_nmi);
    case boundary_event::trap_like_exit:
      return exit(exit_reason::tpr_below_threshold);
    case boundary_event::init:
      return exit(exit_reason::init_signal);
    case boundary_event::sipi:
      return exit(exit_reason::startup_ipi);
    case boundary_event::monitor_trap_flag:
      return exit(exit_reason::monitor_trap_flag);
    case boundary_event::debug_trap:
      return exit_if(exception_exits(v, debug, 0), exit_reason::exception_or_nmi);
    case boundary_event::preemption_timer:
      return exit(exit_reason::preemption_timer);
    case boundary_event::nmi_window:
      return exit(exit_reason::nmi_window);
    case boundary_event::nmi:
      return exit_if(nmi_exits(v), exit_reason::exception_or_nmi);
    case boundary_event::interrupt_window:
      return exit(exit_reason::interrupt_window);
    case boundary_event::external_interrupt:
      return exit_if((pin_controls(v) & pin_based::external_interrupt_exiting) != 0, exit_reason::external_interrupt);
    case boundary_event::smi:
    case boundary_event::guest_timer:
      return {boundary_action::process, exit_reason::exception_or_nmi};
    case boundary_event::virtual_interrupt:
    case boundary_event::user_interrupt:
      return {boundary_action::deliver, exit_reason::exception_or_nmi};
    case boundary_event::none:
      break;
  }
  return {};
}

}  // namespace vmxsys::vmx
