#include "detail/process.hpp"

#include <vmxsys/models/kernel/kernel_facts.hpp>

namespace vmxsys::models {

namespace isa = cpu::isa;

process::process(kernel& on, unsigned threads, std::uint64_t seed) : on_{on} {
  const unsigned cpus = on.config().cpus;
  for (unsigned i = 0; i < (threads == 0 ? cpus : threads); ++i) {
    const std::string thread_name = "worker/" + std::to_string(i);
    random_.push_back(std::make_unique<random_stream>(seed, on.config().name + "/" + thread_name));
    random_stream& random = *random_.back();
    thread& t = on.add_thread(
        thread_name, [this, &random](thread& self) { return run(self, random); }, code::user_main,
        threads == 0 ? std::vector<unsigned>{i} : std::vector<unsigned>{});
    t.address_space = 1;
    t.entity->group = 1;
  }
}

cpu::program process::finish_unit(const thread& self) {
  const unsigned cpu = on_.index_of(co_await isa::this_cpu());
  on_.record(cpu, work_fact{on_.id(), static_cast<std::uint16_t>(cpu), self.pid, 1});
}

cpu::program process::leave_kernel() {
  co_await isa::compute(cycles{100});
  co_await on_.cond_resched();
}

}  // namespace vmxsys::models
