#pragma once
// How KVM adapts the PAUSE-loop-exiting window of a vCPU: it grows with every PAUSE exit and shrinks when the vCPU's
// thread is scheduled in again.
//
// Source: arch/x86/kvm/x86.h, vmx/vmx.c and svm/svm.c, v6.1 (__grow_ple_window, __shrink_ple_window); for the signed
// arithmetic of v3.18 to v4.16 arch/x86/kvm/vmx.c, v4.4 to v4.8.

#include <cstdint>

#include <vmxsys/vmx/spin_detectors/spin_detector.hpp>

namespace vmxsys::models {

/// Whose arithmetic. Windows are TSC cycles on VMX and PAUSE counts on SVM.
enum class ple_window_era {
  vmx_fixed,   ///< before v3.18: never changes
  vmx_signed,  ///< v3.18 ... v4.16: 32-bit signed, growing stops one step below the maximum
  vmx,         ///< since v4.17: unsigned, growing clamps to the maximum
  svm,         ///< since v4.17 on AMD: as vmx, but stored in 16 bits
};

/// The module parameters ple_window, ple_window_grow, ple_window_shrink, ple_window_max (pause_filter_count...). A grow
/// or shrink below 1 means "back to the base"; below the base it multiplies or divides; else it adds or subtracts.
struct ple_window_parameters {
  std::uint32_t window = vmx::default_ple_window;
  std::uint32_t grow = 2;
  std::uint32_t shrink = 0;
  std::uint32_t max = 4294967295;

  /// The module's defaults: base 4096 and maximum 2^32-1 (2^30-1 in vmx_signed), on SVM 3000 and 65535.
  static ple_window_parameters defaults(ple_window_era era) noexcept;
};

/// The window after a PAUSE exit that found `value`.
std::uint32_t grown_ple_window(ple_window_era era, const ple_window_parameters& parameters,
                               std::uint32_t value) noexcept;

/// The window after a sched-in that found `value`. Never below the base, except where unsigned subtraction wraps: with
/// shrink > value >= base the kernel of `vmx` and `svm` gets a huge window.
std::uint32_t shrunk_ple_window(ple_window_era era, const ple_window_parameters& parameters,
                                std::uint32_t value) noexcept;

/// One update, as the tracepoint reports it.
struct ple_window_change {
  std::uint32_t before = 0;
  std::uint32_t after = 0;
  bool grew = false;  ///< by rule, even if the value is the same

  bool changed() const noexcept { return before != after; }
  friend bool operator==(const ple_window_change&, const ple_window_change&) = default;
};

/// The window of one vCPU. The value reaches the hardware at the next VM entry. Not to be used while PAUSE exits are
/// disabled for the VM: KVM then leaves the window alone.
class ple_window {
 public:
  explicit ple_window(ple_window_era era = ple_window_era::vmx) noexcept
      : ple_window(era, ple_window_parameters::defaults(era)) {}
  ple_window(ple_window_era era, const ple_window_parameters& parameters) noexcept;

  std::uint32_t value() const noexcept { return value_; }
  /// A PAUSE exit, before the directed yield.
  ple_window_change on_pause_exit() noexcept;
  /// The vCPU's thread runs again after having been scheduled out.
  ple_window_change on_sched_in() noexcept;
  /// The value was changed since the last call: the VM entry must write it.
  bool take_dirty() noexcept;

 private:
  ple_window_change set(std::uint32_t value, bool grew) noexcept;

  ple_window_era era_;
  ple_window_parameters parameters_;
  std::uint32_t value_;
  bool dirty_ = false;
};

}  // namespace vmxsys::models
