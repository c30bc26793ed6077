#include <gtest/gtest.h>

#include "exits.hpp"

// PAUSE-loop exiting, in fast and in stepped mode.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;

class ple : public ::testing::TestWithParam<bool> {
 protected:
  static constexpr std::uint64_t window = 1000, period = 46;
  static constexpr std::uint64_t pauses = window / period + 2;  // the one that exits, counted from 1
  vmx_rig r{bare_config(1, GetParam())};
  word& w = r.hw.physical().word_at(0x20'0000);
  std::uint64_t first_pause = 0;
  spin_result result{};

  void go(std::uint64_t limit = 0) {
    r.setup.options.secondary = vmx::secondary::pause_loop_exiting;
    r.setup.options.ple_gap = 128;
    r.setup.options.ple_window = window;
    r.run_guest([this, limit]() -> program {
      co_await isa::load(w);
      first_pause = r.now().count() + 6;
      result = co_await isa::spin_while(w, spin_predicate::while_equal(0), test_spin, nullptr, limit);
      co_await isa::cpuid(0);
      co_await rig::sleep();
    });
  }
};
INSTANTIATE_TEST_SUITE_P(fast_and_stepped, ple, ::testing::Bool());

TEST_P(ple, exits_on_the_pause_beyond_the_window_and_leaves_rip_on_it) {
  go();
  r.run_host([&]() -> program {
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::pause);
    EXPECT_EQ(exit.instruction_length, 2u);
    EXPECT_EQ(r.field(field::guest_rip), test_spin.rip());
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  expect_exact_sequence(r.log, {exit_because(exit_reason::pause, cycles{first_pause + (pauses - 1) * period})});
  EXPECT_EQ(static_cast<const spin_instruction*>(r.guest->in_flight())->iterations, pauses - 1);
}

TEST_P(ple, the_same_rip_executes_the_pause_again_and_the_next_skips_it) {
  for (const bool skips : {false, true}) {
    vmx_rig s{bare_config(1, GetParam())};
    word& held = s.hw.physical().word_at(0x20'0000);
    s.setup.options.secondary = vmx::secondary::pause_loop_exiting;
    s.setup.options.ple_window = window;
    spin_result got{};
    s.run_guest([&]() -> program {
      got = co_await isa::spin_while(held, spin_predicate::while_equal(0), test_spin, nullptr, 500);
      co_await isa::cpuid(0);
    });
    std::uint64_t exits = 0;
    std::vector<std::uint64_t> entered, left;
    s.run_host([&]() -> program {
      vmx::exit_info exit = co_await isa::vmlaunch();
      for (; exit.reason == exit_reason::pause; ++exits) {
        left.push_back(s.exits().back()->began.count());
        if (skips) co_await skip(exit);
        entered.push_back(s.now().count() + entry_cost);
        exit = co_await isa::vmresume();
      }
    });
    s.hw.run_until(cycles{200'000});
    ASSERT_TRUE(s.done);
    EXPECT_EQ(got.iterations, 500u) << "a skipped PAUSE counts: the loop has gone round";
    EXPECT_TRUE(got.limit_reached);
    // Retried, each entry gives pauses - 1 PAUSEs; skipped, one more is passed over before them.
    const std::uint64_t per_entry = pauses - 1 + (skips ? 1 : 0);
    EXPECT_EQ(exits, skips ? 500 / per_entry : (500 - 1) / (pauses - 1));
    ASSERT_GE(entered.size(), 2u);
    // The window starts anew with the first PAUSE after the entry: at once, or after the load behind the skipped one.
    EXPECT_EQ(left[1] - entered[0], (pauses - 1) * period + (skips ? 6 : 0));
  }
}

TEST_P(ple, an_external_interrupt_of_the_same_boundary_wins) {
  for (int shift = -2; shift <= 2; ++shift) {
    vmx_rig s{bare_config(1, GetParam())};
    word& held = s.hw.physical().word_at(0x20'0000);
    s.setup.options.secondary = vmx::secondary::pause_loop_exiting;
    s.setup.options.ple_window = window;
    std::uint64_t pause = 0;
    s.run_guest([&]() -> program {
      co_await isa::load(held);
      pause = s.now().count() + 6;
      co_await isa::spin_while(held, spin_predicate::while_equal(0), test_spin);
    });
    std::vector<exit_reason> reasons;
    std::vector<std::uint64_t> rip;
    s.run_host([&]() -> program {
      co_await rig::enable_apic();
      reasons.push_back((co_await isa::vmlaunch()).reason);
      rip.push_back(s.field(field::guest_rip));
      co_await isa::wrmsr(apic::msr::eoi, 0);
      reasons.push_back((co_await isa::vmresume()).reason);
      rip.push_back(s.field(field::guest_rip));
    });
    s.hw.run_until(cycles{1});
    // The set-up takes the same time in every run: measured once.
    static std::uint64_t exit_at[2] = {0, 0};
    std::uint64_t& at = exit_at[GetParam()];
    if (at == 0) {
      s.hw.run_until(cycles{10'000});
      at = s.exits().at(0)->began.count();
      EXPECT_EQ(at, pause + (pauses - 1) * period);
      --shift;
      continue;
    }
    s.interrupt(0, cycles{static_cast<std::uint64_t>(static_cast<std::int64_t>(at) + shift)}, 0x51);
    s.hw.run_until(cycles{20'000});
    ASSERT_EQ(reasons.size(), 2u);
    if (shift <= 0) {
      EXPECT_EQ(reasons[0], exit_reason::external_interrupt) << shift;
      EXPECT_EQ(s.exits()[0]->began.count(), at) << "the boundary is before that PAUSE";
      EXPECT_EQ(rip[0], test_spin.rip()) << "and the PAUSE is still pending";
      EXPECT_EQ(reasons[1], exit_reason::pause);
      EXPECT_GT(s.exits()[1]->began.count(), at + window);
    } else {
      EXPECT_EQ(reasons[0], exit_reason::pause) << shift;
    }
  }
}

TEST_P(ple, an_exit_between_pauses_points_at_the_load) {
  go();
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    EXPECT_EQ((co_await isa::vmlaunch()).reason, exit_reason::external_interrupt);
    EXPECT_EQ(r.field(field::guest_rip), test_spin.rip() + 2);
    co_await isa::wrmsr(apic::msr::eoi, 0);
    EXPECT_EQ((co_await isa::vmresume()).reason, exit_reason::pause);
    co_await isa::vmwrite(field::guest_rip, test_spin.rip() + 4);
    co_await isa::vmresume();
  });
  r.hw.run_until(cycles{2000});
  while (r.now() <= cycles{first_pause} || first_pause == 0) r.hw.run_until(r.now() + cycles{1});
  r.interrupt(0, cycles{first_pause + 20}, 0x51);
  EXPECT_THROW(r.hw.run_until(cycles{50'000}), invariant_error) << "no instruction begins four bytes on";
  expect_exact_sequence(r.log, {exit_because(exit_reason::external_interrupt, cycles{first_pause + 40}),
                                exit_because(exit_reason::pause)});
}

TEST_P(ple, user_mode_is_not_watched_and_root_mode_neither) {
  static constexpr code_location user_spin{"user_spin", 0x500000, 0, 3, bucket::spin};
  r.setup.options.secondary = vmx::secondary::pause_loop_exiting;
  r.setup.options.ple_window = window;
  spin_result user{}, root{};
  r.run_guest([&]() -> program {
    user = co_await isa::spin_while(w, spin_predicate::while_equal(0), user_spin, nullptr, 400);
    co_await isa::cpuid(0);
  });
  r.run_host([&]() -> program {
    root = co_await isa::spin_while(w, spin_predicate::while_equal(0), test_spin, nullptr, 400);
    EXPECT_EQ((co_await isa::vmlaunch()).reason, exit_reason::cpuid);
  });
  r.hw.run_until(cycles{100'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(user.iterations, 400u);
  EXPECT_EQ(root.iterations, 400u);
  expect_exact_sequence(r.log, {fact<spin_fact>(&spin_fact::non_root, 0), fact<spin_fact>(&spin_fact::non_root, 1),
                                exit_because(exit_reason::cpuid)});
}

}  // namespace
}  // namespace vmxsys::cpu::testing
