#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/vmcs/event.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/register_bits.hpp>

namespace vmxsys::vmx {

/// What can be due at an instruction boundary in VMX non-root operation, most urgent first: the numeric order is the
/// priority order. SDM Vol. 3C §28.2, §29.7, §32; Vol. 3A, "Prioritization of Concurrent Events". A fault of the next
/// instruction comes after all of them.
enum class boundary_event : std::uint8_t {
  machine_check,
  /// Trap-like exits of the instruction just done: TPR below threshold, virtualized EOI, APIC write, bus lock; and the
  /// emulation of an APIC write that leads to one.
  trap_like_exit,
  smi,
  init,
  sipi,
  monitor_trap_flag,
  debug_trap,
  preemption_timer,
  nmi_window,
  nmi,
  guest_timer,         ///< of APIC-timer virtualization; see `guest_timer_position`
  interrupt_window,    ///< the VM exit; never due together with a recognized virtual interrupt
  virtual_interrupt,   ///< virtual-interrupt delivery
  external_interrupt,  ///< also the notification that starts posted-interrupt processing
  user_interrupt,
  none,
};
inline constexpr std::size_t boundary_event_count = static_cast<std::size_t>(boundary_event::none);

/// A set of boundary events.
struct pending_events {
  std::uint32_t bits = 0;

