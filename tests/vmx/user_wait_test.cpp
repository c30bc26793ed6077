#include <gtest/gtest.h>

#include <vmxsys/vmx/instructions/user_wait.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/event.hpp>

namespace vmxsys::vmx {
namespace {

constexpr std::uint64_t one = 1ull << 48;

vmcs scaled(std::uint64_t offset, std::uint64_t multiplier) {
  vmcs v{4};
  v.write(field::primary_processor_based_controls, primary::activate_secondary_controls | primary::use_tsc_offsetting);
  v.write(field::secondary_processor_based_controls, secondary::use_tsc_scaling);
  v.write(field::tsc_offset, offset);
  v.write(field::tsc_multiplier, multiplier);
  return v;
}

TEST(user_wait, until_the_deadline) {
  const vmcs v{4};
  EXPECT_EQ(user_wait_of(v, 1000, 1500, 0, 0).physical_delay, cycles{500});
  EXPECT_EQ(user_wait_of(v, 1000, 1001, 0, 0).virtual_delay, 1u);
  EXPECT_EQ(user_wait_of(v, 1000, 1000, 0, 0).virtual_delay, 0u);
  EXPECT_EQ(user_wait_of(v, 1000, 999, 0, 0).virtual_delay, 0u) << "already past";
  EXPECT_FALSE(user_wait_of(v, 1000, ~0ull, 0, 0).limited);
}

TEST(user_wait, the_operating_system_limits_it) {
  const vmcs v{4};
  const auto wait = [&](std::uint64_t deadline, std::uint32_t control) {
    return user_wait_of(v, 1000, deadline, 0, control);
  };
  EXPECT_EQ(wait(1500, 400).virtual_delay, 400u);
  EXPECT_TRUE(wait(1500, 400).limited);
  EXPECT_EQ(wait(1401, 403).virtual_delay, 400u) << "bits 1:0 are not part of the limit";
  EXPECT_TRUE(wait(1401, 403).limited);
  EXPECT_FALSE(wait(1400, 400).limited) << "both at once";
  EXPECT_FALSE(wait(1399, 400).limited);
  EXPECT_EQ(wait(1399, 400).virtual_delay, 399u);
  EXPECT_EQ(wait(1500, 3).virtual_delay, 500u) << "0 is no limit";
  EXPECT_EQ(wait(~0ull, 0xFFFF'FFFF).virtual_delay, 0xFFFF'FFFCu);
}

TEST(user_wait, in_the_guests_time) {
  const vmcs v = scaled(100, 2 * one);
  const user_wait wait = user_wait_of(v, 1000, 2401, 0, 0);
  EXPECT_EQ(wait.virtual_delay, 301u);
  EXPECT_EQ(wait.physical_delay, cycles{150});
  EXPECT_EQ(user_wait_of(v, 1000, 9000, 0, 200).physical_delay, cycles{100}) << "the limit too";
}

TEST(user_wait, c0_2_only_if_asked_for_and_allowed) {
  const vmcs v{4};
  EXPECT_EQ(user_wait_of(v, 0, 1, 0, 0).state, user_wait_state::c0_2);
  EXPECT_EQ(user_wait_of(v, 0, 1, 1, 0).state, user_wait_state::c0_1);
  EXPECT_EQ(user_wait_of(v, 0, 1, 0, 1).state, user_wait_state::c0_1);
  EXPECT_EQ(user_wait_of(v, 0, 1, 0, 2).state, user_wait_state::c0_2);
}

TEST(mwait, sleeps_unless_it_would_break_at_once) {
  for (const bool breaks : {false, true})
    for (const bool enabled : {false, true})
      for (const bool window : {false, true})
        for (const bool virtual_interrupt : {false, true}) {
          vmcs v{4};
          v.write(field::primary_processor_based_controls, window ? primary::interrupt_window_exiting : 0);
          const bool sleeps = mwait_sleeps(v, breaks ? 1 : 0, enabled ? 0x202 : 2, virtual_interrupt);
          EXPECT_EQ(sleeps, !breaks || enabled || (!window && !virtual_interrupt));
        }
  vmcs v{4};
  v.write(field::primary_processor_based_controls, primary::interrupt_window_exiting);
  EXPECT_TRUE(mwait_sleeps(v, 2, 2, true)) << "only bit 0 of ECX counts";
}

TEST(mwait, which_external_interrupts_end_it) {
  vmcs v{4};
  EXPECT_FALSE(interrupt_ends_mwait(v, 0, 2));
  EXPECT_TRUE(interrupt_ends_mwait(v, 1, 2));
  EXPECT_TRUE(interrupt_ends_mwait(v, 0, 0x202));
  v.write(field::pin_based_controls, pin_based::external_interrupt_exiting);
  EXPECT_TRUE(interrupt_ends_mwait(v, 0, 2));
}

}  // namespace
}  // namespace vmxsys::vmx
