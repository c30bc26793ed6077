#include "spin_policy.hpp"

namespace vmxsys::models {

// The first is the default; the others in the order of their history.
#define ENTRIES(entry)                                                                                  \
  entry(kernel_mode_entry) entry(no_spin_policy_entry) entry(sleep_on_spin_entry) entry(directed_entry) \
      entry(deprioritize_recent_entry) entry(undercommit_test_entry) entry(preempted_only_entry)        \
          entry(three_tries_entry) entry(ipi_receivers_entry) entry(posted_receivers_entry)             \
              entry(single_scan_as_released_entry) entry(single_scan_entry)
VMXSYS_CATALOGUE(spin_policies, spin_policy_entry, "spin policy", ENTRIES)

}  // namespace vmxsys::models
