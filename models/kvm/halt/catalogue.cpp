#include "halt_policy.hpp"

namespace vmxsys::models {

#define ENTRIES(entry) entry(trap_entry)
VMXSYS_CATALOGUE(halt_policies, halt_policy_entry, "halt policy", ENTRIES)

}  // namespace vmxsys::models
