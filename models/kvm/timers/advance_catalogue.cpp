#include "timer_advance.hpp"

namespace vmxsys::models {

#define ENTRIES(entry) entry(no_advance_entry) entry(fixed_advance_entry) entry(adaptive_advance_entry)
VMXSYS_CATALOGUE(timer_advances, timer_advance_entry, "timer advance", ENTRIES)

}  // namespace vmxsys::models
