#include "catalogue.hpp"

namespace vmxsys::models {

#define ENTRIES(entry)           \
  entry(queued_lock_entry)       \
  entry(test_and_set_lock_entry) \
  entry(ticket_lock_entry)

VMXSYS_CATALOGUE(spinlocks, lock_entry, "spinlock", ENTRIES)

}  // namespace vmxsys::models
