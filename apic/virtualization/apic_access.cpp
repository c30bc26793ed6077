#include "apic_access.hpp"

#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

#include "ipi_virtualization.hpp"

namespace vmxsys::apic {

namespace {

using reason = apic_access_reason;

constexpr unsigned register_bytes = 4;
constexpr unsigned register_distance = 16;

constexpr std::size_t register_count = 256;  // of a page
constexpr std::uint8_t no_row = apic_page_table.size();

// Place in the table of each of the 256 registers.
constexpr std::array<std::uint8_t, register_count> make_index() noexcept {
  std::array<std::uint8_t, register_count> index{};
  for (std::size_t i = 0; i < register_count; ++i) index[i] = no_row;
  for (std::size_t row = 0; row < apic_page_table.size(); ++row)
    for (std::size_t i = 0; i < apic_page_table[row].count; ++i)
      index[apic_page_table[row].first / register_distance + i] = static_cast<std::uint8_t>(row);
  return index;
}
constexpr std::array<std::uint8_t, register_count> row_index = make_index();

bool in_one_register(const apic_access& access) {
  return access.offset % register_distance + access.bytes <= register_bytes;
}

bool register_virtualized(apic_controls controls, const apic_access& access) {
  const apic_page_rule* rule = find_apic_page_rule(access.offset);
  return rule != nullptr && (controls & (access.write ? rule->write_if : rule->read_if)) != 0;
}

// The first reason to exit. Physical accesses are dealt with before.
reason why_exits(apic_controls controls, const apic_access& access, const apic_operation& operation,
                 const apic_access_switches& switches) {
  const bool same_write = access.offset == operation.offset && access.bytes == operation.bytes;
  if (access.path == access_path::guest_physical) return reason::guest_physical_access;
  if (!has(controls, apic_control::tpr_shadow)) return reason::no_tpr_shadow;
  if (access.origin == access_origin::fetch) return reason::instruction_fetch;
  if (access.bytes > register_bytes) return reason::wider_than_32_bits;
  if (!in_one_register(access)) return reason::not_in_one_register;
  if (operation.wrote && !access.write) return reason::read_after_write;
  if (operation.wrote && !same_write) return reason::other_write;
  if (switches.other_operands_exit && !access.general_register) return reason::operand;
  if (!register_virtualized(controls, access)) return reason::register_not_virtualized;
  return reason::none;
}

vmx::qualification::apic_access_type type_of(const apic_access& access) {
  using type = vmx::qualification::apic_access_type;
  const bool linear = access.path == access_path::linear;
  switch (access.origin) {
    case access_origin::event_delivery:
      return linear ? type::linear_event_delivery : type::guest_physical_event_delivery;
    case access_origin::asynchronous:
      return linear ? type::linear_asynchronous : type::guest_physical_asynchronous;
    case access_origin::fetch:
      return linear ? type::linear_fetch : type::guest_physical_instruction;
    case access_origin::instruction:
      break;
  }
  if (!linear) return type::guest_physical_instruction;
  return access.write ? type::linear_write : type::linear_read;
}

virtualization_result emulate_eoi(const virtual_apic& a, std::uint16_t offset) {
  if (!has(apic_controls_of(a.v), apic_control::interrupt_delivery)) return traps(vmx::exit_reason::apic_write, offset);
  a.page().write_32(vapic::eoi, 0);
  return eoi_virtualization(a);
}

}  // namespace

apic_controls apic_controls_of(const vmx::vmcs& v) noexcept {
  const auto set_if = [](std::uint64_t word, std::uint64_t bit, apic_control c) {
    return (word & bit) != 0 ? apic_controls{} | c : apic_controls{};
  };
  const std::uint64_t second = vmx::secondary_controls(v);
  return static_cast<apic_controls>(
      set_if(vmx::primary_controls(v), vmx::primary::use_tpr_shadow, apic_control::tpr_shadow) |
      set_if(second, vmx::secondary::apic_register_virtualization, apic_control::register_virtualization) |
      set_if(second, vmx::secondary::virtual_interrupt_delivery, apic_control::interrupt_delivery) |
      set_if(vmx::tertiary_controls(v), vmx::tertiary::ipi_virtualization, apic_control::ipi_virtualization));
}

const apic_page_rule* find_apic_page_rule(std::uint16_t offset) noexcept {
  const std::uint8_t row = row_index[offset / register_distance % register_count];
  return row == no_row ? nullptr : &apic_page_table[row];
}

apic_access_outcome decide(apic_controls controls, const apic_access& access, const apic_operation& operation,
                           const apic_access_switches& switches) noexcept {
  // Neither a qualification nor an exit is defined for these.
  if (access.path == access_path::physical)
    return switches.physical_accesses_exit
               ? apic_access_outcome{apic_access_verdict::vm_exit, reason::physical_access, 0}
               : apic_access_outcome{apic_access_verdict::memory, reason::none, 0};
  const reason why = why_exits(controls, access, operation, switches);
  if (why == reason::none) return {};
  return {apic_access_verdict::vm_exit, why, qualification_of(access)};
}

apic_access_outcome decide(const vmx::vmcs& v, const apic_access& access, const apic_operation& operation,
                           const apic_access_switches& switches) noexcept {
  return decide(apic_controls_of(v), access, operation, switches);
}

std::uint64_t qualification_of(const apic_access& access) noexcept {
  vmx::qualification::apic_access q;
  q.offset = access.path == access_path::linear ? access.offset : std::uint16_t{0};
  q.type = type_of(access);
  q.asynchronous = access.origin == access_origin::asynchronous;
  return encode(q);
}

vmx::exit_info apic_access_exit(const apic_access_outcome& outcome) noexcept {
  vmx::exit_info exit;
  exit.reason = vmx::exit_reason::apic_access;
  exit.qualification = outcome.qualification;
  return exit;
}

bool in_apic_access_page(const vmx::vmcs& v, physical_address at) noexcept {
  constexpr unsigned page_bits = 12;
  return (vmx::secondary_controls(v) & vmx::secondary::virtualize_apic_accesses) != 0 &&
         at >> page_bits == v.read(vmx::field::apic_access_address) >> page_bits;
}

std::uint32_t read_virtual_apic(const virtual_apic& a, const apic_access& access) {
  return static_cast<std::uint32_t>(a.page().read(access.offset, access.bytes));
}

void store_virtual_apic(const virtual_apic& a, const apic_access& access, std::uint32_t value,
                        apic_operation& operation) {
  a.page().write(access.offset, access.bytes, value);
  operation = {true, access.offset, access.bytes};
}

virtualization_result emulate_apic_write(const virtual_apic& a, std::uint16_t offset) {
  const apic_page_rule* rule = find_apic_page_rule(offset);
  virtual_apic_page page = a.page();
  switch (rule == nullptr ? write_emulation::none : rule->emulation) {
    case write_emulation::tpr:
      page.write_32(vapic::tpr, page.vtpr());
      return tpr_virtualization(a);
    case write_emulation::eoi:
      return emulate_eoi(a, offset);
    case write_emulation::icr_low:
      return emulate_icr_write(a, offset);
    case write_emulation::clear_destination_bits:
      page.write_32(vapic::icr_high, page.read_32(vapic::icr_high) & 0xFF000000);
      return {};
    case write_emulation::exit:
      return traps(vmx::exit_reason::apic_write, offset);
    case write_emulation::none:
      break;
  }
  return {};
}

virtualization_result write_virtual_apic(const virtual_apic& a, const apic_access& access, std::uint32_t value) {
  apic_operation operation;
  store_virtual_apic(a, access, value, operation);
  return emulate_apic_write(a, access.offset);
}

}  // namespace vmxsys::apic
