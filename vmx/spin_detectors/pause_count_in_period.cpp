#include "pause_count_in_period.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>

#include "catalogue.hpp"

namespace vmxsys::vmx {

void pause_count_in_period::on_entry(cycles /*now*/, const spin_parameters& parameters) {
  exits_all_ = parameters.pause_exiting;
  const std::uint64_t gap = parameters.ple_gap;
  counts_ = parameters.ple_enabled && (gap != 0 || options_.count != 0);
  seen_ = 0;
  if (!counts_) return;
  period_ = options_.period;
  count_ = options_.count;
  if (count_ == 0) count_ = period_ == 0 ? parameters.ple_window / gap + 1 : std::max<std::uint64_t>(1, period_ / gap);
  if (period_ == 0) period_ = count_ * gap;
}

spin_verdict pause_count_in_period::on_pause(const pause_event& pause) {
  if (exits_all_) return spin_verdict::exit;
  if (!watches(pause)) return spin_verdict::execute;
  if (starts_period(pause)) {
    start_ = pause.issue;
    seen_ = 1;
    return spin_verdict::execute;
  }
  if (seen_ >= count_) return spin_verdict::exit;
  ++seen_;
  return spin_verdict::execute;
}

spin_prediction pause_count_in_period::predict(const pause_event& first, cycles period) const {
  if (exits_all_) return spin_prediction::at(0);
  if (!watches(first)) return spin_prediction::never();
  pause_count_in_period after = *this;
  if (after.on_pause(first) == spin_verdict::exit) return spin_prediction::at(0);
  const std::uint64_t one_too_many = count_ - after.seen_ + 1;
  if (period == cycles{}) return spin_prediction::at(one_too_many);
  // How many more fall in the period under way; after it, every period is like the next.
  const std::uint64_t rest = (period_ - (first.issue - after.start_).count()) / period.count();
  if (one_too_many <= rest) return spin_prediction::at(one_too_many);
  return count_ <= period_ / period.count() ? spin_prediction::at(rest + 1 + count_) : spin_prediction::never();
}

void pause_count_in_period::advance(const pause_event& first, cycles period, std::uint64_t k) {
  if (k == 0 || !watches(first)) return;
  on_pause(first);
  const std::uint64_t more = k - 1;
  const std::uint64_t rest = period == cycles{} ? more : (period_ - (first.issue - start_).count()) / period.count();
  if (more <= rest) {
    seen_ += more;
    return;
  }
  const std::uint64_t per_period = period_ / period.count() + 1;
  const std::uint64_t beyond = more - rest - 1;  // after the PAUSE that starts the next period
  start_ = first.issue + period * (rest + 1 + beyond / per_period * per_period);
  seen_ = beyond % per_period + 1;
}

namespace {
using o = pause_count_in_period_options;
constexpr std::array rows{
    row<&o::count>("count", "PAUSEs", 0, 0xFFFF'FFFF, "how many a period may have; 0: from the two fields"),
    row<&o::period>("period", "cycles", "length of a period; 0: from the two fields"),
    row<&o::any_cpl>("any_cpl", "counts at every CPL, not only at 0")};
}  // namespace

extern const spin_detector_entry pause_count_in_period_entry =
    entry_with<spin_detector_entry, pause_count_in_period_options, rows>(
        "pause_count_in_period", "exits when more PAUSEs fall in a period than a loop at PLE_Gap has in PLE_Window",
        [](const void* options) -> std::unique_ptr<spin_detector> {
          return std::make_unique<pause_count_in_period>(options_as<pause_count_in_period_options>(options));
        },
        true);

}  // namespace vmxsys::vmx
