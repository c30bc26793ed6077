#pragma once
#include <cstdint>

#include <vmxsys/vmx/base/cycles.hpp>

namespace vmxsys::apic {

/// Bits 18:17 of the LVT timer register. Encoding 3 is reserved.
enum class timer_mode : std::uint8_t { one_shot = 0, periodic = 1, tsc_deadline = 2 };

/// Rate of the timer's input clock (bus or core crystal clock, CPUID leaf 15H) against the TSC, before the divide
/// configuration register: `tsc_cycles` cycles pass in `ticks` ticks. 2.4 GHz TSC, 24 MHz crystal: {100, 1}.
/// Legal: 1 <= ticks <= tsc_cycles < 2^31; an input clock faster than the TSC does not exist.
struct timer_clock {
  std::uint32_t tsc_cycles = 1;
  std::uint32_t ticks = 1;
};

/// What a write of the LVT timer that swaps one-shot and periodic does to a count in progress. Published manuals say
/// that a change of mode disarms the timer; hypervisors and the common unit tests expect it to go on counting.
/// A change to or from TSC-deadline mode always disarms.
enum class timer_mode_change : std::uint8_t { keeps_counting, disarms };

/// The divisor that a divide configuration register (bits 3, 1 and 0) selects: 1, 2, 4, ... 128 (§13.5.4).
constexpr std::uint32_t timer_divisor(std::uint32_t divide_configuration) noexcept {
  const std::uint32_t code = ((divide_configuration >> 1) & 4U) | (divide_configuration & 3U);
  return code == 7 ? 1U : 2U << code;
}

/// The local APIC timer (SDM Vol. 3A §13.5.4, §13.5.4.1), without its LVT entry: it says *when* it expires, the local
/// APIC decides what an expiry does. It never ticks: every answer is computed from the cycle the caller passes.
///
/// - All arithmetic is exact: period k of a periodic count ends at start + ceil(k * count * divisor * tsc_cycles /
///   ticks), no rounding error accumulates. The input clock's phase is taken to be that of the write that started
///   the count. Events beyond 2^64 - 1 cycles are `cycles::never()`.
/// - Cycles passed in must not decrease. Members that change something (`now` among their parameters) ask that
///   expiries due by `now` have been taken with `fire(now)` before; `local_apic` does that.
class apic_timer {
 public:
  /// Throws std::invalid_argument if the clock is not legal (see `timer_clock`).
  explicit apic_timer(timer_clock clock = {}, timer_mode_change on_mode_change = timer_mode_change::keeps_counting);

  // When ------------------------------------------------------------------------------------------------------------

  /// The cycle of the next expiry; `cycles::never()` when nothing is armed. It can be the very cycle of the write
  /// that armed it (a deadline that has passed is due at once), never an earlier one.
  cycles next_event() const noexcept { return next_; }

  /// Takes every expiry due by `now` and returns how many there were (0 if called early). A one-shot count stays at
  /// zero, a periodic one goes on, a deadline clears its MSR. Several expiries at once are for a caller that comes
  /// late, such as a hypervisor emulating the timer; IRR would merge them anyway.
  std::uint64_t fire(cycles now) noexcept;

  // Registers -------------------------------------------------------------------------------------------------------

  timer_mode mode() const noexcept { return mode_; }
  std::uint32_t initial_count() const noexcept { return initial_count_; }
  std::uint32_t divide_configuration() const noexcept { return divide_configuration_; }
  /// The deadline that is armed, as a TSC value; 0 if none is, and in the other modes.
  std::uint64_t deadline() const noexcept { return deadline_; }
  /// Remaining count at `now`; 0 in TSC-deadline mode. Right whether or not `fire` has been called.
  std::uint32_t current_count(cycles now) const noexcept;

  void set_mode(timer_mode mode, cycles now) noexcept;
  /// Starts from `count`, or stops if it is 0. Ignored in TSC-deadline mode.
  void set_initial_count(std::uint32_t count, cycles now) noexcept;
  /// Bits 3, 1, 0; others are ignored. A running count keeps its remaining value and goes on at the new rate (the
  /// architecture leaves this case undefined).
  void set_divide_configuration(std::uint32_t value, cycles now) noexcept;
  /// Arms the deadline at the TSC value; 0 disarms; a value the TSC has reached expires at `now`. Replaces the one
  /// that was armed. Ignored outside TSC-deadline mode.
  void set_deadline(std::uint64_t tsc, cycles now) noexcept;

  /// The TSC reads `now + offset` (modulo 2^64): what IA32_TSC_ADJUST or a write of the TSC changed. Deadlines follow.
  void set_tsc_offset(std::uint64_t offset, cycles now) noexcept;
  std::uint64_t tsc_offset() const noexcept { return tsc_offset_; }

  /// RESET and INIT: one-shot, nothing armed, all registers zero. The TSC offset stays; the TSC is not the timer's.
  void reset() noexcept;

 private:
  std::uint64_t ticks_since_start(cycles now) const noexcept;
  void advance_start(std::uint64_t ticks) noexcept;
  void start_lap(std::uint32_t count, cycles now) noexcept;
  std::uint64_t fire_count(cycles now) noexcept;
  void stop() noexcept;
  void schedule_lap() noexcept;
  void schedule_deadline(cycles now) noexcept;

  timer_clock clock_;
  timer_mode_change on_mode_change_;
  timer_mode mode_ = timer_mode::one_shot;
  bool counting_ = false;
  std::uint32_t initial_count_ = 0;
  std::uint32_t divide_configuration_ = 0;
  std::uint32_t lap_ = 0;  // count at start_: the initial count but after a change of the divisor
  cycles start_{};         // the lap began start_fraction_ / clock_.ticks of a cycle after start_
  std::uint64_t start_fraction_ = 0;
  std::uint64_t deadline_ = 0;
  std::uint64_t tsc_offset_ = 0;
  cycles next_ = cycles::never();
};

}  // namespace vmxsys::apic
