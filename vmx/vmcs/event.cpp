#include "event.hpp"

namespace vmxsys::vmx {

guest_blocking blocking_of(const vmcs& v) noexcept {
  return {v.read(field::guest_rflags), static_cast<std::uint32_t>(v.read(field::guest_interruptibility_state))};
}

activity_state activity_of(const vmcs& v) noexcept {
  return static_cast<activity_state>(v.read(field::guest_activity_state) & 3);
}

bool injectable(const event_information& e, activity_state activity) noexcept {
  constexpr unsigned debug = 1;
  constexpr unsigned machine_check = 18;
  const bool nmi = e.type == event_type::nmi;
  const bool exception = e.type == event_type::hardware_exception;
  switch (activity) {
    case activity_state::active:
      return true;
    case activity_state::hlt:
      return nmi || e.type == event_type::external_interrupt ||
             (exception && (e.vector == debug || e.vector == machine_check)) ||
             (e.type == event_type::other_event && e.vector == 0);
    case activity_state::shutdown:
      return nmi || (exception && e.vector == machine_check);
    case activity_state::wait_for_sipi:
      return false;
  }
  return false;
}

const char* name_of(event_type type) noexcept {
  switch (type) {
    case event_type::external_interrupt:
      return "external interrupt";
    case event_type::nmi:
      return "NMI";
    case event_type::hardware_exception:
      return "hardware exception";
    case event_type::software_interrupt:
      return "software interrupt";
    case event_type::privileged_software_exception:
      return "privileged software exception";
    case event_type::software_exception:
      return "software exception";
    case event_type::other_event:
      return "other event";
  }
  return "reserved";
}

const char* name_of(activity_state activity) noexcept {
  switch (activity) {
    case activity_state::active:
      return "active";
    case activity_state::hlt:
      return "HLT";
    case activity_state::shutdown:
      return "shutdown";
    case activity_state::wait_for_sipi:
      return "wait-for-SIPI";
  }
  return "?";
}

}  // namespace vmxsys::vmx
