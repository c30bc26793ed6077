#pragma once
#include <cstdint>
#include <optional>

#include <vmxsys/vmx/base/cycles.hpp>

// What KVM calculates about the virtual local APIC timer: how early to expire so that the guest is back in time, and
// what to load into the VMX-preemption timer. Pure arithmetic; times in TSC cycles unless they say otherwise.
namespace vmxsys::models {

/// How early a timer of a guest is let expire (arch/x86/kvm/lapic.c: lapic_timer_advance_ns, -1 adaptive, 0 off, above
/// 0 fixed, v5.3 to v6.1).
struct timer_advance_rules {
  enum class kind : std::uint8_t { off, fixed, adaptive };
  kind how = kind::off;
  std::uint32_t nanoseconds = 1000;  ///< fixed: always; adaptive: at first
};

/// The advance of one vCPU, and the deadline that expired early and has still to be waited for.
class timer_advance {
 public:
  static constexpr std::uint32_t initial_ns = 1000;   ///< LAPIC_TIMER_ADVANCE_NS_INIT
  static constexpr std::uint32_t most_ns = 5000;      ///< LAPIC_TIMER_ADVANCE_NS_MAX
  static constexpr std::int64_t least_delta = 100;    ///< below: a fluctuation, in guest TSC cycles
  static constexpr std::int64_t most_delta = 10'000;  ///< above: a spike
  static constexpr std::uint32_t step = 8;            ///< part of the error that is corrected at once

  explicit timer_advance(const timer_advance_rules& rules)
      : adaptive_{rules.how == timer_advance_rules::kind::adaptive}, ns_{rules.nanoseconds} {}

  std::uint32_t nanoseconds() const { return ns_; }
  cycles lead(std::uint64_t tsc_khz) const { return cycles{ns_ * tsc_khz / 1'000'000}; }

  /// The timer has expired for this deadline, perhaps before it.
  void expired(cycles deadline) { expired_ = deadline; }
  /// The deadline to wait for before the next entry, if there is one and the advance is not 0. An advance that has
  /// become 0 is never adjusted again.
  std::optional<cycles> awaited() const {
    return expired_ == cycles::never() || ns_ == 0 ? std::nullopt : std::optional<cycles>{expired_};
  }
  /// Ends the wait at `now`: adjusts the advance to how early or late it is and answers how long to spin still, never
  /// longer than the advance (__wait_lapic_expire, adjust_lapic_timer_advance).
  cycles settle(cycles now, std::uint64_t tsc_khz);
  /// Part of `settle`: `delta` is the time of the entry minus the deadline.
  void adjust(std::int64_t delta, std::uint64_t tsc_khz);

 private:
  bool adaptive_;
  std::uint32_t ns_;
  cycles expired_ = cycles::never();
};

/// A deadline on the VMX-preemption timer.
struct preemption_deadline {
  std::uint64_t tsc;  ///< of the host, when it expires
  bool expired;       ///< it is reached already
};

/// vmx_set_hv_timer: none if 32 bits of timer ticks do not reach that far, so that a software timer has to do. `shift`
/// is IA32_VMX_MISC[4:0]: a tick is 2^shift cycles.
std::optional<preemption_deadline> set_preemption_deadline(std::uint64_t guest_deadline, std::uint64_t guest_tsc,
                                                           std::uint64_t host_tsc, std::uint64_t lead, unsigned shift);

/// What the VMX-preemption timer of a vCPU is told before each entry (vmx_update_hv_timer).
class preemption_timer_load {
 public:
  static constexpr std::uint32_t longest = ~std::uint32_t{0};

  /// `written`: the field holds the longest value already.
  explicit preemption_timer_load(bool written = false) : soft_disabled_{written} {}

  /// The value to VMWRITE, or none if the field holds it already. `deadline`: TSC of the host; none: no timer, which is
  /// written once and not again. `at_once`: the entry is to be left before an instruction.
  std::optional<std::uint32_t> at_entry(std::optional<std::uint64_t> deadline, std::uint64_t host_tsc, unsigned shift,
                                        bool at_once = false);
  /// An exit by this timer means nothing: no deadline was loaded.
  bool soft_disabled() const { return soft_disabled_; }

 private:
  bool soft_disabled_;
};

}  // namespace vmxsys::models
