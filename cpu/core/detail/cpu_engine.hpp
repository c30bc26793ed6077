#pragma once
#include <cstdint>
#include <optional>
#include <utility>

#include <vmxsys/cpu/core/inbox.hpp>
#include <vmxsys/cpu/core/logical_cpu.hpp>
#include <vmxsys/cpu/core/machine.hpp>
#include <vmxsys/vmx/events/boundary.hpp>
#include <vmxsys/vmx/instructions/instruction.hpp>

#include "guest_apic.hpp"
#include "guest_timers.hpp"
#include "instruction_unit.hpp"
#include "interruptible.hpp"
#include "local_apic_unit.hpp"
#include "monitor_wait.hpp"
#include "recognition.hpp"
#include "spin_loop.hpp"
#include "vm_transition.hpp"

namespace vmxsys::cpu {

/// The engine of a logical CPU: moves the instruction stream from boundary to boundary, and lets the parts do the rest.
/// A part knows the core and the parts above it in the list of members, never the engine.
class cpu_engine final : public logical_cpu {
 public:
  cpu_engine(machine& in, unsigned number);

  vmx::spin_detector& detector() override { return spin_.detectors().acting(); }
  void drive_lint(unsigned pin, bool high) override;
  void raise_local(std::uint32_t lvt_msr) override;
  void post(const inbox::entry& message) override;
  void write_apic_page(std::uint32_t offset, unsigned bytes, std::uint64_t value, cycles now) override;
  void bus_answer(std::uint64_t tag, std::uint64_t value, cycles at) override;
  void connect(boot_if& software) override;
  void materialise(cycles now) override { spin_.materialise(now); }
  void close_accounting(cycles now) override;

 private:
  // Slots of the timeline.
  static cpu_engine& of(void* self) { return *static_cast<cpu_engine*>(self); }
  static void on_step(void* self, cycles now) { of(self).step(now); }
  static void on_inbox(void* self, cycles now) { of(self).take_messages(now); }
  static void on_apic_timer(void* self, cycles now);
  static void on_guest_timers(void* self, cycles now);

  // The instruction stream (cpu_engine.cpp).
  void step(cycles now);
  void proceed(cycles now);
  bool begin(instruction& i, cycles now);
  bool execute(instruction& i, cycles now);
  bool finish_mmio(instruction& i, cycles now);
  bool begin_bus_access(instruction& i, cycles now);
  void proceed_spin(cycles now);
  void finish(instruction& i, cycles now);
  void finish_memory(memory_instruction& i, cycles now);
  bool finish_entry(cycles now);
  void switch_strand(isa::switch_operation& op, cycles now);

  // Events (cpu_events.cpp).
  void take_messages(cycles now);
  void accept(const apic::interrupt_message& message, cycles now);
  void accept_local(const std::optional<apic::interrupt_message>& message, cycles now);
  void disturb(cycles now);
  bool recognise(cycles now) {
    if (core_.in_guest) {
      const vmx::boundary_event event = events_.at_guest_boundary(now);
      return event != vmx::boundary_event::none && act_on(event, now);
    }
    if (core_.local_apic.highest_request() >= 0 || events_.nmi_pending()) return recognise_in_root(now);
    core_.shadowed = std::exchange(core_.shadow, false);  // the short way of `at_root_boundary`
    return false;
  }
  bool recognise_in_root(cycles now);
  bool act_on(vmx::boundary_event event, cycles now);
  void end_processing(cycles now);
  void deliver(std::uint8_t vector, cycles now, cycles cost);
  void return_from_interrupt(cycles now);
  void halt(cycles now);
  void wake(cycles now);
  void reset_to_wait_for_sipi(cycles now);
  void start_at(physical_address entry, cycles now);

  slot inbox_slot_;
  vmx::vmx_unit vmx_unit_;
  local_apic_unit own_apic_;
  guest_timers timers_;
  monitor_wait wait_;
  spin_loop spin_;
  interruptible activity_;
  guest_apic virtual_apic_;
  recognition events_;
  vm_transition transition_;
  instruction_unit instructions_;

  inbox inbox_;
  boot_if* software_ = nullptr;
  std::uint64_t bus_tag_ = 0;  // of the last request
  std::uint64_t sent_ = 0;     // messages sent, to number them
};

}  // namespace vmxsys::cpu
