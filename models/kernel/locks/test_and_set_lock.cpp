#include "test_and_set_lock.hpp"

#include <vmxsys/cpu/program/strand.hpp>

#include "catalogue.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

cpu::program test_and_set_lock::acquire() {
  const std::uint64_t before = co_await isa::witnessed(isa::cmpxchg(word_, 0, locked), *this);
  if (before != 0) co_await contend();
}

cpu::program test_and_set_lock::contend() {
  auto here = co_await isa::in(code_.slow_path);
  const waiting wait = begin_wait(co_await isa::this_strand());
  std::uint64_t before = locked;
  while (before != 0) {
    co_await isa::spin_while(word_, cpu::spin_predicate::while_not_equal(0), code_.spin, &subject_);
    before = co_await isa::witnessed(isa::cmpxchg(word_, 0, locked), *this);
  }
  end_wait(wait);
}

cpu::program test_and_set_lock::release() { co_await isa::witnessed(isa::store(word_, 0), *this); }

void test_and_set_lock::took_effect(cpu::strand& by, const cpu::instruction& i, cycles now) {
  if (i.code == cpu::opcode::store)
    set_truth(nullptr, nullptr, now);
  else if (i.result == 0)
    set_truth(&by, nullptr, now);
}

extern const lock_entry test_and_set_lock_entry = entry_without<lock_entry>(
    "test_and_set", "one word, taken by the first to come",
    [](const void* /*options*/, lock_environment& in, lock_user user) -> std::unique_ptr<spinlock> {
      return std::make_unique<test_and_set_lock>(
          in, user == lock_user::program ? test_and_set_lock::program_code : test_and_set_lock::kernel_code);
    },
    true);

}  // namespace vmxsys::models
