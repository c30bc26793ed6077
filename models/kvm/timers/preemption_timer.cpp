#include <array>

#include "detail/host_timer_backend.hpp"

// arch/x86/kvm/lapic.c and vmx/vmx.c, v5.6 to v6.1.
namespace vmxsys::models {

namespace {

/// In the guest the VMX-preemption timer, while the vCPU halts a timer of the host (vmx_set_hv_timer,
/// kvm_lapic_switch_to_sw_timer).
class preemption_timer_backend final : public timer_backend {
 public:
  void select_controls(vmx::minimal_vmcs_options& options) const override {
    options.pin |= vmx::pin_based::activate_vmx_preemption_timer;
  }
  // start_hv_timer: what is due is posted here; who injects leaves it to the exit that a timer of 0 makes.
  cpu::program rearmed(vcpu& v) const override {
    co_await pay_for_timer(v);
    if (v.posts()) co_await v.timer().expired();
  }
  cpu::program before_entry(vcpu& v) const override { return v.timer().load_preemption_timer(); }
  cpu::program before_block(vcpu& v) const override {
    const cycles deadline = v.timer().deadline();
    if (deadline == cycles::never()) co_return;
    co_await pay_for_timer(v);
    const cycles lead = v.timer().lead();
    co_await v.host().arm(v.timer().host_timer(), deadline > lead ? deadline - lead : deadline);
  }
  cpu::program after_block(vcpu& v) const override {
    v.host().cancel(v.timer().host_timer());
    co_return;
  }
  cpu::program expired(vcpu& v) const override { return v.timer().host_timer_expired(); }
};

constexpr std::array controls{
    vmx::required_control{vmx::control_word::pin, vmx::pin_based::activate_vmx_preemption_timer}};

}  // namespace

extern const timer_backend_entry preemption_timer_entry = entry_without<timer_backend_entry>(
    "preemption_timer", "the VMX-preemption timer in the guest, a timer of the host while the vCPU halts",
    vmx::required_controls{controls}, false,
    [](const void*) -> std::unique_ptr<timer_backend> { return std::make_unique<preemption_timer_backend>(); });

}  // namespace vmxsys::models
