#pragma once
#include <array>
#include <cstdint>

#include <vmxsys/vmx/base/cycles.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

namespace vmxsys::vmx {

// The time-stamp counter in VMX non-root operation: offset, multiplier (16.48 fixed point) and the way back. SDM Vol.
// 3C §27.6.5, §28.3. All values are 64 bits and wrap.

/// What RDTSC, RDTSCP and RDMSR of IA32_TIME_STAMP_COUNTER give the guest when the TSC is `tsc`: with offsetting the
/// sum, with scaling too the scaled value plus the offset; scaling alone has no effect.
std::uint64_t guest_tsc(const vmcs& v, std::uint64_t tsc) noexcept;

enum class rounding : std::uint8_t { down, up };

/// The TSC at which the guest reads `guest`: ((guest - offset) << 48) / multiplier, or guest - offset without scaling.
/// `down` drops the fraction, as the manual's formula does: where there is one, the guest still reads less at that TSC.
/// `up` is the first TSC at which it reads `guest` or more: for a deadline that must not come early. A result beyond 64
/// bits, or any with a multiplier of 0, is all ones: never.
std::uint64_t host_tsc(const vmcs& v, std::uint64_t guest, rounding round = rounding::down) noexcept;

/// Ways software and the processor look at the counter or set it.
enum class tsc_access : std::uint8_t {
  rdtsc,
  rdtscp,
  rdmsr_time_stamp_counter,
  wrmsr_time_stamp_counter,
  rdmsr_tsc_deadline,
  wrmsr_tsc_deadline,
  user_wait_deadline,
  vm_exit_msr_store,
  vmx_preemption_timer,
  apic_timer,
};

/// Whose time it is. `real` is the counter without offset and multiplier, for guests too.
enum class tsc_view : std::uint8_t { real, guest };

struct tsc_rule {
  tsc_access access;
  const char* name;
  const char* section;
  tsc_view view;
  /// The access is the guest's business with APIC-timer virtualization (`apic/`), and not this value at all.
  bool unless_apic_timer_virtualization;
};

inline constexpr std::array<tsc_rule, 10> tsc_table{{
    {tsc_access::rdtsc, "RDTSC", "Vol. 3C §28.3", tsc_view::guest, false},
    {tsc_access::rdtscp, "RDTSCP", "Vol. 3C §28.3", tsc_view::guest, false},
    {tsc_access::rdmsr_time_stamp_counter, "RDMSR 10H", "Vol. 3C §28.3", tsc_view::guest, false},
    {tsc_access::wrmsr_time_stamp_counter, "WRMSR 10H", "Vol. 3C §28.3", tsc_view::real, false},
    {tsc_access::rdmsr_tsc_deadline, "RDMSR 6E0H", "Vol. 3C §28.3", tsc_view::real, true},
    {tsc_access::wrmsr_tsc_deadline, "WRMSR 6E0H", "Vol. 3C §28.3", tsc_view::real, true},
    {tsc_access::user_wait_deadline, "TPAUSE and UMWAIT deadline", "Vol. 3C §28.3", tsc_view::guest, false},
    {tsc_access::vm_exit_msr_store, "VM-exit MSR-store of 10H", "Vol. 3C §30.4", tsc_view::real, false},
    {tsc_access::vmx_preemption_timer, "VMX-preemption timer", "Vol. 3C §28.5.1", tsc_view::real, false},
    {tsc_access::apic_timer, "APIC timer in TSC-deadline mode", "Vol. 3A §13.5.4.1", tsc_view::real, false},
}};

/// What the access sees of the counter `tsc`. Not for the two rows that APIC-timer virtualization takes over.
inline std::uint64_t tsc_seen(const vmcs& v, tsc_access access, std::uint64_t tsc) noexcept {
  return tsc_table[static_cast<std::size_t>(access)].view == tsc_view::guest ? guest_tsc(v, tsc) : tsc;
}

/// A duration of the guest's clock in cycles of the real one: duration << 48 / multiplier if offsetting and scaling are
/// both on, else the duration itself; the fraction is dropped. SDM Vol. 3C §28.3, TPAUSE.
cycles real_duration(const vmcs& v, std::uint64_t guest_duration) noexcept;

}  // namespace vmxsys::vmx
