#include "rip_matched.hpp"

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

}  // namespace vmxsys::vmx
