#pragma once
#include <cstdint>
#include <memory>

#include <vmxsys/apic/local/local_apic.hpp>
#include <vmxsys/cpu/facts/accounting.hpp>
#include <vmxsys/cpu/program/strand.hpp>
#include <vmxsys/vmx/spin_detectors/spin_detector.hpp>
#include <vmxsys/vmx/vmcs/processor.hpp>

#include "cpu_core.hpp"
#include "inbox.hpp"

namespace vmxsys::cpu {

class boot_if;
class machine;

/// One logical processor of a machine: executes strands, recognises events at instruction boundaries, enters and leaves
/// VMX non-root operation, and accounts every cycle.
///
/// An instruction's life (SDM Vol. 3A §6.9, Vol. 3C §28, §32): at a boundary, pending events are recognised in the one
/// order of priority; otherwise the strand issues an instruction; VMX state decides whether it exits; otherwise it
/// takes its cycles and has its effect when it completes. `compute`, `spin_while` and HLT can be interrupted in
/// between.
///
/// Made by its machine; `machine::cpu` hands it out. Programs find the one they run on with `isa::this_cpu()`.
class logical_cpu {
 public:
  virtual ~logical_cpu();
  logical_cpu(const logical_cpu&) = delete;
  logical_cpu& operator=(const logical_cpu&) = delete;

  // -- what it is, at any time --------------------------------------------------------------------------------------
  unsigned number() const { return core_.number; }
  machine& in() { return machine_; }
  cycles now() const { return core_.time.now(); }
  vmx_operation current_operation() const { return core_.current_operation(); }
  /// The strand it executes; null before it starts.
  strand* active() const { return core_.active; }
  bool interrupts_enabled() const { return core_.interrupts_enabled; }
  bool halted() const { return core_.activity == cpu_activity::halted; }
  apic::local_apic& local_apic() { return core_.local_apic; }
  const apic::local_apic& local_apic() const { return core_.local_apic; }
  const vmx::vmx_state& vmx_state() const { return core_.vmx_state; }
  /// The spin detector that acts.
  virtual vmx::spin_detector& detector() = 0;
  accounting& account() { return core_.account; }
  const accounting& account() const { return core_.account; }
  /// Events of the timeline that moved its instruction stream: the engine's work for this CPU.
  std::uint64_t steps() const { return steps_; }
  /// The last fact of an interrupt message or timer that reached this CPU: the cause of what it does next.
  fact_id last_cause() const { return core_.cause; }

  // -- for software that runs on it ---------------------------------------------------------------------------------
  /// IDTR base and GS base as the running code loaded them (LIDT, WRGSBASE); VM entry and exit swap them with the VMCS.
  /// The IDTR names an interrupt table, GS the per-CPU data of the kernel that runs.
  std::uint64_t idtr_base() const { return core_.idtr_base; }
  void set_idtr_base(std::uint64_t base) { core_.idtr_base = base; }
  std::uint64_t gs_base() const { return core_.gs_base; }
  void set_gs_base(std::uint64_t base) { core_.gs_base = base; }

  // -- from outside the CPUs: between two runs of the timeline, or in phase `message` -------------------------------
  /// Pin LINT0 or LINT1 (`pin` 0, 1) of its local APIC is driven high or low. SDM Vol. 3A §13.5.1.
  virtual void drive_lint(unsigned pin, bool high) = 0;
  /// A local source behind an LVT entry (its number in the x2APIC map: thermal, performance, CMCI) raises its
  /// interrupt.
  virtual void raise_local(std::uint32_t lvt_msr) = 0;
  /// An interrupt message on its way to this CPU. It must arrive after the present cycle.
  virtual void post(const inbox::entry& message) = 0;
  /// A write of the CPU's xAPIC page from outside it, in an event of the machine; see `apic::local_apic::write_page`.
  virtual void write_apic_page(std::uint32_t offset, unsigned bytes, std::uint64_t value, cycles now) = 0;
  /// The answer to the bus request with this tag: its instruction completes at `at`, which lies not before the present.
  /// Dropped if the CPU does not wait for it any more (an INIT came in between).
  virtual void bus_answer(std::uint64_t tag, std::uint64_t value, cycles at) = 0;

  // -- for its machine ----------------------------------------------------------------------------------------------
  /// The software it boots. The bootstrap processor starts at cycle 0.
  virtual void connect(boot_if& software) = 0;
  /// Puts a CPU that jumped over iterations of a spin loop back to where it exactly is. Changes nothing observable.
  virtual void materialise(cycles now) = 0;
  /// Books the time up to `now`; the open bucket stays open.
  virtual void close_accounting(cycles now) = 0;

 protected:
  logical_cpu(machine& in, const cpu_surroundings& around, slot step) : machine_{in}, core_{around, step} {}

  machine& machine_;
  std::uint64_t steps_ = 0;
  cpu_core core_;
};

/// `machine`'s way to make one.
std::unique_ptr<logical_cpu> make_logical_cpu(machine& in, unsigned number);

}  // namespace vmxsys::cpu
