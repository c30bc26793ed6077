#include "workload.hpp"

#include <vmxsys/models/kernel/code.hpp>
#include <vmxsys/models/kernel/kernel_facts.hpp>

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

constexpr auto critical_section = code::kernel_text("futex_wake", 0x20000, cpu::bucket::kernel);
constexpr auto system_call = code::kernel_text("do_syscall_64", 0x21000, cpu::bucket::kernel);
constexpr cycles syscall_entry{120};
constexpr cycles syscall_exit{100};

/// The fact of one unit of work, done on `cpu`.
work_fact finished(const kernel& k, unsigned cpu, const thread& t) {
  return {k.id(), static_cast<std::uint16_t>(cpu), t.pid, 1};
}

unsigned thread_count(const kernel& k, unsigned wanted) { return wanted == 0 ? k.config().cpus : wanted; }

std::vector<unsigned> binding(const kernel& k, unsigned wanted, unsigned i) {
  return wanted == 0 ? std::vector<unsigned>{i % k.config().cpus} : std::vector<unsigned>{};
}

class lock_bound final : public workload {
 public:
  lock_bound(kernel& on, const lock_bound_parameters& parameters, std::uint64_t seed)
      : on_{on}, parameters_{parameters} {
    for (unsigned i = 0; i < parameters.locks; ++i) locks_.push_back(make_spinlock(on.config().locks, on.locks()));
    for (unsigned i = 0; i < thread_count(on, parameters.threads); ++i) {
      const std::string thread_name = "worker/" + std::to_string(i);
      random_.push_back(std::make_unique<random_stream>(seed, on.config().name + "/" + thread_name));
      random_stream& random = *random_.back();
      thread& t = on.add_thread(
          thread_name, [this, &random](thread& self) { return run(self, random); }, code::user_main,
          binding(on, parameters.threads, i));
      t.address_space = 1;
    }
  }
  const char* name() const noexcept override { return "lock_bound"; }

 private:
  cpu::program run(thread& self, random_stream& random) {
    for (;;) {
      const cycles work = parameters_.work.draw(random);
      const cycles in_user{work.count() * parameters_.user_share / 100};
      co_await isa::compute(in_user);
      co_await critical(work - in_user, parameters_.hold.draw(random),
                        *locks_[locks_.size() == 1 ? 0 : random.uniform(0, locks_.size() - 1)]);
      co_await on_.state(finished(on_, on_.index_of(co_await isa::this_cpu()), self));
    }
  }

  cpu::program critical(cycles in_kernel, cycles hold, spinlock& lock) {
    auto here = co_await isa::in(system_call);
    co_await isa::compute(syscall_entry + in_kernel);
    co_await lock.acquire();
    {
      auto inner = co_await isa::in(critical_section);
      co_await isa::compute(hold);
    }
    co_await lock.release();
    co_await isa::compute(syscall_exit);
    co_await on_.cond_resched();
  }

  kernel& on_;
  lock_bound_parameters parameters_;
  std::vector<std::unique_ptr<spinlock>> locks_;
  std::vector<std::unique_ptr<random_stream>> random_;
};

class cpu_bound final : public workload {
 public:
  cpu_bound(kernel& on, const cpu_bound_parameters& parameters) : on_{on}, chunk_{parameters.chunk} {
    for (unsigned i = 0; i < thread_count(on, parameters.threads); ++i) {
      thread& t = on.add_thread(
          "worker/" + std::to_string(i), [this](thread& self) { return run(self); }, code::user_main,
          binding(on, parameters.threads, i));
      t.address_space = 1;
    }
  }
  const char* name() const noexcept override { return "cpu_bound"; }

 private:
  cpu::program run(thread& self) {
    for (;;) {
      co_await isa::compute(chunk_);
      co_await on_.state(finished(on_, on_.index_of(co_await isa::this_cpu()), self));
    }
  }

  kernel& on_;
  cycles chunk_;
};

}  // namespace

std::unique_ptr<workload> add_lock_bound(kernel& on, const lock_bound_parameters& parameters, std::uint64_t seed) {
  return std::make_unique<lock_bound>(on, parameters, seed);
}

std::unique_ptr<workload> add_cpu_bound(kernel& on, const cpu_bound_parameters& parameters) {
  return std::make_unique<cpu_bound>(on, parameters);
}

}  // namespace vmxsys::models
