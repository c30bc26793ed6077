#include "instruction_error.hpp"

#include <iterator>

namespace vmxsys::vmx {

namespace {

using error = instruction_error;

constexpr const char* reference = "SDM Vol. 3C §33.3";
constexpr const char* entry_basics = "SDM Vol. 3C §29.1";
constexpr const char* entry_controls = "SDM Vol. 3C §29.2.1";
constexpr const char* entry_host_state = "SDM Vol. 3C §29.2.2";
constexpr const char* return_from_smm = "SDM Vol. 3C §34.15.4";
constexpr const char* activation = "SDM Vol. 3C §34.15.6";
constexpr const char* deactivation = "SDM Vol. 3C §34.15.7";

constexpr instruction_error_info table[] = {
    {error::vmcall_in_root, "vmcall_in_root", "VMCALL executed in VMX root operation", reference, true},
    {error::vmclear_invalid_address, "vmclear_invalid_address", "VMCLEAR with invalid physical address", reference,
     true},
    {error::vmclear_vmxon_pointer, "vmclear_vmxon_pointer", "VMCLEAR with VMXON pointer", reference, true},
    {error::vmlaunch_not_clear, "vmlaunch_not_clear", "VMLAUNCH with non-clear VMCS", entry_basics, true},
    {error::vmresume_not_launched, "vmresume_not_launched", "VMRESUME with non-launched VMCS", entry_basics, true},
    {error::vmresume_after_vmxoff, "vmresume_after_vmxoff", "VMRESUME after VMXOFF", "SDM Vol. 3C §33.4", true},
    {error::entry_invalid_control_fields, "entry_invalid_control_fields", "VM entry with invalid control field(s)",
     entry_controls, true},
    {error::entry_invalid_host_state, "entry_invalid_host_state", "VM entry with invalid host-state field(s)",
     entry_host_state, true},
    {error::vmptrld_invalid_address, "vmptrld_invalid_address", "VMPTRLD with invalid physical address", reference,
     true},
    {error::vmptrld_vmxon_pointer, "vmptrld_vmxon_pointer", "VMPTRLD with VMXON pointer", reference, true},
    {error::vmptrld_wrong_revision, "vmptrld_wrong_revision", "VMPTRLD with incorrect VMCS revision identifier",
     reference, true},
    {error::unsupported_component, "unsupported_component", "VMREAD or VMWRITE from/to unsupported VMCS component",
     reference, true},
    {error::vmwrite_read_only, "vmwrite_read_only", "VMWRITE to read-only VMCS component", reference, true},
    {error::vmxon_in_root, "vmxon_in_root", "VMXON executed in VMX root operation", reference, true},
    {error::entry_invalid_executive_vmcs, "entry_invalid_executive_vmcs",
     "VM entry with invalid executive-VMCS pointer", return_from_smm, false},
    {error::entry_executive_vmcs_not_launched, "entry_executive_vmcs_not_launched",
     "VM entry with non-launched executive VMCS", return_from_smm, false},
    {error::entry_executive_vmcs_not_vmxon_pointer, "entry_executive_vmcs_not_vmxon_pointer",
     "VM entry with executive-VMCS pointer that is not the VMXON pointer", return_from_smm, false},
    {error::vmcall_vmcs_not_clear, "vmcall_vmcs_not_clear", "VMCALL with non-clear VMCS", activation, false},
    {error::vmcall_invalid_exit_controls, "vmcall_invalid_exit_controls", "VMCALL with invalid VM-exit control fields",
     activation, false},
    {error::vmcall_wrong_mseg_revision, "vmcall_wrong_mseg_revision", "VMCALL with incorrect MSEG revision identifier",
     activation, false},
    {error::vmxoff_dual_monitor, "vmxoff_dual_monitor", "VMXOFF under dual-monitor treatment of SMIs and SMM",
     deactivation, false},
    {error::vmcall_invalid_smm_features, "vmcall_invalid_smm_features", "VMCALL with invalid SMM-monitor features",
     activation, false},
    {error::entry_invalid_executive_controls, "entry_invalid_executive_controls",
     "VM entry with invalid VM-execution control fields in executive VMCS", return_from_smm, false},
    {error::entry_blocked_by_mov_ss, "entry_blocked_by_mov_ss", "VM entry with events blocked by MOV SS", entry_basics,
     true},
    {error::invalid_invalidation_operand, "invalid_invalidation_operand", "Invalid operand to INVEPT/INVVPID",
     reference, true},
};

}  // namespace

const instruction_error_info* instruction_error_table() noexcept { return table; }
std::size_t instruction_error_table_size() noexcept { return std::size(table); }

const instruction_error_info* find_instruction_error(unsigned number) noexcept {
  for (const instruction_error_info& row : table)
    if (static_cast<unsigned>(row.error) == number) return &row;
  return nullptr;
}

const char* describe_error(unsigned number) noexcept {
  const instruction_error_info* row = find_instruction_error(number);
  return row != nullptr ? row->meaning : nullptr;
}

}  // namespace vmxsys::vmx
