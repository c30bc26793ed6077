#pragma once
#include <tlm_utils/simple_target_socket.h>

#include <vmxsys/apic/remapping/msi.hpp>
#include <vmxsys/cpu/core/device_interrupts.hpp>

#include "sc_arrivals.hpp"

namespace vmxsys::cpu {

/// A TLM target for the MSI window where no interrupt remapping is: one write of four bytes at a four-byte aligned
/// address is one interrupt message. It enters the machine at cycle floor(T + delay)+1, is addressed and, with lowest
/// priority, arbitrated there, and reaches the local APICs after a flight, as an IPI from the socket the port sits at
/// would. The write is posted: it never waits, and its initiator learns nothing.
///
/// A message that interrupts no CPU (none takes it, reserved or remappable format, SMI, ExtINT) is dropped with
/// a warning. Reads are a command error. Addresses are physical, or offsets into the window as an interconnect may pass
/// them on.
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
  void act(const apic::msi& m, cycles now);
  void lost(const apic::msi& m, const char* why) const;

  device_interrupts out_;
  arrivals<apic::msi> in_;
};

/// Answers the base protocol for a target that is the MSI window: the message, if the transaction is one.
std::optional<apic::msi> msi_of(tlm::tlm_generic_payload& transaction);

}  // namespace vmxsys::cpu
