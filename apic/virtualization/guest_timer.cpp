#include "guest_timer.hpp"

namespace vmxsys::apic {

using vmx::field;

std::uint64_t read_guest_deadline(const vmx::vmcs& v) noexcept { return v.read(field::guest_deadline_shadow); }

guest_timer_state write_guest_deadline(vmx::vmcs& v, std::uint64_t& deadline, std::uint64_t value, std::uint64_t tsc,
                                       vmx::rounding round) noexcept {
  v.write(field::guest_deadline_shadow, value);
  if (value == 0) {
    deadline = 0;
    return guest_timer_state::disarmed;
  }
  const bool passed = value <= vmx::guest_tsc(v, tsc);
  const std::uint64_t at = passed ? tsc : vmx::host_tsc(v, value, round);
  // 0 would disarm: a counter at 0, or a deadline that lies before the start of the physical one.
  deadline = at == 0 ? 1 : at;
  return guest_timer_due(deadline, tsc) ? guest_timer_state::due : guest_timer_state::armed;
}

void guest_timer_event(const virtual_apic& a, std::uint64_t& deadline) {
  deadline = 0;
  a.v.write(field::guest_deadline_shadow, 0);
  request(a, virtual_operation::guest_timer, static_cast<std::uint8_t>(a.v.read(field::virtual_timer_vector)));
}

}  // namespace vmxsys::apic
