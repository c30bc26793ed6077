#include "timer.hpp"

#include <limits>
#include <stdexcept>

namespace vmxsys::apic {
namespace {

constexpr std::uint64_t end_of_time = std::numeric_limits<std::uint64_t>::max();

cycles saturating_sum(std::uint64_t a, std::uint64_t b) noexcept {
  return b > end_of_time - a ? cycles::never() : cycles{a + b};
}

/// A stretch of `ticks` input-clock ticks that begins `fraction` (in units of 1 / clock.ticks cycle) into a cycle.
struct stretch {
  std::uint64_t whole = 0;     // cycles, saturated at end_of_time
  std::uint64_t fraction = 0;  // what is left over, < clock.ticks
};

// Quotient and remainder are handled apart so that nothing leaves 64 bits: both parts of the clock are below 2^31.
stretch stretch_of(std::uint64_t ticks, std::uint64_t fraction, timer_clock clock) noexcept {
  const std::uint64_t full = ticks / clock.ticks;
  const std::uint64_t rest = (ticks % clock.ticks) * clock.tsc_cycles + fraction;
  const std::uint64_t rest_cycles = rest / clock.ticks;
  if (full > (end_of_time - rest_cycles) / clock.tsc_cycles) return {end_of_time, 0};
  return {full * clock.tsc_cycles + rest_cycles, rest % clock.ticks};
}

bool is_legal(timer_clock clock) noexcept {
  return clock.ticks >= 1 && clock.ticks <= clock.tsc_cycles && clock.tsc_cycles < (1U << 31);
}

}  // namespace

apic_timer::apic_timer(timer_clock clock, timer_mode_change on_mode_change)
    : clock_{clock}, on_mode_change_{on_mode_change} {
  if (!is_legal(clock)) throw std::invalid_argument("timer_clock: need 1 <= ticks <= tsc_cycles < 2^31");
}

// When ---------------------------------------------------------------------------------------------------------------

std::uint64_t apic_timer::fire(cycles now) noexcept {
  if (now < next_ || next_ == cycles::never()) return 0;
  if (mode_ != timer_mode::tsc_deadline) return fire_count(now);
  stop();
  return 1;
}

std::uint64_t apic_timer::fire_count(cycles now) noexcept {
  if (mode_ == timer_mode::one_shot) {
    stop();
    return 1;
  }
  const std::uint64_t divisor = timer_divisor(divide_configuration_);
  const std::uint64_t counted = ticks_since_start(now) / divisor;
  const std::uint64_t further_laps = (counted - lap_) / initial_count_;
  advance_start((lap_ + further_laps * initial_count_) * divisor);
  lap_ = initial_count_;
  schedule_lap();
  return 1 + further_laps;
}

// Registers ----------------------------------------------------------------------------------------------------------

std::uint32_t apic_timer::current_count(cycles now) const noexcept {
  if (!counting_) return 0;
  const std::uint64_t counted = ticks_since_start(now) / timer_divisor(divide_configuration_);
  if (counted < lap_) return static_cast<std::uint32_t>(lap_ - counted);
  if (mode_ == timer_mode::one_shot) return 0;
  return static_cast<std::uint32_t>(initial_count_ - (counted - lap_) % initial_count_);
}

void apic_timer::set_mode(timer_mode mode, cycles) noexcept {
  if (mode == mode_) return;
  const bool deadline_involved = mode == timer_mode::tsc_deadline || mode_ == timer_mode::tsc_deadline;
  if (deadline_involved || on_mode_change_ == timer_mode_change::disarms) stop();
  if (deadline_involved) initial_count_ = 0;
  mode_ = mode;
}

void apic_timer::set_initial_count(std::uint32_t count, cycles now) noexcept {
  if (mode_ == timer_mode::tsc_deadline) return;
  initial_count_ = count;
  start_lap(count, now);
}

void apic_timer::set_divide_configuration(std::uint32_t value, cycles now) noexcept {
  const std::uint32_t remaining = current_count(now);
  const bool changes = timer_divisor(value) != timer_divisor(divide_configuration_);
  divide_configuration_ = value & 0xBU;
  if (changes && counting_) start_lap(remaining, now);
}

void apic_timer::set_deadline(std::uint64_t tsc, cycles now) noexcept {
  if (mode_ != timer_mode::tsc_deadline) return;
  deadline_ = tsc;
  schedule_deadline(now);
}

void apic_timer::set_tsc_offset(std::uint64_t offset, cycles now) noexcept {
  tsc_offset_ = offset;
  if (deadline_ != 0) schedule_deadline(now);
}

void apic_timer::reset() noexcept {
  stop();
  mode_ = timer_mode::one_shot;
  initial_count_ = 0;
  divide_configuration_ = 0;
}

// Arithmetic ---------------------------------------------------------------------------------------------------------

/// floor((now - start) * ticks / tsc_cycles), start being a fraction of a cycle after start_.
std::uint64_t apic_timer::ticks_since_start(cycles now) const noexcept {
  if (now <= start_) return 0;
  const std::uint64_t elapsed = (now - start_).count();
  std::uint64_t full = elapsed / clock_.tsc_cycles;
  std::uint64_t rest = (elapsed % clock_.tsc_cycles) * clock_.ticks;
  if (rest < start_fraction_) {
    --full;
    rest += std::uint64_t{clock_.tsc_cycles} * clock_.ticks;
  }
  return full * clock_.ticks + (rest - start_fraction_) / clock_.tsc_cycles;
}

void apic_timer::advance_start(std::uint64_t ticks) noexcept {
  const stretch step = stretch_of(ticks, start_fraction_, clock_);
  start_ += cycles{step.whole};
  start_fraction_ = step.fraction;
}

void apic_timer::start_lap(std::uint32_t count, cycles now) noexcept {
  lap_ = count;
  counting_ = count != 0;
  start_ = now;
  start_fraction_ = 0;
  schedule_lap();
}

void apic_timer::stop() noexcept {
  counting_ = false;
  deadline_ = 0;
  next_ = cycles::never();
}

void apic_timer::schedule_lap() noexcept {
  next_ = cycles::never();
  if (!counting_) return;
  const std::uint64_t ticks = std::uint64_t{lap_} * timer_divisor(divide_configuration_);
  const stretch lap = stretch_of(ticks, start_fraction_, clock_);
  const std::uint64_t round_up = lap.fraction != 0 ? 1 : 0;
  const cycles last_full = saturating_sum(start_.count(), lap.whole);
  next_ = saturating_sum(last_full.count(), round_up);
}

void apic_timer::schedule_deadline(cycles now) noexcept {
  next_ = cycles::never();
  if (deadline_ == 0) return;
  const std::uint64_t tsc = now.count() + tsc_offset_;
  const std::uint64_t remaining = deadline_ > tsc ? deadline_ - tsc : 0;
  next_ = saturating_sum(now.count(), remaining);
}

}  // namespace vmxsys::apic
