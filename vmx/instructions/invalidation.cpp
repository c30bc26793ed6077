#include "invalidation.hpp"

#include "detail/instruction_rows.hpp"
#include "ept.hpp"

namespace vmxsys::vmx {

namespace {

using namespace detail;
using call = instruction_call;

constexpr unsigned ept_bit = 1;
constexpr unsigned vpid_bit = 5;

constexpr std::uint64_t invept_single = 1;
constexpr std::uint64_t invvpid_address = 0;
constexpr std::uint64_t invvpid_all = 2;

constexpr instruction_check bad_operand_unless(const char* name, check_function holds) {
  return fail_unless(instruction_error::invalid_invalidation_operand, name, holds);
}

bool invept_type_ok(const call& c) {
  const std::uint64_t cap = c.unit->caps.ept_vpid;
  return (c.operand == 1 && (cap & ept_vpid_cap::invept_single_context) != 0) ||
         (c.operand == 2 && (cap & ept_vpid_cap::invept_all_contexts) != 0);
}

// Bits 40 to 43 report types 0 to 3.
bool invvpid_type_ok(const call& c) {
  return c.operand <= 3 && c.unit->caps.ept_vpid_has(ept_vpid_cap::invvpid_individual_address << c.operand);
}

// Two rows for one operand: `instruction_choices` says which of them looks at the fault.
constexpr instruction_check descriptor_first = {
    "the descriptor can be read, where that comes before its type", instruction_reference, outcome_kind::operand_fault,
    instruction_error::none,
    [](const call& c) { return !c.unit->choices.descriptor_before_type || c.fault == operand_fault::none; }};

constexpr instruction_check invept_rows[] = {
    in_vmx_operation,
    protected_mode,
    not_virtual_8086,
    not_compatibility,
    ud_unless("the processor has INVEPT",
              [](const call& c) {
                return c.unit->caps.supports(control_word::secondary, ept_bit) &&
                       c.unit->caps.ept_vpid_has(ept_vpid_cap::invept);
              }),
    outside_the_guest,
    cpl_0,
    descriptor_first,
    bad_operand_unless("the type is supported", invept_type_ok),
    operand_accessible,
    bad_operand_unless(
        "the EPTP is one that VM entry accepts",
        [](const call& c) { return c.operand != invept_single || eptp_legal(c.operand_2, c.unit->caps); }),
    bad_operand_unless("bits 127:64 of the descriptor are 0, where that is checked",
                       [](const call& c) { return !c.unit->choices.invept_checks_reserved_bits || c.operand_3 == 0; }),
};

constexpr instruction_check invvpid_rows[] = {
    in_vmx_operation,
    protected_mode,
    not_virtual_8086,
    not_compatibility,
    ud_unless("the processor has INVVPID",
              [](const call& c) {
                return c.unit->caps.supports(control_word::secondary, vpid_bit) &&
                       c.unit->caps.ept_vpid_has(ept_vpid_cap::invvpid);
              }),
    outside_the_guest,
    cpl_0,
    descriptor_first,
    bad_operand_unless("the type is supported", invvpid_type_ok),
    operand_accessible,
    bad_operand_unless("bits 63:16 of the descriptor are 0", [](const call& c) { return c.operand_2 >> 16 == 0; }),
    bad_operand_unless("the VPID is not 0",
                       [](const call& c) { return c.operand == invvpid_all || (c.operand_2 & 0xFFFF) != 0; }),
    bad_operand_unless(
        "the linear address is canonical",
        [](const call& c) { return c.operand != invvpid_address || c.unit->caps.canonical(c.operand_3); }),
};

std::uint64_t type_of(const execution_mode& mode, std::uint64_t type) {
  return mode.in_64_bit_mode() ? type : type & 0xFFFF'FFFF;
}

}  // namespace

namespace detail {
const vmx_instruction_info invept_info{vmx_instruction::invept, "INVEPT", exit_reason::invept, invept_rows,
                                       std::size(invept_rows)};
const vmx_instruction_info invvpid_info{vmx_instruction::invvpid, "INVVPID", exit_reason::invvpid, invvpid_rows,
                                        std::size(invvpid_rows)};
}  // namespace detail

invalidation_outcome invept(const vmx_unit& unit, const execution_mode& mode, std::uint64_t type,
                            const invalidation_descriptor& descriptor, operand_fault fault) {
  const call c{unit.state, mode, &unit, type_of(mode, type), descriptor.low, descriptor.high, fault};
  if (const auto* failed = first_failure<invept_rows>(c)) return {end_with(*failed, c, exit_reason::invept), {}};
  if (c.operand != invept_single) return {{}, {invalidation_kind::ept_all_contexts, 0, 0, 0}};
  return {{}, {invalidation_kind::ept_single_context, descriptor.low, 0, 0}};
}

invalidation_outcome invvpid(const vmx_unit& unit, const execution_mode& mode, std::uint64_t type,
                             const invalidation_descriptor& descriptor, operand_fault fault) {
  const call c{unit.state, mode, &unit, type_of(mode, type), descriptor.low, descriptor.high, fault};
  if (const auto* failed = first_failure<invvpid_rows>(c)) return {end_with(*failed, c, exit_reason::invvpid), {}};
  const auto vpid = static_cast<std::uint16_t>(descriptor.low);
  switch (c.operand) {
    case invvpid_address:
      return {{}, {invalidation_kind::vpid_individual_address, 0, vpid, descriptor.high}};
    case 1:
      return {{}, {invalidation_kind::vpid_single_context, 0, vpid, 0}};
    case invvpid_all:
      return {{}, {invalidation_kind::vpid_all_contexts, 0, 0, 0}};
    default:
      return {{}, {invalidation_kind::vpid_single_retaining_globals, 0, vpid, 0}};
  }
}

}  // namespace vmxsys::vmx
