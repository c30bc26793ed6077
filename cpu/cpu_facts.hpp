#pragma once
#include <boost/describe.hpp>
#include <cstdint>

#include <vmxsys/vmx/exit.hpp>
#include <vmxsys/vmx/transition_work.hpp>
#include <vmxsys/vmx/vm_exit.hpp>

#include "fact.hpp"

// What the hardware states. The source of each of these facts is the CPU (its number is the source number).
namespace vmxsys::cpu {

/// A VM entry that succeeded, at its completion.
struct vm_entry_fact {
  static constexpr const char* fact_name = "vm_entry";
  std::uint64_t vmcs;
  std::uint64_t rip;
  std::uint64_t interruption_information;  ///< what was injected, 0 if nothing
  std::uint64_t ple_window;
  cycles duration;  ///< of the hardware's part
};
BOOST_DESCRIBE_STRUCT(vm_entry_fact, (), (vmcs, rip, interruption_information, ple_window, duration))

/// A VM exit, stated when the hardware has finished it; `began` is when the guest stopped.
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

/// One step of a transition; all of them are stated when the transition is complete, `done` is when this one was.
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

struct timer_fired_fact {
  static constexpr const char* fact_name = "timer_fired";
  std::uint8_t preemption_timer;  ///< 1: the VMX-preemption timer, 0: the local APIC's
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
