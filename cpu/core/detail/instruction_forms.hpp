#pragma once
#include <cstdint>

#include <vmxsys/cpu/memory/cost_table.hpp>
#include <vmxsys/cpu/program/instruction.hpp>
#include <vmxsys/vmx/instructions/guest_instruction.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

namespace vmxsys::cpu {

// The instruction set, instruction by instruction: which the rules of VMX know, how long they are, what they cost.

/// Does VMX have a say in it? Computing, memory and interrupt flag just execute.
constexpr bool has_rule(opcode code) {
  switch (code) {
    case opcode::compute:
    case opcode::load:
    case opcode::store:
    case opcode::cmpxchg:
    case opcode::exchange:
    case opcode::fetch_add:
    case opcode::fetch_or:
    case opcode::fetch_and:
    case opcode::spin_while:
    case opcode::sti:
    case opcode::cli:
    case opcode::xsave:
    case opcode::xrstor:
    case opcode::switch_to:
    case opcode::mmio_read:
    case opcode::mmio_write:
      return false;  // but for the APIC-access page
    default:
      return true;
  }
}

struct instruction_form {
  vmx::mnemonic what;
  std::uint8_t length;
};
/// Of an instruction that has a rule. Not for `guest_access`, which stands for any load or store.
instruction_form form_of(const instruction& i);
/// In bytes.
std::uint32_t length_of(const instruction& i);

/// The processor looks it up in a bitmap before it executes in this guest.
bool looks_in_a_bitmap(const vmx::vmcs& v, vmx::mnemonic what);

/// Of a `system_instruction`.
cycles cost_of(vmx::mnemonic what, const instruction_costs& cost);
/// Outside a guest the model has no units for the others: a processor without them raises #UD.
bool implemented(vmx::mnemonic what);

}  // namespace vmxsys::cpu
