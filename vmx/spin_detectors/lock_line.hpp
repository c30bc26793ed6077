#pragma once
#include <cstdint>

#include "spin_detector.hpp"

namespace vmxsys::vmx {

struct lock_line_options {
  /// Watches the loops of every CPL, not only those at CPL 0.
  bool any_cpl = true;
  /// A store of this logical processor to the line starts afresh, as one of another does. It is what parts two waits
  /// for the same lock: a waiter that has got the lock has written to it.
  bool own_store_restarts = true;
  /// PAUSEs more than ple_gap apart start afresh, too. Off, because a slow PAUSE or an interrupt is not news about the
  /// lock.
  bool obeys_gap = false;
};

/// Watches the cache line that a loop polls, as MONITOR does: exits when the loop has polled one line for more than
/// ple_window cycles and no other CPU has taken it away. A lock whose line stays has an owner that has done nothing
/// about it. A hypothetical detector; it would sit beside the monitor hardware of UMWAIT (SDM Vol. 2B, UMONITOR).
///
/// The time begins at the first PAUSE after a poll of another line, after a poll that missed, after VM entry. A PAUSE
/// outside a loop is not seen.
class lock_line final : public spin_detector {
 public:
  static constexpr unsigned line_bytes = 64;

  explicit lock_line(lock_line_options options = {}) noexcept : options_{options} {}

  void on_entry(cycles now, const spin_parameters& parameters) override;
  spin_verdict on_pause(const pause_event& pause) override;
  spin_interests interests() const noexcept override { return {false, options_.own_store_restarts, false}; }
  void on_store(const store_event& store) override;
  spin_prediction predict(const pause_event& first, cycles period) const override;
  void advance(const pause_event& first, cycles period, std::uint64_t k) override;
  /// A line address of 46 bits, one time stamp (with the gap two), and a valid bit.
  unsigned state_bits() const noexcept override { return 46 + (options_.obeys_gap ? 2 * 64 : 64) + 1; }

 private:
  static physical_address line_of(physical_address word) noexcept { return word / line_bytes; }
  bool watches(const pause_event& pause) const noexcept {
    return parameters_.ple_enabled && pause.loop.word != 0 && (pause.cpl == 0 || options_.any_cpl);
  }
  bool starts(const pause_event& pause) const noexcept;

  lock_line_options options_;
  spin_parameters parameters_;
  physical_address line_ = 0;
  cycles start_;
  cycles last_;
  bool armed_ = false;
};

}  // namespace vmxsys::vmx
