#pragma once
#include <cstdint>

#include <vmxsys/vmx/base/physical_memory.hpp>

#include "capability.hpp"
#include "processor_state.hpp"

namespace vmxsys::vmx {

// The four page-directory-pointer-table entries that PAE paging keeps in registers; SDM Vol. 3A §5.4.1.

/// CR0.PG = 1, CR4.PAE = 1 and IA32_EFER.LMA = 0.
constexpr bool pae_paging(const processor_state& p) noexcept {
  constexpr std::uint64_t pg = 1u << 31;
  constexpr std::uint64_t pae = 1u << 5;
  constexpr std::uint64_t lma = 1u << 10;
  return (p.cr0 & pg) != 0 && (p.cr4 & pae) != 0 && (p.efer & lma) == 0;
}

/// A present entry has its reserved bits (2:1, 8:5, 63:MAXPHYADDR) 0.
constexpr bool pdpte_legal(std::uint64_t entry, const capabilities& caps) noexcept {
  constexpr std::uint64_t present = 1;
  constexpr std::uint64_t reserved = 0x1E6;
  return (entry & present) == 0 || ((entry & reserved) == 0 && entry >> caps.physical_address_width == 0);
}

/// Loads the four from the 32 bytes at CR3[31:5]. False, and nothing loaded, if one is illegal. `p.cr3` is the new one.
bool load_pdptes(processor_state& p, const physical_memory& memory, const capabilities& caps);

}  // namespace vmxsys::vmx
