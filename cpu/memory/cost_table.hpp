#pragma once
#include <boost/describe.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include <vmxsys/vmx/base/cycles.hpp>

namespace vmxsys::cpu {

/// What one instruction costs on an idle machine, in TSC cycles (a preset converts from core clocks).
/// Each value is the time from issue to completion; 0 is not legal for an instruction.
struct instruction_costs {
  cycles pause{40};   ///< PAUSE, issue to next issue
  cycles load{4};     ///< load that hits the first-level cache
  cycles store{4};    ///< store to a line held exclusively
  cycles locked{20};  ///< locked read-modify-write on a line held exclusively
  cycles branch{2};   ///< compare and branch that closes a spin iteration
  cycles rdtsc{25};
  cycles cpuid{100};  ///< CPUID where it does not exit
  cycles rdmsr{60};
  cycles wrmsr{100};
  cycles wrmsr_x2apic{80};   ///< WRMSR to the x2APIC range (not serializing, SDM Vol. 3A §13.12.3)
  cycles interrupt_flag{4};  ///< STI, CLI
  cycles hlt{10};            ///< from issue to the halted state
  cycles interrupt{200};     ///< recognition to first handler instruction, through the IDT
  cycles iret{80};
  cycles stack_switch{20};  ///< loading RSP and callee-saved registers of another strand
  cycles vmread{30};
  cycles vmwrite{30};
  cycles vmptrld{200};
  cycles vmclear{200};
  cycles vmxon{200};
  cycles vmcall{20};                    ///< VMCALL in root operation (it fails there); in a guest it exits
  cycles vmfunc{150};                   ///< VMFUNC that switches the EPT pointer
  cycles invalidate_translations{300};  ///< INVEPT, INVVPID
  cycles control_register{100};         ///< MOV to and from control registers, CLTS, LMSW, SMSW
  cycles debug_register{50};            ///< MOV to and from debug registers
  cycles descriptor_table{60};          ///< LGDT, SGDT, LIDT, SIDT, LLDT, SLDT, LTR, STR
  cycles io{1000};                      ///< IN, OUT, to a port where no device answers
  cycles invalidate_page{150};          ///< INVLPG, INVPCID
  cycles wbinvd{200000};                ///< WBINVD, WBNOINVD, INVD
  cycles xsetbv{60};
  cycles rdpmc{35};
  cycles random{300};        ///< RDRAND, RDSEED
  cycles monitor{60};        ///< MONITOR, UMONITOR
  cycles user_wait{60};      ///< MWAIT, TPAUSE, UMWAIT: from issue to the waiting state
  cycles ept_reference{20};  ///< one entry read or written by a walk of the EPT paging structures
  cycles bitmap_lookup{4};   ///< a bit of an MSR, I/O, VMREAD or VMWRITE bitmap, for an instruction of a guest
  cycles xsave{200};         ///< save of the extended state of one thread
  cycles xrstor{200};        ///< restore of it
};
BOOST_DESCRIBE_STRUCT(instruction_costs, (),
                      (pause, load, store, locked, branch, rdtsc, cpuid, rdmsr, wrmsr, wrmsr_x2apic, interrupt_flag,
                       hlt, interrupt, iret, stack_switch, vmread, vmwrite, vmptrld, vmclear, vmxon, vmcall, vmfunc,
                       invalidate_translations, control_register, debug_register, descriptor_table, io, invalidate_page,
                       wbinvd, xsetbv, rdpmc, random, monitor, user_wait, ept_reference, bitmap_lookup, xsave, xrstor))

/// One-way transfer of a cache line by distance, in TSC cycles.
struct transfer_costs {
  cycles same_core{17};  ///< between hyper-threads of one core
  cycles same_socket{110};
  cycles other_socket{310};
};
BOOST_DESCRIBE_STRUCT(transfer_costs, (), (same_core, same_socket, other_socket))

/// Micro-steps of a VM exit in the order of SDM Vol. 3C §30. The state areas cost what they do in the configuration in
/// which round trips are measured: no secondary controls, no MSR lists (`reference_vmcs` in transition_costs.hpp). Each
/// field more or less than there changes them by `field`.
struct exit_costs {
  cycles record_information{40};  ///< §30.2
  cycles save_guest_state{110};   ///< §30.3
  cycles load_host_state{90};     ///< §30.5
  cycles flush_translations{8};   ///< §31.4, without "enable VPID"
  cycles keep_translations{8};    ///< with it
  cycles field{2};
  cycles store_msr{30};  ///< an entry of the VM-exit MSR-store list, §30.4
  cycles load_msr{50};   ///< an entry of the VM-exit MSR-load list, §30.6
  cycles load_pdpte{5};  ///< a PDPTE of a host with PAE paging
};
BOOST_DESCRIBE_STRUCT(exit_costs, (),
                      (record_information, save_guest_state, load_host_state, flush_translations, keep_translations,
                       field, store_msr, load_msr, load_pdpte))

/// Micro-steps of a VM entry in the order of SDM Vol. 3C §29, counted as those of an exit.
struct entry_costs {
  cycles check_controls{50};     ///< §29.2.1
  cycles check_host_state{40};   ///< §29.2.2
  cycles check_guest_state{50};  ///< §29.3.1
  cycles load_guest_state{100};  ///< §29.3.2
  cycles flush_translations{8};  ///< without "enable VPID"
  cycles keep_translations{8};   ///< with it
  cycles field{2};
  cycles load_msr{50};      ///< an entry of the VM-entry MSR-load list, §29.4
  cycles load_pdpte{5};     ///< a PDPTE of a guest with PAE paging and without EPT
  cycles inject_event{60};  ///< §29.6, only when an event is injected
};
BOOST_DESCRIBE_STRUCT(entry_costs, (),
                      (check_controls, check_host_state, check_guest_state, load_guest_state, flush_translations,
                       keep_translations, field, load_msr, load_pdpte, inject_event))

/// Flight of an interrupt message from the write of the ICR to the target's IRR, in TSC cycles.
struct interrupt_costs {
  cycles flight_self{60};
  cycles flight_same_socket{480};
  cycles flight_other_socket{900};
  cycles flight_same_core{480};  ///< between hyper-threads of one core
  cycles eoi_broadcast{480};     ///< from the EOI of a level-triggered interrupt to the I/O APICs
};
BOOST_DESCRIBE_STRUCT(interrupt_costs, (),
                      (flight_self, flight_same_socket, flight_other_socket, flight_same_core, eoi_broadcast))

/// The local APIC and its virtualization, step by step: a fact or the end of the instruction shows when each of them
/// is over. The delivery through the IDT comes on top (`instruction_costs::interrupt`).
/// Steps marked * work on a posted-interrupt descriptor: where its line holds shared words they begin when the CPU has
/// the line exclusively, as a locked instruction does.
struct apic_costs {
  cycles mmio{100};                    ///< a load or store of the CPU's own xAPIC page
  cycles virtual_read{40};             ///< RDMSR or load that the virtual-APIC page answers, issue to completion
  cycles virtual_write{50};            ///< WRMSR or store that goes there, without what it brings about
  cycles tpr_virtualization{20};       ///< §32.1.2
  cycles eoi_virtualization{40};       ///< §32.1.4
  cycles self_ipi_virtualization{30};  ///< §32.1.5
  cycles pid_table{50};                ///< IPI virtualization: the entry of the PID-pointer table, §32.1.6
  cycles post_request{80};             ///< * the bit in the descriptor
  cycles post_notification{80};        ///< * "outstanding notification", and what it says of the destination
  cycles send_notification{40};        ///< the IPI leaves
  cycles acknowledge{120};             ///< posted-interrupt processing, §32.6: the local APIC names the vector
  cycles clear_outstanding{200};       ///< *
  cycles write_eoi{120};               ///< to the physical local APIC
  cycles merge_requests{260};          ///< * the descriptor's bits into the virtual IRR
  cycles raise_rvi{32};
  cycles evaluate{80};
  cycles deliver{200};        ///< virtual-interrupt delivery, §32.2.2, before the IDT
  cycles guest_timer{100};    ///< the guest-timer event of APIC-timer virtualization
  cycles guest_deadline{80};  ///< RDMSR or WRMSR of IA32_TSC_DEADLINE with it
};
BOOST_DESCRIBE_STRUCT(apic_costs, (),
                      (mmio, virtual_read, virtual_write, tpr_virtualization, eoi_virtualization,
                       self_ipi_virtualization, pid_table, post_request, post_notification, send_notification,
                       acknowledge, clear_outstanding, write_eoi, merge_requests, raise_rvi, evaluate, deliver,
                       guest_timer, guest_deadline))

/// Idle states by depth; the first is what HLT enters.
struct idle_state {
  std::string name;
  cycles exit_latency;  ///< wake event to first instruction
  cycles target_residency;
};
BOOST_DESCRIBE_STRUCT(idle_state, (), (name, exit_latency, target_residency))

/// Everything the hardware's timing needs; `platform/presets/*.json` fill it, each number with its source.
struct hardware_costs {
  instruction_costs instruction;
  transfer_costs transfer;
  exit_costs exit;
  entry_costs entry;
  interrupt_costs interrupt;
  apic_costs apic;
  std::vector<idle_state> idle_states{{"C1", cycles{4600}, cycles{4600}}};
};
BOOST_DESCRIBE_STRUCT(hardware_costs, (), (instruction, transfer, exit, entry, interrupt, apic, idle_states))

}  // namespace vmxsys::cpu
