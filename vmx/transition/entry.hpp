#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <vmxsys/vmx/instructions/instruction.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>

#include "entry_context.hpp"
#include "msr_list.hpp"

namespace vmxsys::vmx {

enum class entry_instruction : std::uint8_t { vmlaunch, vmresume };

/// How an attempt to enter ends. `enter`: all checks pass. `failed_entry`: host state is loaded as by a VM exit with
/// the entry-failure bit (SDM Vol. 3C §29.8). The others end the instruction as in `outcome_kind`.
enum class entry_outcome : std::uint8_t { enter, failed_entry, fail_invalid, fail_valid, fault_ud, fault_gp, vm_exit };

/// A constant list of fields.
struct field_list {
  const field* first = nullptr;
  std::size_t count = 0;

  constexpr const field* begin() const noexcept { return first; }
  constexpr const field* end() const noexcept { return first + count; }
};

/// A check that was made, for teaching, for messages and for tests. `reads`: the fields of the VMCS it looks at.
struct check_record {
  const char* check = nullptr;
  const char* section = nullptr;
  bool passed = true;
  field_list reads{};
};

/// The first check that fails decides; `check` is its name and `section` its place in the SDM, both nullptr when
/// nothing fails. `qualification` belongs to failed_entry, `error` to fail_valid, `reason` to failed_entry and vm_exit.
struct entry_result {
  entry_outcome outcome = entry_outcome::enter;
  instruction_error error = instruction_error::none;
  exit_reason reason = exit_reason::entry_failure_guest_state;
  std::uint64_t qualification = 0;
  const char* check = nullptr;
  const char* section = nullptr;
  field_list reads{};

  explicit operator bool() const noexcept { return outcome == entry_outcome::enter; }
};

/// What kind of failure a check reports: controls VMfailValid(7), host VMfailValid(8), guest VM exit 33.
/// `address_space` is host state of which sources disagree whether 7 or 8 is reported
/// (`entry_options::address_space_size_is_control`).
enum class check_area : std::uint8_t { control, host, address_space, guest };

/// When a check is made although the VMCS is known to have passed (`vmcs::checks_hold`).
enum class check_when : std::uint8_t {
  once,             ///< not before a field it reads has been changed
  always,           ///< at every entry: it reads memory, or fields that change at nearly every exit
  if_injecting,     ///< as `always`, but it can fail only if the injected event is valid
  if_not_ordinary,  ///< as `always`, but it can fail only if activity, interruptibility or pending debug exceptions is
                    ///< not 0
};

/// One rule of SDM Vol. 3C §29.2 or §29.3. `reads` lists all fields it looks at; of RFLAGS, rows made `once` look at VM
/// only.
struct entry_check {
  const char* name;
  const char* section;
  check_area area;
  check_when when;
  std::uint64_t qualification;  ///< of the failed entry (guest area)
  field_list reads;
  bool (*holds)(const vmcs& v, const entry_context& context);
};

/// Consecutive rules, and which of them are made although the VMCS is known to have passed.
struct entry_check_group {
  const char* name;
  const entry_check* first;
  std::size_t count;
  struct index_list {
    const std::uint8_t* first;
    std::size_t count;
    constexpr const std::uint8_t* begin() const noexcept { return first; }
    constexpr const std::uint8_t* end() const noexcept { return first + count; }
  };
  index_list always, if_injecting, if_not_ordinary;

  constexpr const entry_check* begin() const noexcept { return first; }
  constexpr const entry_check* end() const noexcept { return first + count; }
};

inline constexpr std::size_t entry_check_group_count = 6;

/// All field checks in the order they are made: controls, host, guest.
const std::array<const entry_check_group*, entry_check_group_count>& entry_check_groups() noexcept;

/// SDM Vol. 3C §29.1, in its strict order: the rows of VMLAUNCH or VMRESUME in `vmx_instruction_table`. Changes nothing
/// but the VM-instruction error on fail_valid.
entry_result check_entry_basics(entry_instruction instruction, vmx_state& state, const execution_mode& mode,
                                std::vector<check_record>* log = nullptr);

/// SDM Vol. 3C §29.2 and §29.3. Skips what is known to hold; when all passes, notes that in the VMCS. With a log every
/// check is made and recorded up to the first failure. Does not write the VM-instruction error.
entry_result check_entry_fields(vmcs& v, const entry_context& context, std::vector<check_record>* log = nullptr);

/// Both. fail_valid has written the VM-instruction error field; for failed_entry the caller records the exit
/// (`failed_entry_exit`) and loads the host state. On `enter` nothing has been loaded or changed yet: the caller loads
/// guest state and the VM-entry MSR-load list (guest_state.hpp, msr_list.hpp), hands the outcome of the latter to
/// `check_entry_msrs`, and goes on with `complete_entry` and with what after_entry.hpp says.
entry_result check_entry(entry_instruction instruction, vmx_state& state, const execution_mode& mode,
                         entry_context& context, std::vector<check_record>* log = nullptr);

/// Step 4 of SDM Vol. 3C §29, `load_guest_msrs`, as a result of the same kind, so that one log tells the whole entry.
entry_result check_entry_msrs(const msr_list_result& loaded, std::vector<check_record>* log = nullptr);

/// Step 5 of SDM Vol. 3C §29, and the switch to non-root operation. Precondition: check_entry said `enter` and guest
/// state and MSRs have been loaded.
void complete_entry(entry_instruction instruction, vmx_state& state) noexcept;

/// The exit information of a failed entry. SDM Vol. 3C §29.8.
exit_info failed_entry_exit(const entry_result& result) noexcept;

/// One line: how the entry ended, the check that decided, its place in the manual, and the fields it looked at with
/// their values. `v` may be nullptr where there is no current VMCS.
std::string explain(const entry_result& result, const vmcs* v);
/// One line of a teaching view: passed or failed, name, section, fields with their values.
std::string explain(const check_record& record, const vmcs* v);

}  // namespace vmxsys::vmx
