#include "detail/process.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

constexpr auto critical_section = code::kernel_text("futex_wake", 0x20000, cpu::bucket::kernel);

class lock_bound final : public process {
 public:
  lock_bound(kernel& on, const lock_bound_parameters& parameters, std::uint64_t seed)
      : process{on, parameters.threads, seed}, parameters_{parameters} {
    for (unsigned i = 0; i < parameters.locks; ++i) locks_.push_back(on.make_lock());
  }
  const char* name() const noexcept override { return "lock_bound"; }

 private:
  cpu::program run(thread& self, random_stream& random) override {
    for (;;) {
      const cycles work = parameters_.work.draw(random);
      const cycles in_user{work.count() * parameters_.user_share / 100};
      co_await isa::compute(in_user);
      const cycles hold = parameters_.hold.draw(random);
      co_await critical(work - in_user, hold, *locks_[random.index(locks_.size())]);
      co_await finish_unit(self);
    }
  }

  cpu::program critical(cycles in_kernel, cycles hold, spinlock& lock) {
    auto here = co_await isa::in(system_call);
    co_await enter_kernel();
    co_await isa::compute(in_kernel);
    co_await lock.acquire();
    {
      auto inner = co_await isa::in(critical_section);
      co_await isa::compute(hold);
    }
    co_await lock.release();
    co_await leave_kernel();
  }

  lock_bound_parameters parameters_;
  std::vector<std::unique_ptr<spinlock>> locks_;
};

}  // namespace

std::unique_ptr<workload> add_lock_bound(kernel& on, const lock_bound_parameters& parameters, std::uint64_t seed) {
  return std::make_unique<lock_bound>(on, parameters, seed);
}

}  // namespace vmxsys::models
