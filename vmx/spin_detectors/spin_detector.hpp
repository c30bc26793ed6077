#pragma once
#include <cstdint>
#include <optional>

#include <vmxsys/vmx/base/cycles.hpp>
#include <vmxsys/vmx/base/physical_memory.hpp>

namespace vmxsys::vmx {

/// The polls of the loop that a PAUSE belongs to, for detectors that see more than PAUSEs. One iteration of a spin loop
/// is PAUSE, load, compare, branch back; the load polls one word.
struct spin_loop_view {
  physical_address word = 0;       ///< polled by this loop; 0 for a PAUSE outside a loop
  std::uint64_t value = 0;         ///< what the poll before this PAUSE has found
  bool line_changed = false;       ///< that poll missed: another CPU has taken the line away since the poll before
  std::uint64_t branch = 0;        ///< linear address of the branch that closes the loop
  std::uint32_t instructions = 4;  ///< retired per iteration; without meaning outside a loop
};

/// The truth beside a PAUSE. No hardware sees it; the controls `oracle` and `coin_flip` live on it.
struct spin_truth {
  bool futile = false;        ///< the strand that is waited for runs on no CPU when this PAUSE is issued
  std::uint64_t episode = 0;  ///< number of the wait this PAUSE belongs to, from 1; 0 outside a loop
};

/// One execution of PAUSE in VMX non-root operation, as a detector sees it.
struct pause_event {
  cycles issue;           ///< when the instruction starts
  cycles latency;         ///< how long it will take if it executes; its end is issue + latency
  unsigned cpl = 0;       ///< 0 .. 3
  std::uint64_t rip = 0;  ///< linear address of the PAUSE
  spin_loop_view loop{};
  spin_truth truth{};
};

/// A stretch of straight-line code without PAUSE that ends at `end`: what it has retired.
struct work_event {
  cycles end;
  unsigned cpl = 0;
  std::uint64_t instructions = 0;
  std::uint64_t unique_stores = 0;  ///< stores of a value to an address that did not hold it
  std::uint64_t backward_branches = 0;
};

/// One store of the guest on this logical processor, when it takes effect; a read-modify-write that stores is one, too.
struct store_event {
  cycles at;
  physical_address address = 0;
  std::uint64_t value = 0;
  unsigned cpl = 0;
};

/// What a detector needs to be told besides VM entries, exits and PAUSEs; the processor leaves out the rest.
struct spin_interests {
  bool work = false;    ///< on_work
  bool stores = false;  ///< on_store
  bool truth = false;   ///< pause_event::truth, and a chance to answer whenever `futile` changes
};

/// What becomes of a PAUSE: it executes, it causes a VM exit (basic reason 40, fault-like: RIP stays on the PAUSE),
/// or it executes and the detector tells the hypervisor without an exit.
enum class spin_verdict : std::uint8_t { execute, exit, hint };

/// PLE_Gap and PLE_Window as KVM sets them, in TSC cycles (arch/x86/kvm/x86.h, v5.6: KVM_DEFAULT_PLE_GAP,
/// KVM_VMX_DEFAULT_PLE_WINDOW).
inline constexpr std::uint32_t default_ple_gap = 128;
inline constexpr std::uint32_t default_ple_window = 4096;

/// What a detector is told at VM entry, from the VMCS. Intel: PLE_Gap and PLE_Window in cycles (fields 4020H, 4022H)
/// and the two controls. The AMD filter reads its threshold from `ple_gap` and its count from `ple_window`, as
/// hypervisors drive both with one pair of knobs. A detector with other needs gives these numbers its own meaning.
/// Two rules hold for all: with `pause_exiting` every PAUSE exits, and else with `ple_enabled` clear none does.
struct spin_parameters {
  std::uint64_t ple_gap = 0;
  std::uint64_t ple_window = 0;
  bool ple_enabled = false;    ///< secondary control "PAUSE-loop exiting" is in effect
  bool pause_exiting = false;  ///< primary control "PAUSE exiting"
  bool overcommitted = false;  ///< the host's hint: another thread waits for this logical processor
};

/// Answer to "PAUSEs come at first.issue + i * period for i = 0, 1, ...: which is the first that does not simply
/// execute?" `never`: none of them. `at`: the one with this index. `step`: the detector cannot tell, call on_pause
/// for each.
struct spin_prediction {
  enum class kind : std::uint8_t { never, at, step } what = kind::step;
  std::uint64_t index = 0;  ///< meaningful for `at`

  static constexpr spin_prediction never() noexcept { return {kind::never, 0}; }
  static constexpr spin_prediction at(std::uint64_t index) noexcept { return {kind::at, index}; }
  static constexpr spin_prediction step() noexcept { return {kind::step, 0}; }
  /// Nothing means never.
  static constexpr spin_prediction of(std::optional<std::uint64_t> index) noexcept {
    return index ? at(*index) : never();
  }
};

/// The piece of a logical processor that watches PAUSE in VMX non-root operation and decides when a guest is spinning
/// in vain (SDM Vol. 3C §28.1.3 for Intel's; AMD APM Vol. 2 §15.14.4 for AMD's). Swappable: a detector of one's own
/// is one class. One object per logical processor; it has no clock, every call brings its cycle, and cycles never
/// decrease. A PAUSE is issued no earlier than the one before has ended. Outside non-root operation it is not called.
///
/// Several may watch one run while only one acts. A caller that does not follow an `exit` calls on_exit(now),
/// on_entry(now, the same parameters) and goes on: the watcher lives on as if it had been obeyed and the guest had come
/// back at once.
class spin_detector {
 public:
  virtual ~spin_detector() = default;

  /// VM entry: parameters are latched until the next entry, and what was seen in the guest before is forgotten, unless
  /// the detector says otherwise.
  virtual void on_entry(cycles now, const spin_parameters& parameters) = 0;

  /// VM exit, for any reason (also the one this detector asked for).
  virtual void on_exit(cycles /*now*/) {}

  /// A PAUSE is about to execute.
  virtual spin_verdict on_pause(const pause_event& pause) = 0;

  /// Which of the following it wants to be told. Constant for the life of the detector.
  virtual spin_interests interests() const noexcept { return {}; }
  virtual void on_work(const work_event& /*work*/) {}
  virtual void on_store(const store_event& /*store*/) {}

  /// Pure. Several equal PAUSEs in a row: all as in `first` but for the time, one every `period` (0 is allowed), and
  /// but for `line_changed`, which only the first may have. Nothing else happens in between.
  virtual spin_prediction predict(const pause_event& first, cycles period) const = 0;

  /// Leaves the state that `k` calls of on_pause in that rhythm leave. Precondition: they all answer `execute`, which
  /// is what predict promised for k <= index.
  virtual void advance(const pause_event& first, cycles period, std::uint64_t k) = 0;

  /// Hardware cost: state bits per logical processor beyond the parameters it keeps in the VMCS. 0 for none.
  virtual unsigned state_bits() const noexcept { return 0; }
};

}  // namespace vmxsys::vmx
