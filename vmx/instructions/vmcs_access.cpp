#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

#include "detail/instruction_rows.hpp"

// VMREAD and VMWRITE, in root operation and, with VMCS shadowing, in a guest.
namespace vmxsys::vmx {

namespace {

using namespace detail;
using call = instruction_call;
using error = instruction_error;

constexpr const char* shadowing = "SDM Vol. 3C §27.10";
constexpr const char* conditional_exits = "SDM Vol. 3C §28.1.3";
constexpr const char* encodings = "SDM Vol. 3C §27.11.2";

bool in_guest(const call& c) { return c.state.mode == operation::non_root; }

std::uint64_t link_pointer(const call& c) { return c.state.current->read(field::vmcs_link_pointer); }

// One bit per encoding 0 .. 7FFFH, in a 4-KByte page.
bool bitmap_bit_clear(const call& c, field bitmap_address) {
  const std::uint64_t bitmap = c.state.current->read(bitmap_address);
  return (c.unit->memory.read<std::uint8_t>(bitmap + (c.operand >> 3)) >> (c.operand & 7) & 1) == 0;
}

// nullptr: no such field, or not on this processor.
const field_info* component(const call& c) {
  if (c.operand >> 32 != 0) return nullptr;
  const field_info* row = find_field(static_cast<std::uint32_t>(c.operand));
  return row != nullptr && c.unit->caps.has_field(*row) ? row : nullptr;
}

bool shadows(const vmcs* v) { return v != nullptr && (secondary_controls(*v) & secondary::vmcs_shadowing) != 0; }

constexpr instruction_check shadowing_in_the_guest = exit_unless(
    "in the guest: VMCS shadowing", [](const call& c) { return !in_guest(c) || shadows(c.state.current); },
    conditional_exits);
constexpr instruction_check covered_by_the_bitmaps = exit_unless(
    "in the guest: bits 63:15 of the encoding are 0",
    [](const call& c) { return !in_guest(c) || c.operand >> 15 == 0; }, conditional_exits);
constexpr instruction_check has_target =
    invalid_unless("there is a current VMCS, in the guest a VMCS link pointer",
                   [](const call& c) { return in_guest(c) ? link_pointer(c) != no_vmcs : c.state.has_current(); });
constexpr instruction_check field_exists = fail_unless(
    error::unsupported_component, "the field exists", [](const call& c) { return component(c) != nullptr; }, encodings);

constexpr instruction_check vmread_rows[] = {
    in_vmx_operation,
    protected_mode,
    not_virtual_8086,
    not_compatibility,
    shadowing_in_the_guest,
    covered_by_the_bitmaps,
    exit_unless(
        "in the guest: the bit of the VMREAD bitmap is 0",
        [](const call& c) { return !in_guest(c) || bitmap_bit_clear(c, field::vmread_bitmap_address); }, shadowing),
    cpl_0,
    has_target,
    field_exists,
    operand_accessible,
};

constexpr instruction_check vmwrite_rows[] = {
    in_vmx_operation,
    protected_mode,
    not_virtual_8086,
    not_compatibility,
    shadowing_in_the_guest,
    covered_by_the_bitmaps,
    exit_unless(
        "in the guest: the bit of the VMWRITE bitmap is 0",
        [](const call& c) { return !in_guest(c) || bitmap_bit_clear(c, field::vmwrite_bitmap_address); }, shadowing),
    cpl_0,
    has_target,
    operand_accessible,
    field_exists,
    fail_unless(
        error::vmwrite_read_only, "the field may be written",
        [](const call& c) {
          return type_of(static_cast<std::uint32_t>(c.operand)) != field_type::exit_information ||
                 c.unit->caps.vmwrite_any_field();
        },
        encodings),
};

// What the operands hold: 32 bits outside 64-bit mode.
std::uint64_t operand_of(const execution_mode& mode, std::uint64_t value) {
  return mode.in_64_bit_mode() ? value : value & 0xFFFF'FFFF;
}

}  // namespace

namespace detail {
const vmx_instruction_info vmread_info{vmx_instruction::vmread, "VMREAD", exit_reason::vmread, vmread_rows,
                                       std::size(vmread_rows)};
const vmx_instruction_info vmwrite_info{vmx_instruction::vmwrite, "VMWRITE", exit_reason::vmwrite, vmwrite_rows,
                                        std::size(vmwrite_rows)};
}  // namespace detail

vmx_outcome vmread(const vmx_unit& unit, const execution_mode& mode, std::uint64_t encoding,
                   operand_fault destination) {
  const call c{unit.state, mode, &unit, operand_of(mode, encoding), 0, 0, destination};
  if (const auto* failed = first_failure<vmread_rows>(c)) return end_with(*failed, c, exit_reason::vmread);

  const auto which = static_cast<std::uint32_t>(c.operand);
  const physical_address shadow = link_pointer(c);
  const vmcs* from = in_guest(c) ? unit.store.find(shadow) : unit.state.current;
  vmx_outcome outcome;
  outcome.value =
      operand_of(mode, from != nullptr ? from->read_component(which) : read_component(unit.memory, shadow, which));
  return outcome;
}

vmx_outcome vmwrite(const vmx_unit& unit, const execution_mode& mode, std::uint64_t encoding, std::uint64_t value,
                    operand_fault source) {
  const call c{unit.state, mode, &unit, operand_of(mode, encoding), operand_of(mode, value), 0, source};
  if (const auto* failed = first_failure<vmwrite_rows>(c)) return end_with(*failed, c, exit_reason::vmwrite);

  const auto which = static_cast<std::uint32_t>(c.operand);
  const physical_address shadow = link_pointer(c);
  vmcs* to = in_guest(c) ? unit.store.find(shadow) : unit.state.current;
  if (to != nullptr) {
    to->write_component(which, c.operand_2);
  } else {
    write_component(unit.memory, shadow, which, c.operand_2);
  }
  return {};
}

}  // namespace vmxsys::vmx
