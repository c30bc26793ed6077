#pragma once
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/vmcs/capability.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/processor_state.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "transfer_rule.hpp"

namespace vmxsys::vmx {

/// What else a VM exit has to know of the moment it happens in. The defaults fit nearly every exit.
struct exit_situation {
  /// A trap-class exit with `processor_state::rip` still at the instruction that has completed: its length in bytes.
  /// 0: RIP has been advanced.
  std::uint8_t completed_length = 0;
  /// The exit comes after an iteration of a repeated string instruction that was not its last.
  bool between_iterations = false;
  /// A machine check occurs during the exit itself: VMX abort 5.
  bool machine_check = false;
};

/// Where the manual leaves the choice, or real parts differ from it.
struct exit_options {
  /// With blocking by STI or MOV SS saved as 1, VM entry demands BS of the pending debug exceptions to be TF and not
  /// BTF. Exits save it so. Those caused by a debug exception do not: KVM and Xen both set the bit by hand after a #DB
  /// exit in an STI or MOV SS shadow because the processor has saved 0. True: they save it too.
  bool debug_exit_saves_step = false;
  /// IA32_BIOS_UPDT_TRIG (79H) and IA32_BIOS_SIGN_ID (8BH) may stand in MSR lists. The manual lets a processor refuse
  /// MSRs for model-specific reasons; Vol. 4 names these two, and KVM refuses them.
  bool microcode_msrs_in_lists = false;
};

// -- VM exit: saving, SDM Vol. 3C §30.3 -------------------------------------------------------------------------------

/// `processor_state::rip` is the first instruction that has not completed: the faulting one for a fault-class exit, the
/// one delivery began at for an exit during event delivery (with INT n, INT1, INT3, INTO that very instruction), the
/// one after HLT in the HLT state. All classes save just that, but a trap whose instruction RIP still points at saves
/// the next one. Outside 64-bit mode the sum wraps at 32 bits. §30.3.3.
std::uint64_t rip_to_save(const exit_info& exit, const exit_situation& at, const processor_state& p) noexcept;

/// RFLAGS with RF by the rule of the exit reason. §30.3.3; for the image, Vol. 3B, "Instruction-Breakpoint Exception
/// Condition".
std::uint64_t rflags_to_save(const exit_info& exit, const exit_situation& at, const processor_state& p) noexcept;

/// The interruptibility-state field; bit 3 is blocking by NMI, or with "virtual NMIs" virtual-NMI blocking. §30.3.4.
std::uint32_t interruptibility_to_save(const exit_info& exit, bool virtual_nmis, const processor_state& p) noexcept;

/// What the exit saves of `processor_state::pending_debug`: nothing, except for INIT, SMI and machine check, for TPR
/// below threshold, virtualized EOI, APIC write, monitor trap flag and bus lock, and under blocking by MOV SS. With any
/// blocking by STI or MOV SS, and in the HLT state, BS is TF and not BTF. §30.3.4, §29.3.1.5.
std::uint64_t pending_debug_to_save(const exit_info& exit, const processor_state& p,
                                    const exit_options& options = {}) noexcept;

/// Writes the guest-state area, and bit 9 of the VM-entry controls where IA32_VMX_MISC bit 5 says so. Fields that the
/// configuration leaves alone or undefined (PDPTEs without PAE paging, SMBASE) keep their values. RVI and SVI are the
/// virtual APIC's to save. Unusable segment registers are saved with all they hold.
void save_guest_state(vmcs& v, const processor_state& p, const capabilities& caps, const exit_info& exit,
                      const exit_situation& at = {}, const exit_options& options = {}) noexcept;

/// The rows `save_guest_state` carries out, in order. Contiguous; `guest_saving_table_size` rows.
const transfer_rule* guest_saving_table() noexcept;
std::size_t guest_saving_table_size() noexcept;
/// Fields it would write now.
unsigned guest_fields_saved(const vmcs& v, const processor_state& p, const capabilities& caps) noexcept;

// -- VM entry: loading, SDM Vol. 3C §29.3.2 ---------------------------------------------------------------------------

/// Loads the guest-state area as it stands. Precondition: the entry checks have passed. Not here: PDPTEs in memory
/// (`guest_pdptes_in_memory`), RVI and SVI, arming the preemption timer (its value is in the state afterwards),
/// invalidating translations, and what event injection changes of activity and blocking (§29.6, §29.7).
///
/// An unusable SS, DS, ES, FS, GS or LDTR keeps what its fields say except: SS gets base bits 3:0 = 0 and B = 1; SS, DS
/// and ES base bits 63:32 = 0; the base of LDTR is made canonical. Reserved bits of access rights are dropped.
void load_guest_state(const vmcs& v, processor_state& p, const capabilities& caps) noexcept;

const transfer_rule* guest_loading_table() noexcept;
std::size_t guest_loading_table_size() noexcept;
unsigned guest_fields_loaded(const vmcs& v) noexcept;

/// The guest will use PAE paging without EPT: after `load_guest_state` the caller loads the PDPTEs (`load_pdptes`). A
/// guest that goes on with the PAE paging and the CR3 of `before`, the state before the entry, keeps them. §29.3.2.4.
bool guest_pdptes_in_memory(const vmcs& v, const processor_state& before) noexcept;

}  // namespace vmxsys::vmx
