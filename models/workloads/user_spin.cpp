#include <array>
#include <memory>
#include <string>
#include <vector>

#include "catalogue.hpp"
#include "detail/process.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

std::vector<choice> program_locks() {
  std::vector<choice> all;
  for (const lock_entry* lock : spinlocks())
    if (lock->for_programs) all.push_back({lock->name, lock->description});
  return all;
}

struct user_spin_options {
  unsigned threads = 0;
  std::string lock = program_locks().front().name;
  unsigned locks = 1;
  distribution work = distribution::exponential(duration::us(10));
  distribution hold = distribution::fixed(duration::us(1));
};
constexpr std::array rows{row<&user_spin_options::threads>("threads", "threads", 0, 4096,
                                                           "number of threads; 0 is one for each CPU of the kernel"),
                          row<&user_spin_options::lock>("lock", program_locks, "kind of spinlock the program uses"),
                          row<&user_spin_options::locks>("locks", "locks", 1, 4096,
                                                         "spinlocks the threads share; each round takes a random one"),
                          row<&user_spin_options::work>("work", "computing between two critical sections"),
                          row<&user_spin_options::hold>("hold", "length of a critical section")};

constexpr cpu::code_location critical_section{"update", 0x403000, 0, 3, cpu::bucket::user};

/// All of it at CPL 3, where holders and waiters are preempted at any instruction.
class user_spin final : public process {
 public:
  user_spin(kernel& on, const user_spin_options& o, const workload_environment& e)
      : process{on, o.threads, e.seed},
        work_{duration_distribution::of(o.work, e.tsc_khz)},
        hold_{duration_distribution::of(o.hold, e.tsc_khz)} {
    const selection<lock_entry> lock = spinlocks().select(o.lock);
    for (unsigned i = 0; i < o.locks; ++i) locks_.push_back(lock.make(on.locks(), lock_user::program));
  }

 private:
  cpu::program run(thread& self, random_stream& random) override {
    for (;;) {
      co_await isa::compute(work_.draw(random));
      const cycles hold = hold_.draw(random);
      spinlock& lock = *locks_[random.index(locks_.size())];
      co_await lock.acquire();
      co_await isa::compute_at(critical_section, hold);
      co_await lock.release();
      co_await finish_unit(self);
    }
  }

  duration_distribution work_, hold_;
  std::vector<std::unique_ptr<spinlock>> locks_;
};

}  // namespace

extern const workload_entry user_spin_entry = entry_with<workload_entry, user_spin_options, rows>(
    "user_spin", "compute, then a critical section under a spinlock of the program, all in user mode",
    [](const void* given, kernel& on, const workload_environment& e) -> std::unique_ptr<workload> {
      return std::make_unique<user_spin>(on, options_as<user_spin_options>(given), e);
    },
    nullptr);

}  // namespace vmxsys::models
