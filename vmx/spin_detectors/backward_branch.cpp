#include "backward_branch.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>

#include "catalogue.hpp"
#include "detail/spin_arithmetic.hpp"

namespace vmxsys::vmx {

void backward_branch::on_entry(cycles /*now*/, const spin_parameters& parameters) {
  parameters_ = parameters;
  armed_ = false;
}

spin_verdict backward_branch::on_pause(const pause_event& pause) {
  if (parameters_.pause_exiting) return spin_verdict::exit;
  if (!parameters_.ple_enabled) return spin_verdict::execute;
  if (pause.loop.word == 0) {
    armed_ = false;
    return spin_verdict::execute;
  }
  if (!same_iteration(pause)) {
    armed_ = true;
    branch_ = pause.loop.branch;
    word_ = pause.loop.word;
    value_ = pause.loop.value;
    start_ = pause.issue;
    same_ = 0;
    return spin_verdict::execute;
  }
  const std::uint64_t same = std::min(same_ + 1, options_.iterations);
  if (same == options_.iterations &&
      (!options_.obeys_window || (pause.issue - start_).count() > parameters_.ple_window))
    return spin_verdict::exit;
  same_ = same;
  return spin_verdict::execute;
}

spin_prediction backward_branch::predict(const pause_event& first, cycles period) const {
  if (parameters_.pause_exiting) return spin_prediction::at(0);
  if (!parameters_.ple_enabled || first.loop.word == 0) return spin_prediction::never();
  const bool goes_on = same_iteration(first);
  const std::uint64_t same = goes_on ? std::min(same_ + 1, options_.iterations) : 0;
  const std::uint64_t enough = options_.iterations - same;
  if (!options_.obeys_window) return spin_prediction::at(enough);
  const std::uint64_t since = goes_on ? (first.issue - start_).count() : 0;
  const auto late = first_beyond(since, period.count(), parameters_.ple_window);
  return late ? spin_prediction::at(std::max(enough, *late)) : spin_prediction::never();
}

void backward_branch::advance(const pause_event& first, cycles /*period*/, std::uint64_t k) {
  if (k == 0) return;
  on_pause(first);
  if (parameters_.ple_enabled && first.loop.word != 0) same_ = std::min(same_ + (k - 1), options_.iterations);
}

unsigned backward_branch::state_bits() const noexcept {
  return 64 + (16 + 1) * 64 + counter_bits(options_.iterations) + (options_.obeys_window ? 64 : 0) + 1;
}

namespace {
using o = backward_branch_options;
constexpr std::array rows{
    row<&o::iterations>("iterations", "iterations", 1, 0xFFFF'FFFF, "how many equal ones in a row are a spin"),
    row<&o::obeys_window>("obeys_window", "a spin exits only after more than ple_window cycles")};
}  // namespace

extern const spin_detector_entry backward_branch_entry = entry_with<spin_detector_entry, backward_branch_options, rows>(
    "backward_branch", "exits when a loop repeats with equal registers and no store for longer than PLE_Window",
    [](const void* options) -> std::unique_ptr<spin_detector> {
      return std::make_unique<backward_branch>(options_as<backward_branch_options>(options));
    },
    true);

}  // namespace vmxsys::vmx
