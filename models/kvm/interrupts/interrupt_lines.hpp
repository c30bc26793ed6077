#pragma once
#include <array>
#include <cstdint>

#include <vmxsys/cpu/memory/memory.hpp>
#include <vmxsys/cpu/program/program.hpp>

namespace vmxsys::models {

class kernel;

/// The cache lines of a vCPU that move between CPUs when interrupts are injected, as Linux v5.6 lays them out: requests
/// and mode in the first line of struct kvm_vcpu (include/linux/kvm_host.h), `irr_pending` in struct kvm_lapic, IRR in
/// two lines of the register page (arch/x86/kvm/lapic.h, kvm_lapic_set_irr). What is pending is apic::local_apic's to
/// know, so the words hold no values.
///
/// The steps of the vCPU cost nothing where its CPU has the line still: that time is part of the code around them. A
/// line that another CPU has taken is fetched by an instruction.
class interrupt_lines {
 public:
  explicit interrupt_lines(kernel& host);

  // -- steps of a sender ------------------------------------------------------------------------------------------
  /// kvm_lapic_set_irr
  cpu::program set_irr(std::uint8_t vector);
  /// kvm_make_request. The mode is on the same line: looking at it takes no other.
  cpu::program make_request();

  // -- steps of the vCPU, interrupts off --------------------------------------------------------------------------
  /// kvm_request_pending, kvm_check_request
  cpu::program take_requests();
  /// apic_find_highest_irr
  cpu::program find_irr(std::uint8_t vector);
  /// apic_clear_irr
  cpu::program clear_irr(std::uint8_t vector);
  /// vcpu->mode = IN_GUEST_MODE or OUTSIDE_GUEST_MODE
  cpu::program set_mode();

 private:
  cpu::word& irr(std::uint8_t vector) const { return *irr_[vector / 128u]; }

  kernel& host_;
  cpu::word* requests_;
  cpu::word* irr_pending_;
  std::array<cpu::word*, 2> irr_;
};

}  // namespace vmxsys::models
