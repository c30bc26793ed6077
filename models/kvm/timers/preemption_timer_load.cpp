#include "preemption_timer_load.hpp"

#include <algorithm>

namespace vmxsys::models {

std::optional<preemption_deadline> set_preemption_deadline(std::uint64_t guest_deadline, std::uint64_t guest_tsc,
                                                           std::uint64_t host_tsc, std::uint64_t lead, unsigned shift) {
  std::uint64_t left = guest_deadline > guest_tsc ? guest_deadline - guest_tsc : 0;
  left = left > lead ? left - lead : 0;
  if (left >> (32 + shift) != 0) return std::nullopt;
  return preemption_deadline{host_tsc + left, left == 0};
}

std::optional<std::uint32_t> preemption_timer_load::at_entry(std::optional<std::uint64_t> deadline,
                                                             std::uint64_t host_tsc, unsigned shift, bool at_once) {
  if (!deadline && !at_once) {
    if (soft_disabled_) return std::nullopt;
    soft_disabled_ = true;
    return longest;
  }
  soft_disabled_ = false;
  if (at_once || *deadline <= host_tsc) return 0;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>((*deadline - host_tsc) >> shift, longest));
}

}  // namespace vmxsys::models
