#include <algorithm>

#include <vmxsys/cpu/facts/cpu_facts.hpp>

#include "detail/cpu_engine.hpp"

// Spin loops: the stepped machine, the jump over regular iterations, and the way back into the middle of one.
//
// One iteration is { PAUSE; load }: the loop is entered at the load. Boundaries are where the PAUSE is issued
// (before_pause) and where the load is (before_load). PAUSE number j of a regular run is issued at first + j * period,
// its load at first + j * period + pause, and both intervals belong to the iteration of that PAUSE.
namespace vmxsys::cpu {

cycles cpu_engine::spin_load() const { return core_.costs.instruction.load + core_.costs.instruction.branch; }

/// A PAUSE of the loop as detectors see it, issued at `issue`, which lies no more than a cycle ahead of what is known
/// of the subject.
vmx::pause_event cpu_engine::spin_pause(const spin_instruction& spin, cycles issue) const {
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

/// Asks the detectors about a PAUSE of the guest; those that only watch leave a fact.
bool cpu_engine::pause_exits(const vmx::pause_event& pause) {
  return detectors_.on_pause(pause, [&](std::size_t detector) {
    core_.state(pause.issue, spin_detected_fact{static_cast<std::uint32_t>(detector), pause.loop.word, pause.rip,
                                                pause.truth.episode, static_cast<std::uint8_t>(pause.cpl),
                                                static_cast<std::uint8_t>(pause.truth.futile)});
  }) == vmx::spin_verdict::exit;
}

void cpu_engine::begin_spin(spin_instruction& spin, cycles now) {
  if (!spin.started) {
    spin.started = true;
    spin.position = spin_position::before_load;
    spin.began = now;
    spin.episode = std::uint64_t{core_.number} << 40 | ++episodes_;
  }
  core_.activity = cpu_activity::spinning;
  if (truth_wanted_ && spin.subject != nullptr) watch_subject(spin, now);
  mark_spin(now);
  continue_spin(now);
}

/// From here to `leave_spin` the CPU hears of changes of what the loop waits for.
void cpu_engine::watch_subject(spin_instruction& spin, cycles now) {
  spin.subject->watch(*this);
  if (spin.subject->changing(now)) subject_changed(now);
}

/// The PAUSEs jumped over all had one truth: looked at again from the next cycle on.
void cpu_engine::subject_changed(cycles now) { core_.time.arm(subject_slot_, now + cycles{1}, phase::message); }

/// Opens an interval of spinning for the books.
void cpu_engine::mark_spin(cycles now) {
  const auto& spin = static_cast<const spin_instruction&>(*core_.active->in_flight());
  core_.book_as(now, bucket::spin);
  if (spin.subject != nullptr) spin_mark_ = spin.subject->running(now);
}

/// Closes it: the part in which the awaited strand was on no CPU was futile.
void cpu_engine::settle_spin(cycles now) {
  auto& spin = static_cast<spin_instruction&>(*core_.active->in_flight());
  cycles futile{0};
  if (spin.subject != nullptr) futile = (now - core_.account.since()) - (spin.subject->running(now) - spin_mark_);
  core_.account.close_spin(now, futile);
  spin.futile += futile;
}

void cpu_engine::leave_spin(cycles now) {
  settle_spin(now);
  const auto& spin = static_cast<const spin_instruction&>(*core_.active->in_flight());
  if (!truth_wanted_ || spin.subject == nullptr) return;
  spin.subject->unwatch(*this);
  core_.time.disarm(subject_slot_);
}

/// The first PAUSE of the wait that was issued in vain.
void cpu_engine::note_truth(spin_instruction& spin, const vmx::pause_event& pause) {
  if (pause.truth.futile && spin.futile_since == cycles::never()) spin.futile_since = pause.issue;
}

// At a boundary of the loop, after recognition: issue what comes next.
void cpu_engine::continue_spin(cycles now) {
  auto& spin = static_cast<spin_instruction&>(*core_.active->in_flight());
  if (spin.position == spin_position::before_load) {
    // A guest that comes back from a PAUSE exit: not where STI's shadow ends with the load, which is seen at a
    // boundary.
    if (!core_.stepped && core_.in_guest && !core_.shadowed && jump(spin, now)) return;
    spin.hit = core_.physical.load_hits(*spin.target, core_.number);
    if (spin.hit) spin.result = spin.target->peek();
    const cycles done = core_.physical.issue_load(*spin.target, core_.number, now) + core_.costs.instruction.branch;
    spin.position = spin_position::in_load;
    core_.time.arm(core_.step, done, phase::read);
    return;
  }
  if (!core_.stepped && jump(spin, now)) return;
  if (core_.in_guest) {
    const vmx::pause_event pause = spin_pause(spin, now);
    note_truth(spin, pause);
    if (pause_exits(pause)) {
      exit_for_pause(now);
      return;
    }
  }
  ++spin.iterations;
  spin.position = spin_position::in_pause;
  core_.time.arm(core_.step, now + core_.costs.instruction.pause, phase::read);
}

// The step slot fired while spinning.
void cpu_engine::spin_boundary(cycles now) {
  auto& spin = static_cast<spin_instruction&>(*core_.active->in_flight());
  if (jumped_) {
    land();
  } else if (spin.position == spin_position::in_pause) {
    spin.position = spin_position::before_load;
  } else {
    if (!spin.hit) spin.result = core_.physical.complete_load(*spin.target, core_.number);
    if (!spin.predicate(spin.result) || (spin.limit != 0 && spin.iterations >= spin.limit)) {
      end_spin(now);
      return;
    }
    spin.position = spin_position::before_pause;
  }
  if (!recognise(now)) continue_spin(now);
}

void cpu_engine::end_spin(cycles now) {
  auto& spin = static_cast<spin_instruction&>(*core_.active->in_flight());
  leave_spin(now);
  core_.state(now, spin_fact{spin.target->address(), spin.site->rip(), spin.iterations, spin.began, spin.futile,
                             static_cast<std::uint8_t>(core_.in_guest), spin.episode, spin.futile_since});
  core_.complete(spin);
  core_.activity = cpu_activity::executing;
  proceed(now);
}

void cpu_engine::exit_for_pause(cycles now) {
  vmx::exit_info info{};
  info.reason = vmx::exit_reason::pause;
  info.instruction_length = 2;
  begin_exit(info, now);
}

// With the loop regular from here on: every load would hit this CPU's copy and find the same value. The first PAUSE is
// issued now, or after the load that is.
bool cpu_engine::jump(spin_instruction& spin, cycles now) {
  memory& m = core_.physical;
  if (core_.in_guest && mtf_ != mtf_state::off) return false;
  if (!m.load_hits(*spin.target, core_.number) || !spin.predicate(spin.target->peek())) return false;
  constexpr std::uint64_t never = ~std::uint64_t{0};
  const cycles period = core_.costs.instruction.pause + spin_load();
  const bool load_first = spin.position == spin_position::before_load;
  const cycles first = load_first ? now + spin_load() : now;
  // Somebody on this very CPU has stored since the last poll: that PAUSE is not like those after it.
  if (!load_first && spin.result != spin.target->peek()) return false;
  if (load_first) spin.hit = true;  // the poll before the first PAUSE is part of the jump
  spin.result = spin.target->peek();
  jump_pause_ = spin_pause(spin, first);
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

// The jump went as far as it was meant to: before PAUSE number jump_count_.
void cpu_engine::land() {
  leave_jump(jump_count_);
  static_cast<spin_instruction&>(*core_.active->in_flight()).position = spin_position::before_pause;
}

// The first `pauses` PAUSEs of the jump have been issued.
void cpu_engine::leave_jump(std::uint64_t pauses) {
  auto& spin = static_cast<spin_instruction&>(*core_.active->in_flight());
  core_.physical.unwatch(*spin.target, *this);
  jumped_ = false;
  spin.iterations += pauses;
  if (!core_.in_guest || pauses == 0) return;
  note_truth(spin, jump_pause_);
  detectors_.advance(jump_pause_, core_.costs.instruction.pause + spin_load(), pauses);
}

// Rebuilds the exact position at `now`, in a phase before `read`: boundaries of earlier cycles are behind, one at `now`
// is still to come, unless the jump itself began in this cycle: then its first PAUSE has been issued.
void cpu_engine::materialise(cycles now) {
  if (!jumped_) return;
  auto& spin = static_cast<spin_instruction&>(*core_.active->in_flight());
  if (jump_loads_first_ && now <= jump_pause_.issue) {  // no PAUSE has been issued
    leave_jump(0);
    spin.position = spin_position::in_load;
    core_.time.arm(core_.step, jump_pause_.issue, phase::read);
    return;
  }
  const cycles pause = core_.costs.instruction.pause;
  const cycles period = pause + spin_load();
  // The number of the last PAUSE issued.
  const std::uint64_t last = now == jump_pause_.issue ? 0 : (now - jump_pause_.issue - cycles{1}) / period;
  leave_jump(last + 1);
  const cycles issued = jump_pause_.issue + last * period;
  if (issued + pause >= now) {
    spin.position = spin_position::in_pause;
    core_.time.arm(core_.step, issued + pause, phase::read);
  } else {
    spin.position = spin_position::in_load;  // a hit that has bound its value before whatever disturbs it now
    core_.time.arm(core_.step, issued + period, phase::read);
  }
}

}  // namespace vmxsys::cpu
