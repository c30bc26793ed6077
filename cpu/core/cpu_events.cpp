#include <utility>

#include <vmxsys/apic/local/startup.hpp>
#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/program/name_space.hpp>

#include "detail/cpu_engine.hpp"

// What reaches a CPU from outside its instruction stream, and when it is recognised.
namespace vmxsys::cpu {

namespace {
constexpr code_location interrupt_entry{"asm_common_interrupt", 0xffffffff81e00a40, 0, 0, bucket::interrupt};
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
        core_.record(now, ipi_arrived_fact{e.message.vector, static_cast<std::uint8_t>(e.message.mode)}, e.cause);
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
      events_.note_nmi();
      break;
    case apic::delivery_mode::init:
      if (core_.in_guest)
        events_.note_init();
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
      events_.note_sipi(message.vector);
      break;
    default:
      core_.record(now, interrupt_lost_fact{static_cast<std::uint8_t>(message.mode), message.vector}, core_.cause);
      break;
  }
  disturb(now);
}

void cpu_engine::drive_lint(unsigned pin, bool high) {
  core_.cause = {};  // from outside
  accept_local(core_.local_apic.set_lint(pin, high), core_.time.now());
}

void cpu_engine::write_apic_page(std::uint32_t offset, unsigned bytes, std::uint64_t value, cycles now) {
  core_.cause = {};  // from outside
  own_apic_.write_page(offset, bytes, value, now);
  disturb(now);
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
  activity_.leave(now);
  core_.local_apic.init();
  own_apic_.arm_timer(now);
  events_.reset();
  core_.nmi = {};
  core_.registers = cpu_core::running_state();
  wait_.disarm();
  core_.shadow = false;
  core_.active->set_cpu(nullptr, now);
  core_.active = nullptr;
  core_.book_as(now, bucket::wait_for_sipi);
  core_.activity = cpu_activity::wait_for_sipi;
  if (core_.number == 0) core_.time.arm(core_.step, now + cycles{1}, phase::read);
}

void cpu_engine::on_apic_timer(void* self, cycles now) {
  of(self).own_apic_.timer_due(now);
  of(self).disturb(now);
}

void cpu_engine::on_guest_timers(void* self, cycles now) {
  of(self).timers_.due(now);
  of(self).disturb(now);
}

// Something became pending: does it end what the CPU is doing? A boundary to come looks for itself.
void cpu_engine::disturb(cycles now) {
  switch (core_.activity) {
    case cpu_activity::computing:
      // A boundary in the middle of the block, after everything else that arrives in this cycle.
      if (events_.wakes()) core_.time.arm(core_.step, now, phase::read);
      break;
    case cpu_activity::spinning:
      spin_.materialise(now);
      break;
    case cpu_activity::halted:
      if (events_.wakes()) wake(now);
      break;
    case cpu_activity::waiting:
      if (events_.wakes()) wait_.end(now);
      break;
    default:
      break;
  }
}

bool cpu_engine::recognise_in_root(cycles now) {
  const int vector = events_.at_root_boundary();
  if (vector < 0) return false;
  deliver(static_cast<std::uint8_t>(vector), now, core_.costs.instruction.interrupt);
  return true;
}

/// A guest's boundary at which something acts. False: it came to nothing.
bool cpu_engine::act_on(vmx::boundary_event event, cycles now) {
  using kind = boundary_decision::kind;
  const boundary_decision d = events_.decide(event);
  switch (d.what) {
    case kind::none:
      return false;
    case kind::deliver:
      deliver(d.vector, now, core_.costs.instruction.interrupt);
      return true;
    case kind::vm_exit:
      if (event != vmx::boundary_event::debug_trap) core_.shadowed = false;
      transition_.begin_exit(d.exit, now);
      return true;
    case kind::posting:
      activity_.leave(now);
      virtual_apic_.begin_posting(d.vector, now);
      return true;
    case kind::guest_timer:
      activity_.leave(now);
      virtual_apic_.begin_timer_event(now);
      return true;
    case kind::virtual_interrupt:
      deliver(virtual_apic_.deliver(now), now, core_.costs.apic.deliver + core_.costs.instruction.interrupt);
      return true;
  }
  return false;
}

/// Posted-interrupt processing or a guest-timer event is over. Back to where the guest was: HLT goes on unless
/// something is due now.
void cpu_engine::end_processing(cycles now) {
  core_.shadow = core_.shadowed;  // no instruction has executed
  events_.note_no_instruction(now);
  core_.activity = cpu_activity::executing;
  if (core_.guest_activity != vmx::activity_state::active) halt(now);
}

void cpu_engine::deliver(std::uint8_t vector, cycles now, cycles cost) {
  activity_.leave(now);
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
  core_.record(now, interrupt_fact{vector, static_cast<std::uint8_t>(core_.in_guest)}, core_.cause);
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

// Into the halted state; a guest's may also be shutdown or wait-for-SIPI, as VM entry loaded it.
void cpu_engine::halt(cycles now) {
  if (core_.in_guest && core_.guest_activity == vmx::activity_state::active)
    core_.guest_activity = vmx::activity_state::hlt;
  if (events_.wakes()) {  // nothing to wait for: the STI that preceded casts its shadow over HLT only
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
