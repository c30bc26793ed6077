#include "progress.hpp"

#include <array>
#include <memory>

#include "catalogue.hpp"
#include "detail/spin_arithmetic.hpp"

namespace vmxsys::vmx {

void progress::on_entry(cycles /*now*/, const spin_parameters& parameters) {
  exits_all_ = parameters.pause_exiting;
  watches_ = parameters.ple_enabled;
  window_ = options_.window != 0 ? options_.window : parameters.ple_window;
  idle_ = 0;
  held_ = 0;
  next_ = 0;
}

void progress::on_work(const work_event& work) {
  if (work.unique_stores != 0)
    idle_ = 0;
  else
    idle_ += work.instructions;
}

void progress::on_store(const store_event& store) {
  for (unsigned i = 0; i < held_; ++i)
    if (stores_[i].address == store.address && stores_[i].value == store.value) return;
  stores_[next_] = {store.address, store.value};
  next_ = (next_ + 1) % options_.entries;
  if (held_ < options_.entries) ++held_;
  idle_ = 0;
}

spin_verdict progress::on_pause(const pause_event& pause) {
  if (exits_all_) return spin_verdict::exit;
  if (!watches_) return spin_verdict::execute;
  if (idle_ > window_) return spin_verdict::exit;
  idle_ += retired_by(pause);
  return spin_verdict::execute;
}

spin_prediction progress::predict(const pause_event& first, cycles /*period*/) const {
  if (exits_all_) return spin_prediction::at(0);
  if (!watches_) return spin_prediction::never();
  return spin_prediction::of(first_beyond(idle_, retired_by(first), window_));
}

void progress::advance(const pause_event& first, cycles /*period*/, std::uint64_t k) {
  if (watches_) idle_ += k * retired_by(first);
}

unsigned progress::state_bits() const noexcept {
  return options_.entries * (52 + 64 + 1) + counter_bits(options_.entries - 1) +
         (options_.window == 0 ? 32 : counter_bits(options_.window + 1));
}

namespace {
using o = progress_options;
constexpr std::array rows{
    row<&o::window>("window", "instructions", "exits after more than so many without a new store; 0: ple_window"),
    row<&o::entries>("entries", "stores", 1, progress::most_entries, "how many stores are remembered")};
}  // namespace

extern const spin_detector_entry progress_entry = entry_with<spin_detector_entry, progress_options, rows>(
    "progress", "exits when a window of instructions has retired without a new store",
    [](const void* options) -> std::unique_ptr<spin_detector> {
      return std::make_unique<progress>(options_as<progress_options>(options));
    },
    true);

}  // namespace vmxsys::vmx
