#include "queued_lock.hpp"

#include <vmxsys/cpu/core/logical_cpu.hpp>
#include <vmxsys/cpu/program/strand.hpp>

#include "catalogue.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;
using cpu::spin_predicate;

queued_lock::queued_lock(lock_environment& in) : spinlock{fact_kind, in} { in.prepare_queue_nodes(); }

cpu::program queued_lock::acquire() {
  const std::uint64_t before = co_await isa::witnessed(isa::cmpxchg(word_, 0, locked), *this);
  if (before != 0) co_await slow_path(before);
}

cpu::program queued_lock::release() { co_await isa::witnessed(isa::store_part(word_, locked_mask, 0), *this); }

cpu::program queued_lock::slow_path(std::uint64_t value) {
  auto here = co_await isa::in(slow_path_code);
  const waiting wait = begin_wait(co_await isa::this_strand());
  if (co_await take_by_pending(value))
    end_wait(wait);
  else
    co_await queue(wait);
}

// A waiter's frames stay for as long as it waits, and there can be thousands of them; each instruction has a place of
// its own in a frame. What is over before the long wait is therefore a program of its own.

// `value` is what the fast path found. True if this took the lock. The kernel sets pending with a LOCK BTS and a load;
// here it is one LOCK OR.
cpu::task<bool> queued_lock::take_by_pending(std::uint64_t value) {
  if (value == pending) {
    const cpu::spin_result end = co_await isa::spin_while(word_, spin_predicate::while_equal(pending), transition_spin,
                                                          &subject_, pending_loops);
    value = end.value;
  }
  if ((value & ~locked_mask) != 0) co_return false;
  value = co_await isa::witnessed(isa::fetch_or(word_, pending), *this);
  if ((value & ~locked_mask) == 0) {
    if (value != 0) co_await spin(word_, spin_predicate::while_any(locked_mask), pending_spin, &subject_);
    co_await isa::witnessed(isa::store_part(word_, locked_pending_mask, locked), *this);
    co_return true;
  }
  if ((value & pending_mask) == 0) co_await isa::witnessed(isa::store_part(word_, pending_mask, 0), *this);
  co_return false;
}

cpu::task<cpu::spin_result> queued_lock::spin(cpu::word& on, cpu::spin_predicate until, const cpu::code_location& site,
                                              cpu::spin_subject* subject) {
  const cpu::spin_result end = co_await isa::spin_while(on, until, site, subject);
  co_return end;
}

cpu::program queued_lock::queue(waiting wait) {
  const unsigned cpu = environment_.this_cpu(co_await isa::this_cpu());
  queue_nodes& nodes = environment_.nodes_of(cpu);
  const unsigned level = nodes.depth++;
  if (level < queue_nodes::levels) {
    co_await wait_in_queue(environment_.node_of(cpu, level), encode_tail(cpu, level), wait);
  } else {
    co_await take_without_node();
    end_wait(wait);
  }
  --nodes.depth;
}

cpu::program queued_lock::take_without_node() {
  std::uint64_t before = locked;
  while (before != 0) {
    co_await spin(word_, spin_predicate::while_not_equal(0), no_node_spin, &subject_);
    before = co_await isa::witnessed(isa::cmpxchg(word_, 0, locked), *this);
  }
}

cpu::program queued_lock::wait_in_queue(queue_node& node, std::uint64_t tail, waiting wait) {
  const std::optional<std::uint64_t> before = co_await enter_queue(node, tail);
  if (!before) {
    end_wait(wait);
    co_return;
  }
  std::uint64_t next = 0;
  if (*before != 0) {
    co_await link_behind(*before, tail);
    co_await spin(*node.locked, spin_predicate::while_equal(0), node_spin, &subject_);
    next = co_await value_of(*node.next);
  }
  // The head. The tail keeps newcomers away from the word, so no CPU takes it in between; only the tail may change.
  const cpu::spin_result free =
      co_await spin(word_, spin_predicate::while_any(locked_pending_mask), head_spin, &subject_);
  const bool last = co_await take_as_head(free.value, tail);
  end_wait(wait);
  if (!last) co_await pass_on(node, next);
}

