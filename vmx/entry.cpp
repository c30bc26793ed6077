#include <vmxsys/vmx/control.hpp>
#include <vmxsys/vmx/entry.hpp>
#include <vmxsys/vmx/entry_checks.hpp>
#include <vmxsys/vmx/event.hpp>

namespace vmxsys::vmx {

namespace {

using index_list = entry_check_group::index_list;

constexpr std::array<const entry_check_group*, entry_check_group_count> groups{
    &entry_checks::execution_controls, &entry_checks::exit_and_entry_controls, &entry_checks::host_state,
    &entry_checks::guest_registers,    &entry_checks::guest_segments,          &entry_checks::guest_non_register,
};

// ---- SDM Vol. 3C §29.1 ---------------------------------------------------------------------------------------------

constexpr const char* basic_section = "SDM Vol. 3C §29.1";
constexpr const char* msr_section = "SDM Vol. 3C §29.4";
constexpr const char* msr_check = "VM-entry MSR-load list: every entry can be loaded";

using I = entry_instruction;
using S = const vmx_state&;
using M = const execution_mode&;

constexpr auto no_error = instruction_error::none;

constexpr std::array<entry_basic_check, entry_basic_check_count> basic_checks{{
    {"in VMX operation, in a mode that has VMX instructions", entry_outcome::fault_ud, no_error,
     [](I, S state, M mode) {
       const bool wrong_mode = (mode.cr0 & 1) == 0 || mode.virtual_8086 || (mode.long_mode && !mode.code_64_bit);
       return state.mode != operation::off && !wrong_mode;
     }},
    {"in root operation", entry_outcome::vm_exit, no_error,
     [](I, S state, M) { return state.mode != operation::non_root; }},
    {"CPL is 0", entry_outcome::fault_gp, no_error, [](I, S, M mode) { return mode.cpl == 0; }},
    {"there is a current VMCS", entry_outcome::fail_invalid, no_error,
     [](I, S state, M) { return state.current != nullptr; }},
    {"the current VMCS is not a shadow VMCS", entry_outcome::fail_invalid, no_error,
     [](I, S state, M) { return !state.current->is_shadow(); }},
    {"events are not blocked by MOV SS", entry_outcome::fail_valid, instruction_error::entry_blocked_by_mov_ss,
     [](I, S, M mode) { return !mode.mov_ss_blocking; }},
    {"VMLAUNCH: the VMCS is clear", entry_outcome::fail_valid, instruction_error::vmlaunch_not_clear,
     [](I i, S state, M) { return i != I::vmlaunch || state.current->launch() == launch_state::clear; }},
    {"VMRESUME: the VMCS is launched", entry_outcome::fail_valid, instruction_error::vmresume_not_launched,
     [](I i, S state, M) { return i != I::vmresume || state.current->launch() == launch_state::launched; }},
}};

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

// What must be looked at although the VMCS is known to have passed. If something fails, the long way says what is first.
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

const std::array<entry_basic_check, entry_basic_check_count>& entry_basic_checks() noexcept { return basic_checks; }

entry_result check_entry_basics(entry_instruction instruction, vmx_state& state, const execution_mode& mode,
                                std::vector<check_record>* log) {
  const exit_reason reason = instruction == I::vmlaunch ? exit_reason::vmlaunch : exit_reason::vmresume;
  for (const entry_basic_check& check : basic_checks) {
    const bool passed = check.holds(instruction, state, mode);
    if (log != nullptr) log->push_back({check.name, basic_section, passed, {}});
    if (passed) continue;
    if (check.outcome == entry_outcome::fail_valid) fail(state, check.error);
    return {check.outcome, check.error, reason, 0, check.name, basic_section, {}};
  }
  return {};
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

entry_result msr_load_result(std::uint32_t bad_entry, std::vector<check_record>* log) {
  static constexpr field reads[] = {field::vm_entry_msr_load_count, field::vm_entry_msr_load_address};
  if (log != nullptr) log->push_back({msr_check, msr_section, bad_entry == 0, {reads, std::size(reads)}});
  if (bad_entry == 0) return {};
  return {
      entry_outcome::failed_entry, no_error, exit_reason::entry_failure_msr_loading, bad_entry, msr_check, msr_section,
      {reads, std::size(reads)}};
}

void complete_entry(entry_instruction instruction, vmx_state& state) noexcept {
  if (instruction == I::vmlaunch) state.current->set_launch(launch_state::launched);
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
