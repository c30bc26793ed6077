#include <array>
#include <memory>

#include "catalogue.hpp"
#include "detail/process.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

struct lock_bound_options {
  unsigned threads = 0;
  unsigned locks = 1;
  distribution work = distribution::exponential(duration::us(10));
  distribution hold = distribution::fixed(duration::us(1));
  unsigned user_share = 50;
};
constexpr std::array rows{
    row<&lock_bound_options::threads>("threads", "threads", 0, 4096,
                                      "number of threads; 0 is one for each CPU of the kernel"),
    row<&lock_bound_options::locks>("locks", "locks", 1, 4096,
                                    "spinlocks the threads share; each round takes a random one"),
    row<&lock_bound_options::work>("work", "computing between two critical sections"),
    row<&lock_bound_options::hold>("hold", "length of a critical section"),
    row<&lock_bound_options::user_share>("user_share", "percent", 0, 100, "part of `work` that runs in user mode")};

constexpr auto critical_section = code::kernel_text("futex_wake", 0x20000, cpu::bucket::kernel);

/// What dedup, vips or psearchy do to a kernel, with every length given.
class lock_bound final : public process {
 public:
  lock_bound(kernel& on, const lock_bound_options& o, const workload_environment& e)
      : process{on, o.threads, e.seed},
        work_{duration_distribution::of(o.work, e.tsc_khz)},
        hold_{duration_distribution::of(o.hold, e.tsc_khz)},
        user_share_{o.user_share} {
    for (unsigned i = 0; i < o.locks; ++i) locks_.push_back(on.make_lock());
  }

 private:
  cpu::program run(thread& self, random_stream& random) override {
    for (;;) {
      const cycles work = work_.draw(random);
      const cycles in_user{work.count() * user_share_ / 100};
      co_await isa::compute(in_user);
      const cycles hold = hold_.draw(random);
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

  duration_distribution work_, hold_;
  unsigned user_share_;
  std::vector<std::unique_ptr<spinlock>> locks_;
};

}  // namespace

extern const workload_entry lock_bound_entry = entry_with<workload_entry, lock_bound_options, rows>(
    "lock_bound", "compute, then a critical section under a shared kernel spinlock, again and again",
    [](const void* given, kernel& on, const workload_environment& e) -> std::unique_ptr<workload> {
      return std::make_unique<lock_bound>(on, options_as<lock_bound_options>(given), e);
    },
    nullptr);

}  // namespace vmxsys::models
