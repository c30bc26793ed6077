#pragma once
#include <vmxsys/models/kvm/interrupts/interrupt_path.hpp>

namespace vmxsys::models {

/// Every access of a guest to its local APIC exits; interrupts are injected at VM entry, and a vCPU in the guest is
/// kicked out of it (enable_apicv=0). Guests in xAPIC mode have FlexPriority: only the TPR is virtualized.
class injected_path : public interrupt_path {
 public:
  void select_controls(vmx::minimal_vmcs_options& options, apic::apic_mode mode) const override;
  cpu::program init_vmcs(vcpu& v) const override;
  cpu::program accept(vcpu& target, std::uint8_t vector) const override;
  cpu::program accept_level_triggered(vcpu& target, std::uint8_t vector) const override;
};

}  // namespace vmxsys::models
