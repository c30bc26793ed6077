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
  cycles emulate_msr{250};   ///< WRMSR/RDMSR exit: the guest's registers, the tables of MSRs, one of APIC registers
  cycles emulate_cpuid{200};
  cycles emulate_hypercall{150};
  cycles emulate_hlt{100};
  cycles apic_send{150};      ///< virtual ICR: destination lookup, per delivery
  cycles apic_inject{120};    ///< pick a vector and write the entry interruption information
  cycles apic_accept{80};     ///< __apic_accept_irq, kvm_make_request and kvm_vcpu_kick, besides the lines they take
  cycles post{80};            ///< vmx_deliver_posted_interrupt around its locked instructions
  cycles emulate_mmio{900};   ///< an APIC-access exit: the instruction fetched, decoded and emulated
  cycles apic_eoi{150};       ///< an APIC-access exit by an EOI, which is not emulated (kvm_lapic_set_eoi)
  cycles apic_write{100};     ///< an APIC-write exit: the register is in the page already (kvm_apic_write_nodecode)
  cycles eoi_induced{100};    ///< an EOI-induced exit: ISR and PPR are done already (kvm_apic_set_eoi_accelerated)
  cycles fast_path{150};      ///< an exit that goes back in without the usual way out: decode and table lookup
  cycles program_timer{150};  ///< arm the backend of the virtual LAPIC timer
  cycles vcpu_put{300};       ///< kvm_arch_vcpu_put without the extended state
  cycles vcpu_load{400};      ///< kvm_arch_vcpu_load without the extended state
  cycles block{250};          ///< kvm_vcpu_block around schedule()
  cycles sleep_on_spin{400};  ///< arming the sleep of the 2009 handler
};
BOOST_DESCRIBE_STRUCT(kvm_costs, (),
                      (entry_prepare, exit_dispatch, handle_pause, on_spin, candidate, yield_target, emulate_msr,
                       emulate_cpuid, emulate_hypercall, emulate_hlt, apic_send, apic_inject, apic_accept, post,
                       emulate_mmio, apic_eoi, apic_write, eoi_induced, fast_path, program_timer, vcpu_put, vcpu_load,
                       block, sleep_on_spin))

}  // namespace vmxsys::models
