#include "pause_loop_exiting.hpp"

#include <memory>

#include "catalogue.hpp"
#include "detail/pause_loop_exiting_rows.hpp"
#include "detail/spin_arithmetic.hpp"

namespace vmxsys::vmx {

namespace {

constexpr std::uint64_t all_ones = ~std::uint64_t{0};
constexpr std::uint64_t low_32 = 0xFFFF'FFFF;

}  // namespace

/// How times are read and compared. Those of a regular run: of the PAUSE `after` later than the one given.
template <bool plain>
class pause_loop_exiting::clock {
 public:
  explicit clock(const pause_loop_exiting& of) noexcept : masks_{of.masks_}, gap_{of.parameters_.ple_gap} {}

  cycles window_time(const pause_event& pause, cycles after = {}) const noexcept {
    return plain ? pause.issue + after : stamp(pause, after, masks_.window_latency);
  }
  cycles gap_from(const pause_event& pause, cycles after = {}) const noexcept {
    return stamp(pause, after, masks_.gap_from_latency);
  }
  cycles gap_to(const pause_event& pause, cycles after = {}) const noexcept {
    return plain ? pause.issue + after : stamp(pause, after, masks_.gap_to_latency);
  }
  std::uint64_t elapsed(cycles then, cycles now) const noexcept {
    return now < then ? 0 : (now - then).count() & (plain ? all_ones : masks_.elapsed);
  }
  /// PAUSE i and the next one are more than the gap apart.
  bool separates(const pause_event& first, cycles period, std::uint64_t i) const noexcept {
    return elapsed(gap_from(first, period * i), gap_to(first, period * (i + 1))) > gap_;
  }

 private:
  cycles stamp(const pause_event& pause, cycles after, std::uint64_t latency_mask) const noexcept {
    const std::uint64_t t = (pause.issue + after).count() + (pause.latency.count() & latency_mask);
    return cycles{t & (plain ? all_ones : masks_.counter)};
  }

