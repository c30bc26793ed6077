#pragma once
#include <cstdint>

#include <vmxsys/vmx/boundary.hpp>
#include <vmxsys/vmx/control.hpp>
#include <vmxsys/vmx/event.hpp>
#include <vmxsys/vmx/exception.hpp>
#include <vmxsys/vmx/exit.hpp>
#include <vmxsys/vmx/physical_memory.hpp>
#include <vmxsys/vmx/spin_detector.hpp>
#include <vmxsys/vmx/tsc.hpp>
#include <vmxsys/vmx/vmcs.hpp>

namespace vmxsys::vmx {

// The single questions behind the rules of VMX non-root operation: what a control, a bitmap or a window says. SDM
// Vol. 3C §28.1.2, §28.1.3, §28.2. All are pure reads of the current VMCS. Whole instructions, faults included, are
// decided in `instruction_exit.hpp`, boundaries in `boundary.hpp`.

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

/// What a spin detector is told at VM entry. PAUSE itself is decided by the detector.
inline spin_parameters spin_parameters_of(const vmcs& v) noexcept {
  return {v.read(field::ple_gap), v.read(field::ple_window),
          (secondary_controls(v) & secondary::pause_loop_exiting) != 0,
          (primary_controls(v) & primary::pause_exiting) != 0};
}

/// MSR bitmaps, SDM Vol. 3C §27.6.9: a 4-KByte page with one bit per MSR of 0 .. 1FFFH and C0000000H .. C0001FFFH,
/// reads first. Without the bitmap, and outside the two ranges, every access exits.
bool rdmsr_exits(const vmcs& v, const physical_memory& memory, std::uint32_t msr);
bool wrmsr_exits(const vmcs& v, const physical_memory& memory, std::uint32_t msr);

enum class msr_access : std::uint8_t { read, write };
/// Byte and bit of an MSR in a bitmap page; `covered` false outside the ranges.
struct msr_bitmap_position {
  bool covered;
  std::uint16_t byte;  ///< 0 .. 4095
  std::uint8_t bit;    ///< 0 .. 7
};
msr_bitmap_position locate_in_msr_bitmap(std::uint32_t msr, msr_access access) noexcept;

/// VMREAD and VMWRITE with the field encoding `encoding` (the whole register): without "VMCS shadowing", with a bit of
/// 63:15 set, or where the bitmap says so. SDM Vol. 3C §27.6.15, §28.1.3.
bool vmread_exits(const vmcs& v, const physical_memory& memory, std::uint64_t encoding);
bool vmwrite_exits(const vmcs& v, const physical_memory& memory, std::uint64_t encoding);

/// IN, OUT, INS, OUTS of `bytes` (1, 2 or 4) at `port`; SDM Vol. 3C §27.6.4. An access that wraps past FFFFH exits when
/// the bitmaps are used.
bool io_exits(const vmcs& v, const physical_memory& memory, std::uint16_t port, unsigned bytes);

/// What happens to an unmasked external interrupt that has reached the processor; SDM Vol. 3C §28.2. `held`: it stays
/// pending in the local APIC. `deliver`: through the guest's IDT, no exit. `exit`: basic reason 1.
enum class interrupt_response : std::uint8_t { held, deliver, exit };

/// `sti_blocks_exit`: with "external-interrupt exiting" RFLAGS.IF does not hold the interrupt back; whether the shadow
/// of STI or MOV SS does is left to the processor, and most hold it for that one instruction.
interrupt_response respond_to_external_interrupt(const vmcs& v, activity_state activity, const guest_blocking& blocking,
                                                 bool sti_blocks_exit = true) noexcept;

/// "Acknowledge interrupt on exit": the local APIC is acknowledged as part of the exit and the vector is recorded.
/// Otherwise the interrupt stays pending in the APIC.
inline bool acknowledges_interrupt(const vmcs& v) noexcept {
  return v.any(field::primary_vm_exit_controls, vm_exit_control::acknowledge_interrupt_on_exit);
}
/// The exit information of an external interrupt; `vector` is used only if it is acknowledged.
exit_info external_interrupt_exit(const vmcs& v, std::uint8_t vector) noexcept;

/// An interrupt-window exit (basic reason 7) is due: the control is 1 and the window is open.
inline bool interrupt_window_exit_due(const vmcs& v, const guest_blocking& blocking) noexcept {
  return (primary_controls(v) & primary::interrupt_window_exiting) != 0 && blocking.interrupt_window_open();
}
/// Basic reason 8. `sti_blocks_nmi`: see `guest_blocking`.
inline bool nmi_window_exit_due(const vmcs& v, const guest_blocking& blocking, bool sti_blocks_nmi = true) noexcept {
  return (primary_controls(v) & primary::nmi_window_exiting) != 0 && blocking.nmi_window_open(sti_blocks_nmi);
}
/// From the guest-state area itself.
inline bool interrupt_window_open(const vmcs& v) noexcept { return blocking_of(v).interrupt_window_open(); }

inline bool nmi_exits(const vmcs& v) noexcept { return (pin_controls(v) & pin_based::nmi_exiting) != 0; }

}  // namespace vmxsys::vmx
