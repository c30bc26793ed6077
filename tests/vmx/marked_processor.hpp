#pragma once
#include <vmxsys/vmx/transition/guest_state.hpp>

#include "exit_state_fields.hpp"

// Processors whose registers can be told apart, and exits, for tests of what is saved and loaded.
namespace vmxsys::vmx::test {

inline exit_info of(exit_reason reason) {
  exit_info exit;
  exit.reason = reason;
  return exit;
}

// A value for a field that no other field has.
inline std::uint64_t mark(field f) {
  return (encoding_of(f) * std::uint64_t{0x0101'0101'0101'0101} + 0x55) & mask_of(width_of(f));
}

inline processor_state marked_processor() {
  processor_state p;
  for (const guest_field& f : guest_fields()) f.set(p, mark(f.where));
  return p;
}

/// The bits of the pending debug exceptions that the manual defines.
inline constexpr std::uint64_t all_defined = 0x1'580F;

inline processor_state pae_processor() {
  processor_state p;
  p.cr0 = 0x8000'0031;
  p.cr4 = 0x2020;
  p.efer = 0;
  p.pdpte = {0x1001, 0x2001, 0x3001, 0x4001};
  return p;
}

}  // namespace vmxsys::vmx::test
