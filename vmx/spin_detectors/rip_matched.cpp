#include "rip_matched.hpp"

#include <array>
#include <memory>

#include "catalogue.hpp"
#include "detail/pause_loop_exiting_rows.hpp"

namespace vmxsys::vmx {

void rip_matched::look_at(const pause_event& pause) noexcept {
  if (!loop_.watches(pause)) return;
  const std::uint64_t distance = pause.rip > rip_ ? pause.rip - rip_ : rip_ - pause.rip;
  if (distance > reach_) loop_.forget_loop();
  rip_ = pause.rip;
}

spin_verdict rip_matched::on_pause(const pause_event& pause) {
  look_at(pause);
  return loop_.on_pause(pause);
}

spin_prediction rip_matched::predict(const pause_event& first, cycles period) const {
  rip_matched after = *this;
  after.look_at(first);
  return after.loop_.predict(first, period);
}

void rip_matched::advance(const pause_event& first, cycles period, std::uint64_t k) {
  if (k == 0) return;
  look_at(first);
  loop_.advance(first, period, k);
}

namespace {
using o = rip_matched_options;
constexpr auto rows =
    std::array{row<&o::reach>("reach", "bytes", "PAUSEs at most so far apart in memory may belong to one loop")} +
    pause_loop_exiting_rows<&o::loop>();
}  // namespace

extern const spin_detector_entry rip_matched_entry = entry_with<spin_detector_entry, rip_matched_options, rows>(
    "rip_matched", "PAUSE-loop exiting where a PAUSE at another address starts a new loop",
    [](const void* options) -> std::unique_ptr<spin_detector> {
      return std::make_unique<rip_matched>(options_as<rip_matched_options>(options));
    },
    true);

}  // namespace vmxsys::vmx
