#include <vmxsys/vmx/after_entry.hpp>
#include <vmxsys/vmx/control.hpp>
#include <vmxsys/vmx/non_root.hpp>

namespace vmxsys::vmx {

namespace {

constexpr std::uint64_t enabled_breakpoint = 1u << 12;
constexpr std::uint64_t single_step = 1u << 14;

std::uint32_t entry_word(const vmcs& v) {
  return static_cast<std::uint32_t>(v.read(field::vm_entry_interruption_information));
}

bool drops_pending_debug(const injection_rule& injection, activity_state activity, bool mov_ss) {
  if (!injection.vectored) return !activity_table[static_cast<std::size_t>(activity)].keeps_pending_debug;
  return injection.pending_debug == debug_fate::dropped ||
         (injection.pending_debug == debug_fate::dropped_unless_mov_ss && !mov_ss);
}

bool mtf_pends(const vmcs& v, const injection_rule& injection, const event_information& event) {
  switch (injection.mtf) {
    case mtf_fate::never:
      return false;
    case mtf_fate::if_enabled:
      return (primary_controls(v) & primary::monitor_trap_flag) != 0;
    case mtf_fate::always:
      return event.vector == 0;
  }
  return false;
}

bool tpr_below_threshold(const entry_boundary& b) {
  constexpr std::uint64_t vtpr_offset = 0x80;
  if ((primary_controls(b.v) & primary::use_tpr_shadow) == 0) return false;
  if ((secondary_controls(b.v) & secondary::virtualize_apic_accesses) == 0) return false;
  if ((secondary_controls(b.v) & secondary::virtual_interrupt_delivery) != 0) return false;
  const auto vtpr = b.memory.read<std::uint8_t>(b.v.read(field::virtual_apic_address) + vtpr_offset);
  return (b.v.read(field::tpr_threshold) & 15) > (vtpr >> 4);
}

bool timer_expired(const entry_boundary& b) {
  return (pin_controls(b.v) & pin_based::activate_vmx_preemption_timer) != 0 &&
         (b.v.read(field::vmx_preemption_timer_value) == 0 || b.outside.test(boundary_event::preemption_timer));
}

bool nmi_window_due(const entry_boundary& b) {
  return (primary_controls(b.v) & primary::nmi_window_exiting) != 0 &&
         b.state.blocking(b.rflags).nmi_window_open(b.switches.sti_blocks_nmi);
}

// Virtual-NMI blocking holds no physical NMI back.
bool nmi_due(const entry_boundary& b) {
  guest_blocking blocking = b.state.blocking(b.rflags);
  if (b.state.virtual_nmi_blocking) blocking.interruptibility &= ~interruptibility::nmi;
  return b.outside.test(boundary_event::nmi) && blocking.nmi_window_open(b.switches.sti_blocks_nmi);
}

bool interrupt_window_exits(const vmcs& v) { return (primary_controls(v) & primary::interrupt_window_exiting) != 0; }

bool interrupt_window_due(const entry_boundary& b) {
  return interrupt_window_exits(b.v) && b.state.blocking(b.rflags).interrupt_window_open();
}

// A virtual interrupt is not recognized while interrupt-window exiting is on.
bool virtual_interrupt_due(const entry_boundary& b) {
  return b.outside.test(boundary_event::virtual_interrupt) && !interrupt_window_exits(b.v) &&
         b.state.blocking(b.rflags).interrupt_window_open();
}

bool external_interrupt_due(const entry_boundary& b) {
  return b.outside.test(boundary_event::external_interrupt) &&
         respond_to_external_interrupt(b.v, b.state.activity, b.state.blocking(b.rflags), b.switches.sti_blocks_exit) !=
             interrupt_response::held;
}

constexpr std::array<due_rule, due_rule_count> rules{{
    {boundary_event::trap_like_exit, "TPR threshold above VTPR, with APIC accesses virtualized", "SDM Vol. 3C §29.7.7",
     [](const entry_boundary& b) { return tpr_below_threshold(b) || b.outside.test(boundary_event::trap_like_exit); }},
    {boundary_event::monitor_trap_flag, "monitor trap flag with a vectored event, or a pending MTF exit injected",
     "SDM Vol. 3C §29.7.8", [](const entry_boundary& b) { return b.state.mtf_pending; }},
    {boundary_event::debug_trap, "pending debug exceptions that were kept, without blocking by MOV SS",
     "SDM Vol. 3C §29.7.3",
     [](const entry_boundary& b) {
       return (b.state.pending_debug & (enabled_breakpoint | single_step)) != 0 && !b.state.mov_ss_blocking;
     }},
    {boundary_event::preemption_timer, "VMX-preemption timer active and 0", "SDM Vol. 3C §29.7.4", timer_expired},
    {boundary_event::nmi_window, "NMI-window exiting without blocking", "SDM Vol. 3C §29.7.6", nmi_window_due},
    {boundary_event::nmi, "an NMI waits and is not blocked", "SDM Vol. 3C §29.7.1", nmi_due},
    {boundary_event::interrupt_window, "interrupt-window exiting, RFLAGS.IF, no blocking", "SDM Vol. 3C §29.7.5",
     interrupt_window_due},
    {boundary_event::virtual_interrupt, "a virtual interrupt is recognized, RFLAGS.IF, no blocking",
     "SDM Vol. 3C §29.7.5", virtual_interrupt_due},
    {boundary_event::external_interrupt, "an external interrupt waits and is not held", "SDM Vol. 3C §28.2",
     external_interrupt_due},
}};

}  // namespace

const nmi_rule& nmi_rule_of(const vmcs& v) noexcept {
  const bool exiting = (pin_controls(v) & pin_based::nmi_exiting) != 0;
  const bool virtual_nmis = (pin_controls(v) & pin_based::virtual_nmis) != 0;
  return nmi_table[(exiting ? 1u : 0u) + (exiting && virtual_nmis ? 1u : 0u)];
}

guest_blocking entry_aftermath::blocking(std::uint64_t rflags) const noexcept {
  return {rflags, (sti_blocking ? interruptibility::sti : 0u) | (mov_ss_blocking ? interruptibility::mov_ss : 0u) |
                      (nmi_blocking || virtual_nmi_blocking ? interruptibility::nmi : 0u)};
}

entry_aftermath after_entry(const vmcs& v) noexcept {
  constexpr std::uint64_t cr0_pe = 1;
  const auto bits = static_cast<std::uint32_t>(v.read(field::guest_interruptibility_state));
  const bool mov_ss = (bits & interruptibility::mov_ss) != 0;
  const injection_rule& injection = injection_rule_of(entry_word(v));

  entry_aftermath a;
  a.injection = &injection;
  a.event = decode_event(entry_word(v));
  a.error_code = static_cast<std::uint32_t>(v.read(field::vm_entry_exception_error_code));
  a.rip = v.read(field::guest_rip);
  a.pushed_rip = a.rip + (injection.rip_after_instruction ? v.read(field::vm_entry_instruction_length) : 0);
  a.real_mode = !v.any(field::guest_cr0, cr0_pe);

  if (!injection.vectored) {
    a.activity = activity_of(v);
    a.sti_blocking = (bits & interruptibility::sti) != 0;
    a.mov_ss_blocking = mov_ss;
  }
  const bool nmis = (bits & interruptibility::nmi) != 0 || injection.blocks_nmis;
  const bool virtually = nmi_rule_of(v).blocks_virtually;
  a.nmi_blocking = nmis && !virtually;
  a.virtual_nmi_blocking = nmis && virtually;
  if (!drops_pending_debug(injection, a.activity, mov_ss))
    a.pending_debug = v.read(field::guest_pending_debug_exceptions);
  a.mtf_pending = mtf_pends(v, injection, a.event);
  return a;
}

const std::array<due_rule, due_rule_count>& due_table() noexcept { return rules; }

pending_events due_after_entry(const entry_boundary& b) noexcept {
  pending_events due = b.outside;
  for (const due_rule& rule : rules) due.set(rule.event, rule.due(b));
  return due;
}

first_step first_after_entry(const entry_boundary& b) noexcept {
  if (b.state.injection->vectored) return {first_step::kind::deliver, boundary_event::none};
  const boundary_event event = highest(unblocked(due_after_entry(b), b.state.activity));
  if (event != boundary_event::none) return {first_step::kind::act, event};
  const bool active = b.state.activity == activity_state::active;
  return {active ? first_step::kind::execute : first_step::kind::wait, boundary_event::none};
}

event_order order_after_entry(const entry_boundary& b) noexcept {
  pending_events due = unblocked(due_after_entry(b), b.state.activity);
  event_order order;
  for (boundary_event event = highest(due); event != boundary_event::none; event = highest(due)) {
    order.events[order.count++] = event;
    due.clear(event);
  }
  return order;
}

}  // namespace vmxsys::vmx
