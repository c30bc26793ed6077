#include "sc_interrupt_port.hpp"

#include <cstdio>

#include <vmxsys/apic/destination.hpp>

namespace vmxsys::cpu {

std::optional<apic::interrupt_command> decode_msi(std::uint64_t address, std::uint32_t data) {
  constexpr std::uint64_t remappable = 1U << 4;
  constexpr std::uint64_t redirection_hint = 1U << 3;
  constexpr std::uint64_t logical = 1U << 2;
  const auto mode = static_cast<apic::delivery_mode>(data >> 8 & 7);
  if ((address & remappable) != 0 || mode == apic::delivery_mode::reserved || mode == apic::delivery_mode::startup)
    return std::nullopt;
  apic::interrupt_command c;
  c.vector = static_cast<std::uint8_t>(data);
  c.mode = mode;
  c.level_triggered = (data >> 15 & 1) != 0;
  c.assert_level = !c.level_triggered || (data >> 14 & 1) != 0;
  const auto low = static_cast<std::uint32_t>(address >> 12 & 0xFF);
  if ((address & redirection_hint) != 0) {
    if (c.mode == apic::delivery_mode::fixed) c.mode = apic::delivery_mode::lowest_priority;
    if ((address & logical) != 0) {
      c.to = apic::destination_mode::logical;
      c.destination = low;  // eight bits name CPUs of cluster 0 only
      return c;
    }
  }
  const auto high = static_cast<std::uint32_t>(address >> 5 & 0x7F);
  c.destination = low == 0xFF && high == 0 ? apic::broadcast_destination : high << 8 | low;
  return c;
}

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
