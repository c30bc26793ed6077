#include <gtest/gtest.h>

#include <vmxsys/vmx/events/preemption_timer.hpp>

#include "exits.hpp"

// The VMX-preemption timer of a guest that runs.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;

TEST(preemption_timer, expires_at_a_multiple_of_its_tick_in_the_cycle_the_rule_gives) {
  for (std::uint64_t delay = 0; delay < 40; delay += 3)
    for (const std::uint32_t value : {1u, 2u, 100u}) {
      vmx_rig r;
      const unsigned shift = r.hw.config().capabilities.preemption_timer_shift();
      r.setup.options.pin |= vmx::pin_based::activate_vmx_preemption_timer;
      r.setup.options.vm_exit |= vmx::vm_exit_control::save_vmx_preemption_timer_value;
      r.setup.more.emplace_back(field::vmx_preemption_timer_value, value);
      std::uint64_t entered = 0;
      r.run_guest(rig::sleep);
      r.run_host([&]() -> program {
        co_await isa::compute(cycles{1 + delay});
        entered = r.now().count() + entry_cost;
        const vmx::exit_info exit = co_await isa::vmlaunch();
        EXPECT_EQ(exit.reason, exit_reason::preemption_timer);
        EXPECT_EQ(r.field(field::vmx_preemption_timer_value), 0u);
      });
      r.hw.run_until(cycles{50'000});
      ASSERT_TRUE(r.done);
      const cycles expiry{((entered >> shift) + value) << shift};
      const auto fired = fact<timer_fired_fact>(&timer_fired_fact::preemption_timer, 1);
      expect_first_at(r.log, fired, expiry);
      expect_exact_sequence(r.log, {fired, exit_because(exit_reason::preemption_timer, expiry)});
      EXPECT_EQ(r.exits()[0].header.cause, r.log.of<timer_fired_fact>().at(0).header.id);
    }
}

TEST(preemption_timer, of_value_zero_exits_before_any_instruction) {
  vmx_rig r;
  r.setup.options.pin |= vmx::pin_based::activate_vmx_preemption_timer;
  std::uint64_t entered = 0;
  r.run_guest([]() -> program {
    ADD_FAILURE();
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    entered = r.now().count() + entry_cost;
    EXPECT_EQ((co_await isa::vmlaunch()).reason, exit_reason::preemption_timer);
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(r.exits().at(0)->began.count(), entered);
}

TEST(preemption_timer, lets_an_instruction_of_the_cycle_before_complete_and_stops_one_of_its_cycle) {
  int completed = 0, stopped = 0;
  for (std::uint64_t length = 3060; length < 3210; ++length) {
    vmx_rig r;
    const unsigned shift = r.hw.config().capabilities.preemption_timer_shift();
    r.setup.options.pin |= vmx::pin_based::activate_vmx_preemption_timer;
    r.setup.more.emplace_back(field::vmx_preemption_timer_value, 3200 >> shift);
    std::uint64_t at = 0, entered = 0;
    r.run_guest([&]() -> program {
      entered = r.now().count();
      co_await isa::compute(cycles{length});
      at = r.now().count();
      co_await isa::cpuid(0);
    });
    exit_reason first{};
    r.run_host([&]() -> program { first = (co_await isa::vmlaunch()).reason; });
    r.hw.run_until(cycles{50'000});
    const std::uint64_t expiry = ((entered >> shift) + (3200 >> shift)) << shift;
    if (entered + length < expiry) {
      EXPECT_EQ(first, exit_reason::cpuid);
      EXPECT_EQ(at, entered + length);
      ++completed;
    } else {
      EXPECT_EQ(first, exit_reason::preemption_timer) << "also in its very cycle";
      EXPECT_EQ(at, 0u);
      ++stopped;
    }
  }
  EXPECT_GT(completed, 5);
  EXPECT_GT(stopped, 5);
}

TEST(preemption_timer, saves_what_is_left_where_asked_and_wakes_a_halted_guest) {
  for (const bool save : {false, true}) {
    vmx_rig r;
    const unsigned shift = r.hw.config().capabilities.preemption_timer_shift();
    r.setup.options.primary = 0;
    r.setup.options.pin |= vmx::pin_based::activate_vmx_preemption_timer;
    if (save) r.setup.options.vm_exit |= vmx::vm_exit_control::save_vmx_preemption_timer_value;
    r.setup.more.emplace_back(field::vmx_preemption_timer_value, 1000);
    std::uint64_t entered = 0, left = 0, again = 0;
    r.run_guest([&]() -> program {
      entered = r.now().count();
      co_await isa::compute(cycles{5000});
      left = r.now().count();
      co_await isa::cpuid(0);
      again = r.now().count();
      co_await isa::hlt();
    });
    r.run_host([&]() -> program {
      const vmx::exit_info exit = co_await isa::vmlaunch();
      const std::uint64_t rest = 1000 - ((left >> shift) - (entered >> shift));
      EXPECT_EQ(r.field(field::vmx_preemption_timer_value), save ? rest : 1000u);
      co_await skip(exit);
      EXPECT_EQ((co_await isa::vmresume()).reason, exit_reason::preemption_timer);
      EXPECT_EQ(state_of(r).activity, activity::hlt);
      EXPECT_EQ(r.exits().back()->began.count(), (((again >> shift) + (save ? rest : 1000)) << shift) + wake_latency);
    });
    r.hw.run_until(cycles{400'000});
    EXPECT_TRUE(r.done);
  }
}

}  // namespace
}  // namespace vmxsys::cpu::testing
