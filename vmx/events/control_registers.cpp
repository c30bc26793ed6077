#include "control_registers.hpp"

#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

namespace vmxsys::vmx {

namespace {

struct ownership {
  std::uint64_t mask;
  std::uint64_t shadow;
};

ownership ownership_of(const vmcs& v, masked_register which) {
  return which == masked_register::cr0 ? ownership{v.read(field::cr0_guest_host_mask), v.read(field::cr0_read_shadow)}
                                       : ownership{v.read(field::cr4_guest_host_mask), v.read(field::cr4_read_shadow)};
}

constexpr std::uint64_t lmsw_bits = cr0_bits::pe | cr0_bits::mp | cr0_bits::em | cr0_bits::ts;

}  // namespace

std::uint64_t guest_view(const vmcs& v, masked_register which, std::uint64_t real) noexcept {
  const auto [mask, shadow] = ownership_of(v, which);
  return (real & ~mask) | (shadow & mask);
}

bool mov_to_masked_exits(const vmcs& v, masked_register which, std::uint64_t source) noexcept {
  const auto [mask, shadow] = ownership_of(v, which);
  return ((source ^ shadow) & mask) != 0;
}

std::uint64_t after_mov(const vmcs& v, masked_register which, std::uint64_t real, std::uint64_t source) noexcept {
  const std::uint64_t mask = ownership_of(v, which).mask;
  return (real & mask) | (source & ~mask);
}

bool breaks_fixed_bits(const vmcs& v, const capabilities& caps, masked_register which, std::uint64_t value) noexcept {
  const bool cr0 = which == masked_register::cr0;
  std::uint64_t must_be_1 = cr0 ? caps.cr0_fixed0 : caps.cr4_fixed0;
  if (cr0 && (secondary_controls(v) & secondary::unrestricted_guest) != 0) must_be_1 &= ~(cr0_bits::pe | cr0_bits::pg);
  const std::uint64_t must_be_0 = ~(cr0 ? caps.cr0_fixed1 : caps.cr4_fixed1);
  const std::uint64_t wrong = (must_be_1 & ~value) | (must_be_0 & value);
  return (wrong & ~ownership_of(v, which).mask) != 0;
}

clts_effect clts(const vmcs& v) noexcept {
  const auto [mask, shadow] = ownership_of(v, masked_register::cr0);
  if ((mask & cr0_bits::ts) == 0) return clts_effect::clears;
  return (shadow & cr0_bits::ts) != 0 ? clts_effect::exits : clts_effect::nothing;
}

bool lmsw_exits(const vmcs& v, std::uint16_t source) noexcept {
  const auto [mask, shadow] = ownership_of(v, masked_register::cr0);
  const std::uint64_t differs = (source ^ shadow) & mask;
  const bool sets_pe = (differs & source & cr0_bits::pe) != 0;
  return sets_pe || (differs & lmsw_bits & ~cr0_bits::pe) != 0;
}

std::uint64_t after_lmsw(const vmcs& v, std::uint64_t real, std::uint16_t source) noexcept {
  const std::uint64_t written = lmsw_bits & ~ownership_of(v, masked_register::cr0).mask;
  return (real & ~written) | (source & written) | (real & cr0_bits::pe);
}

bool mov_to_cr3_exits(const vmcs& v, std::uint64_t value) noexcept {
  constexpr field targets[] = {field::cr3_target_value_0, field::cr3_target_value_1, field::cr3_target_value_2,
                               field::cr3_target_value_3};
  if ((primary_controls(v) & primary::cr3_load_exiting) == 0) return false;
  const std::uint64_t count = v.read(field::cr3_target_count);
  for (std::size_t i = 0; i < 4 && i < count; ++i)
    if (v.read(targets[i]) == value) return false;
  return true;
}

bool mov_from_cr3_exits(const vmcs& v) noexcept { return (primary_controls(v) & primary::cr3_store_exiting) != 0; }

bool reloads_pdptes(masked_register which, std::uint64_t before, std::uint64_t after, std::uint64_t other,
                    bool long_mode) noexcept {
  const bool cr0 = which == masked_register::cr0;
  const std::uint64_t watched =
      cr0 ? cr0_bits::cd | cr0_bits::nw | cr0_bits::pg : cr4_bits::pae | cr4_bits::pge | cr4_bits::pse | cr4_bits::smep;
  const bool paging = ((cr0 ? after : other) & cr0_bits::pg) != 0;
  const bool pae = ((cr0 ? other : after) & cr4_bits::pae) != 0;
  return !long_mode && paging && pae && ((before ^ after) & watched) != 0;
}

}  // namespace vmxsys::vmx
