#include "detail/monitor_wait.hpp"

#include <vmxsys/vmx/instructions/user_wait.hpp>

namespace vmxsys::cpu {

void monitor_wait::arm(word& line) {
  disarm();
  line_ = &line;
  core_.registers.monitor_armed = true;
  core_.physical.watch(line, *this);
}

void monitor_wait::disarm() {
  core_.registers.monitor_armed = false;
  if (line_ == nullptr) return;
  core_.physical.unwatch(*line_, *this);
  line_ = nullptr;
}

/// A store to the monitored line disarms the monitor and wakes the CPU.
void monitor_wait::line_changed(cycles now) {
  disarm();
  if (core_.activity == cpu_activity::waiting && needs_line(in_flight()))
    core_.time.arm(core_.step, now + cycles{1}, phase::read);
}

bool monitor_wait::begin(system_instruction& i, const duration& timed, cycles now) {
  deadline_ = cycles::never();
  if (i.what.what == vmx::mnemonic::mwait) {
    waits_for_masked_ = (i.what.ecx & vmx::mwait_break_on_interrupt) != 0;
  } else {
    waits_for_masked_ = false;
    if (timed.delay == 0) return false;
    i.a = timed.limited;
    deadline_ = now + cycles{timed.delay};
  }
  core_.began = now;
  core_.activity = cpu_activity::waiting;
  core_.book_as(now, bucket::idle);
  if (deadline_ == cycles::never())
    core_.time.disarm(core_.step);
  else
    core_.time.arm(core_.step, deadline_, phase::read);
  return true;
}

void monitor_wait::end(cycles now) {
  system_instruction& i = in_flight();
  i.result = now == deadline_ ? i.a : 0;
  disarm();
  const bool deep = i.what.what == vmx::mnemonic::mwait;
  core_.complete(i);
  core_.activity = cpu_activity::waking;
  core_.time.arm(core_.step, now + (deep ? core_.costs.idle_states.front().exit_latency : cycles{1}), phase::read);
}

void monitor_wait::abandon() {
  disarm();
  core_.complete(in_flight());
}

}  // namespace vmxsys::cpu
