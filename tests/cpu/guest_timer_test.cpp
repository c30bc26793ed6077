#include <gtest/gtest.h>

#include <vmxsys/cpu/program/system_instruction.hpp>

#include "guest_apic_rig.hpp"

// APIC-timer virtualization: the guest's own TSC deadline.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;

constexpr std::uint8_t timer_vector = 0xEC;
constexpr std::uint64_t deadline_cost = 4 + 80, event_cost = 100, wake_latency = 4600;

struct timer_rig : guest_apic_rig {
  timer_rig() {
    setup.options.tertiary = vmx::tertiary::apic_timer_virtualization;
    setup.more.emplace_back(field::virtual_timer_vector, timer_vector);
  }
};

TEST(guest_timer, interrupts_at_its_deadline_without_an_exit) {
  timer_rig r;
  std::uint64_t armed = 0, armed_at = 0, later = ~0ull;
  r.run_guest([&]() -> program {
    co_await isa::wrmsr(apic::msr::tsc_deadline, 20'000);
    armed_at = r.now().count();
    armed = co_await isa::rdmsr(apic::msr::tsc_deadline);
    co_await isa::compute(cycles{30'000 - r.now().count()});
    later = co_await isa::rdmsr(apic::msr::tsc_deadline);
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{60'000});
  EXPECT_TRUE(r.exits().empty());
  EXPECT_EQ(armed, 20'000u);
  EXPECT_EQ(later, 0u);
  EXPECT_EQ(r.in_guest, (std::vector<guest_apic_rig::seen>{{20'000 + event_cost, timer_vector}}));
  const auto fired = r.log.of<timer_fired_fact>();
  ASSERT_EQ(fired.size(), 1u);
  EXPECT_EQ(fired[0]->preemption_timer, 2);
  EXPECT_EQ(fired[0].at(), cycles{20'000});
  EXPECT_EQ(r.log.of<virtual_interrupt_fact>().at(0).header.cause, fired[0].header.id);
  EXPECT_EQ(r.hw.cpu(0).local_apic().next_timer_event(), cycles::never()) << "the physical timer is not touched";
  r.hw.check_accounting();
}

TEST(guest_timer, with_a_deadline_that_is_not_in_the_future_comes_right_behind_the_write) {
  for (const int ahead : {-1000, -1, 0, 1, 2, 3}) {
    timer_rig r;
    std::uint64_t issued = 0;
    r.run_guest([&]() -> program {
      co_await isa::compute(cycles{20'000 - r.now().count()});
      issued = r.now().count();
      co_await isa::wrmsr(apic::msr::tsc_deadline,
                          issued + deadline_cost + static_cast<std::uint64_t>(ahead + 1000) - 1000);
      co_await rig::sleep();
    });
    r.start();
    r.hw.run_until(cycles{60'000});
    ASSERT_EQ(r.in_guest.size(), 1u) << ahead;
    EXPECT_EQ(r.in_guest[0].at, issued + deadline_cost + static_cast<std::uint64_t>(std::max(ahead, 0)) + event_cost);
    EXPECT_EQ(r.count<timer_fired_fact>(), 1u);
  }
}

TEST(guest_timer, is_disarmed_by_zero_and_rearmed_by_any_other_value) {
  timer_rig r;
  r.run_guest([&]() -> program {
    co_await isa::wrmsr(apic::msr::tsc_deadline, 20'000);
    co_await isa::wrmsr(apic::msr::tsc_deadline, 0);
    co_await isa::compute(cycles{25'000 - r.now().count()});
    co_await isa::wrmsr(apic::msr::tsc_deadline, 30'000);
    co_await isa::wrmsr(apic::msr::tsc_deadline, 40'000);
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{60'000});
  EXPECT_EQ(r.in_guest, (std::vector<guest_apic_rig::seen>{{40'000 + event_cost, timer_vector}}));
}

TEST(guest_timer, counts_in_the_guests_time) {
  timer_rig r;
  r.setup.options.primary |= vmx::primary::use_tsc_offsetting;
  r.setup.more.emplace_back(field::tsc_offset, 5000);
  r.run_guest([]() -> program {
    co_await isa::wrmsr(apic::msr::tsc_deadline, 25'000);  // the guest's; 20'000 of the processor
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{60'000});
  EXPECT_EQ(r.in_guest, (std::vector<guest_apic_rig::seen>{{20'000 + event_cost, timer_vector}}));
}

TEST(guest_timer, stands_still_for_a_hypervisor_and_is_due_at_the_next_entry) {
  for (const std::uint64_t deadline : {20'001, 20'500, 40'000}) {
    timer_rig r;
    std::uint64_t saved = 0, shadow = 0;
    r.at_exit = [&](const vmx::exit_info&) -> program {
      saved = co_await isa::vmread(field::guest_deadline);
      shadow = co_await isa::vmread(field::guest_deadline_shadow);
      co_await isa::compute(cycles{5000});
    };
    r.run_guest([&]() -> program {
      co_await isa::wrmsr(apic::msr::tsc_deadline, deadline);
      co_await isa::compute(cycles{20'000 - r.now().count()});
      co_await isa::vmcall(1);
      co_await rig::sleep();
    });
    r.start();
    r.hw.run_until(cycles{60'000});
    EXPECT_EQ(saved, deadline);
    EXPECT_EQ(shadow, deadline);
    ASSERT_EQ(r.in_guest.size(), 1u);
    const std::uint64_t entered = r.log.of<vm_entry_fact>().at(1).at().count();
    EXPECT_EQ(r.in_guest[0].at, std::max(deadline, entered) + event_cost);
  }
}

TEST(guest_timer, and_the_preemption_timer_share_a_cpu_in_peace) {
  for (const std::uint64_t deadline : {15'000, 40'000}) {
    timer_rig r;
    r.setup.options.pin |= vmx::pin_based::activate_vmx_preemption_timer;
    r.setup.more.emplace_back(field::vmx_preemption_timer_value,
                              20'000 >> r.hw.config().capabilities.preemption_timer_shift());
    std::vector<exit_reason> reasons;
    r.at_exit = [&](const vmx::exit_info& exit) -> program {
      reasons.push_back(exit.reason);
      co_await isa::vmwrite(field::vmx_preemption_timer_value, 1'000'000);
    };
    r.run_guest([&]() -> program {
      co_await isa::wrmsr(apic::msr::tsc_deadline, deadline);
      co_await rig::sleep();
    });
    r.start();
    r.hw.run_until(cycles{80'000});
    EXPECT_EQ(reasons, std::vector<exit_reason>{exit_reason::preemption_timer});
    EXPECT_EQ(r.in_guest, (std::vector<guest_apic_rig::seen>{{deadline + event_cost, timer_vector}}));
  }
}

TEST(guest_timer, wakes_a_halted_guest_and_lets_one_sleep_on_that_does_not_take_interrupts) {
  for (const bool open : {true, false}) {
    timer_rig r;
    std::uint64_t woken = 0;
    r.run_guest([&]() -> program {
      if (!open) co_await isa::cli();
      co_await isa::wrmsr(apic::msr::tsc_deadline, 30'000);
      co_await isa::hlt();
      woken = r.now().count();
      co_await rig::sleep();
    });
    r.start();
    r.hw.run_until(cycles{80'000});
    EXPECT_TRUE(r.exits().empty());
    EXPECT_EQ(woken != 0, open);
    EXPECT_EQ(r.hw.cpu(0).halted(), !open);
    EXPECT_EQ(r.hw.physical().read<std::uint64_t>(0), 0u);
    if (open) EXPECT_EQ(r.in_guest.at(0).at, 30'000 + wake_latency + event_cost);
    r.hw.check_accounting();
  }
}

// The event is not an instruction: the shadow of an STI outlives it.
TEST(guest_timer, in_the_shadow_of_an_sti_comes_at_once_and_its_interrupt_behind_the_shadow) {
  timer_rig r;
  std::uint64_t opened = 0;
  r.run_guest([&]() -> program {
    co_await isa::cli();
    co_await isa::wrmsr(apic::msr::tsc_deadline, 20'003);
    co_await isa::compute(cycles{20'000 - r.now().count()});
    co_await isa::sti();  // until 20'004
    opened = r.now().count();
    co_await isa::pause();
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{60'000});
  EXPECT_EQ(r.in_guest, (std::vector<guest_apic_rig::seen>{{20'004 + event_cost + 40, timer_vector}}));
}

TEST(guest_timer, loses_a_race_with_an_external_interrupt_and_is_kept) {
  for (const int offset : {-1, 0, 1}) {
    timer_rig r;
    std::uint64_t exits = 0;
    r.at_exit = [&](const vmx::exit_info& exit) -> program {
      EXPECT_EQ(exit.reason, exit_reason::external_interrupt);
      ++exits;
      co_await isa::wrmsr(apic::msr::eoi, 0);
    };
    r.run_guest([]() -> program {
      co_await isa::wrmsr(apic::msr::tsc_deadline, 20'000);
      co_await rig::sleep();
    });
    r.start();
    r.notify_at(cycles{static_cast<std::uint64_t>(20'000 + offset)}, 0xE0);
    r.hw.run_until(cycles{60'000});
    EXPECT_EQ(exits, 1u);
    EXPECT_EQ(r.in_guest.size(), 1u);
    const std::uint64_t began = r.exits().at(0)->began.count();
    // With both due at one boundary the external interrupt is taken first; an event under way is not interrupted, and
    // the virtual interrupt it brings comes before an external one.
    if (offset <= 0)
      EXPECT_EQ(began, static_cast<std::uint64_t>(20'000 + offset));
    else
      EXPECT_GT(began, r.in_guest[0].at);
  }
}

}  // namespace
}  // namespace vmxsys::cpu::testing
