#pragma once
#include <cstdint>

#include "spin_detector.hpp"

namespace vmxsys::vmx {

/// A detector without PAUSE-loop detection. "PAUSE exiting" is a control of its own and is obeyed.
class no_spin_detector final : public spin_detector {
 public:
  void on_entry(cycles /*now*/, const spin_parameters& parameters) override { exits_ = parameters.pause_exiting; }
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
