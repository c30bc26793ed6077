#include "device_interrupts.hpp"

#include <limits>

#include "logical_cpu.hpp"
#include "machine.hpp"

namespace vmxsys::cpu {

namespace {
// A device has no local APIC: its messages have no shorthand and no CPU as sender.
constexpr std::uint32_t no_apic = std::numeric_limits<std::uint32_t>::max();
}  // namespace

unsigned device_interrupts::deliver(const apic::interrupt_command& command, cycles now, fact_id cause) {
  if (command.mode == apic::delivery_mode::smi || command.mode == apic::delivery_mode::ext_int) return 0;
  if (command.level_triggered && !command.assert_level) return 0;
  const topology& shape = machine_.config().shape;
  const interrupt_costs& costs = machine_.costs().interrupt;
  // Unlike an IPI's, a device's level is a level: its EOI is broadcast.
  const apic::interrupt_message message{command.mode, command.vector, command.level_triggered};
  unsigned reached = 0;
  machine_.recipients(command, no_apic).for_each([&](unsigned to) {
    const cycles flight = shape.socket_of(to) == at_socket_ ? costs.flight_same_socket : costs.flight_other_socket;
    machine_.cpu(to).post({now + flight, sender_, sequence_++, message, cause});
    ++reached;
  });
  return reached;
}

}  // namespace vmxsys::cpu
