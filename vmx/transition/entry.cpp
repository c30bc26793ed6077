#include "entry.hpp"

#include <vmxsys/vmx/instructions/instruction_table.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/event.hpp>

#include "detail/entry_checks.hpp"

namespace vmxsys::vmx {

namespace {

using index_list = entry_check_group::index_list;

constexpr std::array<const entry_check_group*, entry_check_group_count> groups{
    &entry_checks::execution_controls, &entry_checks::exit_and_entry_controls, &entry_checks::host_state,
    &entry_checks::guest_registers,    &entry_checks::guest_segments,          &entry_checks::guest_non_register,
};

constexpr const char* msr_section = "SDM Vol. 3C §29.4";
constexpr const char* msr_check = "every entry of the VM-entry MSR-load list can be loaded";
constexpr field msr_reads[] = {field::vm_entry_msr_load_count, field::vm_entry_msr_load_address};

entry_outcome outcome_of(outcome_kind kind) {
  switch (kind) {
    case outcome_kind::succeed:
      return entry_outcome::enter;
    case outcome_kind::fail_invalid:
      return entry_outcome::fail_invalid;
    case outcome_kind::fail_valid:
      return entry_outcome::fail_valid;
    case outcome_kind::fault_ud:
      return entry_outcome::fault_ud;
    case outcome_kind::fault_gp:
    case outcome_kind::operand_fault:  // VMLAUNCH and VMRESUME have no operand
      return entry_outcome::fault_gp;
    case outcome_kind::vm_exit:
      return entry_outcome::vm_exit;
  }
  return entry_outcome::fault_ud;
}

// ---- running the checks on fields ----------------------------------------------------------------------------------

entry_result failure_of(const entry_check& check, const entry_context& context) {
  entry_result result;
  result.check = check.name;
  result.section = check.section;
  result.reads = check.reads;
  result.outcome = entry_outcome::fail_valid;
  switch (check.area) {
    case check_area::control:
      result.error = instruction_error::entry_invalid_control_fields;
      break;
    case check_area::host:
      result.error = instruction_error::entry_invalid_host_state;
      break;
    case check_area::address_space:
      result.error = context.options().address_space_size_is_control ? instruction_error::entry_invalid_control_fields
                                                                     : instruction_error::entry_invalid_host_state;
      break;
    case check_area::guest:
      result.outcome = entry_outcome::failed_entry;
      result.reason = exit_reason::entry_failure_guest_state;
      result.qualification = check.qualification == entry_checks::qualification_nmi
                                 ? context.options().sti_nmi_qualification
                                 : check.qualification;
      break;
  }
  return result;
}

// Rules made `once` look at one bit of a field that changes at every exit: RFLAGS.VM. It goes into the digest.
std::uint64_t digest_for(const vmcs& v, const entry_context& context) {
  constexpr std::uint64_t v86 = 8;
  return context.digest() ^ (v.any(field::guest_rflags, rflags_bits::vm) ? v86 : 0);
}

const entry_check* first_failure(const entry_check_group& group, const index_list& rows, const vmcs& v,
                                 const entry_context& context) {
  for (const std::uint8_t row : rows)
    if (!group.first[row].holds(v, context)) return group.first + row;
  return nullptr;
}

// What must be looked at although the VMCS is known to have passed. If something fails, the long way says what is
// first.
bool short_way_passes(const vmcs& v, const entry_context& context) {
  const bool injects = v.any(field::vm_entry_interruption_information, event_bits::valid);
  const bool ordinary = (v.read(field::guest_activity_state) | v.read(field::guest_interruptibility_state) |
                         v.read(field::guest_pending_debug_exceptions)) == 0;
  for (const entry_check_group* group : groups) {
    if (first_failure(*group, group->always, v, context) != nullptr) return false;
    if (injects && first_failure(*group, group->if_injecting, v, context) != nullptr) return false;
    if (!ordinary && first_failure(*group, group->if_not_ordinary, v, context) != nullptr) return false;
  }
  return true;
}

}  // namespace

const std::array<const entry_check_group*, entry_check_group_count>& entry_check_groups() noexcept { return groups; }

entry_result check_entry_basics(entry_instruction instruction, vmx_state& state, const execution_mode& mode,
                                std::vector<check_record>* log) {
  const bool launching = instruction == entry_instruction::vmlaunch;
  const vmx_outcome outcome = launching ? vmlaunch_basics(state, mode) : vmresume_basics(state, mode);
  if (outcome && log == nullptr) return {};
  entry_result result;
  for (const instruction_check& row : info_of(launching ? vmx_instruction::vmlaunch : vmx_instruction::vmresume)) {
    const bool passed = row.name != outcome.check;
    if (log != nullptr) log->push_back({row.name, row.section, passed, {}});
    if (passed) continue;
    result = {outcome_of(outcome.kind), outcome.error, outcome.reason, 0, row.name, row.section, {}};
    break;
  }
  return result;
}

entry_result check_entry_fields(vmcs& v, const entry_context& context, std::vector<check_record>* log) {
  const std::uint64_t digest = digest_for(v, context);
  if (log == nullptr && v.checks_hold(digest) && short_way_passes(v, context)) return {};
  for (const entry_check_group* group : groups) {
    for (const entry_check& check : *group) {
      const bool passed = check.holds(v, context);
      if (log != nullptr) log->push_back({check.name, check.section, passed, check.reads});
      if (!passed) return failure_of(check, context);
    }
  }
  v.note_checks_passed(digest);
  return {};
}

entry_result check_entry(entry_instruction instruction, vmx_state& state, const execution_mode& mode,
                         entry_context& context, std::vector<check_record>* log) {
  entry_result result = check_entry_basics(instruction, state, mode, log);
  if (!result) return result;
  context.set_long_mode(mode.long_mode);
  context.set_current_vmcs(state.current_vmcs);
  result = check_entry_fields(*state.current, context, log);
  if (result.outcome == entry_outcome::fail_valid) fail(state, result.error);
  return result;
}

entry_result check_entry_msrs(const msr_list_result& loaded, std::vector<check_record>* log) {
  const field_list reads{msr_reads, std::size(msr_reads)};
  if (log != nullptr) log->push_back({msr_check, msr_section, static_cast<bool>(loaded), reads});
  if (loaded) return {};
  return {entry_outcome::failed_entry,
          instruction_error::none,
          exit_reason::entry_failure_msr_loading,
          loaded.failed,
          name_of(loaded.fault),
          msr_section,
          reads};
}

void complete_entry(entry_instruction instruction, vmx_state& state) noexcept {
  if (instruction == entry_instruction::vmlaunch) state.current->set_launch(launch_state::launched);
  state.mode = operation::non_root;
}

exit_info failed_entry_exit(const entry_result& result) noexcept {
  exit_info exit;
  exit.reason = result.reason;
  exit.qualification = result.qualification;
  exit.entry_failure = true;
  return exit;
}

}  // namespace vmxsys::vmx
