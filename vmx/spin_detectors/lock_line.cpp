#include "lock_line.hpp"

#include <array>
#include <memory>

#include "catalogue.hpp"
#include "detail/spin_arithmetic.hpp"

namespace vmxsys::vmx {

void lock_line::on_entry(cycles /*now*/, const spin_parameters& parameters) {
  parameters_ = parameters;
  armed_ = false;
}

void lock_line::on_store(const store_event& store) {
  if (options_.own_store_restarts && line_of(store.address) == line_) armed_ = false;
}

bool lock_line::starts(const pause_event& pause) const noexcept {
  return !armed_ || pause.loop.line_changed || line_of(pause.loop.word) != line_ ||
         (options_.obeys_gap && (pause.issue - last_).count() > parameters_.ple_gap);
}

spin_verdict lock_line::on_pause(const pause_event& pause) {
  if (parameters_.pause_exiting) return spin_verdict::exit;
  if (!watches(pause)) return spin_verdict::execute;
  if (starts(pause)) {
    armed_ = true;
    line_ = line_of(pause.loop.word);
    start_ = pause.issue;
  } else if ((pause.issue - start_).count() > parameters_.ple_window) {
    return spin_verdict::exit;
  }
  last_ = pause.issue;
  return spin_verdict::execute;
}

spin_prediction lock_line::predict(const pause_event& first, cycles period) const {
  if (parameters_.pause_exiting) return spin_prediction::at(0);
  if (!watches(first)) return spin_prediction::never();
  const std::uint64_t since = starts(first) ? 0 : (first.issue - start_).count();
  if (since > parameters_.ple_window) return spin_prediction::at(0);
  if (options_.obeys_gap && period.count() > parameters_.ple_gap) return spin_prediction::never();
  return spin_prediction::of(first_beyond(since, period.count(), parameters_.ple_window));
}

void lock_line::advance(const pause_event& first, cycles period, std::uint64_t k) {
  if (k == 0 || !watches(first)) return;
  on_pause(first);
  last_ = first.issue + period * (k - 1);
  if (k > 1 && options_.obeys_gap && period.count() > parameters_.ple_gap) start_ = last_;
}

namespace {
using o = lock_line_options;
constexpr std::array rows{
    row<&o::any_cpl>("any_cpl", "watches loops at every CPL, not only at 0"),
    row<&o::own_store_restarts>("own_store_restarts", "the processor's own store to the line counts"),
    row<&o::obeys_gap>("obeys_gap", "PAUSEs more than ple_gap apart are of two loops")};
}  // namespace

extern const spin_detector_entry lock_line_entry = entry_with<spin_detector_entry, lock_line_options, rows>(
    "lock_line", "exits when the polled cache line has not been taken away for longer than PLE_Window",
    [](const void* options) -> std::unique_ptr<spin_detector> {
      return std::make_unique<lock_line>(options_as<lock_line_options>(options));
    },
    true);

}  // namespace vmxsys::vmx
