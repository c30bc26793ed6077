#pragma once
#include <cstddef>
#include <cstdint>

#include "instruction.hpp"

namespace vmxsys::vmx {

enum class vmx_instruction : std::uint8_t {
  invept,
  invvpid,
  vmcall,
  vmclear,
  vmfunc,
  vmlaunch,
  vmptrld,
  vmptrst,
  vmread,
  vmresume,
  vmwrite,
  vmxoff,
  vmxon
};

/// One execution of an instruction, as its checks see it.
struct instruction_call {
  vmx_state& state;
  const execution_mode& mode;
  const vmx_unit* unit = nullptr;  ///< nullptr only for VMLAUNCH and VMRESUME, whose rows do not look at it
  /// The region address; VMREAD, VMWRITE: the encoding; INVEPT, INVVPID: the type; VMFUNC: EAX.
  std::uint64_t operand = 0;
  /// VMWRITE: the value; INVEPT, INVVPID: bits 63:0 of the descriptor; VMFUNC: ECX.
  std::uint64_t operand_2 = 0;
  std::uint64_t operand_3 = 0;  ///< INVEPT, INVVPID: bits 127:64 of the descriptor
  operand_fault fault = operand_fault::none;
};

/// One check: what must hold, and what happens when it does not. `fail_valid` is VMfail(error), that is, VMfailInvalid
/// without a current VMCS.
struct instruction_check {
  const char* name;  ///< unique within the instruction
  const char* section;
  outcome_kind failure;
  instruction_error error;  ///< of fail_valid
  bool (*holds)(const instruction_call& call);
};

/// The checks of one instruction, in the order in which they are made. The instructions run from these rows.
struct vmx_instruction_info {
  vmx_instruction instruction;
  const char* mnemonic;
  exit_reason reason;  ///< of its VM exits
  const instruction_check* checks;
  std::size_t check_count;

  const instruction_check* begin() const noexcept { return checks; }
  const instruction_check* end() const noexcept { return checks + check_count; }
};

/// Every VMX instruction, in the order of `vmx_instruction`. Contiguous; `vmx_instruction_table_size` rows. Of VMLAUNCH
/// and VMRESUME these are the checks of SDM Vol. 3C §29.1; those of the fields are in `entry_check_groups`.
const vmx_instruction_info* vmx_instruction_table() noexcept;
std::size_t vmx_instruction_table_size() noexcept;
const vmx_instruction_info& info_of(vmx_instruction instruction) noexcept;

/// The first check that does not hold; nullptr when all do. Changes nothing: for explaining what would happen.
const instruction_check* first_failing_check(const vmx_instruction_info& info, const instruction_call& call);

}  // namespace vmxsys::vmx
