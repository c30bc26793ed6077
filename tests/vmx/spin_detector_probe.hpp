#pragma once
#include <cstdint>
#include <gtest/gtest.h>
#include <memory>
#include <string_view>

#include <vmxsys/vmx/spin_detectors/catalogue.hpp>

namespace vmxsys::vmx::spin_testing {

inline constexpr std::uint64_t never = ~std::uint64_t{0};

/// A PAUSE outside any loop.
inline pause_event pause_at(std::uint64_t t, unsigned cpl = 0, std::uint64_t latency = 0) {
  return {cycles{t}, cycles{latency}, cpl, 0x1000};
}

/// A PAUSE of a loop that polls a word.
inline pause_event poll_at(std::uint64_t t, physical_address word = 0x4000, std::uint64_t value = 1) {
  pause_event pause = pause_at(t);
  pause.loop = {word, value, false, 0x1006, 4};
  return pause;
}

inline spin_parameters ple(std::uint64_t gap, std::uint64_t window) { return {gap, window, true, false, true}; }

/// A detector of the catalogue with these options.
inline std::unique_ptr<spin_detector> made(std::string_view name, const settings& with = {}) {
  return spin_detectors().select(name, with).make();
}

/// A detector that has just been entered at cycle 0, on a machine that is overcommitted.
inline std::unique_ptr<spin_detector> entered(std::string_view name, std::uint64_t gap, std::uint64_t window,
                                              const settings& with = {}) {
  auto detector = made(name, with);
  detector->on_entry(cycles{}, ple(gap, window));
  return detector;
}

inline bool exits(spin_detector& detector, const pause_event& pause) {
  return detector.on_pause(pause) == spin_verdict::exit;
}

/// Steps through a regular run: the index of the first PAUSE that exits, or `never` if the first `limit` do not. Fails
/// if the detector has predicted something else.
inline std::uint64_t exit_index(spin_detector& detector, pause_event first, std::uint64_t period,
                                std::uint64_t limit = 20'000) {
  const spin_prediction p = detector.predict(first, cycles{period});
  EXPECT_NE(p.what, spin_prediction::kind::step);
  const std::uint64_t predicted = p.what == spin_prediction::kind::at ? p.index : never;
  for (std::uint64_t i = 0; i < limit; ++i) {
    if (exits(detector, first)) {
      EXPECT_EQ(predicted, i);
      return i;
    }
    first.issue += cycles{period};
    first.loop.line_changed = false;
  }
  EXPECT_GE(predicted, limit);
  return never;
}

}  // namespace vmxsys::vmx::spin_testing
