#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include <vmxsys/cpu/core/cpu_core.hpp>
#include <vmxsys/cpu/core/transition_costs.hpp>
#include <vmxsys/cpu/program/instruction.hpp>
#include <vmxsys/vmx/instructions/instruction.hpp>
#include <vmxsys/vmx/transition/vm_entry.hpp>
#include <vmxsys/vmx/transition/vm_exit.hpp>
#include <vmxsys/vmx/vmcs/event.hpp>

#include "guest_apic.hpp"
#include "guest_timers.hpp"
#include "interruptible.hpp"
#include "monitor_wait.hpp"
#include "recognition.hpp"
#include "spin_loop.hpp"

namespace vmxsys::cpu {

/// VM entries and VM exits: the rules are in vmx/, here they get time, strands and facts. What a guest sees of the
/// processor at the exit is taken when it begins, what the host sees of it when it is over.
class vm_transition {
 public:
  /// The parts of the CPU that an entry or exit concerns.
  struct parts {
    interruptible& activity;
    spin_loop& spin;
    monitor_wait& wait;
    guest_timers& timers;
    guest_apic& virtual_apic;
    recognition& events;
    vmx::msr_interface& msrs;
  };
  /// The host's hint to detectors at an entry: does another thread wait for this CPU? Null: never.
  using hint = std::function<bool(unsigned cpu)>;

  vm_transition(cpu_core& core, const parts& of, vmx::vmx_unit& unit, transition_plans& plans,
                const hint& overcommitted);

  /// VMLAUNCH or VMRESUME is issued: the checks, and the time that the entry takes.
  void begin_entry(vm_entry_instruction& i, cycles now);
  /// How an entry ends.
  struct entered {
    enum class kind : std::uint8_t {
      failed,   ///< the MSR-load list is bad, and the way back to the host takes its time
      deliver,  ///< `event` comes before the first instruction
      wait,     ///< the guest is in an inactive state
      execute,
    };
    kind what;
    vmx::event_information event{};
  };
  entered finish_entry(cycles now);
  /// The way back to the host after an entry that failed with exit 33 or 34 is over.
  void finish_failed_entry(vm_entry_instruction& i, cycles now);

  /// The guest exits: it stops, and its state is saved.
  void begin_exit(const vmx::exit_info& info, cycles now);
  /// The host runs again, unless there was a VMX abort: then the CPU is in shutdown.
  void finish_exit(cycles now);

 private:
  void collect_guest_registers(cycles now);
  void spread_registers();
  void fail_entry(vm_entry_instruction& i, const vmx::exit_info& info, cycles now, cycles before);
  void load_host();
  void enter_vmx_abort(cycles now);
  void state_steps(cycles began, cycles now, fact_id cause);
  strand& guest_named_by_rsp(cycles now) const;
  std::uint64_t guest_rip() const;
  void resume_guest_at(std::uint64_t rip, cycles now);

  cpu_core& core_;
  parts of_;
  vmx::vmx_unit& unit_;
  transition_plans& all_plans_;
  const hint& overcommitted_;
  recent_plans plans_;
  const transition_plan* plan_ = nullptr;  // of the transition under way
  vmx::entry_context entry_context_;
  cycles exit_began_{0};
  fact_id exit_cause_{};
  vmx::vmx_abort abort_ = vmx::vmx_abort::none;
  vmx::exit_info exit_info_{};
  std::string why_entry_failed_;  // the latest that ended with VMfailValid
};

}  // namespace vmxsys::cpu
