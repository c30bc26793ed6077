#include "catalogue.hpp"

namespace vmxsys::models {

#define ENTRIES(entry)                                                                                              \
  entry(cpu_bound_entry) entry(lock_bound_entry) entry(tlb_shootdown_entry) entry(user_spin_entry) entry(ipi_entry) \
      entry(timer_entry)

VMXSYS_CATALOGUE(workloads, workload_entry, "workload", ENTRIES)

}  // namespace vmxsys::models
