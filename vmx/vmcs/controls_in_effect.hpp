#pragma once
#include <cstdint>

#include "control.hpp"
#include "vmcs.hpp"

namespace vmxsys::vmx {

// What single controls of the current VMCS say. SDM Vol. 3C §27.6, §28.1.3.

/// The word as it takes effect: secondary (tertiary) controls are all 0 unless activated. SDM Vol. 3C §27.6.2.
inline std::uint64_t pin_controls(const vmcs& v) noexcept { return v.read(field::pin_based_controls); }
inline std::uint64_t primary_controls(const vmcs& v) noexcept {
  return v.read(field::primary_processor_based_controls);
}
inline std::uint64_t secondary_controls(const vmcs& v) noexcept {
  return (primary_controls(v) & primary::activate_secondary_controls) != 0
             ? v.read(field::secondary_processor_based_controls)
             : 0;
}
inline std::uint64_t tertiary_controls(const vmcs& v) noexcept {
  return (primary_controls(v) & primary::activate_tertiary_controls) != 0
             ? v.read(field::tertiary_processor_based_controls)
             : 0;
}

inline bool hlt_exits(const vmcs& v) noexcept { return (primary_controls(v) & primary::hlt_exiting) != 0; }
inline bool mwait_exits(const vmcs& v) noexcept { return (primary_controls(v) & primary::mwait_exiting) != 0; }
inline bool monitor_exits(const vmcs& v) noexcept { return (primary_controls(v) & primary::monitor_exiting) != 0; }
/// RDTSC and, where enabled, RDTSCP, TPAUSE and UMWAIT.
inline bool rdtsc_exits(const vmcs& v) noexcept { return (primary_controls(v) & primary::rdtsc_exiting) != 0; }
inline bool rdpmc_exits(const vmcs& v) noexcept { return (primary_controls(v) & primary::rdpmc_exiting) != 0; }
inline bool invlpg_exits(const vmcs& v) noexcept { return (primary_controls(v) & primary::invlpg_exiting) != 0; }
inline bool cr8_load_exits(const vmcs& v) noexcept { return (primary_controls(v) & primary::cr8_load_exiting) != 0; }
inline bool cr8_store_exits(const vmcs& v) noexcept { return (primary_controls(v) & primary::cr8_store_exiting) != 0; }
inline bool wbinvd_exits(const vmcs& v) noexcept { return (secondary_controls(v) & secondary::wbinvd_exiting) != 0; }
constexpr bool cpuid_exits() noexcept { return true; }
constexpr bool vmcall_exits() noexcept { return true; }

/// RDTSCP and RDPID raise #UD without this.
inline bool rdtscp_enabled(const vmcs& v) noexcept { return (secondary_controls(v) & secondary::enable_rdtscp) != 0; }

/// "Acknowledge interrupt on exit": the local APIC is acknowledged as part of the exit and the vector is recorded.
/// Otherwise the interrupt stays pending in the APIC.
inline bool acknowledges_interrupt(const vmcs& v) noexcept {
  return v.any(field::primary_vm_exit_controls, vm_exit_control::acknowledge_interrupt_on_exit);
}
inline bool nmi_exits(const vmcs& v) noexcept { return (pin_controls(v) & pin_based::nmi_exiting) != 0; }

}  // namespace vmxsys::vmx