// The word before the tail was put into it; nothing if the lock was free and is taken.
cpu::task<std::optional<std::uint64_t>> queued_lock::enter_queue(queue_node& node, std::uint64_t tail) {
  co_await isa::store(*node.locked, 0);
  co_await isa::store(*node.next, 0);

  std::uint64_t value = co_await isa::load(word_);  // free by now?
  if (value == 0) value = co_await isa::witnessed(isa::cmpxchg(word_, 0, locked), *this);
  if (value == 0) co_return std::nullopt;
  co_return co_await isa::witnessed(isa::exchange_part(word_, tail_mask, tail), *this);
}

cpu::program queued_lock::link_behind(std::uint64_t before, std::uint64_t tail) {
  co_await isa::store(*node_of(before).next, tail);
}

cpu::task<std::uint64_t> queued_lock::value_of(cpu::word& of) { co_return co_await isa::load(of); }

// Takes the lock, which is free. True if no CPU queues behind.
cpu::task<bool> queued_lock::take_as_head(std::uint64_t value, std::uint64_t tail) {
  if (value == tail) {
    const std::uint64_t found = co_await isa::witnessed(isa::cmpxchg(word_, tail, locked), *this);
    if (found == tail) co_return true;
  }
  co_await isa::witnessed(isa::store_part(word_, locked_mask, locked), *this);
  co_return false;
}

// The owner makes its successor the head. `next` is 0 if the successor had not linked itself when last looked.
cpu::program queued_lock::pass_on(queue_node& node, std::uint64_t next) {
  if (next == 0) {
    successor_.await(queue_.empty() ? nullptr : queue_.front(), environment_.now());
    const cpu::spin_result linked = co_await spin(*node.next, spin_predicate::while_equal(0), link_spin, &successor_);
    next = linked.value;
  }
  co_await isa::store(*node_of(next).locked, 1);
}

queue_node& queued_lock::node_of(std::uint64_t tail) {
  const auto cpu = static_cast<unsigned>((tail >> 18) - 1);
  return environment_.node_of(cpu, static_cast<unsigned>(tail >> 16 & 3));
}

void queued_lock::took_effect(cpu::strand& by, const cpu::instruction& i, cycles now) {
  switch (i.code) {
    case cpu::opcode::cmpxchg:
      if (i.result == i.a) taken(by, now);
      break;
    case cpu::opcode::fetch_or:
      if ((i.result & pending_mask) == 0) pending_ = &by;
      settle(holder(), now);
      break;
    case cpu::opcode::exchange:
      queue_.push_back(&by);
      settle(holder(), now);
      break;
    default:
      stored(by, i, now);
      break;
  }
}

// Partial stores say by their mask what they are.
void queued_lock::stored(cpu::strand& by, const cpu::instruction& i, cycles now) {
  if ((i.b & pending_mask) != 0) pending_ = nullptr;
  if (i.a == locked)
    taken(by, now);
  else
    settle((i.b & locked_mask) != 0 ? nullptr : holder(), now);
}

void queued_lock::taken(cpu::strand& by, cycles now) {
  if (!queue_.empty() && queue_.front() == &by) queue_.erase(queue_.begin());
  settle(&by, now);
}

// The CPU with the pending bit is ahead of the queue, even one that sets it by mistake and is about to take it back.
void queued_lock::settle(cpu::strand* holder, cycles now) {
  cpu::strand* head = queue_.empty() ? nullptr : queue_.front();
  set_truth(holder, pending_ != nullptr ? pending_ : head, now);
}

extern const lock_entry queued_lock_entry = entry_without<lock_entry>(
    "queued", "first come, first served; every waiter polls its own word",
    [](const void* /*options*/, lock_environment& in, lock_user /*user*/) -> std::unique_ptr<spinlock> {
      return std::make_unique<queued_lock>(in);
    },
    false);

}  // namespace vmxsys::models
