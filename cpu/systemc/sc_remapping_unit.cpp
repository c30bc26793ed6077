#include "sc_remapping_unit.hpp"

#include <cstdio>

#include <vmxsys/cpu/facts/cpu_facts.hpp>

#include "sc_interrupt_port.hpp"

namespace vmxsys::cpu {

using apic::remapping_result;

remapping_unit::remapping_unit(const sc_core::sc_module_name& name, timeline_module& timeline,
                               const apic::remapping_table& table, apic::requester_id requester, unsigned at_socket)
    : sc_module{name},
      machine_{timeline.hardware()},
      table_{table},
      requester_{requester},
      source_{machine_.add_fact_source()},
      out_{machine_, timeline.add_sender(), at_socket},
      in_{timeline, [this](const request& r, cycles now) { act(r, now); }} {
  socket.register_b_transport(this, &remapping_unit::b_transport);
}

void remapping_unit::b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay) {
  const auto m = msi_of(transaction);
  if (!m) return;
  const auto* sender = transaction.get_extension<requester_extension>();
  in_.push({*m, sender != nullptr ? sender->requester : requester_}, delay);
}

void remapping_unit::act(const request& r, cycles now) {
  const apic::remapping_outcome outcome = apic::remap(table_, machine_.physical(), r.message, r.requester);
  ++counts_[static_cast<std::size_t>(outcome.step)];
  const fact_id cause =
      machine_.facts().record(source_, now,
                              message_remapped_fact{outcome.step, outcome.index, outcome.entry.vector,
                                                    static_cast<std::uint8_t>(outcome.notify.has_value())});
  if (outcome.result() == remapping_result::fault) {
    last_fault_ = {outcome.step, outcome.index, r.requester, r.message, now};
    if (outcome.recorded) report(*last_fault_);
    return;
  }
  if (outcome.notify) ++notifications_;
  const std::optional<apic::interrupt_command> command = outcome.interrupt(table_.x2apic);
  if (!command) {
    if (outcome.result() != remapping_result::posts) lost(r);
    return;
  }
  if (out_.deliver(*command, now, cause) == 0 && (!command->level_triggered || command->assert_level)) lost(r);
}

std::uint64_t remapping_unit::faults() const {
  std::uint64_t all = 0;
  for (const apic::remapping_rule& rule : apic::remapping_rules)
    if (rule.result == remapping_result::fault) all += count(rule.step);
  return all;
}

void remapping_unit::report(const fault& f) const {
  const apic::remapping_rule& rule = apic::rule_of(f.step);
  char line[240];
  std::snprintf(line, sizeof line,
                "%s: the message %08XH written to %llXH by %02X:%02X.%u is a fault, reason %02XH (%s), entry %u, cycle "
                "%llu",
                name(), f.message.data, static_cast<unsigned long long>(f.message.address), f.requester >> 8,
                f.requester >> 3 & 0x1F, f.requester & 7u, rule.reason, rule.name, f.index,
                static_cast<unsigned long long>(f.at.count()));
  SC_REPORT_WARNING(message::remapping_fault, line);
}

void remapping_unit::lost(const request& r) const {
  char line[160];
  std::snprintf(line, sizeof line, "%s: the message %08XH written to %llXH addresses no CPU that takes it", name(),
                r.message.data, static_cast<unsigned long long>(r.message.address));
  SC_REPORT_WARNING(message::lost_interrupt, line);
}

}  // namespace vmxsys::cpu
