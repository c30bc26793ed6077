#pragma once
#include <cstdint>

#include <vmxsys/vmx/events/control_registers.hpp>
#include <vmxsys/vmx/instructions/ept.hpp>
#include <vmxsys/vmx/instructions/guest_instruction.hpp>

#include "instruction.hpp"

namespace vmxsys::cpu {

/// An instruction that VMX non-root operation has a rule for, with its operands
/// (vmx/instructions/guest_instruction.hpp). Outside non-root operation, and where the rule lets it, it executes:
/// registers change, time passes. What the model has no device or unit for (ports, performance counters, enclaves, ...)
/// behaves as on a processor without one.
struct system_instruction : instruction {
  vmx::guest_instruction what;
  word* line = nullptr;  ///< MONITOR and UMONITOR: the line that is armed

  explicit system_instruction(vmx::mnemonic m, std::uint8_t length = 3) : instruction{opcode::system} {
    what.what = m;
    what.length = length;
  }
};

/// A guest's access to its physical memory, as the extended page tables see it. Without "enable EPT", and in root
/// operation, the address is the host's.
struct guest_access_instruction : instruction {
  physical_address address;
  vmx::ept_access access;
  guest_access_instruction(physical_address at, vmx::ept_access kind)
      : instruction{opcode::guest_access}, address{at}, access{kind} {}
  /// The host-physical address.
  physical_address await_resume() const {
    raise_if_faulted();
    return result;
  }
};

namespace isa {

/// Its result is what the destination register gets.
template <class R>
struct system_operation : system_instruction {
  using system_instruction::system_instruction;
  R await_resume() const {
    raise_if_faulted();
    if constexpr (!std::is_void_v<R>) return static_cast<R>(result);
  }
};

// Control and debug registers. Register numbers 0, 3, 4, 8; CR8 is the local APIC's task-priority register.
inline system_operation<void> mov_to_cr(unsigned number, std::uint64_t value, gpr from = gpr::rax) {
  using vmx::mnemonic;
  system_operation<void> op{number == 0   ? mnemonic::mov_to_cr0
                            : number == 3 ? mnemonic::mov_to_cr3
                            : number == 4 ? mnemonic::mov_to_cr4
                                          : mnemonic::mov_to_cr8};
  op.what.source = value;
  op.what.gpr = from;
  return op;
}
inline system_operation<std::uint64_t> mov_from_cr(unsigned number, gpr to = gpr::rax) {
  using vmx::mnemonic;
  system_operation<std::uint64_t> op{number == 0   ? mnemonic::mov_from_cr0
                                     : number == 3 ? mnemonic::mov_from_cr3
                                     : number == 4 ? mnemonic::mov_from_cr4
                                                   : mnemonic::mov_from_cr8};
  op.what.gpr = to;
  return op;
}
inline system_operation<void> clts() { return system_operation<void>{vmx::mnemonic::clts, 2}; }
inline system_operation<void> lmsw(std::uint16_t value) {
  system_operation<void> op{vmx::mnemonic::lmsw};
  op.what.source = value;
  return op;
}
inline system_operation<std::uint64_t> smsw() {
  system_operation<std::uint64_t> op{vmx::mnemonic::smsw};
  op.what.bytes = 8;
  return op;
}
inline system_operation<void> mov_to_dr(unsigned number, std::uint64_t value, gpr from = gpr::rax) {
  system_operation<void> op{vmx::mnemonic::mov_to_dr};
  op.what.debug_register = static_cast<std::uint8_t>(number);
  op.what.source = value;
  op.what.gpr = from;
  return op;
}
inline system_operation<std::uint64_t> mov_from_dr(unsigned number, gpr to = gpr::rax) {
  system_operation<std::uint64_t> op{vmx::mnemonic::mov_from_dr};
  op.what.debug_register = static_cast<std::uint8_t>(number);
  op.what.gpr = to;
  return op;
}

/// IN and OUT of 1, 2 or 4 bytes. No device answers: all ones.
inline system_operation<std::uint32_t> in(std::uint16_t port, unsigned bytes = 1) {
  system_operation<std::uint32_t> op{vmx::mnemonic::in, 1};
  op.what.port = port;
  op.what.bytes = static_cast<std::uint8_t>(bytes);
  return op;
}
inline system_operation<void> out(std::uint16_t port, std::uint32_t value, unsigned bytes = 1) {
  system_operation<void> op{vmx::mnemonic::out, 1};
  op.what.port = port;
  op.what.bytes = static_cast<std::uint8_t>(bytes);
  op.what.source = value;
  return op;
}

/// Any other instruction of the table without operands that matter: WBINVD, INVD, RDPMC, RDRAND, RDSEED, RDTSCP, RDPID,
/// LGDT, SGDT, LLDT, STR, GETSEC, RSM, ...
inline system_operation<std::uint64_t> execute(vmx::mnemonic m, std::uint8_t length = 3) {
  return system_operation<std::uint64_t>{m, length};
}
inline system_operation<std::uint64_t> rdtscp() { return execute(vmx::mnemonic::rdtscp); }
inline system_operation<std::uint64_t> rdpmc(std::uint32_t counter) {
  auto op = execute(vmx::mnemonic::rdpmc, 2);
  op.what.ecx = counter;
  return op;
}
/// A random number of the CPU's own stream: the same in every run.
inline system_operation<std::uint64_t> rdrand() { return execute(vmx::mnemonic::rdrand); }
inline system_operation<std::uint64_t> rdseed() { return execute(vmx::mnemonic::rdseed); }
inline system_operation<void> wbinvd() { return system_operation<void>{vmx::mnemonic::wbinvd, 2}; }
inline system_operation<void> invlpg(std::uint64_t linear_address) {
  system_operation<void> op{vmx::mnemonic::invlpg};
  op.what.linear_address = linear_address;
  return op;
}
inline system_operation<void> xsetbv(std::uint32_t number, std::uint64_t value) {
  system_operation<void> op{vmx::mnemonic::xsetbv};
  op.what.ecx = number;
  op.what.edx_eax = value;
  return op;
}
inline system_operation<void> lgdt(std::uint64_t base) {
  system_operation<void> op{vmx::mnemonic::lgdt, 7};
  op.what.source = base;
  return op;
}
inline system_operation<void> lidt(std::uint64_t base) {
  system_operation<void> op{vmx::mnemonic::lidt, 7};
  op.what.source = base;
  return op;
}

/// MONITOR arms the line of a word; MWAIT waits until a store to it or an interrupt comes. `hints` is ECX.
inline system_operation<void> monitor(word& w) {
  system_operation<void> op{vmx::mnemonic::monitor};
  op.line = &w;
  return op;
}
inline system_operation<void> mwait(std::uint32_t hints = 0) {
  system_operation<void> op{vmx::mnemonic::mwait};
  op.what.ecx = hints;
  return op;
}
/// TPAUSE, and UMONITOR with UMWAIT: they wait until the TSC (the guest's) reaches `deadline`, or for an interrupt, or
/// a store. The result is RFLAGS.CF: the operating system's limit ended the wait. `state` 1: C0.1, 0: C0.2.
inline system_operation<bool> tpause(std::uint64_t deadline, std::uint32_t state = 0) {
  system_operation<bool> op{vmx::mnemonic::tpause, 4};
  op.what.edx_eax = deadline;
  op.what.source = state;
  return op;
}
inline system_operation<void> umonitor(word& w) {
  system_operation<void> op{vmx::mnemonic::umonitor, 4};
  op.line = &w;
  return op;
}
inline system_operation<bool> umwait(std::uint64_t deadline, std::uint32_t state = 0) {
  system_operation<bool> op{vmx::mnemonic::umwait, 4};
  op.what.edx_eax = deadline;
  op.what.source = state;
  return op;
}

/// VMFUNC; function 0 with `parameter` switches the EPT pointer.
inline system_operation<void> vmfunc(std::uint32_t function, std::uint32_t parameter) {
  system_operation<void> op{vmx::mnemonic::vmfunc};
  op.what.eax = function;
  op.what.ecx = parameter;
  return op;
}
/// INVEPT and INVVPID; throw `vm_fail` as the other VMX instructions do.
inline system_operation<void> invept(std::uint64_t type, std::uint64_t eptp) {
  system_operation<void> op{vmx::mnemonic::invept, 5};
  op.a = type;
  op.b = eptp;
  return op;
}
inline system_operation<void> invvpid(std::uint64_t type, std::uint16_t vpid, std::uint64_t linear_address = 0) {
  system_operation<void> op{vmx::mnemonic::invvpid, 5};
  op.a = type;
  op.b = vpid;
  op.what.linear_address = linear_address;
  return op;
}

/// A read, write or fetch of guest-physical memory by the guest: with EPT it may exit (48, 49, 62) or set flags; the
/// result is the host-physical address.
inline guest_access_instruction guest_access(physical_address at, vmx::ept_access kind) { return {at, kind}; }

}  // namespace isa
}  // namespace vmxsys::cpu
