#pragma once
#include <cstdint>
#include <memory>

#include <vmxsys/cpu/program/program.hpp>
#include <vmxsys/models/kernel/kernel.hpp>

#include "preemption_timer_load.hpp"
#include "timer_advance.hpp"

namespace vmxsys::models {

class vcpu;

/// The virtual local APIC timer of a vCPU, over any backend that waits for its deadline.
class vcpu_timer {
 public:
  /// No `advance`: it expires at its deadlines.
  vcpu_timer(vcpu& of, std::unique_ptr<timer_advance> advance);

  /// When the local APIC timer expires next.
  cycles deadline() const;
  /// It runs, no timer of the host is armed for it, and no expiry waits to be taken: a periodic one, after an expiry.
  bool needs_host_timer() const;
  /// How much earlier it expires by a timer of the host, which only knows an advance for TSC deadlines.
  cycles lead() const;
  /// The same by the VMX-preemption timer, in each mode (vmx_set_hv_timer).
  cycles preemption_timer_lead() const;
  std::uint32_t advance_ns() const { return advance_ ? advance_->nanoseconds() : 0; }

  /// A timer of the host; it calls the backend when it expires.
  timer_event& host_timer() { return host_timer_; }
  const timer_event& host_timer() const { return host_timer_; }

  /// The virtual timer expires if its deadline, less the lead, is reached. `early` is the lead of the VMX-preemption
  /// timer and what that counts too coarsely; 0 if it was not that.
  /// `on_time`: no entry is left that could wait for the deadline, so this does.
  cpu::program expired(cycles early = cycles{0}, bool on_time = false);
  /// The same in the handler of the host's timer, and kicks the vCPU.
  cpu::program host_timer_expired();
  /// The host's timer has expired while the vCPU is not to be interrupted by posting: it looks at its next entry.
  cpu::program note();
  /// Loads the VMX-preemption timer with the deadline.
  cpu::program load_preemption_timer();
  /// __kvm_wait_lapic_expire, the last thing before an entry: the guest is not to see an interrupt before its time, if
  /// this entry delivers it.
  cpu::program wait_for_deadline();
  bool advanced() const { return advance_ != nullptr; }

 private:
  class host_timer_event final : public timer_event {
   public:
    explicit host_timer_event(vcpu& of) : of_{of} {}
    cpu::program expire() override;

   private:
    friend class vcpu_timer;
    vcpu& of_;
  };
  cpu::program settle_deadline();
  vcpu& of() const { return host_timer_.of_; }

  host_timer_event host_timer_;
  preemption_timer_load preemption_timer_{true};  // the VMCS is made with the longest value
  std::unique_ptr<timer_advance> advance_;
};

}  // namespace vmxsys::models
