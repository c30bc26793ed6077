#include "timer_backend.hpp"

#include <vector>

#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/models/kvm/detail/kvm_code.hpp>
#include <vmxsys/models/kvm/kvm.hpp>

// arch/x86/kvm/lapic.c and vmx/vmx.c, v5.6 to v6.1.
namespace vmxsys::models {

namespace isa = cpu::isa;
using vmx::field;
namespace {

cpu::program pay(vcpu& v) { co_await isa::compute(v.vm().hypervisor().costs().program_timer); }

/// In the guest the VMX-preemption timer, while the vCPU halts a timer of the host (vmx_set_hv_timer,
/// kvm_lapic_switch_to_sw_timer).
class preemption_timer_backend final : public timer_backend {
 public:
  const char* name() const noexcept override { return "preemption_timer"; }
  void ask_for(vmx::minimal_vmcs_options& options) const override {
    options.pin |= vmx::pin_based::activate_vmx_preemption_timer;
  }
  // start_hv_timer: what is due is posted here; who injects leaves it to the exit that a timer of 0 makes.
  cpu::program rearmed(vcpu& v) const override {
    co_await pay(v);
    if (v.posts()) co_await v.timer_expired();
  }
  cpu::program before_entry(vcpu& v) const override { return v.load_preemption_timer(); }
  cpu::program before_block(vcpu& v) const override {
    const cycles deadline = v.timer_deadline();
    if (deadline == cycles::never()) co_return;
    co_await pay(v);
    const cycles lead = v.timer_lead();
    co_await v.vm().hypervisor().host().arm(v.software_timer(), deadline > lead ? deadline - lead : deadline);
  }
  cpu::program after_block(vcpu& v) const override {
    v.vm().hypervisor().host().cancel(v.software_timer());
    co_return;
  }
  cpu::program expired(vcpu& v) const override { return v.software_timer_expired(); }
};

/// A timer of the host at all times, wherever it is.
class host_timer_backend : public timer_backend {
 public:
  cpu::program rearmed(vcpu& v) const override {
    co_await pay(v);
    co_await restart(v);
  }
  // A periodic timer starts anew when its expiry has been taken.
  bool must_restart(const vcpu& v) const override { return v.timer_waits_for_nobody(); }
  cpu::program restart(vcpu& v) const final {
    const bool enabled = co_await irq_save();
    co_await start(v);
    co_await irq_restore(enabled);
  }
  cpu::program before_entry(vcpu&) const override { co_return; }
  cpu::program before_block(vcpu& v) const override {
    if (v.timer_waits_for_nobody()) co_await start(v);
  }
  cpu::program after_block(vcpu&) const override { co_return; }

 protected:
  /// Arms the vCPU's software timer where this backend has it. Interrupts are off.
  virtual cpu::program arm(vcpu& v, cycles due) const = 0;

  /// Interrupts are off.
  cpu::program start(vcpu& v) const {
    kernel& host = v.vm().hypervisor().host();
    const cycles deadline = v.timer_deadline();
    const cycles lead = v.timer_lead();
    host.cancel(v.software_timer());
    if (deadline == cycles::never()) co_return;
    if (deadline <= host.hardware().time().now() + lead) {
      co_await v.timer_expired();
    } else {
      co_await arm(v, deadline - lead);
    }
  }
};

/// It expires on the CPU on which the vCPU ran last and takes it out of the guest as any interrupt does
/// (start_sw_tscdeadline, KVM_REQ_MIGRATE_TIMER).
class hrtimer_backend final : public host_timer_backend {
 public:
  const char* name() const noexcept override { return "hrtimer"; }
  // KVM_REQ_MIGRATE_TIMER, before the entry counts as one: a timer that is due there posts to itself, and nobody would
  // notify it.
  bool must_restart(const vcpu& v) const override {
    const timer_event& timer = v.software_timer();
    return (timer.armed() && timer.cpu() != v.host_cpu()) || v.timer_waits_for_nobody();
  }
  cpu::program expired(vcpu& v) const override {
    co_await v.software_timer_expired();
    if (v.timer_waits_for_nobody()) co_await start(v);
  }

