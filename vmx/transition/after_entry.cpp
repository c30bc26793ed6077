#include "after_entry.hpp"

#include <utility>

#include <vmxsys/vmx/events/exception.hpp>
#include <vmxsys/vmx/events/interrupt_shadow.hpp>
#include <vmxsys/vmx/events/monitor_trap_flag.hpp>
#include <vmxsys/vmx/events/nmi.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

namespace vmxsys::vmx {

namespace {

std::uint32_t entry_word(const vmcs& v) {
  return static_cast<std::uint32_t>(v.read(field::vm_entry_interruption_information));
}

bool drops_pending_debug(const injection_rule& injection, activity_state activity, bool mov_ss) {
  if (!injection.vectored) return !activity_table[static_cast<std::size_t>(activity)].keeps_pending_debug;
  return injection.pending_debug == debug_fate::dropped ||
         (injection.pending_debug == debug_fate::dropped_unless_mov_ss && !mov_ss);
}

bool mtf_pends(const vmcs& v, const injection_rule& injection, const event_information& event) {
  const bool control = (primary_controls(v) & primary::monitor_trap_flag) != 0;
  if (injection.vectored) return mtf_pending(first_step::injects_vectored_event, control) != mtf_boundary::none;
  return event.valid && event.vector == 0 &&
         mtf_pending(first_step::injects_pending_mtf, control) != mtf_boundary::none;
}

// Only where the processor virtualizes APIC accesses; elsewhere the checks have refused the VMCS already.
bool tpr_below_threshold(const vmcs& v, const physical_memory& memory) {
  constexpr std::uint64_t vtpr_offset = 0x80;
  if ((primary_controls(v) & primary::use_tpr_shadow) == 0) return false;
  if ((secondary_controls(v) & secondary::virtualize_apic_accesses) == 0) return false;
  if ((secondary_controls(v) & secondary::virtual_interrupt_delivery) != 0) return false;
  const auto vtpr = memory.read<std::uint8_t>(v.read(field::virtual_apic_address) + vtpr_offset);
  return (v.read(field::tpr_threshold) & 15) > (vtpr >> 4);
}

bool timer_active(const vmcs& v) { return (pin_controls(v) & pin_based::activate_vmx_preemption_timer) != 0; }

constexpr std::array<entry_pending_rule, entry_pending_rule_count> pending_rules{{
    {boundary_event::trap_like_exit, "TPR threshold above VTPR, with APIC accesses virtualized", "SDM Vol. 3C §29.7.7",
     [](const vmcs& v, const physical_memory& memory, const entry_aftermath&) {
       return tpr_below_threshold(v, memory);
     }},
    {boundary_event::monitor_trap_flag, "monitor trap flag with a vectored event, or a pending MTF exit injected",
     "SDM Vol. 3C §29.7.8",
     [](const vmcs&, const physical_memory&, const entry_aftermath& a) { return a.mtf_pending; }},
    {boundary_event::debug_trap, "pending debug exceptions that were kept", "SDM Vol. 3C §29.7.3",
     [](const vmcs&, const physical_memory&, const entry_aftermath& a) {
       return debug_exception_pending(a.pending_debug);
     }},
    {boundary_event::preemption_timer, "VMX-preemption timer active and 0", "SDM Vol. 3C §29.7.4",
     [](const vmcs& v, const physical_memory&, const entry_aftermath&) {
       return timer_active(v) && v.read(field::vmx_preemption_timer_value) == 0;
     }},
}};

// Unrolled, so that the rules are inlined: every entry asks them all.
template <std::size_t... I>
pending_events pending_after(const vmcs& v, const physical_memory& memory, const entry_aftermath& a,
                             std::index_sequence<I...>) {
  pending_events pending;
  (pending.set(pending_rules[I].event, pending_rules[I].pends(v, memory, a)), ...);
  return pending;
}

}  // namespace

entry_aftermath after_entry(const vmcs& v) noexcept {
  constexpr std::uint64_t cr0_pe = 1;
  const auto before = static_cast<std::uint32_t>(v.read(field::guest_interruptibility_state));
  const bool mov_ss = (before & interruptibility::mov_ss) != 0;
  const injection_rule& injection = injection_rule_of(entry_word(v));

  entry_aftermath a;
  a.injection = &injection;
  a.event = decode_event(entry_word(v));
  a.error_code = static_cast<std::uint32_t>(v.read(field::vm_entry_exception_error_code));
  a.rip = v.read(field::guest_rip);
  a.pushed_rip = a.rip + (injection.rip_after_instruction ? v.read(field::vm_entry_instruction_length) : 0);
  a.real_mode = !v.any(field::guest_cr0, cr0_pe);
  a.activity = injection.vectored ? activity_state::active : activity_of(v);
  a.interruptibility =
      injection.vectored ? interruptibility_after(before, interrupt_shadow_step::event_delivery) : before;
  if (injection.blocks_nmis) a.interruptibility |= interruptibility::nmi;
  if (!drops_pending_debug(injection, a.activity, mov_ss))
    a.pending_debug = v.read(field::guest_pending_debug_exceptions);
  a.mtf_pending = mtf_pends(v, injection, a.event);
  return a;
}

void apply_injection(const vmcs& v, const entry_aftermath& a, processor_state& p) noexcept {
  nmi_state nmis;
  nmis.enter(nmi_rule_of(v), a.interruptibility);
  p.activity = a.activity;
  p.sti_blocking = (a.interruptibility & interruptibility::sti) != 0;
  p.mov_ss_blocking = (a.interruptibility & interruptibility::mov_ss) != 0;
  p.nmi_blocking = nmis.blocked();
  p.virtual_nmi_blocking = nmis.virtual_blocked();
  p.pending_debug = a.pending_debug;
}

const std::array<entry_pending_rule, entry_pending_rule_count>& entry_pending_table() noexcept { return pending_rules; }

boundary_state boundary_after_entry(const vmcs& v, const physical_memory& memory, const entry_aftermath& a,
                                    std::uint64_t rflags, const boundary_state& outside) noexcept {
  const pending_events pending = pending_after(v, memory, a, std::make_index_sequence<entry_pending_rule_count>{});
  boundary_state b = outside;
  b.activity = a.activity;
  b.waiting = false;
  b.blocking = {rflags, a.interruptibility};
  b.trap_like_exit = outside.trap_like_exit || pending.test(boundary_event::trap_like_exit);
  b.monitor_trap_flag = pending.test(boundary_event::monitor_trap_flag);
  b.pending_debug = pending.test(boundary_event::debug_trap) ? a.pending_debug : 0;
  b.preemption_timer = pending.test(boundary_event::preemption_timer) || (timer_active(v) && outside.preemption_timer);
  return b;
}

first_action first_after_entry(const vmcs& v, const entry_aftermath& a, const boundary_state& boundary,
                               const boundary_switches& switches) noexcept {
  if (a.injection->vectored) return {first_action::kind::deliver, boundary_event::none};
  const boundary_event event = next_event(v, boundary, switches);
  if (event != boundary_event::none) return {first_action::kind::act, event};
  const bool active = a.activity == activity_state::active;
  return {active ? first_action::kind::execute : first_action::kind::wait, boundary_event::none};
}

event_order order_at(const vmcs& v, const boundary_state& boundary, const boundary_switches& switches) noexcept {
  pending_events due = due_events(v, boundary, switches);
  event_order order;
  while (!due.empty()) {
    const boundary_event event = highest(due, switches.guest_timer);
    order.events[order.count++] = event;
    due.clear(event);
  }
  return order;
}

}  // namespace vmxsys::vmx
