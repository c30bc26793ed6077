#include <vmxsys/vmx/active_vmcs_store.hpp>
#include <vmxsys/vmx/entry.hpp>
#include <vmxsys/vmx/event.hpp>
#include <vmxsys/vmx/instruction.hpp>
#include <vmxsys/vmx/minimal_vmcs.hpp>

#include <gtest/gtest.h>

#include "flat_memory.hpp"
#include <set>

namespace vmxsys::vmx {
namespace {

using kind = outcome_kind;
using error = instruction_error;

constexpr physical_address vmxon_region = 0x1000;
constexpr physical_address region_a = 0x2000;
constexpr physical_address region_b = 0x3000;
constexpr physical_address too_wide = physical_address{1} << 46;

class vmx_instruction : public testing::Test {
 protected:
  vmx_instruction() {
    for (const physical_address region : {vmxon_region, region_a, region_b}) memory.write(region, caps.revision());
  }
  void enter_root() { ASSERT_TRUE(vmxon(unit, mode, vmxon_region)); }
  void load(physical_address region) {
    ASSERT_TRUE(vmclear(unit, mode, region));
    ASSERT_TRUE(vmptrld(unit, mode, region));
  }
  std::uint64_t recorded_error() const { return state.current->read(field::vm_instruction_error); }
  void expect_fails(const vmx_outcome& ended, instruction_error number) const {
    EXPECT_EQ(ended.kind, outcome_kind::fail_valid);
    EXPECT_EQ(ended.error, number) << describe_error(static_cast<unsigned>(number));
    EXPECT_EQ(recorded_error(), static_cast<std::uint64_t>(number));
  }

