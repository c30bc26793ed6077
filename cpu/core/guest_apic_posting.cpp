#include <algorithm>
#include <utility>

#include <vmxsys/apic/virtualization/guest_timer.hpp>
#include <vmxsys/apic/virtualization/ipi_virtualization.hpp>

#include "detail/guest_apic_view.hpp"

// What of a guest's local APIC takes steps in time: posted-interrupt processing, the guest-timer event, and IPIs on
// their way into a descriptor.
namespace vmxsys::cpu {

using vmx::field;

void guest_apic::take_time(cycles duration, cpu_activity what, cycles now, phase in) {
  core_.run_for(duration, now, in);
  core_.activity = what;
}

/// The guest has stopped for work of the processor that nothing interrupts and no instruction is part of.
void guest_apic::begin_processing(cycles duration, cpu_activity what, cycles now) {
  core_.account.enter(now, vmx_operation::non_root, bucket::interrupt);
  take_time(duration, what, now, phase::read);
}

// -- posted-interrupt processing, SDM Vol. 3C §32.6 -------------------------------------------------------------------

bool guest_apic::acknowledge(std::uint8_t vector) {
  held_->posting = {};
  return held_->posting.acknowledge(core_.current_vmcs(), vector);
}

void guest_apic::begin_posting(std::uint8_t vector, cycles now) {
  begin_processing(core_.costs.apic.acknowledge, cpu_activity::posting, now);
  state_posting_step(apic::posting_step::acknowledge, vector, now);
  held_->acknowledging = true;
}

void guest_apic::state_posting_step(apic::posting_step step, std::uint16_t value, cycles now) {
  core_.cause = core_.record(now, posting_step_fact{step, value}, core_.cause);
}

/// The next step begins: when does it take effect?
void guest_apic::issue_posting_step(cycles now) {
  const apic_costs& cost = core_.costs.apic;
  const physical_address descriptor = core_.current_vmcs().read(field::posted_interrupt_descriptor_address);
  const auto on_descriptor = [&](cycles hit) {
    const cycles done = core_.physical.issue_exclusive_at(descriptor, core_.number, now, hit);
    take_time(done - now, cpu_activity::posting, now, phase::effect);
  };
  switch (held_->posting.next) {
    case apic::posting_step::clear_on:
      on_descriptor(cost.clear_outstanding);
      break;
    case apic::posting_step::write_eoi:
      take_time(cost.write_eoi, cpu_activity::posting, now, phase::read);
      break;
    case apic::posting_step::merge_pir:
      on_descriptor(cost.merge_requests);
      break;
    case apic::posting_step::raise_rvi:
      take_time(cost.raise_rvi, cpu_activity::posting, now, phase::read);
      break;
    default:
      take_time(cost.evaluate, cpu_activity::posting, now, phase::read);
      break;
  }
}

bool guest_apic::continue_posting(cycles now) {
  held& g = *held_;
  if (std::exchange(g.acknowledging, false)) {
    issue_posting_step(now);
    return false;
  }
  view on{core_, g};
  const apic::posting_step step = g.posting.next;
  std::uint16_t value = 0;
  if (step == apic::posting_step::clear_on)
    value = apic::read_descriptor_info(on.memory, on.a.v.read(field::posted_interrupt_descriptor_address)).outstanding;
  if (step == apic::posting_step::write_eoi) own_.end_of_interrupt(now);
  g.posting.step(on.a);
  if (step == apic::posting_step::merge_pir)
    value = static_cast<std::uint16_t>(std::max<int>(g.posting.highest_posted, 0));
  if (step == apic::posting_step::raise_rvi) value = g.state.rvi;
  if (step == apic::posting_step::evaluate) value = g.state.recognized;
  state_posting_step(step, value, now);
  if (g.posting.next != apic::posting_step::done) {
    issue_posting_step(now);
    return false;
  }
  note_work();
  return true;
}

// -- APIC-timer virtualization ----------------------------------------------------------------------------------------

void guest_apic::begin_timer_event(cycles now) {
  begin_processing(core_.costs.apic.guest_timer, cpu_activity::guest_timer, now);
}

void guest_apic::end_timer_event() {
  view on{core_, *held_};
  apic::guest_timer_event(on.a, core_.registers.guest_deadline);
  timers_.set_deadline_due(false);
  note_work();
}

// -- IPI virtualization, SDM Vol. 3C §32.1.6 --------------------------------------------------------------------------

bool guest_apic::send_on_descriptor(ipi_step next, physical_address at, cycles hit, cycles now) {
  held_->sending.step = next;
  const cycles done = core_.physical.issue_exclusive_at(at, core_.number, now, hit);
  take_time(done - now, cpu_activity::sending, now, phase::effect);
  return false;
}

bool guest_apic::continue_sending(cycles now) {
  ipi& moving = held_->sending;
  const apic_costs& cost = core_.costs.apic;
  memory_of_cpu memory{core_.physical, core_.number};
  const auto over = [&](std::uint16_t value) {
    moving.cause = core_.record(now, ipi_step_fact{moving.step, moving.descriptor, value}, moving.cause);
  };
  namespace layout = apic::posted_interrupt_descriptor;
  switch (moving.step) {
    case ipi_step::look_up:
      over(moving.vector);
      return send_on_descriptor(ipi_step::set_pir, layout::pir_word_of(moving.descriptor, moving.vector),
                                cost.post_request, now);
    case ipi_step::set_pir:
      over(apic::set_pir(memory, moving.descriptor, moving.vector));
      return send_on_descriptor(ipi_step::announce, moving.descriptor + layout::information, cost.post_notification,
                                now);
    case ipi_step::announce:
      moving.notify = apic::announce(memory, moving.descriptor);
      over(moving.notify.has_value());
      if (!moving.notify) break;
      moving.step = ipi_step::notify;
      take_time(cost.send_notification, cpu_activity::sending, now, phase::read);
      return false;
    default:
      over(moving.notify->vector);
      own_.notify(*moving.notify, moving.cause, now);
      break;
  }
  moving.step = ipi_step::done;
  core_.complete(*core_.active->in_flight());
  return true;
}

}  // namespace vmxsys::cpu
