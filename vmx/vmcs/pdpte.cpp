#include "pdpte.hpp"

#include <array>

namespace vmxsys::vmx {

bool load_pdptes(processor_state& p, const physical_memory& memory, const capabilities& caps) {
  constexpr std::uint64_t table_address = 0xFFFF'FFE0;
  const auto entries = memory.read<std::array<std::uint64_t, 4>>(p.cr3 & table_address);
  for (const std::uint64_t entry : entries)
    if (!pdpte_legal(entry, caps)) return false;
  p.pdpte = entries;
  return true;
}

}  // namespace vmxsys::vmx
