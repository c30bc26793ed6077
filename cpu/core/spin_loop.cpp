#include "detail/spin_loop.hpp"

#include <algorithm>

#include <vmxsys/cpu/facts/cpu_facts.hpp>

namespace vmxsys::cpu {

spin_loop::spin_loop(cpu_core& core, const detector_maker& acting, const std::vector<observing_detector>& observing)
    : core_{core}, detectors_{acting, observing} {
  truth_wanted_ = detectors_.any_watching() || detectors_.interests().truth;
  if (truth_wanted_) subject_slot_ = core_.time.add_slot(this, on_subject_change, core_.step);
}

/// A PAUSE of the loop as detectors see it, issued at `issue`, which lies no more than a cycle ahead of what is known
/// of the subject.
vmx::pause_event spin_loop::pause_at(const spin_instruction& spin, cycles issue) const {
  constexpr std::uint64_t from_pause_to_branch = 9;  // PAUSE 2 bytes, MOV 3, CMP 4
  vmx::pause_event p{issue, core_.costs.instruction.pause, spin.site->cpl, spin.site->rip(), {}, {}};
  p.loop.word = spin.target->address();
  p.loop.value = spin.result;
  p.loop.line_changed = !spin.hit;
  p.loop.branch = p.rip + from_pause_to_branch;
  p.truth.futile = truth_wanted_ && spin.subject != nullptr && spin.subject->futile(issue);
  p.truth.episode = spin.episode;
  return p;
}

bool spin_loop::pause_exits(const vmx::pause_event& pause) {
  return detectors_.on_pause(pause, [&](std::size_t detector) {
    core_.record(pause.issue, spin_detected_fact{static_cast<std::uint32_t>(detector), pause.loop.word, pause.rip,
                                                 pause.truth.episode, static_cast<std::uint8_t>(pause.cpl),
                                                 static_cast<std::uint8_t>(pause.truth.futile)});
  }) == vmx::spin_verdict::exit;
}

void spin_loop::begin(spin_instruction& spin, cycles now) {
  if (!spin.started) {
    spin.started = true;
    spin.position = spin_position::before_load;
    spin.began = now;
    spin.episode = std::uint64_t{core_.number} << 40 | ++episodes_;
  }
  core_.activity = cpu_activity::spinning;
  spin_ = &spin;
  // From here to `leave` the CPU hears of changes of what the loop waits for.
  if (truth_wanted_ && spin.subject != nullptr) {
    spin.subject->watch(*this);
    if (spin.subject->changing(now)) subject_changed(now);
  }
  core_.book_as(now, bucket::spin);
  if (spin.subject != nullptr) mark_ = spin.subject->running(now);
}

/// The PAUSEs jumped over all had one truth: looked at again from the next cycle on.
void spin_loop::subject_changed(cycles now) { core_.time.arm(subject_slot_, now + cycles{1}, phase::message); }

/// Closes an interval of spinning: the part in which the awaited strand was on no CPU was futile.
void spin_loop::settle(cycles now) {
  cycles futile{0};
  if (spin_->subject != nullptr) futile = (now - core_.account.since()) - (spin_->subject->running(now) - mark_);
  core_.account.close_spin(now, futile);
  spin_->futile += futile;
}

void spin_loop::leave(cycles now) {
  materialise(now);
  settle(now);
  if (truth_wanted_ && spin_->subject != nullptr) {
    spin_->subject->unwatch(*this);
    core_.time.disarm(subject_slot_);
  }
  spin_ = nullptr;
}

void spin_loop::close_accounting(cycles now) {
  settle(now);
  if (spin_->subject != nullptr) mark_ = spin_->subject->running(now);
}

/// The first PAUSE of the wait that was issued in vain.
void spin_loop::note_truth(spin_instruction& spin, const vmx::pause_event& pause) const {
  if (pause.truth.futile && spin.futile_since == cycles::never()) spin.futile_since = pause.issue;
}

bool spin_loop::proceed(bool singly, cycles now) {
  spin_instruction& spin = *spin_;
  const bool may_jump = !core_.stepped && !singly;
  if (spin.position == spin_position::before_load) {
    // A guest that comes back from a PAUSE exit: not where STI's shadow ends with the load, which is seen at a
    // boundary.
    if (may_jump && core_.in_guest && !core_.shadowed && jump(spin, now)) return true;
    spin.hit = core_.physical.load_hits(*spin.target, core_.number);
    if (spin.hit) spin.result = spin.target->peek();
    const cycles done = core_.physical.issue_load(*spin.target, core_.number, now) + core_.costs.instruction.branch;
    spin.position = spin_position::in_load;
    core_.time.arm(core_.step, done, phase::read);
    return true;
  }
  if (may_jump && jump(spin, now)) return true;
  if (core_.in_guest) {
    const vmx::pause_event pause = pause_at(spin, now);
    note_truth(spin, pause);
    if (pause_exits(pause)) return false;
  }
  ++spin.iterations;
  spin.position = spin_position::in_pause;
  core_.time.arm(core_.step, now + core_.costs.instruction.pause, phase::read);
  return true;
}

bool spin_loop::arrive(cycles now) {
  spin_instruction& spin = *spin_;
  if (jumped_) {  // as far as it was meant to go: before PAUSE number jump_count_
    leave_jump(spin, jump_count_);
    spin.position = spin_position::before_pause;
    return true;
  }
  if (spin.position == spin_position::in_pause) {
    spin.position = spin_position::before_load;
    return true;
  }
  if (!spin.hit) spin.result = core_.physical.complete_load(*spin.target, core_.number);
  if (spin.predicate(spin.result) && (spin.limit == 0 || spin.iterations < spin.limit)) {
    spin.position = spin_position::before_pause;
    return true;
  }
  leave(now);
  core_.record(now, spin_fact{spin.target->address(), spin.site->rip(), spin.iterations, spin.began, spin.futile,
                              static_cast<std::uint8_t>(core_.in_guest), spin.episode, spin.futile_since});
  core_.complete(spin);
  core_.activity = cpu_activity::executing;
  return false;
}

// With the loop regular from here on: every load would hit this CPU's copy and find the same value. The first PAUSE is
// issued now, or after the load that is.
bool spin_loop::jump(spin_instruction& spin, cycles now) {
  memory& m = core_.physical;
  if (!m.load_hits(*spin.target, core_.number) || !spin.predicate(spin.target->peek())) return false;
  constexpr std::uint64_t never = ~std::uint64_t{0};
  const cycles period = core_.costs.instruction.pause + load_duration();
  const bool load_first = spin.position == spin_position::before_load;
  const cycles first = load_first ? now + load_duration() : now;
  // A store by this very CPU since the last poll: that PAUSE is not like those after it.
  if (!load_first && spin.result != spin.target->peek()) return false;
  if (load_first) spin.hit = true;  // the poll before the first PAUSE is part of the jump
  spin.result = spin.target->peek();
  jump_pause_ = pause_at(spin, first);
  std::uint64_t count = never;
  if (core_.in_guest) {
    const vmx::spin_prediction p = detectors_.predict(jump_pause_, period);
    if (p.what == vmx::spin_prediction::kind::step) return false;
    if (p.what == vmx::spin_prediction::kind::at) count = p.index;
  }
  if (spin.limit != 0) count = std::min(count, spin.limit > spin.iterations ? spin.limit - spin.iterations - 1 : 0);
  if (count == 0) return false;
  spin.hit = true;
  jumped_ = true;
  jump_loads_first_ = load_first;
  jump_count_ = count;
  m.watch(*spin.target, *this);
  if (truth_wanted_ && spin.subject != nullptr && spin.subject->changing(now)) subject_changed(now);
  if (count != never) core_.time.arm(core_.step, first + count * period, phase::read);
  return true;
}

// The first `pauses` PAUSEs of the jump have been issued.
void spin_loop::leave_jump(spin_instruction& spin, std::uint64_t pauses) {
  core_.physical.unwatch(*spin.target, *this);
  jumped_ = false;
  spin.iterations += pauses;
  if (!core_.in_guest || pauses == 0) return;
  note_truth(spin, jump_pause_);
  detectors_.advance(jump_pause_, core_.costs.instruction.pause + load_duration(), pauses);
}

// Boundaries of earlier cycles are behind, one at `now` is still to come, unless the jump itself began in this cycle:
// then its first PAUSE has been issued.
void spin_loop::materialise(cycles now) {
  if (!jumped_) return;
  spin_instruction& spin = *spin_;
  if (jump_loads_first_ && now <= jump_pause_.issue) {  // no PAUSE has been issued
    leave_jump(spin, 0);
    spin.position = spin_position::in_load;
    core_.time.arm(core_.step, jump_pause_.issue, phase::read);
    return;
  }
  const cycles pause = core_.costs.instruction.pause;
  const cycles period = pause + load_duration();
  // The number of the last PAUSE issued.
  const std::uint64_t last = now == jump_pause_.issue ? 0 : (now - jump_pause_.issue - cycles{1}) / period;
  leave_jump(spin, last + 1);
  const cycles issued = jump_pause_.issue + last * period;
  if (issued + pause >= now) {
    spin.position = spin_position::in_pause;
    core_.time.arm(core_.step, issued + pause, phase::read);
  } else {
    spin.position = spin_position::in_load;  // a hit that has bound its value before the disturbance of now
    core_.time.arm(core_.step, issued + period, phase::read);
  }
}

}  // namespace vmxsys::cpu
