#pragma once
#include <array>
#include <cstdint>

#include "spin_detector.hpp"

namespace vmxsys::vmx {

struct progress_options {
  /// Exits once more than this many instructions have retired since the last new store. The paper's window is of this
  /// order. 0: ple_window is this number of instructions, so that the hypervisor can adapt it. Any number.
  std::uint64_t window = 1000;
  /// How many different stores are remembered, 1 .. 8. A loop that writes no more than these makes no progress.
  unsigned entries = 8;
};

/// Asks whether the processor does anything new (Wells, Chakraborty and Sohi, "Hardware Support for Spin Management in
/// Overcommitted Virtual Machines", PACT 2006; the sizes here are assumed). A small associative memory holds the latest
/// different pairs of address and value that were stored; a store of a pair that it does not hold is progress. When a
/// window of instructions retires without progress, the next PAUSE exits, at any CPL. (The paper's mechanism does not
/// need a PAUSE.)
///
/// An iteration of a spin loop retires spin_loop_view::instructions, a PAUSE outside a loop one. Straight-line code
/// counts with what it retires; if it has unique stores, it ends with one.
class progress final : public spin_detector {
 public:
  static constexpr unsigned most_entries = 8;

  explicit progress(progress_options options = {}) noexcept : options_{options} {}

  void on_entry(cycles now, const spin_parameters& parameters) override;
  spin_verdict on_pause(const pause_event& pause) override;
  spin_interests interests() const noexcept override { return {true, true, false}; }
  void on_work(const work_event& work) override;
  void on_store(const store_event& store) override;
  spin_prediction predict(const pause_event& first, cycles period) const override;
  void advance(const pause_event& first, cycles period, std::uint64_t k) override;
  /// Per entry a 52-bit address, a 64-bit value and a valid bit; the place of the next entry; the instruction counter.
  unsigned state_bits() const noexcept override;

  /// Instructions retired since the last progress.
  std::uint64_t idle_instructions() const noexcept { return idle_; }

 private:
  struct entry {
    physical_address address = 0;
    std::uint64_t value = 0;
  };

  static std::uint64_t retired_by(const pause_event& pause) noexcept {
    return pause.loop.word == 0 ? 1 : pause.loop.instructions;
  }

  progress_options options_;
  bool watches_ = false;
  bool exits_all_ = false;
  std::uint64_t window_ = 0;
  std::uint64_t idle_ = 0;
  std::array<entry, most_entries> stores_{};
  unsigned held_ = 0;  // of stores_
  unsigned next_ = 0;  // replaced next
};

}  // namespace vmxsys::vmx
