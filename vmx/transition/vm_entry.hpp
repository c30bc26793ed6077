#pragma once
#include <cstdint>

#include <vmxsys/vmx/base/cycles.hpp>
#include <vmxsys/vmx/events/boundary.hpp>
#include <vmxsys/vmx/instructions/instruction.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/processor_state.hpp>
#include <vmxsys/vmx/vmcs/register_bits.hpp>

#include "after_entry.hpp"
#include "entry.hpp"
#include "guest_state.hpp"
#include "msr_list.hpp"
#include "transition_work.hpp"
#include "vm_exit.hpp"

namespace vmxsys::vmx {

/// What else a VM entry has to know of the moment it happens in. The defaults fit nearly every entry.
struct entry_situation {
  bool a20_masked = false;
  bool inside_smx = false;
  /// A machine check occurs during the entry and is reported as a failed entry, exit 41. SDM Vol. 3C §29.9.
  bool machine_check = false;
  /// What has arrived and waits: interrupts that the local APIC offers, NMI, SMI, SIPI. An INIT that was latched in
  /// root operation is added by the entry.
  boundary_state arrived{};
};

/// What an entry behind its checks has come to. False: the MSR-load list is bad, and only `loaded` holds.
struct entered_guest {
  msr_list_result loaded;  ///< the VM-entry MSR-load list, as far as it was processed
  /// The injected event, activity state, interruptibility and pending debug exceptions.
  entry_aftermath after;
  /// The first boundary. With an injected event it holds once that is delivered, with RFLAGS as they are then.
  boundary_state boundary;
  /// The VMX-preemption timer: its count when the guest begins, and the cycle in which it reaches 0 (`never` without).
  std::uint32_t preemption_timer = 0;
  cycles preemption_timer_expiry = cycles::never();

  explicit operator bool() const noexcept { return static_cast<bool>(loaded); }
};

/// How a VM entry ended.
///
/// | `result.outcome` | what has happened |
/// |---|---|
/// | `enter` | the processor is in non-root operation; `first`, `guest_tsc` and all of `entered_guest` hold |
/// | `failed_entry` | exit 33, 34 or 41 in `exit`; the host runs again, unless `abort` says otherwise |
/// | `fail_invalid`, `fail_valid` | VMfail; `result.error` is the number, written to the VMCS for `fail_valid` |
/// | `fault_ud`, `fault_gp`, `vm_exit` | the instruction faults, or exits to an outer hypervisor |
///
/// `result.check` and `result.section` name the rule that a failed entry or a VMfail broke.
struct vm_entry_outcome : entered_guest {
  entry_result result;
  exit_info exit{};
  vmx_abort abort = vmx_abort::none;
  /// What the processor does first: deliver `after.event`, act on an event, execute, or wait.
  first_action first;
  /// RDTSC of the guest in the cycle of the entry.
  std::uint64_t guest_tsc = 0;

  /// What there was to do, for charging it; after a failed entry that includes the way back to the host.
  transition_work work;

  explicit operator bool() const noexcept { return static_cast<bool>(result); }
};

/// A whole VM entry in the order of SDM Vol. 3C §29: checks, guest state, PDPTEs, the MSR-load list, the switch to
/// non-root operation, what the injected event does to the state, what the entry makes pending, the preemption timer.
/// `p` is the host's state and becomes the guest's; after a failed entry it is the host's as a VM exit loads it.
/// `unit.state` goes to non-root operation. `now` is the processor's own TSC.
///
/// Left to the caller: delivering `after.event` if `first` says so, RVI and SVI with virtual-interrupt delivery
/// (`apic::at_entry`), invalidating translations if `work.translations_invalidated`, and an INIT that is pending in
/// `boundary`: if another exit takes the guest first, it is latched again (`vmx_state::latched_init`).
///
/// A machine that spreads the steps over time calls the pieces: `check_entry`, then `enter_guest`, then
/// `perform_failed_entry` if that failed; it counts with `entry_work`.
vm_entry_outcome perform_vm_entry(const vmx_unit& unit, entry_instruction instruction, entry_context& context,
                                  processor_state& p, msr_interface& msrs, cycles now, const entry_situation& at = {},
                                  const exit_options& options = {});

/// All of an entry that comes after its checks. If the MSR-load list is bad, guest state and the list's entries before
/// the bad one have been loaded, nothing of the host has, and nothing is recorded yet (`failed_msr_load_exit`).
/// Precondition: `check_entry` said `enter`.
entered_guest enter_guest(const vmx_unit& unit, entry_instruction instruction, processor_state& p, msr_interface& msrs,
                          cycles now, const boundary_state& arrived = {}, const exit_options& options = {});

/// The mode in which this processor executes its next instruction. A20 and SMX are not in its registers.
inline execution_mode mode_of(const processor_state& p) noexcept {
  execution_mode m;
  m.cpl = p.cpl();
  m.cr0 = p.cr0;
  m.cr4 = p.cr4;
  m.virtual_8086 = (p.rflags & rflags_bits::vm) != 0;
  m.long_mode = (p.efer & efer_bits::lma) != 0;
  m.code_64_bit = (p[segment_name::cs].rights & access_rights::long_mode) != 0;
  m.mov_ss_blocking = p.mov_ss_blocking;
  return m;
}

}  // namespace vmxsys::vmx
