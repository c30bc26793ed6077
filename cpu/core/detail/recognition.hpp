#pragma once
#include <cstdint>

#include <vmxsys/cpu/core/cpu_core.hpp>
#include <vmxsys/vmx/events/boundary.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>

#include "guest_apic.hpp"
#include "guest_timers.hpp"
#include "monitor_wait.hpp"

namespace vmxsys::cpu {

/// Acting on an event: what the CPU does at the boundary.
struct boundary_decision {
  enum class kind : std::uint8_t { none, deliver, vm_exit, posting, guest_timer, virtual_interrupt };
  kind what = kind::none;
  std::uint8_t vector = 0;  ///< deliver: through the IDT; posting: the notification vector
  vmx::exit_info exit{};
};

/// What is pending for a CPU, and which of it is recognised at a boundary: in a guest by the one table of priorities
/// (vmx/events/boundary.hpp), outside NMIs and interrupts.
class recognition {
 public:
  recognition(cpu_core& core, const guest_timers& timers, guest_apic& virtual_apic, const monitor_wait& wait)
      : core_{core}, timers_{timers}, virtual_apic_{virtual_apic}, wait_{wait} {}

  // Arrivals.
  void note_nmi() { nmi_pending_ = true; }
  void note_init() { init_pending_ = true; }
  /// A start-up IPI for a guest that waits for it; dropped in every other state.
  void note_sipi(std::uint8_t vector);
  void reset() { nmi_pending_ = false; }

  // VM entry and VM exit.
  /// `mtf`: the control "monitor trap flag"; `mtf_pending`: the entry has made its exit pending.
  void enter(bool init, bool mtf, bool mtf_pending);
  /// Returns true if an INIT was pending: this exit came first.
  bool leave();

  bool nmi_pending() const { return nmi_pending_; }
  /// At a boundary outside a guest: the vector to deliver, -1 for none.
  int at_root_boundary();
  /// At a boundary in a guest: the most urgent event that acts; `decide` says how.
  vmx::boundary_event at_guest_boundary(cycles now);
  /// Acting on the event takes it from what is pending.
  boundary_decision decide(vmx::boundary_event event);

  /// Something pending ends an interruptible activity.
  bool wakes() const;
  /// A monitor trap flag wants every boundary seen.
  bool steps_singly() const { return core_.in_guest && mtf_ != mtf_state::off; }
  /// The instruction about to issue is the last before an MTF exit.
  bool mtf_armed() const { return mtf_ == mtf_state::armed; }
  /// The processor has done work that was no instruction: one still has to execute before an MTF exit.
  void note_no_instruction(cycles now);

 private:
  enum class mtf_state : std::uint8_t { off, before_first, armed, pending };

  vmx::boundary_event due_in_guest(bool shadow) const;
  boundary_decision decide_interrupt();
  boundary_decision decide_debug_trap();

  cpu_core& core_;
  const guest_timers& timers_;
  guest_apic& virtual_apic_;
  const monitor_wait& wait_;
  int sipi_pending_ = -1;  // vector
  bool init_pending_ = false;
  bool nmi_pending_ = false;
  mtf_state mtf_ = mtf_state::off;
  cycles mtf_since_{0};  // armed in this cycle
};

}  // namespace vmxsys::cpu