  constexpr pending_events& set(boundary_event e) noexcept {
    bits |= 1u << static_cast<unsigned>(e);
    return *this;
  }
  constexpr pending_events& clear(boundary_event e) noexcept {
    bits &= ~(1u << static_cast<unsigned>(e));
    return *this;
  }
  constexpr pending_events& set(boundary_event e, bool on) noexcept { return on ? set(e) : clear(e); }
  constexpr bool test(boundary_event e) const noexcept { return (bits >> static_cast<unsigned>(e) & 1) != 0; }
  constexpr bool empty() const noexcept { return bits == 0; }
};

/// Where the guest-timer event of APIC-timer virtualization stands. The SDM puts it below external interrupts and yet
/// above virtual interrupts, which themselves are above external interrupts; no order satisfies both. Therefore a
/// switch:
/// - `yields_to_external_interrupt` (default): before the interrupt window and virtual interrupts, so that what it
/// makes
///   pending is recognized at the same boundary; but an external interrupt that is the next in line is taken first.
/// - `above_interrupt_window`: the same place without the exception.
/// - `below_external_interrupt`: after external interrupts.
enum class guest_timer_position : std::uint8_t {
  yields_to_external_interrupt,
  above_interrupt_window,
  below_external_interrupt,
};

namespace detail {
constexpr boundary_event lowest_bit(std::uint32_t bits) noexcept {
  for (unsigned e = 0; bits != 0 && e < boundary_event_count; ++e)
    if (bits >> e & 1) return static_cast<boundary_event>(e);
  return boundary_event::none;
}
}  // namespace detail

/// The event to act on at this boundary; `none` when nothing is due. Blocked events must have been removed
/// (`due_events`, `unblocked`). Acting on one leaves the others pending for the next boundary.
constexpr boundary_event highest(
    const pending_events& pending,
    guest_timer_position position = guest_timer_position::yields_to_external_interrupt) noexcept {
  const boundary_event first = detail::lowest_bit(pending.bits);
  if (first != boundary_event::guest_timer || position == guest_timer_position::above_interrupt_window) return first;
  pending_events rest = pending;
  const boundary_event next = detail::lowest_bit(rest.clear(boundary_event::guest_timer).bits);
  const bool passes = position == guest_timer_position::yields_to_external_interrupt
                          ? next == boundary_event::external_interrupt
                          : next <= boundary_event::external_interrupt;
  return passes ? next : first;
}

/// What an event does to a logical processor in an activity state. `acts`: it is acted on at once (an inactive state
/// ends); `blocked`: it stays pending; `dropped`: it is lost.
enum class response : std::uint8_t { acts, blocked, dropped };

/// One row of the boundary table: the event, what it does in each activity state, and what else holds it back. Rows are
/// in priority order.
struct boundary_rule {
  boundary_event event;
  const char* name;
  const char* section;                  ///< SDM, newest numbering
  std::array<response, 4> by_activity;  ///< index: activity_state
  /// While MWAIT, TPAUSE or UMWAIT waits. The guest activity-state field never shows these: it says active.
  response waiting;
  const char* held_by;  ///< what holds it back in every activity state; "-" for nothing
  const char* outcome;  ///< what acting on it is
};

namespace detail {
inline constexpr response acts = response::acts;
inline constexpr response blocked = response::blocked;
inline constexpr response lost = response::dropped;
}  // namespace detail

/// The one table of priorities, of what wakes and of what blocks. Columns of `by_activity`: active, HLT, shutdown,
/// wait-for-SIPI. SDM Vol. 3C §27.4.2, §28.2, §28.4.1.
inline constexpr std::array<boundary_rule, boundary_event_count> boundary_table{{
    {boundary_event::machine_check,
     "machine check",
     "Vol. 3C §28.2",
     {detail::acts, detail::acts, detail::acts, detail::acts},
     detail::acts,
     "-",
     "exit 0 if exception-bitmap bit 18, else delivered"},
    {boundary_event::trap_like_exit,
     "trap-like APIC and bus-lock exits",
     "Vol. 3C §29.7.7, §32.1.2",
     {detail::acts, detail::acts, detail::blocked, detail::blocked},
     detail::acts,
     "-",
     "exit 43, 45, 56 or 74"},
    {boundary_event::smi,
     "SMI",
     "Vol. 3C §28.2",
     {detail::acts, detail::acts, detail::acts, detail::blocked},
     detail::acts,
     "blocking by SMI",
     "system-management mode"},
    {boundary_event::init,
     "INIT",
     "Vol. 3C §28.2",
     {detail::acts, detail::acts, detail::acts, detail::blocked},
     detail::acts,
     "-",
     "exit 3"},
    {boundary_event::sipi,
     "start-up IPI",
     "Vol. 3C §28.2",
     {detail::lost, detail::lost, detail::lost, detail::acts},
     detail::lost,
     "-",
     "exit 4"},
    {boundary_event::monitor_trap_flag,
     "monitor trap flag",
     "Vol. 3C §28.5.2",
     {detail::acts, detail::acts, detail::blocked, detail::blocked},
     detail::acts,
     "-",
     "exit 37"},
    // Pending debug exceptions do not survive an entry into shutdown or wait-for-SIPI.
    {boundary_event::debug_trap,
     "debug trap on the previous instruction",
     "Vol. 3C §29.7.3",
     {detail::acts, detail::acts, detail::lost, detail::lost},
     detail::acts,
     "MOV SS",
     "exit 0 if exception-bitmap bit 1, else delivered"},
    {boundary_event::preemption_timer,
     "VMX-preemption timer",
     "Vol. 3C §28.5.1",
     {detail::acts, detail::acts, detail::acts, detail::blocked},
     detail::acts,
     "-",
     "exit 52"},
    {boundary_event::nmi_window,
     "NMI window",
     "Vol. 3C §28.2",
     {detail::acts, detail::acts, detail::acts, detail::blocked},
     detail::acts,
     "virtual-NMI blocking, MOV SS, STI (switch)",
     "exit 8"},
    {boundary_event::nmi,
     "NMI",
     "Vol. 3C §28.2",
     {detail::acts, detail::acts, detail::acts, detail::blocked},
     detail::acts,
     "NMI blocking, MOV SS, STI (switch)",
     "exit 0 with \"NMI exiting\", else delivered"},
    {boundary_event::guest_timer,
     "guest timer",
     "Vol. 3C §32, APIC-timer virtualization",
     {detail::acts, detail::acts, detail::blocked, detail::blocked},
     detail::acts,
     "-",
     "the virtual-timer vector becomes pending; virtual interrupts are evaluated"},
    {boundary_event::interrupt_window,
     "interrupt window",
     "Vol. 3C §28.2",
     {detail::acts, detail::acts, detail::blocked, detail::blocked},
     detail::acts,
     "IF = 0, STI, MOV SS",
     "exit 7"},
    {boundary_event::virtual_interrupt,
     "virtual interrupt",
     "Vol. 3C §32.2.2",
     {detail::acts, detail::acts, detail::blocked, detail::blocked},
     detail::acts,
     "IF = 0, STI, MOV SS, \"interrupt-window exiting\"",
     "delivered"},
    {boundary_event::external_interrupt,
     "external interrupt",
     "Vol. 3C §28.2",
     {detail::acts, detail::acts, detail::blocked, detail::blocked},
     detail::acts,
     "\"external-interrupt exiting\" 0: IF = 0, STI, MOV SS; 1: STI, MOV SS (switch)",
     "exit 1 with \"external-interrupt exiting\", else delivered"},
    {boundary_event::user_interrupt,
     "user interrupt",
     "Vol. 3A, chapter 9",
     {detail::acts, detail::blocked, detail::blocked, detail::blocked},
     detail::acts,
     "CPL < 3, UIF = 0",
     "delivered"},
}};

constexpr const char* name_of(boundary_event e) noexcept {
  return e == boundary_event::none ? "none" : boundary_table[static_cast<std::size_t>(e)].name;
}

constexpr response respond(boundary_event e, activity_state activity) noexcept {
  return boundary_table[static_cast<std::size_t>(e)].by_activity[static_cast<std::size_t>(activity)];
}
/// While MWAIT, TPAUSE or UMWAIT waits.
constexpr response respond_waiting(boundary_event e) noexcept {
  return boundary_table[static_cast<std::size_t>(e)].waiting;
}

namespace detail {
constexpr std::array<std::uint32_t, 4> make_activity_masks(response wanted) noexcept {
  std::array<std::uint32_t, 4> sets{};
  for (std::size_t a = 0; a < 4; ++a)
    for (const boundary_rule& rule : boundary_table)
      if (rule.by_activity[a] == wanted) sets[a] |= 1u << static_cast<unsigned>(rule.event);
  return sets;
}
inline constexpr auto acting = make_activity_masks(response::acts);
inline constexpr auto dropping = make_activity_masks(response::dropped);
}  // namespace detail

/// The events that act in this activity state.
constexpr pending_events unblocked(pending_events pending, activity_state activity) noexcept {
  return {pending.bits & detail::acting[static_cast<std::size_t>(activity)]};
}
/// The events that are lost in this activity state.
constexpr pending_events dropped(pending_events pending, activity_state activity) noexcept {
  return {pending.bits & detail::dropping[static_cast<std::size_t>(activity)]};
}

/// What the manual leaves to the processor.
struct boundary_switches {
  /// With "external-interrupt exiting" the shadow of STI or MOV SS still holds the interrupt for one instruction, as on
  /// most processors.
  bool shadow_holds_interrupt_exit = true;
  /// The shadow of STI holds an NMI and the NMI window for one instruction.
  bool sti_blocks_nmi = true;
  guest_timer_position guest_timer = guest_timer_position::yields_to_external_interrupt;
};

/// What has arrived or been made due, and what holds it back. A plain value the caller fills at each boundary.
struct boundary_state {
  activity_state activity = activity_state::active;
  bool waiting = false;     ///< in MWAIT, TPAUSE or UMWAIT; `activity` is then active
  guest_blocking blocking;  ///< bit 3 is virtual-NMI blocking with "virtual NMIs"

