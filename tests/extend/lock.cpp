#include <array>
#include <memory>

#include <vmxsys/models/kernel/locks/catalogue.hpp>

// A lock of one's own: a waiter computes for a while between two attempts, so no detector sees a PAUSE.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::models;
namespace isa = vmxsys::cpu::isa;

namespace {

struct options {
  unsigned backoff = 500;
};
constexpr std::array rows{row<&options::backoff>("backoff", "cycles", 1, 10'000'000, "between two attempts")};

class backoff_lock final : public spinlock {
 public:
  backoff_lock(lock_environment& in, cycles backoff) : spinlock{own_fact_kind, in}, backoff_{backoff} {}

  cpu::program acquire() override {
    if (co_await isa::witnessed(isa::cmpxchg(word_, 0, 1), *this) == 0) co_return;
    const waiting wait = begin_wait(co_await isa::this_strand());
    do co_await isa::compute(backoff_);
    while (co_await isa::witnessed(isa::cmpxchg(word_, 0, 1), *this) != 0);
    end_wait(wait);
  }
  cpu::program release() override { co_await isa::witnessed(isa::store(word_, 0), *this); }

 private:
  static constexpr std::uint8_t own_fact_kind = 100;  // those of the library count from 0

  // The truth beside the lock: who holds it from this cycle on.
  void took_effect(cpu::strand& by, const cpu::instruction& i, cycles now) override {
    if (i.code == cpu::opcode::store)
      set_truth(nullptr, nullptr, now);
    else if (i.result == 0)
      set_truth(&by, nullptr, now);
  }

  cycles backoff_;
};

}  // namespace

extern const lock_entry backoff_entry = entry_with<lock_entry, options, rows>(
    "backoff", "one word, tried now and then",
    [](const void* o, lock_environment& in, lock_user) -> std::unique_ptr<spinlock> {
      return std::make_unique<backoff_lock>(in, cycles{options_as<options>(o).backoff});
    },
    false);

}  // namespace extend
