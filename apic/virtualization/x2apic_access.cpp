#include "x2apic_access.hpp"

#include <vmxsys/apic/local/interrupt.hpp>

#include "ipi_virtualization.hpp"

namespace vmxsys::apic {

namespace {

constexpr bool fits(const x2apic_rule& rule, apic_controls controls, std::uint32_t msr, bool write) noexcept {
  return rule.write == write && msr >= rule.first && msr <= rule.last && (rule.needs & controls) != 0;
}

virtualization_result self_ipi(const virtual_apic& a, std::uint8_t vector) {
  if (!is_legal_vector(vector)) return traps(vmx::exit_reason::apic_write, vapic::self_ipi);
  self_ipi_virtualization(a, vector);
  return {};
}

virtualization_result ipi(const virtual_apic& a, std::uint64_t command) {
  const auto low = static_cast<std::uint32_t>(command);
  if (route_of(low, true, false, true) != icr_route::ipi) return traps(vmx::exit_reason::apic_write, vapic::icr_low);
  return virtualize_ipi(a, static_cast<std::uint8_t>(low), static_cast<std::uint32_t>(command >> 32));
}

// The value lies in the page already.
virtualization_result follow(const virtual_apic& a, x2apic_effect effect, std::uint64_t value) {
  switch (effect) {
    case x2apic_effect::tpr:
      return tpr_virtualization(a);
    case x2apic_effect::eoi:
      return eoi_virtualization(a);
    case x2apic_effect::self_ipi:
      return self_ipi(a, static_cast<std::uint8_t>(value));
    case x2apic_effect::ipi:
      return ipi(a, value);
    case x2apic_effect::native:
    case x2apic_effect::read:
      break;
  }
  return {};
}

}  // namespace

const x2apic_rule& find_x2apic_rule(apic_controls controls, std::uint32_t msr, bool write) noexcept {
  for (const x2apic_rule& rule : x2apic_table)
    if (fits(rule, controls, msr, write)) return rule;
  return x2apic_table.back();
}

x2apic_outcome read_x2apic(const virtual_apic& a, std::uint32_t msr) {
  x2apic_outcome outcome;
  if (find_x2apic_rule(apic_controls_of(a.v), msr, false).effect != x2apic_effect::read) return outcome;
  outcome.verdict = x2apic_verdict::virtualized;
  outcome.value = a.page().read_64(offset_of(msr));
  return outcome;
}

x2apic_outcome write_x2apic(const virtual_apic& a, std::uint32_t msr, std::uint64_t value) {
  x2apic_outcome outcome;
  const x2apic_rule& rule = find_x2apic_rule(apic_controls_of(a.v), msr, true);
  if (rule.effect == x2apic_effect::native) return outcome;
  if ((value & rule.must_be_zero) != 0) {
    outcome.verdict = x2apic_verdict::fault_gp;
    return outcome;
  }
  outcome.verdict = x2apic_verdict::virtualized;
  a.page().write_64(offset_of(msr), value);
  outcome.result = follow(a, rule.effect, value);
  return outcome;
}

std::uint64_t read_cr8(const virtual_apic& a) { return a.page().vtpr() >> 4; }

virtualization_result write_cr8(const virtual_apic& a, std::uint64_t value) {
  a.page().write_32(vapic::tpr, static_cast<std::uint32_t>(value & 15) << 4);
  return tpr_virtualization(a);
}

}  // namespace vmxsys::apic
