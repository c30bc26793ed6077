#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "control.hpp"

namespace vmxsys::vmx {

/// Bits of IA32_VMX_EPT_VPID_CAP, MSR 48CH; SDM Vol. 3D §A.10.
namespace ept_vpid_cap {
inline constexpr std::uint64_t execute_only = 1ull << 0;
inline constexpr std::uint64_t walk_length_4 = 1ull << 6;
inline constexpr std::uint64_t walk_length_5 = 1ull << 7;
inline constexpr std::uint64_t uncacheable = 1ull << 8;
inline constexpr std::uint64_t write_back = 1ull << 14;
inline constexpr std::uint64_t page_2m = 1ull << 16;
inline constexpr std::uint64_t page_1g = 1ull << 17;
inline constexpr std::uint64_t invept = 1ull << 20;
inline constexpr std::uint64_t accessed_and_dirty = 1ull << 21;
inline constexpr std::uint64_t advanced_exit_information = 1ull << 22;
inline constexpr std::uint64_t supervisor_shadow_stack = 1ull << 23;
inline constexpr std::uint64_t invept_single_context = 1ull << 25;
inline constexpr std::uint64_t invept_all_contexts = 1ull << 26;
inline constexpr std::uint64_t invvpid = 1ull << 32;
inline constexpr std::uint64_t invvpid_individual_address = 1ull << 40;
inline constexpr std::uint64_t invvpid_single_context = 1ull << 41;
inline constexpr std::uint64_t invvpid_all_contexts = 1ull << 42;
inline constexpr std::uint64_t invvpid_single_context_retaining_globals = 1ull << 43;
}  // namespace ept_vpid_cap

/// What one processor model can do: the values of its VMX capability MSRs 480H to 493H (SDM Vol. 3D, appendix A) and
/// its address widths. Everything that asks "may this control be 0 or 1" asks here. Constant for the life of a
/// processor.
struct capabilities {
  std::uint64_t basic = 0;               ///< 480H: revision, region size, flags
  std::uint64_t pin = 0;                 ///< 481H: allowed-0 low half, allowed-1 high half; same for the next ones
  std::uint64_t primary = 0;             ///< 482H
  std::uint64_t vm_exit = 0;             ///< 483H
  std::uint64_t vm_entry = 0;            ///< 484H
  std::uint64_t misc = 0;                ///< 485H
  std::uint64_t cr0_fixed0 = 0;          ///< 486H
  std::uint64_t cr0_fixed1 = 0;          ///< 487H
  std::uint64_t cr4_fixed0 = 0;          ///< 488H
  std::uint64_t cr4_fixed1 = 0;          ///< 489H
  std::uint64_t vmcs_enum = 0;           ///< 48AH; real parts understate it, do not derive fields from it
  std::uint64_t secondary = 0;           ///< 48BH
  std::uint64_t ept_vpid = 0;            ///< 48CH
  std::uint64_t true_pin = 0;            ///< 48DH
  std::uint64_t true_primary = 0;        ///< 48EH
  std::uint64_t true_vm_exit = 0;        ///< 48FH
  std::uint64_t true_vm_entry = 0;       ///< 490H
  std::uint64_t vmfunc = 0;              ///< 491H
  std::uint64_t tertiary = 0;            ///< 492H: allowed-1 only
  std::uint64_t vm_exit_2 = 0;           ///< 493H: allowed-1 only
  unsigned physical_address_width = 46;  ///< MAXPHYADDR, bits
  unsigned linear_address_width = 48;    ///< 48 or 57 bits

