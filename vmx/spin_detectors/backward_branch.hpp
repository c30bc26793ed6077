#pragma once
#include <cstdint>

#include "spin_detector.hpp"

namespace vmxsys::vmx {

struct backward_branch_options {
  /// How many iterations in a row must have changed nothing before the loop counts as a spin. 2 is what the paper's
  /// idea needs. 1 .. 2^32 - 1.
  std::uint64_t iterations = 2;
  /// A spin exits only when it has gone on for more than ple_window cycles. Without this every wait that is not over at
  /// once exits: two iterations are less than any lock is held.
  bool obeys_window = true;
};

/// Sees that a loop cannot end by itself (Li, Lebeck and Sorin, "Spin Detection Hardware for Improved Management of
/// Multithreaded Systems", IEEE TPDS 17(6), 2006; sizes assumed). The state of the registers at a backward branch is
/// compared with that at the branch before: the same branch, the same registers and no store in between mean an
/// iteration that changed nothing. Works at any CPL and does not care how long an iteration takes.
///
/// Of the registers a model of loops has two to show, the address of the polled word and the value found in it.
/// Straight- line code of any kind, a store of this logical processor and a PAUSE outside a loop break the row. Without
/// a PAUSE there is nothing to exit on; the paper does not need one.
class backward_branch final : public spin_detector {
 public:
  explicit backward_branch(backward_branch_options options = {}) noexcept : options_{options} {}

  void on_entry(cycles now, const spin_parameters& parameters) override;
  spin_verdict on_pause(const pause_event& pause) override;
  spin_interests interests() const noexcept override { return {true, true, false}; }
  void on_work(const work_event& /*work*/) override { armed_ = false; }
  void on_store(const store_event& /*store*/) override { armed_ = false; }
  spin_prediction predict(const pause_event& first, cycles period) const override;
  void advance(const pause_event& first, cycles period, std::uint64_t k) override;
  /// The branch, 16 registers and RFLAGS as they were there, the counter, a time stamp if the window counts, a valid
  /// bit.
  unsigned state_bits() const noexcept override;

 private:
  bool same_iteration(const pause_event& pause) const noexcept {
    return armed_ && pause.loop.branch == branch_ && pause.loop.word == word_ && pause.loop.value == value_;
  }

  backward_branch_options options_;
  spin_parameters parameters_;
  std::uint64_t branch_ = 0;
  physical_address word_ = 0;
  std::uint64_t value_ = 0;
  cycles start_;            // of the first of the row
  std::uint64_t same_ = 0;  // iterations in a row that have changed nothing; counts no further than `iterations`
  bool armed_ = false;
};

}  // namespace vmxsys::vmx
