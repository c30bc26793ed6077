#pragma once
#include <cstdint>

#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/processor.hpp>

#include "instruction_error.hpp"

namespace vmxsys::vmx {

/// How a VMX instruction ends; SDM Vol. 3C §33.2. `operand_fault`: the fault of the memory operand is recognised.
enum class outcome_kind : std::uint8_t {
  succeed,
  fail_invalid,
  fail_valid,
  fault_ud,
  fault_gp,
  vm_exit,
  operand_fault
};

/// What accessing an instruction's memory operand would raise. The caller knows (it has the page tables and the segment
/// limits); the rules decide whether it comes before or after what else is wrong. `vm_exit`: the access itself would
/// exit (EPT violation, APIC access, …), which can happen to VMREAD and VMWRITE of a guest.
enum class operand_fault : std::uint8_t {
  none,
  page_fault,
  general_protection,
  stack_segment,
  alignment_check,
  vm_exit
};

/// `error` is set for fail_valid, `reason` for vm_exit, `fault` for operand_fault. `value` is what VMREAD and VMPTRST
/// deliver. `check` names the row of `vmx_instruction_table` that decided; nullptr on success.
struct vmx_outcome {
  outcome_kind kind = outcome_kind::succeed;
  instruction_error error = instruction_error::none;
  exit_reason reason = exit_reason::vmcall;
  std::uint64_t value = 0;
  operand_fault fault = operand_fault::none;
  const char* check = nullptr;

  explicit operator bool() const noexcept { return kind == outcome_kind::succeed; }
};

/// RFLAGS after the instruction: the arithmetic flags say how it ended; faults and exits change nothing.
std::uint64_t flags_after(std::uint64_t rflags, outcome_kind kind) noexcept;

/// What the manual leaves open about the VMX instructions.
struct instruction_choices {
  /// Error 6 has a number and a name (SDM Vol. 3C §33.4) but no place in the description of VMRESUME. Our reading: a
  /// VMCS that was launched, was active on this logical processor when that executed VMXOFF, and has not been VMCLEARed
  /// since, cannot be resumed. Off: VMRESUME forgets about the VMXOFF.
  bool vmxoff_voids_launches = true;
  /// INVEPT, INVVPID: the descriptor is read, and its faults are recognised, before the type in the register is looked
  /// at (as an emulator does it). Off: after it, which is the order in the instruction's description.
  bool descriptor_before_type = false;
  /// INVEPT: bits 127:64 of the descriptor, which "must be 0", are checked. Off: ignored, as no check is described.
  bool invept_checks_reserved_bits = false;
};

/// Everything the instructions work on. References: the object is a view, made once per logical processor.
struct vmx_unit {
  vmx_state& state;
  const capabilities& caps;
  physical_memory& memory;
  vmcs_store& store;
  std::uint32_t processor = 0;  ///< tells the store who activates
  instruction_choices choices{};
};

// The VMX instructions as pure rules. Each runs down its rows of `vmx_instruction_table` (instruction_table.hpp), in
// the check order of SDM Vol. 3C §33.3; the first that does not hold decides. Operands are values: a memory operand has
// been read before the call (for VMPTRST and VMREAD the result is written after it); where that access would fault,
// pass the fault and any value. An outcome other than `succeed` has changed nothing, but that fail_valid has written
// the VM-instruction error field of the current VMCS. A register operand where a memory operand is required is an
// invalid opcode, the decoder's affair. In non-root operation state.current is the VMCS that was entered with.
//
// INVEPT and INVVPID are in invalidation.hpp, VMFUNC in vm_function.hpp, VM entry in entry.hpp.

/// On success the processor is in root operation without a current VMCS, INIT and A20M are blocked; the caller clears
/// address-range monitoring (processor_state::monitor_armed).
vmx_outcome vmxon(const vmx_unit& unit, const execution_mode& mode, physical_address region,
                  operand_fault fault = operand_fault::none);
/// On success a latched INIT is due: the caller looks at (and clears) state.latched_init, and clears address-range
/// monitoring. The VMCSs that were active stay in the store.
vmx_outcome vmxoff(const vmx_unit& unit, const execution_mode& mode);
/// The revision identifier is not looked at.
vmx_outcome vmclear(const vmx_unit& unit, const execution_mode& mode, physical_address region,
                    operand_fault fault = operand_fault::none);
vmx_outcome vmptrld(const vmx_unit& unit, const execution_mode& mode, physical_address region,
                    operand_fault fault = operand_fault::none);
vmx_outcome vmptrst(const vmx_unit& unit, const execution_mode& mode, operand_fault fault = operand_fault::none);

/// `encoding` is the whole register operand: 64 bits in 64-bit mode, where bits above 31 make it unsupported, and its
/// low 32 bits elsewhere. `value` of the outcome is the field, zero-extended; its low half outside 64-bit mode. With a
/// memory destination the fault of the store comes last, after the checks of the field.
///
/// In non-root operation: with "VMCS shadowing", bits 63:15 of the encoding clear and the bit of the VMREAD bitmap
/// clear, reads the VMCS the link pointer names (SDM Vol. 3C §27.10), otherwise exits. That shadow VMCS is found in the
/// store if it is active there, else in its region in memory; failures are recorded in the current VMCS, not in it.
vmx_outcome vmread(const vmx_unit& unit, const execution_mode& mode, std::uint64_t encoding,
                   operand_fault destination = operand_fault::none);

/// As VMREAD, with the VMWRITE bitmap. A memory source is read as soon as it is known which VMCS is meant: its fault
/// comes before the checks of the field. Outside 64-bit mode `value` has 32 bits, and bits 63:32 of a wider field
/// become 0. VM-exit information fields are read-only unless IA32_VMX_MISC bit 29 says otherwise, in a shadow VMCS too.
vmx_outcome vmwrite(const vmx_unit& unit, const execution_mode& mode, std::uint64_t encoding, std::uint64_t value,
                    operand_fault source = operand_fault::none);

/// Exits from non-root operation before any other check, at every CPL and in every mode.
vmx_outcome vmcall(const vmx_unit& unit, const execution_mode& mode);

/// The checks of VMLAUNCH and VMRESUME that come before any field of the VMCS, in the strict order of SDM Vol. 3C
/// §29.1. `succeed`: go on with the control fields.
vmx_outcome vmlaunch_basics(vmx_state& state, const execution_mode& mode);
vmx_outcome vmresume_basics(vmx_state& state, const execution_mode& mode);

/// VMfail(n): VMfailValid with a current VMCS, VMfailInvalid without. SDM Vol. 3C §33.2.
vmx_outcome fail(vmx_state& state, instruction_error error) noexcept;

/// 4-KByte aligned and within the physical-address width, or below 4 GBytes where IA32_VMX_BASIC bit 48 says so.
bool region_address_ok(const capabilities& caps, physical_address region) noexcept;

}  // namespace vmxsys::vmx
