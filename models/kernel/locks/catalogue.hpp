#pragma once
#include <memory>

#include <vmxsys/vmx/base/catalogue.hpp>

#include "spinlock.hpp"

namespace vmxsys::models {

/// Whose lock it is: it decides where the lock's code is and at which CPL its waiters spin.
enum class lock_user : std::uint8_t { kernel, program };

struct lock_entry : entry {
  /// Precondition: `for_programs` if it is for a program.
  std::unique_ptr<spinlock> (*make)(const void* options, lock_environment& in, lock_user user);
  bool for_programs;  ///< a program at CPL 3 may use it
};

/// The spinlocks a kernel may use, and, where `for_programs` is set, its programs.
///
/// A program's lock has the same words, instructions and truth as a kernel's, but a holder or waiter is preempted like
/// any user code, and PAUSE-loop exiting does not see its loop (SDM Vol. 3C §28.1.3: CPL 0 only).
catalogue<lock_entry> spinlocks();

}  // namespace vmxsys::models
