#include <vmxsys/vmx/pause_loop_exiting.hpp>

namespace vmxsys::vmx {

namespace {
// Time since `then`; 0 if that lies ahead, which happens only when a PAUSE starts before the previous one has ended.
std::uint64_t elapsed(cycles then, cycles now) { return now < then ? 0 : (now - then).count(); }
}  // namespace

cycles pause_loop_exiting::stamp(cycles at) const noexcept {
  return cycles{at.count() >> options_.counter_shift << options_.counter_shift};
}

cycles pause_loop_exiting::gap_mark(const pause_event& pause) const noexcept {
  return stamp(options_.gap_end_to_start ? pause.issue + pause.latency : pause.issue);
}

void pause_loop_exiting::on_entry(cycles /*now*/, const spin_parameters& parameters) {
  parameters_ = parameters;
  armed_ = false;
}

spin_verdict pause_loop_exiting::on_pause(const pause_event& pause) {
  if (parameters_.pause_exiting) return spin_verdict::exit;
  if (!watches(pause)) return spin_verdict::execute;
  const cycles now = stamp(pause.issue);
  if (!armed_ || elapsed(last_, now) > parameters_.ple_gap) {
    first_ = now;
  } else if (elapsed(first_, now) > parameters_.ple_window) {
    return spin_verdict::exit;
  }
  armed_ = true;
  last_ = gap_mark(pause);
  return spin_verdict::execute;
}

spin_prediction pause_loop_exiting::predict(const pause_event& first, cycles period) const {
  if (parameters_.pause_exiting) return {spin_prediction::kind::at, 0};
  if (!watches(first)) return {spin_prediction::kind::never, 0};
  if (options_.counter_shift != 0) return {spin_prediction::kind::step, 0};

  const bool new_loop = !armed_ || elapsed(last_, first.issue) > parameters_.ple_gap;
  const std::uint64_t in_loop_for = new_loop ? 0 : elapsed(first_, first.issue);
  if (in_loop_for > parameters_.ple_window) return {spin_prediction::kind::at, 0};
  if (period == cycles{} || elapsed(gap_mark(first), first.issue + period) > parameters_.ple_gap)
    return {spin_prediction::kind::never, 0};
  return {spin_prediction::kind::at, (parameters_.ple_window - in_loop_for) / period.count() + 1};
}

void pause_loop_exiting::advance(const pause_event& first, cycles period, std::uint64_t k) {
  if (options_.counter_shift != 0) {
    pause_event pause = first;
    for (; k > 0; --k, pause.issue += period) on_pause(pause);
    return;
  }
  if (k == 0 || !watches(first)) return;
  on_pause(first);
  if (k == 1) return;
  const bool each_starts_a_loop = elapsed(gap_mark(first), first.issue + period) > parameters_.ple_gap;
  pause_event final_pause = first;
  final_pause.issue += period * (k - 1);
  if (each_starts_a_loop) first_ = final_pause.issue;
  last_ = gap_mark(final_pause);
}

const char* pause_loop_exiting::name() const noexcept {
  return options_.gap_end_to_start ? "pause_loop_exiting_end_to_start" : "pause_loop_exiting";
}

}  // namespace vmxsys::vmx
