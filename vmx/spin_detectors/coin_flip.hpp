#pragma once
#include <cstdint>

#include "spin_detector.hpp"

namespace vmxsys::vmx {

struct coin_flip_options {
  /// Of a million waits this many exit. 0 .. 1'000'000.
  std::uint32_t probability_ppm = 500'000;
  std::uint64_t seed = 1;
};

/// A control for experiments, which no hardware could build: it exits as often as one likes and knows nothing. It is
/// told where a wait begins (spin_truth::episode) and flips a coin there, once: heads, the first PAUSE that it sees of
/// this wait exits. The coin is a hash of the seed and the episode's number, so a wait that is met again on another
/// logical processor with the same seed falls the same way. A detector that is no better than this one at the same
/// number of exits has detected nothing.
///
/// It remembers the wait it has decided over VM exits and entries: the PAUSE that exited executes when the guest comes
/// back. PAUSEs outside a loop execute.
class coin_flip final : public spin_detector {
 public:
  explicit coin_flip(coin_flip_options options = {}) noexcept : options_{options} {}

  void on_entry(cycles /*now*/, const spin_parameters& parameters) override { parameters_ = parameters; }
  spin_verdict on_pause(const pause_event& pause) override;
  spin_interests interests() const noexcept override { return {false, false, true}; }
  spin_prediction predict(const pause_event& first, cycles period) const override;
  void advance(const pause_event& first, cycles period, std::uint64_t k) override;

  /// The first PAUSE of this wait exits.
  bool heads(std::uint64_t episode) const noexcept;

 private:
  bool decides(const pause_event& pause) const noexcept {
    return parameters_.ple_enabled && pause.truth.episode != 0 && pause.truth.episode != decided_;
  }

  coin_flip_options options_;
  spin_parameters parameters_;
  std::uint64_t decided_ = 0;  // the episode it last flipped for
};

}  // namespace vmxsys::vmx
