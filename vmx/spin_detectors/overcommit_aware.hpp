#pragma once
#include "pause_loop_exiting.hpp"

namespace vmxsys::vmx {

/// PAUSE-loop exiting that acts only while the host says that another thread waits for this logical processor
/// (spin_parameters::overcommitted, told at VM entry). Where none waits, an exit can only cost. No processor has the
/// hint; it would be one more VM-execution control, which the host keeps up to date at every entry.
class overcommit_aware final : public spin_detector {
 public:
  explicit overcommit_aware(pause_loop_exiting_options options = {}) noexcept : loop_{options} {}

  void on_entry(cycles now, const spin_parameters& parameters) override {
    spin_parameters p = parameters;
    p.ple_enabled = p.ple_enabled && p.overcommitted;
    loop_.on_entry(now, p);
  }
  spin_verdict on_pause(const pause_event& pause) override { return loop_.on_pause(pause); }
  spin_interests interests() const noexcept override { return loop_.interests(); }
  void on_work(const work_event& work) override { loop_.on_work(work); }
  spin_prediction predict(const pause_event& first, cycles period) const override {
    return loop_.predict(first, period);
  }
  void advance(const pause_event& first, cycles period, std::uint64_t k) override { loop_.advance(first, period, k); }
  /// PAUSE-loop exiting's; the hint is a control in the VMCS.
  unsigned state_bits() const noexcept override { return loop_.state_bits(); }

 private:
  pause_loop_exiting loop_;
};

}  // namespace vmxsys::vmx
