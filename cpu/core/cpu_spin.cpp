#include <algorithm>

#include <vmxsys/cpu/facts/cpu_facts.hpp>

#include "logical_cpu.hpp"

// Spin loops: the stepped machine, the jump over regular iterations, and the way back into the middle of one.
//
// One iteration is { PAUSE; load }: the loop is entered at the load. Boundaries are where the PAUSE is issued
// (before_pause) and where the load is (before_load). PAUSE number j of a regular run is issued at first + j * period,
// its load at first + j * period + pause, and both intervals belong to the iteration of that PAUSE.
namespace vmxsys::cpu {

cycles logical_cpu::spin_load() const {
  return machine_.costs().instruction.load + machine_.costs().instruction.branch;
}

/// A PAUSE of the loop as detectors see it, issued at `issue`, which lies no more than a cycle ahead of what is known
/// of the subject.
vmx::pause_event logical_cpu::spin_pause(const spin_instruction& spin, cycles issue) const {
  constexpr std::uint64_t from_pause_to_branch = 9;  // PAUSE 2 bytes, MOV 3, CMP 4
  vmx::pause_event p{issue, machine_.costs().instruction.pause, spin.site->cpl, spin.site->rip(), {}, {}};
  p.loop.word = spin.target->address();
  p.loop.value = spin.result;
  p.loop.line_changed = !spin.hit;
  p.loop.branch = p.rip + from_pause_to_branch;
  p.truth.futile = truth_wanted_ && spin.subject != nullptr && spin.subject->futile(issue);
  p.truth.episode = spin.episode;
  return p;
}

/// Asks the detectors about a PAUSE of the guest; those that only watch leave a fact.
bool logical_cpu::pause_exits(const vmx::pause_event& pause) {
  return detectors_.on_pause(pause, [&](std::size_t detector) {
    machine_.facts().state(
        source_, pause.issue,
        spin_detected_fact{static_cast<std::uint32_t>(detector), pause.loop.word, pause.rip, pause.truth.episode,
                           static_cast<std::uint8_t>(pause.cpl), static_cast<std::uint8_t>(pause.truth.futile)});
  }) == vmx::spin_verdict::exit;
}

void logical_cpu::begin_spin(spin_instruction& spin, cycles now) {
  if (!spin.started) {
    spin.started = true;
    spin.position = spin_position::before_load;
    spin.began = now;
    spin.episode = std::uint64_t{number_} << 40 | ++episodes_;
  }
  activity_ = activity::spinning;
  if (truth_wanted_ && spin.subject != nullptr) watch_subject(spin, now);
  mark_spin(now);
  continue_spin(now);
}

/// From here to `leave_spin` the CPU hears of changes of what the loop waits for.
void logical_cpu::watch_subject(spin_instruction& spin, cycles now) {
  spin.subject->watch(*this);
  if (spin.subject->changing(now)) subject_changed(now);
}

/// The PAUSEs jumped over all had one truth: looked at again from the next cycle on.
void logical_cpu::subject_changed(cycles now) { time_.arm(subject_slot_, now + cycles{1}, phase::message); }

/// Opens an interval of spinning for the books.
void logical_cpu::mark_spin(cycles now) {
  const auto& spin = static_cast<const spin_instruction&>(*active_->in_flight());
  book_as(now, bucket::spin);
  if (spin.subject != nullptr) spin_mark_ = spin.subject->running(now);
}

/// Closes it: the part in which the awaited strand was on no CPU was futile.
void logical_cpu::settle_spin(cycles now) {
  auto& spin = static_cast<spin_instruction&>(*active_->in_flight());
  cycles futile{0};
  if (spin.subject != nullptr) futile = (now - account_.since()) - (spin.subject->running(now) - spin_mark_);
  account_.close_spin(now, futile);
  spin.futile += futile;
}

void logical_cpu::leave_spin(cycles now) {
  settle_spin(now);
  const auto& spin = static_cast<const spin_instruction&>(*active_->in_flight());
  if (!truth_wanted_ || spin.subject == nullptr) return;
  spin.subject->unwatch(*this);
  time_.disarm(subject_slot_);
}

/// The first PAUSE of the wait that was issued in vain.
void logical_cpu::note_truth(spin_instruction& spin, const vmx::pause_event& pause) {
  if (pause.truth.futile && spin.futile_since == cycles::never()) spin.futile_since = pause.issue;
}

// At a boundary of the loop, after recognition: issue what comes next.
void logical_cpu::continue_spin(cycles now) {
  auto& spin = static_cast<spin_instruction&>(*active_->in_flight());
  if (spin.position == spin_position::before_load) {
    // A guest that comes back from a PAUSE exit: not where STI's shadow ends with the load, which is seen at a
    // boundary.
    if (!machine_.config().stepped && in_guest_ && !shadowed_ && jump(spin, now)) return;
    spin.hit = machine_.physical().load_hits(*spin.target, number_);
    if (spin.hit) spin.result = spin.target->peek();
    const cycles done =
        machine_.physical().issue_load(*spin.target, number_, now) + machine_.costs().instruction.branch;
    spin.position = spin_position::in_load;
    time_.arm(step_, done, phase::read);
    return;
  }
  if (!machine_.config().stepped && jump(spin, now)) return;
  if (in_guest_) {
    const vmx::pause_event pause = spin_pause(spin, now);
    note_truth(spin, pause);
    if (pause_exits(pause)) {
      exit_for_pause(now);
      return;
    }
  }
  ++spin.iterations;
  spin.position = spin_position::in_pause;
  time_.arm(step_, now + machine_.costs().instruction.pause, phase::read);
}

// The step slot fired while spinning.
void logical_cpu::spin_boundary(cycles now) {
  auto& spin = static_cast<spin_instruction&>(*active_->in_flight());
  if (jumped_) {
    land();
  } else if (spin.position == spin_position::in_pause) {
    spin.position = spin_position::before_load;
  } else {
    if (!spin.hit) spin.result = machine_.physical().complete_load(*spin.target, number_);
    if (!spin.predicate(spin.result) || (spin.limit != 0 && spin.iterations >= spin.limit)) {
      end_spin(now);
      return;
    }
    spin.position = spin_position::before_pause;
  }
  if (!recognise(now)) continue_spin(now);
}

void logical_cpu::end_spin(cycles now) {
  auto& spin = static_cast<spin_instruction&>(*active_->in_flight());
  leave_spin(now);
  machine_.facts().state(source_, now,
                         spin_fact{spin.target->address(), spin.site->rip(), spin.iterations, spin.began, spin.futile,
                                   static_cast<std::uint8_t>(in_guest_), spin.episode, spin.futile_since});
  complete(spin);
  activity_ = activity::executing;
  proceed(now);
}

void logical_cpu::exit_for_pause(cycles now) {
  vmx::exit_info info{};
  info.reason = vmx::exit_reason::pause;
  info.instruction_length = 2;
  begin_exit(info, now);
}

// With the loop regular from here on: every load would hit this CPU's copy and find the same value. The first PAUSE is
// issued now, or after the load that is.
bool logical_cpu::jump(spin_instruction& spin, cycles now) {
  memory& m = machine_.physical();
  if (in_guest_ && mtf_ != mtf_state::off) return false;
  if (!m.load_hits(*spin.target, number_) || !spin.predicate(spin.target->peek())) return false;
  constexpr std::uint64_t never = ~std::uint64_t{0};
  const cycles period = machine_.costs().instruction.pause + spin_load();
  const bool load_first = spin.position == spin_position::before_load;
  const cycles first = load_first ? now + spin_load() : now;
  // Somebody on this very CPU has stored since the last poll: that PAUSE is not like those after it.
  if (!load_first && spin.result != spin.target->peek()) return false;
  if (load_first) spin.hit = true;  // the poll before the first PAUSE is part of the jump
  spin.result = spin.target->peek();
  jump_pause_ = spin_pause(spin, first);
  std::uint64_t count = never;
  if (in_guest_) {
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
  if (count != never) time_.arm(step_, first + count * period, phase::read);
  return true;
}

// The jump went as far as it was meant to: before PAUSE number jump_count_.
void logical_cpu::land() {
  leave_jump(jump_count_);
  static_cast<spin_instruction&>(*active_->in_flight()).position = spin_position::before_pause;
}

// The first `pauses` PAUSEs of the jump have been issued.
void logical_cpu::leave_jump(std::uint64_t pauses) {
  auto& spin = static_cast<spin_instruction&>(*active_->in_flight());
  machine_.physical().unwatch(*spin.target, *this);
  jumped_ = false;
  spin.iterations += pauses;
  if (!in_guest_ || pauses == 0) return;
  note_truth(spin, jump_pause_);
  detectors_.advance(jump_pause_, machine_.costs().instruction.pause + spin_load(), pauses);
}

// Rebuilds the exact position at `now`, in a phase before `read`: boundaries of earlier cycles are behind, one at `now`
// is still to come, unless the jump itself began in this cycle: then its first PAUSE has been issued.
void logical_cpu::materialise(cycles now) {
  if (!jumped_) return;
  auto& spin = static_cast<spin_instruction&>(*active_->in_flight());
  if (jump_loads_first_ && now <= jump_pause_.issue) {  // no PAUSE has been issued
    leave_jump(0);
    spin.position = spin_position::in_load;
    time_.arm(step_, jump_pause_.issue, phase::read);
    return;
  }
  const cycles pause = machine_.costs().instruction.pause;
  const cycles period = pause + spin_load();
  // The number of the last PAUSE issued.
  const std::uint64_t last = now == jump_pause_.issue ? 0 : (now - jump_pause_.issue - cycles{1}) / period;
  leave_jump(last + 1);
  const cycles issued = jump_pause_.issue + last * period;
  if (issued + pause >= now) {
    spin.position = spin_position::in_pause;
    time_.arm(step_, issued + pause, phase::read);
  } else {
    spin.position = spin_position::in_load;  // a hit that has bound its value before whatever disturbs it now
    time_.arm(step_, issued + period, phase::read);
  }
}

}  // namespace vmxsys::cpu
