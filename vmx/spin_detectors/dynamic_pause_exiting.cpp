#include "dynamic_pause_exiting.hpp"

#include <algorithm>
#include <array>
#include <memory>

#include "catalogue.hpp"
#include "detail/pause_loop_exiting_rows.hpp"
#include "detail/spin_arithmetic.hpp"

namespace vmxsys::vmx {

spin_verdict dynamic_pause_exiting::on_pause(const pause_event& pause) {
  if (parameters_.pause_exiting) return spin_verdict::exit;
  if (!parameters_.ple_enabled) return spin_verdict::execute;
  if (on_at(pause.issue)) return spin_verdict::exit;
  return options_.with_ple ? loop_.on_pause(pause) : spin_verdict::execute;
}

spin_prediction dynamic_pause_exiting::predict(const pause_event& first, cycles period) const {
  if (parameters_.pause_exiting) return spin_prediction::at(0);
  if (!parameters_.ple_enabled) return spin_prediction::never();
  if (on_at(first.issue)) return spin_prediction::at(0);
  spin_prediction on = spin_prediction::never();
  if (options_.disable_after != 0)
    on = spin_prediction::of(first_hit(first.issue.count() + options_.offset, period.count(), options_.enable_after, 0,
                                       options_.disable_after - 1));
  if (!options_.with_ple) return on;
  const spin_prediction loop = loop_.predict(first, period);
  if (loop.what != spin_prediction::kind::at) return loop.what == spin_prediction::kind::never ? on : loop;
  if (on.what == spin_prediction::kind::never) return loop;
  return spin_prediction::at(std::min(on.index, loop.index));
}

void dynamic_pause_exiting::advance(const pause_event& first, cycles period, std::uint64_t k) {
  if (options_.with_ple) loop_.advance(first, period, k);
}

namespace {
using o = dynamic_pause_exiting_options;
constexpr auto rows =
    std::array{row<&o::enable_after>("enable_after", "cycles", 1, 0xFFFF'FFFF,
                                     "from one switching on of \"PAUSE exiting\" to the next"),
               row<&o::disable_after>("disable_after", "cycles", 0, 0xFFFF'FFFF, "how long it then stays on"),
               row<&o::offset>("offset", "cycles", 0, 0xFFFF'FFFF, "how much of the first stretch is over at 0"),
               row<&o::with_ple>("with_ple", "PAUSE-loop exiting is in effect beside it")} +
    pause_loop_exiting_rows<&o::loop>();
}  // namespace

extern const spin_detector_entry dynamic_pause_exiting_entry =
    entry_with<spin_detector_entry, dynamic_pause_exiting_options, rows>(
        "dynamic_pause_exiting", "a hypervisor switches \"PAUSE exiting\" on and off by the clock, beside PLE",
        [](const void* options) -> std::unique_ptr<spin_detector> {
          return std::make_unique<dynamic_pause_exiting>(options_as<dynamic_pause_exiting_options>(options));
        },
        true);

}  // namespace vmxsys::vmx
