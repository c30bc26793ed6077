#include <array>

#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/models/kvm/detail/kvm_code.hpp>

#include "detail/host_timer_backend.hpp"

// arch/x86/kvm/lapic.c and vmx/vmx.c, v5.6 to v6.1.
namespace vmxsys::models {

namespace isa = cpu::isa;
using vmx::field;

namespace {

/// The guest arms its deadline in the processor, which makes the vector pending when it is reached; a timer of the host
/// while the vCPU halts. For guests whose timer is in TSC-deadline mode: the processor knows no other.
class virtualized_timer_backend final : public timer_backend {
 public:
  void select_controls(vmx::minimal_vmcs_options& options) const override {
    options.tertiary |= vmx::tertiary::apic_timer_virtualization;
  }
  void open(msr_bitmap& bitmap) const override {
    bitmap.allow_read(apic::msr::tsc_deadline);
    bitmap.allow_write(apic::msr::tsc_deadline);
  }
  cpu::program init_vmcs(vcpu&) const override { co_await isa::vmwrite(field::guest_deadline, 0); }
  cpu::program rearmed(vcpu& v) const override { return pay_for_timer(v); }
  cpu::program configured(vcpu& v) const override {
    co_await isa::vmwrite(field::virtual_timer_vector, v.lapic().timer_vector());
  }
  cpu::program before_entry(vcpu&) const override { co_return; }
  cpu::program before_block(vcpu& v) const override {
    const std::uint64_t deadline = co_await isa::vmread(field::guest_deadline);
    if (deadline == 0) co_return;
    co_await pay_for_timer(v);
    co_await v.host().arm(v.timer().host_timer(), cycles{deadline});
  }
  cpu::program after_block(vcpu& v) const override {
    v.host().cancel(v.timer().host_timer());
    co_return;
  }
  // The deadline is over, and the next entry will find it so.
  cpu::program expired(vcpu& v) const override {
    auto here = co_await isa::in(code::apic_timer_fn);
    co_await pay_for_timer(v);
    co_await v.timer().note();
  }
};

constexpr std::array controls{
    vmx::required_control{vmx::control_word::tertiary, vmx::tertiary::apic_timer_virtualization}};

}  // namespace

extern const timer_backend_entry apic_timer_virtualization_entry = entry_without<timer_backend_entry>(
    "apic_timer_virtualization", "the processor keeps the guest's deadline; nothing exits",
    vmx::required_controls{controls}, true,
    [](const void*) -> std::unique_ptr<timer_backend> { return std::make_unique<virtualized_timer_backend>(); });

}  // namespace vmxsys::models
