#pragma once
#include <vmxsys/vmx/cycles.hpp>

#include <cstdint>

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

}  // namespace vmxsys::vmx
