#pragma once
#include <cstdint>
#include <optional>

#include "spin_detector.hpp"

namespace vmxsys::vmx {

/// How wide the elapsed times are that PAUSE-loop exiting compares with its two fields.
enum class elapsed_width : std::uint8_t {
  bits_64,             ///< never wraps
  bits_32_wrapping,    ///< modulo 2^32: a PAUSE after 2^32 cycles of silence may look like one in time
  bits_32_saturating,  ///< stops at 2^32 - 1: a field of FFFFFFFFH is never exceeded
};

/// What ends a loop besides the gap.
enum class loop_breaker : std::uint8_t {
  time_only,  ///< nothing: between two PAUSEs only time passes
  user_mode,  ///< a PAUSE or straight-line code at CPL > 0
  any_work,   ///< these, and straight-line code at CPL 0: an interrupt handler in the middle of a spin
};

/// What the manual leaves open about PAUSE-loop exiting. The defaults are the plain reading of SDM Vol. 3C §28.1.3.
struct pause_loop_exiting_options {
  /// The gap is the time from the start of one PAUSE to the start of the next. With this switch it is the time from the
  /// end of one (issue + latency) to the start of the next, so that a slow PAUSE does not break its own loop. The
  /// window is not affected.
  bool gap_end_to_start = false;
  /// The counter advances in steps of 2^counter_shift cycles, 0 .. 16. `predict` and `advance` then take up to
  /// 2^(counter_shift + 1) steps, for runs of any length.
  unsigned counter_shift = 0;
  /// A PAUSE that exits becomes "the previous one". No difference while exits are followed, because the next entry
  /// forgets it. The default is what Bochs does.
  bool exit_updates_last = false;
  loop_breaker broken_by = loop_breaker::time_only;
  elapsed_width width = elapsed_width::bits_64;
  /// A loop goes on over VM exits and entries: the state is the logical processor's and entries do not touch it. The
  /// exit that the detector asks for forgets the loop in any case; otherwise a host that is back within the gap would
  /// never get past that PAUSE. The manual's first PAUSE "since VM entry" speaks against it.
  bool kept_across_entries = false;
  /// The time of a PAUSE is read when it ends, not when it is issued. Seen only where latencies differ.
  bool stamp_at_end = false;
};

/// Intel's detector, SDM Vol. 3C §28.1.3. At CPL 0 a PAUSE that comes more than PLE_Gap after the previous one, and the
/// first one since VM entry, starts a loop; a PAUSE of the same loop more than PLE_Window after its start causes a VM
/// exit. PAUSEs at other CPLs execute and leave no trace. Comparisons are strict.
///
/// A loop with a PAUSE every P cycles therefore exits at its PAUSE number PLE_Window / P + 2 if P <= PLE_Gap, and never
/// otherwise.
///
/// Three more open questions are the machine's. Does time in SMM or in posted-interrupt processing count? It does as
/// long as the cycles passed in go on meanwhile. Do hyper-threads share the state? Not with one object each. Does a
/// PAUSE in a transaction count? One that aborts it is never shown to a detector.
class pause_loop_exiting final : public spin_detector {
 public:
  explicit pause_loop_exiting(pause_loop_exiting_options options = {}) noexcept;

  void on_entry(cycles now, const spin_parameters& parameters) override;
  spin_verdict on_pause(const pause_event& pause) override;
  spin_interests interests() const noexcept override {
    return {options_.broken_by != loop_breaker::time_only, false, false};
  }
  void on_work(const work_event& work) override;
  spin_prediction predict(const pause_event& first, cycles period) const override;
  void advance(const pause_event& first, cycles period, std::uint64_t k) override;
  /// Two time stamps as wide as the comparison and the step of the counter need, and a valid bit.
  unsigned state_bits() const noexcept override;

  /// The start of the loop under way. Meaningful while `in_loop`.
  cycles loop_start() const noexcept { return first_; }
  /// A PAUSE at CPL 0 has executed since VM entry.
  bool in_loop() const noexcept { return armed_; }
  /// This PAUSE is not past over.
  bool watches(const pause_event& pause) const noexcept { return parameters_.ple_enabled && pause.cpl == 0; }
  /// The next PAUSE starts a loop. For detectors built on this one.
  void forget_loop() noexcept { armed_ = false; }

 private:
  // The switches about time as masks.
  struct masks {
    std::uint64_t counter = ~std::uint64_t{0};  // for times
    std::uint64_t elapsed = ~std::uint64_t{0};  // for differences of times
    std::uint64_t window_latency = 0;           // for the latency of a PAUSE, and so the next two
    std::uint64_t gap_from_latency = 0;
    std::uint64_t gap_to_latency = 0;
  };

  // Everything about time exists twice. `plain` is the common case, in which all masks but gap_from_latency have their
  // initial values; it must stay as fast as if there were no switches.
  template <bool plain>
  class clock;

  std::uint64_t field(std::uint64_t value) const noexcept;
  template <bool plain>
  spin_verdict decide(const pause_event& pause) noexcept;
  template <bool plain>
  spin_prediction foresee(const pause_event& first, cycles period) const noexcept;
  template <bool plain>
  void follow(const pause_event& first, cycles period, std::uint64_t pairs) noexcept;
  std::uint64_t rhythm(cycles period) const noexcept;
  template <bool plain>
  spin_prediction in_one_loop(cycles start, const pause_event& first, cycles period) const noexcept;
  spin_prediction in_many_loops(cycles start, const pause_event& first, cycles period) const noexcept;

  spin_parameters parameters_;
  pause_loop_exiting_options options_;
  masks masks_;
  bool plain_;
  cycles first_;
  cycles last_;  // what the next gap is measured from
  bool armed_ = false;
};

}  // namespace vmxsys::vmx
