#include <array>
#include <memory>

#include <vmxsys/models/kvm/kvm.hpp>
#include <vmxsys/models/kvm/timers/timer_backend.hpp>

// A timer backend of one's own: that of the host's timers, with a handler that takes longer.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::models;

namespace {

struct options {
  duration delay = duration::us(5);
};
constexpr std::array rows{
    row<&options::delay>("delay", duration{}, duration::ms(1), "from the host's timer interrupt to the expiry")};

class late_timer final : public timer_backend {
 public:
  explicit late_timer(duration delay) : delay_{delay} {}

  cpu::program rearmed(vcpu& v) const override { return inner_->rearmed(v); }
  bool must_restart(const vcpu& v) const override { return inner_->must_restart(v); }
  cpu::program restart(vcpu& v) const override { return inner_->restart(v); }
  cpu::program before_entry(vcpu& v) const override { return inner_->before_entry(v); }
  cpu::program before_block(vcpu& v) const override { return inner_->before_block(v); }
  cpu::program after_block(vcpu& v) const override { return inner_->after_block(v); }
  cpu::program expired(vcpu& v) const override {
    co_await cpu::isa::compute(delay_.to_cycles(v.host().config().tsc_khz));
    co_await inner_->expired(v);
  }

 private:
  duration delay_;
  std::unique_ptr<timer_backend> inner_ = timer_backends().select("hrtimer").make();
};

}  // namespace

extern const timer_backend_entry late_timer_entry = entry_with<timer_backend_entry, options, rows>(
    "late_timer", "a timer of the host whose handler is slow", vmx::required_controls{}, false,
    [](const void* o) -> std::unique_ptr<timer_backend> {
      return std::make_unique<late_timer>(options_as<options>(o).delay);
    });

}  // namespace extend
