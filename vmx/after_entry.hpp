#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/event.hpp>
#include <vmxsys/vmx/physical_memory.hpp>
#include <vmxsys/vmx/vmcs.hpp>

namespace vmxsys::vmx {

// What a successful VM entry leaves behind, and what happens first. SDM Vol. 3C §29.6, §29.7. Three tables say it: by
// the kind of injected event, by activity state, by the NMI controls. Priorities are those of event.hpp's table, with
// the injected event in front.

/// What becomes of the pending debug exceptions of the VMCS. §29.7.3.
enum class debug_fate : std::uint8_t { kept, dropped, dropped_unless_mov_ss };

/// When a monitor-trap-flag exit is pending after the entry. §29.7.8.
enum class mtf_fate : std::uint8_t { never, if_enabled, always };

/// One kind of injected event, §29.6. `vectored`: delivered through the IDT; the processor is active and no longer in
/// the shadow of STI or MOV SS.
struct injection_rule {
  const char* name;
  bool vectored;
  debug_fate pending_debug;  ///< not vectored: see `activity_rule`
  mtf_fate mtf;
  bool rip_after_instruction;  ///< pushed: guest RIP plus the VM-entry instruction length; else guest RIP
  bool blocks_nmis;            ///< virtual NMIs where the control "virtual NMIs" is 1
  bool ext;                    ///< EXT in the error code of a fault met while delivering it
  bool tests_gate_dpl;         ///< the gate's DPL must not be below CPL
};

/// Row 0: nothing is injected. Row 1: external interrupt. Rows 2 .. 7: the event type of that number; 7 with vector 0
/// only makes an MTF exit pending (with vectors 1 and 2 it is FRED's, which is not modelled).
inline constexpr std::array<injection_rule, 8> injection_table{{
    {"nothing is injected", false, debug_fate::kept, mtf_fate::never, false, false, false, false},
    {"external interrupt", true, debug_fate::dropped, mtf_fate::if_enabled, false, false, true, false},
    {"NMI", true, debug_fate::dropped, mtf_fate::if_enabled, false, true, true, false},
    {"hardware exception", true, debug_fate::dropped, mtf_fate::if_enabled, false, false, true, false},
    {"software interrupt", true, debug_fate::dropped_unless_mov_ss, mtf_fate::if_enabled, true, false, false, true},
    {"privileged software exception", true, debug_fate::dropped, mtf_fate::if_enabled, true, false, true, false},
    {"software exception", true, debug_fate::dropped_unless_mov_ss, mtf_fate::if_enabled, true, false, false, true},
    {"pending MTF exit", false, debug_fate::kept, mtf_fate::always, false, false, false, false},
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

/// What IRET does to the blocking of NMIs, even if it faults. §28.3.
enum class iret_effect : std::uint8_t { unblocks_nmis, none, unblocks_virtual_nmis };

/// The meaning of bit 3 of the interruptibility state under the NMI controls. §27.6.1, §29.7.1.
struct nmi_rule {
  bool nmi_exiting;
  bool virtual_nmis;
  bool blocks_virtually;  ///< bit 3 is virtual-NMI blocking; then it holds no physical NMI back
  bool nmi_exits;         ///< a physical NMI exits instead of being delivered through the IDT
  iret_effect iret;
};
/// Entry refuses the fourth combination.
inline constexpr std::array<nmi_rule, 3> nmi_table{{
    {false, false, false, false, iret_effect::unblocks_nmis},
    {true, false, false, true, iret_effect::none},
    {true, true, true, true, iret_effect::unblocks_virtual_nmis},
}};
const nmi_rule& nmi_rule_of(const vmcs& v) noexcept;

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
  bool sti_blocking = false;
  bool mov_ss_blocking = false;
  bool nmi_blocking = false;
  bool virtual_nmi_blocking = false;
  std::uint64_t pending_debug = 0;  ///< in the format of field 6822H; dropped ones are 0
  bool mtf_pending = false;

  /// For the window tests. `rflags`: as they are at the boundary.
  guest_blocking blocking(std::uint64_t rflags) const noexcept;
  /// The injected event has been delivered.
  void note_delivered() noexcept { injection = &injection_table[0]; }
};

entry_aftermath after_entry(const vmcs& v) noexcept;

/// Left to the processor (§28.2); the same switches as those of `guest_blocking` and `respond_to_external_interrupt`.
struct boundary_switches {
  bool sti_blocks_nmi = true;
  bool sti_blocks_exit = true;
};

/// The first boundary after an entry (after the delivery of a vectored event).
struct entry_boundary {
  const vmcs& v;
  const physical_memory& memory;
  const entry_aftermath& state;
  std::uint64_t rflags;  ///< after delivery, if there was one
  /// What waits outside: machine check, SMI, INIT, SIPI, NMI, external interrupt at the local APIC, recognized virtual
  /// interrupt; an expired preemption timer.
  pending_events outside;
  boundary_switches switches{};
};

/// Why an event is due at that boundary; events without a row are due when they wait outside. §29.7.
struct due_rule {
  boundary_event event;
  const char* condition;
  const char* section;
  bool (*due)(const entry_boundary& b);
};
inline constexpr std::size_t due_rule_count = 9;
const std::array<due_rule, due_rule_count>& due_table() noexcept;

/// What is due, whatever the activity state says to it.
pending_events due_after_entry(const entry_boundary& b) noexcept;

/// What the processor does first: deliver the injected event, act on `event`, execute an instruction, or stay in its
/// inactive state. To go on after a delivery: `note_delivered`, and ask again with the RFLAGS of then.
struct first_step {
  enum class kind : std::uint8_t { deliver, act, execute, wait };
  kind what = kind::execute;
  boundary_event event = boundary_event::none;  ///< for `act`
};
first_step first_after_entry(const entry_boundary& b) noexcept;

/// For a teaching view: the events that act in the state after the entry, most urgent first, as they would be acted on
/// if none changed anything. The injected event, if any, comes before all of them.
struct event_order {
  std::array<boundary_event, boundary_event_count> events{};
  std::size_t count = 0;

  const boundary_event* begin() const noexcept { return events.data(); }
  const boundary_event* end() const noexcept { return events.data() + count; }
};
event_order order_after_entry(const entry_boundary& b) noexcept;

}  // namespace vmxsys::vmx
