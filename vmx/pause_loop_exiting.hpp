#pragma once
#include <vmxsys/vmx/spin_detector.hpp>

#include <cstdint>

namespace vmxsys::vmx {

/// What the manual leaves open about PAUSE-loop exiting.
struct pause_loop_exiting_options {
  /// The gap is the time from the start of one PAUSE to the start of the next. With this switch it is the time from the
  /// end of one (issue + latency) to the start of the next, so that a slow PAUSE does not break its own loop. The
  /// window is measured between starts either way.
  bool gap_end_to_start = false;
  /// The counter advances in steps of 2^counter_shift cycles, 0 .. 16. Anything but 0 makes the detector answer `step`.
  unsigned counter_shift = 0;
};

/// Intel's detector, SDM Vol. 3C §28.1.3. At CPL 0 a PAUSE that comes more than PLE_Gap after the previous one, and the
/// first one since VM entry, starts a loop; a PAUSE of the same loop more than PLE_Window after its start causes a VM
/// exit. PAUSEs at other CPLs execute and leave no trace. Elapsed times are 64 bits wide, comparisons strict. The PAUSE
/// that exits leaves the state as it was, which matters only to an observer whose verdicts nobody follows.
class pause_loop_exiting final : public spin_detector {
 public:
  explicit pause_loop_exiting(pause_loop_exiting_options options = {}) noexcept : options_{options} {}

  void on_entry(cycles now, const spin_parameters& parameters) override;
  spin_verdict on_pause(const pause_event& pause) override;
  spin_prediction predict(const pause_event& first, cycles period) const override;
  void advance(const pause_event& first, cycles period, std::uint64_t k) override;
  const char* name() const noexcept override;
  /// Two 64-bit time stamps and a valid bit.
  unsigned state_bits() const noexcept override { return 2 * 64 + 1; }

  /// The start of the loop under way. Meaningful while `in_loop`.
  cycles loop_start() const noexcept { return first_; }
  /// A PAUSE at CPL 0 has executed since VM entry.
  bool in_loop() const noexcept { return armed_; }

 private:
  bool watches(const pause_event& pause) const noexcept { return parameters_.ple_enabled && pause.cpl == 0; }
  cycles stamp(cycles at) const noexcept;
  cycles gap_mark(const pause_event& pause) const noexcept;

  spin_parameters parameters_;
  pause_loop_exiting_options options_;
  cycles first_;
  cycles last_;  // what the next gap is measured from
  bool armed_ = false;
};

}  // namespace vmxsys::vmx
