#include <gtest/gtest.h>

#include <vmxsys/vmx/events/monitor_trap_flag.hpp>

namespace vmxsys::vmx {
namespace {

using s = first_step;
using b = mtf_boundary;

TEST(monitor_trap_flag, where_the_exit_is_pending) {
  EXPECT_EQ(mtf_pending(s::injects_vectored_event, true), b::before_first_instruction);
  EXPECT_EQ(mtf_pending(s::injects_pending_mtf, true), b::before_first_instruction);
  EXPECT_EQ(mtf_pending(s::event_before_instruction, true), b::after_delivery);
  EXPECT_EQ(mtf_pending(s::rep_iteration, true), b::after_iteration);
  EXPECT_EQ(mtf_pending(s::rep_fault, true), b::after_delivery);
  EXPECT_EQ(mtf_pending(s::xbegin, true), b::fallback_address);
  EXPECT_EQ(mtf_pending(s::instruction_faults, true), b::after_delivery);
  EXPECT_EQ(mtf_pending(s::instruction_retires, true), b::after_instruction);
}

TEST(monitor_trap_flag, without_the_control_only_an_injected_exit_is_pending) {
  for (std::size_t i = 0; i < mtf_table.size(); ++i) {
    EXPECT_EQ(static_cast<std::size_t>(mtf_table[i].step), i);
    const s step = mtf_table[i].step;
    EXPECT_EQ(mtf_pending(step, false), step == s::injects_pending_mtf ? b::before_first_instruction : b::none);
  }
}

}  // namespace
}  // namespace vmxsys::vmx
