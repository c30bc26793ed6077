#pragma once
#include <vmxsys/models/kvm/kvm.hpp>
#include <vmxsys/models/kvm/timers/timer_backend.hpp>

namespace vmxsys::models {

/// What arming a backend costs.
inline cpu::program pay_for_timer(vcpu& v) { co_await cpu::isa::compute(v.hypervisor().costs().program_timer); }

/// A timer of the host at all times.
class host_timer_backend : public timer_backend {
 public:
  cpu::program rearmed(vcpu& v) const override {
    co_await pay_for_timer(v);
    co_await restart(v);
  }
  // A periodic timer starts anew when its expiry has been taken.
  bool must_restart(const vcpu& v) const override { return v.timer().needs_host_timer(); }
  cpu::program restart(vcpu& v) const final {
    const bool enabled = co_await irq_save();
    co_await start(v);
    co_await irq_restore(enabled);
  }
  cpu::program before_entry(vcpu&) const override { co_return; }
  cpu::program before_block(vcpu& v) const override {
    if (v.timer().needs_host_timer()) co_await start(v);
  }
  cpu::program after_block(vcpu&) const override { co_return; }

 protected:
  /// Arms the vCPU's software timer where this backend has it. Interrupts are off.
  virtual cpu::program arm(vcpu& v, cycles due) const = 0;

  /// Interrupts are off. True if the timer has expired instead.
  cpu::task<bool> start(vcpu& v) const {
    kernel& host = v.host();
    const cycles deadline = v.timer().deadline();
    const cycles lead = v.timer().lead();
    host.cancel(v.timer().host_timer());
    if (deadline == cycles::never()) co_return false;
    if (deadline <= host.hardware().time().now() + lead) {
      co_await v.timer().expired();
      co_return true;
    }
    co_await arm(v, deadline - lead);
    co_return false;
  }
};

}  // namespace vmxsys::models
