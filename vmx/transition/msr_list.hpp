#pragma once
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/base/physical_memory.hpp>
#include <vmxsys/vmx/vmcs/capability.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/processor_state.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "guest_state.hpp"

namespace vmxsys::vmx {

// The VM-entry MSR-load, VM-exit MSR-store and VM-exit MSR-load lists; SDM Vol. 3C §27.7.2, §27.8.2, §29.4, §30.4,
// §30.6.

/// An entry as it lies in memory, 16 bytes.
struct msr_entry {
  std::uint32_t index = 0;
  std::uint32_t reserved = 0;  ///< must be 0
  std::uint64_t value = 0;
};
inline constexpr std::size_t msr_entry_bytes = 16;

/// Why an entry fails. In the order in which they are looked at.
enum class msr_entry_fault : std::uint8_t {
  none,
  list_too_long,  ///< see `load_msrs`
  reserved_bits,
  x2apic,          ///< 800H to 8FFH
  fs_or_gs_base,   ///< C0000100H, C0000101H: they are in the guest and host state
  smm_only,        ///< store: IA32_SMBASE (9EH); load: IA32_SMM_MONITOR_CTL (9BH)
  model_specific,  ///< IA32_BIOS_UPDT_TRIG, IA32_BIOS_SIGN_ID; see `exit_options::microcode_msrs_in_lists`
  access,          ///< RDMSR or WRMSR would cause #GP
};

/// One row: the fault, and which lists it can happen in.
struct msr_entry_rule {
  msr_entry_fault fault;
  const char* name;
  bool on_store;
  bool on_load;
};
const msr_entry_rule* msr_entry_table() noexcept;
std::size_t msr_entry_table_size() noexcept;
const char* name_of(msr_entry_fault fault) noexcept;

/// `done` entries were processed; `failed` is the number of the bad one, counted from 1, 0 if there was none.
struct msr_list_result {
  std::uint32_t done = 0;
  std::uint32_t failed = 0;
  msr_entry_fault fault = msr_entry_fault::none;

  explicit operator bool() const noexcept { return failed == 0; }
};

/// May an entry with this content be processed at all, the access itself aside?
msr_entry_fault check_msr_store(const msr_entry& entry, const exit_options& options = {}) noexcept;
msr_entry_fault check_msr_load(const msr_entry& entry, const exit_options& options = {}) noexcept;

/// Processes the entries at `list` in order up to the first that fails; those before it have taken effect. A store
/// writes the entry's value only. IA32_TIME_STAMP_COUNTER is read like any other MSR: `msr_interface` must give the
/// processor's own TSC, without the guest's offset and scaling.
///
/// The manual recommends at most 512 * (IA32_VMX_MISC[27:25] + 1) entries and leaves longer lists undefined. Here the
/// recommended number is processed, and the entry after it fails with `list_too_long`: a list of 2^32 - 1 entries costs
/// no more than the longest good one. (KVM does the same for its guests.)
msr_list_result store_msrs(physical_memory& memory, physical_address list, std::uint32_t count, msr_interface& msrs,
                           const capabilities& caps, const exit_options& options = {});
msr_list_result load_msrs(const physical_memory& memory, physical_address list, std::uint32_t count,
                          msr_interface& msrs, const capabilities& caps, const exit_options& options = {});

/// The three lists of a VMCS. A failure is, in this order: VMX abort 1, VMX abort 4, a failed VM entry
/// (`failed_msr_load_exit`).
msr_list_result store_guest_msrs(const vmcs& v, physical_memory& memory, msr_interface& msrs, const capabilities& caps,
                                 const exit_options& options = {});
msr_list_result load_host_msrs(const vmcs& v, const physical_memory& memory, msr_interface& msrs,
                               const capabilities& caps, const exit_options& options = {});
msr_list_result load_guest_msrs(const vmcs& v, const physical_memory& memory, msr_interface& msrs,
                                const capabilities& caps, const exit_options& options = {});

/// Exit 34 with bit 31; the qualification is the number of the bad entry. Precondition: !result.
exit_info failed_msr_load_exit(const msr_list_result& result) noexcept;

/// Entries of a list that will be processed if none fails.
constexpr std::uint32_t msr_entries_processed(std::uint32_t count, const capabilities& caps) noexcept {
  return count < caps.max_msr_list() ? count : caps.max_msr_list();
}

}  // namespace vmxsys::vmx
