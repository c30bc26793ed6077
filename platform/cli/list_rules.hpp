#pragma once
#include <vector>

#include <vmxsys/vmx/base/parameter.hpp>

// The rule tables of vmx/ as lists for `vmxsys list`: what the processor decides by, printed from the very rows.
namespace vmxsys::platform {

std::vector<choice> field_rows();              ///< every VMCS field: encoding, width, kind, when it exists
std::vector<choice> control_rows();            ///< every control bit by its word
std::vector<choice> capability_rows();         ///< processors whose IA32_VMX_* MSRs are known
std::vector<choice> instruction_rows();        ///< instructions a guest's processor treats apart
std::vector<choice> entry_check_rows();        ///< VM-entry checks in the order in which they are made
std::vector<choice> exit_reason_rows();        ///< basic exit reasons
std::vector<choice> boundary_event_rows();     ///< events at an instruction boundary, most urgent first
std::vector<choice> instruction_error_rows();  ///< VM-instruction errors
std::vector<choice> transition_step_rows();    ///< micro-steps of VM entries and exits

}  // namespace vmxsys::platform
