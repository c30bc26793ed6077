#pragma once
#include <vmxsys/cpu/core/logical_cpu.hpp>
#include <vmxsys/cpu/program/instruction.hpp>
#include <vmxsys/cpu/program/strand.hpp>

namespace vmxsys::models {

/// CLI where interrupts are on; whether they were is the result. Nothing is issued where they are off.
struct irq_save_operation : cpu::isa::operation<void> {
  irq_save_operation() : operation{cpu::opcode::cli} {}
  template <class P>
  bool await_suspend(std::coroutine_handle<P> self) {
    enabled = self.promise().on->on_cpu()->interrupts_enabled();
    if (enabled) instruction::await_suspend(self);
    return enabled;
  }
  bool await_resume() const { return enabled; }

  bool enabled = false;
};

/// Interrupts off; the answer is what to pass to `irq_restore`.
inline irq_save_operation irq_save() { return {}; }
/// STI if they were on.
inline cpu::isa::conditional<cpu::isa::operation<void>> irq_restore(bool enabled) {
  return cpu::isa::when(enabled, cpu::isa::sti());
}

}  // namespace vmxsys::models
