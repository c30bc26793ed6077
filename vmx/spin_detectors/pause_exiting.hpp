#pragma once
#include <cstdint>

#include "spin_detector.hpp"

namespace vmxsys::vmx {

/// No memory at all: while spin detection is on (by either control) every PAUSE exits, at any CPL. This is what the
/// control "PAUSE exiting" gives (SDM Vol. 3C §27.6.2), and the far end of the scale for every cleverer detector.
class pause_exiting final : public spin_detector {
 public:
  void on_entry(cycles /*now*/, const spin_parameters& parameters) override {
    exits_ = parameters.ple_enabled || parameters.pause_exiting;
  }
  spin_verdict on_pause(const pause_event& /*pause*/) override {
    return exits_ ? spin_verdict::exit : spin_verdict::execute;
  }
  spin_prediction predict(const pause_event& /*first*/, cycles /*period*/) const override {
    return exits_ ? spin_prediction::at(0) : spin_prediction::never();
  }
  void advance(const pause_event& /*first*/, cycles /*period*/, std::uint64_t /*k*/) override {}

 private:
  bool exits_ = false;
};

}  // namespace vmxsys::vmx
