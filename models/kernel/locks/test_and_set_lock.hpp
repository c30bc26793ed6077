#pragma once
#include "spinlock.hpp"

namespace vmxsys::models {

/// The lock of a guest that sees the hypervisor bit and has no paravirtual spinlocks: wait until the word is zero, then
/// try to take it; the first to come has it. No queue, so no waiter that is preempted holds up the others; no
/// fairness either. Source: arch/x86/include/asm/qspinlock.h, v6.1, virt_spin_lock.
class test_and_set_lock final : public spinlock {
 public:
  static constexpr std::uint8_t fact_kind = 0;
  static constexpr std::uint64_t locked = 1;
  static constexpr cpu::code_location slow_path_code{"virt_spin_lock", 0xffffffff81116000, 0x00, 0, cpu::bucket::spin};
  static constexpr cpu::code_location word_spin{"virt_spin_lock", 0xffffffff81116000, 0x1c, 0, cpu::bucket::spin};

  static constexpr lock_code kernel_code{slow_path_code, word_spin};
  /// As glibc has it, where a dynamic linker might have put it.
  static constexpr cpu::code_location pthread_spin_lock{"pthread_spin_lock", 0x7ffff7c9b000, 0x00, 3,
                                                        cpu::bucket::spin};
  static constexpr cpu::code_location pthread_spin{"pthread_spin_lock", 0x7ffff7c9b000, 0x0c, 3, cpu::bucket::spin};
  static constexpr lock_code program_code{pthread_spin_lock, pthread_spin};

  explicit test_and_set_lock(lock_environment& in, const lock_code& at = kernel_code)
      : spinlock{fact_kind, in}, code_{at} {}
  cpu::program acquire() override;
  cpu::program release() override;

 private:
  cpu::program contend();
  void took_effect(cpu::strand& by, const cpu::instruction& i, cycles now) override;

  const lock_code& code_;
};

}  // namespace vmxsys::models
