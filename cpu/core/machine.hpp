#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <vmxsys/apic/local/apic_mode.hpp>
#include <vmxsys/apic/local/arbitration.hpp>
#include <vmxsys/apic/local/icr.hpp>
#include <vmxsys/apic/local/timer.hpp>
#include <vmxsys/cpu/facts/fact.hpp>
#include <vmxsys/cpu/memory/bus.hpp>
#include <vmxsys/cpu/memory/cost_table.hpp>
#include <vmxsys/cpu/memory/cpu_set.hpp>
#include <vmxsys/cpu/memory/memory.hpp>
#include <vmxsys/cpu/memory/topology.hpp>
#include <vmxsys/cpu/program/name_space.hpp>
#include <vmxsys/cpu/time/timeline.hpp>
#include <vmxsys/vmx/vmcs/active_vmcs_store.hpp>
#include <vmxsys/vmx/vmcs/capability.hpp>

#include "cpu_core.hpp"
#include "spin_detectors.hpp"
#include "transition_costs.hpp"

namespace vmxsys::cpu {

class logical_cpu;

/// Gives a CPU the software it runs: called for the bootstrap processor at reset and for the others at SIPI.
class boot_if {
 public:
  virtual ~boot_if() = default;
  /// The strand to run; it must have been started. `entry` is the reset vector or the SIPI's start address.
  virtual strand& boot(logical_cpu& cpu, physical_address entry) = 0;
};

/// An I/O APIC, or another part that has to know that a level-triggered interrupt has been served.
class eoi_listener {
 public:
  virtual ~eoi_listener() = default;
  /// The broadcast of an EOI by `cpu` arrives now, in the phase of messages, `interrupt_costs::eoi_broadcast` and at
  /// least one cycle after the write of the EOI register. SDM Vol. 3A §13.8.5.
  virtual void eoi(std::uint8_t vector, unsigned cpu, cycles now) = 0;
};

struct machine_config {
  topology shape;
  hardware_costs costs;
  vmx::capabilities capabilities;
  apic::timer_clock timer_clock;
  /// The mode in which firmware hands the local APICs over: `xapic` or `x2apic`.
  apic::apic_mode boot_apic = apic::apic_mode::x2apic;
  /// Which CPU gets a lowest-priority interrupt; decided when it leaves its sender.
  apic::arbitration_rule arbitration = apic::arbitration_rule::round_robin;
  detector_maker make_detector;               ///< of each CPU's spin detector; null: none
  std::vector<observing_detector> observers;  ///< on every CPU besides, without a say
  /// The host's hint to detectors, asked at every VM entry: does another thread wait for this CPU? Null: never.
  std::function<bool(unsigned cpu)> overcommitted;
  bool stepped = false;  ///< execute every PAUSE and every poll
};

/// The hardware of one machine without SystemC: a timeline, memory, CPUs with their local APICs, and the fabric that
/// carries interrupt messages between them. Software comes through `boot_if`. `sc_timeline_module.hpp` puts the same
/// machine under a SystemC kernel.
class machine final : public interrupt_fabric {
 public:
  explicit machine(machine_config config);
  ~machine();
  machine(const machine&) = delete;
  machine& operator=(const machine&) = delete;

  cpu::timeline& time() { return time_; }
  cpu::memory& physical() { return memory_; }
  name_space& names() { return names_; }
  fact_bus& facts() { return facts_; }
  const machine_config& config() const { return config_; }
  const hardware_costs& costs() const { return config_.costs; }

  unsigned cpus() const { return static_cast<unsigned>(cpus_.size()); }
  logical_cpu& cpu(unsigned i) { return *cpus_[i]; }

  /// Connects the software; every CPU needs it before the first run.
  void connect(boot_if& software);
  /// Connects, or with null disconnects, what carries accesses to devices outside the machine.
  void connect_bus(bus_if* bus) { bus_ = bus; }
  bus_if* bus() const { return bus_; }
  /// Connects a listener to EOI broadcasts; they are called in the order of connection. Only before the first run.
  void attach(eoi_listener& who);
  /// Runs every event before `end`. The bootstrap processor starts at cycle 0.
  void run_until(cycles end);
  /// Closes the accounting of every CPU at the present and throws `invariant_error` unless it adds up.
  void check_accounting();
  /// Puts every CPU that jumped over loop iterations back to where it exactly is now. Changes nothing that can be
  /// observed.
  void materialise();

  /// Sends an interprocessor interrupt: one message to each addressed CPU after its flight.
  void send(const apic::interrupt_command& command, unsigned from, cycles now, fact_id cause) override;
  /// The CPUs that a command reaches: those it addresses, and of a lowest-priority one the winner of the arbitration
  /// among those that would accept it, which this call decides. `sender`: hardware ID of the local APIC that sends it;
  /// only shorthands look at it.
  cpu_set recipients(const apic::interrupt_command& command, std::uint32_t sender);
  /// A message from outside the CPUs (a device, a bridge); `sender` orders messages of one cycle, and must be at least
  /// the number of CPUs.
  void post(unsigned to, cycles at, unsigned sender, apic::interrupt_message message);

  /// A local APIC enters or leaves x2APIC mode.
  void note_apic_mode(bool x2apic) override { not_x2apic_ += x2apic ? -1 : 1; }
  /// The EOI of a level-triggered interrupt leaves `from`'s local APIC.
  void broadcast_eoi(std::uint8_t vector, unsigned from, cycles now) override;

  /// What VM entries and exits cost.
  const transition_costs& transitions() const { return transitions_; }
  transition_plans& plans() { return plans_; }

  /// The processors' copies of active VMCSs.
  vmx::active_vmcs_store& active_vmcs() { return active_vmcs_; }

  /// A new source of facts for a software component.
  std::uint32_t add_fact_source() { return facts_.add_source(); }

 private:
  machine_config config_;
  transition_costs transitions_;
  transition_plans plans_{transitions_};
  cpu::timeline time_;
  fact_bus facts_;
  cpu::memory memory_;
  name_space names_;
  bus_if* bus_ = nullptr;
  int not_x2apic_ = 0;  // local APICs in another mode; with none, IDs say who is addressed
  std::uint32_t last_winner_ = ~std::uint32_t{0};
  struct eoi_message {
    cycles at;
    std::uint8_t vector;
    unsigned from;
  };
  void deliver_eois(cycles now);
  std::vector<eoi_listener*> eoi_listeners_;
  std::deque<eoi_message> eois_;  // all fly alike, so the order of sending is that of arrival
  slot eoi_slot_{};               // once there is a listener
  vmx::active_vmcs_store active_vmcs_;
  std::vector<std::unique_ptr<logical_cpu>> cpus_;
};

}  // namespace vmxsys::cpu
