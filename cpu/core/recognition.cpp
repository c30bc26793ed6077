#include "detail/recognition.hpp"

#include <utility>

#include <vmxsys/vmx/events/exception.hpp>
#include <vmxsys/vmx/events/interrupt_window.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

namespace vmxsys::cpu {

namespace {
constexpr std::uint8_t nmi_vector = 2;

boundary_decision exit_for(vmx::exit_reason reason) {
  boundary_decision d;
  d.what = boundary_decision::kind::vm_exit;
  d.exit.reason = reason;
  return d;
}
boundary_decision exit_with(const vmx::exit_info& exit) { return {boundary_decision::kind::vm_exit, 0, exit}; }
boundary_decision deliver(std::uint8_t vector) { return {boundary_decision::kind::deliver, vector, {}}; }
}  // namespace

void recognition::note_sipi(std::uint8_t vector) {
  if (core_.in_guest && core_.guest_activity == vmx::activity_state::wait_for_sipi && sipi_pending_ < 0)
    sipi_pending_ = vector;
}

void recognition::enter(bool init, bool mtf, bool mtf_pending) {
  init_pending_ = init;
  mtf_ = mtf_pending ? mtf_state::pending : mtf ? mtf_state::before_first : mtf_state::off;
}

bool recognition::leave() {
  mtf_ = mtf_state::off;
  sipi_pending_ = -1;
  return std::exchange(init_pending_, false);
}

int recognition::at_root_boundary() {
  const bool shadow = core_.shadowed = std::exchange(core_.shadow, false);
  if (nmi_pending_ && !core_.nmi.blocked() && !shadow) {
    nmi_pending_ = false;
    core_.nmi.deliver();
    return nmi_vector;
  }
  if (!core_.interrupts_enabled || shadow || core_.local_apic.highest_request() < 0) return -1;
  return core_.local_apic.acknowledge();
}

/// The most urgent event that acts on the guest in its activity state; `shadow`: of the STI just executed.
vmx::boundary_event recognition::due_in_guest(bool shadow) const {
  const vmx::vmcs& v = core_.current_vmcs();
  constexpr std::uint64_t windows = vmx::primary::interrupt_window_exiting | vmx::primary::nmi_window_exiting;
  const bool interrupt = core_.local_apic.highest_request() >= 0;
  if (!interrupt && !init_pending_ && sipi_pending_ < 0 && !nmi_pending_ && !timers_.preemption_timer_expired() &&
      !timers_.deadline_due() && !virtual_apic_.work() && mtf_ != mtf_state::pending &&
      core_.registers.pending_debug == 0 && (vmx::primary_controls(v) & windows) == 0)
    return vmx::boundary_event::none;
  vmx::boundary_state s;
  s.activity = core_.guest_activity;
  s.waiting = core_.activity == cpu_activity::waiting;
  s.blocking = {core_.interrupts_enabled ? vmx::rflags_bits::interrupt_flag : 0,
                (shadow ? vmx::interruptibility::sti : 0) | core_.nmi.saved(*core_.nmi_rule)};
  s.init = init_pending_;
  s.sipi = sipi_pending_ >= 0;
  s.monitor_trap_flag = mtf_ == mtf_state::pending;
  s.pending_debug = core_.registers.pending_debug;
  s.preemption_timer = timers_.preemption_timer_expired();
  s.guest_timer = timers_.deadline_due();
  s.nmi = nmi_pending_;
  s.external_interrupt = interrupt;
  if (virtual_apic_.work()) virtual_apic_.add_work(s);
  return vmx::next_event(v, s);
}

vmx::boundary_event recognition::at_guest_boundary(cycles now) {
  const bool shadow = std::exchange(core_.shadow, false);
  core_.shadowed = shadow;
  // One instruction after the entry, or an event before it.
  if (mtf_ == mtf_state::before_first) {
    mtf_ = mtf_state::armed;
    mtf_since_ = now;
  } else if (mtf_ == mtf_state::armed && now > mtf_since_) {
    mtf_ = mtf_state::pending;
  }
  return due_in_guest(shadow);
}

void recognition::note_no_instruction(cycles now) {
  if (mtf_ == mtf_state::armed) mtf_since_ = now;
}

boundary_decision recognition::decide(vmx::boundary_event due) {
  using event = vmx::boundary_event;
  using reason = vmx::exit_reason;
  switch (due) {
    case event::init:
      init_pending_ = false;
      return exit_for(reason::init_signal);
    case event::sipi: {
      boundary_decision d = exit_for(reason::startup_ipi);
      d.exit.qualification = static_cast<std::uint64_t>(std::exchange(sipi_pending_, -1));
      return d;
    }
    case event::preemption_timer:
      return exit_for(reason::preemption_timer);
    case event::monitor_trap_flag:
      return exit_for(reason::monitor_trap_flag);
    case event::debug_trap:
      return decide_debug_trap();
    case event::nmi_window:
      return exit_for(reason::nmi_window);
    case event::interrupt_window:
      return exit_for(reason::interrupt_window);
    case event::nmi: {
      nmi_pending_ = false;
      if (!vmx::nmi_exits(core_.current_vmcs())) {
        core_.nmi.deliver();
        return deliver(nmi_vector);
      }
      boundary_decision d = exit_for(reason::exception_or_nmi);
      d.exit.interruption_information = vmx::encode({nmi_vector, vmx::event_type::nmi, false, false, false, true});
      return d;
    }
    case event::trap_like_exit:
      return exit_with(virtual_apic_.take_trap());
    case event::guest_timer:
      return {boundary_decision::kind::guest_timer, 0, {}};
    case event::virtual_interrupt:
      return {boundary_decision::kind::virtual_interrupt, 0, {}};
    case event::external_interrupt:
      return decide_interrupt();
    default:
      return {};
  }
}

boundary_decision recognition::decide_interrupt() {
  const vmx::vmcs& v = core_.current_vmcs();
  if ((vmx::pin_controls(v) & vmx::pin_based::external_interrupt_exiting) == 0)
    return deliver(core_.local_apic.acknowledge());
  if ((vmx::pin_controls(v) & vmx::pin_based::process_posted_interrupts) != 0) {
    const std::uint8_t vector = core_.local_apic.acknowledge();
    if (virtual_apic_.acknowledge(vector)) return {boundary_decision::kind::posting, vector, {}};
    return exit_with(vmx::external_interrupt_exit(v, vector));
  }
  return exit_with(vmx::external_interrupt_exit(
      v, vmx::acknowledges_interrupt(v) ? core_.local_apic.acknowledge() : std::uint8_t{0}));
}

/// Pending debug exceptions that VM entry has loaded: #DB, exits if the exception bitmap says so. SDM Vol. 3C §29.7.3.
boundary_decision recognition::decide_debug_trap() {
  vmx::guest_exception db;
  db.vector = vmx::exception_vector::debug;
  db.qualification = vmx::debug_qualification(core_.registers.pending_debug);
  const vmx::exception_outcome o = vmx::raise_exception(core_.current_vmcs(), db);
  core_.registers.pending_debug = 0;
  return o.what == vmx::exception_outcome::kind::vm_exit ? exit_with(o.exit) : deliver(db.vector);
}

bool recognition::wakes() const {
  const bool interrupt = core_.local_apic.highest_request() >= 0;
  if (interrupt && core_.activity == cpu_activity::waiting && wait_.waits_for_masked()) return true;
  if (core_.in_guest) return due_in_guest(false) != vmx::boundary_event::none;
  return (nmi_pending_ && !core_.nmi.blocked()) || (core_.interrupts_enabled && interrupt);
}

}  // namespace vmxsys::cpu
