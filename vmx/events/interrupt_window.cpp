#include "interrupt_window.hpp"

namespace vmxsys::vmx {

interrupt_response respond_to_external_interrupt(const vmcs& v, activity_state activity, const guest_blocking& blocking,
                                                 bool sti_blocks_exit) noexcept {
  if (respond(boundary_event::external_interrupt, activity) != response::acts) return interrupt_response::held;
  if ((pin_controls(v) & pin_based::external_interrupt_exiting) != 0) {
    const bool shadow = (blocking.interruptibility & (interruptibility::sti | interruptibility::mov_ss)) != 0;
    return shadow && sti_blocks_exit ? interrupt_response::held : interrupt_response::exit;
  }
  return blocking.interrupt_window_open() ? interrupt_response::deliver : interrupt_response::held;
}

exit_info external_interrupt_exit(const vmcs& v, std::uint8_t vector) noexcept {
  exit_info exit;
  exit.reason = exit_reason::external_interrupt;
  if (acknowledges_interrupt(v))
    exit.interruption_information = encode({vector, event_type::external_interrupt, false, false, false, true});
  return exit;
}

}  // namespace vmxsys::vmx
