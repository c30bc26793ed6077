#include <array>

#include "detail/posting_actions.hpp"
#include "posting_protocol.hpp"

// Blocking, leaving and taking a CPU, and the handler of the wake-up vector.
namespace vmxsys::models {

using namespace posting_actions;

// -- block ------------------------------------------------------------------------------------------------------------

posting_block::posting_block(std::uint16_t vcpu, bool apicv, posting_order order) noexcept
    : order_{order}, step_{step::announce}, apicv_{apicv}, vcpu_{vcpu}, sync_{vcpu, order} {
  step_ = begin();
}

posting_block::step posting_block::begin() const noexcept {
  return order_ == posting_order::checks_before_waiting ? check() : step::announce;
}

posting_action posting_block::next() const noexcept {
  switch (step_) {
    case step::announce:
      return on_vcpu(op::announce_wait, vcpu_);
    case step::sync:
      return sync_.next();
    case step::rvi:
      return on_vcpu(op::update_rvi, vcpu_);
    case step::requests:
      return on_vcpu(op::load_requests, vcpu_);
    case step::cancel:
      return on_vcpu(op::cancel_wait, vcpu_);
    case step::sleep:
      return on_vcpu(op::sleep, vcpu_);
    case step::finished:
      break;
  }
  return {};
}

void posting_block::looked(bool found) noexcept {
  if (order_ == posting_order::checks_before_waiting) {
    if (step_ == step::requests) {
      step_ = found ? step::finished : step::announce;
    } else {
      step_ = found ? step::finished : step::requests;
    }
    return;
  }
  if (found) {
    step_ = step::cancel;
  } else {
    step_ = step_ == step::requests ? step::sleep : step::requests;
  }
}

void posting_block::done(std::uint64_t result) noexcept {
  switch (step_) {
    case step::announce:
      step_ = order_ == posting_order::checks_before_waiting ? step::sleep : check();
      break;
    case step::sync: {
      sync_.done(result);
      if (!sync_.finished()) break;
      const bool found = sync_.highest() != 0;
      sync_ = posting_sync{vcpu_, order_};
      looked(found);
      break;
    }
    case step::rvi:
    case step::requests:
      looked(result != 0);
      break;
    case step::sleep:
      step_ = begin();
      break;
    case step::cancel:
      step_ = step::finished;
      break;
    case step::finished:
      break;
  }
}

void posting_block::encode(state_bytes& to) const {
  to.put(number(step_));
  to.put_short(vcpu_);
  if (step_ == step::sync) sync_.encode(to);
}

// -- put --------------------------------------------------------------------------------------------------------------

posting_put::posting_put(std::uint16_t vcpu, std::uint32_t my_cpu, posting_put_reason why, posting_order order) noexcept
    : order_{order},
      step_{!why.hardware_posts                                         ? step::finished
            : !why.preempted && why.blocking && !why.interrupts_blocked ? step::add
                                                                        : step::suppress},
      vcpu_{vcpu},
      cpu_{my_cpu} {}

posting_action posting_put::next() const noexcept {
  switch (step_) {
    case step::suppress:
      return on_vcpu(op::set_sn, vcpu_);
    case step::add:
      return on_list(op::add_waiter, cpu_, vcpu_);
    case step::load:
      return on_vcpu(op::load_info, vcpu_);
    case step::exchange:
      return with_value(op::exchange_info, vcpu_, with_nv(seen_, posting_vector::wakeup), seen_);
    case step::tell:
      return ipi(cpu_, posting_vector::wakeup);
    case step::finished:
      break;
  }
  return {};
}

void posting_put::done(std::uint64_t result) noexcept {
  switch (step_) {
    case step::add:
      step_ = step::load;
      break;
    case step::load:
      seen_ = result;
      step_ = step::exchange;
      break;
    case step::exchange:
      if (result != seen_) {
        seen_ = result;
        break;
      }
      // Posted before NV changed: that notification went where it wakes no vCPU.
      step_ =
          (seen_ & layout::on) != 0 && order_ != posting_order::ignores_on_after_switch ? step::tell : step::finished;
      seen_ = 0;
      break;
    case step::suppress:
    case step::tell:
      step_ = step::finished;
      break;
    case step::finished:
      break;
  }
}

void posting_put::encode(state_bytes& to) const {
  to.put(number(step_));
  to.put_short(vcpu_);
  to.put_short(cpu_);
  to.put_short(seen_);
}

// -- load -------------------------------------------------------------------------------------------------------------

posting_load::posting_load(std::uint16_t vcpu, std::uint32_t my_cpu, std::uint32_t last_cpu, std::uint32_t destination,
                           posting_order order) noexcept
    : order_{order}, vcpu_{vcpu}, cpu_{my_cpu}, last_cpu_{last_cpu}, destination_{destination} {}

posting_action posting_load::next() const noexcept {
  switch (step_) {
    case step::look:
    case step::load:
      return on_vcpu(op::load_info, vcpu_);
    case step::clear:
      return on_vcpu(op::clear_sn, vcpu_);
    case step::remove:
      return on_list(op::remove_waiter, last_cpu_, vcpu_);
    case step::exchange: {
      std::uint64_t info = with_nv(seen_ & ~layout::sn, posting_vector::notification);
      if (order_ != posting_order::keeps_destination) info = with_ndst(info, destination_);
      return with_value(op::exchange_info, vcpu_, info, seen_);
    }
    case step::check:
      return with_word(op::load_pir, vcpu_, word_);
    case step::tell:
      return on_vcpu(op::set_on, vcpu_);
    case step::finished:
      break;
  }
  return {};
}

// A post while SN was set sent no notification. ON makes the next sync look.
void posting_load::suppression_ended() noexcept {
  step_ = order_ == posting_order::ignores_pir_after_load ? step::finished : step::check;
}

void posting_load::done(std::uint64_t result) noexcept {
  switch (step_) {
    case step::look:
      if (nv_of(result) == posting_vector::wakeup) {
        step_ = step::remove;
      } else {
        step_ = cpu_ == last_cpu_ ? step::clear : step::load;
      }
      break;
    case step::clear:
      if (result != 0) {
        suppression_ended();
      } else {
        step_ = step::finished;
      }
      break;
    case step::remove:
      step_ = step::load;
      break;
    case step::load:
      seen_ = result;
      step_ = step::exchange;
      break;
    case step::exchange:
      if (result != seen_) {
        seen_ = result;
        break;
      }
      seen_ = 0;
      suppression_ended();
      break;
    case step::check:
      if (result != 0) {
        step_ = step::tell;
        word_ = 0;
      } else if (++word_ == 4) {
        step_ = step::finished;
        word_ = 0;
      }
      break;
    case step::tell:
      step_ = step::finished;
      break;
    case step::finished:
      break;
  }
}

void posting_load::encode(state_bytes& to) const {
  to.put(static_cast<unsigned>(number(step_)) << 2 | word_);
  to.put_short(vcpu_);
  to.put_short(cpu_);
  to.put_short(last_cpu_);
  to.put_short(destination_);
  to.put_short(seen_);
}

// -- wake-up handler --------------------------------------------------------------------------------------------------

posting_action posting_wakeup::next() const noexcept {
  switch (step_) {
    case step::lock:
      return on_list(op::lock_waiters, cpu_);
    case step::next:
      return on_list(op::next_waiter, cpu_, 0, position_);
    case step::look:
      return on_vcpu(op::load_info, vcpu_);
    case step::wake:
      return on_vcpu(op::wake_up, vcpu_);
    case step::unlock:
      return on_list(op::unlock_waiters, cpu_);
    case step::finished:
      break;
  }
  return {};
}

void posting_wakeup::done(std::uint64_t result) noexcept {
  switch (step_) {
    case step::lock:
      step_ = step::next;
      break;
    case step::next:
      if (result == 0) {
        step_ = step::unlock;
        position_ = 0;
      } else {
        step_ = step::look;
        vcpu_ = static_cast<std::uint16_t>(result - 1);
        ++position_;
      }
      break;
    case step::look:
      step_ = (result & layout::on) != 0 ? step::wake : step::next;
      break;
    case step::wake:
      step_ = step::next;
      break;
    case step::unlock:
      step_ = step::finished;
      break;
    case step::finished:
      break;
  }
  if (step_ != step::look && step_ != step::wake) vcpu_ = 0;
}

void posting_wakeup::encode(state_bytes& to) const {
  to.put(number(step_));
  to.put_short(vcpu_);
  to.put_short(position_);
  to.put_short(cpu_);
}

}  // namespace vmxsys::models
