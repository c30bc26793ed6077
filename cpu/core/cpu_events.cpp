#include <algorithm>
#include <utility>

#include <vmxsys/apic/local/startup.hpp>
#include <vmxsys/apic/virtualization/guest_timer.hpp>
#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/program/name_space.hpp>
#include <vmxsys/vmx/events/boundary.hpp>
#include <vmxsys/vmx/events/exception.hpp>
#include <vmxsys/vmx/events/interrupt_window.hpp>
#include <vmxsys/vmx/events/preemption_timer.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

#include "detail/cpu_engine.hpp"

// What reaches a CPU from outside its instruction stream, and when it is recognised.
namespace vmxsys::cpu {

namespace {
constexpr code_location interrupt_entry{"asm_common_interrupt", 0xffffffff81e00a40, 0, 0, bucket::interrupt};
constexpr std::uint8_t nmi_vector = 2;
}  // namespace

void cpu_engine::post(const inbox::entry& message) {
  inbox::entry numbered = message;
  numbered.sequence = ++sent_;
  if (numbered.at <= core_.time.now())
    throw invariant_error("an interrupt message arrives without flight", core_.time.now());
  inbox_.post(numbered);
  core_.time.arm(inbox_slot_, inbox_.next(), phase::message);
}

void cpu_engine::take_messages(cycles now) {
  while (!inbox_.empty() && inbox_.next() == now) {
    const inbox::entry e = inbox_.take();
    core_.cause =
        core_.state(now, ipi_arrived_fact{e.message.vector, static_cast<std::uint8_t>(e.message.mode)}, e.cause);
    accept(e.message, now);
  }
  if (!inbox_.empty()) core_.time.arm(inbox_slot_, inbox_.next(), phase::message);
}

void cpu_engine::accept(const apic::interrupt_message& message, cycles now) {
  if (core_.registers.vmx_abort != 0) return;  // only RESET ends it
  switch (message.mode) {
    case apic::delivery_mode::fixed:
    case apic::delivery_mode::lowest_priority:
      core_.local_apic.accept(message.vector, message.level);
      break;
    case apic::delivery_mode::nmi:
      nmi_pending_ = true;
      break;
    case apic::delivery_mode::init:
      if (core_.in_guest)
        init_pending_ = true;
      else if (core_.vmx_state.mode != vmx::operation::off)
        core_.vmx_state.latched_init = true;  // also in the midst of a VM exit
      else
        reset_to_wait_for_sipi(now);
      break;
    case apic::delivery_mode::startup:
      if (core_.activity == cpu_activity::wait_for_sipi && core_.number != 0) {
        start_at(apic::startup_address_of(message.vector).base, now);
        return;
      }
      if (core_.in_guest && core_.guest_activity == vmx::activity_state::wait_for_sipi && sipi_pending_ < 0)
        sipi_pending_ = message.vector;
      break;  // dropped in every other state
    default:
      core_.state(now, interrupt_lost_fact{static_cast<std::uint8_t>(message.mode), message.vector}, core_.cause);
      break;
  }
  disturb(now);
}

void cpu_engine::drive_lint(unsigned pin, bool high) {
  core_.cause = {};  // somebody outside
  accept_local(core_.local_apic.set_lint(pin, high), core_.time.now());
}

void cpu_engine::raise_local(std::uint32_t lvt_msr) {
  core_.cause = {};
  accept_local(core_.local_apic.raise_local(lvt_msr), core_.time.now());
}

/// What the local APIC has not taken itself.
void cpu_engine::accept_local(const std::optional<apic::interrupt_message>& message, cycles now) {
  if (message)
    accept(*message, now);
  else
    disturb(now);
}

void cpu_engine::reset_to_wait_for_sipi(cycles now) {
  if (core_.activity == cpu_activity::wait_for_sipi) return;
  leave_activity(now);
  core_.local_apic.init();
  arm_apic_timer(now);
  nmi_pending_ = false;
  core_.nmi = {};
  core_.registers = cpu_core::running_state();
  disarm_monitor();
  core_.shadow = false;
  core_.active->set_cpu(nullptr, now);
  core_.active = nullptr;
  core_.book_as(now, bucket::wait_for_sipi);
  core_.activity = cpu_activity::wait_for_sipi;
  if (core_.number == 0) core_.time.arm(core_.step, now + cycles{1}, phase::read);
}

void cpu_engine::arm_apic_timer(cycles now) {
  const cycles next = core_.local_apic.next_timer_event();
  if (next == cycles::never())
    core_.time.disarm(apic_timer_slot_);
  else
    core_.time.arm(apic_timer_slot_, max(next, now + cycles{1}), phase::timer);
}

void cpu_engine::apic_timer_due(cycles now) {
  core_.cause = core_.state(now, timer_fired_fact{0});
  core_.local_apic.timer_fire(now);
  arm_apic_timer(now);
  disturb(now);
}

/// One slot for the two timers that run in a guest only.
void cpu_engine::arm_guest_timers(cycles now) {
  cycles next = cycles::never();
  if (preemption_timer_active_ && !preemption_timer_expired_)
    next = vmx::preemption_timer_expiry(preemption_timer_loaded_, preemption_timer_start_,
                                        core_.caps.preemption_timer_shift());
  if (!guest_timer_pending()) next = std::min(next, apic::next_guest_timer_event(core_.registers.guest_deadline));
  if (next == cycles::never())
    core_.time.disarm(guest_timers_slot_);
  else
    core_.time.arm(guest_timers_slot_, max(now + cycles{1}, next), phase::timer);
}

void cpu_engine::guest_timers_due(cycles now) {
  if (preemption_timer_active_ && !preemption_timer_expired_ &&
      now >= vmx::preemption_timer_expiry(preemption_timer_loaded_, preemption_timer_start_,
                                          core_.caps.preemption_timer_shift())) {
    core_.cause = core_.state(now, timer_fired_fact{1});
    preemption_timer_expired_ = true;
  }
  if (!guest_timer_pending() && apic::guest_timer_due(core_.registers.guest_deadline, now.count())) {
    core_.cause = core_.state(now, timer_fired_fact{2});
    note_guest_timer();
  }
  arm_guest_timers(now);
  disturb(now);
}

// Something became pending: does it end what the CPU is doing? A boundary to come looks for itself.
void cpu_engine::disturb(cycles now) {
  switch (core_.activity) {
    case cpu_activity::computing:
      // A boundary in the middle of the block, after everything else that arrives in this cycle.
      if (wakes()) core_.time.arm(core_.step, now, phase::read);
      break;
    case cpu_activity::spinning:
      materialise(now);
      break;
    case cpu_activity::halted:
      if (wakes()) wake(now);
      break;
    case cpu_activity::waiting:
      if (wakes()) end_wait(now);
      break;
    default:
      break;
  }
}

bool cpu_engine::recognise_in_root(cycles now) {
  const bool shadow = core_.shadowed = std::exchange(core_.shadow, false);
  if (nmi_pending_ && !core_.nmi.blocked() && !shadow) {
    nmi_pending_ = false;
    core_.nmi.deliver();
    deliver(nmi_vector, now, core_.costs.instruction.interrupt);
    return true;
  }
  if (!core_.interrupts_enabled || shadow || core_.local_apic.highest_request() < 0) return false;
  deliver(core_.local_apic.acknowledge(), now, core_.costs.instruction.interrupt);
  return true;
}

/// The most urgent event that acts on the guest in its activity state; `shadow`: of the STI just executed.
vmx::boundary_event cpu_engine::due_in_guest(bool shadow) const {
  const vmx::vmcs& v = *core_.vmx_state.current;
  constexpr std::uint64_t windows = vmx::primary::interrupt_window_exiting | vmx::primary::nmi_window_exiting;
  const bool interrupt = core_.local_apic.highest_request() >= 0;
  if (!interrupt && !init_pending_ && sipi_pending_ < 0 && !nmi_pending_ && !preemption_timer_expired_ &&
      !virtual_work_ && mtf_ != mtf_state::pending && core_.registers.pending_debug == 0 &&
      (vmx::primary_controls(v) & windows) == 0)
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
  s.preemption_timer = preemption_timer_expired_;
  s.nmi = nmi_pending_;
  s.external_interrupt = interrupt;
  if (virtual_work_) add_virtual_work(s);
  return vmx::next_event(v, s);
}

bool cpu_engine::recognise_in_guest(cycles now) {
  const bool shadow = std::exchange(core_.shadow, false);
  core_.shadowed = shadow;
  // One instruction after the entry, or an event before it.
  if (mtf_ == mtf_state::before_first) {
    mtf_ = mtf_state::armed;
    mtf_since_ = now;
  } else if (mtf_ == mtf_state::armed && now > mtf_since_) {
    mtf_ = mtf_state::pending;
  }
  const vmx::boundary_event due = due_in_guest(shadow);
  if (due == vmx::boundary_event::none) return false;
  vmx::vmcs& v = core_.current_vmcs();
  using event = vmx::boundary_event;
  vmx::exit_info info{};
  switch (due) {
    case event::init:
      init_pending_ = false;
      info.reason = vmx::exit_reason::init_signal;
      break;
    case event::sipi:
      info.reason = vmx::exit_reason::startup_ipi;
      info.qualification = static_cast<std::uint64_t>(std::exchange(sipi_pending_, -1));
      break;
    case event::preemption_timer:
      info.reason = vmx::exit_reason::preemption_timer;
      break;
    case event::monitor_trap_flag:
      info.reason = vmx::exit_reason::monitor_trap_flag;
      break;
    case event::debug_trap:
      if (take_debug_trap(now)) return true;
      return false;
    case event::nmi_window:
      info.reason = vmx::exit_reason::nmi_window;
      break;
    case event::interrupt_window:
      info.reason = vmx::exit_reason::interrupt_window;
      break;
    case event::nmi:
      nmi_pending_ = false;
      if (!vmx::nmi_exits(v)) {
        core_.nmi.deliver();
        deliver(nmi_vector, now, core_.costs.instruction.interrupt);
        return true;
      }
      info.reason = vmx::exit_reason::exception_or_nmi;
      info.interruption_information = vmx::encode({nmi_vector, vmx::event_type::nmi, false, false, false, true});
      break;
    case event::trap_like_exit:
      info = take_trap();
      break;
    case event::guest_timer:
      begin_guest_timer_event(now);
      return true;
    case event::virtual_interrupt:
      deliver_virtual_interrupt(now);
      return true;
    case event::external_interrupt:
      if ((vmx::pin_controls(v) & vmx::pin_based::external_interrupt_exiting) == 0) {
        deliver(core_.local_apic.acknowledge(), now, core_.costs.instruction.interrupt);
        return true;
      }
      if ((vmx::pin_controls(v) & vmx::pin_based::process_posted_interrupts) != 0) {
        const std::uint8_t vector = core_.local_apic.acknowledge();
        if (begin_posting(vector, now)) return true;
        info = vmx::external_interrupt_exit(v, vector);
        break;
      }
      info = vmx::external_interrupt_exit(
          v, vmx::acknowledges_interrupt(v) ? core_.local_apic.acknowledge() : std::uint8_t{0});
      break;
    default:
      return false;
  }
  core_.shadowed = false;
  begin_exit(info, now);
  return true;
}

/// Pending debug exceptions that VM entry has loaded: #DB, exits if the exception bitmap says so. SDM Vol. 3C §29.7.3.
bool cpu_engine::take_debug_trap(cycles now) {
  vmx::guest_exception db;
  db.vector = vmx::exception_vector::debug;
  db.qualification = vmx::debug_qualification(core_.registers.pending_debug);
  const vmx::exception_outcome o = vmx::raise_exception(core_.current_vmcs(), db);
  core_.registers.pending_debug = 0;
  if (o.what == vmx::exception_outcome::kind::vm_exit)
    begin_exit(o.exit, now);
  else
    deliver(db.vector, now, core_.costs.instruction.interrupt);
  return true;
}

void cpu_engine::deliver(std::uint8_t vector, cycles now, cycles cost) {
  leave_activity(now);
  if (core_.in_guest) {
    core_.guest_activity = vmx::activity_state::active;
    core_.end_halt();
    core_.shadow = core_.shadowed = false;  // injection ends the shadow that the entry has loaded
  }
  interrupt_table* table = core_.names.table_at(core_.idtr_base);
  if (table == nullptr)
    throw invariant_error("interrupt " + std::to_string(vector) + " on CPU " + std::to_string(core_.number) +
                              ", which has no interrupt table",
                          now);
  core_.state(now, interrupt_fact{vector, static_cast<std::uint8_t>(core_.in_guest)}, core_.cause);
  core_.active->push(table->entry(*this, vector), interrupt_entry, core_.interrupts_enabled);
  core_.interrupts_enabled = false;
  if (cost == cycles{0}) return;
  core_.book(now);
  core_.run_for(cost, now, phase::read);
  core_.activity = cpu_activity::delivering;
}

void cpu_engine::return_from_interrupt(cycles now) {
  core_.book(now);
  core_.run_for(core_.costs.instruction.iret, now, phase::read);
  core_.activity = cpu_activity::returning;
}

// -- the halted state -------------------------------------------------------------------------------------------------

bool cpu_engine::wakes() const {
  const bool interrupt = core_.local_apic.highest_request() >= 0;
  if (interrupt && core_.activity == cpu_activity::waiting && waits_for_masked_) return true;
  if (core_.in_guest) return due_in_guest(false) != vmx::boundary_event::none;
  return (nmi_pending_ && !core_.nmi.blocked()) || (core_.interrupts_enabled && interrupt);
}

// Into the halted state; a guest's may also be shutdown or wait-for-SIPI, as VM entry loaded it.
void cpu_engine::halt(cycles now) {
  if (core_.in_guest && core_.guest_activity == vmx::activity_state::active)
    core_.guest_activity = vmx::activity_state::hlt;
  if (wakes()) {  // nothing to wait for: the STI that preceded casts its shadow over HLT only
    if (!core_.in_guest) core_.end_halt();
    return;
  }
  core_.began = now;
  core_.activity = cpu_activity::halted;
  core_.book_as(now, bucket::idle);
}

void cpu_engine::wake(cycles now) {
  core_.activity = cpu_activity::waking;
  core_.time.arm(core_.step, now + core_.costs.idle_states.front().exit_latency, phase::read);
}

}  // namespace vmxsys::cpu
