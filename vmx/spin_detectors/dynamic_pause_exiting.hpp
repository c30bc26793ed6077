#pragma once
#include <cstdint>

#include "pause_loop_exiting.hpp"

namespace vmxsys::vmx {

/// The cycles below are the patent's milliseconds at 2.5 GHz.
struct dynamic_pause_exiting_options {
  /// From one time that "PAUSE exiting" is switched on to the next: 100 ms. The patent names 50 .. 200 ms. 1 .. 2^32
  /// - 1.
  std::uint64_t enable_after = 250'000'000;
  /// How long it then stays on: 50 ms. The patent names 20 .. 100 ms, less than the other. 0 (never on) .. 2^32 - 1;
  /// from enable_after on it is always on.
  std::uint64_t disable_after = 125'000'000;
  /// How much of the first stretch is over at cycle 0, so that not all logical processors switch at once. With 0 it is
  /// switched on there. 0 .. 2^32 - 1.
  std::uint64_t offset = 0;
  /// PAUSE-loop exiting is in effect beside it, as the patent has it.
  bool with_ple = true;
  pause_loop_exiting_options loop{};
};

/// A hypervisor that switches the control "PAUSE exiting" on and off by the clock (US patent 11,194,615) to catch what
/// PAUSE-loop exiting cannot see: spins at CPL > 0 and loops with a long period. While it is on every PAUSE exits, at
/// any CPL.
///
/// The phase depends on the cycle alone; VM entries do not restart it. A real hypervisor writes the control between an
/// exit and an entry, thus up to one host tick later, and may wait with switching off until it finds the guest at
/// CPL > 0.
class dynamic_pause_exiting final : public spin_detector {
 public:
  explicit dynamic_pause_exiting(dynamic_pause_exiting_options options = {}) noexcept
      : options_{options}, loop_{options.loop} {}

  void on_entry(cycles now, const spin_parameters& parameters) override {
    parameters_ = parameters;
    loop_.on_entry(now, parameters);
  }
  spin_verdict on_pause(const pause_event& pause) override;
  spin_interests interests() const noexcept override {
    return options_.with_ple ? loop_.interests() : spin_interests{};
  }
  void on_work(const work_event& work) override { loop_.on_work(work); }
  spin_prediction predict(const pause_event& first, cycles period) const override;
  void advance(const pause_event& first, cycles period, std::uint64_t k) override;
  /// The phase is software's; what remains is PAUSE-loop exiting's.
  unsigned state_bits() const noexcept override { return options_.with_ple ? loop_.state_bits() : 0; }

  /// "PAUSE exiting" is on at this cycle.
  bool on_at(cycles now) const noexcept {
    return (now.count() + options_.offset) % options_.enable_after < options_.disable_after;
  }

 private:
  dynamic_pause_exiting_options options_;
  spin_parameters parameters_;
  pause_loop_exiting loop_;
};

}  // namespace vmxsys::vmx
