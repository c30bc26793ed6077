#pragma once
#include <cstdint>

#include <vmxsys/cpu/core/cpu_core.hpp>

namespace vmxsys::cpu {

/// The two timers that run in a guest only, on one slot: the VMX-preemption timer (SDM Vol. 3C §28.5.1) and the guest
/// deadline of APIC-timer virtualization.
class guest_timers {
 public:
  guest_timers(cpu_core& core, slot timer) : core_{core}, slot_{timer} {}

  /// VM entry starts the VMX-preemption timer with this count.
  void start_preemption_timer(std::uint32_t count, cycles now);
  /// VM exit stops both.
  void stop();
  /// The deadline has been loaded or written.
  void set_deadline_due(bool due) { deadline_due_ = due; }
  /// After a change: the slot fires at the earlier of the two.
  void arm(cycles now);
  /// The slot fired: what is due is pending now, and a fact.
  void due(cycles now);

  bool preemption_timer_expired() const { return expired_; }
  bool deadline_due() const { return deadline_due_; }
  /// Brings `processor_state::preemption_timer` up to date.
  void save_preemption_timer(cycles now);

 private:
  cycles expiry() const;

  cpu_core& core_;
  slot slot_;
  bool active_ = false;
  bool expired_ = false;
  bool deadline_due_ = false;  // a guest-timer event is pending
  std::uint32_t start_ = 0;
  cycles loaded_{0};
};

}  // namespace vmxsys::cpu
