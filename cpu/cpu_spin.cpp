#include <algorithm>

#include "cpu_facts.hpp"
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

vmx::pause_event logical_cpu::pause_at(cycles issue, const code_location& where) const {
  return {issue, machine_.costs().instruction.pause, where.cpl, where.rip()};
}

void logical_cpu::begin_spin(spin_instruction& spin, cycles now) {
  if (!spin.started) {
    spin.started = true;
    spin.position = spin_position::before_load;
    spin.began = now;
  }
  activity_ = activity::spinning;
  mark_spin(now);
  continue_spin(now);
}

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
  if (in_guest_ && detector_->on_pause(pause_at(now, *spin.site)) == vmx::spin_verdict::exit) {
    leave_activity(now);
    vmx::exit_info info{};
    info.reason = vmx::exit_reason::pause;
    info.instruction_length = 2;
    begin_exit(info, now);
    return;
  }
  ++spin.iterations;
  spin.position = spin_position::in_pause;
  time_.arm(step_, now + machine_.costs().instruction.pause, phase::read);
}

// The step slot fired while spinning.
void logical_cpu::spin_boundary(cycles now) {
  auto& spin = static_cast<spin_instruction&>(*active_->in_flight());
  if (jumped_) {
    land(now);
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
  settle_spin(now);
  machine_.facts().state(source_, now,
                         spin_fact{spin.target->address(), spin.site->rip(), spin.iterations, spin.began, spin.futile,
                                   static_cast<std::uint8_t>(in_guest_)});
  complete(spin);
  activity_ = activity::executing;
  proceed(now);
}

// With the loop regular from here on: every load would hit this CPU's copy and find the same value. The first PAUSE is
// issued now, or after the load that is.
bool logical_cpu::jump(spin_instruction& spin, cycles now) {
  memory& m = machine_.physical();
  if (!m.load_hits(*spin.target, number_) || !spin.predicate(spin.target->peek())) return false;
  constexpr std::uint64_t never = ~std::uint64_t{0};
  const cycles period = machine_.costs().instruction.pause + spin_load();
  const bool load_first = spin.position == spin_position::before_load;
  const cycles first = load_first ? now + spin_load() : now;
  std::uint64_t count = never;
  if (in_guest_) {
    const vmx::spin_prediction p = detector_->predict(pause_at(first, *spin.site), period);
    if (p.what == vmx::spin_prediction::kind::step) return false;
    if (p.what == vmx::spin_prediction::kind::at) count = p.index;
  }
  if (spin.limit != 0) count = std::min(count, spin.limit > spin.iterations ? spin.limit - spin.iterations - 1 : 0);
  if (count == 0) return false;
  spin.hit = true;
  spin.result = spin.target->peek();
  jumped_ = true;
  jump_first_ = first;
  jump_loads_first_ = load_first;
  jump_count_ = count;
  m.watch(*spin.target, *this);
  if (count != never) time_.arm(step_, first + count * period, phase::read);
  return true;
}

// The jump went as far as it was meant to: before PAUSE number jump_count_.
void logical_cpu::land(cycles now) {
  auto& spin = static_cast<spin_instruction&>(*active_->in_flight());
  machine_.physical().unwatch(*spin.target, *this);
  jumped_ = false;
  const cycles period = machine_.costs().instruction.pause + spin_load();
  if (in_guest_) detector_->advance(pause_at(jump_first_, *spin.site), period, jump_count_);
  spin.iterations += jump_count_;
  spin.position = spin_position::before_pause;
  (void)now;
}

// Rebuilds the exact position at `now`, in a phase before `read`: boundaries of earlier cycles are behind, one at `now`
// is still to come, unless the jump itself began in this cycle: then its first PAUSE has been issued.
void logical_cpu::materialise(cycles now) {
  if (!jumped_) return;
  auto& spin = static_cast<spin_instruction&>(*active_->in_flight());
  machine_.physical().unwatch(*spin.target, *this);
  jumped_ = false;
  if (jump_loads_first_ && now <= jump_first_) {  // no PAUSE has been issued
    spin.position = spin_position::in_load;
    time_.arm(step_, jump_first_, phase::read);
    return;
  }
  const cycles pause = machine_.costs().instruction.pause;
  const cycles period = pause + spin_load();
  // The number of the last PAUSE issued.
  const std::uint64_t last = now == jump_first_ ? 0 : (now - jump_first_ - cycles{1}) / period;
  if (in_guest_) detector_->advance(pause_at(jump_first_, *spin.site), period, last + 1);
  spin.iterations += last + 1;
  const cycles issued = jump_first_ + last * period;
  if (issued + pause >= now) {
    spin.position = spin_position::in_pause;
    time_.arm(step_, issued + pause, phase::read);
  } else {
    spin.position = spin_position::in_load;  // a hit that has bound its value before whatever disturbs it now
    time_.arm(step_, issued + period, phase::read);
  }
}

}  // namespace vmxsys::cpu
