#pragma once
#include <boost/container/small_vector.hpp>

#include "spinlock.hpp"

namespace vmxsys::models {

/// The ticket lock of kernels up to v4.1: a locked add takes a ticket, its owner spins until the head shows it, the
/// release advances the head. Strict FIFO, all waiters poll one line, and a preempted next owner holds up all.
/// The word holds the head in its low and the tail in its high 32 bits; the kernel's tickets have 8 or 16.
/// Source: arch/x86/include/asm/spinlock.h, v3.4, __ticket_spin_lock, __ticket_spin_unlock.
class ticket_lock final : public spinlock {
 public:
  static constexpr std::uint8_t fact_kind = 1;
  static constexpr std::uint64_t head_mask = 0xFFFFFFFF;
  static constexpr unsigned tail_shift = 32;
  static constexpr cpu::code_location slow_path_code{"ticket_spin_lock", 0xffffffff81041000, 0x00, 0,
                                                     cpu::bucket::spin};
  static constexpr cpu::code_location head_spin{"ticket_spin_lock", 0xffffffff81041000, 0x12, 0, cpu::bucket::spin};

  static constexpr lock_code kernel_code{slow_path_code, head_spin};
  /// A program's own.
  static constexpr cpu::code_location ticket_acquire{"ticket_acquire", 0x404000, 0x00, 3, cpu::bucket::spin};
  static constexpr cpu::code_location ticket_spin{"ticket_acquire", 0x404000, 0x12, 3, cpu::bucket::spin};
  static constexpr lock_code program_code{ticket_acquire, ticket_spin};

  explicit ticket_lock(lock_environment& in, const lock_code& at = kernel_code) : spinlock{fact_kind, in}, code_{at} {}
  cpu::program acquire() override;
  cpu::program release() override;

 private:
  cpu::program wait_for(std::uint64_t ticket);
  void took_effect(cpu::strand& by, const cpu::instruction& i, cycles now) override;

  const lock_code& code_;
  std::uint64_t serving_ = 0;  // the holder's ticket
  boost::container::small_vector<cpu::strand*, 1>
      waiters_;  // the truth: who drew a ticket, in order, without the owner of the head
};

}  // namespace vmxsys::models
