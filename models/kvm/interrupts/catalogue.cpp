#include "interrupt_path.hpp"

namespace vmxsys::models {

#define ENTRIES(entry) \
  entry(injected_path_entry) entry(direct_path_entry) entry(posted_path_entry) entry(ipi_virtualized_path_entry)
VMXSYS_CATALOGUE(interrupt_paths, interrupt_path_entry, "interrupt path", ENTRIES)

cpu::program interrupt_path::accept_level_triggered(vcpu& target, std::uint8_t vector) const {
  return accept(target, vector);
}
cpu::program interrupt_path::host_interrupt(kvm&, unsigned, std::uint8_t) const { co_return; }

}  // namespace vmxsys::models
