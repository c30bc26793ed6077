#include <array>
#include <memory>
#include <vector>

#include <vmxsys/models/schedulers/catalogue.hpp>
#include <vmxsys/models/schedulers/round_robin.hpp>

// A scheduler of one's own: round robin whose time slice is a number of ticks.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::models;

namespace {

struct options {
  unsigned ticks = 1;
};
constexpr std::array rows{row<&options::ticks>("ticks", "ticks", 1, 1000, "time slice")};

class tick_robin final : public round_robin_scheduler {
 public:
  tick_robin(unsigned cpus, unsigned ticks) : round_robin_scheduler{cpus}, ticks_{ticks}, had_(cpus) {}

  sched_entity* pick_next(unsigned cpu, nanoseconds now) override {
    had_[cpu] = 0;
    return round_robin_scheduler::pick_next(cpu, now);
  }
  bool tick(unsigned cpu, nanoseconds now) override {
    if (current(cpu) == nullptr || nr_running(cpu) < 2 || ++had_[cpu] < ticks_) return false;
    yield(cpu, now);  // to the tail at the next pick
    return true;
  }

 private:
  unsigned ticks_;
  std::vector<unsigned> had_;  // ticks of the current entity, by CPU
};

}  // namespace

extern const scheduler_entry tick_robin_entry = entry_with<scheduler_entry, options, rows>(
    "tick_robin", "a queue, and a time slice in ticks",
    [](const void* o, const scheduler_environment& on) -> std::unique_ptr<scheduler> {
      return std::make_unique<tick_robin>(on.cpus, options_as<options>(o).ticks);
    });

}  // namespace extend
