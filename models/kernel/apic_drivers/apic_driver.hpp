#pragma once
#include <cstdint>
#include <vector>

#include <vmxsys/cpu/program/instruction.hpp>
#include <vmxsys/cpu/program/program.hpp>

namespace vmxsys::models {

/// How a kernel drives the local APICs of its CPUs: register writes, interprocessor interrupts, INIT and SIPI. What it
/// does acts on the APIC of the CPU that runs it; the driver itself keeps no state. A CPU's number is its APIC ID.
class apic_driver {
 public:
  virtual ~apic_driver() = default;

  /// A write of a register other than the ICR; `msr` is its x2APIC address (in xAPIC mode, 10H times its low byte is
  /// the offset in the register page).
  virtual cpu::isa::operation<void> write(std::uint32_t msr, std::uint32_t value) const = 0;
  /// What has to be set on CPU `cpu` before it can be addressed, besides what all modes have in common.
  virtual cpu::program prepare(unsigned /*cpu*/) const { co_return; }
  /// A fixed interrupt for one CPU.
  virtual cpu::program send(unsigned cpu, std::uint8_t vector) const = 0;
  /// The same for several, with as few ICR writes as the mode allows.
  virtual cpu::program send(const std::vector<unsigned>& cpus, std::uint8_t vector) const = 0;
  /// The low half of the ICR with the physical destination `cpu`: INIT and SIPI.
  virtual cpu::program command(unsigned cpu, std::uint32_t low) const = 0;
  /// A fixed interrupt for all CPUs but this one, by shorthand.
  virtual cpu::program send_to_others(std::uint8_t vector) const = 0;
};

}  // namespace vmxsys::models
