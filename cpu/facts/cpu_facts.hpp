#pragma once
#include <boost/describe.hpp>
#include <cstddef>
#include <cstdint>

#include <vmxsys/apic/remapping/interrupt_remapping.hpp>
#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/vmx/transition/transition_work.hpp>
#include <vmxsys/vmx/transition/vm_exit.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>

#include "fact.hpp"

// The facts that the hardware records. The source of each of these facts is the CPU (its number is the source number).
namespace vmxsys::cpu {

/// A VM entry that succeeded, at its completion. One that fails leaves neither this fact nor micro-steps, and its exit
/// (reasons 33, 34) is no vm_exit_fact: the guest has not run.
struct vm_entry_fact {
  static constexpr const char* fact_name = "vm_entry";
  std::uint64_t vmcs;
  std::uint64_t rip;
  std::uint64_t interruption_information;  ///< what was injected, 0 if nothing
  std::uint64_t ple_window;
  cycles duration;  ///< of the hardware's part
};
BOOST_DESCRIBE_STRUCT(vm_entry_fact, (), (vmcs, rip, interruption_information, ple_window, duration))

/// A VM exit, recorded when the hardware has finished it; `began` is when the guest stopped.
struct vm_exit_fact {
  static constexpr const char* fact_name = "vm_exit";
  std::uint64_t vmcs;
  vmx::exit_reason reason;
  std::uint64_t qualification;
  std::uint64_t interruption_information;
  std::uint64_t rip;
  std::uint8_t cpl;
  cycles began;
};
BOOST_DESCRIBE_STRUCT(vm_exit_fact, (), (vmcs, reason, qualification, interruption_information, rip, cpl, began))

/// One step of a transition; all of them are recorded when the transition is complete, `done` is when this one was.
struct micro_step_fact {
  static constexpr const char* fact_name = "micro_step";
  vmx::transition_step step;
  cycles duration;
  cycles done;
};
BOOST_DESCRIBE_STRUCT(micro_step_fact, (), (step, duration, done))

/// VMX abort: the CPU stops for good.
struct vmx_abort_fact {
  static constexpr const char* fact_name = "vmx_abort";
  std::uint64_t vmcs;
  vmx::vmx_abort abort;
};
BOOST_DESCRIBE_STRUCT(vmx_abort_fact, (), (vmcs, abort))

/// An interrupt delivered through the IDT of root (0) or non-root (1) operation.
struct interrupt_fact {
  static constexpr const char* fact_name = "interrupt";
  std::uint8_t vector;
  std::uint8_t non_root;
};
BOOST_DESCRIBE_STRUCT(interrupt_fact, (), (vector, non_root))

/// An interprocessor interrupt leaves the ICR, and arrives at a local APIC.
struct ipi_sent_fact {
  static constexpr const char* fact_name = "ipi_sent";
  std::uint32_t destination;
  std::uint8_t vector;
  std::uint8_t mode;
  std::uint8_t group;
};
BOOST_DESCRIBE_STRUCT(ipi_sent_fact, (), (destination, vector, mode, group))
struct ipi_arrived_fact {
  static constexpr const char* fact_name = "ipi_arrived";
  std::uint8_t vector;
  std::uint8_t mode;
};
BOOST_DESCRIBE_STRUCT(ipi_arrived_fact, (), (vector, mode))

/// An SMI or an ExtINT reaches a CPU, which does nothing about it: the machine has neither system-management mode nor
/// an 8259-style controller that could name a vector. `mode` is the `apic::delivery_mode`.
struct interrupt_lost_fact {
  static constexpr const char* fact_name = "interrupt_lost";
  std::uint8_t mode;
  std::uint8_t vector;
};
BOOST_DESCRIBE_STRUCT(interrupt_lost_fact, (), (mode, vector))

/// The EOI of a level-triggered interrupt leaves for the I/O APICs.
struct eoi_broadcast_fact {
  static constexpr const char* fact_name = "eoi_broadcast";
  std::uint8_t vector;
};
BOOST_DESCRIBE_STRUCT(eoi_broadcast_fact, (), (vector))

/// An interrupt-remapping unit has decided on a message: at what step of the rules, which entry, whose vector, and
/// whether a posting sends a notification.
struct message_remapped_fact {
  static constexpr const char* fact_name = "message_remapped";
  apic::remapping_step step;
  std::uint32_t index;
  std::uint8_t vector;
  std::uint8_t notified;
};
BOOST_DESCRIBE_STRUCT(message_remapped_fact, (), (step, index, vector, notified))

/// A guest's access to a register of its local APIC that the virtual-APIC page answered, at its completion.
struct virtual_apic_access_fact {
  static constexpr const char* fact_name = "virtual_apic_access";
  std::uint16_t offset;  ///< in the page; of an MSR, 16 times its number in the x2APIC range; CR8 is the TPR
  std::uint8_t write;
  std::uint64_t value;
};
BOOST_DESCRIBE_STRUCT(virtual_apic_access_fact, (), (offset, write, value))

/// A virtual interrupt is delivered without an exit; the `interrupt` fact that follows has this one as its cause.
struct virtual_interrupt_fact {
  static constexpr const char* fact_name = "virtual_interrupt";
  std::uint8_t vector;
  std::uint8_t rvi;  ///< afterwards: the highest vector that still waits, 0 for none
};
BOOST_DESCRIBE_STRUCT(virtual_interrupt_fact, (), (vector, rvi))

/// A step of posted-interrupt processing has taken effect. `value`: of `acknowledge` the vector, of `clear_on` whether
/// ON was set, of `merge_pir` the highest vector found (0: none), of `raise_rvi` RVI, of `evaluate` whether a virtual
/// interrupt is recognized.
struct posting_step_fact {
  static constexpr const char* fact_name = "posting_step";
  apic::posting_step step;
  std::uint16_t value;
};
BOOST_DESCRIBE_STRUCT(posting_step_fact, (), (step, value))

/// IPI virtualization, step by step. SDM Vol. 3C §32.1.6.
enum class ipi_step : std::uint8_t {
  look_up,   ///< the entry of the PID-pointer table
  set_pir,   ///< a locked OR: the request is posted
  announce,  ///< a locked read-modify-write of ON and SN: is the target to be notified?
  notify,    ///< the notification leaves: only if it is
  done,
};
constexpr const char* name_of(ipi_step s) {
  constexpr const char* names[] = {"look up", "set PIR", "announce", "notify", "done"};
  return names[static_cast<std::size_t>(s)];
}

/// A step of IPI virtualization has taken effect. `value`: of `look_up` the virtual vector, of `set_pir` whether the
/// request is new, of `announce` whether the target is notified, of `notify` the notification vector. The `ipi_sent`
/// fact of the notification has the last step as its cause.
struct ipi_step_fact {
  static constexpr const char* fact_name = "ipi_step";
  ipi_step step;
  std::uint64_t descriptor;
  std::uint16_t value;
};
BOOST_DESCRIBE_STRUCT(ipi_step_fact, (), (step, descriptor, value))

struct timer_fired_fact {
  static constexpr const char* fact_name = "timer_fired";
  std::uint8_t preemption_timer;  ///< 0: the local APIC's, 1: the VMX-preemption timer, 2: APIC-timer virtualization's
};
BOOST_DESCRIBE_STRUCT(timer_fired_fact, (), (preemption_timer))

/// A spin loop that ended, with the truth about it: one episode, however many exits and interrupts it took.
struct spin_fact {
  static constexpr const char* fact_name = "spin";
  std::uint64_t word;
  std::uint64_t rip;         ///< of its PAUSE
  std::uint64_t iterations;  ///< PAUSEs executed
  cycles began;
  cycles futile;  ///< cycles spun while the awaited strand was on no CPU
  std::uint8_t non_root;
  std::uint64_t episode;  ///< names the wait
  cycles futile_since;    ///< issue of its first PAUSE in vain; never, also where no detector asks for the truth
};
BOOST_DESCRIBE_STRUCT(spin_fact, (), (word, rip, iterations, began, futile, non_root, episode, futile_since))

/// A detector that only watches would exit (or hint) at this PAUSE of a guest.
struct spin_detected_fact {
  static constexpr const char* fact_name = "spin_detected";
  std::uint32_t detector;  ///< index in machine_config::observers
  std::uint64_t word;      ///< polled by the loop; 0 for a PAUSE outside one
  std::uint64_t rip;
  std::uint64_t episode;
  std::uint8_t cpl;
  std::uint8_t futile;  ///< the truth: the awaited strand is on no CPU
};
BOOST_DESCRIBE_STRUCT(spin_detected_fact, (), (detector, word, rip, episode, cpl, futile))

/// A CPU leaves the halted state.
struct halt_fact {
  static constexpr const char* fact_name = "halt";
  cycles began;
  std::uint8_t non_root;
};
BOOST_DESCRIBE_STRUCT(halt_fact, (), (began, non_root))

/// A kernel switched stacks; strands by their number.
struct switch_fact {
  static constexpr const char* fact_name = "switch";
  std::uint32_t from;
  std::uint32_t to;
  std::uint8_t non_root;
};
BOOST_DESCRIBE_STRUCT(switch_fact, (), (from, to, non_root))

}  // namespace vmxsys::cpu
