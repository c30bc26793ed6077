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

#include "logical_cpu.hpp"

// What reaches a CPU from outside its instruction stream, and when it is recognised.
namespace vmxsys::cpu {

namespace {
constexpr code_location interrupt_entry{"asm_common_interrupt", 0xffffffff81e00a40, 0, 0, bucket::interrupt};
constexpr std::uint8_t nmi_vector = 2;
}  // namespace

void logical_cpu::post(const inbox::entry& message) {
  inbox::entry numbered = message;
  numbered.sequence = ++sent_;
  if (numbered.at <= time_.now()) throw invariant_error("an interrupt message arrives without flight", time_.now());
  inbox_.post(numbered);
  time_.arm(inbox_slot_, inbox_.next(), phase::message);
}

void logical_cpu::take_messages(cycles now) {
  while (!inbox_.empty() && inbox_.next() == now) {
    const inbox::entry e = inbox_.take();
    cause_ = machine_.facts().state(
        source_, now, ipi_arrived_fact{e.message.vector, static_cast<std::uint8_t>(e.message.mode)}, e.cause);
    accept(e.message, now);
  }
  if (!inbox_.empty()) time_.arm(inbox_slot_, inbox_.next(), phase::message);
}

void logical_cpu::accept(const apic::interrupt_message& message, cycles now) {
  if (registers_.vmx_abort != 0) return;  // only RESET ends it
  switch (message.mode) {
    case apic::delivery_mode::fixed:
    case apic::delivery_mode::lowest_priority:
      apic_.accept(message.vector, message.level);
      break;
    case apic::delivery_mode::nmi:
      nmi_pending_ = true;
      break;
    case apic::delivery_mode::init:
      if (in_guest_)
        init_pending_ = true;
      else if (vmx_.mode != vmx::operation::off)
        vmx_.latched_init = true;  // also in the midst of a VM exit
      else
        reset_to_wait_for_sipi(now);
      break;
    case apic::delivery_mode::startup:
      if (activity_ == activity::wait_for_sipi && number_ != 0) {
        start_at(apic::startup_address_of(message.vector).base, now);
        return;
      }
      if (in_guest_ && guest_activity_ == vmx::activity_state::wait_for_sipi && sipi_pending_ < 0)
        sipi_pending_ = message.vector;
      break;  // dropped in every other state
    default:
      machine_.facts().state(source_, now, interrupt_lost_fact{static_cast<std::uint8_t>(message.mode), message.vector},
                             cause_);
      break;
  }
  disturb(now);
}

void logical_cpu::drive_lint(unsigned pin, bool high) {
  cause_ = {};  // somebody outside
  accept_local(apic_.set_lint(pin, high), time_.now());
}

void logical_cpu::raise_local(std::uint32_t lvt_msr) {
  cause_ = {};
  accept_local(apic_.raise_local(lvt_msr), time_.now());
}

/// What the local APIC has not taken itself.
void logical_cpu::accept_local(const std::optional<apic::interrupt_message>& message, cycles now) {
  if (message)
    accept(*message, now);
  else
    disturb(now);
}

void logical_cpu::reset_to_wait_for_sipi(cycles now) {
  if (activity_ == activity::wait_for_sipi) return;
  leave_activity(now);
  apic_.init();
  arm_apic_timer(now);
  nmi_pending_ = false;
  nmi_ = {};
  registers_ = running_state();
  disarm_monitor();
  shadow_ = false;
  active_->set_cpu(nullptr, now);
  active_ = nullptr;
  book_as(now, bucket::wait_for_sipi);
  activity_ = activity::wait_for_sipi;
  if (number_ == 0) time_.arm(step_, now + cycles{1}, phase::read);
}

void logical_cpu::arm_apic_timer(cycles now) {
  const cycles next = apic_.next_timer_event();
  if (next == cycles::never())
    time_.disarm(apic_timer_slot_);
  else
    time_.arm(apic_timer_slot_, max(next, now + cycles{1}), phase::timer);
}

void logical_cpu::apic_timer_due(cycles now) {
  cause_ = machine_.facts().state(source_, now, timer_fired_fact{0});
  apic_.timer_fire(now);
  arm_apic_timer(now);
  disturb(now);
}

/// One slot for the two timers that run in a guest only.
void logical_cpu::arm_guest_timers(cycles now) {
  cycles next = cycles::never();
  if (preemption_timer_active_ && !preemption_timer_expired_)
    next = vmx::preemption_timer_expiry(preemption_timer_loaded_, preemption_timer_start_,
                                        machine_.config().capabilities.preemption_timer_shift());
  if (!guest_timer_pending()) next = std::min(next, apic::next_guest_timer_event(registers_.guest_deadline));
  if (next == cycles::never())
    time_.disarm(guest_timers_slot_);
  else
    time_.arm(guest_timers_slot_, max(now + cycles{1}, next), phase::timer);
}

void logical_cpu::guest_timers_due(cycles now) {
  if (preemption_timer_active_ && !preemption_timer_expired_ &&
      now >= vmx::preemption_timer_expiry(preemption_timer_loaded_, preemption_timer_start_,
                                          machine_.config().capabilities.preemption_timer_shift())) {
    cause_ = machine_.facts().state(source_, now, timer_fired_fact{1});
    preemption_timer_expired_ = true;
  }
  if (!guest_timer_pending() && apic::guest_timer_due(registers_.guest_deadline, now.count())) {
    cause_ = machine_.facts().state(source_, now, timer_fired_fact{2});
    note_guest_timer();
  }
  arm_guest_timers(now);
  disturb(now);
}

// Something became pending: does it end what the CPU is doing? A boundary to come looks for itself.
void logical_cpu::disturb(cycles now) {
  switch (activity_) {
    case activity::computing:
      // A boundary in the middle of the block, after everything else that arrives in this cycle.
      if (wakes()) time_.arm(step_, now, phase::read);
      break;
    case activity::spinning:
      materialise(now);
      break;
    case activity::halted:
      if (wakes()) wake(now);
      break;
    case activity::waiting:
      if (wakes()) end_wait(now);
      break;
    default:
      break;
  }
}

bool logical_cpu::recognise_in_root(cycles now) {
  const bool shadow = shadowed_ = std::exchange(shadow_, false);
  if (nmi_pending_ && !nmi_.blocked() && !shadow) {
    nmi_pending_ = false;
    nmi_.deliver();
    deliver(nmi_vector, now, machine_.costs().instruction.interrupt);
    return true;
  }
  if (!interrupts_enabled_ || shadow || apic_.highest_request() < 0) return false;
  deliver(apic_.acknowledge(), now, machine_.costs().instruction.interrupt);
  return true;
}

/// The most urgent event that acts on the guest in its activity state; `shadow`: of the STI just executed.
vmx::boundary_event logical_cpu::due_in_guest(bool shadow) const {
  const vmx::vmcs& v = *vmx_.current;
  constexpr std::uint64_t windows = vmx::primary::interrupt_window_exiting | vmx::primary::nmi_window_exiting;
  const bool interrupt = apic_.highest_request() >= 0;
  if (!interrupt && !init_pending_ && sipi_pending_ < 0 && !nmi_pending_ && !preemption_timer_expired_ &&
      !virtual_work_ && mtf_ != mtf_state::pending && registers_.pending_debug == 0 &&
      (vmx::primary_controls(v) & windows) == 0)
    return vmx::boundary_event::none;
  vmx::boundary_state s;
  s.activity = guest_activity_;
  s.waiting = activity_ == activity::waiting;
  s.blocking = {interrupts_enabled_ ? vmx::rflags_bits::interrupt_flag : 0,
                (shadow ? vmx::interruptibility::sti : 0) | nmi_.saved(*nmi_rule_)};
  s.init = init_pending_;
  s.sipi = sipi_pending_ >= 0;
  s.monitor_trap_flag = mtf_ == mtf_state::pending;
  s.pending_debug = registers_.pending_debug;
  s.preemption_timer = preemption_timer_expired_;
  s.nmi = nmi_pending_;
  s.external_interrupt = interrupt;
  if (virtual_work_) add_virtual_work(s);
  return vmx::next_event(v, s);
}

bool logical_cpu::recognise_in_guest(cycles now) {
  const bool shadow = std::exchange(shadow_, false);
  shadowed_ = shadow;
  // One instruction after the entry, or an event before it.
  if (mtf_ == mtf_state::before_first) {
    mtf_ = mtf_state::armed;
    mtf_since_ = now;
  } else if (mtf_ == mtf_state::armed && now > mtf_since_) {
    mtf_ = mtf_state::pending;
  }
  const vmx::boundary_event due = due_in_guest(shadow);
  if (due == vmx::boundary_event::none) return false;
  vmx::vmcs& v = current_vmcs();
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
        nmi_.deliver();
        deliver(nmi_vector, now, machine_.costs().instruction.interrupt);
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
        deliver(apic_.acknowledge(), now, machine_.costs().instruction.interrupt);
        return true;
      }
      if ((vmx::pin_controls(v) & vmx::pin_based::process_posted_interrupts) != 0) {
        const std::uint8_t vector = apic_.acknowledge();
        if (begin_posting(vector, now)) return true;
        info = vmx::external_interrupt_exit(v, vector);
        break;
      }
      info = vmx::external_interrupt_exit(v, vmx::acknowledges_interrupt(v) ? apic_.acknowledge() : std::uint8_t{0});
      break;
    default:
      return false;
  }
  shadowed_ = false;
  begin_exit(info, now);
  return true;
}

