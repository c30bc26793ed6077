#include "spin_policy.hpp"

namespace vmxsys::models {

namespace {

struct options {
  duration time = duration::us(100);
};
constexpr std::array rows{
    row<&options::time>("duration", duration::us(1), duration::s(1), "how long the spinner sleeps")
        .from("Linux v2.6.33, virt/kvm/kvm_main.c, kvm_vcpu_on_spin"),
};

/// The first handler: the spinner sleeps for a fixed time, and other threads, the lock holder's perhaps, may run
/// meanwhile. No sibling is helped in particular. Source: virt/kvm/kvm_main.c, v2.6.33, kvm_vcpu_on_spin.
class sleep_on_spin final : public spin_policy {
 public:
  explicit sleep_on_spin(duration time) : time_{time} {}
  vcpu_yield_rules yield_rules() const override { return {false, false}; }
  cpu::program on_spin(spin_context& context) override { co_await context.sleep(time_); }

 private:
  duration time_;
};

}  // namespace

extern const spin_policy_entry sleep_on_spin_entry = entry_with<spin_policy_entry, options, rows>(
    "sleep", "the spinner sleeps for a fixed time", "v2.6.33", [](const void* o) -> std::unique_ptr<spin_policy> {
      return std::make_unique<sleep_on_spin>(options_as<options>(o).time);
    });

}  // namespace vmxsys::models
