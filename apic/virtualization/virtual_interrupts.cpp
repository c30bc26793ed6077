#include "virtual_interrupts.hpp"

#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

namespace vmxsys::apic {

namespace {

using vmx::field;

constexpr std::uint8_t class_bits = 0xF0;

bool delivers_virtual_interrupts(const vmx::vmcs& v) {
  return (vmx::secondary_controls(v) & vmx::secondary::virtual_interrupt_delivery) != 0;
}

// The fields of the page are 32 bits wide; a vector or a priority fills the lowest byte.
std::uint8_t vector_or_0(int highest) {
  return highest == virtual_apic_page::none ? std::uint8_t{0} : static_cast<std::uint8_t>(highest);
}

}  // namespace

virtualization_result traps(vmx::exit_reason reason, std::uint64_t qualification) noexcept {
  virtualization_result result;
  result.trap.emplace();
  result.trap->reason = reason;
  result.trap->qualification = qualification;
  return result;
}

bool eoi_exits(const vmx::vmcs& v, std::uint8_t vector) noexcept {
  constexpr field words[] = {field::eoi_exit_bitmap_0, field::eoi_exit_bitmap_1, field::eoi_exit_bitmap_2,
                             field::eoi_exit_bitmap_3};
  return (v.read(words[vector >> 6]) >> (vector & 63) & 1) != 0;
}

void ppr_virtualization(const virtual_apic& a) {
  virtual_apic_page page = a.page();
  const std::uint8_t vtpr = page.vtpr();
  const bool task = (vtpr & class_bits) >= (a.state.svi & class_bits);
  page.write_32(vapic::ppr, task ? vtpr : a.state.svi & class_bits);
}

void evaluate(const virtual_apic& a) {
  const bool window = (vmx::primary_controls(a.v) & vmx::primary::interrupt_window_exiting) != 0;
  a.state.recognized = !window && (a.state.rvi & class_bits) > (a.page().vppr() & class_bits);
}

void conclude(const virtual_apic& a, virtual_operation operation) {
  const virtual_operation_rule& rule = virtual_operation_table[static_cast<std::size_t>(operation)];
  if (rule.virtualizes_ppr) ppr_virtualization(a);
  if (rule.evaluates) evaluate(a);
}

virtualization_result tpr_virtualization(const virtual_apic& a) {
  if (!delivers_virtual_interrupts(a.v)) {
    const auto threshold = static_cast<unsigned>(a.v.read(field::tpr_threshold) & 15);
    if (a.page().vtpr() >> 4 < threshold) return traps(vmx::exit_reason::tpr_below_threshold, 0);
    return {};
  }
  conclude(a, virtual_operation::tpr_virtualization);
  return {};
}

virtualization_result eoi_virtualization(const virtual_apic& a) {
  virtual_apic_page page = a.page();
  const std::uint8_t vector = a.state.svi;
  page.set_in_service(vector, false);
  a.state.svi = vector_or_0(page.highest_in_service());
  if (eoi_exits(a.v, vector)) {
    conclude(a, virtual_operation::eoi_with_exit);
    return traps(vmx::exit_reason::virtualized_eoi, vector);
  }
  conclude(a, virtual_operation::eoi_virtualization);
  return {};
}

void request(const virtual_apic& a, virtual_operation operation, std::uint8_t vector) {
  a.page().set_requested(vector);
  if (vector > a.state.rvi) a.state.rvi = vector;
  conclude(a, operation);
}

void self_ipi_virtualization(const virtual_apic& a, std::uint8_t vector) {
  request(a, virtual_operation::self_ipi_virtualization, vector);
}

std::uint8_t deliver(const virtual_apic& a) {
  virtual_apic_page page = a.page();
  const std::uint8_t vector = a.state.rvi;
  page.set_in_service(vector);
  a.state.svi = vector;
  page.write_32(vapic::ppr, vector & class_bits);
  page.set_requested(vector, false);
  a.state.rvi = vector_or_0(page.highest_requested());
  a.state.recognized = false;
  conclude(a, virtual_operation::delivery);
  return vector;
}

void at_entry(const virtual_apic& a) {
  a.state = {};
  if (!delivers_virtual_interrupts(a.v)) return;
  a.state = from_guest_interrupt_status(a.v.read(field::guest_interrupt_status));
  conclude(a, virtual_operation::vm_entry);
}

void at_exit(vmx::vmcs& v, virtual_interrupt_state& state) noexcept {
  if (delivers_virtual_interrupts(v)) v.write(field::guest_interrupt_status, guest_interrupt_status(state));
  state = {};
}

}  // namespace vmxsys::apic
