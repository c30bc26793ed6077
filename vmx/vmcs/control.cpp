#include "control.hpp"

#include <iterator>

namespace vmxsys::vmx {

namespace {
constexpr control_info table[] = {
    {control_word::pin, 0, "external-interrupt exiting", false},
    {control_word::pin, 3, "NMI exiting", false},
    {control_word::pin, 5, "virtual NMIs", false},
    {control_word::pin, 6, "activate VMX-preemption timer", false},
    {control_word::pin, 7, "process posted interrupts", false},
    {control_word::primary, 2, "interrupt-window exiting", false},
    {control_word::primary, 3, "use TSC offsetting", false},
    {control_word::primary, 7, "HLT exiting", false},
    {control_word::primary, 9, "INVLPG exiting", false},
    {control_word::primary, 10, "MWAIT exiting", false},
    {control_word::primary, 11, "RDPMC exiting", false},
    {control_word::primary, 12, "RDTSC exiting", false},
    {control_word::primary, 15, "CR3-load exiting", true},
    {control_word::primary, 16, "CR3-store exiting", true},
    {control_word::primary, 17, "activate tertiary controls", false},
    {control_word::primary, 19, "CR8-load exiting", false},
    {control_word::primary, 20, "CR8-store exiting", false},
    {control_word::primary, 21, "use TPR shadow", false},
    {control_word::primary, 22, "NMI-window exiting", false},
    {control_word::primary, 23, "MOV-DR exiting", false},
    {control_word::primary, 24, "unconditional I/O exiting", false},
    {control_word::primary, 25, "use I/O bitmaps", false},
    {control_word::primary, 27, "monitor trap flag", false},
    {control_word::primary, 28, "use MSR bitmaps", false},
    {control_word::primary, 29, "MONITOR exiting", false},
    {control_word::primary, 30, "PAUSE exiting", false},
    {control_word::primary, 31, "activate secondary controls", false},
    {control_word::secondary, 0, "virtualize APIC accesses", false},
    {control_word::secondary, 1, "enable EPT", false},
    {control_word::secondary, 2, "descriptor-table exiting", false},
    {control_word::secondary, 3, "enable RDTSCP", false},
    {control_word::secondary, 4, "virtualize x2APIC mode", false},
    {control_word::secondary, 5, "enable VPID", false},
    {control_word::secondary, 6, "WBINVD exiting", false},
    {control_word::secondary, 7, "unrestricted guest", false},
    {control_word::secondary, 8, "APIC-register virtualization", false},
    {control_word::secondary, 9, "virtual-interrupt delivery", false},
    {control_word::secondary, 10, "PAUSE-loop exiting", false},
    {control_word::secondary, 11, "RDRAND exiting", false},
    {control_word::secondary, 12, "enable INVPCID", false},
    {control_word::secondary, 13, "enable VM functions", false},
    {control_word::secondary, 14, "VMCS shadowing", false},
    {control_word::secondary, 15, "enable ENCLS exiting", false},
    {control_word::secondary, 16, "RDSEED exiting", false},
    {control_word::secondary, 17, "enable PML", false},
    {control_word::secondary, 18, "EPT-violation #VE", false},
    {control_word::secondary, 19, "conceal VMX from PT", false},
    {control_word::secondary, 20, "enable XSAVES/XRSTORS", false},
    {control_word::secondary, 21, "PASID translation", false},
    {control_word::secondary, 22, "mode-based execute control for EPT", false},
    {control_word::secondary, 23, "sub-page write permissions for EPT", false},
    {control_word::secondary, 24, "Intel PT uses guest-physical addresses", false},
    {control_word::secondary, 25, "use TSC scaling", false},
    {control_word::secondary, 26, "enable user wait and pause", false},
    {control_word::secondary, 27, "enable PCONFIG", false},
    {control_word::secondary, 28, "enable ENCLV exiting", false},
    {control_word::secondary, 30, "VMM bus-lock detection", false},
    {control_word::secondary, 31, "instruction timeout", false},
    {control_word::tertiary, 0, "LOADIWKEY exiting", false},
    {control_word::tertiary, 1, "enable HLAT", false},
    {control_word::tertiary, 2, "EPT paging-write control", false},
    {control_word::tertiary, 3, "guest-paging verification", false},
    {control_word::tertiary, 4, "IPI virtualization", false},
    {control_word::tertiary, 5, "SEAM guest-physical address width", false},
    {control_word::tertiary, 6, "enable MSR-list instructions", false},
    {control_word::tertiary, 7, "virtualize IA32_SPEC_CTRL", false},
    {control_word::tertiary, 8, "APIC-timer virtualization", false},
    {control_word::tertiary, 9, "enable PBNDKB", false},
    {control_word::tertiary, 12, "PEBS uses guest-physical addresses", false},
    {control_word::vm_exit, 2, "save debug controls", true},
    {control_word::vm_exit, 9, "host address-space size", false},
    {control_word::vm_exit, 12, "load IA32_PERF_GLOBAL_CTRL", false},
    {control_word::vm_exit, 15, "acknowledge interrupt on exit", false},
    {control_word::vm_exit, 18, "save IA32_PAT", false},
    {control_word::vm_exit, 19, "load IA32_PAT", false},
    {control_word::vm_exit, 20, "save IA32_EFER", false},
    {control_word::vm_exit, 21, "load IA32_EFER", false},
    {control_word::vm_exit, 22, "save VMX-preemption timer value", false},
    {control_word::vm_exit, 23, "clear IA32_BNDCFGS", false},
    {control_word::vm_exit, 24, "conceal VMX from PT", false},
    {control_word::vm_exit, 25, "clear IA32_RTIT_CTL", false},
    {control_word::vm_exit, 26, "clear IA32_LBR_CTL", false},
    {control_word::vm_exit, 27, "clear UINV", false},
    {control_word::vm_exit, 28, "load CET state", false},
    {control_word::vm_exit, 29, "load PKRS", false},
    {control_word::vm_exit, 30, "save IA32_PERF_GLOBAL_CTRL", false},
    {control_word::vm_exit, 31, "activate secondary controls", false},
    {control_word::vm_exit_2, 0, "save FRED", false},
    {control_word::vm_exit_2, 1, "load FRED", false},
    {control_word::vm_exit_2, 2, "load IA32_SPEC_CTRL", false},
    {control_word::vm_exit_2, 3, "prematurely busy shadow stack", false},
    {control_word::vm_entry, 2, "load debug controls", true},
    {control_word::vm_entry, 9, "IA-32e mode guest", false},
    {control_word::vm_entry, 10, "entry to SMM", false},
    {control_word::vm_entry, 11, "deactivate dual-monitor treatment", false},
    {control_word::vm_entry, 13, "load IA32_PERF_GLOBAL_CTRL", false},
    {control_word::vm_entry, 14, "load IA32_PAT", false},
    {control_word::vm_entry, 15, "load IA32_EFER", false},
    {control_word::vm_entry, 16, "load IA32_BNDCFGS", false},
    {control_word::vm_entry, 17, "conceal VMX from PT", false},
    {control_word::vm_entry, 18, "load IA32_RTIT_CTL", false},
    {control_word::vm_entry, 19, "load UINV", false},
    {control_word::vm_entry, 20, "load CET state", false},
    {control_word::vm_entry, 21, "load guest IA32_LBR_CTL", false},
    {control_word::vm_entry, 22, "load PKRS", false},
    {control_word::vm_entry, 23, "load FRED", false},
    {control_word::vm_entry, 24, "load IA32_SPEC_CTRL", false},
    {control_word::vm_entry, 25, "allow SEAM-guest telemetry", false},
    {control_word::vm_function, 0, "EPTP switching", false},
};
}  // namespace

const control_info* control_table() noexcept { return table; }
std::size_t control_table_size() noexcept { return std::size(table); }

const control_info* find_control(control_word word, unsigned bit) noexcept {
  for (const control_info& row : table)
    if (row.word == word && row.bit == bit) return &row;
  return nullptr;
}

const control_info* find_control(control_word word, std::string_view name) noexcept {
  for (const control_info& row : table)
    if (row.word == word && name == row.name) return &row;
  return nullptr;
}

const char* name_of(control_word word) noexcept {
  switch (word) {
    case control_word::none:
      return "none";
    case control_word::pin:
      return "pin-based";
    case control_word::primary:
      return "primary processor-based";
    case control_word::secondary:
      return "secondary processor-based";
    case control_word::tertiary:
      return "tertiary processor-based";
    case control_word::vm_exit:
      return "primary VM-exit";
    case control_word::vm_exit_2:
      return "secondary VM-exit";
    case control_word::vm_entry:
      return "VM-entry";
    case control_word::vm_function:
      return "VM-function";
  }
  return "?";
}

}  // namespace vmxsys::vmx
