#pragma once
#include <vmxsys/vmx/exit.hpp>
#include <vmxsys/vmx/processor.hpp>

#include <cstdint>

namespace vmxsys::vmx {

/// VM-instruction error numbers, SDM Vol. 3C §33.4. 14, 21 and 27 are not used.
enum class instruction_error : std::uint8_t {
  none = 0,
  vmcall_in_root = 1,
  vmclear_invalid_address = 2,
  vmclear_vmxon_pointer = 3,
  vmlaunch_not_clear = 4,
  vmresume_not_launched = 5,
  vmresume_after_vmxoff = 6,
  entry_invalid_control_fields = 7,
  entry_invalid_host_state = 8,
  vmptrld_invalid_address = 9,
  vmptrld_vmxon_pointer = 10,
  vmptrld_wrong_revision = 11,
  unsupported_component = 12,
  vmwrite_read_only = 13,
  vmxon_in_root = 15,
  entry_invalid_executive_vmcs = 16,
  entry_executive_vmcs_not_launched = 17,
  entry_executive_vmcs_not_vmxon_pointer = 18,
  vmcall_vmcs_not_clear = 19,
  vmcall_invalid_exit_controls = 20,
  vmcall_wrong_mseg_revision = 22,
  vmxoff_dual_monitor = 23,
  vmcall_invalid_smm_features = 24,
  entry_invalid_executive_controls = 25,
  entry_blocked_by_mov_ss = 26,
  invalid_invalidation_operand = 28,
};

/// The manual's meaning of a number; nullptr for an unused one.
const char* describe_error(unsigned number) noexcept;

/// How a VMX instruction ends; SDM Vol. 3C §33.2.
enum class outcome_kind : std::uint8_t { succeed, fail_invalid, fail_valid, fault_ud, fault_gp, vm_exit };

/// `error` is set for fail_valid, `reason` for vm_exit. `value` is what VMREAD and VMPTRST deliver.
struct vmx_outcome {
  outcome_kind kind = outcome_kind::succeed;
  instruction_error error = instruction_error::none;
  exit_reason reason = exit_reason::vmcall;
  std::uint64_t value = 0;

  explicit operator bool() const noexcept { return kind == outcome_kind::succeed; }
};

/// RFLAGS after the instruction: the arithmetic flags say how it ended; faults and exits change nothing.
std::uint64_t flags_after(std::uint64_t rflags, outcome_kind kind) noexcept;

/// Everything the instructions work on. References: the object is a view, made once per logical processor.
struct vmx_unit {
  vmx_state& state;
  const capabilities& caps;
  physical_memory& memory;
  vmcs_store& store;
  std::uint32_t processor = 0;  ///< tells the store who activates
};

// The VMX instructions as pure rules, with the check order of SDM Vol. 3C §33.3. Operands are values: a memory operand
// has been read before the call (for VMPTRST and VMREAD the result is written after it), and operand faults are the
// caller's. In non-root operation each answers `vm_exit` with its reason (VMCS shadowing is not modelled here yet) and
// changes nothing. fail_valid has already written the VM-instruction error field of the current VMCS.

vmx_outcome vmxon(const vmx_unit& unit, const execution_mode& mode, physical_address region);
/// On success a latched INIT is due: the caller looks at (and clears) state.latched_init.
vmx_outcome vmxoff(const vmx_unit& unit, const execution_mode& mode);
vmx_outcome vmclear(const vmx_unit& unit, const execution_mode& mode, physical_address region);
vmx_outcome vmptrld(const vmx_unit& unit, const execution_mode& mode, physical_address region);
vmx_outcome vmptrst(const vmx_unit& unit, const execution_mode& mode);
/// `encoding` is the whole 64-bit register operand; bits above 31 make it unsupported.
vmx_outcome vmread(const vmx_unit& unit, const execution_mode& mode, std::uint64_t encoding);
vmx_outcome vmwrite(const vmx_unit& unit, const execution_mode& mode, std::uint64_t encoding, std::uint64_t value);
/// Exits from non-root operation before any other check, at every CPL and in every mode.
vmx_outcome vmcall(const vmx_unit& unit, const execution_mode& mode);

/// VMfail(n): VMfailValid with a current VMCS, VMfailInvalid without. SDM Vol. 3C §33.2.
vmx_outcome fail(vmx_state& state, instruction_error error) noexcept;

/// 4-KByte aligned and within the physical-address width, or below 4 GBytes where IA32_VMX_BASIC bit 48 says so.
bool region_address_ok(const capabilities& caps, physical_address region) noexcept;

}  // namespace vmxsys::vmx
