#include "idt_vectoring.hpp"

namespace vmxsys::vmx {

namespace {

constexpr delivery_stop_rule table[delivery_stop_count] = {
    {delivery_stop::same_event, "the event itself", false},
    {delivery_stop::exception, "another exception", true},
    {delivery_stop::double_fault, "double fault", false},
    {delivery_stop::triple_fault, "triple fault", false},
    {delivery_stop::task_gate, "task gate in the IDT", true},
    {delivery_stop::apic_access, "APIC access", true},
    {delivery_stop::ept_violation, "EPT violation", true},
    {delivery_stop::ept_misconfiguration, "EPT misconfiguration", true},
    {delivery_stop::page_modification_log_full, "page-modification log full", true},
    {delivery_stop::spp_event, "SPP-related event", true},
    {delivery_stop::after_delivery, "after the delivery", false},
};

delivery_stop classify_event(const event_information& delivering, const event_information& exiting) {
  constexpr std::uint8_t double_fault = 8;
  if (!exiting.valid || (exiting.type == delivering.type && exiting.vector == delivering.vector))
    return delivery_stop::same_event;
  if (exiting.type != event_type::hardware_exception) return delivery_stop::after_delivery;
  return exiting.vector == double_fault ? delivery_stop::double_fault : delivery_stop::exception;
}

}  // namespace

const delivery_stop_rule* delivery_stop_table() noexcept { return table; }

delivery_stop classify(const event_in_delivery& delivering, const exit_info& exit) noexcept {
  switch (exit.reason) {
    case exit_reason::exception_or_nmi:
    case exit_reason::external_interrupt:
      return classify_event(delivering.event, decode_event(exit.interruption_information));
    case exit_reason::triple_fault:
      return delivery_stop::triple_fault;
    case exit_reason::task_switch:
      return delivery_stop::task_gate;
    case exit_reason::apic_access:
      return delivery_stop::apic_access;
    case exit_reason::ept_violation:
      return delivery_stop::ept_violation;
    case exit_reason::ept_misconfiguration:
      return delivery_stop::ept_misconfiguration;
    case exit_reason::page_modification_log_full:
      return delivery_stop::page_modification_log_full;
    case exit_reason::spp_event:
      return delivery_stop::spp_event;
    default:
      return delivery_stop::after_delivery;
  }
}

vectoring vectoring_information(const event_in_delivery& delivering, delivery_stop stop) noexcept {
  if (!delivering.event.valid || !table[static_cast<std::size_t>(stop)].valid) return {};
  event_information event = delivering.event;
  event.bit_12 = false;  // undefined in 4408H, reserved where it is copied to
  return {encode(event), event.error_code ? delivering.error_code : 0};
}

}  // namespace vmxsys::vmx
