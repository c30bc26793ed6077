#pragma once
#include <cstdint>

#include <vmxsys/vmx/base/cycles.hpp>

namespace vmxsys::vmx {

// The VMX-preemption timer, SDM Vol. 3C §28.5.1, §29.7.4. It counts down by one each time bit X of the time-stamp
// counter changes, that is once per 2^X cycles at multiples of 2^X; X is IA32_VMX_MISC bits 4:0. The counter is the
// processor's own: TSC offset and scaling do not enter. The first tick after VM entry may therefore be short.

/// When a timer loaded with `value` at `loaded` reaches 0. `value` 0 has already expired: the answer is not after
/// `loaded`, and the exit comes before any guest instruction.
constexpr cycles preemption_timer_expiry(cycles loaded, std::uint32_t value, unsigned shift) noexcept {
  return cycles{((loaded.count() >> shift) + value) << shift};
}

/// The count at `now` >= `loaded`; what "save VMX-preemption timer value" stores. 0 once expired.
constexpr std::uint32_t preemption_timer_value(cycles loaded, std::uint32_t value, unsigned shift,
                                               cycles now) noexcept {
  const std::uint64_t ticks = (now.count() >> shift) - (loaded.count() >> shift);
  return ticks >= value ? 0 : value - static_cast<std::uint32_t>(ticks);
}

/// `now` is at or past the expiry.
constexpr bool preemption_timer_expired(cycles loaded, std::uint32_t value, unsigned shift, cycles now) noexcept {
  return preemption_timer_value(loaded, value, shift, now) == 0;
}

/// The deepest C-state in which it counts; in deeper ones it stands still. It counts in shutdown and wait-for-SIPI.
inline constexpr unsigned preemption_timer_deepest_c_state = 2;
constexpr bool preemption_timer_counts(unsigned c_state, unsigned deepest = preemption_timer_deepest_c_state) noexcept {
  return c_state <= deepest;
}

/// A running timer, from VM entry to VM exit. A plain value. An expiry in wait-for-SIPI stays pending: whether it exits
/// is the boundary table's matter (`boundary.hpp`).
class preemption_timer {
 public:
  constexpr preemption_timer(cycles loaded, std::uint32_t value, unsigned shift) noexcept
      : loaded_{loaded}, value_{value}, shift_{shift} {}

  /// `cycles::never()` while it stands still and has not expired.
  constexpr cycles expiry() const noexcept {
    return stopped_ && value_ != 0 ? cycles::never() : preemption_timer_expiry(loaded_, value_, shift_);
  }
  constexpr std::uint32_t value(cycles now) const noexcept {
    return stopped_ ? value_ : preemption_timer_value(loaded_, value_, shift_, now);
  }
  constexpr bool expired(cycles now) const noexcept { return value(now) == 0; }
  constexpr bool stopped() const noexcept { return stopped_; }

  /// The processor goes into a C-state in which the timer does not count.
  constexpr void stop(cycles now) noexcept {
    value_ = value(now);
    stopped_ = true;
  }
  /// It comes back; the count goes on with the next change of bit X.
  constexpr void resume(cycles now) noexcept {
    if (!stopped_) return;
    loaded_ = now;
    stopped_ = false;
  }

 private:
  cycles loaded_;
  std::uint32_t value_;
  unsigned shift_;
  bool stopped_ = false;
};

}  // namespace vmxsys::vmx
