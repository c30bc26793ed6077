#pragma once
#include <vmxsys/cpu/program/program.hpp>

// The life of a vCPU to which interrupts are posted, where it differs from that of others.
namespace vmxsys::models {

class vcpu;

/// vcpu_enter_guest, with the loop of fast paths inside.
cpu::program enter_posted(vcpu& v);
/// Steps of the posting protocol: the entry itself, and what is done before it.
cpu::program enter_from_posting(vcpu& v);
cpu::program serve_requests(vcpu& v);
/// Sleeps until there is something to run for.
cpu::program wait_for_posting(vcpu& v);
/// A context switch: where notifications go from now on (vmx_vcpu_pi_load, vmx_vcpu_pi_put).
cpu::program load_posting(vcpu& v);
cpu::program put_posting(vcpu& v, bool preempted);
/// What the emulated local APIC has accepted goes the way of all interrupts.
cpu::program deliver_accepted(vcpu& v);

}  // namespace vmxsys::models
