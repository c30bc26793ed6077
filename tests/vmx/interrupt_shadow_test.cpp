#include <gtest/gtest.h>

#include <vmxsys/vmx/events/interrupt_shadow.hpp>

namespace vmxsys::vmx {
namespace {

using s = interrupt_shadow_step;
constexpr std::uint32_t sti = interruptibility::sti, mov_ss = interruptibility::mov_ss;

TEST(shadow, what_each_step_makes_of_it) {
  for (const std::uint32_t before : {0u, sti, mov_ss}) {
    EXPECT_EQ(interruptibility_after(before, s::sti_sets_if), sti);
    EXPECT_EQ(interruptibility_after(before, s::sti_changes_nothing), 0u);
    EXPECT_EQ(interruptibility_after(before, s::hlt), 0u);
    EXPECT_EQ(interruptibility_after(before, s::instruction), 0u);
    EXPECT_EQ(interruptibility_after(before, s::event_delivery), 0u);
    EXPECT_EQ(interruptibility_after(before, s::exiting_instruction), before);
  }
  EXPECT_EQ(interruptibility_after(0, s::mov_ss), mov_ss);
  EXPECT_EQ(interruptibility_after(sti, s::mov_ss), mov_ss);
}

TEST(shadow, only_the_first_of_several_mov_ss_blocks) {
  EXPECT_EQ(interruptibility_after(mov_ss, s::mov_ss), 0u);
  EXPECT_EQ(interruptibility_after(mov_ss, s::consecutive_mov_ss), 0u);
  EXPECT_EQ(interruptibility_after(mov_ss, s::mov_ss, true), mov_ss);
  EXPECT_EQ(interruptibility_after(0, s::consecutive_mov_ss, true), mov_ss);
}

TEST(shadow, other_bits_are_not_touched) {
  constexpr std::uint32_t others = interruptibility::smi | interruptibility::nmi | interruptibility::enclave;
  for (const interrupt_shadow_rule& rule : interrupt_shadow_table)
    for (const std::uint32_t before : {0u, sti, mov_ss})
      EXPECT_EQ(interruptibility_after(others | before, rule.step), others | interruptibility_after(before, rule.step))
          << rule.name;
}

TEST(shadow, the_table_is_in_order) {
  for (std::size_t i = 0; i < interrupt_shadow_table.size(); ++i)
    EXPECT_EQ(static_cast<std::size_t>(interrupt_shadow_table[i].step), i);
}

}  // namespace
}  // namespace vmxsys::vmx
