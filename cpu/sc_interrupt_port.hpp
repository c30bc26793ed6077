#pragma once
#include <optional>
#include <tlm_utils/simple_target_socket.h>

#include <vmxsys/apic/icr.hpp>

#include "sc_timeline_module.hpp"

namespace vmxsys::cpu {

/// The architectural window for message-signalled interrupts, FEE00000H..FEEFFFFFH.
inline constexpr physical_address msi_window = 0xFEE00000;
inline constexpr std::uint64_t msi_window_size = 0x100000;

/// A message-signalled interrupt as an interrupt command (SDM Vol. 3A §13.11): address bits 19:12 are the destination,
/// bit 2 its mode (used with the redirection hint, bit 3), data bits 7:0 the vector and 10:8 the delivery mode. Address
/// bits 11:5 are bits 14:8 of a physical destination: the "extended destination ID" that hypervisors and guests agree
/// on; destination FFH with those bits clear addresses everyone. No value for a message in remappable format (address
/// bit 4) and for the reserved delivery modes 3 and 6.
std::optional<apic::interrupt_command> decode_msi(std::uint64_t address, std::uint32_t data);

/// A TLM target for the MSI window: one write of four bytes at a four-byte aligned address is one interrupt message. It
/// enters the machine at cycle floor(T + delay)+1 and reaches the addressed local APICs after a flight, as an IPI from
/// the socket the port sits at would. The write is posted: it never waits, and its initiator learns nothing.
///
/// With the redirection hint or lowest priority, the lowest-numbered of the addressed CPUs gets the message. A message
/// that interrupts nobody (no such CPU, reserved or remappable format, SMI, ExtINT) is dropped with a warning. Reads
/// are a command error. Addresses are physical, or offsets into the window as an interconnect may pass them on.
class interrupt_port : public sc_core::sc_module {
 public:
  tlm_utils::simple_target_socket_optional<interrupt_port> socket{"socket"};

  /// At the I/O of socket `at_socket` of the machine.
  interrupt_port(const sc_core::sc_module_name& name, timeline_module& timeline, unsigned at_socket = 0);
  interrupt_port(const interrupt_port&) = delete;
  interrupt_port& operator=(const interrupt_port&) = delete;

  const char* kind() const override { return "vmxsys::cpu::interrupt_port"; }

 private:
  void b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay);
  void send(std::uint64_t address, std::uint32_t data, const sc_core::sc_time& delay);
  void lost(std::uint64_t address, std::uint32_t data, const char* why) const;

  timeline_module& timeline_;
  unsigned sender_;
  unsigned at_socket_;
};

}  // namespace vmxsys::cpu
