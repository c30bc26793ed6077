#include "detail/user_lock.hpp"

#include <stdexcept>

#include <vmxsys/models/kernel/locks/test_and_set_lock.hpp>
#include <vmxsys/models/kernel/locks/ticket_lock.hpp>

namespace vmxsys::models {

namespace {

// Where a dynamic linker might have put the first; the second is the program's own.
constexpr cpu::code_location pthread_spin_lock{"pthread_spin_lock", 0x7ffff7c9b000, 0x00, 3, cpu::bucket::spin};
constexpr cpu::code_location pthread_spin{"pthread_spin_lock", 0x7ffff7c9b000, 0x0c, 3, cpu::bucket::spin};
constexpr cpu::code_location ticket_acquire{"ticket_acquire", 0x404000, 0x00, 3, cpu::bucket::spin};
constexpr cpu::code_location ticket_spin{"ticket_acquire", 0x404000, 0x12, 3, cpu::bucket::spin};

constexpr lock_code test_and_set_code{pthread_spin_lock, pthread_spin};
constexpr lock_code ticket_code{ticket_acquire, ticket_spin};

}  // namespace

std::unique_ptr<spinlock> make_user_lock(lock_kind kind, lock_environment& in) {
  switch (kind) {
    case lock_kind::test_and_set:
      return std::make_unique<test_and_set_lock>(in, test_and_set_code);
    case lock_kind::ticket:
      return std::make_unique<ticket_lock>(in, ticket_code);
    case lock_kind::queued:
      break;
  }
  throw std::invalid_argument("a program has no queued spinlock: the queue nodes are the kernel's");
}

}  // namespace vmxsys::models
