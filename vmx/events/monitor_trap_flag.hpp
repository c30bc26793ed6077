#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace vmxsys::vmx {

// The monitor trap flag, SDM Vol. 3C §28.5.2: a VM exit (basic reason 37) after one guest instruction. It is decided at
// the first thing that happens after VM entry, and becomes pending on the boundary that follows it.

/// What happens first after a VM entry.
enum class first_step : std::uint8_t {
  injects_vectored_event,
  injects_pending_mtf,  ///< type 7 ("other event"), vector 0
  event_before_instruction,
  rep_iteration,
  rep_fault,
  xbegin,
  instruction_faults,
  instruction_retires,
};

/// The boundary at which the MTF exit is pending, by what lies before it.
enum class mtf_boundary : std::uint8_t {
  none,
  before_first_instruction,  ///< of an injected event: after its delivery, RIP = the handler's first instruction
  after_delivery,            ///< of the event, or of the fault (or of an exception nested in it)
  after_iteration,           ///< the first one; RIP still at the string instruction unless it was the last
  fallback_address,          ///< XBEGIN: as if the transaction had aborted at once
  after_instruction,
};

struct mtf_rule {
  first_step step;
  const char* name;
  const char* section;
  bool needs_control;  ///< only with the control "monitor trap flag"
  mtf_boundary boundary;
};

inline constexpr std::array<mtf_rule, 8> mtf_table{{
    {first_step::injects_vectored_event, "entry injects a vectored event", "Vol. 3C §28.5.2", true,
     mtf_boundary::before_first_instruction},
    {first_step::injects_pending_mtf, "entry injects a pending MTF exit", "Vol. 3C §28.5.2, §29.6.2", false,
     mtf_boundary::before_first_instruction},
    {first_step::event_before_instruction, "pending event delivered before the first instruction", "Vol. 3C §28.5.2",
     true, mtf_boundary::after_delivery},
    {first_step::rep_iteration, "REP string instruction, first iteration completes", "Vol. 3C §28.5.2", true,
     mtf_boundary::after_iteration},
    {first_step::rep_fault, "REP string instruction, first iteration faults", "Vol. 3C §28.5.2", true,
     mtf_boundary::after_delivery},
    {first_step::xbegin, "XBEGIN", "Vol. 3C §28.5.2", true, mtf_boundary::fallback_address},
    {first_step::instruction_faults, "other instruction faults", "Vol. 3C §28.5.2", true, mtf_boundary::after_delivery},
    {first_step::instruction_retires, "other instruction retires", "Vol. 3C §28.5.2", true,
     mtf_boundary::after_instruction},
}};

/// `control`: "monitor trap flag". A step that ends in a VM exit of its own leaves no MTF exit pending: do not ask. A
/// single-step trap due at the same boundary stays pending (BS): the MTF exit has the higher priority.
constexpr mtf_boundary mtf_pending(first_step step, bool control) noexcept {
  const mtf_rule& rule = mtf_table[static_cast<std::size_t>(step)];
  return control || !rule.needs_control ? rule.boundary : mtf_boundary::none;
}

}  // namespace vmxsys::vmx
