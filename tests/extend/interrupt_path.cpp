#include <array>
#include <memory>

#include <vmxsys/models/kvm/interrupts/interrupt_path.hpp>
#include <vmxsys/models/kvm/kvm.hpp>

// An interrupt path of one's own: the one that injects at VM entry, with a sender that takes longer.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::models;

namespace {

struct options {
  duration delay = duration::us(2);
};
constexpr std::array rows{
    row<&options::delay>("delay", duration{}, duration::ms(1), "what the sender does before the target gets it")};

class slow_injection final : public interrupt_path {
 public:
  explicit slow_injection(duration delay) : delay_{delay} {}

  void select_controls(vmx::minimal_vmcs_options& to, apic::apic_mode mode) const override {
    inner_->select_controls(to, mode);
  }
  cpu::program init_vmcs(vcpu& v) const override { return inner_->init_vmcs(v); }
  cpu::program accept(vcpu& target, std::uint8_t vector) const override {
    co_await cpu::isa::compute(delay_.to_cycles(target.host().config().tsc_khz));
    co_await inner_->accept(target, vector);
  }
  cpu::program accept_level_triggered(vcpu& target, std::uint8_t vector) const override {
    return inner_->accept_level_triggered(target, vector);
  }

 private:
  duration delay_;
  std::unique_ptr<interrupt_path> inner_ = interrupt_paths().select().make();
};

}  // namespace

extern const interrupt_path_entry slow_injection_entry = entry_with<interrupt_path_entry, options, rows>(
    "slow_injection", "as injected, after a delay", vmx::required_controls{}, false, false,
    [](const void* o) -> std::unique_ptr<interrupt_path> {
      return std::make_unique<slow_injection>(options_as<options>(o).delay);
    });

}  // namespace extend
