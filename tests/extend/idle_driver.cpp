#include <array>
#include <memory>

#include <vmxsys/cpu/program/instruction.hpp>
#include <vmxsys/models/kernel/idle/catalogue.hpp>
#include <vmxsys/models/kernel/kernel.hpp>

// An idle driver of one's own: it polls for a while, and then does what the shipped one does.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::models;
namespace isa = vmxsys::cpu::isa;

namespace {

struct options {
  unsigned polls = 100;
};
constexpr std::array rows{row<&options::polls>("polls", "looks", 0, 1'000'000, "how often it looks for a thread")};

class poll_idle final : public idle_driver {
 public:
  poll_idle(unsigned polls, const idle_environment& on) : polls_{polls}, inner_{idle_drivers().select().make(on)} {}

  cpu::program idle(kernel& on, unsigned cpu) override {
    co_await isa::sti();
    for (unsigned i = 0; i < polls_ && !on.need_resched(cpu); ++i) co_await isa::compute(cycles{100});
    co_await isa::cli();
    if (!on.need_resched(cpu)) co_await inner_->idle(on, cpu);
  }

 private:
  unsigned polls_;
  std::unique_ptr<idle_driver> inner_;
};

}  // namespace

extern const idle_driver_entry poll_idle_entry = entry_with<idle_driver_entry, options, rows>(
    "poll_idle", "looks for a thread again and again, then halts",
    [](const void* o, const idle_environment& on) -> std::unique_ptr<idle_driver> {
      return std::make_unique<poll_idle>(options_as<options>(o).polls, on);
    });

}  // namespace extend
