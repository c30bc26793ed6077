#include <vmxsys/vmx/vmcs/event.hpp>

#include "instruction_bench.hpp"

// What the instructions do when they succeed; which checks stop them is in instruction_checks_test.cpp.
namespace vmxsys::vmx {
namespace {

using kind = outcome_kind;
using error = instruction_error;
using test::instruction_bench;
using test::region_a;
using test::region_b;
using test::vmxon_region;

class vmx_instruction_effect : public testing::Test, public instruction_bench {};

TEST_F(vmx_instruction_effect, vmxon_enters_root_operation_without_a_current_vmcs) {
  state.current_vmcs = region_a;
  state.current = nullptr;
  ASSERT_TRUE(vmxon(unit, mode, vmxon_region));
  EXPECT_EQ(state.mode, operation::root);
  EXPECT_EQ(state.vmxon_pointer, vmxon_region);
  EXPECT_FALSE(state.has_current());
  EXPECT_EQ(vmptrst(unit, mode).value, no_vmcs);
}

TEST_F(vmx_instruction_effect, vmxon_in_32_bit_protected_mode) {
  mode.long_mode = mode.code_64_bit = false;
  EXPECT_TRUE(vmxon(unit, mode, vmxon_region));
}

TEST_F(vmx_instruction_effect, vmxoff_leaves_and_keeps_the_latched_init) {
  make_current(region_a);
  state.latched_init = true;
  EXPECT_TRUE(vmxoff(unit, mode));
  EXPECT_EQ(state.mode, operation::off);
  EXPECT_EQ(state.vmxon_pointer, no_vmcs);
  EXPECT_TRUE(state.latched_init);
  EXPECT_FALSE(state.has_current());
  EXPECT_EQ(state.current, nullptr);
  EXPECT_NE(store.find(region_a), nullptr) << "what was active stays so";
}

TEST_F(vmx_instruction_effect, vmclear_writes_back_and_clears) {
  make_current(region_a);
  ASSERT_TRUE(vmwrite(unit, mode, encoding_of(field::guest_rip), 0x1234));
  state.current->set_launch(launch_state::launched);
  ASSERT_TRUE(vmptrld(unit, mode, region_b));
  ASSERT_TRUE(vmclear(unit, mode, region_a)) << "not current, but active";
  EXPECT_EQ(state.current_vmcs, region_b);
  EXPECT_EQ(store.find(region_a), nullptr);
  ASSERT_TRUE(vmptrld(unit, mode, region_a));
  EXPECT_EQ(vmread(unit, mode, encoding_of(field::guest_rip)).value, 0x1234u);
  EXPECT_EQ(state.current->launch(), launch_state::clear);
  ASSERT_TRUE(vmclear(unit, mode, region_a));
  EXPECT_EQ(vmptrst(unit, mode).value, no_vmcs);
  EXPECT_EQ(state.current, nullptr);
}

TEST_F(vmx_instruction_effect, vmclear_of_an_inactive_region_clears_its_launch_state_and_ignores_its_revision) {
  make_current(region_a);
  memory.write(region_b, caps.revision() + 7);
  memory.write(region_b + vmcs_region::launch, std::uint32_t{1});
  ASSERT_TRUE(vmclear(unit, mode, region_b));
  EXPECT_EQ(memory.read<std::uint32_t>(region_b + vmcs_region::launch), 0u);
  EXPECT_EQ(memory.read<std::uint32_t>(region_b), caps.revision() + 7);
  EXPECT_EQ(state.current_vmcs, region_a);
}

TEST_F(vmx_instruction_effect, vmptrld_of_the_current_vmcs_keeps_what_is_not_in_memory) {
  make_current(region_a);
  set(field::guest_rip, 0x77);
  ASSERT_TRUE(vmptrld(unit, mode, region_b));
  ASSERT_TRUE(vmptrld(unit, mode, region_a));
  EXPECT_EQ(state.current->read(field::guest_rip), 0x77u);
  EXPECT_EQ(vmptrst(unit, mode).value, region_a);
}

TEST_F(vmx_instruction_effect, a_shadow_vmcs_can_be_current) {
  make_current(test::shadow_region);
  EXPECT_TRUE(state.current->is_shadow());
  EXPECT_TRUE(vmwrite(unit, mode, encoding_of(field::guest_rip), 5));
  EXPECT_EQ(vmlaunch_basics(state, mode).kind, kind::fail_invalid);
}

TEST_F(vmx_instruction_effect, success_leaves_the_error_field_alone) {
  make_current(region_a);
  vmcall(unit, mode);
  EXPECT_TRUE(vmwrite(unit, mode, encoding_of(field::guest_rip), 1));
  EXPECT_TRUE(vmptrst(unit, mode));
  EXPECT_TRUE(vmlaunch_basics(state, mode));
  EXPECT_EQ(vmread(unit, mode, encoding_of(field::vm_instruction_error)).value, 1u);
}

TEST_F(vmx_instruction_effect, operands_have_32_bits_outside_64_bit_mode) {
  make_current(region_a);
  const std::uint64_t rip = encoding_of(field::guest_rip);
  set(field::guest_rip, 0x1111'2222'3333'4444);
  mode.long_mode = mode.code_64_bit = false;
  EXPECT_EQ(vmread(unit, mode, rip).value, 0x3333'4444u);
  ASSERT_TRUE(vmwrite(unit, mode, rip | std::uint64_t{1} << 40, 0xAAAA'BBBB'CCCC'DDDD));
  EXPECT_EQ(state.current->read(field::guest_rip), 0xCCCC'DDDDu) << "the upper half becomes 0";
  mode = {};
  ASSERT_TRUE(vmwrite(unit, mode, rip, 0xAAAA'BBBB'CCCC'DDDD));
  EXPECT_EQ(vmread(unit, mode, rip).value, 0xAAAA'BBBB'CCCC'DDDDu);
}

TEST_F(vmx_instruction_effect, a_processor_number_tells_the_store_who_activates) {
  make_current(region_a);
  vmx_state other_state;
  vmx_unit other{other_state, caps, memory, store, 1};
  other_state.mode = operation::root;
  other_state.vmxon_pointer = region_b;
  ASSERT_TRUE(vmptrld(other, mode, region_a));
  EXPECT_EQ(store.violations(), 1u);
}

// ---- error 6 -------------------------------------------------------------------------------------------------------

class vmx_resume_after_vmxoff : public testing::Test, public instruction_bench {
 protected:
  vmx_resume_after_vmxoff() {
    make_current(region_a);
    state.current->set_launch(launch_state::launched);
  }
  void off_and_on() {
    ASSERT_TRUE(vmxoff(unit, mode));
    ASSERT_TRUE(vmxon(unit, mode, vmxon_region));
    ASSERT_TRUE(vmptrld(unit, mode, region_a));
  }
};

TEST_F(vmx_resume_after_vmxoff, fails_with_6) {
  EXPECT_TRUE(vmresume_basics(state, mode));
  off_and_on();
  const vmx_outcome outcome = vmresume_basics(state, mode);
  EXPECT_EQ(outcome.error, error::vmresume_after_vmxoff);
  EXPECT_EQ(state.current->read(field::vm_instruction_error), 6u);
  EXPECT_EQ(vmlaunch_basics(state, mode).error, error::vmlaunch_not_clear) << "it is launched all the same";
}

TEST_F(vmx_resume_after_vmxoff, vmclear_and_vmlaunch_make_it_good_again) {
  off_and_on();
  ASSERT_TRUE(vmclear(unit, mode, region_a));
  ASSERT_TRUE(vmptrld(unit, mode, region_a));
  EXPECT_EQ(vmresume_basics(state, mode).error, error::vmresume_not_launched);
  EXPECT_TRUE(vmlaunch_basics(state, mode));
  state.current->set_launch(launch_state::launched);
  EXPECT_TRUE(vmresume_basics(state, mode));
}

TEST_F(vmx_resume_after_vmxoff, is_not_asked_of_a_vmcs_that_was_clear_or_elsewhere) {
  load(region_b);
  vmx_state other_state;
  vmx_unit other{other_state, caps, memory, store, 1};
  other_state.mode = operation::root;
  ASSERT_TRUE(vmxoff(other, mode)) << "another processor's VMXOFF";
  ASSERT_TRUE(vmptrld(unit, mode, region_a));
  EXPECT_TRUE(vmresume_basics(state, mode));
  ASSERT_TRUE(vmptrld(unit, mode, region_b));
  off_and_on();
  ASSERT_TRUE(vmptrld(unit, mode, region_b));
  EXPECT_FALSE(state.current->vmxoff_since_launch());
  EXPECT_TRUE(vmlaunch_basics(state, mode));
}

TEST_F(vmx_resume_after_vmxoff, can_be_switched_off) {
  unit.choices.vmxoff_voids_launches = false;
  off_and_on();
  EXPECT_TRUE(vmresume_basics(state, mode));
}

TEST_F(vmx_resume_after_vmxoff, is_remembered_in_the_region) {
  off_and_on();
  state.current->store(memory, region_b);
  EXPECT_EQ(memory.read<std::uint32_t>(region_b + vmcs_region::launch), 2u);
  vmcs copy;
  copy.load(memory, region_b);
  EXPECT_TRUE(copy.vmxoff_since_launch());
  EXPECT_EQ(copy.launch(), launch_state::launched);
  memory.write(region_b + vmcs_region::launch, std::uint32_t{3});
  copy.load(memory, region_b);
  EXPECT_FALSE(copy.vmxoff_since_launch());
  EXPECT_EQ(copy.launch(), launch_state::clear);
}

// ---- flags ---------------------------------------------------------------------------------------------------------

TEST(vmx_instruction_flags, say_how_it_ended) {
  EXPECT_EQ(flags_after(0xAD7, kind::succeed), 0x202u);
  EXPECT_EQ(flags_after(0xAD7, kind::fail_invalid), 0x203u);
  EXPECT_EQ(flags_after(0xAD7, kind::fail_valid), 0x242u);
  for (const kind unchanged : {kind::fault_ud, kind::fault_gp, kind::vm_exit, kind::operand_fault})
    EXPECT_EQ(flags_after(0xAD7, unchanged), 0xAD7u);
}

TEST(vmx_instruction_flags, region_addresses) {
  capabilities caps = find_capability_row("cascade_lake_sp")->values;
  EXPECT_TRUE(region_address_ok(caps, 0x3FFF'FFFF'F000));
  EXPECT_FALSE(region_address_ok(caps, 0x4000'0000'0000));
  EXPECT_FALSE(region_address_ok(caps, 0x1800));
  caps.basic |= std::uint64_t{1} << 48;
  EXPECT_TRUE(region_address_ok(caps, 0xFFFF'F000));
  EXPECT_FALSE(region_address_ok(caps, 0x1'0000'0000));
}

}  // namespace
}  // namespace vmxsys::vmx
