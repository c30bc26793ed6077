#include <memory>

#include <vmxsys/cpu/program/instruction.hpp>
#include <vmxsys/models/kernel/kernel.hpp>

#include "catalogue.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

/// HLT without a tick (kernel/sched/idle.c, v6.1: default_idle_call, with CONFIG_NO_HZ_IDLE).
class halt final : public idle_driver {
 public:
  cpu::program idle(kernel& on, unsigned cpu) override {
    co_await on.stop_tick(cpu);
    co_await isa::compute(on.costs().idle_entry);
    if (on.need_resched(cpu)) co_return;
    on.begin_idle(cpu);
    co_await isa::sti();
    co_await isa::hlt();
    on.end_idle(cpu);
    co_await isa::compute(on.costs().idle_exit);
    co_await isa::cli();
  }
};

}  // namespace

extern const idle_driver_entry halt_entry = entry_without<idle_driver_entry>(
    "halt", "HLT, with the tick stopped",
    [](const void* /*options*/, const idle_environment&) -> std::unique_ptr<idle_driver> {
      return std::make_unique<halt>();
    });

}  // namespace vmxsys::models
