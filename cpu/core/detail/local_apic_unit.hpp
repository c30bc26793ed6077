#pragma once
#include <cstdint>

#include <vmxsys/apic/local/local_apic.hpp>
#include <vmxsys/apic/virtualization/notification.hpp>
#include <vmxsys/cpu/core/cpu_core.hpp>
#include <vmxsys/cpu/core/msr_file.hpp>
#include <vmxsys/vmx/vmcs/processor_state.hpp>

namespace vmxsys::cpu {

/// The MSRs of one CPU and its local APIC: registers by number and in the xAPIC page, the APIC timer on its slot, and
/// what leaves for the fabric.
class local_apic_unit final : public vmx::msr_interface {
 public:
  local_apic_unit(cpu_core& core, slot timer)
      : core_{core}, timer_slot_{timer}, msrs_{core.registers, core.vmx_state, core.caps} {}

  const msr_file& msrs() const { return msrs_; }

  /// RDMSR and WRMSR; a read of the TSC gives `tsc`. False: #GP(0).
  bool read(std::uint32_t number, std::uint64_t tsc, std::uint64_t& value, cycles now);
  bool write(std::uint32_t number, std::uint64_t value, cycles now);
  /// MSR lists see the processor's own TSC. SDM Vol. 3C §30.4.
  bool read_msr(std::uint32_t number, std::uint64_t& value) override;
  bool write_msr(std::uint32_t number, std::uint64_t value) override;
  /// A load or store of the CPU's own xAPIC page. SDM Vol. 3A §13.4.1.
  void access_page(instruction& i, cycles now);
  void write_page(std::uint32_t offset, unsigned bytes, std::uint64_t value, cycles now);

  void send_ipi(const apic::interrupt_command& command, fact_id cause, cycles now);
  /// A notification of a posted interrupt, by the CPU's own local APIC, which sends what is legal.
  void notify(const apic::notification& n, fact_id cause, cycles now);
  /// An EOI written by posted-interrupt processing.
  void end_of_interrupt(cycles now);

  void arm_timer(cycles now);
  /// The timer's slot fired.
  void timer_due(cycles now);

 private:
  void note(const apic::register_outcome& outcome, cycles now);
  void broadcast(const apic::eoi_broadcast& eoi, cycles now);

  cpu_core& core_;
  slot timer_slot_;
  msr_file msrs_;
};

}  // namespace vmxsys::cpu
