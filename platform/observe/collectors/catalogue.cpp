#include "collector.hpp"

namespace vmxsys::platform {

// clang-format off
#define ENTRIES(entry) \
  entry(exits_entry) \
  entry(directed_yields_entry)
// clang-format on
VMXSYS_CATALOGUE(collectors, collector_entry, "collector", ENTRIES)

}  // namespace vmxsys::platform
