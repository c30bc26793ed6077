#pragma once
#include <cstdint>

#include <vmxsys/apic/local/icr.hpp>
#include <vmxsys/apic/local/local_apic.hpp>
#include <vmxsys/cpu/facts/accounting.hpp>
#include <vmxsys/cpu/facts/fact.hpp>
#include <vmxsys/cpu/memory/cost_table.hpp>
#include <vmxsys/cpu/memory/memory.hpp>
#include <vmxsys/cpu/program/name_space.hpp>
#include <vmxsys/cpu/program/strand.hpp>
#include <vmxsys/cpu/time/timeline.hpp>
#include <vmxsys/vmx/events/nmi.hpp>
#include <vmxsys/vmx/vmcs/capability.hpp>
#include <vmxsys/vmx/vmcs/processor.hpp>
#include <vmxsys/vmx/vmcs/processor_state.hpp>

namespace vmxsys::cpu {

/// What a CPU is doing until its next boundary. `computing`, `spinning`, `halted` and `waiting` end early when an event
/// is recognised; nothing interrupts the others.
enum class cpu_activity : std::uint8_t {
  wait_for_sipi,
  executing,  ///< an instruction that nothing interrupts
  computing,
  spinning,
  halted,
  waiting,     ///< in MWAIT, TPAUSE or UMWAIT
  waking,      ///< leaving an idle state
  delivering,  ///< an interrupt, through the IDT
  returning,   ///< IRET
  entering,    ///< VM entry
  exiting,     ///< VM exit
  shutdown,
  on_bus,       ///< an access to a device outside the machine
  posting,      ///< posted-interrupt processing
  sending,      ///< IPI virtualization
  guest_timer,  ///< the guest-timer event
};

/// What carries interrupt messages between CPUs: the machine.
class interrupt_fabric {
 public:
  virtual void send(const apic::interrupt_command& command, unsigned from, cycles now, fact_id cause) = 0;
  virtual void broadcast_eoi(std::uint8_t vector, unsigned from, cycles now) = 0;
  virtual void note_apic_mode(bool x2apic) = 0;

 protected:
  ~interrupt_fabric() = default;
};

/// The machine around one CPU, as far as the CPU uses it.
struct cpu_surroundings {
  cpu::timeline& time;
  cpu::memory& physical;
  fact_bus& facts;
  name_space& names;
  interrupt_fabric& fabric;
  const hardware_costs& costs;
  const vmx::capabilities& caps;
  apic::timer_clock timer_clock{};
  unsigned number = 0;
  std::uint32_t source = 0;  ///< of facts
  bool stepped = false;      ///< execute every PAUSE and every poll
};

/// The state that the parts of one CPU share, and the few things all of them do: take time, book it, record a fact,
/// complete an instruction. The parts (`detail/`) hold a reference to it and none to the CPU as a whole, so that each
/// can be driven alone. Embedders use `logical_cpu`.
struct cpu_core {
  /// `step`: the slot whose event moves the instruction stream.
  cpu_core(const cpu_surroundings& around, slot step_slot)
      : time{around.time},
        physical{around.physical},
        facts{around.facts},
        names{around.names},
        fabric{around.fabric},
        costs{around.costs},
        caps{around.caps},
        number{around.number},
        source{around.source},
        step{step_slot},
        stepped{around.stepped},
        local_apic{around.number, around.number == 0, around.timer_clock},
        registers{running_state()} {}
  cpu_core(const cpu_core&) = delete;
  cpu_core& operator=(const cpu_core&) = delete;

  /// A processor when software of the model starts on it: 64-bit mode at CPL 0, segments flat.
  static vmx::processor_state running_state();

  /// The instruction in flight takes `cost`, at least a cycle, and completes in this phase.
  void run_for(cycles cost, cycles now, phase in) {
    activity = cpu_activity::executing;
    time.arm(step, now + (cost.count() == 0 ? cycles{1} : cost), in);
  }
  vmx_operation current_operation() const { return in_guest ? vmx_operation::non_root : vmx_operation::root; }
  /// From `now` on, time belongs to the code that runs, or to `b`.
  void book(cycles now) { book_as(now, active->location().account); }
  void book_as(cycles now, bucket b) { account.enter(now, current_operation(), b); }
  template <fact_payload F>
  fact_id record(cycles now, const F& fact, fact_id why = {}) {
    return facts.record(source, now, fact, why);
  }
  void complete(instruction& i) {
    i.started = false;
    active->position_.in_flight = nullptr;
  }
  /// The HLT in flight, if it has executed, is over. In a guest it stays in flight while the activity state is HLT.
  void end_halt() {
    if (instruction* i = active->in_flight(); i != nullptr && i->code == opcode::hlt && i->started) complete(*i);
  }
  /// The active strand carries `guest` into non-root operation, and out of it.
  void carry(strand& guest, cycles now) {
    active->set_passenger(&guest, now);
    host = active;
    active = &guest;
    in_guest = true;
  }
  void put_down() {
    active = host;
    host = nullptr;
  }
  vmx::vmcs& current_vmcs() const { return *vmx_state.current; }
  /// The mode in which the next instruction executes; the CPL is that of the code.
  vmx::execution_mode mode() const;

  cpu::timeline& time;
  cpu::memory& physical;
  fact_bus& facts;
  name_space& names;
  interrupt_fabric& fabric;
  const hardware_costs& costs;
  const vmx::capabilities& caps;
  const unsigned number;
  const std::uint32_t source;
  const slot step;

  // What every event touches lies together: in a large machine it comes from afar every time.
  strand* active = nullptr;
  strand* host = nullptr;  ///< while in non-root operation
  std::uint64_t idtr_base = 0;
  std::uint64_t gs_base = 0;
  cpu_activity activity = cpu_activity::wait_for_sipi;
  bool in_guest = false;
  bool interrupts_enabled = false;
  bool shadow = false;    ///< blocking by STI
  bool shadowed = false;  ///< the instruction about to issue is the one after STI
  const bool stepped;
  vmx::activity_state guest_activity = vmx::activity_state::active;
  cycles began{0};  ///< of the activity
  fact_id cause{};  ///< the last fact of an interrupt message or timer that reached this CPU

  apic::local_apic local_apic;
  vmx::vmx_state vmx_state;
  vmx::processor_state registers;  ///< RIP, RSP, IF and what else lies above: only around transitions
  vmx::nmi_state nmi;
  const vmx::nmi_rule* nmi_rule = &vmx::nmi_table.front();  ///< of the guest
  accounting account;
};

}  // namespace vmxsys::cpu
