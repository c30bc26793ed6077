#pragma once
#include <vmxsys/models/kvm/halt/halt_policy.hpp>

namespace vmxsys::models {

class vcpu;

/// What the halt policy sees of a halt of a guest and can do about it.
class vcpu_halt_context final : public halt_context {
 public:
  explicit vcpu_halt_context(vcpu& me) : me_{me} {}

  unsigned vcpus() const override;
  unsigned me() const override;
  cycles now() const override;
  halt_vm_state& state() override;
  bool runnable() const override;
  cpu::task<bool> poll(cycles end) override;
  cpu::program block() override;

  /// The last thing that the policy did was to sleep until the halt was over.
  bool slept() const { return slept_; }

 private:
  vcpu& me_;
  bool slept_ = false;
};

}  // namespace vmxsys::models
