#include <vmxsys/vmx/vmcs/event.hpp>

#include "detail/instruction_rows.hpp"

namespace vmxsys::vmx {

namespace {

using namespace detail;
using call = instruction_call;
using error = instruction_error;

// ---- the rows ------------------------------------------------------------------------------------------------------

constexpr const char* fixed_bits = "SDM Vol. 3C §26.8";
constexpr const char* enabling = "SDM Vol. 3C §26.7";

bool feature_control_enables(const call& c) {
  const std::uint64_t enable =
      c.mode.inside_smx ? feature_control_bits::vmx_inside_smx : feature_control_bits::vmx_outside_smx;
  return (c.state.feature_control & enable) != 0;
}

constexpr instruction_check vmxon_rows[] = {
    protected_mode,
    not_virtual_8086,
    not_compatibility,
    ud_unless(
        "CR4.VMXE is 1", [](const call& c) { return (c.mode.cr4 >> 13 & 1) != 0; }, enabling),
    outside_the_guest,
    cpl_0,
    fail_unless(error::vmxon_in_root, "not in root operation",
                [](const call& c) { return c.state.mode != operation::root; }),
    gp_unless(
        "A20 is not masked", [](const call& c) { return !c.mode.a20_masked; }, fixed_bits),
    gp_unless(
        "CR0 obeys the fixed bits", [](const call& c) { return c.unit->caps.cr0_legal(c.mode.cr0); }, fixed_bits),
    gp_unless(
        "CR4 obeys the fixed bits", [](const call& c) { return c.unit->caps.cr4_legal(c.mode.cr4); }, fixed_bits),
    gp_unless(
        "IA32_FEATURE_CONTROL is locked",
        [](const call& c) { return (c.state.feature_control & feature_control_bits::lock) != 0; }, enabling),
    gp_unless("IA32_FEATURE_CONTROL enables VMX", feature_control_enables, enabling),
    operand_accessible,
    invalid_unless("the region is aligned", [](const call& c) { return aligned_to_page(c.operand); }),
    invalid_unless("the region is within the address width",
                   [](const call& c) { return in_region_width(c.unit->caps, c.operand); }),
    invalid_unless("the revision identifier is the processor's",
                   [](const call& c) {
                     return (revision_word(c.unit->memory, c.operand) & ~vmcs_region::shadow_bit) ==
                            c.unit->caps.revision();
                   }),
    invalid_unless(
        "bit 31 of the region's first word is 0",
        [](const call& c) { return (revision_word(c.unit->memory, c.operand) & vmcs_region::shadow_bit) == 0; }),
};

constexpr instruction_check vmxoff_rows[] = {
    in_vmx_operation, protected_mode, not_virtual_8086, not_compatibility, outside_the_guest, cpl_0,
};

constexpr instruction_check vmclear_rows[] = {
    in_vmx_operation,
    protected_mode,
    not_virtual_8086,
    not_compatibility,
    outside_the_guest,
    cpl_0,
    operand_accessible,
    fail_unless(error::vmclear_invalid_address, "the region is aligned",
                [](const call& c) { return aligned_to_page(c.operand); }),
    fail_unless(error::vmclear_invalid_address, "the region is within the address width",
                [](const call& c) { return in_region_width(c.unit->caps, c.operand); }),
    fail_unless(error::vmclear_vmxon_pointer, "the region is not the VMXON region",
                [](const call& c) { return c.operand != c.state.vmxon_pointer; }),
};

constexpr instruction_check vmptrld_rows[] = {
    in_vmx_operation,
    protected_mode,
    not_virtual_8086,
    not_compatibility,
    outside_the_guest,
    cpl_0,
    operand_accessible,
    fail_unless(error::vmptrld_invalid_address, "the region is aligned",
                [](const call& c) { return aligned_to_page(c.operand); }),
    fail_unless(error::vmptrld_invalid_address, "the region is within the address width",
                [](const call& c) { return in_region_width(c.unit->caps, c.operand); }),
    fail_unless(error::vmptrld_vmxon_pointer, "the region is not the VMXON region",
                [](const call& c) { return c.operand != c.state.vmxon_pointer; }),
    fail_unless(error::vmptrld_wrong_revision, "the revision identifier is the processor's",
                [](const call& c) {
                  return (revision_word(c.unit->memory, c.operand) & ~vmcs_region::shadow_bit) ==
                         c.unit->caps.revision();
                }),
    fail_unless(error::vmptrld_wrong_revision, "a shadow VMCS only with VMCS shadowing",
                [](const call& c) {
                  return (revision_word(c.unit->memory, c.operand) & vmcs_region::shadow_bit) == 0 ||
                         (c.unit->caps.allowed_1(control_word::secondary) & secondary::vmcs_shadowing) != 0;
                }),
};

constexpr instruction_check vmptrst_rows[] = {
    in_vmx_operation, protected_mode, not_virtual_8086, not_compatibility, outside_the_guest, cpl_0, operand_accessible,
};

constexpr instruction_check vmcall_rows[] = {
    outside_the_guest,
    in_vmx_operation,
    protected_mode,
    not_virtual_8086,
    not_compatibility,
    cpl_0,
    // Without dual-monitor treatment there never is one.
    fail_unless(error::vmcall_in_root, "there is an SMM monitor to call", [](const call&) { return false; }),
};

constexpr const char* entry_basics = "SDM Vol. 3C §29.1";

constexpr instruction_check has_current_vmcs = invalid_unless(
    "there is a current VMCS", [](const call& c) { return c.state.has_current(); }, entry_basics);
constexpr instruction_check current_is_no_shadow = invalid_unless(
    "the current VMCS is not a shadow VMCS", [](const call& c) { return !c.state.current->is_shadow(); }, entry_basics);
constexpr instruction_check no_mov_ss_blocking = fail_unless(
    error::entry_blocked_by_mov_ss, "events are not blocked by MOV SS",
    [](const call& c) { return !c.mode.mov_ss_blocking; }, entry_basics);

constexpr instruction_check vmlaunch_rows[] = {
    in_vmx_operation,
    protected_mode,
    not_virtual_8086,
    not_compatibility,
    outside_the_guest,
    cpl_0,
    has_current_vmcs,
    current_is_no_shadow,
    no_mov_ss_blocking,
    fail_unless(
        error::vmlaunch_not_clear, "the launch state is clear",
        [](const call& c) { return c.state.current->launch() == launch_state::clear; }, entry_basics),
};

constexpr instruction_check vmresume_rows[] = {
    in_vmx_operation,
    protected_mode,
    not_virtual_8086,
    not_compatibility,
    outside_the_guest,
    cpl_0,
    has_current_vmcs,
    current_is_no_shadow,
    no_mov_ss_blocking,
    fail_unless(
        error::vmresume_not_launched, "the launch state is launched",
        [](const call& c) { return c.state.current->launch() == launch_state::launched; }, entry_basics),
    fail_unless(
        error::vmresume_after_vmxoff, "no VMXOFF since VMLAUNCH",
        [](const call& c) { return !c.state.current->vmxoff_since_launch(); }, "SDM Vol. 3C §33.4"),
};

// ---- what they do --------------------------------------------------------------------------------------------------

vmx_outcome succeed(std::uint64_t value = 0) {
  vmx_outcome outcome;
  outcome.value = value;
  return outcome;
}

void drop_current(vmx_state& state) {
  state.current_vmcs = no_vmcs;
  state.current = nullptr;
}

}  // namespace

namespace detail {

const vmx_instruction_info vmxon_info{vmx_instruction::vmxon, "VMXON", exit_reason::vmxon, vmxon_rows,
                                      std::size(vmxon_rows)};
const vmx_instruction_info vmxoff_info{vmx_instruction::vmxoff, "VMXOFF", exit_reason::vmxoff, vmxoff_rows,
                                       std::size(vmxoff_rows)};
const vmx_instruction_info vmclear_info{vmx_instruction::vmclear, "VMCLEAR", exit_reason::vmclear, vmclear_rows,
                                        std::size(vmclear_rows)};
const vmx_instruction_info vmptrld_info{vmx_instruction::vmptrld, "VMPTRLD", exit_reason::vmptrld, vmptrld_rows,
                                        std::size(vmptrld_rows)};
const vmx_instruction_info vmptrst_info{vmx_instruction::vmptrst, "VMPTRST", exit_reason::vmptrst, vmptrst_rows,
                                        std::size(vmptrst_rows)};
const vmx_instruction_info vmcall_info{vmx_instruction::vmcall, "VMCALL", exit_reason::vmcall, vmcall_rows,
                                       std::size(vmcall_rows)};
const vmx_instruction_info vmlaunch_info{vmx_instruction::vmlaunch, "VMLAUNCH", exit_reason::vmlaunch, vmlaunch_rows,
                                         std::size(vmlaunch_rows)};
const vmx_instruction_info vmresume_info{vmx_instruction::vmresume, "VMRESUME", exit_reason::vmresume, vmresume_rows,
                                         std::size(vmresume_rows)};

vmx_outcome end_with(const instruction_check& failed, const instruction_call& c, exit_reason reason) noexcept {
  vmx_outcome outcome;
  if (failed.failure == outcome_kind::fail_valid) {
    outcome = fail(c.state, failed.error);
  } else {
    outcome.kind = failed.failure;
    if (failed.failure == outcome_kind::vm_exit) outcome.reason = reason;
    if (failed.failure == outcome_kind::operand_fault) outcome.fault = c.fault;
  }
  outcome.check = failed.name;
  return outcome;
}

}  // namespace detail

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

vmx_outcome fail(vmx_state& state, instruction_error number) noexcept {
  vmx_outcome outcome;
  outcome.kind = outcome_kind::fail_invalid;
  if (!state.has_current()) return outcome;
  state.current->write(field::vm_instruction_error, static_cast<std::uint64_t>(number));
  outcome.kind = outcome_kind::fail_valid;
  outcome.error = number;
  return outcome;
}

bool region_address_ok(const capabilities& caps, physical_address region) noexcept {
  return aligned_to_page(region) && in_region_width(caps, region);
}

vmx_outcome vmxon(const vmx_unit& unit, const execution_mode& mode, physical_address region, operand_fault fault) {
  const call c{unit.state, mode, &unit, region, 0, 0, fault};
  if (const auto* failed = first_failure<vmxon_rows>(c)) return end_with(*failed, c, exit_reason::vmxon);
  unit.state.mode = operation::root;
  unit.state.vmxon_pointer = region;
  drop_current(unit.state);
  return succeed();
}

vmx_outcome vmxoff(const vmx_unit& unit, const execution_mode& mode) {
  const call c{unit.state, mode, &unit};
  if (const auto* failed = first_failure<vmxoff_rows>(c)) return end_with(*failed, c, exit_reason::vmxoff);
  if (unit.choices.vmxoff_voids_launches) unit.store.note_vmxoff(unit.processor);
  unit.state.mode = operation::off;
  unit.state.vmxon_pointer = no_vmcs;
  drop_current(unit.state);
  return succeed();
}

vmx_outcome vmclear(const vmx_unit& unit, const execution_mode& mode, physical_address region, operand_fault fault) {
  const call c{unit.state, mode, &unit, region, 0, 0, fault};
  if (const auto* failed = first_failure<vmclear_rows>(c)) return end_with(*failed, c, exit_reason::vmclear);
  if (vmcs* active = unit.store.find(region)) {
    active->set_launch(launch_state::clear);
    active->store(unit.memory, region);
    unit.store.deactivate(region);
  } else {
    unit.memory.write(region + vmcs_region::launch, static_cast<std::uint32_t>(launch_state::clear));
  }
  if (region == unit.state.current_vmcs) drop_current(unit.state);
  return succeed();
}

vmx_outcome vmptrld(const vmx_unit& unit, const execution_mode& mode, physical_address region, operand_fault fault) {
  const call c{unit.state, mode, &unit, region, 0, 0, fault};
  if (const auto* failed = first_failure<vmptrld_rows>(c)) return end_with(*failed, c, exit_reason::vmptrld);
  unit.state.current = &unit.store.activate(region, unit.processor, unit.memory);
  unit.state.current_vmcs = region;
  return succeed();
}

vmx_outcome vmptrst(const vmx_unit& unit, const execution_mode& mode, operand_fault fault) {
  const call c{unit.state, mode, &unit, 0, 0, 0, fault};
  if (const auto* failed = first_failure<vmptrst_rows>(c)) return end_with(*failed, c, exit_reason::vmptrst);
  return succeed(unit.state.current_vmcs);
}

vmx_outcome vmcall(const vmx_unit& unit, const execution_mode& mode) {
  const call c{unit.state, mode, &unit};
  const auto* failed = first_failure<vmcall_rows>(c);
  return end_with(*failed, c, exit_reason::vmcall);  // the last row never holds
}

vmx_outcome vmlaunch_basics(vmx_state& state, const execution_mode& mode) {
  const call c{state, mode};
  const auto* failed = first_failure<vmlaunch_rows>(c);
  return failed != nullptr ? end_with(*failed, c, exit_reason::vmlaunch) : succeed();
}

vmx_outcome vmresume_basics(vmx_state& state, const execution_mode& mode) {
  const call c{state, mode};
  const auto* failed = first_failure<vmresume_rows>(c);
  return failed != nullptr ? end_with(*failed, c, exit_reason::vmresume) : succeed();
}

}  // namespace vmxsys::vmx
