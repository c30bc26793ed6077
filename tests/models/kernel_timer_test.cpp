#include <gtest/gtest.h>

#include "sleeper.hpp"

// Timers of the kernel on bare machines.
namespace vmxsys::models::testing {
namespace {

class test_timer final : public timer_event {
 public:
  explicit test_timer(kernel_rig& r, std::function<cpu::program()> then = nothing) : r_{r}, then_{std::move(then)} {}
  cpu::program expire() override {
    fired.push_back(r_.now());
    on.push_back(r_.k().index_of(co_await isa::this_cpu()));
    co_await then_();
  }
  std::vector<cycles> fired;
  std::vector<unsigned> on;

 private:
  kernel_rig& r_;
  std::function<cpu::program()> then_;
};

TEST(kernel_timer, interrupts_at_its_cycle_and_not_before) {
  for (const std::uint64_t extra : {0u, 1u, 31u, 32u, 33u}) {
    kernel_rig r{1};
    test_timer t{r};
    const cycles due = 3 * ms + cycles{extra};
    r.add("armer", {0}, [&](thread&) -> cpu::program {
      co_await until(2 * ms);
      co_await isa::cli();
      co_await r.k().arm(t, due);
      co_await isa::sti();
    });
    r.run_until(due);
    EXPECT_TRUE(r.timer_interrupts(0, 2 * ms).empty()) << extra;
    EXPECT_TRUE(t.armed());
    EXPECT_EQ(t.due(), due);
    r.run_until(due + cycles{1});
    EXPECT_EQ(r.timer_interrupts(0, 2 * ms), std::vector<cycles>{due}) << extra;
    r.run_until(due + 20 * us);
    ASSERT_EQ(t.fired.size(), 1u);
    EXPECT_FALSE(t.armed());
    EXPECT_LT(t.fired[0] - due, 10 * us) << "out of an idle state";
  }
}

TEST(kernel_timer, the_earliest_of_several_is_programmed) {
  kernel_rig r{1};
  test_timer a{r}, b{r}, c{r};
  r.add("armer", {0}, [&](thread&) -> cpu::program {
    co_await until(2 * ms);
    co_await isa::cli();
    co_await r.k().arm(a, 3 * ms);
    co_await r.k().arm(b, 2 * ms + 500 * us);
    co_await r.k().arm(c, 3 * ms);
    co_await isa::sti();
  });
  r.run_until(3 * ms + 100 * us);
  ASSERT_EQ(a.fired.size(), 1u);
  ASSERT_EQ(b.fired.size(), 1u);
  ASSERT_EQ(c.fired.size(), 1u);
  EXPECT_LT(b.fired[0], 2 * ms + 510 * us);
  EXPECT_GE(a.fired[0], 3 * ms);
  EXPECT_LT(c.fired[0], 3 * ms + 10 * us) << "in the same interrupt";
  EXPECT_EQ(r.timer_interrupts(0, 2 * ms), (std::vector<cycles>{2 * ms + 500 * us, 3 * ms}));
}

TEST(kernel_timer, moves_when_armed_again_and_fires_at_once_when_its_time_is_past) {
  kernel_rig r{1};
  test_timer moved{r}, past{r};
  r.add("armer", {0}, [&](thread&) -> cpu::program {
    co_await until(2 * ms);
    co_await isa::cli();
    co_await r.k().arm(moved, 3 * ms);
    co_await r.k().arm(moved, 5 * ms);
    co_await r.k().arm(past, ms);
    co_await isa::sti();
  });
  r.run_until(4 * ms - us);
  EXPECT_TRUE(moved.fired.empty());
  ASSERT_EQ(past.fired.size(), 1u);
  EXPECT_LT(past.fired[0], 2 * ms + 5 * us);
  r.run_until(6 * ms);
  ASSERT_EQ(moved.fired.size(), 1u);
  EXPECT_GE(moved.fired[0], 5 * ms);
}

// Cancelled from another CPU at every cycle around its due time: up to some cycle it never fires, from then on always.
TEST(kernel_timer, can_be_cancelled_up_to_the_cycle_at_which_its_handler_takes_it) {
  const cycles due = 3 * ms;
  std::uint64_t first_too_late = 0;
  for (std::uint64_t offset = 0; offset < 1'200; offset += 1) {
    kernel_rig r{2};
    test_timer t{r};
    r.add("armer", {0}, [&](thread&) -> cpu::program {
      co_await until(2 * ms);
      co_await isa::cli();
      co_await r.k().arm(t, due);
      co_await isa::sti();
      co_await isa::compute(2 * ms);
    });
    r.add("canceller", {1}, [&](thread&) -> cpu::program {
      co_await until(due - cycles{100} + cycles{offset});
      r.k().cancel(t);
    });
    r.run_until(due + 10 * us);
    if (t.fired.empty()) {
      ASSERT_EQ(first_too_late, 0u) << "not monotone at " << offset;
    } else if (first_too_late == 0) {
      first_too_late = offset;
      EXPECT_GT(due - cycles{100} + cycles{offset}, due);
      EXPECT_LE(due - cycles{100} + cycles{offset}, t.fired[0]);
    }
  }
  EXPECT_GT(first_too_late, 100u);
}

TEST(kernel_timer, belongs_to_the_cpu_that_armed_it) {
  kernel_rig r{2};
  test_timer t{r};
  r.add("armer", {1}, [&](thread&) -> cpu::program {
    co_await until(2 * ms);
    co_await isa::cli();
    co_await r.k().arm(t, 3 * ms);
    co_await isa::sti();
  });
  r.run_until(4 * ms);
  EXPECT_EQ(t.on, std::vector<unsigned>{1});
}

TEST(kernel_timer, armed_for_another_cpu_expires_there_on_time) {
  for (const bool busy : {false, true}) {
    SCOPED_TRACE(busy);
    kernel_rig r{2};
    test_timer t{r};
    if (busy) r.hog("hog", {1});
    const cycles due = 5 * ms + 300 * us;  // between two ticks
    r.add("armer", {0}, [&](thread&) -> cpu::program {
      co_await until(5 * ms);
      co_await isa::cli();
      co_await r.k().arm_on(1, t, due);
      co_await isa::sti();
    });
    r.run_until(8 * ms);
    EXPECT_EQ(t.on, std::vector<unsigned>{1});
    ASSERT_EQ(t.fired.size(), 1u);
    EXPECT_GE(t.fired[0], due);
    EXPECT_LT(t.fired[0], due + 10 * us);
  }
}

TEST(kernel_timer, a_cpu_without_a_tick_does_not_tick_for_a_timer) {
  kernel_rig r{1, fair(), [](kernel_config& k) { k.costs.tick = 200 * us; }};
  test_timer t{r};
  r.add("armer", {0}, [&](thread&) -> cpu::program {
    co_await until(2 * ms);
    co_await isa::cli();
    co_await r.k().arm(t, 30 * ms);
    co_await isa::sti();
  });
  r.run_until(30 * ms - us);
  EXPECT_TRUE(r.hw.cpu(0).halted());
  r.run_until(30 * ms + 100 * us);
  EXPECT_EQ(t.fired.size(), 1u);
  EXPECT_TRUE(r.hw.cpu(0).halted()) << "its handler is over";
}

TEST(kernel_timer, a_handler_may_wake_the_thread_that_sleeps_for_it) {
  kernel_rig r{1};
  sleeper s;
  thread* sleeping = nullptr;
  test_timer t{r, [&]() -> cpu::program {
                 s.flag = true;
                 co_await r.k().wake_up(*sleeping);
               }};
  sleeping = &r.add("sleeper", {0}, [&](thread& self) -> cpu::program {
    for (int i = 0; i < 3; ++i) {
      co_await isa::cli();
      co_await r.k().arm(t, r.now() + 300 * us);
      while (!s.flag) {
        r.k().prepare_to_sleep(self);
        co_await r.k().schedule();
      }
      s.flag = false;
      s.woken_at.push_back(r.now());
      co_await isa::sti();
    }
  });
  r.run_until(3 * ms);
  ASSERT_EQ(s.woken_at.size(), 3u);
  EXPECT_GT(s.woken_at[2] - s.woken_at[0], 600 * us);
  EXPECT_LT(s.woken_at[2] - s.woken_at[0], 620 * us);
}

}  // namespace
}  // namespace vmxsys::models::testing
