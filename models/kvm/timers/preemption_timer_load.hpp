#pragma once
#include <cstdint>
#include <optional>

// What KVM loads into the VMX-preemption timer. Pure arithmetic in TSC cycles.
namespace vmxsys::models {

/// A deadline on the VMX-preemption timer.
struct preemption_deadline {
  std::uint64_t tsc;  ///< of the host, when it expires
  bool expired;       ///< it is reached already
};

/// vmx_set_hv_timer: none if 32 bits of timer ticks do not reach that far, so that a software timer has to do. `shift`
/// is IA32_VMX_MISC[4:0]: a tick is 2^shift cycles.
std::optional<preemption_deadline> set_preemption_deadline(std::uint64_t guest_deadline, std::uint64_t guest_tsc,
                                                           std::uint64_t host_tsc, std::uint64_t lead, unsigned shift);

/// What the VMX-preemption timer of a vCPU is told before each entry (vmx_update_hv_timer).
class preemption_timer_load {
 public:
  static constexpr std::uint32_t longest = ~std::uint32_t{0};

  /// `written`: the field holds the longest value already.
  explicit preemption_timer_load(bool written = false) : soft_disabled_{written} {}

  /// The value to VMWRITE, or none if the field holds it already. `deadline`: TSC of the host; none: no timer, which is
  /// written once and not again. `at_once`: the entry is to be left before an instruction.
  std::optional<std::uint32_t> at_entry(std::optional<std::uint64_t> deadline, std::uint64_t host_tsc, unsigned shift,
                                        bool at_once = false);
  /// An exit by this timer means nothing: no deadline was loaded.
  bool soft_disabled() const { return soft_disabled_; }

 private:
  bool soft_disabled_;
};

}  // namespace vmxsys::models
