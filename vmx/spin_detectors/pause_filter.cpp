#include "pause_filter.hpp"

#include <algorithm>
#include <array>
#include <memory>

#include "catalogue.hpp"

namespace vmxsys::vmx {

namespace {
std::uint32_t low_16(std::uint64_t value) { return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, 0xFFFF)); }
}  // namespace

void pause_filter::on_entry(cycles /*now*/, const spin_parameters& parameters) {
  threshold_ = low_16(parameters.ple_gap);
  load_ = low_16(parameters.ple_window);
  if (load_ > 0) load_ = static_cast<std::uint32_t>(static_cast<int>(load_) + options_.count_adjustment);
  counter_ = load_;
  has_last_ = false;
  armed_ = parameters.ple_enabled;
  intercepts_all_ = parameters.pause_exiting;
}

spin_verdict pause_filter::on_pause(const pause_event& pause) {
  if (intercepts_all_) return spin_verdict::exit;
  if (!armed_) return spin_verdict::execute;
  if (load_ == 0) return spin_verdict::exit;
  const bool late = has_last_ ? (pause.issue - last_).count() > threshold_ : options_.first_reloads;
  has_last_ = true;
  last_ = pause.issue;
  if (threshold_ != 0 && late) {
    counter_ = load_;
    return spin_verdict::execute;
  }
  if (counter_ == 0) return spin_verdict::exit;
  --counter_;
  return spin_verdict::execute;
}

spin_prediction pause_filter::predict(const pause_event& first, cycles period) const {
  if (!intercepts_all_ && !armed_) return spin_prediction::never();
  pause_filter after = *this;
  if (after.on_pause(first) == spin_verdict::exit) return spin_prediction::at(0);
  if (threshold_ != 0 && period.count() > threshold_) return spin_prediction::never();
  return spin_prediction::at(std::uint64_t{after.counter_} + 1);
}

void pause_filter::advance(const pause_event& first, cycles period, std::uint64_t k) {
  if (k == 0 || !armed_) return;
  on_pause(first);
  if (k == 1) return;
  if (threshold_ != 0 && period.count() > threshold_)
    counter_ = load_;
  else
    counter_ -= static_cast<std::uint32_t>(k - 1);
  last_ = first.issue + period * (k - 1);
}

namespace {
using o = pause_filter_options;
constexpr std::array rows{
    row<&o::count_adjustment>("count_adjustment", "PAUSEs", -1, 1, "added to the number of PAUSEs that execute"),
    row<&o::first_reloads>("first_reloads", "with a threshold, the first PAUSE after an entry reloads the counter")};
}  // namespace

extern const spin_detector_entry pause_filter_entry = entry_with<spin_detector_entry, pause_filter_options, rows>(
    "pause_filter",
    "AMD: exits after a count of PAUSEs (ple_window); a pause longer than the threshold (ple_gap) reloads",
    [](const void* options) -> std::unique_ptr<spin_detector> {
      return std::make_unique<pause_filter>(options_as<pause_filter_options>(options));
    },
    true);

}  // namespace vmxsys::vmx
