#include <vmxsys/vmx/exit.hpp>

#include <array>
#include <iterator>

namespace vmxsys::vmx {

namespace {

constexpr exit_reason_info table[] = {
    {exit_reason::exception_or_nmi, "Exception or NMI", "EXCEPTION_NMI", exit_class::event},
    {exit_reason::external_interrupt, "External interrupt", "EXTERNAL_INTERRUPT", exit_class::event},
    {exit_reason::triple_fault, "Triple fault", "TRIPLE_FAULT", exit_class::event},
    {exit_reason::init_signal, "INIT signal", "INIT_SIGNAL", exit_class::event},
    {exit_reason::startup_ipi, "Start-up IPI (SIPI)", "SIPI_SIGNAL", exit_class::event},
    {exit_reason::io_smi, "I/O system-management interrupt (SMI)", nullptr, exit_class::event},
    {exit_reason::other_smi, "Other SMI", nullptr, exit_class::event},
    {exit_reason::interrupt_window, "Interrupt window", "INTERRUPT_WINDOW", exit_class::event},
    {exit_reason::nmi_window, "NMI window", "NMI_WINDOW", exit_class::event},
    {exit_reason::task_switch, "Task switch", "TASK_SWITCH", exit_class::event},
    {exit_reason::cpuid, "CPUID", "CPUID", exit_class::fault},
    {exit_reason::getsec, "GETSEC", nullptr, exit_class::fault},
    {exit_reason::hlt, "HLT", "HLT", exit_class::fault},
    {exit_reason::invd, "INVD", "INVD", exit_class::fault},
    {exit_reason::invlpg, "INVLPG", "INVLPG", exit_class::fault},
    {exit_reason::rdpmc, "RDPMC", "RDPMC", exit_class::fault},
    {exit_reason::rdtsc, "RDTSC", "RDTSC", exit_class::fault},
    {exit_reason::rsm, "RSM", nullptr, exit_class::fault},
    {exit_reason::vmcall, "VMCALL", "VMCALL", exit_class::fault},
    {exit_reason::vmclear, "VMCLEAR", "VMCLEAR", exit_class::fault},
    {exit_reason::vmlaunch, "VMLAUNCH", "VMLAUNCH", exit_class::fault},
    {exit_reason::vmptrld, "VMPTRLD", "VMPTRLD", exit_class::fault},
    {exit_reason::vmptrst, "VMPTRST", "VMPTRST", exit_class::fault},
    {exit_reason::vmread, "VMREAD", "VMREAD", exit_class::fault},
    {exit_reason::vmresume, "VMRESUME", "VMRESUME", exit_class::fault},
    {exit_reason::vmwrite, "VMWRITE", "VMWRITE", exit_class::fault},
    {exit_reason::vmxoff, "VMXOFF", "VMOFF", exit_class::fault},
    {exit_reason::vmxon, "VMXON", "VMON", exit_class::fault},
    {exit_reason::control_register_access, "Control-register accesses", "CR_ACCESS", exit_class::fault},
    {exit_reason::mov_dr, "MOV DR", "DR_ACCESS", exit_class::fault},
    {exit_reason::io_instruction, "I/O instruction", "IO_INSTRUCTION", exit_class::fault},
    {exit_reason::rdmsr, "RDMSR", "MSR_READ", exit_class::fault},
    {exit_reason::wrmsr, "WRMSR or WRMSRNS", "MSR_WRITE", exit_class::fault},
    {exit_reason::entry_failure_guest_state, "VM-entry failure due to invalid guest state", "INVALID_STATE",
     exit_class::entry_failure},
    {exit_reason::entry_failure_msr_loading, "VM-entry failure due to MSR loading", "MSR_LOAD_FAIL",
     exit_class::entry_failure},
    {exit_reason::mwait, "MWAIT", "MWAIT_INSTRUCTION", exit_class::fault},
    {exit_reason::monitor_trap_flag, "Monitor trap flag", "MONITOR_TRAP_FLAG", exit_class::trap},
    {exit_reason::monitor, "MONITOR", "MONITOR_INSTRUCTION", exit_class::fault},
    {exit_reason::pause, "PAUSE", "PAUSE_INSTRUCTION", exit_class::fault},
    {exit_reason::entry_failure_machine_check, "VM-entry failure due to machine-check event", "MCE_DURING_VMENTRY",
     exit_class::entry_failure},
    {exit_reason::tpr_below_threshold, "TPR below threshold", "TPR_BELOW_THRESHOLD", exit_class::trap},
    {exit_reason::apic_access, "APIC access", "APIC_ACCESS", exit_class::fault},
    {exit_reason::virtualized_eoi, "Virtualized EOI", "EOI_INDUCED", exit_class::trap},
    {exit_reason::gdtr_or_idtr_access, "Access to GDTR or IDTR", "GDTR_IDTR", exit_class::fault},
    {exit_reason::ldtr_or_tr_access, "Access to LDTR or TR", "LDTR_TR", exit_class::fault},
    {exit_reason::ept_violation, "EPT violation", "EPT_VIOLATION", exit_class::fault},
    {exit_reason::ept_misconfiguration, "EPT misconfiguration", "EPT_MISCONFIG", exit_class::fault},
    {exit_reason::invept, "INVEPT", "INVEPT", exit_class::fault},
    {exit_reason::rdtscp, "RDTSCP", "RDTSCP", exit_class::fault},
    {exit_reason::preemption_timer, "VMX-preemption timer expired", "PREEMPTION_TIMER", exit_class::event},
    {exit_reason::invvpid, "INVVPID", "INVVPID", exit_class::fault},
    {exit_reason::wbinvd, "WBINVD or WBNOINVD", "WBINVD", exit_class::fault},
    {exit_reason::xsetbv, "XSETBV", "XSETBV", exit_class::fault},
    {exit_reason::apic_write, "APIC write", "APIC_WRITE", exit_class::trap},
    {exit_reason::rdrand, "RDRAND", "RDRAND", exit_class::fault},
    {exit_reason::invpcid, "INVPCID", "INVPCID", exit_class::fault},
    {exit_reason::vmfunc, "VMFUNC", "VMFUNC", exit_class::fault},
    {exit_reason::encls, "ENCLS", "ENCLS", exit_class::fault},
    {exit_reason::rdseed, "RDSEED", "RDSEED", exit_class::fault},
    {exit_reason::page_modification_log_full, "Page-modification log full", "PML_FULL", exit_class::event},
    {exit_reason::xsaves, "XSAVES", "XSAVES", exit_class::fault},
    {exit_reason::xrstors, "XRSTORS", "XRSTORS", exit_class::fault},
    {exit_reason::pconfig, "PCONFIG", nullptr, exit_class::fault},
    {exit_reason::spp_event, "SPP-related event", nullptr, exit_class::event},
    {exit_reason::umwait, "UMWAIT", "UMWAIT", exit_class::fault},
    {exit_reason::tpause, "TPAUSE", "TPAUSE", exit_class::fault},
    {exit_reason::loadiwkey, "LOADIWKEY", nullptr, exit_class::fault},
    {exit_reason::enclv, "ENCLV", nullptr, exit_class::fault},
    {exit_reason::enqcmd_pasid_failure, "ENQCMD PASID translation failure", nullptr, exit_class::fault},
    {exit_reason::enqcmds_pasid_failure, "ENQCMDS PASID translation failure", nullptr, exit_class::fault},
    {exit_reason::bus_lock, "Bus lock", "BUS_LOCK", exit_class::trap},
    {exit_reason::instruction_timeout, "Instruction timeout", "NOTIFY", exit_class::event},
    {exit_reason::seamcall, "SEAMCALL", nullptr, exit_class::fault},
    {exit_reason::tdcall, "TDCALL", "TDCALL", exit_class::fault},
    {exit_reason::rdmsrlist, "RDMSRLIST", nullptr, exit_class::fault},
    {exit_reason::wrmsrlist, "WRMSRLIST", nullptr, exit_class::fault},
    {exit_reason::urdmsr, "URDMSR", nullptr, exit_class::fault},
    {exit_reason::uwrmsr, "UWRMSR", nullptr, exit_class::fault},
    {exit_reason::rdmsr_immediate, "RDMSR, immediate form", "MSR_READ_IMM", exit_class::fault},
    {exit_reason::wrmsrns_immediate, "WRMSRNS, immediate form", "MSR_WRITE_IMM", exit_class::fault},
};

constexpr std::size_t number_limit = 86;
constexpr std::uint8_t reserved = 0xFF;

constexpr std::array<std::uint8_t, number_limit> make_index() {
  std::array<std::uint8_t, number_limit> index{};
  for (auto& row : index) row = reserved;
  for (std::size_t i = 0; i < std::size(table); ++i)
    index[static_cast<std::size_t>(table[i].reason)] = static_cast<std::uint8_t>(i);
  return index;
}
constexpr auto index_by_number = make_index();

constexpr std::uint32_t valid_bit = 1u << 31;

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

exit_class class_of(exit_reason reason) noexcept {
  const exit_reason_info* row = find_exit_reason(static_cast<std::uint32_t>(reason));
  return row ? row->kind : exit_class::event;
}

void record_exit(vmcs& v, const exit_info& exit) noexcept {
  const std::uint32_t flags = exit.entry_failure ? exit_reason_flag::entry_failure : 0;
  v.write(field::exit_reason, static_cast<std::uint32_t>(exit.reason) | flags);
  v.write(field::exit_qualification, exit.qualification);
  if (exit.entry_failure) return;

  v.write(field::vm_exit_interruption_information, exit.interruption_information);
  v.write(field::vm_exit_interruption_error_code, exit.interruption_error_code);
  v.write(field::idt_vectoring_information, exit.idt_vectoring_information);
  v.write(field::idt_vectoring_error_code, exit.idt_vectoring_error_code);
  v.write(field::vm_exit_instruction_length, exit.instruction_length);
  v.write(field::guest_linear_address, exit.guest_linear_address);
  v.write(field::guest_physical_address, exit.guest_physical_address);
  v.write(field::vm_entry_interruption_information,
          v.read(field::vm_entry_interruption_information) & ~std::uint64_t{valid_bit});
}

exit_info read_exit(const vmcs& v) noexcept {
  const auto word = [&v](field f) { return static_cast<std::uint32_t>(v.read(f)); };
  exit_info exit;
  exit.reason = static_cast<exit_reason>(word(field::exit_reason) & 0xFFFF);
  exit.entry_failure = (word(field::exit_reason) & exit_reason_flag::entry_failure) != 0;
  exit.qualification = v.read(field::exit_qualification);
  exit.interruption_information = word(field::vm_exit_interruption_information);
  exit.interruption_error_code = word(field::vm_exit_interruption_error_code);
  exit.idt_vectoring_information = word(field::idt_vectoring_information);
  exit.idt_vectoring_error_code = word(field::idt_vectoring_error_code);
  exit.instruction_length = word(field::vm_exit_instruction_length);
  exit.guest_linear_address = v.read(field::guest_linear_address);
  exit.guest_physical_address = v.read(field::guest_physical_address);
  return exit;
}

}  // namespace vmxsys::vmx
