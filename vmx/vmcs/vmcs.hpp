#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/base/physical_memory.hpp>

#include "field.hpp"

namespace vmxsys::vmx {

/// Not readable by software; SDM Vol. 3C §27.1.
enum class launch_state : std::uint8_t { clear = 0, launched = 1 };

/// Where things lie in a VMCS region in memory. The first 8 bytes are architectural (SDM Vol. 3C §27.2), the rest is
/// this model's own, as the manual leaves it to each processor:
///
///     0    revision identifier (bits 30:0) and shadow-VMCS indicator (bit 31)
///     4    VMX-abort indicator
///     8    launch state: 0 clear, 1 launched, 2 launched before the last VMXOFF
///    12    reserved, 0
///    16    the fields by slot, 8 bytes each, little-endian
///
/// A region of zeros (but for the revision) is a clear VMCS with every field zero.
namespace vmcs_region {
inline constexpr std::size_t revision = 0;
inline constexpr std::size_t abort_indicator = 4;
inline constexpr std::size_t launch = 8;
inline constexpr std::size_t fields = 16;
inline constexpr std::size_t bytes_used = fields + 8 * field_count;
inline constexpr std::uint32_t shadow_bit = 0x8000'0000u;
}  // namespace vmcs_region

namespace detail {

/// Fields a VMM or a VM exit changes all the time. Every entry check that reads one of them is made at every entry
/// (entry.cpp), so that writing them does not void the others. A field that no check reads belongs here too.
constexpr bool is_rechecked(field f) noexcept {
  switch (f) {
    case field::guest_rip:
    case field::guest_rsp:
    case field::guest_rflags:
    case field::guest_cr3:
    case field::guest_interruptibility_state:
    case field::guest_activity_state:
    case field::guest_pending_debug_exceptions:
    case field::guest_interrupt_status:
    case field::guest_deadline:
    case field::guest_deadline_shadow:
    case field::eoi_exit_bitmap_0:
    case field::eoi_exit_bitmap_1:
    case field::eoi_exit_bitmap_2:
    case field::eoi_exit_bitmap_3:
    case field::vm_entry_interruption_information:
    case field::vm_entry_exception_error_code:
    case field::vm_entry_instruction_length:
    case field::ple_gap:
    case field::ple_window:
    case field::tsc_offset:
    case field::exception_bitmap:
    case field::vmx_preemption_timer_value:
      return true;
    default:
      return type_of(f) == field_type::exit_information;
  }
}

constexpr std::array<bool, field_count> make_rechecked() noexcept {
  std::array<bool, field_count> table{};
  for (std::size_t i = 0; i < field_count; ++i) table[i] = is_rechecked(field_table[i].encoding);
  return table;
}
inline constexpr auto rechecked = make_rechecked();

constexpr std::array<std::uint64_t, field_count> make_masks() noexcept {
  std::array<std::uint64_t, field_count> table{};
  for (std::size_t i = 0; i < field_count; ++i) table[i] = mask_of(field_table[i].width);
  return table;
}
inline constexpr auto masks = make_masks();

}  // namespace detail

/// The processor's copy of one active VMCS: revision, shadow bit, abort indicator, launch state and all fields.
/// The memory region it belongs to is stale until `store`. Fields start as zero. A plain value: copying copies all.
class vmcs {
 public:
  vmcs() noexcept = default;
  explicit vmcs(std::uint32_t revision, bool shadow = false) noexcept
      : revision_{(revision & ~vmcs_region::shadow_bit) | (shadow ? vmcs_region::shadow_bit : 0)} {}

  /// The value of a field, zero-extended. Any field may be read, also one the processor in question lacks: whether
  /// VMREAD may see it is `instruction.hpp`'s affair.
  std::uint64_t read(field f) const noexcept { return values_[slot_of(f)]; }

  /// Truncates to the field's width.
  void write(field f, std::uint64_t value) noexcept { write_slot(slot_of(f), value); }

  /// As VMREAD and VMWRITE address components: a full or a high encoding. Precondition: find_field(encoding).
  std::uint64_t read_component(std::uint32_t encoding) const noexcept;
  void write_component(std::uint32_t encoding, std::uint64_t value) noexcept;

  /// Some bits of a control or state field are set.
  bool any(field f, std::uint64_t bits) const noexcept { return (read(f) & bits) != 0; }

  /// Bits 30:0 of the first word.
  std::uint32_t revision() const noexcept { return revision_ & ~vmcs_region::shadow_bit; }
  bool is_shadow() const noexcept { return (revision_ & vmcs_region::shadow_bit) != 0; }
  std::uint32_t abort_indicator() const noexcept { return abort_; }
  void set_abort_indicator(std::uint32_t indicator) noexcept { abort_ = indicator; }

  launch_state launch() const noexcept { return launch_; }
  void set_launch(launch_state state) noexcept {
    launch_ = state;
    vmxoff_since_launch_ = false;
  }
  /// The processor on which it is active executes VMXOFF. What VMRESUME makes of that: `instruction_choices`.
  void note_vmxoff() noexcept { vmxoff_since_launch_ = launch_ == launch_state::launched; }
  /// Launched, but before a VMXOFF.
  bool vmxoff_since_launch() const noexcept { return vmxoff_since_launch_; }

  /// Reads a region (layout: `vmcs_region`). Any bytes load; values are truncated to the fields' widths.
  void load(const physical_memory& memory, physical_address region);
  /// Writes the whole region, `vmcs_region::bytes_used` bytes.
  void store(physical_memory& memory, physical_address region) const;

  /// The VM-entry checks passed on a processor with this digest and no field that they depend on has been changed
  /// since. Fields that change at nearly every exit are not among those; the checks on them are always made.
  bool checks_hold(std::uint64_t digest) const noexcept { return checks_passed_ && checks_digest_ == digest; }
  void note_checks_passed(std::uint64_t digest) noexcept {
    checks_digest_ = digest;
    checks_passed_ = true;
  }
  void forget_checks() noexcept { checks_passed_ = false; }

 private:
  void write_slot(std::size_t slot, std::uint64_t value) noexcept {
    const std::uint64_t kept = value & detail::masks[slot];
    // Writing the value a field already has cannot change the outcome of a check.
    if (!detail::rechecked[slot] && values_[slot] != kept) checks_passed_ = false;
    values_[slot] = kept;
  }

  std::array<std::uint64_t, field_count> values_{};
  std::uint64_t checks_digest_ = 0;
  std::uint32_t revision_ = 0;
  std::uint32_t abort_ = 0;
  launch_state launch_ = launch_state::clear;
  bool checks_passed_ = false;
  bool vmxoff_since_launch_ = false;
};

static_assert(sizeof(vmcs) <= 2048, "a machine holds thousands of them");

/// VMREAD and VMWRITE of a component in a region that is not active, in the layout above. Precondition:
/// find_field(encoding).
std::uint64_t read_component(const physical_memory& memory, physical_address region, std::uint32_t encoding);
void write_component(physical_memory& memory, physical_address region, std::uint32_t encoding, std::uint64_t value);

/// The first word of a region: revision identifier and shadow bit.
inline std::uint32_t revision_word(const physical_memory& memory, physical_address region) {
  return memory.read<std::uint32_t>(region + vmcs_region::revision);
}

}  // namespace vmxsys::vmx