 private:
  cpu::program arm(vcpu& v, cycles due) const override {
    return v.vm().hypervisor().host().arm(v.software_timer(), due);
  }
};

/// A timer of the host on a housekeeping CPU. It posts: the CPU on which the guest runs hears of its expiry by the
/// notification only (pi_inject_timer, v5.3 and later). Linux leaves a timer on the CPU that arms it if the
/// housekeeping CPU has nothing earlier to do; here it is always moved, by an interrupt to that CPU if need be.
class posted_timer_backend final : public host_timer_backend {
 public:
  const char* name() const noexcept override { return "posted"; }
  // apic_timer_expired: who is not in its guest takes the interrupt with it when it enters.
  cpu::program expired(vcpu& v) const override {
    auto here = co_await isa::in(code::apic_timer_fn);
    co_await pay(v);
    if (v.in_guest_mode()) {
      co_await v.timer_expired(cycles{0}, true);
    } else {
      co_await v.note_timer();
    }
    if (v.timer_waits_for_nobody()) co_await start(v);
  }

 private:
  cpu::program arm(vcpu& v, cycles due) const override {
    kvm& k = v.vm().hypervisor();
    return k.host().arm_on(k.config().housekeeping_cpu, v.software_timer(), due);
  }
};

/// The guest arms its deadline in the processor, which makes the vector pending when it is reached; a timer of the host
/// while the vCPU halts. For guests whose timer is in TSC-deadline mode: the processor knows no other.
class virtualized_timer_backend final : public timer_backend {
 public:
  const char* name() const noexcept override { return "apic_timer_virtualization"; }
  void ask_for(vmx::minimal_vmcs_options& options) const override {
    options.tertiary |= vmx::tertiary::apic_timer_virtualization;
  }
  void open(msr_bitmap& bitmap) const override {
    bitmap.allow_read(apic::msr::tsc_deadline);
    bitmap.allow_write(apic::msr::tsc_deadline);
  }
  cpu::program set_up(vcpu&) const override { co_await isa::vmwrite(field::guest_deadline, 0); }
  cpu::program rearmed(vcpu& v) const override { return pay(v); }
  cpu::program configured(vcpu& v) const override {
    co_await isa::vmwrite(field::virtual_timer_vector, v.timer_vector());
  }
  cpu::program before_entry(vcpu&) const override { co_return; }
  cpu::program before_block(vcpu& v) const override {
    const std::uint64_t deadline = co_await isa::vmread(field::guest_deadline);
    if (deadline == 0) co_return;
    co_await pay(v);
    co_await v.vm().hypervisor().host().arm(v.software_timer(), cycles{deadline});
  }
  cpu::program after_block(vcpu& v) const override {
    v.vm().hypervisor().host().cancel(v.software_timer());
    co_return;
  }
  // The deadline is over, and the next entry will find it so.
  cpu::program expired(vcpu& v) const override {
    auto here = co_await isa::in(code::apic_timer_fn);
    co_await pay(v);
    co_await v.note_timer();
  }
};

}  // namespace

cpu::program timer_backend::set_up(vcpu&) const { co_return; }
cpu::program timer_backend::configured(vcpu&) const { co_return; }
cpu::program timer_backend::restart(vcpu&) const { co_return; }

std::span<const timer_backend_entry> timer_backends() {
  static const std::vector<timer_backend_entry> all{
      {"preemption_timer",
       "the VMX-preemption timer in the guest, a timer of the host while the vCPU halts",
       {{vmx::control_word::pin, vmx::pin_based::activate_vmx_preemption_timer}},
       false,
       [] { return std::make_unique<preemption_timer_backend>(); }},
      {"hrtimer",
       "a timer of the host, which interrupts the CPU on which the vCPU runs",
       {},
       false,
       [] { return std::make_unique<hrtimer_backend>(); }},
      {"posted",
       "a timer of the host on a housekeeping CPU, which posts",
       {},
       true,
       [] { return std::make_unique<posted_timer_backend>(); }},
      {"apic_timer_virtualization",
       "the processor keeps the guest's deadline; nothing exits",
       {{vmx::control_word::tertiary, vmx::tertiary::apic_timer_virtualization}},
       true,
       [] { return std::make_unique<virtualized_timer_backend>(); }},
  };
  return all;
}

const timer_backend_entry* find_timer_backend(std::string_view name) {
  for (const timer_backend_entry& entry : timer_backends())
    if (name == entry.name) return &entry;
  return nullptr;
}

}  // namespace vmxsys::models
