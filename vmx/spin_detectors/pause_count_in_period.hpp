#pragma once
#include <cstdint>

#include "spin_detector.hpp"

namespace vmxsys::vmx {

struct pause_count_in_period_options {
  /// More than this many PAUSEs within a period exit. 0: what the two fields say, see below. Otherwise any number.
  std::uint64_t count = 0;
  /// Length of the period in cycles. 0: what the two fields say. Otherwise any number.
  std::uint64_t period = 0;
  /// Counts the PAUSEs of every CPL instead of those at CPL 0.
  bool any_cpl = false;
};

/// Counts PAUSEs in a period (US patent 8,230,203, claim 3). The first PAUSE since VM entry starts a period, and so
/// does the first one more than the period's length after its start; the PAUSE that is one too many in its period
/// exits.
///
/// From the two fields it takes the loop that PAUSE-loop exiting finds just tight enough, one PAUSE every ple_gap
/// cycles: it counts as many PAUSEs as that loop may execute, ple_window / ple_gap + 1, in the time that loop takes for
/// them, that number times ple_gap. Both detectors exit such a loop at the same PAUSE. A tighter one exits sooner here,
/// and single late PAUSEs do not matter as long as the others make up for them. With a ple_gap of 0 and no `count` it
/// never exits. With `count` alone the period is count * ple_gap; with `period` alone the count is what fits in it at
/// that distance, at least 1.
class pause_count_in_period final : public spin_detector {
 public:
  explicit pause_count_in_period(pause_count_in_period_options options = {}) noexcept : options_{options} {}

  void on_entry(cycles now, const spin_parameters& parameters) override;
  spin_verdict on_pause(const pause_event& pause) override;
  spin_prediction predict(const pause_event& first, cycles period) const override;
  void advance(const pause_event& first, cycles period, std::uint64_t k) override;
  /// A time stamp, a 32-bit counter and a valid bit.
  unsigned state_bits() const noexcept override { return 64 + 32 + 1; }

  /// In effect since the last entry.
  std::uint64_t count() const noexcept { return count_; }
  cycles period() const noexcept { return cycles{period_}; }

 private:
  bool watches(const pause_event& pause) const noexcept { return counts_ && (pause.cpl == 0 || options_.any_cpl); }
  bool starts_period(const pause_event& pause) const noexcept {
    return seen_ == 0 || (pause.issue - start_).count() > period_;
  }

  pause_count_in_period_options options_;
  std::uint64_t count_ = 0;
  std::uint64_t period_ = 0;
  bool counts_ = false;
  bool exits_all_ = false;
  cycles start_;
  std::uint64_t seen_ = 0;  // PAUSEs that have executed in this period; 0: none yet
};

}  // namespace vmxsys::vmx
