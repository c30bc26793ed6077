#include "ticket_lock.hpp"

#include <vmxsys/cpu/program/strand.hpp>

#include "catalogue.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

cpu::program ticket_lock::acquire() {
  const std::uint64_t before = co_await isa::witnessed(isa::fetch_add(word_, std::uint64_t{1} << tail_shift), *this);
  const std::uint64_t ticket = before >> tail_shift;
  if ((before & head_mask) != ticket) co_await wait_for(ticket);
  serving_ = ticket;
}

cpu::program ticket_lock::wait_for(std::uint64_t ticket) {
  auto here = co_await isa::in(code_.slow_path);
  const waiting wait = begin_wait(co_await isa::this_strand());
  co_await isa::spin_while(word_, {head_mask, ticket, false}, code_.spin, &subject_);
  end_wait(wait);
}

cpu::program ticket_lock::release() { co_await isa::witnessed(isa::store_part(word_, head_mask, serving_ + 1), *this); }

// The store that advances the head makes the owner of the next ticket the holder, seen by it or not.
void ticket_lock::took_effect(cpu::strand& by, const cpu::instruction& i, cycles now) {
  if (i.code == cpu::opcode::store) {
    cpu::strand* next = nullptr;
    if (!waiters_.empty()) {
      next = waiters_.front();
      waiters_.erase(waiters_.begin());
    }
    set_truth(next, nullptr, now);
  } else if ((i.result & head_mask) == i.result >> tail_shift) {
    set_truth(&by, nullptr, now);
  } else {
    waiters_.push_back(&by);
  }
}

extern const lock_entry ticket_lock_entry = entry_without<lock_entry>(
    "ticket", "first come, first served; every waiter polls one word",
    [](const void* /*options*/, lock_environment& in, lock_user user) -> std::unique_ptr<spinlock> {
      return std::make_unique<ticket_lock>(
          in, user == lock_user::program ? ticket_lock::program_code : ticket_lock::kernel_code);
    },
    true);

}  // namespace vmxsys::models
