#include <gtest/gtest.h>

#include <vmxsys/vmx/vmcs/required_control.hpp>

namespace vmxsys::vmx {
namespace {

constexpr std::array<required_control, 2> needed{{{control_word::primary, primary::use_tpr_shadow},
                                                  {control_word::secondary, secondary::virtual_interrupt_delivery}}};

TEST(required_control, the_first_that_is_missing_is_named) {
  const control_info* missing = first_missing(needed, find_capability_row("haswell")->values);
  ASSERT_NE(missing, nullptr);
  EXPECT_STREQ(missing->name, "virtual-interrupt delivery");
  EXPECT_EQ(first_missing(needed, find_capability_row("cascade_lake_sp")->values), nullptr);
  EXPECT_EQ(first_missing({}, find_capability_row("haswell")->values), nullptr);
}

}  // namespace
}  // namespace vmxsys::vmx
