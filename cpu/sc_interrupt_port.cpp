#include "sc_interrupt_port.hpp"

#include <cstdio>

#include <vmxsys/apic/destination.hpp>

namespace vmxsys::cpu {

interrupt_port::interrupt_port(const sc_core::sc_module_name& name, timeline_module& timeline, unsigned at_socket)
    : sc_module{name}, timeline_{timeline}, sender_{timeline.add_sender()}, at_socket_{at_socket} {
  socket.register_b_transport(this, &interrupt_port::b_transport);
}

void interrupt_port::b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay) {
  transaction.set_dmi_allowed(false);
  std::uint64_t address = transaction.get_address();
  if (address >= msi_window) address -= msi_window;
  tlm::tlm_response_status status = tlm::TLM_OK_RESPONSE;
  if (address >= msi_window_size) {
    status = tlm::TLM_ADDRESS_ERROR_RESPONSE;
  } else if (transaction.is_read()) {
    status = tlm::TLM_COMMAND_ERROR_RESPONSE;
  } else if (transaction.is_write()) {
    if (transaction.get_byte_enable_ptr() != nullptr) {
      status = tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE;
    } else if (transaction.get_data_length() != 4 || transaction.get_streaming_width() < 4 || address % 4 != 0) {
      status = tlm::TLM_BURST_ERROR_RESPONSE;
    } else {
      const unsigned char* d = transaction.get_data_ptr();
      send(address, d[0] | d[1] << 8 | d[2] << 16 | static_cast<std::uint32_t>(d[3]) << 24, delay);
    }
  }
  transaction.set_response_status(status);
}

void interrupt_port::send(std::uint64_t address, std::uint32_t data, const sc_core::sc_time& delay) {
  const std::optional<apic::interrupt_command> command = decode_msi(address, data);
  if (!command) {
    lost(address, data, "a reserved or remappable format");
    return;
  }
  if (command->mode == apic::delivery_mode::smi || command->mode == apic::delivery_mode::ext_int) {
    lost(address, data, "a delivery mode that is not modelled");
    return;
  }
  const cycles at = timeline_.arrival(delay);
  const machine& m = timeline_.hardware();
  const topology& shape = m.config().shape;
  const interrupt_costs& costs = m.costs().interrupt;
  const apic::interrupt_message message{command->mode, command->vector, command->level_triggered};
  bool sent = false;
  for (unsigned i = 0; i < m.cpus(); ++i) {
    if (!apic::addresses(*command, 0, i)) continue;
    timeline_.post(sender_, i,
                   at + (shape.socket_of(i) == at_socket_ ? costs.flight_same_socket : costs.flight_other_socket),
                   message);
    sent = true;
    if (command->mode == apic::delivery_mode::lowest_priority) break;
  }
  if (!sent) lost(address, data, "no such CPU");
}

void interrupt_port::lost(std::uint64_t address, std::uint32_t data, const char* why) const {
  char line[160];
  std::snprintf(line, sizeof line, "%s: the message %08XH written to %llXH interrupts nobody: %s", name(), data,
                static_cast<unsigned long long>(msi_window + address), why);
  SC_REPORT_WARNING(message::lost_interrupt, line);
}

}  // namespace vmxsys::cpu
