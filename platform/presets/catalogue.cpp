#include "catalogue.hpp"

namespace vmxsys::platform {

// A file's entry is made from it by cmake/VMXSysEmbed.cmake.
// clang-format off
#define ENTRIES(entry) \
  entry(haswell_ep_preset) \
  entry(skylake_sp_preset) \
  entry(cascade_lake_sp_preset) \
  entry(sapphire_rapids_sp_preset) \
  entry(hypothetical_apic_timer_preset) \
  entry(flat_preset)
// clang-format on
VMXSYS_CATALOGUE(presets, preset_entry, "preset", ENTRIES)

}  // namespace vmxsys::platform
