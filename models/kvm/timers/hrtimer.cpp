#include "detail/host_timer_backend.hpp"

// arch/x86/kvm/lapic.c and vmx/vmx.c, v5.6 to v6.1.
namespace vmxsys::models {

namespace {

/// It expires on the CPU on which the vCPU ran last and takes it out of the guest as any interrupt does
/// (start_sw_tscdeadline, KVM_REQ_MIGRATE_TIMER).
class hrtimer_backend final : public host_timer_backend {
 public:
  // KVM_REQ_MIGRATE_TIMER, before the entry counts as one: a timer that is due there posts to itself, without a
  // notification.
  bool must_restart(const vcpu& v) const override {
    const timer_event& timer = v.timer().host_timer();
    return (timer.armed() && timer.cpu() != v.host_cpu()) || v.timer().needs_host_timer();
  }
  cpu::program expired(vcpu& v) const override {
    co_await v.timer().host_timer_expired();
    if (!v.timer().needs_host_timer()) co_return;
    const bool again = co_await start(v);
    if (again && !v.posts()) co_await v.kick();
  }

 private:
  cpu::program arm(vcpu& v, cycles due) const override { return v.host().arm(v.timer().host_timer(), due); }
};

}  // namespace

extern const timer_backend_entry hrtimer_entry = entry_without<timer_backend_entry>(
    "hrtimer", "a timer of the host, which interrupts the CPU on which the vCPU runs", vmx::required_controls{}, false,
    [](const void*) -> std::unique_ptr<timer_backend> { return std::make_unique<hrtimer_backend>(); });

}  // namespace vmxsys::models
