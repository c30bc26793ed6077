#pragma once
#include <cstdint>

#include <vmxsys/apic/local/icr.hpp>
#include <vmxsys/cpu/facts/fact.hpp>
#include <vmxsys/cpu/time/timeline.hpp>

namespace vmxsys::cpu {

class machine;

/// Where interrupts of devices enter the fabric: one port at the I/O of one socket. For code that carries the messages
/// (the modules of message windows, or a device model in a bench without SystemC).
class device_interrupts {
 public:
  /// `sender` orders messages of one cycle; at least the number of CPUs, and used once only.
  device_interrupts(machine& hardware, unsigned sender, unsigned at_socket)
      : machine_{hardware}, sender_{sender}, at_socket_{at_socket} {}

  /// Delivers a command that reaches the fabric now, in one of the machine's events: it goes to the CPUs it addresses
  /// at this cycle, or to the winner of the arbitration, and arrives after the flight from the socket. The number of
  /// CPUs it goes to. SMI and ExtINT go to no CPU; a level-triggered message that de-asserts, too.
  unsigned deliver(const apic::interrupt_command& command, cycles now, fact_id cause = {});

 private:
  machine& machine_;
  unsigned sender_;
  unsigned at_socket_;
  std::uint64_t sequence_ = 0;
};

}  // namespace vmxsys::cpu
