#pragma once
#include <cstddef>
#include <iterator>
#include <utility>

#include <vmxsys/vmx/instructions/instruction_table.hpp>

// Internal to the instructions of this room: rows that several of them share, and the loop over rows.
namespace vmxsys::vmx::detail {

inline constexpr const char* instruction_reference = "SDM Vol. 3C §33.3";
inline constexpr const char* instruction_priority = "SDM Vol. 3C §28.1.1";

using check_function = bool (*)(const instruction_call&);

constexpr instruction_check ud_unless(const char* name, check_function holds,
                                      const char* section = instruction_reference) {
  return {name, section, outcome_kind::fault_ud, instruction_error::none, holds};
}
constexpr instruction_check gp_unless(const char* name, check_function holds,
                                      const char* section = instruction_reference) {
  return {name, section, outcome_kind::fault_gp, instruction_error::none, holds};
}
constexpr instruction_check exit_unless(const char* name, check_function holds,
                                        const char* section = instruction_reference) {
  return {name, section, outcome_kind::vm_exit, instruction_error::none, holds};
}
constexpr instruction_check invalid_unless(const char* name, check_function holds,
                                           const char* section = instruction_reference) {
  return {name, section, outcome_kind::fail_invalid, instruction_error::none, holds};
}
constexpr instruction_check fail_unless(instruction_error error, const char* name, check_function holds,
                                        const char* section = instruction_reference) {
  return {name, section, outcome_kind::fail_valid, error, holds};
}

inline constexpr instruction_check in_vmx_operation =
    ud_unless("in VMX operation", [](const instruction_call& c) { return c.state.mode != operation::off; });
inline constexpr instruction_check protected_mode =
    ud_unless("CR0.PE is 1", [](const instruction_call& c) { return (c.mode.cr0 & 1) != 0; });
inline constexpr instruction_check not_virtual_8086 =
    ud_unless("not in virtual-8086 mode", [](const instruction_call& c) { return !c.mode.virtual_8086; });
inline constexpr instruction_check not_compatibility =
    ud_unless("not in compatibility mode", [](const instruction_call& c) { return !c.mode.compatibility(); });
/// Even at CPL 3.
inline constexpr instruction_check outside_the_guest = exit_unless(
    "not in non-root operation", [](const instruction_call& c) { return c.state.mode != operation::non_root; },
    instruction_priority);
inline constexpr instruction_check cpl_0 =
    gp_unless("CPL is 0", [](const instruction_call& c) { return c.mode.cpl == 0; });
inline constexpr instruction_check operand_accessible = {
    "the memory operand can be accessed", instruction_reference, outcome_kind::operand_fault, instruction_error::none,
    [](const instruction_call& c) { return c.fault == operand_fault::none; }};

constexpr bool aligned_to_page(std::uint64_t address) noexcept { return (address & 0xFFF) == 0; }
/// IA32_VMX_BASIC bit 48 limits regions to 32-bit addresses.
constexpr bool in_region_width(const capabilities& caps, std::uint64_t address) noexcept {
  return address >> ((caps.basic >> 48 & 1) != 0 ? 32 : caps.physical_address_width) == 0;
}

template <const auto& Rows, std::size_t... I>
const instruction_check* first_failure(const instruction_call& call, std::index_sequence<I...>) {
  const instruction_check* failed = nullptr;
  static_cast<void>(((Rows[I].holds(call) || (failed = &Rows[I], false)) && ...));
  return failed;
}

/// The first row that does not hold. The table is a constant, so the compiler makes straight code of it.
template <const auto& Rows>
const instruction_check* first_failure(const instruction_call& call) {
  return first_failure<Rows>(call, std::make_index_sequence<std::size(Rows)>{});
}

/// How an instruction ends that failed this check.
vmx_outcome end_with(const instruction_check& failed, const instruction_call& call, exit_reason reason) noexcept;

// The rows themselves are where their instructions are.
extern const vmx_instruction_info invept_info, invvpid_info, vmcall_info, vmclear_info, vmfunc_info, vmlaunch_info,
    vmptrld_info, vmptrst_info, vmread_info, vmresume_info, vmwrite_info, vmxoff_info, vmxon_info;

}  // namespace vmxsys::vmx::detail
