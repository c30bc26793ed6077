#pragma once
#include <cstdint>

#include <vmxsys/vmx/base/cycles.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

namespace vmxsys::vmx {

// TPAUSE, UMWAIT and MWAIT in VMX non-root operation when they do not exit. SDM Vol. 3C §28.3.

/// IA32_UMWAIT_CONTROL, MSR E1H: what the operating system allows TPAUSE and UMWAIT.
namespace umwait_control {
inline constexpr std::uint32_t c0_2_disabled = 1u << 0;
inline constexpr std::uint32_t maximum_time = 0xFFFF'FFFC;  ///< in TSC quanta; 0 sets no limit
}  // namespace umwait_control

/// The two optimized states. Bit 0 of the register operand asks for C0.1.
enum class user_wait_state : std::uint8_t { c0_1, c0_2 };

/// How long TPAUSE or UMWAIT waits. UMWAIT ends earlier on a store to the monitored range, both on an interrupt;
/// RFLAGS.CF is 1 only if the wait lasted its whole time and `limited`.
struct user_wait {
  std::uint64_t virtual_delay = 0;  ///< in the guest's time
  cycles physical_delay{0};         ///< in real time
  bool limited = false;             ///< the operating system's limit comes before the deadline
  user_wait_state state = user_wait_state::c0_2;
};

/// `tsc`: the real counter now. `deadline`: EDX:EAX, in the guest's time; one that has passed gives no delay.
/// `operand`: the register operand. `control`: IA32_UMWAIT_CONTROL. A limit equal to the rest is not `limited`.
user_wait user_wait_of(const vmcs& v, std::uint64_t tsc, std::uint64_t deadline, std::uint32_t operand,
                       std::uint32_t control) noexcept;

/// ECX of MWAIT: bit 0 makes interrupts end the wait even with RFLAGS.IF = 0.
inline constexpr std::uint32_t mwait_break_on_interrupt = 1u << 0;

/// Does an MWAIT that does not exit sleep? Not if it asks to break on masked interrupts, they are masked, and
/// "interrupt-window exiting" is 1 or a virtual interrupt is recognized: then it is over at once. Whether the monitored
/// range has been written, or monitoring was never armed, is the caller's to look at.
bool mwait_sleeps(const vmcs& v, std::uint32_t ecx, std::uint64_t rflags, bool virtual_interrupt) noexcept;

/// An external interrupt reaches a processor in MWAIT (not exiting): does it end the wait? Interrupts that exit or can
/// be delivered do, masked ones if ECX bit 0 asked for it.
bool interrupt_ends_mwait(const vmcs& v, std::uint32_t ecx, std::uint64_t rflags) noexcept;

}  // namespace vmxsys::vmx
