#include "catalogue.hpp"

namespace vmxsys::models {

#define ENTRIES(entry) entry(cfs_entry) entry(round_robin_entry)

VMXSYS_CATALOGUE(schedulers, scheduler_entry, "scheduler", ENTRIES)

}  // namespace vmxsys::models
