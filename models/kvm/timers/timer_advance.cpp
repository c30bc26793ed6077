#include "timer_advance.hpp"

#include <algorithm>

namespace vmxsys::models {

void timer_advance::adjust(std::int64_t delta, std::uint64_t tsc_khz) {
  if (!adaptive_) return;
  const std::uint64_t error = delta < 0 ? 0 - static_cast<std::uint64_t>(delta) : static_cast<std::uint64_t>(delta);
  if (error < least_delta || error > most_delta) return;
  const auto correction = static_cast<std::uint32_t>(error * 1'000'000 / tsc_khz / step);
  ns_ = delta < 0 ? ns_ - correction : ns_ + correction;  // below zero wraps, which is above the bound
  if (ns_ > most_ns) ns_ = initial_ns;
}

cycles timer_advance::settle(cycles now, std::uint64_t tsc_khz) {
  const cycles deadline = expired_;
  expired_ = cycles::never();
  adjust(static_cast<std::int64_t>(now.count()) - static_cast<std::int64_t>(deadline.count()), tsc_khz);
  return now < deadline ? min(deadline - now, lead(tsc_khz)) : cycles{0};
}

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
