#pragma once
#include <cstdint>

#include "spin_detector.hpp"

namespace vmxsys::vmx {

/// What the manual leaves open about the PAUSE filter.
struct pause_filter_options {
  /// Added to the number of PAUSEs that execute before one is intercepted: 0 lets exactly `count` execute, -1 is the
  /// reading "the count-th is intercepted". -1 .. 1; a count of 0 intercepts every PAUSE in any case.
  int count_adjustment = 0;
  /// With a threshold, the first PAUSE after VMRUN counts as one that came late and reloads the counter.
  bool first_reloads = true;
};

/// AMD's PAUSE filter, APM Vol. 2 §15.14.4. VMRUN loads a counter; every PAUSE, at any CPL, takes one off, and the one
/// that finds nothing left is intercepted. With a threshold other than 0 a PAUSE that comes more than that many cycles
/// after the previous one reloads the counter instead and takes nothing off. Both VMCB fields are 16 bits wide: the
/// count is the low half of ple_window, the threshold that of ple_gap (larger values saturate). The intercept is armed
/// while ple_enabled is set; pause_exiting intercepts everything.
class pause_filter final : public spin_detector {
 public:
  explicit pause_filter(pause_filter_options options = {}) noexcept : options_{options} {}

  void on_entry(cycles now, const spin_parameters& parameters) override;
  spin_verdict on_pause(const pause_event& pause) override;
  spin_prediction predict(const pause_event& first, cycles period) const override;
  void advance(const pause_event& first, cycles period, std::uint64_t k) override;
  /// A 16-bit counter, a 64-bit time stamp and its valid bit.
  unsigned state_bits() const noexcept override { return 16 + 64 + 1; }

  /// How many more PAUSEs execute.
  std::uint32_t remaining() const noexcept { return counter_; }

 private:
  pause_filter_options options_;
  std::uint32_t load_ = 0;
  std::uint32_t threshold_ = 0;
  std::uint32_t counter_ = 0;
  cycles last_;
  bool has_last_ = false;
  bool armed_ = false;
  bool intercepts_all_ = false;
};

}  // namespace vmxsys::vmx
