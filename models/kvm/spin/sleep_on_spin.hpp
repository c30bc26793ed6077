#pragma once
#include "spin_policy.hpp"

namespace vmxsys::models {

/// The first handler: whoever spins sleeps for a fixed time, whoever holds the lock may run meanwhile. Nobody is
/// helped in particular. Source: virt/kvm/kvm_main.c, v2.6.33, kvm_vcpu_on_spin.
class sleep_on_spin final : public spin_policy {
 public:
  static constexpr std::uint64_t sleep_nanoseconds = 100'000;

  const char* name() const noexcept override { return "sleep"; }
  vcpu_yield_rules yield_rules() const override { return {false, false}; }
  cpu::program on_spin(spin_context& context) override;
};

/// PAUSE-loop exiting switched off (module parameter ple_gap=0).
class no_spin_policy final : public spin_policy {
 public:
  const char* name() const noexcept override { return "none"; }
  bool wants_exits() const override { return false; }
  cpu::program on_spin(spin_context& context) override;
};

}  // namespace vmxsys::models
