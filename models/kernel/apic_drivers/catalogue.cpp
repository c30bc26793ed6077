#include "catalogue.hpp"

namespace vmxsys::models {

#define ENTRIES(entry) entry(x2apic_physical_entry) entry(x2apic_cluster_entry) entry(xapic_entry)

VMXSYS_CATALOGUE(apic_drivers, apic_driver_entry, "APIC driver", ENTRIES)

}  // namespace vmxsys::models
