#include "exit_qualification.hpp"

#include <cstdio>

#include "event.hpp"
#include "exit.hpp"

namespace vmxsys::vmx {

namespace {

using namespace qualification;

std::string hex(std::uint64_t value) {
  char text[2 + 16 + 1];
  std::snprintf(text, sizeof text, "%llXH", static_cast<unsigned long long>(value));
  return text;
}

std::string exception_name(unsigned vector) {
  // SDM Vol. 3A, table of protected-mode exceptions.
  static constexpr const char* names[] = {"#DE", "#DB",   nullptr, "#BP", "#OF", "#BR", "#UD", "#NM",
                                          "#DF", nullptr, "#TS",   "#NP", "#SS", "#GP", "#PF", nullptr,
                                          "#MF", "#AC",   "#MC",   "#XM", "#VE", "#CP"};
  if (vector < sizeof names / sizeof *names && names[vector] != nullptr) return names[vector];
  return "exception " + hex(vector);
}

std::string event_name(std::uint32_t word) {
  const event_information e = decode_event(word);
  switch (e.type) {
    case event_type::external_interrupt:
      return "external interrupt " + hex(e.vector);
    case event_type::nmi:
      return "NMI";
    case event_type::hardware_exception:
      return exception_name(e.vector);
    case event_type::software_interrupt:
      return "INT " + hex(e.vector);
    case event_type::privileged_software_exception:
      return "INT1";
    case event_type::software_exception:
      return e.vector == 4 ? "INTO" : "INT3";
    case event_type::other_event:
      return "other event " + hex(e.vector);
  }
  return "reserved event";
}

std::string describe_exception(const exit_info& exit) {
  if ((exit.interruption_information & event_bits::valid) == 0) return name_of(exit.reason);
  const event_information e = decode_event(exit.interruption_information);
  std::string text = event_name(exit.interruption_information);
  if (e.type != event_type::hardware_exception) return text;
  if (e.error_code) text += ", error code " + hex(exit.interruption_error_code);
  if (e.vector == 14) text += ", address " + hex(exit.qualification);
  if (e.vector == 1) {
    const debug_conditions d = decode_debug(exit.qualification);
    if (d.single_step) text += ", single step";
    if (d.breakpoints != 0) text += ", breakpoints " + hex(d.breakpoints);
    if (d.register_access) text += ", debug-register access";
    if (d.bus_lock) text += ", bus lock";
    if (d.rtm) text += ", in a transaction";
  }
  return text;
}

std::string describe_cr_access(const cr_access& a) {
  const std::string cr = "CR" + std::to_string(a.cr);
  switch (a.type) {
    case cr_access_type::mov_to_cr:
      return "MOV to " + cr + " from " + name_of(a.gpr);
    case cr_access_type::mov_from_cr:
      return "MOV from " + cr + " to " + name_of(a.gpr);
    case cr_access_type::clts:
      return "CLTS";
    case cr_access_type::lmsw:
      return "LMSW of " + hex(a.lmsw_source) + (a.lmsw_memory ? " from memory" : " from a register");
  }
  return "?";
}

std::string describe_dr_access(const dr_access& a) {
  const std::string dr = "DR" + std::to_string(a.dr);
  return a.from_dr ? "MOV from " + dr + " to " + name_of(a.gpr) : "MOV to " + dr + " from " + name_of(a.gpr);
}

std::string describe_io(const io_access& a) {
  std::string text = a.rep ? "REP " : "";
  text += a.string ? (a.in ? "INS" : "OUTS") : (a.in ? "IN" : "OUT");
  text += a.in ? " from port " : " to port ";
  return text + hex(a.port) + ", " + std::to_string(a.bytes) + (a.bytes == 1 ? " byte" : " bytes");
}

std::string describe_task_switch(const task_switch& t) {
  static constexpr const char* by[] = {"CALL", "IRET", "JMP", "a task gate in the IDT"};
  return "Task switch to " + hex(t.selector) + " by " + by[static_cast<std::size_t>(t.source)];
}

const char* words_for(apic_access_type type) {
  switch (type) {
    case apic_access_type::linear_read:
      return "read";
    case apic_access_type::linear_write:
      return "write";
    case apic_access_type::linear_fetch:
      return "fetch";
    case apic_access_type::linear_event_delivery:
      return "access by event delivery";
    case apic_access_type::linear_asynchronous:
      return "asynchronous access";
    case apic_access_type::guest_physical_event_delivery:
      return "guest-physical access by event delivery";
    case apic_access_type::guest_physical_asynchronous:
      return "asynchronous guest-physical access";
    case apic_access_type::guest_physical_instruction:
      return "guest-physical access";
  }
  return "access of reserved type";
}

std::string describe_apic_access(const apic_access& a) {
  std::string text = "APIC " + std::string{words_for(a.type)};
  if (static_cast<std::uint8_t>(a.type) <= 4) text += " at offset " + hex(a.offset);
  return text;
}

std::string describe_ept_violation(const exit_info& exit) {
  const ept_violation e = decode_ept_violation(exit.qualification);
  std::string text = "EPT violation:";
  if (e.read) text += " read";
  if (e.write) text += " write";
  if (e.fetch) text += " fetch";
  text += " of guest-physical " + hex(exit.guest_physical_address);
  if (e.linear_address_valid) {
    text += ", linear " + hex(exit.guest_linear_address);
    if (!e.final_translation) text += " (page walk)";
  }
  return text;
}

std::string describe_entry_failure(const exit_info& exit) {
  const std::string text = name_of(exit.reason);
  if (exit.reason == exit_reason::entry_failure_msr_loading)
    return text + ", entry " + std::to_string(exit.qualification);
  if (exit.reason != exit_reason::entry_failure_guest_state) return text;
  switch (exit.qualification) {
    case 0:
      return text;
    case 2:
      return text + ": PDPTE";
    case 3:
      return text + ": NMI injected with blocking by STI";
    case 4:
      return text + ": VMCS link pointer";
    default:
      return text + ", qualification " + std::to_string(exit.qualification);
  }
}

std::string describe_cause(const exit_info& exit) {
  const std::uint64_t q = exit.qualification;
  switch (exit.reason) {
    case exit_reason::exception_or_nmi:
      return describe_exception(exit);
    case exit_reason::external_interrupt:
      return (exit.interruption_information & event_bits::valid) != 0
                 ? "External interrupt, vector " + hex(exit.interruption_information & event_bits::vector)
                 : "External interrupt, not acknowledged";
    case exit_reason::control_register_access:
      return describe_cr_access(decode_cr_access(q));
    case exit_reason::mov_dr:
      return describe_dr_access(decode_dr_access(q));
    case exit_reason::io_instruction:
      return describe_io(decode_io(q));
    case exit_reason::task_switch:
      return describe_task_switch(decode_task_switch(q));
    case exit_reason::apic_access:
      return describe_apic_access(decode_apic_access(q));
    case exit_reason::ept_violation:
      return describe_ept_violation(exit);
    case exit_reason::ept_misconfiguration:
      return "EPT misconfiguration: guest-physical " + hex(exit.guest_physical_address);
    case exit_reason::mwait:
      return decode_mwait(q) ? "MWAIT, monitor armed" : "MWAIT, monitor not armed";
    case exit_reason::wrmsr:
      return (q & 1) != 0 ? "WRMSRNS" : "WRMSR";
    case exit_reason::wbinvd:
      return (q & 1) != 0 ? "WBNOINVD" : "WBINVD";
    case exit_reason::instruction_timeout:
      return (q & 1) != 0 ? "Instruction timeout, context invalid" : "Instruction timeout";
    case exit_reason::invlpg:
      return "INVLPG of " + hex(q);
    case exit_reason::startup_ipi:
    case exit_reason::virtualized_eoi:
      return name_of(exit.reason) + (", vector " + hex(q & 0xFF));
    case exit_reason::apic_write:
      return "APIC write at offset " + hex(q & 0xFFF);
    case exit_reason::rdmsr_immediate:
    case exit_reason::wrmsrns_immediate:
    case exit_reason::rdmsrlist:
    case exit_reason::wrmsrlist:
      return name_of(exit.reason) + (", MSR " + hex(q));
    case exit_reason::entry_failure_guest_state:
    case exit_reason::entry_failure_msr_loading:
    case exit_reason::entry_failure_machine_check:
      return describe_entry_failure(exit);
    default:
      return find_exit_reason(static_cast<std::uint32_t>(exit.reason)) != nullptr
                 ? name_of(exit.reason)
                 : "Reserved exit reason " + std::to_string(static_cast<unsigned>(exit.reason));
  }
}

}  // namespace

const char* name_of(general_register r) noexcept {
  static constexpr const char* names[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                          "R8",  "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};
  return names[static_cast<std::size_t>(r) & 15];
}

std::string describe(const exit_info& exit) {
  std::string text = describe_cause(exit);
  if ((exit.idt_vectoring_information & event_bits::valid) != 0)
    text += ", while " + event_name(exit.idt_vectoring_information) + " was being delivered";
  return text;
}

}  // namespace vmxsys::vmx
