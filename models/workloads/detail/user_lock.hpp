#pragma once
#include <memory>

#include <vmxsys/models/kernel/locks/spinlock.hpp>

namespace vmxsys::models {

/// A spinlock of a program: the same words, instructions and truth as a kernel's, with its code at CPL 3, so that
/// whoever holds it or waits for it is preempted like any user code. PAUSE-loop exiting does not see its loop (SDM Vol.
/// 3C §28.1.3: CPL 0 only).
///
///   test_and_set   waits for the word to be free, then tries to take it (glibc, pthread_spin_lock)
///   ticket         strict FIFO; a preempted next owner holds up everybody
///
/// Throws std::invalid_argument for `queued`: its queue nodes are the kernel's, one set per CPU.
std::unique_ptr<spinlock> make_user_lock(lock_kind kind, lock_environment& in);

}  // namespace vmxsys::models
