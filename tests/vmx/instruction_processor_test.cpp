#include <gtest/gtest.h>

#include <vmxsys/vmx/vmcs/processor.hpp>

namespace vmxsys::vmx {
namespace {

namespace fc = feature_control_bits;

TEST(vmx_feature_control, is_written_until_it_is_locked) {
  vmx_state state;
  state.feature_control = 0;
  EXPECT_TRUE(write_feature_control(state, fc::vmx_outside_smx));
  EXPECT_EQ(state.feature_control, fc::vmx_outside_smx);
  EXPECT_TRUE(write_feature_control(state, 0));
  EXPECT_TRUE(write_feature_control(state, fc::lock));
  EXPECT_FALSE(write_feature_control(state, fc::lock)) << "even the same value";
  EXPECT_FALSE(write_feature_control(state, 0));
  EXPECT_EQ(state.feature_control, fc::lock);
}

TEST(vmx_feature_control, reserved_bits_fault) {
  vmx_state state;
  state.feature_control = 0;
  EXPECT_TRUE(write_feature_control(state, 6));
  EXPECT_FALSE(write_feature_control(state, 8));
  EXPECT_FALSE(write_feature_control(state, std::uint64_t{1} << 63));
  EXPECT_EQ(state.feature_control, 6u);
  constexpr std::uint64_t lmce = 1u << 20;
  EXPECT_TRUE(write_feature_control(state, lmce, fc::vmx_bits | lmce));
}

class vmx_fixed_bits : public testing::Test {
 protected:
  vmx_state state;
  const capabilities& caps = find_capability_row("cascade_lake_sp")->values;
};

TEST_F(vmx_fixed_bits, cr4_vmxe_cannot_be_cleared_in_vmx_operation) {
  EXPECT_TRUE(cr4_write_allowed(state, caps, 0x20));
  for (const operation mode : {operation::root, operation::non_root}) {
    state.mode = mode;
    EXPECT_FALSE(cr4_write_allowed(state, caps, 0x20));
    EXPECT_TRUE(cr4_write_allowed(state, caps, 0x2020));
    EXPECT_TRUE(cr4_write_allowed(state, caps, caps.cr4_fixed1));
    EXPECT_FALSE(cr4_write_allowed(state, caps, caps.cr4_fixed1 | 1u << 23)) << "no CET on this processor";
  }
}

TEST_F(vmx_fixed_bits, cr0_keeps_pe_ne_and_pg) {
  EXPECT_TRUE(cr0_write_allowed(state, caps, 0));
  state.mode = operation::root;
  EXPECT_TRUE(cr0_write_allowed(state, caps, 0x8000'0021));
  for (const std::uint64_t missing : {std::uint64_t{1}, std::uint64_t{0x20}, std::uint64_t{0x8000'0000}})
    EXPECT_FALSE(cr0_write_allowed(state, caps, 0x8000'0021 & ~missing));
  EXPECT_FALSE(cr0_write_allowed(state, caps, 0x20, true)) << "a guest's privilege";
  state.mode = operation::non_root;
  EXPECT_FALSE(cr0_write_allowed(state, caps, 0x20));
  EXPECT_TRUE(cr0_write_allowed(state, caps, 0x20, true));
  EXPECT_FALSE(cr0_write_allowed(state, caps, 0, true)) << "NE stays";
}

TEST(vmx_init, is_taken_latched_or_exits) {
  vmx_state state;
  EXPECT_EQ(receive_init(state, false), init_effect::resets);
  state.mode = operation::root;
  EXPECT_EQ(receive_init(state, false), init_effect::latched);
  EXPECT_TRUE(state.latched_init);
  state.latched_init = false;
  state.mode = operation::non_root;
  EXPECT_EQ(receive_init(state, false), init_effect::exits);
  EXPECT_FALSE(state.latched_init) << "the exit consumes it";
  EXPECT_EQ(receive_init(state, true), init_effect::latched);
  EXPECT_TRUE(state.latched_init);
}

TEST(vmx_execution_mode, names_the_sub_modes) {
  execution_mode mode;
  EXPECT_TRUE(mode.in_64_bit_mode());
  EXPECT_FALSE(mode.compatibility());
  mode.code_64_bit = false;
  EXPECT_TRUE(mode.compatibility());
  mode.long_mode = false;
  EXPECT_FALSE(mode.compatibility());
  mode.code_64_bit = true;
  EXPECT_FALSE(mode.in_64_bit_mode());
}

}  // namespace
}  // namespace vmxsys::vmx