/// Pending debug exceptions that VM entry has loaded: #DB, exits if the exception bitmap says so. SDM Vol. 3C §29.7.3.
bool logical_cpu::take_debug_trap(cycles now) {
  vmx::guest_exception db;
  db.vector = vmx::exception_vector::debug;
  db.qualification = vmx::debug_qualification(registers_.pending_debug);
  const vmx::exception_outcome o = vmx::raise_exception(current_vmcs(), db);
  registers_.pending_debug = 0;
  if (o.what == vmx::exception_outcome::kind::vm_exit)
    begin_exit(o.exit, now);
  else
    deliver(db.vector, now, machine_.costs().instruction.interrupt);
  return true;
}

void logical_cpu::deliver(std::uint8_t vector, cycles now, cycles cost) {
  leave_activity(now);
  if (in_guest_) {
    guest_activity_ = vmx::activity_state::active;
    end_halt();
    shadow_ = shadowed_ = false;  // injection ends the shadow that the entry has loaded
  }
  interrupt_table* table = machine_.names().table_at(idtr_base_);
  if (table == nullptr)
    throw invariant_error(
        "interrupt " + std::to_string(vector) + " on CPU " + std::to_string(number_) + ", which has no interrupt table",
        now);
  machine_.facts().state(source_, now, interrupt_fact{vector, static_cast<std::uint8_t>(in_guest_)}, cause_);
  active_->push(table->entry(*this, vector), interrupt_entry, interrupts_enabled_);
  interrupts_enabled_ = false;
  if (cost == cycles{0}) return;
  book(now);
  run_for(cost, now, phase::read);
  activity_ = activity::delivering;
}

