#pragma once
#include <cstdint>

#include "pause_loop_exiting.hpp"

namespace vmxsys::vmx {

struct rip_matched_options {
  /// Two PAUSEs whose addresses are at most this many bytes apart may belong to one loop. 0: it must be the same
  /// instruction. 16 or so admits a loop with two PAUSEs in it. Any value.
  std::uint64_t reach = 0;
  pause_loop_exiting_options loop{};
};

/// PAUSE-loop exiting that also compares instruction pointers (US patent 8,230,203, claim 1): a PAUSE at CPL 0 from
/// elsewhere than the previous one starts a loop. Two spins in quick succession are told apart, which makes false exits
/// of short waits rarer. ple_gap and ple_window mean what they mean there.
class rip_matched final : public spin_detector {
 public:
  explicit rip_matched(rip_matched_options options = {}) noexcept : reach_{options.reach}, loop_{options.loop} {}

  void on_entry(cycles now, const spin_parameters& parameters) override { loop_.on_entry(now, parameters); }
  spin_verdict on_pause(const pause_event& pause) override;
  spin_interests interests() const noexcept override { return loop_.interests(); }
  void on_work(const work_event& work) override { loop_.on_work(work); }
  spin_prediction predict(const pause_event& first, cycles period) const override;
  void advance(const pause_event& first, cycles period, std::uint64_t k) override;
  /// PAUSE-loop exiting's and an instruction pointer.
  unsigned state_bits() const noexcept override { return loop_.state_bits() + 64; }

 private:
  void look_at(const pause_event& pause) noexcept;

  std::uint64_t reach_;
  pause_loop_exiting loop_;
  std::uint64_t rip_ = 0;  // of the previous PAUSE that counted
};

}  // namespace vmxsys::vmx
