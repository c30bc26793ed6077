#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/vmcs/event.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/exit_qualification.hpp>
#include <vmxsys/vmx/vmcs/register_bits.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "idt_vectoring.hpp"

namespace vmxsys::vmx {

// Exceptions of a guest: which exit, what happens when one strikes during the delivery of another event, and what the
// exit says. SDM Vol. 3C §28.2, §30.2; Vol. 3A §6.15, "Double Fault".

namespace exception_vector {
inline constexpr std::uint8_t divide_error = 0;
inline constexpr std::uint8_t debug = 1;
inline constexpr std::uint8_t nmi = 2;
inline constexpr std::uint8_t breakpoint = 3;
inline constexpr std::uint8_t overflow = 4;
inline constexpr std::uint8_t invalid_opcode = 6;
inline constexpr std::uint8_t double_fault = 8;
inline constexpr std::uint8_t invalid_tss = 10;
inline constexpr std::uint8_t segment_not_present = 11;
inline constexpr std::uint8_t stack_fault = 12;
inline constexpr std::uint8_t general_protection = 13;
inline constexpr std::uint8_t page_fault = 14;
inline constexpr std::uint8_t alignment_check = 17;
inline constexpr std::uint8_t machine_check = 18;
inline constexpr std::uint8_t virtualization = 20;
inline constexpr std::uint8_t control_protection = 21;
}  // namespace exception_vector

/// The vectors that push an error code in protected mode. SDM Vol. 3A §6.3.1.
constexpr bool has_error_code(unsigned vector) noexcept {
  constexpr std::uint32_t with = 1u << exception_vector::double_fault | 1u << exception_vector::invalid_tss |
                                 1u << exception_vector::segment_not_present | 1u << exception_vector::stack_fault |
                                 1u << exception_vector::general_protection | 1u << exception_vector::page_fault |
                                 1u << exception_vector::alignment_check | 1u << exception_vector::control_protection;
  return vector < 32 && (with >> vector & 1) != 0;
}

/// Does a guest exception exit? `error_code` is looked at for #PF (vector 14) only: where it matches (masked by the
/// page-fault error-code mask) bit 14 of the bitmap decides, elsewhere its inverse. SDM Vol. 3C §28.2.
bool exception_exits(const vmcs& v, unsigned vector, std::uint32_t error_code) noexcept;

/// Classes for combining exceptions; SDM Vol. 3A §6.15. Interrupts, NMIs and INT n count as benign.
enum class exception_class : std::uint8_t { benign, contributory, page_fault, double_fault };
constexpr exception_class class_of_exception(unsigned vector) noexcept {
  switch (vector) {
    case exception_vector::divide_error:
    case exception_vector::invalid_tss:
    case exception_vector::segment_not_present:
    case exception_vector::stack_fault:
    case exception_vector::general_protection:
    case exception_vector::control_protection:
      return exception_class::contributory;
    case exception_vector::page_fault:
    case exception_vector::virtualization:
      return exception_class::page_fault;
    case exception_vector::double_fault:
      return exception_class::double_fault;
    default:
      return exception_class::benign;
  }
}
/// Of an event being delivered.
constexpr exception_class class_of_event(const event_information& e) noexcept {
  return e.type == event_type::hardware_exception ? class_of_exception(e.vector) : exception_class::benign;
}

/// What a second exception during the delivery of a first event becomes. `serial`: the second one is delivered.
enum class escalation : std::uint8_t { serial, double_fault, triple_fault };

struct escalation_rule {
  exception_class first;
  exception_class second;
  const char* name;
  escalation result;
};

/// SDM Vol. 3A §6.15, table 6-5.
inline constexpr std::array<escalation_rule, 12> escalation_table{{
    {exception_class::benign, exception_class::benign, "benign after benign", escalation::serial},
    {exception_class::benign, exception_class::contributory, "contributory after benign", escalation::serial},
    {exception_class::benign, exception_class::page_fault, "page fault after benign", escalation::serial},
    {exception_class::contributory, exception_class::benign, "benign after contributory", escalation::serial},
    {exception_class::contributory, exception_class::contributory, "contributory after contributory",
     escalation::double_fault},
    {exception_class::contributory, exception_class::page_fault, "page fault after contributory", escalation::serial},
    {exception_class::page_fault, exception_class::benign, "benign after page fault", escalation::serial},
    {exception_class::page_fault, exception_class::contributory, "contributory after page fault",
     escalation::double_fault},
    {exception_class::page_fault, exception_class::page_fault, "page fault after page fault", escalation::double_fault},
    {exception_class::double_fault, exception_class::benign, "benign after double fault", escalation::serial},
    {exception_class::double_fault, exception_class::contributory, "contributory after double fault",
     escalation::triple_fault},
    {exception_class::double_fault, exception_class::page_fault, "page fault after double fault",
     escalation::triple_fault},
}};

/// No second exception is a #DF; asked all the same, one counts as contributory.
constexpr escalation escalate(exception_class first, exception_class second) noexcept {
  if (second == exception_class::double_fault) second = exception_class::contributory;
  return escalation_table[static_cast<std::size_t>(first) * 3 + static_cast<std::size_t>(second)].result;
}

/// An exception as it arises: vector 0 .. 31, its error code where it has one, its type (3 for faults, 5 for INT1, 6
/// for INT3 and INTO).
struct guest_exception {
  std::uint8_t vector = 0;
  std::uint32_t error_code = 0;
  event_type type = event_type::hardware_exception;
  /// Of the exit: the faulting address for #PF, `debug_qualification` or `qualification::debug_conditions` for #DB,
  /// else 0.
  std::uint64_t qualification = 0;
  std::uint32_t instruction_length = 0;  ///< reported for types 5 and 6 only
  bool real_mode = false;                ///< CR0.PE = 0: no error code
};

/// `deliver`: `vector` through the guest's IDT with `error_code` (a #DF with 0). `vm_exit`: `exit`, which includes the
/// IDT-vectoring information where the exit happens during delivery.
struct exception_outcome {
  enum class kind : std::uint8_t { deliver, vm_exit };
  kind what = kind::deliver;
  std::uint8_t vector = 0;
  std::uint32_t error_code = 0;
  exit_info exit;
};

/// What a guest exception does. `delivering`: the event whose delivery was under way (`valid` false for none);
/// `delivering_length`: of its instruction, for types 4 to 6.
///
/// The exception bitmap is asked for the exception itself before it combines with the event being delivered; a #DF that
/// the combination gives is asked again, and then no original event is reported; neither for a triple fault (exit 2).
/// SDM Vol. 3C §28.2, §30.2.4.
exception_outcome raise_exception(const vmcs& v, const guest_exception& exception,
                                  const event_in_delivery& delivering = {},
                                  std::uint32_t delivering_length = 0) noexcept;

/// The qualification of a #DB for pending debug exceptions (field 6822H): all bits but 12, which only says that they
/// count. An intercepted #DB leaves DR6 as it was. SDM Vol. 3C §30.2.1.
constexpr std::uint64_t debug_qualification(std::uint64_t pending_debug) noexcept {
  return pending_debug & pending_debug_bits::defined & ~pending_debug_bits::enabled_breakpoint;
}

/// Every task switch exits, basic reason 9. `delivering` as above; a software event or an instruction reports its
/// length.
exit_info task_switch_exit(const qualification::task_switch& what, std::uint32_t instruction_length,
                           const event_in_delivery& delivering = {}) noexcept;

}  // namespace vmxsys::vmx
