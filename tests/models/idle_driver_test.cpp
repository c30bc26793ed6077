#include "kernel_rig.hpp"

// The seam between a kernel and what its CPUs do when they have nothing to run.
namespace vmxsys::models::testing {
namespace {

/// Polls for work, 1000 cycles at a time, with interrupts on in between.
class polling final : public idle_driver {
 public:
  cpu::program idle(kernel& on, unsigned cpu) override {
    co_await on.stop_tick(cpu);
    on.begin_idle(cpu);
    for (;;) {
      if (on.need_resched(cpu)) break;
      co_await isa::sti();
      co_await isa::compute(cycles{1'000});
      co_await isa::cli();
    }
    on.end_idle(cpu);
  }
};
constexpr idle_driver_entry polling_entry{
    {"polling", "", {}, nullptr},
    [](const void*, const idle_environment&) -> std::unique_ptr<idle_driver> { return std::make_unique<polling>(); }};

struct rig : kernel_rig {
  explicit rig(const selection<idle_driver_entry>& driver, bool stepped = false)
      : kernel_rig{2, fair(), [&](kernel_config& c) { c.idle = driver; }, stepped} {
    sleeper = &add("sleeper", {1}, [this](thread& self) -> cpu::program {
      for (;;) {
        co_await isa::cli();
        k().prepare_to_sleep(self);
        co_await k().schedule();
        co_await isa::sti();
        ++woken;
      }
    });
    add("waker", {0}, [this](thread&) -> cpu::program {
      for (unsigned i = 1; i <= 10; ++i) {
        co_await until(i * ms);
        co_await k().wake_up(*sleeper);
      }
      co_await compute_for_ever();
    });
    run_until(20 * ms);
  }
  ~rig() { k().abandon_threads(); }
  std::size_t halts() const {
    std::size_t n = 0;
    for (const auto& h : log.of<cpu::halt_fact>()) n += h.at() > ms;
    return n;
  }

  thread* sleeper = nullptr;
  unsigned woken = 0;
};

TEST(idle_drivers, halting_is_the_default) {
  EXPECT_STREQ(kernel_config{}.idle.name(), "halt");
  rig r{idle_drivers().select()};
  EXPECT_GE(r.woken, 9u);
  EXPECT_GE(r.halts(), 9u);
}

TEST(idle_drivers, one_from_outside_takes_its_place) {
  catalogue<idle_driver_entry> mine = idle_drivers();
  mine.add(polling_entry);
  rig fast{mine.select("polling")}, stepped{mine.select("polling"), true};
  EXPECT_GE(fast.woken, 9u);
  EXPECT_EQ(fast.halts(), 0u);
  EXPECT_EQ(fast.hash.value(), stepped.hash.value());
}

}  // namespace
}  // namespace vmxsys::models::testing
