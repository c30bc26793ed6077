#include "detail/process.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

constexpr cpu::code_location critical_section{"update", 0x403000, 0, 3, cpu::bucket::user};

class user_spin final : public process {
 public:
  user_spin(kernel& on, const user_spin_parameters& parameters, std::uint64_t seed)
      : process{on, parameters.threads, seed}, parameters_{parameters} {
    for (unsigned i = 0; i < parameters.locks; ++i)
      locks_.push_back(parameters.lock.make(on.locks(), lock_user::program));
  }
  const char* name() const noexcept override { return "user_spin"; }

 private:
  cpu::program run(thread& self, random_stream& random) override {
    for (;;) {
      co_await isa::compute(parameters_.work.draw(random));
      const cycles hold = parameters_.hold.draw(random);
      spinlock& lock = *locks_[random.index(locks_.size())];
      co_await lock.acquire();
      co_await isa::compute_at(critical_section, hold);
      co_await lock.release();
      co_await finish_unit(self);
    }
  }

  user_spin_parameters parameters_;
  std::vector<std::unique_ptr<spinlock>> locks_;
};

}  // namespace

std::unique_ptr<workload> add_user_spin(kernel& on, const user_spin_parameters& parameters, std::uint64_t seed) {
  return std::make_unique<user_spin>(on, parameters, seed);
}

}  // namespace vmxsys::models
