#include "exception.hpp"

namespace vmxsys::vmx {

namespace {

constexpr bool is_software(event_type type) {
  return type == event_type::software_interrupt || type == event_type::privileged_software_exception ||
         type == event_type::software_exception;
}

void report_original(exit_info& exit, const event_in_delivery& delivering, delivery_stop stop) {
  const vectoring original = vectoring_information(delivering, stop);
  exit.idt_vectoring_information = original.information;
  exit.idt_vectoring_error_code = original.error_code;
}

exception_outcome exit_with(std::uint8_t vector, event_type type, bool error_code_valid, std::uint32_t error_code,
                            std::uint64_t qualification) {
  exception_outcome outcome;
  outcome.what = exception_outcome::kind::vm_exit;
  outcome.vector = vector;
  outcome.exit.reason = exit_reason::exception_or_nmi;
  outcome.exit.qualification = qualification;
  outcome.exit.interruption_information = encode({vector, type, error_code_valid, false, false, true});
  if (error_code_valid) outcome.exit.interruption_error_code = error_code;
  return outcome;
}

exception_outcome deliver(std::uint8_t vector, std::uint32_t error_code) {
  exception_outcome outcome;
  outcome.vector = vector;
  outcome.error_code = error_code;
  return outcome;
}

}  // namespace

bool exception_exits(const vmcs& v, unsigned vector, std::uint32_t error_code) noexcept {
  const bool bit = (v.read(field::exception_bitmap) >> (vector & 31) & 1) != 0;
  if (vector != exception_vector::page_fault) return bit;
  const bool match =
      (error_code & v.read(field::page_fault_error_code_mask)) == v.read(field::page_fault_error_code_match);
  return match == bit;
}

exception_outcome raise_exception(const vmcs& v, const guest_exception& exception, const event_in_delivery& delivering,
                                  std::uint32_t delivering_length) noexcept {
  const event_information& first = delivering.event;
  const bool with_code =
      has_error_code(exception.vector) && !exception.real_mode && exception.type == event_type::hardware_exception;
  if (exception_exits(v, exception.vector, exception.error_code)) {
    exception_outcome outcome =
        exit_with(exception.vector, exception.type, with_code, exception.error_code, exception.qualification);
    report_original(outcome.exit, delivering, delivery_stop::exception);
    if (first.valid && is_software(first.type))
      outcome.exit.instruction_length = delivering_length;
    else if (is_software(exception.type))
      outcome.exit.instruction_length = exception.instruction_length;
    return outcome;
  }
  const escalation combined =
      first.valid ? escalate(class_of_event(first), class_of_exception(exception.vector)) : escalation::serial;
  switch (combined) {
    case escalation::double_fault:
      if (exception_exits(v, exception_vector::double_fault, 0))
        return exit_with(exception_vector::double_fault, event_type::hardware_exception, !exception.real_mode, 0, 0);
      return deliver(exception_vector::double_fault, 0);
    case escalation::triple_fault: {
      exception_outcome outcome;
      outcome.what = exception_outcome::kind::vm_exit;
      outcome.exit.reason = exit_reason::triple_fault;
      return outcome;
    }
    case escalation::serial:
      break;
  }
  return deliver(exception.vector, with_code ? exception.error_code : 0);
}

exit_info task_switch_exit(const qualification::task_switch& what, std::uint32_t instruction_length,
                           const event_in_delivery& delivering) noexcept {
  exit_info exit;
  exit.reason = exit_reason::task_switch;
  exit.qualification = encode(what);
  report_original(exit, delivering, delivery_stop::task_gate);
  if (what.source != qualification::task_switch_source::idt_gate ||
      (delivering.event.valid && is_software(delivering.event.type)))
    exit.instruction_length = instruction_length;
  return exit;
}

}  // namespace vmxsys::vmx
