#include "posting_protocol.hpp"

#include <array>

#include "detail/posting_actions.hpp"

// Posting, entering and leaving the guest.
namespace vmxsys::models {

using namespace posting_actions;

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
    // No other thread is on this CPU, so the target is about to enter at most: its own last look will find the mark.
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

// -- for others -------------------------------------------------------------------------------------------------------

bool has_pending_interrupt(std::uint64_t info, const std::array<std::uint64_t, 4>& pir) noexcept {
  const bool posted = (pir[0] | pir[1] | pir[2] | pir[3]) != 0;
  return (info & layout::on) != 0 || ((info & layout::sn) != 0 && posted);
}

}  // namespace vmxsys::models
