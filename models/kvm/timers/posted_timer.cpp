#include <array>
#include <stdexcept>

#include <vmxsys/models/kvm/detail/kvm_code.hpp>

#include "detail/host_timer_backend.hpp"

// arch/x86/kvm/lapic.c and vmx/vmx.c, v5.6 to v6.1.
namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

struct options {
  unsigned housekeeping_cpu = 0;
};
constexpr std::array rows{
    row<&options::housekeeping_cpu>("housekeeping_cpu", "CPU", 0, 1023, "CPU of the host on which the timers are"),
};

/// A timer of the host on a housekeeping CPU. It posts: the CPU on which the guest runs learns of its expiry by the
/// notification only (pi_inject_timer, v5.3 and later). Linux leaves a timer on the CPU that arms it if the
/// housekeeping CPU has nothing earlier to do; here it is always moved, by an interrupt to that CPU if need be.
class posted_timer_backend final : public host_timer_backend {
 public:
  explicit posted_timer_backend(unsigned housekeeping_cpu) : housekeeping_cpu_{housekeeping_cpu} {}
  void validate_host(const kernel& host) const override {
    if (housekeeping_cpu_ >= host.cpus()) throw std::invalid_argument("the host has no such housekeeping CPU");
  }
  // apic_timer_expired: a vCPU that is not in its guest takes the interrupt with it when it enters.
  cpu::program expired(vcpu& v) const override {
    auto here = co_await isa::in(code::apic_timer_fn);
    co_await pay_for_timer(v);
    if (v.in_guest_mode()) {
      co_await v.timer().expired(cycles{0}, true);
    } else {
      co_await v.timer().note();
    }
    if (v.timer().needs_host_timer()) co_await start(v);
  }

 private:
  cpu::program arm(vcpu& v, cycles due) const override {
    return v.host().arm_on(housekeeping_cpu_, v.timer().host_timer(), due);
  }

  unsigned housekeeping_cpu_;
};

}  // namespace

extern const timer_backend_entry posted_timer_entry = entry_with<timer_backend_entry, options, rows>(
    "posted", "a timer of the host on a housekeeping CPU, which posts", vmx::required_controls{}, true,
    [](const void* o) -> std::unique_ptr<timer_backend> {
      return std::make_unique<posted_timer_backend>(options_as<options>(o).housekeeping_cpu);
    });

}  // namespace vmxsys::models
