#pragma once
#include <vmxsys/cpu/program/instruction.hpp>
#include <vmxsys/cpu/program/strand.hpp>

namespace vmxsys::cpu {

/// The operands of an exiting instruction are where its handler looks for them.
void expose_registers(strand& guest, const instruction& i);

/// An emulated instruction: the handler left its results in the registers and moved RIP past it. The caller completes
/// it.
void complete_from_registers(strand& guest, instruction& i);

}  // namespace vmxsys::cpu
