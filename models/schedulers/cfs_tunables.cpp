#include "cfs_tunables.hpp"

#include <algorithm>
#include <bit>

namespace vmxsys::models {

unsigned tunable_scaling_factor(unsigned online_cpus) noexcept {
  return static_cast<unsigned>(std::bit_width(std::clamp(online_cpus, 1u, 8u)));
}

cfs_tunables cfs_tunables::of(cfs_version version, unsigned online_cpus) {
  const unsigned factor = tunable_scaling_factor(online_cpus);
  cfs_tunables t;
  t.latency *= factor;
  t.min_granularity *= factor;
  t.wakeup_granularity *= factor;
  if (version == cfs_version::v6_1) return t;

  t.alt_period = false;
  t.base_slice = false;
  t.idle_entities = false;
  t.long_sleep = 0;
  t.repick_clears_marks = true;
  if (version == cfs_version::v5_10) return t;

  t.arithmetic = calc_delta_rule::v3_4;
  t.repick_restarts_slice = true;
  return t;
}

}  // namespace vmxsys::models
