#pragma once
#include <boost/container/small_vector.hpp>
#include <cstdint>
#include <optional>

#include "spinlock.hpp"

namespace vmxsys::models {

namespace detail {
constexpr cpu::code_location queued_slow_path_at(std::uint32_t offset) {
  return {"native_queued_spin_lock_slowpath", 0xffffffff81115000, offset, 0, cpu::bucket::spin};
}
}  // namespace detail

/// The native queued spinlock of kernels since v4.2, layout for less than 16384 CPUs. Bits of the word:
///
///   7:0 locked | 15:8 pending | 17:16 nesting level and 31:18 CPU + 1 of the last waiter in the queue (the tail)
///
/// One waiter may spin on the lock word itself (pending); further ones queue, each spinning on the line of its own
/// node until its predecessor makes it the head, which spins on the word again. Queue order is lock order. The pending
/// waiter is ahead of the queue. With more than four waiting contexts on one CPU the fifth has no node and tries its
/// luck on the word.
/// Source: kernel/locking/qspinlock.c and include/asm-generic/qspinlock_types.h, v6.1.
class queued_lock final : public spinlock {
 public:
  static constexpr std::uint8_t fact_kind = 2;
  static constexpr std::uint64_t locked = 0x1;
  static constexpr std::uint64_t locked_mask = 0xFF;
  static constexpr std::uint64_t pending = 0x100;
  static constexpr std::uint64_t pending_mask = 0xFF00;
  static constexpr std::uint64_t locked_pending_mask = 0xFFFF;
  static constexpr std::uint64_t tail_mask = 0xFFFF0000;
  /// PAUSEs for which a locker that finds only the pending bit waits for the hand-over to end (x86).
  static constexpr std::uint64_t pending_loops = 512;

  /// What stands for a waiter in the word.
  static constexpr std::uint64_t encode_tail(unsigned cpu, unsigned level) {
    return std::uint64_t{cpu + 1} << 18 | std::uint64_t{level} << 16;
  }

  // Where it spins, by offset of the PAUSE.
  static constexpr cpu::code_location slow_path_code = detail::queued_slow_path_at(0x000);
  /// Only the pending bit is set: a hand-over is in progress.
  static constexpr cpu::code_location transition_spin = detail::queued_slow_path_at(0x024);
  /// As pending waiter, for the locked byte.
  static constexpr cpu::code_location pending_spin = detail::queued_slow_path_at(0x06e);
  /// On the fifth level, for the whole word.
  static constexpr cpu::code_location no_node_spin = detail::queued_slow_path_at(0x0c9);
  /// In the queue, for the own node.
  static constexpr cpu::code_location node_spin = detail::queued_slow_path_at(0x13d);
  /// As head of the queue, for locked and pending.
  static constexpr cpu::code_location head_spin = detail::queued_slow_path_at(0x178);
  /// As owner, for a successor that is linking itself.
  static constexpr cpu::code_location link_spin = detail::queued_slow_path_at(0x1b2);

  explicit queued_lock(lock_environment& in);
  cpu::program acquire() override;
  cpu::program release() override;

 private:
  cpu::program slow_path(std::uint64_t value);
  cpu::task<bool> take_by_pending(std::uint64_t value);
  cpu::program queue(waiting wait);
  cpu::task<cpu::spin_result> spin(cpu::word& on, cpu::spin_predicate until, const cpu::code_location& site,
                                   cpu::spin_subject* subject);
  cpu::program take_without_node();
  cpu::program wait_in_queue(queue_node& node, std::uint64_t tail, waiting wait);
  cpu::task<std::optional<std::uint64_t>> enter_queue(queue_node& node, std::uint64_t tail);
  cpu::program link_behind(std::uint64_t before, std::uint64_t tail);
  cpu::task<std::uint64_t> value_of(cpu::word& of);
  cpu::task<bool> take_as_head(std::uint64_t value, std::uint64_t tail);
  cpu::program pass_on(queue_node& node, std::uint64_t next);
  queue_node& node_of(std::uint64_t tail);

  void took_effect(cpu::strand& by, const cpu::instruction& i, cycles now) override;
  void taken(cpu::strand& by, cycles now);
  void stored(cpu::strand& by, const cpu::instruction& i, cycles now);
  void settle(cpu::strand* holder, cycles now);

  // The truth: the owner of the pending bit and the queue in order.
  cpu::strand* pending_ = nullptr;
  boost::container::small_vector<cpu::strand*, 1> queue_;
  cpu::spin_subject successor_;  // the waiter that an owner in link_spin waits for
};

}  // namespace vmxsys::models
