#pragma once
#include <cstdint>
#include <vector>

#include <vmxsys/vmx/events/boundary.hpp>
#include <vmxsys/vmx/instructions/instruction_exit.hpp>
#include <vmxsys/vmx/transition/vm_entry.hpp>
#include <vmxsys/vmx/transition/vm_exit.hpp>

namespace vmxsys::vmx::test {

// The example of vmx/README.md, line by line; keep the two alike.

/// A CPU of another simulator: a register file, a clock and a loop of its own. All it knows of VMX are two calls.
struct foreign_cpu {
  vmx_unit unit;
  entry_context context;
  msr_interface& msrs;
  processor_state registers;
  cycles now{0};
  std::vector<mnemonic> guest_code;  // two bytes each, from address 0

  /// VMLAUNCH or VMRESUME: the guest runs until it exits.
  vm_entry_outcome round_trip(entry_instruction how, exit_info& exit) {
    const vm_entry_outcome entry = perform_vm_entry(unit, how, context, registers, msrs, now);
    exit = entry.exit;
    if (!entry) return entry;
    if (entry.first.what == first_action::kind::deliver) deliver(entry.after.event);
    exit = entry.first.what == first_action::kind::act ? exit_for(entry.first.event) : run(entry);
    perform_vm_exit(unit, registers, msrs, exit);
    return entry;
  }

  /// One instruction per cycle, until one exits or the VMX-preemption timer does.
  exit_info run(const vm_entry_outcome& entry) {
    for (;; now = now + cycles{1}, registers.rip += 2) {
      if (now >= entry.preemption_timer_expiry) return exit_for(boundary_event::preemption_timer);
      guest_instruction i;
      i.what = guest_code.at(registers.rip / 2);
      i.length = 2;
      i.mode = mode_of(registers);
      const instruction_outcome o = decide(*unit.state.current, unit.caps, unit.memory, i);
      if (o.verdict == instruction_verdict::vm_exit) return exit_of(o, i);
    }
  }
  void deliver(const event_information& event) { registers.rip = std::uint64_t{event.vector} * 16; }  // its IDT
  exit_info exit_for(boundary_event event) const {
    exit_info exit;
    exit.reason = outcome_of(*unit.state.current, event).reason;
    return exit;
  }
};

}  // namespace vmxsys::vmx::test
