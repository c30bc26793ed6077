#include "catalogue.hpp"

namespace vmxsys::vmx {

#define ENTRIES(entry)                                                                                               \
  entry(pause_loop_exiting_entry) entry(pause_filter_entry) entry(pause_exiting_entry) entry(no_spin_detector_entry) \
      entry(rip_matched_entry) entry(pause_count_in_period_entry) entry(dynamic_pause_exiting_entry)                 \
          entry(progress_entry) entry(backward_branch_entry) entry(lock_line_entry) entry(overcommit_aware_entry)    \
              entry(oracle_entry) entry(coin_flip_entry)

VMXSYS_CATALOGUE(spin_detectors, spin_detector_entry, "spin detector", ENTRIES)

}  // namespace vmxsys::vmx
