#include "detail/guest_timers.hpp"

#include <algorithm>

#include <vmxsys/apic/virtualization/guest_timer.hpp>
#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/vmx/events/preemption_timer.hpp>

namespace vmxsys::cpu {

cycles guest_timers::expiry() const {
  return vmx::preemption_timer_expiry(loaded_, start_, core_.caps.preemption_timer_shift());
}

void guest_timers::start_preemption_timer(std::uint32_t count, cycles now) {
  start_ = count;
  active_ = true;
  loaded_ = now;
  expired_ = count == 0;
  arm(now);
}

void guest_timers::stop() {
  core_.time.disarm(slot_);
  active_ = false;
  expired_ = false;
  deadline_due_ = false;
}

void guest_timers::arm(cycles now) {
  cycles next = cycles::never();
  if (active_ && !expired_) next = expiry();
  if (!deadline_due_) next = std::min(next, apic::next_guest_timer_event(core_.registers.guest_deadline));
  if (next == cycles::never())
    core_.time.disarm(slot_);
  else
    core_.time.arm(slot_, max(now + cycles{1}, next), phase::timer);
}

void guest_timers::due(cycles now) {
  if (active_ && !expired_ && now >= expiry()) {
    core_.cause = core_.record(now, timer_fired_fact{1});
    expired_ = true;
  }
  if (!deadline_due_ && apic::guest_timer_due(core_.registers.guest_deadline, now.count())) {
    core_.cause = core_.record(now, timer_fired_fact{2});
    deadline_due_ = true;
  }
  arm(now);
}

void guest_timers::save_preemption_timer(cycles now) {
  if (active_)
    core_.registers.preemption_timer =
        vmx::preemption_timer_value(loaded_, start_, core_.caps.preemption_timer_shift(), now);
}

}  // namespace vmxsys::cpu
