#pragma once
#include <array>
#include <cstdint>
#include <tlm_utils/simple_target_socket.h>

#include <vmxsys/apic/remapping/interrupt_remapping.hpp>
#include <vmxsys/cpu/core/device_interrupts.hpp>

#include "sc_arrivals.hpp"
#include "sc_requester.hpp"

namespace vmxsys::cpu {

/// A TLM target for the MSI window with interrupt remapping and posting in it (VT-d specification, chapter 5): what
/// `interrupt_port` is without. The table and the posted-interrupt descriptors lie in the machine's memory.
///
/// A message enters the machine at cycle floor(T + delay)+1. In phase `message` of that cycle its entry is read, what
/// it says is decided, and a posting is done: PIR and ON in one instant, which takes the descriptor's line away from
/// CPUs and wakes who spins on its words. The interrupt, or the notification, arrives after the flight from the socket
/// the unit sits at. Entries are not cached: a change in memory counts for the next message.
///
/// The `requester_extension` of the transaction names the sender, else `requester` does. A message that is a fault
/// interrupts no CPU; it is counted, and reported as SC_WARNING unless the entry hides it (FPD). One that passes or is
/// remapped but addresses no CPU that takes it is dropped with a warning.
class remapping_unit : public sc_core::sc_module {
 public:
  tlm_utils::simple_target_socket_optional<remapping_unit> socket{"socket"};

  struct fault {
    apic::remapping_step step;
    std::uint32_t index;  ///< of the entry, where one was reached
    apic::requester_id requester;
    apic::msi message;
    cycles at;
  };

  /// At the I/O of socket `at_socket` of the machine.
  remapping_unit(const sc_core::sc_module_name& name, timeline_module& timeline, const apic::remapping_table& table,
                 apic::requester_id requester = 0, unsigned at_socket = 0);
  remapping_unit(const remapping_unit&) = delete;
  remapping_unit& operator=(const remapping_unit&) = delete;

  const char* kind() const override { return "vmxsys::cpu::remapping_unit"; }

  const apic::remapping_table& table() const { return table_; }
  /// What software does through the unit's registers. Takes effect at once: for messages that have not entered yet.
  void set_table(const apic::remapping_table& table) { table_ = table; }

  /// Messages by what became of them.
  std::uint64_t count(apic::remapping_step step) const { return counts_[static_cast<std::size_t>(step)]; }
  std::uint64_t faults() const;
  /// Notifications sent: at most `count(posts)`.
  std::uint64_t notifications() const { return notifications_; }
  /// The last fault, hidden or not.
  const std::optional<fault>& last_fault() const { return last_fault_; }

 private:
  struct request {
    apic::msi message;
    apic::requester_id requester;
  };
  void b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay);
  void act(const request& r, cycles now);
  void report(const fault& f) const;
  void lost(const request& r) const;

  machine& machine_;
  apic::remapping_table table_;
  apic::requester_id requester_;
  std::uint32_t source_;  // of facts
  device_interrupts out_;
  arrivals<request> in_;
  std::array<std::uint64_t, apic::remapping_step_count> counts_{};
  std::uint64_t notifications_ = 0;
  std::optional<fault> last_fault_;
};

}  // namespace vmxsys::cpu
