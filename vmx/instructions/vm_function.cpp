#include "vm_function.hpp"

#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

#include "detail/instruction_rows.hpp"
#include "ept.hpp"

namespace vmxsys::vmx {

namespace {

using namespace detail;
using call = instruction_call;

constexpr const char* enabling = "SDM Vol. 3C §28.5.6.2";
constexpr const char* switching = "SDM Vol. 3C §28.5.6.3";
constexpr std::uint64_t list_entries = 512;

std::uint64_t list_entry(const call& c) {
  return c.unit->memory.read<std::uint64_t>(c.state.current->read(field::eptp_list_address) + 8 * c.operand_2);
}

constexpr instruction_check rows[] = {
    ud_unless(
        "in non-root operation", [](const call& c) { return c.state.mode == operation::non_root; }, enabling),
    ud_unless(
        "VM functions are enabled",
        [](const call& c) {
          const vmcs* v = c.state.current;
          return v != nullptr && (secondary_controls(*v) & secondary::enable_vm_functions) != 0;
        },
        enabling),
    ud_unless(
        "EAX is below 64", [](const call& c) { return c.operand < 64; }, enabling),
    // No other function is defined; VM entry rejects their bits.
    exit_unless(
        "the VM function is enabled",
        [](const call& c) {
          return c.operand == 0 &&
                 c.state.current->any(field::vm_function_controls, vm_function_control::eptp_switching);
        },
        enabling),
    exit_unless(
        "ECX is below 512", [](const call& c) { return c.operand_2 < list_entries; }, switching),
    exit_unless(
        "the EPTP is one that VM entry accepts", [](const call& c) { return eptp_legal(list_entry(c), c.unit->caps); },
        switching),
    exit_unless(
        "the EPTP keeps the page-walk length",
        [](const call& c) {
          return ((list_entry(c) ^ c.state.current->read(field::ept_pointer)) & eptp_bits::walk_length) == 0;
        },
        switching),
};

}  // namespace

namespace detail {
const vmx_instruction_info vmfunc_info{vmx_instruction::vmfunc, "VMFUNC", exit_reason::vmfunc, rows, std::size(rows)};
}  // namespace detail

vmx_outcome vmfunc(const vmx_unit& unit, const execution_mode& mode, std::uint32_t eax, std::uint32_t ecx) {
  const call c{unit.state, mode, &unit, eax, ecx};
  if (const auto* failed = first_failure<rows>(c)) return end_with(*failed, c, exit_reason::vmfunc);
  vmcs& current = *unit.state.current;
  current.write(field::ept_pointer, list_entry(c));
  if (unit.caps.has_field(*find_field(encoding_of(field::eptp_index)))) current.write(field::eptp_index, ecx);
  return {};
}

}  // namespace vmxsys::vmx
