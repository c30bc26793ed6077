#pragma once
#include <cstddef>
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

/// One number. `reachable` is false for the numbers that only the dual-monitor treatment of SMIs and SMM can give
/// (SDM Vol. 3C §34.15): that treatment is not modelled, so no rule here ends with them.
struct instruction_error_info {
  instruction_error error;
  const char* name;     ///< spelled as the enumerator
  const char* meaning;  ///< as the manual says it
  const char* section;  ///< where the manual says when it happens
  bool reachable;
};

/// Ordered by number, without `none`. Contiguous; `instruction_error_table_size` rows.
const instruction_error_info* instruction_error_table() noexcept;
std::size_t instruction_error_table_size() noexcept;

/// The row of a number; nullptr for an unused one.
const instruction_error_info* find_instruction_error(unsigned number) noexcept;

/// The manual's meaning of a number; nullptr for an unused one.
const char* describe_error(unsigned number) noexcept;

}  // namespace vmxsys::vmx
