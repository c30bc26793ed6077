#include <array>
#include <memory>
#include <string>

#include <vmxsys/models/kernel/code.hpp>
#include <vmxsys/models/kernel/kernel_facts.hpp>
#include <vmxsys/models/workloads/catalogue.hpp>

// A workload of one's own: one thread on each CPU that counts units of work.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::models;

namespace {

struct options {
  duration unit = duration::us(50);
};
constexpr std::array rows{
    row<&options::unit>("unit", duration::ns(10), duration::s(1), "computing that is one unit of work")
        .at_least_one_cycle()};

class counting final : public workload {
 public:
  counting(kernel& on, cycles unit) : on_{on}, unit_{unit} {
    for (unsigned i = 0; i < on.cpus(); ++i)
      on.add_thread("counting/" + std::to_string(i), [this](thread& self) { return run(self); }, code::user_main, {i});
  }

 private:
  cpu::program run(thread& self) {
    for (;;) {
      co_await cpu::isa::compute(unit_);
      const unsigned cpu = on_.index_of(co_await cpu::isa::this_cpu());
      on_.record(cpu, work_fact{on_.id(), static_cast<std::uint16_t>(cpu), self.pid, 1});
    }
  }

  kernel& on_;
  cycles unit_;
};

}  // namespace

extern const workload_entry counting_entry = entry_with<workload_entry, options, rows>(
    "counting", "each CPU computes and counts",
    [](const void* o, kernel& on, const workload_environment& e) -> std::unique_ptr<workload> {
      return std::make_unique<counting>(on, options_as<options>(o).unit.to_cycles(e.tsc_khz));
    },
    nullptr);

}  // namespace extend