void logical_cpu::return_from_interrupt(cycles now) {
  book(now);
  run_for(machine_.costs().instruction.iret, now, phase::read);
  activity_ = activity::returning;
}

// -- the halted state -------------------------------------------------------------------------------------------------

bool logical_cpu::wakes() const {
  const bool interrupt = apic_.highest_request() >= 0;
  if (interrupt && activity_ == activity::waiting && waits_for_masked_) return true;
  if (in_guest_) return due_in_guest(false) != vmx::boundary_event::none;
  return (nmi_pending_ && !nmi_.blocked()) || (interrupts_enabled_ && interrupt);
}

// Into the halted state; a guest's may also be shutdown or wait-for-SIPI, as VM entry loaded it.
void logical_cpu::halt(cycles now) {
  if (in_guest_ && guest_activity_ == vmx::activity_state::active) guest_activity_ = vmx::activity_state::hlt;
  if (wakes()) {  // nothing to wait for: the STI that preceded casts its shadow over HLT only
    if (!in_guest_) end_halt();
    return;
  }
  began_ = now;
  activity_ = activity::halted;
  book_as(now, bucket::idle);
}

/// The HLT in flight, if it has executed, is over. In a guest it stays in flight while the activity state is HLT.
void logical_cpu::end_halt() {
  if (instruction* i = active_->in_flight(); i != nullptr && i->code == opcode::hlt && i->started) complete(*i);
}

void logical_cpu::wake(cycles now) {
  activity_ = activity::waking;
  time_.arm(step_, now + machine_.costs().idle_states.front().exit_latency, phase::read);
}

}  // namespace vmxsys::cpu
