#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/base/physical_memory.hpp>
#include <vmxsys/vmx/events/boundary.hpp>
#include <vmxsys/vmx/vmcs/event.hpp>
#include <vmxsys/vmx/vmcs/processor_state.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

namespace vmxsys::vmx {

// What a successful VM entry leaves behind, and what happens first; SDM Vol. 3C §29.6, §29.7. Blocking of NMIs, the
// shadows, the monitor trap flag and the priorities have their own tables (nmi.hpp, interrupt_shadow.hpp,
// monitor_trap_flag.hpp, boundary.hpp): here is what the injected event does to them, and what the entry itself makes
// pending.

/// What becomes of the pending debug exceptions of the VMCS. §29.7.3.
enum class debug_fate : std::uint8_t { kept, dropped, dropped_unless_mov_ss };

/// One kind of injected event, §29.6. `vectored`: delivered through the IDT; the processor is active and no longer in
/// the shadow of STI or MOV SS.
struct injection_rule {
  const char* name;
  bool vectored;
  debug_fate pending_debug;    ///< not vectored: see `activity_table`
  bool rip_after_instruction;  ///< pushed: guest RIP plus the VM-entry instruction length; else guest RIP
  bool blocks_nmis;            ///< virtual NMIs where the control "virtual NMIs" is 1
  bool ext;                    ///< EXT in the error code of a fault met while delivering it
  bool tests_gate_dpl;         ///< the gate's DPL must not be below CPL
};

/// Row 0: nothing is injected. Row 1: external interrupt. Rows 2 .. 7: the event type of that number; 7 with vector 0
/// only makes an MTF exit pending (with vectors 1 and 2 it is FRED's, which is not modelled).
inline constexpr std::array<injection_rule, 8> injection_table{{
    {"nothing is injected", false, debug_fate::kept, false, false, false, false},
    {"external interrupt", true, debug_fate::dropped, false, false, true, false},
    {"NMI", true, debug_fate::dropped, false, true, true, false},
    {"hardware exception", true, debug_fate::dropped, false, false, true, false},
    {"software interrupt", true, debug_fate::dropped_unless_mov_ss, true, false, false, true},
    {"privileged software exception", true, debug_fate::dropped, true, false, true, false},
    {"software exception", true, debug_fate::dropped_unless_mov_ss, true, false, false, true},
    {"pending MTF exit", false, debug_fate::kept, false, false, false, false},
}};

/// The row of a VM-entry interruption-information word.
constexpr const injection_rule& injection_rule_of(std::uint32_t word) noexcept {
  const event_information e = decode_event(word);
  if (!e.valid) return injection_table[0];
  const auto type = static_cast<std::size_t>(e.type);
  return injection_table[type == 0 ? 1 : type];
}

/// Entering an activity state without a vectored event. §29.7.2, §29.7.3.
struct activity_rule {
  activity_state activity;
  bool keeps_pending_debug;
};
inline constexpr std::array<activity_rule, 4> activity_table{{
    {activity_state::active, true},
    {activity_state::hlt, true},
    {activity_state::shutdown, false},
    {activity_state::wait_for_sipi, false},
}};

/// The state right after the entry, before the injected event is delivered.
struct entry_aftermath {
  /// The kind of injection; `vectored` means that `event` is to be delivered first.
  const injection_rule* injection = &injection_table[0];
  event_information event{};
  std::uint32_t error_code = 0;  ///< pushed if `event.error_code`
  std::uint64_t pushed_rip = 0;  ///< by the delivery of the injected event
  /// Guest RIP: pushed instead if another exception is delivered in place of the injected event, and saved by an exit
  /// while delivering it.
  std::uint64_t rip = 0;
  bool real_mode = false;  ///< delivered through the real-mode vector table

  activity_state activity = activity_state::active;
  std::uint32_t interruptibility = 0;  ///< in the format of field 4824H
  std::uint64_t pending_debug = 0;     ///< in the format of field 6822H; dropped ones are 0
  bool mtf_pending = false;            ///< a monitor-trap-flag exit, at the boundary after the delivery

  /// The injected event has been delivered.
  void note_delivered() noexcept { injection = &injection_table[0]; }
};

/// From the VMCS as it was entered with.
entry_aftermath after_entry(const vmcs& v) noexcept;

/// What the injection has changed of the state that `load_guest_state` loaded: activity, blocking, pending debug
/// exceptions.
void apply_injection(const vmcs& v, const entry_aftermath& a, processor_state& p) noexcept;

/// What the entry itself makes pending at the first boundary; §29.7.
struct entry_pending_rule {
  boundary_event event;
  const char* condition;
  const char* section;
  bool (*pends)(const vmcs& v, const physical_memory& memory, const entry_aftermath& a);
};
inline constexpr std::size_t entry_pending_rule_count = 4;
const std::array<entry_pending_rule, entry_pending_rule_count>& entry_pending_table() noexcept;

/// The first boundary after an entry, for `due_events` and `next_event`. `rflags`: as they are at that boundary, that
/// is, after the delivery of a vectored event. `outside`: what has arrived (machine check, SMI, INIT, SIPI, NMI,
/// interrupts, guest timer, a preemption timer that has expired since); the rest of it is filled in here.
boundary_state boundary_after_entry(const vmcs& v, const physical_memory& memory, const entry_aftermath& a,
                                    std::uint64_t rflags, const boundary_state& outside = {}) noexcept;

/// What the processor does first: deliver the injected event, act on `event`, execute an instruction, or stay in its
/// inactive state. To go on after a delivery: `note_delivered`, and ask again with the RFLAGS of then.
struct first_action {
  enum class kind : std::uint8_t { deliver, act, execute, wait };
  kind what = kind::execute;
  boundary_event event = boundary_event::none;  ///< for `act`
};
first_action first_after_entry(const vmcs& v, const entry_aftermath& a, const boundary_state& boundary,
                               const boundary_switches& switches = {}) noexcept;

/// For a teaching view: the events that act at a boundary, in the order in which they would be acted on if none changed
/// anything. An injected event comes before all of them.
struct event_order {
  std::array<boundary_event, boundary_event_count> events{};
  std::size_t count = 0;

  const boundary_event* begin() const noexcept { return events.data(); }
  const boundary_event* end() const noexcept { return events.data() + count; }
};
event_order order_at(const vmcs& v, const boundary_state& boundary, const boundary_switches& switches = {}) noexcept;

}  // namespace vmxsys::vmx
