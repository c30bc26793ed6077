#include "sc_interrupt_port.hpp"

#include <cstdio>

#include "sc_register_access.hpp"

namespace vmxsys::cpu {

std::optional<apic::msi> msi_of(tlm::tlm_generic_payload& transaction) {
  const auto access = register_access_of(transaction, apic::msi_window, apic::msi_window_size);
  if (!access) return std::nullopt;
  if (!access->write) {
    transaction.set_response_status(tlm::TLM_COMMAND_ERROR_RESPONSE);
    return std::nullopt;
  }
  if (access->bytes != 4 || access->offset % 4 != 0) {
    transaction.set_response_status(tlm::TLM_BURST_ERROR_RESPONSE);
    return std::nullopt;
  }
  return apic::msi{apic::msi_window + access->offset, static_cast<std::uint32_t>(access->value)};
}

interrupt_port::interrupt_port(const sc_core::sc_module_name& name, timeline_module& timeline, unsigned at_socket)
    : sc_module{name},
      out_{timeline.hardware(), timeline.add_sender(), at_socket},
      in_{timeline, [this](const apic::msi& m, cycles now) { act(m, now); }} {
  socket.register_b_transport(this, &interrupt_port::b_transport);
}

void interrupt_port::b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay) {
  if (const auto m = msi_of(transaction)) in_.push(*m, delay);
}

void interrupt_port::act(const apic::msi& m, cycles now) {
  const std::optional<apic::interrupt_command> command = apic::decode_msi(m);
  if (!command)
    lost(m, "a reserved or remappable format");
  else if (command->mode == apic::delivery_mode::smi || command->mode == apic::delivery_mode::ext_int)
    lost(m, "a delivery mode that is not modelled");
  else if (out_.deliver(*command, now) == 0 && (!command->level_triggered || command->assert_level))
    lost(m, "no CPU that takes it");
}

void interrupt_port::lost(const apic::msi& m, const char* why) const {
  char line[160];
  std::snprintf(line, sizeof line, "%s: the message %08XH written to %llXH interrupts no CPU: %s", name(), m.data,
                static_cast<unsigned long long>(m.address), why);
  SC_REPORT_WARNING(message::lost_interrupt, line);
}

}  // namespace vmxsys::cpu
