#pragma once
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/vmcs/event.hpp>
#include <vmxsys/vmx/vmcs/exit_qualification.hpp>
#include <vmxsys/vmx/vmcs/processor.hpp>

namespace vmxsys::vmx {

/// Instructions that VMX non-root operation changes, each form with a rule of its own. The order is that of
/// `instruction_table`.
enum class mnemonic : std::uint8_t {
  cpuid,
  getsec,
  invd,
  xsetbv,
  invept,
  invvpid,
  vmcall,
  vmclear,
  vmlaunch,
  vmptrld,
  vmptrst,
  vmresume,
  vmxoff,
  vmxon,
  seamcall,
  tdcall,
  hlt,
  pause,
  mwait,
  monitor,
  rdtsc,
  rdtscp,
  rdpid,
  rdpmc,
  invlpg,
  invpcid,
  mov_to_cr0,
  mov_to_cr3,
  mov_to_cr4,
  mov_to_cr8,
  mov_from_cr0,
  mov_from_cr3,
  mov_from_cr4,
  mov_from_cr8,
  clts,
  lmsw,
  smsw,
  mov_to_dr,
  mov_from_dr,
  in,
  out,
  ins,
  outs,
  rdmsr,
  wrmsr,
  wrmsrns,
  rdmsr_immediate,
  wrmsrns_immediate,
  rdmsrlist,
  wrmsrlist,
  urdmsr,
  uwrmsr,
  lgdt,
  lidt,
  sgdt,
  sidt,
  lldt,
  ltr,
  sldt,
  str,
  wbinvd,
  wbnoinvd,
  rdrand,
  rdseed,
  xsaves,
  xrstors,
  tpause,
  umwait,
  umonitor,
  vmread,
  vmwrite,
  vmfunc,
  encls,
  enclv,
  pconfig,
  pbndkb,
  loadiwkey,
  enqcmd,
  enqcmds,
  rsm,
  count,
};
inline constexpr std::size_t mnemonic_count = static_cast<std::size_t>(mnemonic::count);

/// One instruction about to execute, with all that a rule may look at. A plain value; what a rule does not name may
/// stay as it is. Memory operands whose content decides (LMSW) have been read: their faults come first.
struct guest_instruction {
  mnemonic what = mnemonic::cpuid;
  std::uint8_t length = 1;  ///< bytes, 1 .. 15, prefixes included

  /// CPL, CR0 and CR4 as the processor holds them (not as the guest sees them), RFLAGS.VM, IA-32e mode, CS.L.
  execution_mode mode;
  std::uint64_t rflags = rflags_bits::one;  ///< IF for MWAIT

  // Operands.
  /// The source register of MOV to CR and LMSW (its low 16 bits); the field encoding of VMREAD and VMWRITE; the
  /// register operand of TPAUSE and UMWAIT; CR8's new value.
  std::uint64_t source = 0;
  std::uint64_t edx_eax = 0;  ///< XSAVES and XRSTORS: requested features; TPAUSE and UMWAIT: deadline, guest time
  std::uint32_t eax = 0;      ///< ENCLS, ENCLV, PCONFIG: leaf; VMFUNC: function
  std::uint32_t ecx = 0;      ///< MWAIT: hints; VMFUNC: parameter
  /// ECX, the immediate or the register operand of the MSR instructions; for the list forms the element at hand.
  std::uint32_t msr = 0;
  std::uint16_t port = 0;
  std::uint8_t bytes = 1;                        ///< I/O: 1, 2 or 4; SMSW: operand size 2, 4 or 8 (memory operands: 2)
  general_register gpr = general_register::rax;  ///< of MOV CR and MOV DR
  std::uint8_t debug_register = 0;               ///< 0 .. 7
  bool memory_operand = false;                   ///< LMSW
  bool immediate_port = false;                   ///< IN and OUT
  bool rep = false;                              ///< INS and OUTS
  /// Of an operand in memory: the qualification of INVEPT, INVPCID, SGDT and others. With RIP-relative addressing the
  /// next instruction's RIP included.
  std::uint64_t displacement = 0;
  std::uint64_t linear_address = 0;  ///< INVLPG, and of the memory operand of LMSW, INS and OUTS

  // What the instruction meets.
  bool port_permitted = true;  ///< the I/O permission bitmap of the TSS allows the port (asked if CPL > IOPL or VM = 1)
  bool monitor_armed = false;  ///< MWAIT: address-range monitoring is set up
  bool spin_detected = false;  ///< PAUSE: the spin detector's verdict; it has applied its own rule about CPL
  bool virtual_interrupt = false;    ///< MWAIT: a virtual interrupt is recognized
  bool in_smm = false;               ///< RSM
  bool user_msr_enabled = true;      ///< URDMSR, UWRMSR: IA32_USER_MSR_CTL bit 0
  bool user_msr_permitted = true;    ///< and its bitmap, for an MSR below 4000H
  bool pasid_fails = false;          ///< ENQCMD, ENQCMDS: the PASID has no translation
  std::uint64_t xss = 0;             ///< IA32_XSS
  std::uint64_t tsc = 0;             ///< the real counter, for RDTSC and the like
  std::uint32_t umwait_control = 0;  ///< IA32_UMWAIT_CONTROL

  /// 64-bit mode: IA-32e mode with CS.L.
  constexpr bool in_64_bit_mode() const noexcept { return mode.in_64_bit_mode(); }
};

}  // namespace vmxsys::vmx
