#pragma once
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/instructions/instruction.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/processor_state.hpp>

#include "guest_state.hpp"
#include "host_state.hpp"
#include "msr_list.hpp"
#include "transition_work.hpp"

namespace vmxsys::vmx {

/// VMX aborts, by the value of the VMX-abort indicator; SDM Vol. 3C §30.7.
enum class vmx_abort : std::uint8_t {
  none = 0,
  saving_guest_msrs = 1,
  host_pdptes = 2,
  corrupted_vmcs = 3,
  loading_host_msrs = 4,
  machine_check = 5,
  leaving_ia_32e_mode = 6,
};
struct vmx_abort_info {
  vmx_abort abort;
  const char* name;
  const char* section;  ///< of the step it ends
};
/// By number, from 1. Contiguous; `vmx_abort_count` rows.
const vmx_abort_info* vmx_abort_table() noexcept;
inline constexpr std::size_t vmx_abort_count = 6;
const char* name_of(vmx_abort abort) noexcept;

/// How a VM exit, or what follows a failed entry, ended. After an abort the lists and the work tell how far it came.
struct exit_outcome {
  vmx_abort abort = vmx_abort::none;
  msr_list_result stored;
  msr_list_result loaded;
  transition_work work;

  /// Software goes on at the host's RIP.
  explicit operator bool() const noexcept { return abort == vmx_abort::none; }
};

/// A whole VM exit in the order of SDM Vol. 3C §30: record the exit information, save guest state, store guest MSRs,
/// load host state, load host MSRs. `p` is the guest's state and becomes the host's; `unit.state` goes to root
/// operation. Translations are the caller's to invalidate if `work.translations_invalidated`.
///
/// A machine that spreads the steps over time calls the pieces in this order and counts with `exit_work`:
/// `vmcs_corrupted`, `record_exit`, `save_guest_state`, `store_guest_msrs`, `switch_to_host`, `load_host_msrs`; an
/// abort at any point is `enter_vmx_abort`.
///
/// Precondition: non-root operation, so there is a current VMCS.
exit_outcome perform_vm_exit(const vmx_unit& unit, processor_state& p, msr_interface& msrs, const exit_info& exit,
                             const exit_situation& at = {}, const exit_options& options = {});

/// What follows a VM entry that failed with exit reason 33, 34 or 41: reason and qualification are recorded, the host
/// state and the VM-exit MSR-load list are loaded; the guest-state area, the other exit information and the VM-entry
/// valid bit stay. `nmi_blocking`: as it was before the entry. SDM Vol. 3C §29.8.
exit_outcome perform_failed_entry(const vmx_unit& unit, processor_state& p, msr_interface& msrs, const exit_info& exit,
                                  bool nmi_blocking, const exit_options& options = {});

/// The current VMCS cannot be used: its revision is not this processor's any more. VMX abort 3. (Its copy in the
/// processor is safe from stray writes to memory here; this can come from a damaged file or checkpoint.)
bool vmcs_corrupted(const vmx_unit& unit) noexcept;

/// The part of an exit from guest to host registers: aborts 6 and 5, the host state, its PDPTEs. Does not block NMIs.
vmx_abort switch_to_host(const vmx_unit& unit, processor_state& p, const exit_situation& at = {});

/// Writes the indicator to the VMCS region in memory and to its copy, and puts the processor into the shutdown of VMX
/// abort, which only RESET ends: INIT, SIPI, NMI, SMI, interrupts and machine checks do nothing. Precondition: abort is
/// not `none`, there is a current VMCS.
void enter_vmx_abort(const vmx_unit& unit, processor_state& p, vmx_abort abort);

/// A machine check during VM entry, reported as a failed entry (exit 41). SDM Vol. 3C §29.9.
exit_info failed_machine_check_exit() noexcept;

}  // namespace vmxsys::vmx