  constexpr std::uint32_t revision() const noexcept { return static_cast<std::uint32_t>(basic & 0x7FFF'FFFF); }
  constexpr std::size_t region_size() const noexcept { return static_cast<std::size_t>((basic >> 32) & 0x1FFF); }
  constexpr bool has_true_msrs() const noexcept { return (basic >> 55 & 1) != 0; }
  /// X of the VMX-preemption timer: it counts changes of TSC bit X. 0 .. 31.
  constexpr unsigned preemption_timer_shift() const noexcept { return static_cast<unsigned>(misc & 31); }
  constexpr unsigned max_cr3_targets() const noexcept { return static_cast<unsigned>((misc >> 16) & 0x1FF); }
  /// VMWRITE may also write the VM-exit information fields.
  constexpr bool vmwrite_any_field() const noexcept { return (misc >> 29 & 1) != 0; }
  /// Recommended largest number of entries of an MSR list.
  constexpr unsigned max_msr_list() const noexcept { return 512 * (static_cast<unsigned>(misc >> 25 & 7) + 1); }

  /// Bits of a control word that must be 1 (`use_true`: by the TRUE MSR where it exists).
  constexpr std::uint64_t allowed_0(control_word word, bool use_true = true) const noexcept;
  /// Bits of a control word that may be 1.
  constexpr std::uint64_t allowed_1(control_word word) const noexcept;
  /// May control `bit` of `word` be 1?
  constexpr bool supports(control_word word, unsigned bit) const noexcept {
    return word == control_word::none || (allowed_1(word) >> bit & 1) != 0;
  }
  /// Does the processor have this component (VMREAD and VMWRITE of another one fail with error 12)?
  constexpr bool has_field(const field_info& row) const noexcept {
    return supports(row.word, row.bit) ||
           (row.other_word != control_word::none && supports(row.other_word, row.other_bit));
  }

  /// May a register that must obey the fixed bits hold this in VMX operation? `exempt`: bits of CR0 that "unrestricted
  /// guest" frees in non-root operation (PE and PG). SDM Vol. 3C §26.8, Vol. 3D §A.7, §A.8.
  constexpr bool cr0_legal(std::uint64_t value, std::uint64_t exempt = 0) const noexcept {
    return ((value | exempt) & cr0_fixed0) == cr0_fixed0 && (value & ~cr0_fixed1) == 0;
  }
  constexpr bool cr4_legal(std::uint64_t value) const noexcept {
    return (value & cr4_fixed0) == cr4_fixed0 && (value & ~cr4_fixed1) == 0;
  }
  /// All bits above the linear-address width equal its highest bit.
  constexpr bool canonical(std::uint64_t address) const noexcept {
    const std::uint64_t high = address >> (linear_address_width - 1);
    return high == 0 || high == ~std::uint64_t{0} >> (linear_address_width - 1);
  }
  /// Bits of IA32_VMX_EPT_VPID_CAP, see `ept_vpid_cap`.
  constexpr bool ept_vpid_has(std::uint64_t bits) const noexcept { return (ept_vpid & bits) == bits; }
};

constexpr std::uint64_t capabilities::allowed_0(control_word word, bool use_true) const noexcept {
  const bool t = use_true && has_true_msrs();
  switch (word) {
    case control_word::pin:
      return (t ? true_pin : pin) & 0xFFFF'FFFF;
    case control_word::primary:
      return (t ? true_primary : primary) & 0xFFFF'FFFF;
    case control_word::vm_exit:
      return (t ? true_vm_exit : vm_exit) & 0xFFFF'FFFF;
    case control_word::vm_entry:
      return (t ? true_vm_entry : vm_entry) & 0xFFFF'FFFF;
    default:
      return 0;
  }
}

constexpr std::uint64_t capabilities::allowed_1(control_word word) const noexcept {
  switch (word) {
    case control_word::pin:
      return pin >> 32;
    case control_word::primary:
      return primary >> 32;
    case control_word::secondary:
      return secondary >> 32;
    case control_word::tertiary:
      return tertiary;
    case control_word::vm_exit:
      return vm_exit >> 32;
    case control_word::vm_exit_2:
      return vm_exit_2;
    case control_word::vm_entry:
      return vm_entry >> 32;
    case control_word::vm_function:
      return vmfunc;
    default:
      return 0;
  }
}

/// SDM Vol. 3D §A.2: every bit that must be 1 is 1, and no bit that must be 0 is 1.
constexpr bool control_legal(std::uint64_t value, std::uint64_t allowed_0, std::uint64_t allowed_1) noexcept {
  return (value & allowed_0) == allowed_0 && (value & ~allowed_1) == 0;
}

/// What a hypervisor writes when it wants `wanted`: bits that must be 1 added, bits that must be 0 dropped.
/// `capability_msr` is in the two-halves format of 481H to 484H and 48BH.
constexpr std::uint32_t adjust(std::uint32_t wanted, std::uint64_t capability_msr) noexcept {
  return (wanted | static_cast<std::uint32_t>(capability_msr)) & static_cast<std::uint32_t>(capability_msr >> 32);
}

/// The same with the word's own MSRs (TRUE ones where they exist).
constexpr std::uint64_t adjust(std::uint64_t wanted, control_word word, const capabilities& c) noexcept {
  return (wanted | c.allowed_0(word)) & c.allowed_1(word);
}

/// IA32_VMX_* by MSR index 480H .. 493H; nullptr for another index or an MSR this processor lacks.
const std::uint64_t* find_capability_msr(const capabilities& c, std::uint32_t msr) noexcept;

/// A 64-bit digest of all values: equal values, equal digest.
std::uint64_t digest_of(const capabilities& c) noexcept;

/// A processor family of which the values are known.
struct capability_row {
  const char* name;         ///< e.g. "cascade_lake_sp"
  const char* description;  ///< the part it describes, and which values are only typical of its family
  capabilities values;
};

/// All rows, oldest first. Contiguous; `capability_table_size` rows.
const capability_row* capability_table() noexcept;
std::size_t capability_table_size() noexcept;

/// nullptr when there is no such row.
const capability_row* find_capability_row(std::string_view name) noexcept;

}  // namespace vmxsys::vmx
