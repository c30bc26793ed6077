#pragma once
#include <vmxsys/cpu/program/program.hpp>

namespace vmxsys::models {

class vcpu;

/// Does what the halt policy says until there is something to run for. Interrupts are off, before and after.
cpu::program halt(vcpu& v);

}  // namespace vmxsys::models
