#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <vmxsys/vmx/spin_detectors/no_spin_detector.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

namespace vmxsys::cpu {

/// What a spin detector is told at VM entry. PAUSE itself is decided by the detector.
inline vmx::spin_parameters spin_parameters_of(const vmx::vmcs& v) noexcept {
  return {v.read(vmx::field::ple_gap), v.read(vmx::field::ple_window),
          (vmx::secondary_controls(v) & vmx::secondary::pause_loop_exiting) != 0,
          (vmx::primary_controls(v) & vmx::primary::pause_exiting) != 0};
}

using detector_maker = std::function<std::unique_ptr<vmx::spin_detector>()>;

/// A detector that watches a run without acting in it. PAUSE-loop detection is on for it in any VMCS; its gap
/// and window are its own.
struct observing_detector {
  detector_maker make;
  std::uint64_t gap = vmx::default_ple_gap;        ///< as PLE_Gap
  std::uint64_t window = vmx::default_ple_window;  ///< as PLE_Window
};

/// The spin detectors of one logical CPU: the one that acts, and those that only watch. Where a watching one would
/// exit, the CPU records that and the detector goes on as if the exit had been taken and left again at once; so a wait
/// may hold several of its answers. Watching changes nothing in the run.
class spin_detectors {
 public:
  spin_detectors(const detector_maker& acting, const std::vector<observing_detector>& observing)
      : acting_{acting ? acting() : std::make_unique<vmx::no_spin_detector>()} {
    note_interests(*acting_);
    for (const observing_detector& o : observing) {
      watching_.push_back({o.make(), {o.gap, o.window, true, false, false}});
      note_interests(*watching_.back().detector);
    }
  }

  vmx::spin_detector& acting() { return *acting_; }
  bool any_watching() const { return !watching_.empty(); }
  /// What at least one of them wants to be told.
  const vmx::spin_interests& interests() const { return interests_; }

  void on_entry(cycles now, const vmx::spin_parameters& parameters) {
    acting_->on_entry(now, parameters);
    for (watcher& w : watching_) {
      w.parameters.overcommitted = parameters.overcommitted;
      w.detector->on_entry(now, w.parameters);
    }
  }
  void on_exit(cycles now) {
    acting_->on_exit(now);
    for (watcher& w : watching_) w.detector->on_exit(now);
  }
  void on_work(const vmx::work_event& work) {
    acting_->on_work(work);
    for (watcher& w : watching_) w.detector->on_work(work);
  }
  void on_store(const vmx::store_event& store) {
    acting_->on_store(store);
    for (watcher& w : watching_) w.detector->on_store(store);
  }

  /// The acting detector's answer to a PAUSE; `fired(number)` for every watching one that would exit or hint.
  template <class Fired>
  vmx::spin_verdict on_pause(const vmx::pause_event& pause, Fired fired) {
    const vmx::spin_verdict verdict = acting_->on_pause(pause);
    for (std::size_t i = 0; i < watching_.size(); ++i) {
      watcher& w = watching_[i];
      const vmx::spin_verdict would = w.detector->on_pause(pause);
      if (would == vmx::spin_verdict::execute) continue;
      fired(i);
      if (would != vmx::spin_verdict::exit) continue;
      w.detector->on_exit(pause.issue);
      w.detector->on_entry(pause.issue, w.parameters);
    }
    return verdict;
  }

  /// The first PAUSE of a regular run at which any of them does more than execute.
  vmx::spin_prediction predict(const vmx::pause_event& first, cycles period) const {
    using kind = vmx::spin_prediction::kind;
    vmx::spin_prediction soonest = acting_->predict(first, period);
    for (const watcher& w : watching_) {
      if (soonest.what == kind::step) return soonest;
      const vmx::spin_prediction p = w.detector->predict(first, period);
      if (p.what == kind::step || soonest.what == kind::never)
        soonest = p;
      else if (p.what == kind::at)
        soonest.index = std::min(soonest.index, p.index);
    }
    return soonest;
  }
  void advance(const vmx::pause_event& first, cycles period, std::uint64_t k) {
    acting_->advance(first, period, k);
    for (watcher& w : watching_) w.detector->advance(first, period, k);
  }

 private:
  struct watcher {
    std::unique_ptr<vmx::spin_detector> detector;
    vmx::spin_parameters parameters;
  };
  void note_interests(const vmx::spin_detector& d) {
    const vmx::spin_interests i = d.interests();
    interests_.work |= i.work;
    interests_.stores |= i.stores;
    interests_.truth |= i.truth;
  }

  std::unique_ptr<vmx::spin_detector> acting_;
  std::vector<watcher> watching_;
  vmx::spin_interests interests_;
};

}  // namespace vmxsys::cpu
