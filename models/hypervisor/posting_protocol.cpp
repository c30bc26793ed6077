#include <array>

#include <vmxsys/apic/posted_interrupts.hpp>
#include <vmxsys/models/hypervisor/posting_protocol.hpp>

namespace vmxsys::models {
namespace {

using op = posting_operation;

namespace layout = apic::posted_interrupt_descriptor;

constexpr std::uint8_t nv_of(std::uint64_t info) { return apic::decode_descriptor_info(info).vector; }
constexpr std::uint64_t with_nv(std::uint64_t info, std::uint8_t vector) {
  return (info & ~(std::uint64_t{0xff} << layout::nv_shift)) | std::uint64_t{vector} << layout::nv_shift;
}
constexpr std::uint64_t with_ndst(std::uint64_t info, std::uint32_t destination) {
  return (info & 0xffffffffu) | std::uint64_t{destination} << layout::ndst_shift;
}

posting_action on_vcpu(op what, std::uint16_t vcpu) {
  posting_action a;
  a.what = what;
  a.vcpu = vcpu;
  return a;
}
posting_action with_vector(op what, std::uint16_t vcpu, std::uint8_t vector) {
  posting_action a = on_vcpu(what, vcpu);
  a.vector = vector;
  return a;
}
posting_action with_word(op what, std::uint16_t vcpu, std::uint8_t word, std::uint64_t value = 0) {
  posting_action a = on_vcpu(what, vcpu);
  a.word = word;
  a.value = value;
  return a;
}
posting_action with_value(op what, std::uint16_t vcpu, std::uint64_t value, std::uint64_t expected = 0) {
  posting_action a = on_vcpu(what, vcpu);
  a.value = value;
  a.expected = expected;
  return a;
}
posting_action with_mode(op what, std::uint16_t vcpu, vcpu_mode mode, vcpu_mode expected = {}) {
  return with_value(what, vcpu, static_cast<std::uint64_t>(mode), static_cast<std::uint64_t>(expected));
}
posting_action on_list(op what, std::uint32_t cpu, std::uint16_t vcpu = 0, std::uint64_t value = 0) {
  posting_action a = with_value(what, vcpu, value);
  a.cpu = cpu;
  return a;
}
posting_action ipi(std::uint32_t cpu, std::uint8_t vector) {
  posting_action a;
  a.what = op::send_ipi;
  a.vector = vector;
  a.cpu = cpu;
  return a;
}
posting_action here(op what) {
  posting_action a;
  a.what = what;
  return a;
}

template <class Enum>
std::uint8_t number(Enum e) {
  return static_cast<std::uint8_t>(e);
}

}  // namespace

// -- sync -------------------------------------------------------------------------------------------------------------

posting_sync::posting_sync(std::uint16_t vcpu, posting_order order) noexcept : order_{order}, vcpu_{vcpu} {}

posting_action posting_sync::next() const noexcept {
  switch (step_) {
    case step::look:
      return on_vcpu(op::load_info, vcpu_);
    case step::clear:
    case step::clear_late:
      return on_vcpu(op::clear_on, vcpu_);
    case step::load:
      return with_word(op::load_pir, vcpu_, word_);
    case step::take:
      return with_word(op::take_pir, vcpu_, word_);
    case step::merge:
      return with_word(op::merge_irr, vcpu_, word_, found_[word_]);
    case step::rvi:
      return on_vcpu(op::update_rvi, vcpu_);
    case step::finished:
      break;
  }
  return {};
}

// Words that were found empty are left alone: an exchange would take the line from the posters for nothing.
void posting_sync::first_word(step with) noexcept {
  while (word_ < 4 && found_[word_] == 0) ++word_;
  if (word_ < 4) {
    step_ = with;
    return;
  }
  word_ = 0;
  if (with == step::take) {
    first_word(step::merge);
  } else {
    step_ = order_ == posting_order::clears_on_after_harvest ? step::clear_late : step::rvi;
  }
}

void posting_sync::done(std::uint64_t result) noexcept {
  switch (step_) {
    case step::look:
      if ((result & layout::on) == 0) {
        step_ = step::rvi;
      } else {
        step_ = order_ == posting_order::clears_on_after_harvest ? step::load : step::clear;
      }
      break;
    case step::clear:
      step_ = step::load;
      break;
    case step::load:
      found_[word_] = result;
      if (++word_ < 4) break;
      word_ = 0;
      first_word(step::take);
      break;
    case step::take:
      found_[word_] = result;
      ++word_;
      first_word(step::take);
      break;
    case step::merge:
      found_[word_] = 0;
      first_word(step::merge);
      break;
    case step::clear_late:
      step_ = step::rvi;
      break;
    case step::rvi:
      highest_ = static_cast<std::uint8_t>(result);
      step_ = step::finished;
      break;
    case step::finished:
      break;
  }
}

void posting_sync::encode(state_bytes& to) const {
  unsigned filled = 0;
  for (unsigned w = 0; w < 4; ++w) filled |= (found_[w] != 0 ? 1u : 0u) << w;
  to.put(number(step_));
  to.put(filled << 4 | word_);
  to.put(highest_);
  for (const std::uint64_t word : found_) {
    if (word != 0) to.put_short(word);
  }
}

// -- kick -------------------------------------------------------------------------------------------------------------

posting_action posting_kick::next() const noexcept {
  switch (step_) {
    case step::wake:
      return on_vcpu(op::wake_up, target_);
    case step::look:
      return on_vcpu(op::load_mode, target_);
    case step::mark:
      return with_mode(op::store_mode, target_, vcpu_mode::exiting);
    case step::exchange:
      return with_mode(op::exchange_mode, target_, vcpu_mode::exiting, vcpu_mode::in_guest);
    case step::find:
      return on_vcpu(op::load_cpu, target_);
    case step::send:
      return ipi(cpu_, vector::reschedule);
    case step::finished:
      break;
  }
  return {};
}

void posting_kick::done(std::uint64_t result) noexcept {
  const bool in_guest = result == number(vcpu_mode::in_guest);
  switch (step_) {
    case step::wake:
      step_ = result != 0 ? step::finished : target_ == running_ ? step::look : step::exchange;
      break;
    // Nobody else is on this CPU, so the target is about to enter at most: its own last look will find the mark.
    case step::look:
      step_ = in_guest ? step::mark : step::finished;
      break;
    case step::exchange:
      step_ = in_guest ? step::find : step::finished;
      break;
    case step::find:
      cpu_ = static_cast<std::uint32_t>(result);
      step_ = cpu_ == my_cpu_ ? step::finished : step::send;
      break;
    case step::mark:
    case step::send:
      step_ = step::finished;
      break;
    case step::finished:
      break;
  }
  if (step_ == step::finished) cpu_ = 0;
}

void posting_kick::encode(state_bytes& to) const {
  to.put(number(step_));
  to.put_short(target_);
  to.put_short(running_);
  to.put_short(my_cpu_);
  to.put_short(cpu_);
}

// -- sender -----------------------------------------------------------------------------------------------------------

posting_sender::posting_sender(std::uint16_t target, std::uint8_t vector, std::uint32_t my_cpu, std::uint16_t running,
                               bool apicv, posting_order order) noexcept
    : order_{order},
      step_{!apicv                                              ? step::irr
            : order == posting_order::posts_on_before_pir       ? step::on
            : order == posting_order::reads_mode_before_posting ? step::mode
                                                                : step::pir},
      vector_{vector},
      target_{target},
      running_{running},
      kick_{target, my_cpu, running} {}

posting_action posting_sender::next() const noexcept {
  switch (step_) {
    case step::pir:
      return with_vector(op::set_pir, target_, vector_);
    case step::on:
      return on_vcpu(op::set_on, target_);
    case step::mode:
      return on_vcpu(op::load_mode, target_);
    case step::find:
      return on_vcpu(op::load_cpu, target_);
    case step::send:
      return ipi(cpu_, posting_vector::notification);
    case step::wake:
      return on_vcpu(op::wake_up, target_);
    case step::irr:
      return with_vector(op::set_irr, target_, vector_);
    case step::request:
      return with_value(op::set_request, target_, posting_request::event);
    case step::kick:
      return kick_.next();
    case step::finished:
      break;
  }
  return {};
}

void posting_sender::notify() noexcept {
  if (mode_ != vcpu_mode::in_guest) {
    step_ = step::wake;
  } else {
    step_ = target_ == running_ ? step::finished : step::find;
  }
}

void posting_sender::done(std::uint64_t result) noexcept {
  switch (step_) {
    case step::pir:
      if (order_ == posting_order::posts_on_before_pir) {
        step_ = told_ ? step::finished : step::mode;
      } else {
        step_ = result != 0 ? step::finished : step::on;
      }
      break;
    case step::on:
      if (order_ == posting_order::posts_on_before_pir) {
        told_ = result != 0;
        step_ = step::pir;
      } else if (result != 0) {
        step_ = step::finished;
      } else if (order_ == posting_order::reads_mode_before_posting) {
        notify();
      } else {
        step_ = step::mode;
      }
      break;
    case step::mode:
      mode_ = static_cast<vcpu_mode>(result);
      if (order_ == posting_order::reads_mode_before_posting) {
        step_ = step::pir;
      } else {
        notify();
      }
      break;
    case step::find:
      cpu_ = static_cast<std::uint32_t>(result);
      step_ = step::send;
      break;
    case step::irr:
      step_ = step::request;
      break;
    case step::request:
      step_ = step::kick;
      break;
    case step::kick:
      kick_.done(result);
      if (kick_.finished()) step_ = step::finished;
      break;
    case step::send:
    case step::wake:
      step_ = step::finished;
      break;
    case step::finished:
      break;
  }
  if (step_ == step::finished) {  // what it has read decides nothing any more
    mode_ = vcpu_mode::outside_guest;
    told_ = false;
    cpu_ = 0;
  }
}

void posting_sender::encode(state_bytes& to) const {
  to.put(number(step_));
  to.put(vector_);
  to.put(static_cast<unsigned>(number(mode_)) << 1 | (told_ ? 1u : 0u));
  to.put_short(target_);
  to.put_short(running_);
  to.put_short(cpu_);
  if (step_ == step::kick) kick_.encode(to);
}

// -- entry ------------------------------------------------------------------------------------------------------------

posting_entry::posting_entry(std::uint16_t vcpu, bool apicv, posting_order order) noexcept
    : order_{order}, apicv_{apicv}, vcpu_{vcpu}, sync_{vcpu, order} {}

posting_entry posting_entry::again(std::uint16_t vcpu, bool apicv, posting_order order) noexcept {
  posting_entry e{vcpu, apicv, order};
  e.step_ = apicv ? step::sync : step::check_mode;
  return e;
}

posting_action posting_entry::next() const noexcept {
  switch (step_) {
    case step::serve:
      return on_vcpu(op::serve_requests, vcpu_);
    case step::interrupts_off:
      return here(op::disable_interrupts);
    case step::announce:
      return with_mode(op::store_mode, vcpu_, vcpu_mode::in_guest);
    case step::sync:
      return sync_.next();
    case step::check_mode:
      return on_vcpu(op::load_mode, vcpu_);
    case step::check_requests:
      return on_vcpu(op::load_requests, vcpu_);
    case step::enter:
      return on_vcpu(op::enter_guest, vcpu_);
    case step::withdraw:
      return with_mode(op::store_mode, vcpu_, vcpu_mode::outside_guest);
    case step::interrupts_on:
      return here(op::enable_interrupts);
    case step::finished:
      break;
  }
  return {};
}

// The order of the steps on the way into the guest; who is asked to stay out leaves it for `withdraw`.
posting_entry::step posting_entry::after(step s) const noexcept {
  const step look = apicv_ ? step::sync : step::check_mode;
  switch (order_) {
    case posting_order::syncs_before_announcing:
      if (s == step::interrupts_off) return apicv_ ? step::sync : step::announce;
      if (s == step::sync) return step::announce;
      if (s == step::announce) return step::check_mode;
      break;
    case posting_order::announces_late:
      if (s == step::interrupts_off) return look;
      if (s == step::check_requests) return step::announce;
      if (s == step::announce) return step::enter;
      break;
    default:
      break;
  }
  switch (s) {
    case step::serve:
      return step::interrupts_off;
    case step::interrupts_off:
      return step::announce;
    case step::announce:
      return look;
    case step::sync:
      return step::check_mode;
    case step::check_mode:
      return step::check_requests;
    case step::check_requests:
      return step::enter;
    case step::withdraw:
      return step::interrupts_on;
    case step::enter:
    case step::interrupts_on:
    case step::finished:
      break;
  }
  return step::finished;
}

void posting_entry::done(std::uint64_t result) noexcept {
  if (step_ == step::sync) {
    sync_.done(result);
    if (!sync_.finished()) return;
    sync_ = posting_sync{vcpu_, order_};
  }
  const bool stay_out = (step_ == step::check_mode && result == number(vcpu_mode::exiting)) ||
                        (step_ == step::check_requests && result != 0);
  entered_ = step_ == step::enter;
  step_ = stay_out ? step::withdraw : after(step_);
}

void posting_entry::encode(state_bytes& to) const {
  to.put(static_cast<unsigned>(number(step_)) << 1 | (entered_ ? 1u : 0u));
  to.put_short(vcpu_);
  if (step_ == step::sync) sync_.encode(to);
}

// -- leave ------------------------------------------------------------------------------------------------------------

posting_action posting_leave::next() const noexcept {
  if (step_ == 0) return with_mode(op::store_mode, vcpu_, vcpu_mode::outside_guest);
  return step_ == 1 ? here(op::enable_interrupts) : posting_action{};
}

void posting_leave::done(std::uint64_t) noexcept {
  if (step_ < 2) ++step_;
}

void posting_leave::encode(state_bytes& to) const {
  to.put(step_);
  to.put_short(vcpu_);
}

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
      // Posted before NV changed: that notification went where nobody wakes anybody.
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

// Whatever was posted while SN was set told nobody. ON makes the next sync look.
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

// -- for others -------------------------------------------------------------------------------------------------------

bool has_pending_interrupt(std::uint64_t info, const std::array<std::uint64_t, 4>& pir) noexcept {
  const bool posted = (pir[0] | pir[1] | pir[2] | pir[3]) != 0;
  return (info & layout::on) != 0 || ((info & layout::sn) != 0 && posted);
}

}  // namespace vmxsys::models
