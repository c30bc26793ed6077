#pragma once
#include "spin_detector.hpp"

namespace vmxsys::vmx {

/// A control for experiments, which no hardware could build: it knows the truth. A PAUSE exits exactly if the strand
/// that is waited for runs nowhere when it is issued, at any CPL. What a machine gains with it is the most that any
/// detector can gain.
///
/// Watching only, it answers `exit` for every PAUSE of a futile wait.
class oracle final : public spin_detector {
 public:
  void on_entry(cycles /*now*/, const spin_parameters& parameters) override { parameters_ = parameters; }
  spin_verdict on_pause(const pause_event& pause) override {
    return exits(pause) ? spin_verdict::exit : spin_verdict::execute;
  }
  spin_interests interests() const noexcept override { return {false, false, true}; }
  spin_prediction predict(const pause_event& first, cycles /*period*/) const override {
    return exits(first) ? spin_prediction::at(0) : spin_prediction::never();
  }
  void advance(const pause_event& /*first*/, cycles /*period*/, std::uint64_t /*k*/) override {}

 private:
  bool exits(const pause_event& pause) const noexcept {
    return parameters_.pause_exiting || (parameters_.ple_enabled && pause.truth.futile);
  }

  spin_parameters parameters_;
};

}  // namespace vmxsys::vmx
