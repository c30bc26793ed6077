#include <set>
#include <string>
#include <vector>

#include <vmxsys/vmx/transition/entry.hpp>

#include "instruction_bench.hpp"
#include "row_tests.hpp"

// Every VM-instruction error number: the instruction that ends with it, and how.
namespace vmxsys::vmx {
namespace {

using error = instruction_error;
using test::instruction_bench;
using test::region_a;
using test::region_b;
using test::vmxon_region;

class vmx_instruction_error : public testing::Test, public instruction_bench {
 protected:
  vmx_instruction_error() {
    caps.misc &= ~(std::uint64_t{1} << 29);  // VM-exit information fields are read-only
    make_current(region_a);
    for (const auto& [f, value] : minimal_vmcs_fields(caps)) set(f, value);
  }
  void expect_number(const vmx_outcome& outcome, unsigned number) {
    EXPECT_EQ(outcome.kind, outcome_kind::fail_valid);
    EXPECT_EQ(static_cast<unsigned>(outcome.error), number) << describe_error(number);
    EXPECT_EQ(state.current->read(field::vm_instruction_error), number);
  }
  void expect_entry_fails(entry_instruction instruction, unsigned number) {
    entry_context context{caps, memory};
    const entry_result r = check_entry(instruction, state, mode, context);
    EXPECT_EQ(r.outcome, entry_outcome::fail_valid);
    EXPECT_EQ(static_cast<unsigned>(r.error), number) << describe_error(number);
    EXPECT_EQ(state.current->read(field::vm_instruction_error), number);
  }
};

TEST_F(vmx_instruction_error, number_1_vmcall) { expect_number(vmcall(unit, mode), 1); }

TEST_F(vmx_instruction_error, number_2_vmclear_address) {
  expect_number(vmclear(unit, mode, region_b + 1), 2);
  expect_number(vmclear(unit, mode, std::uint64_t{1} << 46), 2);
}

TEST_F(vmx_instruction_error, number_3_vmclear_vmxon_pointer) { expect_number(vmclear(unit, mode, vmxon_region), 3); }

TEST_F(vmx_instruction_error, number_4_vmlaunch_launched) {
  state.current->set_launch(launch_state::launched);
  expect_number(vmlaunch_basics(state, mode), 4);
  expect_entry_fails(entry_instruction::vmlaunch, 4);
}

TEST_F(vmx_instruction_error, number_5_vmresume_clear) {
  expect_number(vmresume_basics(state, mode), 5);
  expect_entry_fails(entry_instruction::vmresume, 5);
}

TEST_F(vmx_instruction_error, number_6_vmresume_after_vmxoff) {
  state.current->set_launch(launch_state::launched);
  ASSERT_TRUE(vmxoff(unit, mode));
  ASSERT_TRUE(vmxon(unit, mode, vmxon_region));
  ASSERT_TRUE(vmptrld(unit, mode, region_a));
  expect_number(vmresume_basics(state, mode), 6);
}

TEST_F(vmx_instruction_error, number_7_control_fields) {
  set(field::pin_based_controls, 0);
  expect_entry_fails(entry_instruction::vmlaunch, 7);
}

TEST_F(vmx_instruction_error, number_8_host_state) {
  set(field::host_tr_selector, 0);
  expect_entry_fails(entry_instruction::vmlaunch, 8);
}

TEST_F(vmx_instruction_error, number_9_vmptrld_address) {
  expect_number(vmptrld(unit, mode, region_b + 1), 9);
  expect_number(vmptrld(unit, mode, std::uint64_t{1} << 46), 9);
}

TEST_F(vmx_instruction_error, number_10_vmptrld_vmxon_pointer) { expect_number(vmptrld(unit, mode, vmxon_region), 10); }

TEST_F(vmx_instruction_error, number_11_vmptrld_revision) {
  memory.write(region_b, caps.revision() + 1);
  expect_number(vmptrld(unit, mode, region_b), 11);
}

TEST_F(vmx_instruction_error, number_12_unsupported_field) {
  expect_number(vmread(unit, mode, 0xFFFF), 12);
  expect_number(vmwrite(unit, mode, 0x681F, 0), 12);
}

TEST_F(vmx_instruction_error, number_13_read_only_field) {
  expect_number(vmwrite(unit, mode, encoding_of(field::exit_reason), 0), 13);
  EXPECT_TRUE(vmread(unit, mode, encoding_of(field::exit_reason)));
}

TEST_F(vmx_instruction_error, number_15_vmxon) { expect_number(vmxon(unit, mode, vmxon_region), 15); }

TEST_F(vmx_instruction_error, number_26_mov_ss) {
  mode.mov_ss_blocking = true;
  expect_number(vmlaunch_basics(state, mode), 26);
  expect_entry_fails(entry_instruction::vmresume, 26);  // before the launch state
}

TEST_F(vmx_instruction_error, number_28_invalidation) {
  expect_number(invept(unit, mode, 0, {}), 28);
  expect_number(invvpid(unit, mode, 0, {}), 28);
}

// The numbers of the dual-monitor treatment, which is not modelled.
TEST_F(vmx_instruction_error, numbers_16_to_25_have_no_check) {
  for (std::size_t n = 0; n < vmx_instruction_table_size(); ++n)
    for (const instruction_check& check : vmx_instruction_table()[n]) {
      const auto number = static_cast<unsigned>(check.error);
      EXPECT_TRUE(number < 16 || number > 25) << check.name;
    }
  for (unsigned number = 16; number <= 25; ++number)
    if (const instruction_error_info* row = find_instruction_error(number)) EXPECT_FALSE(row->reachable) << number;
}

TEST_F(vmx_instruction_error, failures_with_errors_keep_the_last_number) {
  vmcall(unit, mode);
  mode.cpl = 3;
  EXPECT_EQ(vmclear(unit, mode, 1).kind, outcome_kind::fault_gp);
  EXPECT_EQ(state.current->read(field::vm_instruction_error), 1u) << "a fault records nothing";
}

TEST(vmx_instruction_errors, table_is_in_order_and_describes) {
  const std::set<unsigned> unused{0, 14, 21, 27, 29, 100};
  unsigned last = 0;
  for (std::size_t n = 0; n < instruction_error_table_size(); ++n) {
    const instruction_error_info& row = instruction_error_table()[n];
    const auto number = static_cast<unsigned>(row.error);
    EXPECT_GT(number, last);
    last = number;
    EXPECT_EQ(find_instruction_error(number), &row);
    EXPECT_STREQ(describe_error(number), row.meaning);
    EXPECT_EQ(std::string{row.section}.rfind("SDM Vol. 3C §", 0), 0u) << row.name;
  }
  for (unsigned n = 0; n <= 29; ++n) EXPECT_EQ(describe_error(n) == nullptr, unused.count(n) != 0) << n;
}

TEST(vmx_instruction_rows, every_error_number_has_a_test) {
  std::vector<std::string> rows;
  for (std::size_t n = 0; n < instruction_error_table_size(); ++n) rows.emplace_back(instruction_error_table()[n].name);
  const std::string suite = "vmx_instruction_error.";
  testing_rows::expect_rows_tested(
      rows, {{"vmcall_in_root", suite + "number_1_vmcall"},
             {"vmclear_invalid_address", suite + "number_2_vmclear_address"},
             {"vmclear_vmxon_pointer", suite + "number_3_vmclear_vmxon_pointer"},
             {"vmlaunch_not_clear", suite + "number_4_vmlaunch_launched"},
             {"vmresume_not_launched", suite + "number_5_vmresume_clear"},
             {"vmresume_after_vmxoff", suite + "number_6_vmresume_after_vmxoff"},
             {"entry_invalid_control_fields", suite + "number_7_control_fields"},
             {"entry_invalid_host_state", suite + "number_8_host_state"},
             {"vmptrld_invalid_address", suite + "number_9_vmptrld_address"},
             {"vmptrld_vmxon_pointer", suite + "number_10_vmptrld_vmxon_pointer"},
             {"vmptrld_wrong_revision", suite + "number_11_vmptrld_revision"},
             {"unsupported_component", suite + "number_12_unsupported_field"},
             {"vmwrite_read_only", suite + "number_13_read_only_field"},
             {"vmxon_in_root", suite + "number_15_vmxon"},
             {"entry_invalid_executive_vmcs", suite + "numbers_16_to_25_have_no_check"},
             {"entry_executive_vmcs_not_launched", suite + "numbers_16_to_25_have_no_check"},
             {"entry_executive_vmcs_not_vmxon_pointer", suite + "numbers_16_to_25_have_no_check"},
             {"vmcall_vmcs_not_clear", suite + "numbers_16_to_25_have_no_check"},
             {"vmcall_invalid_exit_controls", suite + "numbers_16_to_25_have_no_check"},
             {"vmcall_wrong_mseg_revision", suite + "numbers_16_to_25_have_no_check"},
             {"vmxoff_dual_monitor", suite + "numbers_16_to_25_have_no_check"},
             {"vmcall_invalid_smm_features", suite + "numbers_16_to_25_have_no_check"},
             {"entry_invalid_executive_controls", suite + "numbers_16_to_25_have_no_check"},
             {"entry_blocked_by_mov_ss", suite + "number_26_mov_ss"},
             {"invalid_invalidation_operand", suite + "number_28_invalidation"}});
}

}  // namespace
}  // namespace vmxsys::vmx
