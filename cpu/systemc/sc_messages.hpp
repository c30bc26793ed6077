#pragma once

/// Message types of everything the SystemC shells report, for sc_report_handler::set_actions. The text names the
/// instance.
namespace vmxsys::cpu::message {

/// SC_FATAL: a rule of the model was broken; the text carries the cycle.
inline constexpr char invariant[] = "/vmxsys/cpu/timeline/invariant";
/// SC_ERROR: an exception left the modelled software or a policy.
inline constexpr char software[] = "/vmxsys/cpu/timeline/software";
/// SC_ERROR: something arrived from outside at a time the machine had run past. Only code between two calls of sc_start
/// can do that, when a quantum is set and the end of the run was not declared.
inline constexpr char late[] = "/vmxsys/cpu/timeline/late";
/// SC_ERROR: the machine was called from a place where it cannot answer (out of its own events, before elaboration).
inline constexpr char misuse[] = "/vmxsys/cpu/timeline/misuse";
/// SC_INFO: the kernel's time resolution is coarse beside a cycle.
inline constexpr char resolution[] = "/vmxsys/cpu/timeline/resolution";
/// SC_ERROR: a CPU that does not exist, or two modules for one.
inline constexpr char binding[] = "/vmxsys/cpu/physical_cpu/binding";
/// SC_WARNING: a device answered a CPU's access with an error other than "no such address".
inline constexpr char bus_error[] = "/vmxsys/cpu/physical_cpu/bus_error";
/// SC_WARNING: a well-formed write to the MSI window that interrupts no CPU.
inline constexpr char lost_interrupt[] = "/vmxsys/cpu/interrupt_port/lost";

/// SC_WARNING: an interrupt-remapping unit blocked a message; the text has the reason.
inline constexpr char remapping_fault[] = "/vmxsys/cpu/remapping_unit/fault";

}  // namespace vmxsys::cpu::message
