#include "detail/guest_registers.hpp"

#include <vmxsys/cpu/program/system_instruction.hpp>

namespace vmxsys::cpu {

using vmx::mnemonic;

void expose_registers(strand& s, const instruction& i) {
  const auto pair = [&s](std::uint64_t value) {
    s.reg(gpr::rax) = value & 0xFFFFFFFF;
    s.reg(gpr::rdx) = value >> 32;
  };
  switch (i.code) {
    case opcode::mmio_write:
      s.reg(gpr::rax) = i.b;
      break;
    case opcode::wrmsr:
      pair(i.b);
      [[fallthrough]];
    case opcode::rdmsr:
      s.reg(gpr::rcx) = i.a;
      break;
    case opcode::cpuid:
      s.reg(gpr::rax) = i.a;
      s.reg(gpr::rcx) = i.b;
      break;
    case opcode::vmcall:
      s.reg(gpr::rax) = i.a;
      s.reg(gpr::rbx) = i.b;
      break;
    case opcode::system: {
      const vmx::guest_instruction& g = static_cast<const system_instruction&>(i).what;
      switch (g.what) {
        case mnemonic::mov_to_cr0:
        case mnemonic::mov_to_cr3:
        case mnemonic::mov_to_cr4:
        case mnemonic::mov_to_cr8:
        case mnemonic::mov_to_dr:
          s.reg(g.gpr) = g.source;
          break;
        case mnemonic::out:
          s.reg(gpr::rax) = g.source;
          break;
        case mnemonic::xsetbv:
          pair(g.edx_eax);
          s.reg(gpr::rcx) = g.ecx;
          break;
        case mnemonic::tpause:
        case mnemonic::umwait:
          pair(g.edx_eax);
          break;
        case mnemonic::vmfunc:
          s.reg(gpr::rax) = g.eax;
          s.reg(gpr::rcx) = g.ecx;
          break;
        case mnemonic::rdpmc:
        case mnemonic::mwait:
          s.reg(gpr::rcx) = g.ecx;
          break;
        default:
          break;
      }
      break;
    }
    default:
      break;
  }
}

void complete_from_registers(strand& s, instruction& i) {
  const auto pair = [&s] { return s.reg(gpr::rdx) << 32 | (s.reg(gpr::rax) & 0xFFFFFFFF); };
  switch (i.code) {
    case opcode::rdtsc:
    case opcode::rdmsr:
      i.result = pair();
      break;
    case opcode::vmcall:
    case opcode::vmread:
      i.result = s.reg(gpr::rax);
      break;
    case opcode::mmio_read:
      i.result = s.reg(gpr::rax) & (~std::uint64_t{0} >> (64 - 8 * i.size));
      break;
    case opcode::cpuid:
      static_cast<isa::cpuid_operation&>(i).registers = {
          static_cast<std::uint32_t>(s.reg(gpr::rax)), static_cast<std::uint32_t>(s.reg(gpr::rbx)),
          static_cast<std::uint32_t>(s.reg(gpr::rcx)), static_cast<std::uint32_t>(s.reg(gpr::rdx))};
      break;
    case opcode::system: {
      const vmx::guest_instruction& g = static_cast<const system_instruction&>(i).what;
      switch (g.what) {
        case mnemonic::mov_from_cr0:
        case mnemonic::mov_from_cr3:
        case mnemonic::mov_from_cr4:
        case mnemonic::mov_from_cr8:
        case mnemonic::mov_from_dr:
          i.result = s.reg(g.gpr);
          break;
        case mnemonic::rdtscp:
        case mnemonic::rdpmc:
          i.result = pair();
          break;
        default:
          i.result = s.reg(gpr::rax);
          break;
      }
      break;
    }
    default:
      break;
  }
}

}  // namespace vmxsys::cpu
