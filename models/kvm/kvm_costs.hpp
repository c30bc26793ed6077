#pragma once
#include <boost/describe.hpp>

#include <vmxsys/vmx/base/cycles.hpp>

namespace vmxsys::models {

/// Straight-line work of KVM's exit handling, in TSC cycles; waits and locks come out of the machine.
/// Assumed values, with a range in the preset; their sum for the cheapest exit is held against published totals.
struct kvm_costs {
  cycles entry_prepare{220};  ///< vcpu_enter_guest before VMRESUME: requests, interrupt window, flags
  cycles exit_dispatch{200};  ///< after the exit: register save, guest time, handler lookup
  cycles handle_pause{60};
  cycles on_spin{80};        ///< kvm_vcpu_on_spin, once
  cycles candidate{25};      ///< one candidate looked at, besides the line it reads
  cycles yield_target{120};  ///< vCPU to task lookup under RCU
  cycles emulate_msr{250};   ///< WRMSR/RDMSR exit: decode and table lookup
  cycles emulate_cpuid{200};
  cycles emulate_hypercall{150};
  cycles emulate_hlt{100};
  cycles apic_send{150};      ///< virtual ICR: destination lookup, per delivery
  cycles apic_inject{120};    ///< pick a vector and write the entry interruption information
  cycles emulate_mmio{900};   ///< an APIC-access exit: the instruction fetched, decoded and emulated
  cycles apic_write{150};     ///< an APIC-write exit, and an APIC-access exit by an EOI
  cycles post{80};            ///< vmx_deliver_posted_interrupt around its locked instructions
  cycles fast_path{150};      ///< an exit that goes back in without the usual way out: decode and table lookup
  cycles program_timer{150};  ///< arm the backend of the virtual LAPIC timer
  cycles vcpu_put{300};       ///< kvm_arch_vcpu_put without the extended state
  cycles vcpu_load{400};      ///< kvm_arch_vcpu_load without the extended state
  cycles block{250};          ///< kvm_vcpu_block around schedule()
  cycles sleep_on_spin{400};  ///< arming the sleep of the 2009 handler
};
BOOST_DESCRIBE_STRUCT(kvm_costs, (),
                      (entry_prepare, exit_dispatch, handle_pause, on_spin, candidate, yield_target, emulate_msr,
                       emulate_cpuid, emulate_hypercall, emulate_hlt, apic_send, apic_inject, emulate_mmio, apic_write,
                       post, fast_path, program_timer, vcpu_put, vcpu_load, block, sleep_on_spin))

}  // namespace vmxsys::models
