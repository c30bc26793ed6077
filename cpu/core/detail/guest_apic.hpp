#pragma once
#include <cstdint>
#include <memory>
#include <optional>

#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/apic/virtualization/virtual_interrupts.hpp>
#include <vmxsys/apic/virtualization/x2apic_access.hpp>
#include <vmxsys/cpu/core/cpu_core.hpp>
#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/program/system_instruction.hpp>
#include <vmxsys/vmx/events/boundary.hpp>
#include <vmxsys/vmx/instructions/instruction_exit.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>

#include "guest_timers.hpp"
#include "local_apic_unit.hpp"

namespace vmxsys::cpu {

/// The local APIC of a guest: its virtual-APIC page, virtual interrupts, posted-interrupt processing, IPI
/// virtualization and the guest deadline. The rules are in apic/, here they get time, cache lines and facts.
class guest_apic {
 public:
  guest_apic(cpu_core& core, guest_timers& timers, local_apic_unit& own) : core_{core}, timers_{timers}, own_{own} {}

  /// A guest with "use TPR shadow" begins to run; `trap_pending`: the entry found TPR below the threshold. SDM Vol. 3C
  /// §29.3.2.5, §29.7.7.
  void enter(bool trap_pending, cycles now);
  /// At the beginning of an exit: RVI and SVI are saved, nothing is pending any more.
  void leave();

  // Boundaries.
  /// A trap-like exit or a recognized virtual interrupt is pending.
  bool work() const { return work_; }
  bool interrupt_recognized() const { return work_ && held_->state.recognized; }
  void add_work(vmx::boundary_state& s) const;
  vmx::exit_info take_trap();
  /// Delivers the recognized virtual interrupt: its vector. SDM Vol. 3C §32.2.2.
  std::uint8_t deliver(cycles now);

  // Posted-interrupt processing, SDM Vol. 3C §32.6, and the guest-timer event.
  /// The local APIC has given out a vector. False: it is not the notification vector.
  bool acknowledge(std::uint8_t vector);
  void begin_posting(std::uint8_t vector, cycles now);
  /// A step is over. True: the last one.
  bool continue_posting(cycles now);
  void begin_timer_event(cycles now);
  void end_timer_event();

  // Accesses; `effect` is what the rules have decided about the instruction.
  void access_cr8(system_instruction& i, cycles now);
  cycles duration_of_cr8(bool write) const;
  /// RDMSR and WRMSR of IA32_TSC_DEADLINE.
  void access_deadline(instruction& i, cycles now);
  /// RDMSR and WRMSR of 800H to 8FFH, but for IPIs that are virtualized.
  apic::x2apic_verdict access_msr(instruction& i, cycles now);
  cycles duration_of_msr(const instruction& i, vmx::instruction_effect effect, cycles lookup) const;
  bool goes_to_access_page(const instruction& i) const;
  /// The exit of a load from or store to the APIC-access page, if it exits. SDM Vol. 3C §32.4.
  std::optional<vmx::exit_info> page_access_exit(const instruction& i) const;
  void access_page(instruction& i, cycles now);
  cycles duration_of_mmio(const instruction& i) const;

  // IPI virtualization, SDM Vol. 3C §32.1.6.
  /// At the end of a write of the virtual ICR: true if the command is one whose IPI is virtualized. It takes its own
  /// steps then, and the instruction is over when they are.
  bool begin_sending(instruction& i, vmx::instruction_effect effect, cycles now);
  /// A step is over. True: the last one.
  bool continue_sending(cycles now);

 private:
  /// An IPI of the guest on its way into a descriptor.
  struct ipi {
    ipi_step step = ipi_step::done;
    std::uint8_t vector = 0;
    physical_address descriptor = 0;
    std::optional<apic::notification> notify;
    fact_id cause;
  };
  /// What a processor holds besides the virtual-APIC page. Most CPUs never need one.
  struct held {
    apic::virtual_interrupt_state state;
    std::optional<vmx::exit_info> trap;  // trap-like exit due at the next boundary
    bool acknowledging = false;          // posting: the first step takes its time
    apic::posted_processing posting;
    ipi sending;
  };
  struct view;
  void note_work() { work_ = held_->trap.has_value() || held_->state.recognized; }
  void note_result(const apic::virtualization_result& result);
  void begin_processing(cycles duration, cpu_activity what, cycles now);
  void take_time(cycles duration, cpu_activity what, cycles now, phase in);
  void state_posting_step(apic::posting_step step, std::uint16_t value, cycles now);
  void issue_posting_step(cycles now);
  void state_access(std::uint16_t offset, bool write, std::uint64_t value, cycles now);
  bool send_on_descriptor(ipi_step next, physical_address at, cycles hit, cycles now);

  cpu_core& core_;
  guest_timers& timers_;
  local_apic_unit& own_;
  bool work_ = false;
  std::unique_ptr<held> held_;  // once a guest has used the TPR shadow
};

}  // namespace vmxsys::cpu
