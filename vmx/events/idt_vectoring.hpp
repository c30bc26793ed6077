#pragma once
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/vmcs/event.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>

namespace vmxsys::vmx {

/// What put an end to the delivery of an event through the IDT with a VM exit. SDM Vol. 3C §30.2.4.
enum class delivery_stop : std::uint8_t {
  same_event,    ///< the event itself exits: exception bitmap, NMI exiting, external-interrupt exiting
  exception,     ///< an exception met on the way exits (not #DF)
  double_fault,  ///< the delivery has become #DF, and that exits
  triple_fault,
  task_gate,
  apic_access,
  ept_violation,
  ept_misconfiguration,
  page_modification_log_full,
  spp_event,
  /// The delivery is complete: the exit comes with the handler's first fetch, or at the boundary before it.
  after_delivery,
};
inline constexpr std::size_t delivery_stop_count = static_cast<std::size_t>(delivery_stop::after_delivery) + 1;

/// One row: is the IDT-vectoring information valid after such an exit?
struct delivery_stop_rule {
  delivery_stop stop;
  const char* name;
  bool valid;
};

/// By `delivery_stop`. Contiguous; `delivery_stop_count` rows.
const delivery_stop_rule* delivery_stop_table() noexcept;

/// The event in delivery when an exit happened; `event.valid` false: none was.
struct event_in_delivery {
  event_information event;
  std::uint32_t error_code = 0;
};

/// What the exit means to the delivery. An exit on the handler's first fetch looks like one on the way: there the
/// caller must say `after_delivery` himself, or have no event in delivery any more.
delivery_stop classify(const event_in_delivery& delivering, const exit_info& exit) noexcept;

/// IDT-vectoring information (4408H) and error code (440AH); 0 when not valid.
struct vectoring {
  std::uint32_t information = 0;
  std::uint32_t error_code = 0;
};

vectoring vectoring_information(const event_in_delivery& delivering, delivery_stop stop) noexcept;
inline vectoring vectoring_information(const event_in_delivery& delivering, const exit_info& exit) noexcept {
  return vectoring_information(delivering, classify(delivering, exit));
}

/// Puts it into the exit information.
inline void note_vectoring(exit_info& exit, const event_in_delivery& delivering) noexcept {
  const vectoring v = vectoring_information(delivering, exit);
  exit.idt_vectoring_information = v.information;
  exit.idt_vectoring_error_code = v.error_code;
}

}  // namespace vmxsys::vmx
