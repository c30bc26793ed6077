#include "user_wait.hpp"

#include <vmxsys/vmx/events/tsc.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>
#include <vmxsys/vmx/vmcs/event.hpp>

namespace vmxsys::vmx {

user_wait user_wait_of(const vmcs& v, std::uint64_t tsc, std::uint64_t deadline, std::uint32_t operand,
                       std::uint32_t control) noexcept {
  const std::uint64_t now = guest_tsc(v, tsc);
  const std::uint64_t limit = control & umwait_control::maximum_time;
  user_wait wait;
  wait.virtual_delay = deadline > now ? deadline - now : 0;
  if (limit != 0 && limit < wait.virtual_delay) {
    wait.virtual_delay = limit;
    wait.limited = true;
  }
  wait.physical_delay = real_duration(v, wait.virtual_delay);
  const bool light = (operand & 1) != 0 || (control & umwait_control::c0_2_disabled) != 0;
  wait.state = light ? user_wait_state::c0_1 : user_wait_state::c0_2;
  return wait;
}

bool mwait_sleeps(const vmcs& v, std::uint32_t ecx, std::uint64_t rflags, bool virtual_interrupt) noexcept {
  if ((ecx & mwait_break_on_interrupt) == 0 || (rflags & rflags_bits::interrupt_flag) != 0) return true;
  return (primary_controls(v) & primary::interrupt_window_exiting) == 0 && !virtual_interrupt;
}

bool interrupt_ends_mwait(const vmcs& v, std::uint32_t ecx, std::uint64_t rflags) noexcept {
  return (pin_controls(v) & pin_based::external_interrupt_exiting) != 0 ||
         (rflags & rflags_bits::interrupt_flag) != 0 || (ecx & mwait_break_on_interrupt) != 0;
}

}  // namespace vmxsys::vmx
