#pragma once
#include <vmxsys/apic/local/local_apic.hpp>
#include <vmxsys/cpu/program/program.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>

// What KVM does about a VM exit. All run on the vCPU's thread; but for `handle_exit` at its beginning, interrupts are
// on.
namespace vmxsys::models {

class vcpu;

/// The fact and the tracepoint, right after the exit; interrupts are off.
cpu::program announce_exit(vcpu& v, const vmx::exit_info& exit);
/// Interrupts are off, and on at the end.
cpu::program handle_exit(vcpu& v, const vmx::exit_info& exit);

// spin/pause_exit.cpp
cpu::program handle_pause(vcpu& v);
// timers/vcpu_timer.cpp
cpu::program handle_preemption_timer(vcpu& v);
// pv/hypercalls.cpp
cpu::program handle_hypercall(vcpu& v);
// interrupts/apic_exits.cpp
cpu::program handle_apic_access(vcpu& v, const vmx::exit_info& exit);
cpu::program handle_apic_write(vcpu& v, const vmx::exit_info& exit);
cpu::program handle_virtualized_eoi(vcpu& v, const vmx::exit_info& exit);
/// What a write of a register of the virtual local APIC brings about.
cpu::program act_on(vcpu& v, const apic::register_outcome& outcome);
// interrupts/ipi_delivery.cpp
/// Every vCPU that the command addresses (kvm_irq_delivery_to_apic).
cpu::program send_interrupts(vcpu& from, const apic::interrupt_command& command);

}  // namespace vmxsys::models
