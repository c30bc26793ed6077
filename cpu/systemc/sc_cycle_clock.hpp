#pragma once
#include <cstdint>

#include <vmxsys/vmx/base/cycles.hpp>

#include "sc_portability.hpp"

namespace vmxsys::cpu {

/// Converts between cycles of an invariant TSC and SystemC time, in integers of 128 bits and without drift.
///
/// The cycle of a time rounds down, the time of a cycle rounds up, so `cycle_of(time_of(c)) >= c` with equality as long
/// as a cycle lasts at least one tick of the kernel, and `time_of(c)` is the first instant at which cycle c has begun.
/// Several cycles may begin in one tick when the resolution is coarse. Times that the kernel cannot represent come out
/// as its largest.
class cycle_clock {
 public:
  /// The kernel's time resolution as a fraction of a second: `seconds` / `parts`, one of them 1.
  struct resolution {
    std::uint64_t seconds = 1;
    std::uint64_t parts = 1'000'000'000'000;
  };

  /// Throws std::invalid_argument if the frequency is 0 or beyond 10^12 kHz.
  cycle_clock(std::uint64_t khz, resolution tick);
  /// With the resolution of the running kernel. Asking for it fixes it, so this must not be called before elaboration.
  static cycle_clock of_kernel(std::uint64_t khz);

  /// In ticks of the kernel, as sc_time::value() counts them.
  cycles cycle_of_ticks(std::uint64_t ticks) const;
  std::uint64_t ticks_of(cycles c) const;

  cycles cycle_of(const sc_core::sc_time& t) const { return cycle_of_ticks(t.value()); }
  sc_core::sc_time time_of(cycles c) const { return sc_core::sc_time::from_value(ticks_of(c)); }
  /// The first cycle whose time is not before t: a run until t executes the cycles before it.
  cycles first_from(const sc_core::sc_time& t) const {
    return t.value() == 0 ? cycles{0} : cycle_of_ticks(t.value() - 1) + cycles{1};
  }

  /// How late the time of a cycle may be, in millionths of a cycle; it never accumulates. 0 if every cycle begins on a
  /// tick.
  double rounding_ppm() const;

 private:
  // cycles = ticks * numerator / denominator, in lowest terms
  std::uint64_t numerator_;
  std::uint64_t denominator_;
};

}  // namespace vmxsys::cpu
