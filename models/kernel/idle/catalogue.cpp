#include "catalogue.hpp"

namespace vmxsys::models {

#define ENTRIES(entry) entry(halt_entry)

VMXSYS_CATALOGUE(idle_drivers, idle_driver_entry, "idle driver", ENTRIES)

}  // namespace vmxsys::models
