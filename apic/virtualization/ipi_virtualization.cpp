#include "ipi_virtualization.hpp"

#include <vmxsys/apic/local/interrupt.hpp>

#include "apic_access.hpp"
#include "posted_interrupts.hpp"

namespace vmxsys::apic {

namespace {

using vmx::field;

constexpr unsigned destination_shift = 24;  // of the 8-bit destination in VICR_HI

}  // namespace

ipi_target find_target(const vmx::vmcs& v, const physical_memory& memory, std::uint8_t vector,
                       std::uint32_t destination, unsigned physical_address_width) {
  if (!is_legal_vector(vector)) return {ipi_obstacle::vector_below_16, 0};
  if (destination > v.read(field::last_pid_pointer_index)) return {ipi_obstacle::beyond_last_index, 0};
  const physical_address at = v.read(field::pid_pointer_table_address) + pid_pointer::bytes * destination;
  const auto entry = memory.read<std::uint64_t>(at);
  const std::uint64_t low = entry & (pid_pointer::valid | pid_pointer::reserved);
  if (low != pid_pointer::valid || entry >> physical_address_width != 0) return {ipi_obstacle::bad_entry, 0};
  return {ipi_obstacle::none, entry & pid_pointer::address};
}

virtualization_result virtualize_ipi(const virtual_apic& a, std::uint8_t vector, std::uint32_t destination) {
  const ipi_target target = find_target(a.v, a.memory, vector, destination, a.physical_address_width);
  if (target.obstacle != ipi_obstacle::none) return traps(vmx::exit_reason::apic_write, vapic::icr_low);
  virtualization_result result;
  result.posted = target.descriptor;
  result.notify = post(a.memory, target.descriptor, vector);
  return result;
}

icr_route route_of(std::uint32_t icr_low, bool x2apic, bool vid, bool ipiv) noexcept {
  for (const icr_route_rule& rule : icr_route_table) {
    if (rule.route == icr_route::self_ipi && !vid) continue;
    if (rule.route == icr_route::ipi && !ipiv) continue;
    if (!(x2apic ? rule.x2apic : rule.xapic)) continue;
    if ((icr_low & rule.mask) != rule.value) continue;
    if (rule.legal_vector && !is_legal_vector(static_cast<std::uint8_t>(icr_low))) continue;
    return rule.route;
  }
  return icr_route::exit;
}

virtualization_result emulate_icr_write(const virtual_apic& a, std::uint16_t offset) {
  const apic_controls controls = apic_controls_of(a.v);
  const std::uint32_t command = a.page().read_32(vapic::icr_low);
  const auto vector = static_cast<std::uint8_t>(command);
  switch (route_of(command, false, has(controls, apic_control::interrupt_delivery),
                   has(controls, apic_control::ipi_virtualization))) {
    case icr_route::self_ipi:
      self_ipi_virtualization(a, vector);
      return {};
    case icr_route::ipi:
      return virtualize_ipi(a, vector, a.page().read_32(vapic::icr_high) >> destination_shift);
    case icr_route::exit:
      break;
  }
  return traps(vmx::exit_reason::apic_write, offset);
}

}  // namespace vmxsys::apic
