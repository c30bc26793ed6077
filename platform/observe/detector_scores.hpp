#pragma once
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/platform/machine/simulation.hpp>

#include "run_result.hpp"

namespace vmxsys::platform {

/// Scores the spin detectors that watch a run (machine.observers) against the truth, wait by wait. One wait of a guest
/// is one decision: positive when a PAUSE of it was issued while the awaited strand ran on no CPU; detected when the
/// detector answered during it. Waits that began before the measurement or have not ended are left out.
class detector_scores {
 public:
  explicit detector_scores(const simulation& of);

  void begin(cycles now) { from_ = now; }
  void on_detection(const cpu::spin_detected_fact& f, cycles at);
  void on_spin(const cpu::spin_fact& f);
  /// Waits of guests scored so far, and those in vain.
  std::uint64_t waits() const { return waits_; }
  std::uint64_t futile_waits() const { return futile_waits_; }
  std::vector<detector_row> rows() const;

 private:
  /// What one detector has said during one wait.
  struct answers {
    std::uint64_t count = 0;
    std::uint64_t early = 0;           ///< before the first PAUSE in vain
    cycles in_vain = cycles::never();  ///< the first while waiting in vain
  };
  struct score {
    detector_row row;
    std::vector<std::uint64_t> latencies;  ///< cycles
  };

  const simulation& of_;
  cycles from_ = cycles::never();
  std::vector<score> scores_;
  std::unordered_map<std::uint64_t, std::vector<answers>> open_;  // by episode
  std::uint64_t waits_ = 0, futile_waits_ = 0;
};

}  // namespace vmxsys::platform
