// The pins LINT0 and LINT1: edges, levels with remote IRR, ExtINT, polarity.
#include <gtest/gtest.h>

#include <vmxsys/apic/local/local_apic.hpp>

#include "xapic_bench.hpp"

namespace vmxsys::apic {
namespace {

using testing_bench::enabled_xapic;
using testing_bench::in_mode;
using testing_bench::load;
using testing_bench::store;

constexpr std::uint32_t entry_of(unsigned pin) { return page::lvt_lint0 + 0x10 * pin; }
constexpr std::uint32_t level = 0x8000, active_low = 0x2000, remote_irr = 0x4000, masked = 0x10000;

local_apic with_entry(unsigned pin, std::uint32_t entry) {
  local_apic apic = enabled_xapic();
  store(apic, entry_of(pin), entry);
  return apic;
}

TEST(lint, every_mode_on_both_edges) {
  struct row {
    const char* what;
    std::uint32_t entry;
    int request;  // after the rising edge
    int message;
    bool ext_int;
  };
  for (unsigned pin : {0U, 1U})
    for (const row& r :
         {row{"fixed, edge", 0x40, 0x40, -1, false}, row{"fixed, level", 0x40 | level, 0x40, -1, false},
          row{"fixed, vector 16", 0x10, 0x10, -1, false}, row{"fixed, vector 15", 0x0F, -1, -1, false},
          row{"masked", 0x40 | masked, -1, -1, false}, row{"masked level", 0x40 | level | masked, -1, -1, false},
          row{"lowest priority is reserved", 0x140, -1, -1, false}, row{"SMI", 0x200, -1, 2, false},
          row{"reserved", 0x340, -1, -1, false}, row{"NMI", 0x400, -1, 4, false},
          row{"NMI ignores the trigger bit", 0x400 | level, -1, 4, false}, row{"INIT", 0x500, -1, 5, false},
          row{"start-up is reserved", 0x640, -1, -1, false}, row{"ExtINT", 0x700, -1, 7, true},
          row{"masked ExtINT", 0x700 | masked, -1, -1, false}, row{"masked NMI", 0x400 | masked, -1, -1, false}}) {
      SCOPED_TRACE(testing::Message() << r.what << " on LINT" << pin);
      local_apic apic = with_entry(pin, r.entry);
      const auto rising = apic.set_lint(pin, true);
      EXPECT_EQ(apic.highest_request(), r.request);
      EXPECT_EQ(rising ? static_cast<int>(rising->mode) : -1, r.message);
      EXPECT_EQ(apic.ext_int_asserted(), r.ext_int);
      EXPECT_FALSE(apic.set_lint(pin, true)) << "no edge";
      const local_apic before = apic;
      EXPECT_FALSE(apic.set_lint(pin, false));
      EXPECT_FALSE(apic.ext_int_asserted());
      EXPECT_EQ(apic.highest_request(), before.highest_request()) << "what was accepted stays";
      EXPECT_EQ(load(apic, entry_of(pin)) & remote_irr, r.request == 0x40 && (r.entry & level) != 0 ? remote_irr : 0U);
    }
}

TEST(lint, an_edge_is_remembered_once_and_a_second_one_after_it) {
  local_apic apic = with_entry(0, 0x40);
  apic.set_lint(0, true);
  EXPECT_EQ(apic.acknowledge(), 0x40);
  EXPECT_FALSE(apic.level_triggered().test(0x40));
  apic.end_of_interrupt();
  EXPECT_EQ(apic.highest_request(), -1) << "the level that stays is no new edge";
  apic.set_lint(0, false);
  apic.set_lint(0, true);
  EXPECT_EQ(apic.highest_request(), 0x40);
}

TEST(lint, a_level_asks_again_after_its_eoi) {
  for (unsigned pin : {0U, 1U}) {
    local_apic apic = with_entry(pin, 0x40 | level);
    apic.set_lint(pin, true);
    EXPECT_EQ(load(apic, entry_of(pin)), 0x40 | level | remote_irr);
    EXPECT_TRUE(apic.level_triggered().test(0x40));
    EXPECT_EQ(apic.acknowledge(), 0x40);
    EXPECT_EQ(apic.highest_request(), -1) << "one at a time";
    const register_outcome first = store(apic, page::eoi, 0);
    ASSERT_TRUE(first.eoi) << "level-triggered, so its EOI is broadcast";
    EXPECT_EQ(apic.highest_request(), 0x40) << "still asserted";
    EXPECT_EQ(load(apic, entry_of(pin)), 0x40 | level | remote_irr);
    EXPECT_EQ(apic.acknowledge(), 0x40);
    apic.set_lint(pin, false);
    store(apic, page::eoi, 0);
    EXPECT_EQ(apic.highest_request(), -1);
    EXPECT_EQ(load(apic, entry_of(pin)), 0x40 | level);
  }
}

TEST(lint, a_level_that_goes_before_it_is_served_is_served_all_the_same) {
  local_apic apic = with_entry(0, 0x40 | level);
  apic.set_lint(0, true);
  apic.set_lint(0, false);
  apic.set_lint(0, true);
  EXPECT_EQ(apic.acknowledge(), 0x40);
  EXPECT_EQ(apic.highest_request(), -1) << "remote IRR holds the second assertion back";
  apic.set_lint(0, false);
  apic.end_of_interrupt();
  EXPECT_EQ(apic.highest_request(), -1);
}

TEST(lint, only_the_eoi_of_its_vector_clears_remote_irr) {
  local_apic apic = with_entry(0, 0x40 | level);
  apic.set_lint(0, true);
  apic.acknowledge();
  apic.accept(0x51, true);
  EXPECT_EQ(apic.acknowledge(), 0x51);
  apic.end_of_interrupt();
  EXPECT_NE(load(apic, entry_of(0)) & remote_irr, 0U);
  EXPECT_FALSE(apic.requests().test(0x40)) << "the level was not accepted again";
  apic.end_of_interrupt();
  EXPECT_EQ(apic.highest_request(), 0x40);
}

TEST(lint, suppressed_eoi_broadcasts_still_clear_remote_irr) {
  local_apic apic = with_entry(0, 0x40 | level);
  store(apic, page::svr, 0x11FF);
  apic.set_lint(0, true);
  apic.acknowledge();
  apic.set_lint(0, false);
  EXPECT_FALSE(store(apic, page::eoi, 0).eoi);
  EXPECT_EQ(load(apic, entry_of(0)) & remote_irr, 0U);
}

TEST(lint, two_pins_with_one_vector_share_its_eoi) {
  local_apic apic = with_entry(0, 0x40 | level);
  store(apic, entry_of(1), 0x40 | level);
  apic.set_lint(0, true);
  apic.set_lint(1, true);
  EXPECT_EQ(apic.acknowledge(), 0x40);
  apic.set_lint(0, false);
  apic.end_of_interrupt();
  EXPECT_EQ(load(apic, entry_of(0)) & remote_irr, 0U);
  EXPECT_EQ(load(apic, entry_of(1)) & remote_irr, remote_irr);
  EXPECT_EQ(apic.acknowledge(), 0x40);
}

TEST(lint, unmasking_finds_a_level_but_not_an_edge) {
  for (bool is_level : {false, true}) {
    const std::uint32_t trigger = is_level ? level : 0;
    local_apic apic = with_entry(0, 0x40 | trigger | masked);
    apic.set_lint(0, true);
    EXPECT_EQ(apic.highest_request(), -1);
    store(apic, entry_of(0), 0x40 | trigger);
    EXPECT_EQ(apic.highest_request(), is_level ? 0x40 : -1);
  }
}

TEST(lint, masking_keeps_remote_irr_and_switching_to_edge_clears_it) {
  local_apic apic = with_entry(0, 0x40 | level);
  apic.set_lint(0, true);
  apic.acknowledge();
  store(apic, entry_of(0), 0x40 | level | masked);
  EXPECT_NE(load(apic, entry_of(0)) & remote_irr, 0U);
  local_apic edge = apic;
  store(edge, entry_of(0), 0x40 | masked);
  store(edge, entry_of(0), 0x40 | level | masked);
  EXPECT_EQ(load(edge, entry_of(0)) & remote_irr, 0U);
  apic.end_of_interrupt();
  EXPECT_EQ(load(apic, entry_of(0)), 0x40 | level | masked);
  EXPECT_EQ(apic.highest_request(), -1) << "masked";
  store(apic, entry_of(0), 0x40 | level);
  EXPECT_EQ(apic.highest_request(), 0x40);
}

TEST(lint, software_cannot_write_remote_irr) {
  local_apic apic = with_entry(0, 0x40 | level | remote_irr);
  EXPECT_EQ(load(apic, entry_of(0)), 0x40 | level);
  apic.set_lint(0, true);
  apic.acknowledge();
  store(apic, entry_of(0), 0x40 | level);
  EXPECT_EQ(load(apic, entry_of(0)), 0x40 | level | remote_irr) << "nor clear it by rewriting the entry";
}

TEST(lint, a_level_with_an_illegal_vector_is_an_error_and_leaves_no_remote_irr) {
  local_apic apic = with_entry(0, 0x0F | level);
  apic.set_lint(0, true);
  EXPECT_EQ(apic.errors(), 0x40U);
  EXPECT_EQ(load(apic, entry_of(0)), 0x0F | level);
  store(apic, entry_of(0), 0x10 | level);
  EXPECT_EQ(apic.highest_request(), 0x10);
}

TEST(lint, polarity_says_which_level_asserts) {
  local_apic apic = with_entry(0, 0x40 | active_low | masked);
  apic.set_lint(0, true);
  store(apic, entry_of(0), 0x40 | active_low);
  EXPECT_FALSE(apic.set_lint(0, true));
  EXPECT_EQ(apic.highest_request(), -1);
  apic.set_lint(0, false);
  EXPECT_EQ(apic.highest_request(), 0x40) << "the falling edge";
  local_apic low_level = with_entry(1, 0x41 | level | active_low);
  EXPECT_EQ(low_level.highest_request(), 0x41) << "a pin that is low asserts at once";
}

TEST(lint, ext_int_is_a_level_that_the_entry_gates) {
  local_apic apic = with_entry(0, 0x700 | masked);
  apic.set_lint(0, true);
  EXPECT_FALSE(apic.ext_int_asserted());
  store(apic, entry_of(0), 0x700);
  EXPECT_TRUE(apic.ext_int_asserted());
  EXPECT_EQ(apic.highest_request(), -1) << "no IRR";
  store(apic, page::svr, 0xFF);
  EXPECT_FALSE(apic.ext_int_asserted()) << "disabling masks the entry";
  store(apic, page::svr, 0x1FF);
  store(apic, entry_of(0), 0x700 | active_low);
  EXPECT_FALSE(apic.ext_int_asserted());
}

TEST(lint, without_an_apic_the_pins_are_intr_and_nmi) {
  local_apic apic = in_mode(apic_mode::disabled, 3);
  const auto nmi = apic.set_lint(1, true);
  ASSERT_TRUE(nmi);
  EXPECT_EQ(nmi->mode, delivery_mode::nmi);
  EXPECT_FALSE(apic.set_lint(1, true)) << "an edge";
  EXPECT_FALSE(apic.ext_int_asserted());
  const auto intr = apic.set_lint(0, true);
  ASSERT_TRUE(intr);
  EXPECT_EQ(intr->mode, delivery_mode::ext_int);
  EXPECT_TRUE(apic.ext_int_asserted());
  apic.set_lint(0, false);
  EXPECT_FALSE(apic.ext_int_asserted());
}

TEST(lint, pins_stay_as_they_are_driven_over_reset) {
  local_apic apic = with_entry(0, 0x40);
  apic.set_lint(0, true);
  apic.reset();
  EXPECT_EQ(apic.highest_request(), -1);
  store(apic, page::svr, 0x1FF);
  store(apic, entry_of(0), 0x40 | level);
  EXPECT_EQ(apic.highest_request(), 0x40);
}

TEST(lint, a_pulse_on_a_level_pin_counts_once_until_its_eoi) {
  local_apic apic = with_entry(0, 0x40 | level);
  apic.raise_local(msr::lvt_lint0);
  EXPECT_EQ(apic.acknowledge(), 0x40);
  apic.raise_local(msr::lvt_lint0);
  EXPECT_EQ(apic.highest_request(), -1);
  apic.end_of_interrupt();
  EXPECT_EQ(apic.highest_request(), -1) << "the pulse is over";
}

TEST(local_apic_lvt, a_performance_interrupt_masks_its_entry) {
  for (std::uint32_t entry : {0x40U, 0x400U}) {
    local_apic apic = enabled_xapic();
    store(apic, page::lvt_performance, entry);
    const auto first = apic.raise_local(msr::lvt_performance);
    EXPECT_EQ(first.has_value(), entry == 0x400U);
    EXPECT_EQ(load(apic, page::lvt_performance), entry | masked);
    apic.init();
    EXPECT_FALSE(apic.raise_local(msr::lvt_performance));
  }
  local_apic thermal = enabled_xapic();
  store(thermal, page::lvt_thermal, 0x40);
  thermal.raise_local(msr::lvt_thermal);
  EXPECT_EQ(load(thermal, page::lvt_thermal), 0x40U) << "others stay unmasked";
}

}  // namespace
}  // namespace vmxsys::apic