  capabilities caps = find_capability_row("cascade_lake_sp")->values;
  test::flat_memory memory;
  active_vmcs_store store;
  vmx_state state;
  execution_mode mode;
  vmx_unit unit{state, caps, memory, store, 0};
};

TEST_F(vmx_instruction, vmxon_checks_in_order) {
  mode.cr4 = 0x20;
  EXPECT_EQ(vmxon(unit, mode, vmxon_region).kind, kind::fault_ud) << "CR4.VMXE is 0";
  mode = {};
  mode.cr0 = 0x8000'0030;
  EXPECT_EQ(vmxon(unit, mode, vmxon_region).kind, kind::fault_ud) << "real mode";
  mode = {};
  mode.code_64_bit = false;
  EXPECT_EQ(vmxon(unit, mode, vmxon_region).kind, kind::fault_ud) << "compatibility mode";
  mode = {};
  mode.cpl = 3;
  EXPECT_EQ(vmxon(unit, mode, vmxon_region).kind, kind::fault_gp);
  mode = {};
  mode.cr0 = 0x8000'0011;
  EXPECT_EQ(vmxon(unit, mode, vmxon_region).kind, kind::fault_gp) << "CR0.NE is 0";
  mode = {};
  mode.a20_masked = true;
  EXPECT_EQ(vmxon(unit, mode, vmxon_region).kind, kind::fault_gp);
  mode = {};
  state.feature_control = feature_control_bits::vmx_outside_smx;
  EXPECT_EQ(vmxon(unit, mode, vmxon_region).kind, kind::fault_gp) << "not locked";
  state.feature_control = feature_control_bits::lock | feature_control_bits::vmx_inside_smx;
  EXPECT_EQ(vmxon(unit, mode, vmxon_region).kind, kind::fault_gp) << "not enabled outside SMX";
  mode.inside_smx = true;
  EXPECT_EQ(vmxon(unit, mode, vmxon_region).kind, kind::succeed);
}

TEST_F(vmx_instruction, vmxon_region_checks) {
  EXPECT_EQ(vmxon(unit, mode, vmxon_region + 8).kind, kind::fail_invalid);
  EXPECT_EQ(vmxon(unit, mode, too_wide).kind, kind::fail_invalid);
  memory.write(vmxon_region, caps.revision() + 1);
  EXPECT_EQ(vmxon(unit, mode, vmxon_region).kind, kind::fail_invalid);
  memory.write(vmxon_region, caps.revision() | vmcs_region::shadow_bit);
  EXPECT_EQ(vmxon(unit, mode, vmxon_region).kind, kind::fail_invalid);
  EXPECT_EQ(state.mode, operation::off);
  caps.basic |= std::uint64_t{1} << 48;
  memory.write(physical_address{1} << 32, caps.revision());
  EXPECT_EQ(vmxon(unit, mode, physical_address{1} << 32).kind, kind::fail_invalid) << "32-bit addresses only";
}

TEST_F(vmx_instruction, outside_vmx_operation_all_are_undefined) {
  EXPECT_EQ(vmxoff(unit, mode).kind, kind::fault_ud);
  EXPECT_EQ(vmclear(unit, mode, region_a).kind, kind::fault_ud);
  EXPECT_EQ(vmptrld(unit, mode, region_a).kind, kind::fault_ud);
  EXPECT_EQ(vmptrst(unit, mode).kind, kind::fault_ud);
  EXPECT_EQ(vmread(unit, mode, 0).kind, kind::fault_ud);
  EXPECT_EQ(vmwrite(unit, mode, 0, 0).kind, kind::fault_ud);
  EXPECT_EQ(vmcall(unit, mode).kind, kind::fault_ud);
}

TEST_F(vmx_instruction, in_the_guest_all_exit_even_at_cpl_3) {
  enter_root();
  state.mode = operation::non_root;
  mode.cpl = 3;
  const auto reason = [](const vmx_outcome& o) {
    EXPECT_EQ(o.kind, kind::vm_exit);
    return o.reason;
  };
  EXPECT_EQ(reason(vmxon(unit, mode, vmxon_region)), exit_reason::vmxon);
  EXPECT_EQ(reason(vmxoff(unit, mode)), exit_reason::vmxoff);
  EXPECT_EQ(reason(vmclear(unit, mode, region_a)), exit_reason::vmclear);
  EXPECT_EQ(reason(vmptrld(unit, mode, region_a)), exit_reason::vmptrld);
  EXPECT_EQ(reason(vmptrst(unit, mode)), exit_reason::vmptrst);
  EXPECT_EQ(reason(vmread(unit, mode, 0)), exit_reason::vmread);
  EXPECT_EQ(reason(vmwrite(unit, mode, 0, 0)), exit_reason::vmwrite);
  EXPECT_EQ(reason(vmcall(unit, mode)), exit_reason::vmcall);
  EXPECT_EQ(check_entry_basics(entry_instruction::vmlaunch, state, mode).reason, exit_reason::vmlaunch);
  EXPECT_EQ(check_entry_basics(entry_instruction::vmresume, state, mode).outcome, entry_outcome::vm_exit);
  mode.virtual_8086 = true;
  EXPECT_EQ(reason(vmcall(unit, mode)), exit_reason::vmcall) << "VMCALL exits in any mode";
  EXPECT_EQ(vmread(unit, mode, 0).kind, kind::fault_ud);
}

TEST_F(vmx_instruction, in_root_operation_cpl_3_faults) {
  enter_root();
  mode.cpl = 3;
  EXPECT_EQ(vmxon(unit, mode, vmxon_region).kind, kind::fault_gp);
  EXPECT_EQ(vmxoff(unit, mode).kind, kind::fault_gp);
  EXPECT_EQ(vmclear(unit, mode, region_a).kind, kind::fault_gp);
  EXPECT_EQ(vmptrld(unit, mode, region_a).kind, kind::fault_gp);
  EXPECT_EQ(vmptrst(unit, mode).kind, kind::fault_gp);
  EXPECT_EQ(vmread(unit, mode, 0).kind, kind::fault_gp);
  EXPECT_EQ(vmwrite(unit, mode, 0, 0).kind, kind::fault_gp);
  EXPECT_EQ(vmcall(unit, mode).kind, kind::fault_gp);
}

TEST_F(vmx_instruction, without_a_current_vmcs_failures_are_invalid) {
  enter_root();
  EXPECT_EQ(vmxon(unit, mode, vmxon_region).kind, kind::fail_invalid);
  EXPECT_EQ(vmcall(unit, mode).kind, kind::fail_invalid);
  EXPECT_EQ(vmclear(unit, mode, 1).kind, kind::fail_invalid);
  EXPECT_EQ(vmptrld(unit, mode, vmxon_region).kind, kind::fail_invalid);
  EXPECT_EQ(vmread(unit, mode, 0xFFFF).kind, kind::fail_invalid);
  EXPECT_EQ(vmwrite(unit, mode, 0xFFFF, 0).kind, kind::fail_invalid);
  EXPECT_EQ(vmptrst(unit, mode).value, no_vmcs);
}

TEST_F(vmx_instruction, every_error_number_of_these_instructions) {
  caps.misc &= ~(std::uint64_t{1} << 29);
  enter_root();
  load(region_a);
  expect_fails(vmcall(unit, mode), error::vmcall_in_root);
  expect_fails(vmclear(unit, mode, region_b + 1), error::vmclear_invalid_address);
  expect_fails(vmclear(unit, mode, too_wide), error::vmclear_invalid_address);
  expect_fails(vmclear(unit, mode, vmxon_region), error::vmclear_vmxon_pointer);
  expect_fails(vmptrld(unit, mode, region_b + 1), error::vmptrld_invalid_address);
  expect_fails(vmptrld(unit, mode, vmxon_region), error::vmptrld_vmxon_pointer);
  memory.write(region_b, caps.revision() + 1);
  expect_fails(vmptrld(unit, mode, region_b), error::vmptrld_wrong_revision);
  expect_fails(vmread(unit, mode, 0xFFFF), error::unsupported_component);
  expect_fails(vmread(unit, mode, std::uint64_t{1} << 32 | 0x681E), error::unsupported_component);
  expect_fails(vmwrite(unit, mode, 0x681F, 0), error::unsupported_component);
  expect_fails(vmwrite(unit, mode, encoding_of(field::exit_reason), 0), error::vmwrite_read_only);
  expect_fails(vmxon(unit, mode, vmxon_region), error::vmxon_in_root);
}

TEST_F(vmx_instruction, every_error_number_of_vm_entry) {
  enter_root();
  load(region_a);
  for (const auto& [f, value] : minimal_vmcs_fields(caps)) ASSERT_TRUE(vmwrite(unit, mode, encoding_of(f), value));
  entry_context context{caps, memory};
  const auto error_of = [&](entry_instruction instruction) {
    const entry_result r = check_entry(instruction, state, mode, context);
    EXPECT_EQ(r.outcome, entry_outcome::fail_valid);
    EXPECT_EQ(recorded_error(), std::uint64_t(r.error));
    return r.error;
  };
  EXPECT_EQ(error_of(entry_instruction::vmresume), error::vmresume_not_launched);
  ASSERT_TRUE(check_entry(entry_instruction::vmlaunch, state, mode, context));
  complete_entry(entry_instruction::vmlaunch, state);
  EXPECT_EQ(state.mode, operation::non_root);
  state.mode = operation::root;
  EXPECT_EQ(error_of(entry_instruction::vmlaunch), error::vmlaunch_not_clear);
  EXPECT_TRUE(check_entry(entry_instruction::vmresume, state, mode, context));

  mode.mov_ss_blocking = true;
  EXPECT_EQ(error_of(entry_instruction::vmlaunch), error::entry_blocked_by_mov_ss) << "before the launch state";
  mode.mov_ss_blocking = false;
  vmwrite(unit, mode, encoding_of(field::host_tr_selector), 0);
  EXPECT_EQ(error_of(entry_instruction::vmresume), error::entry_invalid_host_state);
  vmwrite(unit, mode, encoding_of(field::pin_based_controls), 0);
  EXPECT_EQ(error_of(entry_instruction::vmresume), error::entry_invalid_control_fields);
  EXPECT_EQ(error_of(entry_instruction::vmlaunch), error::vmlaunch_not_clear) << "before the fields";
}

TEST_F(vmx_instruction, vm_entry_basics_in_strict_order) {
  const auto outcome = [&] { return check_entry_basics(entry_instruction::vmlaunch, state, mode).outcome; };
  mode.cpl = 3;
  mode.mov_ss_blocking = true;
  EXPECT_EQ(outcome(), entry_outcome::fault_ud);
  mode.cpl = 0;
  enter_root();
  EXPECT_EQ(outcome(), entry_outcome::fail_invalid) << "no current VMCS beats MOV SS";
  mode.cpl = 3;
  EXPECT_EQ(outcome(), entry_outcome::fault_gp);
  mode = {};
  memory.write(region_a, caps.revision() | vmcs_region::shadow_bit);
  load(region_a);
  mode.mov_ss_blocking = true;
  EXPECT_EQ(outcome(), entry_outcome::fail_invalid) << "a shadow VMCS beats MOV SS";
}

TEST_F(vmx_instruction, shadow_vmcs_needs_vmcs_shadowing) {
  enter_root();
  load(region_b);
  memory.write(region_a, caps.revision() | vmcs_region::shadow_bit);
  EXPECT_TRUE(vmptrld(unit, mode, region_a));
  caps.secondary &= ~(std::uint64_t{1} << (32 + 14));
  load(region_b);
  expect_fails(vmptrld(unit, mode, region_a), error::vmptrld_wrong_revision);
}

TEST_F(vmx_instruction, vmclear_writes_back_and_clears) {
  enter_root();
  load(region_a);
  ASSERT_TRUE(vmwrite(unit, mode, encoding_of(field::guest_rip), 0x1234));
  state.current->set_launch(launch_state::launched);
  ASSERT_TRUE(vmptrld(unit, mode, region_b));
  ASSERT_TRUE(vmclear(unit, mode, region_a)) << "not current, but active";
  EXPECT_EQ(state.current_vmcs, region_b);
  ASSERT_TRUE(vmptrld(unit, mode, region_a));
  EXPECT_EQ(vmread(unit, mode, encoding_of(field::guest_rip)).value, 0x1234u);
  EXPECT_EQ(state.current->launch(), launch_state::clear);
  ASSERT_TRUE(vmclear(unit, mode, region_a));
  EXPECT_EQ(vmptrst(unit, mode).value, no_vmcs);
  EXPECT_EQ(state.current, nullptr);
}

TEST_F(vmx_instruction, success_leaves_the_error_field_alone) {
  enter_root();
  load(region_a);
  vmcall(unit, mode);
  EXPECT_TRUE(vmwrite(unit, mode, encoding_of(field::guest_rip), 1));
  EXPECT_EQ(vmread(unit, mode, encoding_of(field::vm_instruction_error)).value, 1u);
}

TEST_F(vmx_instruction, fields_of_missing_features_are_unsupported) {
  caps = find_capability_row("nehalem")->values;
  memory.write(vmxon_region, caps.revision());
  memory.write(region_a, caps.revision());
  enter_root();
  load(region_a);
  expect_fails(vmread(unit, mode, encoding_of(field::ple_gap)), error::unsupported_component);
  EXPECT_TRUE(vmread(unit, mode, encoding_of(field::ept_pointer)));
}

TEST_F(vmx_instruction, high_access_to_64_bit_fields) {
  enter_root();
  load(region_a);
  ASSERT_TRUE(vmwrite(unit, mode, 0x2010, 0x1111'2222'3333'4444));
  EXPECT_EQ(vmread(unit, mode, 0x2011).value, 0x1111'2222u);
}

TEST_F(vmx_instruction, vmxoff_leaves_and_keeps_the_latched_init) {
  enter_root();
  load(region_a);
  state.latched_init = true;
  EXPECT_TRUE(vmxoff(unit, mode));
  EXPECT_EQ(state.mode, operation::off);
  EXPECT_TRUE(state.latched_init);
  EXPECT_FALSE(state.has_current());
}

TEST(vmx_instruction_flags, say_how_it_ended) {
  EXPECT_EQ(flags_after(0xAD7, kind::succeed), 0x202u);
  EXPECT_EQ(flags_after(0xAD7, kind::fail_invalid), 0x203u);
  EXPECT_EQ(flags_after(0xAD7, kind::fail_valid), 0x242u);
  EXPECT_EQ(flags_after(0xAD7, kind::fault_gp), 0xAD7u);
}

TEST(vmx_instruction_errors, are_described_except_the_unused_numbers) {
  const std::set<unsigned> unused{0, 14, 21, 27, 29, 100};
  for (unsigned n = 0; n <= 28; ++n) EXPECT_EQ(describe_error(n) == nullptr, unused.count(n) != 0) << n;
  EXPECT_EQ(describe_error(29), nullptr);
}

}  // namespace
}  // namespace vmxsys::vmx
