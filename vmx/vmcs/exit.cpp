#include "exit.hpp"

#include <array>
#include <iterator>

#include "event.hpp"
#include "exit_qualification.hpp"

namespace vmxsys::vmx {

namespace {

using c = exit_class;
using q = qualification_kind;
using l = length_rule;
using i = information_kind;
using r = resume_flag_rule;

// An instruction that exits instead of executing.
constexpr exit_reason_info instruction(exit_reason reason, const char* name, const char* kvm_name,
                                       const char* condition, q qualification = q::none, i information = i::none) {
  return {reason, name, kvm_name, c::fault, qualification, l::instruction, information, r::clear, condition};
}

constexpr exit_reason_info table[] = {
    {exit_reason::exception_or_nmi, "Exception or NMI", "EXCEPTION_NMI", c::event, q::exception, l::software_exception,
     i::none, r::image, "exception bitmap; NMI exiting"},
    {exit_reason::external_interrupt, "External interrupt", "EXTERNAL_INTERRUPT", c::event, q::none, l::never, i::none,
     r::image, "external-interrupt exiting"},
    {exit_reason::triple_fault, "Triple fault", "TRIPLE_FAULT", c::event, q::none, l::never, i::none, r::unchanged,
     "an exception while #DF is delivered"},
    {exit_reason::init_signal, "INIT signal", "INIT_SIGNAL", c::event, q::none, l::never, i::none, r::unchanged,
     "INIT outside wait-for-SIPI"},
    {exit_reason::startup_ipi, "Start-up IPI (SIPI)", "SIPI_SIGNAL", c::event, q::vector, l::never, i::none,
     r::unchanged, "SIPI in wait-for-SIPI"},
    {exit_reason::io_smi, "I/O system-management interrupt (SMI)", nullptr, c::event, q::unspecified, l::never, i::none,
     r::unchanged, "dual-monitor treatment; SMI after an I/O instruction"},
    {exit_reason::other_smi, "Other SMI", nullptr, c::event, q::unspecified, l::never, i::none, r::unchanged,
     "dual-monitor treatment; another SMI"},
    {exit_reason::interrupt_window, "Interrupt window", "INTERRUPT_WINDOW", c::event, q::none, l::never, i::none,
     r::unchanged, "interrupt-window exiting; RFLAGS.IF = 1, no blocking"},
    {exit_reason::nmi_window, "NMI window", "NMI_WINDOW", c::event, q::none, l::never, i::none, r::unchanged,
     "NMI-window exiting; no virtual-NMI blocking"},
    {exit_reason::task_switch, "Task switch", "TASK_SWITCH", c::event, q::task_switch, l::task_switch, i::none,
     r::task_switch, "unconditional"},
    instruction(exit_reason::cpuid, "CPUID", "CPUID", "unconditional"),
    instruction(exit_reason::getsec, "GETSEC", nullptr, "unconditional"),
    instruction(exit_reason::hlt, "HLT", "HLT", "HLT exiting"),
    instruction(exit_reason::invd, "INVD", "INVD", "unconditional"),
    instruction(exit_reason::invlpg, "INVLPG", "INVLPG", "INVLPG exiting", q::linear_address),
    instruction(exit_reason::rdpmc, "RDPMC", "RDPMC", "RDPMC exiting"),
    instruction(exit_reason::rdtsc, "RDTSC", "RDTSC", "RDTSC exiting"),
    instruction(exit_reason::rsm, "RSM", nullptr, "RSM in SMM"),
    instruction(exit_reason::vmcall, "VMCALL", "VMCALL", "unconditional"),
    instruction(exit_reason::vmclear, "VMCLEAR", "VMCLEAR", "unconditional", q::displacement, i::memory),
    instruction(exit_reason::vmlaunch, "VMLAUNCH", "VMLAUNCH", "unconditional"),
    instruction(exit_reason::vmptrld, "VMPTRLD", "VMPTRLD", "unconditional", q::displacement, i::memory),
    instruction(exit_reason::vmptrst, "VMPTRST", "VMPTRST", "unconditional", q::displacement, i::memory),
    instruction(exit_reason::vmread, "VMREAD", "VMREAD", "no VMCS shadowing, or the VMREAD bitmap", q::displacement,
                i::vmread_vmwrite),
    instruction(exit_reason::vmresume, "VMRESUME", "VMRESUME", "unconditional"),
    instruction(exit_reason::vmwrite, "VMWRITE", "VMWRITE", "no VMCS shadowing, or the VMWRITE bitmap", q::displacement,
                i::vmread_vmwrite),
    instruction(exit_reason::vmxoff, "VMXOFF", "VMOFF", "unconditional"),
    instruction(exit_reason::vmxon, "VMXON", "VMON", "unconditional", q::displacement, i::memory),
    instruction(exit_reason::control_register_access, "Control-register accesses", "CR_ACCESS",
                "CR0 and CR4 guest/host masks; CR3-load, CR3-store, CR8-load, CR8-store exiting", q::control_register),
    instruction(exit_reason::mov_dr, "MOV DR", "DR_ACCESS", "MOV-DR exiting", q::debug_register),
    instruction(exit_reason::io_instruction, "I/O instruction", "IO_INSTRUCTION",
                "I/O bitmaps, or unconditional I/O exiting", q::io, i::string_io),
    instruction(exit_reason::rdmsr, "RDMSR", "MSR_READ", "MSR bitmaps"),
    instruction(exit_reason::wrmsr, "WRMSR or WRMSRNS", "MSR_WRITE", "MSR bitmaps", q::one_bit),
    {exit_reason::entry_failure_guest_state, "VM-entry failure due to invalid guest state", "INVALID_STATE",
     c::entry_failure, q::entry_failure, l::never, i::none, r::unchanged, "a guest-state check of VM entry"},
    {exit_reason::entry_failure_msr_loading, "VM-entry failure due to MSR loading", "MSR_LOAD_FAIL", c::entry_failure,
     q::list_index, l::never, i::none, r::unchanged, "an entry of the VM-entry MSR-load list"},
    instruction(exit_reason::mwait, "MWAIT", "MWAIT_INSTRUCTION", "MWAIT exiting", q::one_bit),
    {exit_reason::monitor_trap_flag, "Monitor trap flag", "MONITOR_TRAP_FLAG", c::trap, q::none, l::never, i::none,
     r::unchanged, "monitor trap flag, or injection of a pending MTF VM exit"},
    instruction(exit_reason::monitor, "MONITOR", "MONITOR_INSTRUCTION", "MONITOR exiting"),
    instruction(exit_reason::pause, "PAUSE", "PAUSE_INSTRUCTION", "PAUSE exiting; PAUSE-loop exiting at CPL 0"),
    {exit_reason::entry_failure_machine_check, "VM-entry failure due to machine-check event", "MCE_DURING_VMENTRY",
     c::entry_failure, q::none, l::never, i::none, r::unchanged, "a machine check during VM entry"},
    {exit_reason::tpr_below_threshold, "TPR below threshold", "TPR_BELOW_THRESHOLD", c::trap, q::none, l::never,
     i::none, r::unchanged, "use TPR shadow; VTPR[7:4] below the TPR threshold"},
    {exit_reason::apic_access, "APIC access", "APIC_ACCESS", c::fault, q::apic_access, l::never, i::none, r::memory,
     "virtualize APIC accesses"},
    {exit_reason::virtualized_eoi, "Virtualized EOI", "EOI_INDUCED", c::trap, q::vector, l::never, i::none,
     r::unchanged, "virtual-interrupt delivery; EOI-exit bitmap"},
    instruction(exit_reason::gdtr_or_idtr_access, "Access to GDTR or IDTR", "GDTR_IDTR", "descriptor-table exiting",
                q::displacement, i::descriptor_table),
    instruction(exit_reason::ldtr_or_tr_access, "Access to LDTR or TR", "LDTR_TR", "descriptor-table exiting",
                q::displacement, i::segment),
    {exit_reason::ept_violation, "EPT violation", "EPT_VIOLATION", c::fault, q::ept_violation, l::never, i::none,
     r::memory, "enable EPT; access not allowed"},
    {exit_reason::ept_misconfiguration, "EPT misconfiguration", "EPT_MISCONFIG", c::fault, q::none, l::never, i::none,
     r::memory, "enable EPT; malformed paging-structure entry"},
    instruction(exit_reason::invept, "INVEPT", "INVEPT", "unconditional", q::displacement, i::invalidation),
    instruction(exit_reason::rdtscp, "RDTSCP", "RDTSCP", "enable RDTSCP and RDTSC exiting"),
    {exit_reason::preemption_timer, "VMX-preemption timer expired", "PREEMPTION_TIMER", c::event, q::none, l::never,
     i::none, r::unchanged, "activate VMX-preemption timer; count 0"},
    instruction(exit_reason::invvpid, "INVVPID", "INVVPID", "unconditional", q::displacement, i::invalidation),
    instruction(exit_reason::wbinvd, "WBINVD or WBNOINVD", "WBINVD", "WBINVD exiting", q::one_bit),
    instruction(exit_reason::xsetbv, "XSETBV", "XSETBV", "unconditional"),
    {exit_reason::apic_write, "APIC write", "APIC_WRITE", c::trap, q::apic_offset, l::never, i::none, r::unchanged,
     "APIC-register virtualization; a write software has to finish"},
    instruction(exit_reason::rdrand, "RDRAND", "RDRAND", "RDRAND exiting", q::none, i::sized_register),
    instruction(exit_reason::invpcid, "INVPCID", "INVPCID", "enable INVPCID and INVLPG exiting", q::displacement,
                i::invalidation),
    instruction(exit_reason::vmfunc, "VMFUNC", "VMFUNC", "enable VM functions; function off or bad parameter"),
    instruction(exit_reason::encls, "ENCLS", "ENCLS", "enable ENCLS exiting"),
    instruction(exit_reason::rdseed, "RDSEED", "RDSEED", "RDSEED exiting", q::none, i::sized_register),
    {exit_reason::page_modification_log_full, "Page-modification log full", "PML_FULL", c::fault, q::nmi_unblocking,
     l::never, i::none, r::memory, "enable PML; index above 511"},
    instruction(exit_reason::xsaves, "XSAVES", "XSAVES", "enable XSAVES/XRSTORS; XSS-exiting bitmap", q::displacement,
                i::memory),
    instruction(exit_reason::xrstors, "XRSTORS", "XRSTORS", "enable XSAVES/XRSTORS; XSS-exiting bitmap",
                q::displacement, i::memory),
    instruction(exit_reason::pconfig, "PCONFIG", nullptr, "enable PCONFIG; PCONFIG-exiting bitmap"),
    {exit_reason::spp_event, "SPP-related event", nullptr, c::fault, q::nmi_unblocking, l::never, i::none, r::memory,
     "sub-page write permissions for EPT"},
    instruction(exit_reason::umwait, "UMWAIT", "UMWAIT", "enable user wait and pause, and RDTSC exiting", q::none,
                i::sized_register),
    instruction(exit_reason::tpause, "TPAUSE", "TPAUSE", "enable user wait and pause, and RDTSC exiting", q::none,
                i::sized_register),
    instruction(exit_reason::loadiwkey, "LOADIWKEY", nullptr, "LOADIWKEY exiting", q::none, i::two_registers),
    instruction(exit_reason::enclv, "ENCLV", nullptr, "enable ENCLV exiting"),
    instruction(exit_reason::enqcmd_pasid_failure, "ENQCMD PASID translation failure", nullptr, "PASID translation",
                q::unspecified),
    instruction(exit_reason::enqcmds_pasid_failure, "ENQCMDS PASID translation failure", nullptr, "PASID translation",
                q::unspecified),
    {exit_reason::bus_lock, "Bus lock", "BUS_LOCK", c::trap, q::none, l::never, i::none, r::unchanged,
     "VMM bus-lock detection"},
    {exit_reason::instruction_timeout, "Instruction timeout", "NOTIFY", c::event, q::one_bit, l::never, i::none,
     r::unchanged, "instruction timeout"},
    instruction(exit_reason::seamcall, "SEAMCALL", nullptr, "unconditional, where implemented", q::unspecified),
    instruction(exit_reason::tdcall, "TDCALL", "TDCALL", "unconditional, where implemented", q::unspecified),
    instruction(exit_reason::rdmsrlist, "RDMSRLIST", nullptr, "enable MSR-list instructions; MSR bitmaps",
                q::msr_index),
    instruction(exit_reason::wrmsrlist, "WRMSRLIST", nullptr, "enable MSR-list instructions; MSR bitmaps",
                q::msr_index),
    instruction(exit_reason::urdmsr, "URDMSR", nullptr, "MSR bitmaps", q::unspecified, i::two_registers),
    instruction(exit_reason::uwrmsr, "UWRMSR", nullptr, "MSR bitmaps", q::unspecified, i::two_registers),
    instruction(exit_reason::rdmsr_immediate, "RDMSR, immediate form", "MSR_READ_IMM", "MSR bitmaps", q::msr_index,
                i::one_register),
    instruction(exit_reason::wrmsrns_immediate, "WRMSRNS, immediate form", "MSR_WRITE_IMM", "MSR bitmaps", q::msr_index,
                i::one_register),
};

constexpr std::size_t number_limit = 86;
constexpr std::uint8_t reserved = 0xFF;

constexpr std::array<std::uint8_t, number_limit> make_index() {
  std::array<std::uint8_t, number_limit> index{};
  for (auto& row : index) row = reserved;
  for (std::size_t n = 0; n < std::size(table); ++n)
    index[static_cast<std::size_t>(table[n].reason)] = static_cast<std::uint8_t>(n);
  return index;
}
constexpr auto index_by_number = make_index();

constexpr bool is_valid(std::uint32_t word) { return (word & event_bits::valid) != 0; }
constexpr bool has_error_code(std::uint32_t word) { return (word & event_bits::error_code) != 0; }

bool is_software_event(std::uint32_t word) {
  const event_type type = decode_event(word).type;
  return is_valid(word) && (type == event_type::software_interrupt || type == event_type::software_exception ||
                            type == event_type::privileged_software_exception);
}

bool has_qualification(const exit_reason_info& row, const exit_info& exit) {
  if (row.qualification != qualification_kind::exception) return row.qualification != qualification_kind::none;
  constexpr std::uint8_t debug = 1;
  constexpr std::uint8_t page_fault = 14;
  const event_information event = decode_event(exit.interruption_information);
  return event.valid && event.type == event_type::hardware_exception &&
         (event.vector == debug || event.vector == page_fault);
}

}  // namespace

const exit_reason_info* exit_reason_table() noexcept { return table; }
std::size_t exit_reason_table_size() noexcept { return std::size(table); }

const exit_reason_info* find_exit_reason(std::uint32_t basic_reason) noexcept {
  if (basic_reason >= number_limit || index_by_number[basic_reason] == reserved) return nullptr;
  return &table[index_by_number[basic_reason]];
}

const char* name_of(exit_reason reason) noexcept {
  const exit_reason_info* row = find_exit_reason(static_cast<std::uint32_t>(reason));
  return row ? row->name : "reserved";
}

const char* kvm_name_of(exit_reason reason) noexcept {
  const exit_reason_info* row = find_exit_reason(static_cast<std::uint32_t>(reason));
  return row ? row->kvm_name : nullptr;
}

const char* trace_name_of(exit_reason reason) noexcept {
  const char* kvm_name = kvm_name_of(reason);
  return kvm_name != nullptr ? kvm_name : name_of(reason);
}

exit_class class_of(exit_reason reason) noexcept {
  const exit_reason_info* row = find_exit_reason(static_cast<std::uint32_t>(reason));
  return row ? row->kind : exit_class::event;
}

bool length_defined(const exit_info& exit) noexcept {
  const exit_reason_info* row = find_exit_reason(static_cast<std::uint32_t>(exit.reason));
  if (row == nullptr) return false;
  // The VMM needs it to inject the software event again.
  if (is_software_event(exit.idt_vectoring_information)) return true;
  switch (row->length) {
    case length_rule::instruction:
      return true;
    case length_rule::software_exception:
      return is_software_event(exit.interruption_information);
    case length_rule::task_switch:
      return qualification::decode_task_switch(exit.qualification).source !=
             qualification::task_switch_source::idt_gate;
    case length_rule::never:
      return false;
  }
  return false;
}

bool linear_address_defined(const exit_info& exit) noexcept {
  switch (exit.reason) {
    case exit_reason::control_register_access:
      return qualification::decode_cr_access(exit.qualification).lmsw_memory;
    case exit_reason::io_instruction:
      return qualification::decode_io(exit.qualification).string;
    case exit_reason::ept_violation:
      return qualification::decode_ept_violation(exit.qualification).linear_address_valid;
    case exit_reason::spp_event:
      return true;
    default:
      return false;
  }
}

bool physical_address_defined(const exit_info& exit) noexcept {
  return exit.reason == exit_reason::ept_violation || exit.reason == exit_reason::ept_misconfiguration ||
         exit.reason == exit_reason::spp_event;
}

exit_info recorded(const exit_info& exit) noexcept {
  exit_info out;
  out.reason = exit.reason;
  out.entry_failure = exit.entry_failure;
  const exit_reason_info* row = find_exit_reason(static_cast<std::uint32_t>(exit.reason));
  if (row == nullptr) return out;
  if (has_qualification(*row, exit)) out.qualification = exit.qualification;
  if (exit.entry_failure) return out;

  out.flags = exit.flags & exit_reason_flag::in_exit_info;
  const bool vectored = exit.reason == exit_reason::exception_or_nmi || exit.reason == exit_reason::external_interrupt;
  if (vectored && is_valid(exit.interruption_information)) {
    out.interruption_information = exit.interruption_information;
    if (has_error_code(exit.interruption_information)) out.interruption_error_code = exit.interruption_error_code;
  }
  if (is_valid(exit.idt_vectoring_information)) {
    out.idt_vectoring_information = exit.idt_vectoring_information;
    if (has_error_code(exit.idt_vectoring_information)) out.idt_vectoring_error_code = exit.idt_vectoring_error_code;
  }
  if (length_defined(exit)) out.instruction_length = exit.instruction_length;
  if (linear_address_defined(exit)) out.guest_linear_address = exit.guest_linear_address;
  if (physical_address_defined(exit)) out.guest_physical_address = exit.guest_physical_address;
  if (row->information != information_kind::none) out.instruction_information = exit.instruction_information;
  return out;
}

void note_nmi_unblocking(exit_info& exit) noexcept {
  if (is_valid(exit.idt_vectoring_information)) return;
  constexpr std::uint8_t double_fault = 8;
  switch (exit.reason) {
    case exit_reason::exception_or_nmi: {
      const event_information event = decode_event(exit.interruption_information);
      if (event.valid && event.type == event_type::hardware_exception && event.vector != double_fault)
        exit.interruption_information |= event_bits::nmi_unblocking;
      return;
    }
    case exit_reason::ept_violation:
    case exit_reason::page_modification_log_full:
    case exit_reason::spp_event:
      exit.qualification |= qualification::nmi_unblocking_bit;
      return;
    default:
      return;
  }
}

void record_exit(vmcs& v, const exit_info& exit) noexcept {
  const exit_info out = recorded(exit);
  const std::uint32_t failure = out.entry_failure ? exit_reason_flag::entry_failure : 0;
  v.write(field::exit_reason, static_cast<std::uint32_t>(out.reason) | out.flags | failure);
  v.write(field::exit_qualification, out.qualification);
  if (out.entry_failure) return;

  v.write(field::vm_exit_interruption_information, out.interruption_information);
  v.write(field::vm_exit_interruption_error_code, out.interruption_error_code);
  v.write(field::idt_vectoring_information, out.idt_vectoring_information);
  v.write(field::idt_vectoring_error_code, out.idt_vectoring_error_code);
  v.write(field::vm_exit_instruction_length, out.instruction_length);
  v.write(field::vm_exit_instruction_information, out.instruction_information);
  v.write(field::guest_linear_address, out.guest_linear_address);
  v.write(field::guest_physical_address, out.guest_physical_address);
  v.write(field::vm_entry_interruption_information,
          v.read(field::vm_entry_interruption_information) & ~std::uint64_t{event_bits::valid});
}

exit_info read_exit(const vmcs& v) noexcept {
  const auto word = [&v](field f) { return static_cast<std::uint32_t>(v.read(f)); };
  exit_info exit;
  exit.reason = static_cast<exit_reason>(word(field::exit_reason) & 0xFFFF);
  exit.entry_failure = (word(field::exit_reason) & exit_reason_flag::entry_failure) != 0;
  exit.flags = word(field::exit_reason) & exit_reason_flag::in_exit_info;
  exit.qualification = v.read(field::exit_qualification);
  exit.interruption_information = word(field::vm_exit_interruption_information);
  exit.interruption_error_code = word(field::vm_exit_interruption_error_code);
  exit.idt_vectoring_information = word(field::idt_vectoring_information);
  exit.idt_vectoring_error_code = word(field::idt_vectoring_error_code);
  exit.instruction_length = word(field::vm_exit_instruction_length);
  exit.instruction_information = word(field::vm_exit_instruction_information);
  exit.guest_linear_address = v.read(field::guest_linear_address);
  exit.guest_physical_address = v.read(field::guest_physical_address);
  return exit;
}

}  // namespace vmxsys::vmx
