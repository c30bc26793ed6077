#pragma once
#include <cstdint>
#include <vector>

#include <vmxsys/cpu/core/cpu_core.hpp>
#include <vmxsys/cpu/core/spin_detectors.hpp>
#include <vmxsys/cpu/memory/memory.hpp>
#include <vmxsys/cpu/program/instruction.hpp>
#include <vmxsys/cpu/program/spin_subject.hpp>

namespace vmxsys::cpu {

/// A spin loop in flight: executed iteration by iteration, or jumped over. Fast mode asks the detectors which PAUSE
/// exits, sleeps until then, and `materialise` puts the loop back in the middle of an iteration when anything disturbs
/// it. Both ways record the same facts.
///
/// One iteration is { PAUSE; load }: the loop is entered at the load. Boundaries are where the PAUSE is issued
/// (before_pause) and where the load is (before_load). PAUSE number j of a regular run is issued at first + j * period,
/// its load at first + j * period + pause, and both intervals belong to the iteration of that PAUSE.
class spin_loop final : private line_watcher, private spin_subject_watcher {
 public:
  spin_loop(cpu_core& core, const detector_maker& acting, const std::vector<observing_detector>& observing);
  spin_loop(const spin_loop&) = delete;
  spin_loop& operator=(const spin_loop&) = delete;

  spin_detectors& detectors() { return detectors_; }

  /// The CPU begins the loop, or comes back to it; `proceed` follows.
  void begin(spin_instruction& spin, cycles now);
  /// At a boundary, after recognition: issues what comes next. `singly`: a monitor trap flag wants every boundary seen.
  /// False: the PAUSE exits.
  bool proceed(bool singly, cycles now);
  /// The step slot fired. True: the loop is at a boundary; false: it is over, and the instruction complete.
  bool arrive(cycles now);
  /// The CPU turns to something else; the instruction keeps its exact position.
  void leave(cycles now);
  /// Ends a jump at the exact position at `now`, in a phase before `read`.
  void materialise(cycles now);
  /// Books the time up to `now` and goes on.
  void close_accounting(cycles now);

  /// Asks the detectors about a PAUSE of the guest; those that only watch leave a fact.
  bool pause_exits(const vmx::pause_event& pause);

 private:
  static void on_subject_change(void* self, cycles now) { static_cast<spin_loop*>(self)->materialise(now); }
  void line_changed(cycles now) override { materialise(now); }
  void subject_changed(cycles now) override;
  cycles load_duration() const { return core_.costs.instruction.load + core_.costs.instruction.branch; }
  vmx::pause_event pause_at(const spin_instruction& spin, cycles issue) const;
  void note_truth(spin_instruction& spin, const vmx::pause_event& pause) const;
  void settle(cycles now);
  bool jump(spin_instruction& spin, cycles now);
  void leave_jump(spin_instruction& spin, std::uint64_t pauses);

  cpu_core& core_;
  spin_instruction* spin_ = nullptr;  // while spinning
  bool jumped_ = false;               // a jump over iterations is on its way
  bool truth_wanted_ = false;         // by a detector, or because some only watch
  bool jump_loads_first_ = false;     // the first PAUSE lies behind the load with which the jump began
  vmx::pause_event jump_pause_{};     // the first PAUSE jumped over
  std::uint64_t jump_count_ = 0;      // lands at PAUSE number this, from 0; ~0: never
  std::uint64_t episodes_ = 0;        // spin loops begun
  cycles mark_{0};                    // subject's running cycles at the start of the open interval
  spin_detectors detectors_;
  slot subject_slot_{};  // only if the truth is wanted
};

}  // namespace vmxsys::cpu
