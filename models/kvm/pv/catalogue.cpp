#include "pv_service.hpp"

namespace vmxsys::models {

#define ENTRIES(entry) entry(no_pv_service_entry)
VMXSYS_CATALOGUE(pv_services, pv_service_entry, "PV service", ENTRIES)

}  // namespace vmxsys::models
