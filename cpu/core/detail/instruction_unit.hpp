#pragma once
#include <array>
#include <cstdint>

#include <vmxsys/cpu/core/cpu_core.hpp>
#include <vmxsys/cpu/program/instruction.hpp>
#include <vmxsys/cpu/program/system_instruction.hpp>
#include <vmxsys/vmx/instructions/instruction.hpp>
#include <vmxsys/vmx/instructions/instruction_exit.hpp>

#include "guest_apic.hpp"
#include "local_apic_unit.hpp"
#include "monitor_wait.hpp"
#include "recognition.hpp"
#include "spin_loop.hpp"
#include "vm_transition.hpp"

namespace vmxsys::cpu {

/// Instructions that VMX has rules for: in a guest the table of vmx/instructions/instruction_exit.hpp decides, and they
/// execute, fault or exit.
class instruction_unit {
 public:
  struct parts {
    spin_loop& spin;
    monitor_wait& wait;
    guest_apic& virtual_apic;
    recognition& events;
    local_apic_unit& own_apic;
    vm_transition& transition;
  };
  instruction_unit(cpu_core& core, const parts& of, vmx::vmx_unit& unit) : core_{core}, of_{of}, unit_{unit} {}

  // At the issue.
  /// A guest issues an instruction. True: it does not execute, because it exits or faults.
  bool held_back(instruction& i, cycles now);
  /// Issues an instruction that is neither computing nor memory: all of VMX, and those of `system_instruction`.
  void execute(instruction& i, cycles now);
  cycles duration_of_msr(const instruction& i) const {
    return of_.virtual_apic.duration_of_msr(i, outcome_.effect, lookup_);
  }
  /// Bitmaps and EPT entries that the instruction about to execute is looked up in.
  cycles lookup() const { return lookup_; }
  /// The PAUSE of a guest exits.
  void exit_for_pause(cycles now);

  // At the completion. False: the instruction is not over; it waits, its IPI takes steps, or its fault exits.
  bool finish(system_instruction& i, cycles now);
  bool finish_msr(instruction& i, cycles now);
  /// A write of the virtual ICR whose IPI takes its own steps.
  bool begin_sending(instruction& i, cycles now) { return of_.virtual_apic.begin_sending(i, outcome_.effect, now); }
  /// An injected exception that programs see as a fault of the instruction they await. False: it is none of these.
  bool strike(std::uint8_t vector, cycles now);

 private:
  vmx::guest_instruction describe(const instruction& i) const;
  bool function_exits(instruction& i, cycles now);
  bool access_exits(guest_access_instruction& i, cycles now);
  bool fault_at_issue(instruction& i, instruction_fault what, cycles now);
  instruction_fault fault_of(const system_instruction& i);
  void execute_vmx(instruction& i, cycles now);
  void note_outcome(instruction& i, const vmx::vmx_outcome& outcome);
  void invalidate(system_instruction& i);
  void access_cr8(system_instruction& i, cycles now);
  bool begin_wait(system_instruction& i, cycles now);
  bool fault_exits(instruction_fault what, cycles now);
  bool perform(system_instruction& i, cycles now);
  bool access_msr(instruction& i, cycles now);
  std::uint64_t tsc(cycles now) const;

  cpu_core& core_;
  parts of_;
  vmx::vmx_unit& unit_;
  vmx::instruction_outcome outcome_;  // of the instruction in flight, in a guest
  cycles lookup_{0};
  std::array<std::uint64_t, 4> debug_registers_{};
  std::uint64_t random_numbers_ = 0;  // RDRAND and RDSEED so far
};

}  // namespace vmxsys::cpu