  const masks& masks_;
  std::uint64_t gap_;
};

pause_loop_exiting::pause_loop_exiting(pause_loop_exiting_options options) noexcept : options_{options} {
  masks_.counter = all_ones << options.counter_shift;
  if (options.width == elapsed_width::bits_32_wrapping) masks_.elapsed = low_32;
  if (options.stamp_at_end) masks_.window_latency = all_ones;
  if (options.stamp_at_end || options.gap_end_to_start) masks_.gap_from_latency = all_ones;
  if (options.stamp_at_end && !options.gap_end_to_start) masks_.gap_to_latency = all_ones;
  plain_ = masks_.counter == all_ones && masks_.elapsed == all_ones && !options.stamp_at_end;
}

// A time that stops at 2^32 - 1 exceeds every field but one.
std::uint64_t pause_loop_exiting::field(std::uint64_t value) const noexcept {
  return options_.width == elapsed_width::bits_32_saturating && value >= low_32 ? all_ones : value;
}

void pause_loop_exiting::on_entry(cycles /*now*/, const spin_parameters& parameters) {
  parameters_ = parameters;
  parameters_.ple_gap = field(parameters.ple_gap);
  parameters_.ple_window = field(parameters.ple_window);
  if (!options_.kept_across_entries) armed_ = false;
}

void pause_loop_exiting::on_work(const work_event& work) {
  if (options_.broken_by == loop_breaker::any_work || (options_.broken_by == loop_breaker::user_mode && work.cpl != 0))
    armed_ = false;
}

spin_verdict pause_loop_exiting::on_pause(const pause_event& pause) {
  if (parameters_.pause_exiting) return spin_verdict::exit;
  if (!watches(pause)) {
    if (options_.broken_by != loop_breaker::time_only && pause.cpl != 0) armed_ = false;
    return spin_verdict::execute;
  }
  return plain_ ? decide<true>(pause) : decide<false>(pause);
}

template <bool plain>
spin_verdict pause_loop_exiting::decide(const pause_event& pause) noexcept {
  const clock<plain> time{*this};
  const cycles now = time.window_time(pause);
  if (!armed_ || time.elapsed(last_, time.gap_to(pause)) > parameters_.ple_gap) {
    first_ = now;
  } else if (time.elapsed(first_, now) > parameters_.ple_window) {
    if (options_.exit_updates_last) last_ = time.gap_from(pause);
    if (options_.kept_across_entries) armed_ = false;
    return spin_verdict::exit;
  }
  armed_ = true;
  last_ = time.gap_from(pause);
  return spin_verdict::execute;
}

// After how many PAUSEs of a regular run a coarse counter shows the same fraction of a step again.
std::uint64_t pause_loop_exiting::rhythm(cycles period) const noexcept {
  std::uint64_t steps = std::uint64_t{1} << options_.counter_shift;
  for (std::uint64_t p = period.count(); steps > 1 && (p & 1) == 0; p >>= 1) steps >>= 1;
  return steps;
}

// Where no two PAUSEs of the run are separated: the first beyond the window.
template <bool plain>
spin_prediction pause_loop_exiting::in_one_loop(cycles start, const pause_event& first, cycles period) const noexcept {
  const std::uint64_t window = parameters_.ple_window;
  if (plain) return spin_prediction::of(first_beyond((first.issue - start).count(), period.count(), window));
  if (window == all_ones) return spin_prediction::never();
  // In full steps of the counter, so that the time itself need not be rounded down any more.
  const std::uint64_t limit = window | ~masks_.counter;
  const cycles now = first.issue + cycles{first.latency.count() & masks_.window_latency};
  if (now < start) return spin_prediction::step();  // only if PAUSEs overlap
  const std::uint64_t since = (now - start).count();
  if (masks_.elapsed == all_ones) return spin_prediction::of(first_beyond(since, period.count(), limit));
  if (limit >= low_32) return spin_prediction::never();
  return spin_prediction::of(first_hit(since, period.count(), low_32 + 1, limit + 1, low_32));
}

// Where a coarse counter takes the same distance now for more, now for less than the gap. Whether two PAUSEs are
// separated repeats with the rhythm; a loop that begins at the same point of it is the same loop.
spin_prediction pause_loop_exiting::in_many_loops(cycles start, const pause_event& first,
                                                  cycles period) const noexcept {
  const clock<false> time{*this};
  bool separated = false;
  std::uint64_t left = rhythm(period);
  for (std::uint64_t i = 0; left > 0; ++i, --left) {
    const cycles next = time.window_time(first, period * (i + 1));
    if (time.separates(first, period, i)) {
      start = next;
      if (!separated) left = rhythm(period) + 1;
      separated = true;
    } else if (time.elapsed(start, next) > parameters_.ple_window) {
      return spin_prediction::at(i + 1);
    }
  }
  return separated ? spin_prediction::never() : in_one_loop<false>(start, first, period);
}

template <bool plain>
spin_prediction pause_loop_exiting::foresee(const pause_event& first, cycles period) const noexcept {
  const clock<plain> time{*this};
  const cycles now = time.window_time(first);
  const bool new_loop = !armed_ || time.elapsed(last_, time.gap_to(first)) > parameters_.ple_gap;
  if (!new_loop && time.elapsed(first_, now) > parameters_.ple_window) return spin_prediction::at(0);
  if (period == cycles{}) return spin_prediction::never();
  const cycles start = new_loop ? now : first_;
  if (!plain && options_.counter_shift != 0) return in_many_loops(start, first, period);
  return time.separates(first, period, 0) ? spin_prediction::never() : in_one_loop<plain>(start, first, period);
}

spin_prediction pause_loop_exiting::predict(const pause_event& first, cycles period) const {
  if (parameters_.pause_exiting) return spin_prediction::at(0);
  if (!watches(first)) return spin_prediction::never();
  return plain_ ? foresee<true>(first, period) : foresee<false>(first, period);
}

// The state after `pairs` more PAUSEs than the first.
template <bool plain>
void pause_loop_exiting::follow(const pause_event& first, cycles period, std::uint64_t pairs) noexcept {
  const clock<plain> time{*this};
  last_ = time.gap_from(first, period * pairs);
  if (plain || options_.counter_shift == 0) {
    if (time.separates(first, period, 0)) first_ = time.window_time(first, period * pairs);
    return;
  }
  // The loop under way at the end began after the last pair that is separated. Looking back over one rhythm is enough.
  for (std::uint64_t i = pairs, left = rhythm(period); i > 0 && left > 0; --i, --left) {
    if (time.separates(first, period, i - 1)) {
      first_ = time.window_time(first, period * i);
      return;
    }
  }
}

void pause_loop_exiting::advance(const pause_event& first, cycles period, std::uint64_t k) {
  if (k == 0) return;
  on_pause(first);
  if (k == 1 || !watches(first)) return;
  plain_ ? follow<true>(first, period, k - 1) : follow<false>(first, period, k - 1);
}

unsigned pause_loop_exiting::state_bits() const noexcept {
  const unsigned width = options_.width == elapsed_width::bits_64 ? 64 : 32;
  return 2 * (width - options_.counter_shift) + 1;
}

namespace {
constexpr auto rows = pause_loop_exiting_rows<>();
}  // namespace

extern const spin_detector_entry pause_loop_exiting_entry =
    entry_with<spin_detector_entry, pause_loop_exiting_options, rows>(
        "pause_loop_exiting", "Intel: exits when PAUSEs at CPL 0 come within PLE_Gap for longer than PLE_Window",
        [](const void* options) -> std::unique_ptr<spin_detector> {
          return std::make_unique<pause_loop_exiting>(options_as<pause_loop_exiting_options>(options));
        },
        true);

}  // namespace vmxsys::vmx
