#include "vcpu_affinity.hpp"

namespace vmxsys::models {

#define ENTRIES(entry) entry(free_affinity_entry) entry(spread_affinity_entry) entry(stacked_affinity_entry)
VMXSYS_CATALOGUE(vcpu_affinities, vcpu_affinity_entry, "vCPU affinity", ENTRIES)

}  // namespace vmxsys::models
