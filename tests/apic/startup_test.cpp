#include <gtest/gtest.h>

#include <vmxsys/apic/local/startup.hpp>

namespace {

using vmxsys::apic::startup_address_of;
using vmxsys::apic::startup_state;
using state = startup_state::state;
using init_effect = startup_state::init_effect;

TEST(startup, reset_runs_the_bootstrap_processor_only) {
  EXPECT_EQ(startup_state{true}.now(), state::running);
  EXPECT_EQ(startup_state{false}.now(), state::wait_for_sipi);
}

TEST(startup, vector_is_a_page_number) {
  EXPECT_EQ(startup_address_of(0x98).selector, 0x9800);
  EXPECT_EQ(startup_address_of(0x98).base, 0x98000U);
  EXPECT_EQ(startup_address_of(0xFF).base, 0xFF000U);
}

TEST(startup, only_the_first_sipi_counts) {
  startup_state ap{false};
  EXPECT_EQ(ap.init(), init_effect::none) << "it waits already";
  const auto first = ap.sipi(0x9A);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->base, 0x9A000U);
  EXPECT_EQ(ap.now(), state::running);
  EXPECT_FALSE(ap.sipi(0x9B)) << "dropped";
}

TEST(startup, a_dropped_sipi_is_not_remembered) {
  startup_state ap{false};
  ap.sipi(1);
  ap.sipi(2);
  EXPECT_EQ(ap.init(), init_effect::waits);
  EXPECT_EQ(ap.now(), state::wait_for_sipi);
  EXPECT_EQ(ap.sipi(3)->selector, 0x300);
}

TEST(startup, the_bootstrap_processor_restarts_on_init_and_ignores_sipi) {
  startup_state bsp{true};
  EXPECT_FALSE(bsp.sipi(0x10));
  EXPECT_EQ(bsp.init(), init_effect::restarts);
  EXPECT_EQ(bsp.now(), state::running);
}

TEST(startup, reset_returns_to_the_beginning) {
  startup_state ap{false};
  ap.sipi(1);
  ap.reset();
  EXPECT_EQ(ap.now(), state::wait_for_sipi);
}

}  // namespace
