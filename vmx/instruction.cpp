#include <vmxsys/vmx/control.hpp>
#include <vmxsys/vmx/event.hpp>
#include <vmxsys/vmx/instruction.hpp>

namespace vmxsys::vmx {

namespace {

constexpr std::uint64_t cr0_pe = 1;
constexpr std::uint64_t cr4_vmxe = 1u << 13;

constexpr vmx_outcome succeed(std::uint64_t value = 0) {
  return {outcome_kind::succeed, instruction_error::none, exit_reason::vmcall, value};
}
constexpr vmx_outcome end_with(outcome_kind kind) { return {kind, instruction_error::none, exit_reason::vmcall, 0}; }
constexpr vmx_outcome exit_with(exit_reason reason) {
  return {outcome_kind::vm_exit, instruction_error::none, reason, 0};
}

bool wrong_mode(const execution_mode& mode) {
  return (mode.cr0 & cr0_pe) == 0 || mode.virtual_8086 || (mode.long_mode && !mode.code_64_bit);
}

// What every instruction but VMXON and VMCALL looks at first. `succeed` means: go on.
vmx_outcome front(const vmx_state& state, const execution_mode& mode, exit_reason reason) {
  if (state.mode == operation::off || wrong_mode(mode)) return end_with(outcome_kind::fault_ud);
  if (state.mode == operation::non_root) return exit_with(reason);
  if (mode.cpl > 0) return end_with(outcome_kind::fault_gp);
  return succeed();
}

bool fixed_bits_ok(std::uint64_t value, std::uint64_t fixed0, std::uint64_t fixed1) {
  return (value & fixed0) == fixed0 && (value & ~fixed1) == 0;
}

bool vmxon_allowed(const vmx_unit& unit, const execution_mode& mode) {
  const std::uint64_t enable =
      mode.inside_smx ? feature_control_bits::vmx_inside_smx : feature_control_bits::vmx_outside_smx;
  const std::uint64_t feature_control = unit.state.feature_control;
  return mode.cpl == 0 && !mode.a20_masked && fixed_bits_ok(mode.cr0, unit.caps.cr0_fixed0, unit.caps.cr0_fixed1) &&
         fixed_bits_ok(mode.cr4, unit.caps.cr4_fixed0, unit.caps.cr4_fixed1) &&
         (feature_control & feature_control_bits::lock) != 0 && (feature_control & enable) != 0;
}

void drop_current(vmx_state& state) {
  state.current_vmcs = no_vmcs;
  state.current = nullptr;
}

// nullptr: VMREAD and VMWRITE fail with error 12.
const field_info* component(const capabilities& caps, std::uint64_t encoding) {
  if (encoding >> 32 != 0) return nullptr;
  const field_info* row = find_field(static_cast<std::uint32_t>(encoding));
  return row != nullptr && caps.has_field(*row) ? row : nullptr;
}

}  // namespace

const char* describe_error(unsigned number) noexcept {
  switch (static_cast<instruction_error>(number)) {
    case instruction_error::none:
      return nullptr;
    case instruction_error::vmcall_in_root:
      return "VMCALL executed in VMX root operation";
    case instruction_error::vmclear_invalid_address:
      return "VMCLEAR with invalid physical address";
    case instruction_error::vmclear_vmxon_pointer:
      return "VMCLEAR with VMXON pointer";
    case instruction_error::vmlaunch_not_clear:
      return "VMLAUNCH with non-clear VMCS";
    case instruction_error::vmresume_not_launched:
      return "VMRESUME with non-launched VMCS";
    case instruction_error::vmresume_after_vmxoff:
      return "VMRESUME after VMXOFF";
    case instruction_error::entry_invalid_control_fields:
      return "VM entry with invalid control field(s)";
    case instruction_error::entry_invalid_host_state:
      return "VM entry with invalid host-state field(s)";
    case instruction_error::vmptrld_invalid_address:
      return "VMPTRLD with invalid physical address";
    case instruction_error::vmptrld_vmxon_pointer:
      return "VMPTRLD with VMXON pointer";
    case instruction_error::vmptrld_wrong_revision:
      return "VMPTRLD with incorrect VMCS revision identifier";
    case instruction_error::unsupported_component:
      return "VMREAD or VMWRITE from/to unsupported VMCS component";
    case instruction_error::vmwrite_read_only:
      return "VMWRITE to read-only VMCS component";
    case instruction_error::vmxon_in_root:
      return "VMXON executed in VMX root operation";
    case instruction_error::entry_invalid_executive_vmcs:
      return "VM entry with invalid executive-VMCS pointer";
    case instruction_error::entry_executive_vmcs_not_launched:
      return "VM entry with non-launched executive VMCS";
    case instruction_error::entry_executive_vmcs_not_vmxon_pointer:
      return "VM entry with executive-VMCS pointer that is not the VMXON pointer";
    case instruction_error::vmcall_vmcs_not_clear:
      return "VMCALL with non-clear VMCS";
    case instruction_error::vmcall_invalid_exit_controls:
      return "VMCALL with invalid VM-exit control fields";
    case instruction_error::vmcall_wrong_mseg_revision:
      return "VMCALL with incorrect MSEG revision identifier";
    case instruction_error::vmxoff_dual_monitor:
      return "VMXOFF under dual-monitor treatment of SMIs and SMM";
    case instruction_error::vmcall_invalid_smm_features:
      return "VMCALL with invalid SMM-monitor features";
    case instruction_error::entry_invalid_executive_controls:
      return "VM entry with invalid VM-execution control fields in executive VMCS";
    case instruction_error::entry_blocked_by_mov_ss:
      return "VM entry with events blocked by MOV SS";
    case instruction_error::invalid_invalidation_operand:
      return "Invalid operand to INVEPT/INVVPID";
  }
  return nullptr;
}

std::uint64_t flags_after(std::uint64_t rflags, outcome_kind kind) noexcept {
  constexpr std::uint64_t arithmetic =
      rflags_bits::cf | rflags_bits::pf | rflags_bits::af | rflags_bits::zf | rflags_bits::sf | rflags_bits::of;
  switch (kind) {
    case outcome_kind::succeed:
      return rflags & ~arithmetic;
    case outcome_kind::fail_invalid:
      return (rflags & ~arithmetic) | rflags_bits::cf;
    case outcome_kind::fail_valid:
      return (rflags & ~arithmetic) | rflags_bits::zf;
    default:
      return rflags;
  }
}

vmx_outcome fail(vmx_state& state, instruction_error error) noexcept {
  if (!state.has_current()) return end_with(outcome_kind::fail_invalid);
  state.current->write(field::vm_instruction_error, static_cast<std::uint64_t>(error));
  return {outcome_kind::fail_valid, error, exit_reason::vmcall, 0};
}

bool region_address_ok(const capabilities& caps, physical_address region) noexcept {
  const unsigned width = (caps.basic >> 48 & 1) != 0 ? 32 : caps.physical_address_width;
  return (region & 0xFFF) == 0 && region >> width == 0;
}

vmx_outcome vmxon(const vmx_unit& unit, const execution_mode& mode, physical_address region) {
  vmx_state& state = unit.state;
  if (wrong_mode(mode) || (mode.cr4 & cr4_vmxe) == 0) return end_with(outcome_kind::fault_ud);
  if (state.mode == operation::non_root) return exit_with(exit_reason::vmxon);
  if (state.mode == operation::root) {
    if (mode.cpl > 0) return end_with(outcome_kind::fault_gp);
    return fail(state, instruction_error::vmxon_in_root);
  }
  if (!vmxon_allowed(unit, mode)) return end_with(outcome_kind::fault_gp);
  if (!region_address_ok(unit.caps, region)) return end_with(outcome_kind::fail_invalid);
  if (revision_word(unit.memory, region) != unit.caps.revision()) return end_with(outcome_kind::fail_invalid);
  state.mode = operation::root;
  state.vmxon_pointer = region;
  drop_current(state);
  return succeed();
}

vmx_outcome vmxoff(const vmx_unit& unit, const execution_mode& mode) {
  const vmx_outcome outcome = front(unit.state, mode, exit_reason::vmxoff);
  if (!outcome) return outcome;
  unit.state.mode = operation::off;
  unit.state.vmxon_pointer = no_vmcs;
  drop_current(unit.state);
  return succeed();
}

vmx_outcome vmclear(const vmx_unit& unit, const execution_mode& mode, physical_address region) {
  vmx_state& state = unit.state;
  const vmx_outcome outcome = front(state, mode, exit_reason::vmclear);
  if (!outcome) return outcome;
  if (!region_address_ok(unit.caps, region)) return fail(state, instruction_error::vmclear_invalid_address);
  if (region == state.vmxon_pointer) return fail(state, instruction_error::vmclear_vmxon_pointer);

  if (vmcs* active = unit.store.find(region)) {
    active->set_launch(launch_state::clear);
    active->store(unit.memory, region);
    unit.store.deactivate(region);
  } else {
    unit.memory.write(region + vmcs_region::launch, static_cast<std::uint32_t>(launch_state::clear));
  }
  if (region == state.current_vmcs) drop_current(state);
  return succeed();
}

vmx_outcome vmptrld(const vmx_unit& unit, const execution_mode& mode, physical_address region) {
  vmx_state& state = unit.state;
  const vmx_outcome outcome = front(state, mode, exit_reason::vmptrld);
  if (!outcome) return outcome;
  if (!region_address_ok(unit.caps, region)) return fail(state, instruction_error::vmptrld_invalid_address);
  if (region == state.vmxon_pointer) return fail(state, instruction_error::vmptrld_vmxon_pointer);

  const std::uint32_t word = revision_word(unit.memory, region);
  const bool shadow = (word & vmcs_region::shadow_bit) != 0;
  const bool shadow_ok = (unit.caps.allowed_1(control_word::secondary) & secondary::vmcs_shadowing) != 0;
  if ((word & ~vmcs_region::shadow_bit) != unit.caps.revision() || (shadow && !shadow_ok))
    return fail(state, instruction_error::vmptrld_wrong_revision);

  state.current = &unit.store.activate(region, unit.processor, unit.memory);
  state.current_vmcs = region;
  return succeed();
}

vmx_outcome vmptrst(const vmx_unit& unit, const execution_mode& mode) {
  const vmx_outcome outcome = front(unit.state, mode, exit_reason::vmptrst);
  return outcome ? succeed(unit.state.current_vmcs) : outcome;
}

vmx_outcome vmread(const vmx_unit& unit, const execution_mode& mode, std::uint64_t encoding) {
  const vmx_outcome outcome = front(unit.state, mode, exit_reason::vmread);
  if (!outcome) return outcome;
  if (!unit.state.has_current()) return end_with(outcome_kind::fail_invalid);
  if (component(unit.caps, encoding) == nullptr) return fail(unit.state, instruction_error::unsupported_component);
  return succeed(unit.state.current->read_component(static_cast<std::uint32_t>(encoding)));
}

vmx_outcome vmwrite(const vmx_unit& unit, const execution_mode& mode, std::uint64_t encoding, std::uint64_t value) {
  const vmx_outcome outcome = front(unit.state, mode, exit_reason::vmwrite);
  if (!outcome) return outcome;
  if (!unit.state.has_current()) return end_with(outcome_kind::fail_invalid);
  const field_info* row = component(unit.caps, encoding);
  if (row == nullptr) return fail(unit.state, instruction_error::unsupported_component);
  if (row->type == field_type::exit_information && !unit.caps.vmwrite_any_field())
    return fail(unit.state, instruction_error::vmwrite_read_only);
  unit.state.current->write_component(static_cast<std::uint32_t>(encoding), value);
  return succeed();
}

vmx_outcome vmcall(const vmx_unit& unit, const execution_mode& mode) {
  if (unit.state.mode == operation::non_root) return exit_with(exit_reason::vmcall);
  if (unit.state.mode == operation::off || wrong_mode(mode)) return end_with(outcome_kind::fault_ud);
  if (mode.cpl > 0) return end_with(outcome_kind::fault_gp);
  return fail(unit.state, instruction_error::vmcall_in_root);
}

}  // namespace vmxsys::vmx
