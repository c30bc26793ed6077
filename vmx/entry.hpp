#pragma once
#include <vmxsys/vmx/capability.hpp>
#include <vmxsys/vmx/exit.hpp>
#include <vmxsys/vmx/instruction.hpp>
#include <vmxsys/vmx/processor.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vmxsys::vmx {

enum class entry_instruction : std::uint8_t { vmlaunch, vmresume };

/// How an attempt to enter ends. `enter`: all checks pass. `failed_entry`: host state is loaded as by a VM exit with
/// the entry-failure bit (SDM Vol. 3C §29.8). The others end the instruction as in `outcome_kind`.
enum class entry_outcome : std::uint8_t { enter, failed_entry, fail_invalid, fail_valid, fault_ud, fault_gp, vm_exit };

/// The first check that fails decides; `check` is its name and `section` its place in the SDM, both nullptr when
/// nothing fails. `qualification` belongs to failed_entry, `error` to fail_valid, `reason` to failed_entry and vm_exit.
struct entry_result {
  entry_outcome outcome = entry_outcome::enter;
  instruction_error error = instruction_error::none;
  exit_reason reason = exit_reason::entry_failure_guest_state;
  std::uint64_t qualification = 0;
  const char* check = nullptr;
  const char* section = nullptr;

  explicit operator bool() const noexcept { return outcome == entry_outcome::enter; }
};

/// A check that was made, for teaching and for tests.
struct check_record {
  const char* check;
  const char* section;
  bool passed;
};

/// What the checks look at besides the VMCS. Make one per logical processor and keep it: the constructor digests the
/// capabilities, which must not change afterwards.
class entry_context {
 public:
  entry_context(const capabilities& caps, const physical_memory& memory) noexcept
      : caps_{&caps}, memory_{&memory}, digest_{digest_of(caps)} {}

  const capabilities& caps() const noexcept { return *caps_; }
  const physical_memory& memory() const noexcept { return *memory_; }

  /// IA32_EFER.LMA of the host now.
  bool long_mode() const noexcept { return long_mode_; }
  void set_long_mode(bool on) noexcept { long_mode_ = on; }
  /// The address of the VMCS being checked; its own link pointer must not name it.
  physical_address current_vmcs() const noexcept { return current_vmcs_; }
  void set_current_vmcs(physical_address at) noexcept { current_vmcs_ = at; }

  /// Equal digests: a check that depends only on the VMCS and on this context comes out the same.
  std::uint64_t digest() const noexcept { return digest_ ^ (long_mode_ ? 1u : 0u); }

 private:
  const capabilities* caps_;
  const physical_memory* memory_;
  std::uint64_t digest_;
  physical_address current_vmcs_ = no_vmcs;
  bool long_mode_ = true;
};

/// The area of the VMCS a check belongs to; it decides how its failure is reported.
enum class check_area : std::uint8_t { control, host, guest };

/// One rule of SDM Vol. 3C §29.2 or §29.3. `always`: made at every entry, because it depends on memory or on fields
/// that change at nearly every exit; the others are skipped while `vmcs::checks_hold`.
struct entry_check {
  const char* name;
  const char* section;
  check_area area;
  bool always;
  std::uint64_t qualification;  ///< of the failed entry (guest area)
  bool (*holds)(const vmcs& v, const entry_context& context);
};

/// All field checks in the order they are made: controls, host, guest. Contiguous; `entry_check_table_size` rows.
const entry_check* entry_check_table() noexcept;
std::size_t entry_check_table_size() noexcept;

/// SDM Vol. 3C §29.1, in its strict order. Changes nothing but the VM-instruction error on fail_valid.
entry_result check_entry_basics(entry_instruction instruction, vmx_state& state, const execution_mode& mode,
                                std::vector<check_record>* log = nullptr);

/// SDM Vol. 3C §29.2 and §29.3. Skips what is known to hold; when all passes, notes that in the VMCS. With a log every
/// check is made and recorded up to the first failure. Does not write the VM-instruction error.
entry_result check_entry_fields(vmcs& v, const entry_context& context, std::vector<check_record>* log = nullptr);

/// Both. fail_valid has written the VM-instruction error field; for failed_entry the caller records the exit
/// (`failed_entry_exit`) and loads the host state. On `enter` nothing has been loaded or changed yet.
entry_result check_entry(entry_instruction instruction, vmx_state& state, const execution_mode& mode,
                         entry_context& context, std::vector<check_record>* log = nullptr);

/// Step 5 of SDM Vol. 3C §29, and the switch to non-root operation. Precondition: check_entry said `enter` and guest
/// state and MSRs have been loaded.
void complete_entry(entry_instruction instruction, vmx_state& state) noexcept;

/// The exit information of a failed entry. SDM Vol. 3C §29.8.
exit_info failed_entry_exit(const entry_result& result) noexcept;

}  // namespace vmxsys::vmx