  bool machine_check = false;
  bool trap_like_exit = false;
  bool smi = false;
  bool init = false;
  bool sipi = false;
  bool monitor_trap_flag = false;   ///< an MTF exit is pending (`monitor_trap_flag.hpp`)
  std::uint64_t pending_debug = 0;  ///< in the format of field 6822H
  bool preemption_timer = false;    ///< active and at 0
  bool nmi = false;
  bool guest_timer = false;
  bool virtual_interrupt = false;   ///< recognized
  bool external_interrupt = false;  ///< the local APIC offers a vector
  bool user_interrupt = false;      ///< recognized, CPL = 3 and UIF = 1
};

/// The events that act at this boundary: blocked and lost ones are not in the set.
pending_events due_events(const vmcs& v, const boundary_state& state, const boundary_switches& switches = {}) noexcept;

/// The event that is acted on.
inline boundary_event next_event(const vmcs& v, const boundary_state& state,
                                 const boundary_switches& switches = {}) noexcept {
  return highest(due_events(v, state, switches), switches.guest_timer);
}

/// What acting on an event is. `process`: neither an exit nor a delivery; the boundary goes on afterwards.
enum class boundary_action : std::uint8_t { none, vm_exit, deliver, process };

/// `reason` belongs to vm_exit. That of a trap-like exit is known only to the code that made it so: the answer here is
/// tpr_below_threshold, the one that VM entry itself can make pending.
struct boundary_outcome {
  boundary_action action = boundary_action::none;
  exit_reason reason = exit_reason::exception_or_nmi;
};
boundary_outcome outcome_of(const vmcs& v, boundary_event event) noexcept;

/// A #DB is pending: one of the breakpoints is enabled, or a single step is due. SDM Vol. 3C §27.4.2.
constexpr bool debug_exception_pending(std::uint64_t pending_debug) noexcept {
  return (pending_debug & (pending_debug_bits::enabled_breakpoint | pending_debug_bits::single_step)) != 0;
}

}  // namespace vmxsys::vmx
