#include "instruction_bench.hpp"

namespace vmxsys::vmx {
namespace {

using k = invalidation_kind;
using test::instruction_bench;
using test::legal_eptp;

class vmx_invalidation : public testing::Test, public instruction_bench {
 protected:
  vmx_invalidation() { make_current(test::region_a); }
};

TEST_F(vmx_invalidation, invept_says_what_to_forget) {
  const invalidation_outcome single = invept(unit, mode, 1, {legal_eptp, 0});
  ASSERT_TRUE(single);
  EXPECT_EQ(single.what.kind, k::ept_single_context);
  EXPECT_EQ(single.what.eptp, legal_eptp);
  const invalidation_outcome every = invept(unit, mode, 2, {0xDEAD, 0});
  ASSERT_TRUE(every) << "the EPTP is not looked at";
  EXPECT_EQ(every.what.kind, k::ept_all_contexts);
  EXPECT_EQ(every.what.eptp, 0u);
}

TEST_F(vmx_invalidation, invvpid_says_what_to_forget) {
  const invalidation_outcome address = invvpid(unit, mode, 0, {7, 0x1234'5000});
  ASSERT_TRUE(address);
  EXPECT_EQ(address.what.kind, k::vpid_individual_address);
  EXPECT_EQ(address.what.vpid, 7u);
  EXPECT_EQ(address.what.linear_address, 0x1234'5000u);
  const invalidation_outcome single = invvpid(unit, mode, 1, {0xFFFF, 1});
  EXPECT_EQ(single.what.kind, k::vpid_single_context);
  EXPECT_EQ(single.what.vpid, 0xFFFFu);
  EXPECT_EQ(single.what.linear_address, 0u);
  const invalidation_outcome every = invvpid(unit, mode, 2, {5, 0});
  EXPECT_EQ(every.what.kind, k::vpid_all_contexts);
  EXPECT_EQ(every.what.vpid, 0u);
  EXPECT_EQ(invvpid(unit, mode, 3, {5, 0}).what.kind, k::vpid_single_retaining_globals);
}

TEST_F(vmx_invalidation, nothing_is_forgotten_on_failure) {
  EXPECT_EQ(invept(unit, mode, 1, {0, 0}).what.kind, k::none);
  EXPECT_EQ(invvpid(unit, mode, 1, {0, 0}).what.kind, k::none);
  EXPECT_EQ(invvpid(unit, mode, 1, {1, 0}, operand_fault::page_fault).what.kind, k::none);
}

TEST_F(vmx_invalidation, processors_without_ept_do_not_know_them) {
  for (const char* old : {"merom", "core2"}) {
    caps = find_capability_row(old)->values;
    EXPECT_EQ(invept(unit, mode, 2, {}).kind, outcome_kind::fault_ud) << old;
    EXPECT_EQ(invvpid(unit, mode, 2, {}).kind, outcome_kind::fault_ud) << old;
  }
  caps = find_capability_row("nehalem")->values;
  EXPECT_TRUE(invept(unit, mode, 2, {}));
  EXPECT_TRUE(invvpid(unit, mode, 2, {}));
}

// EPTP switching.
class vmx_vm_function : public testing::Test, public instruction_bench {
 protected:
  vmx_vm_function() { enter_switching_guest(); }
  static constexpr std::uint64_t other = legal_eptp + 0x1000;
};

TEST_F(vmx_vm_function, switches_the_eptp_and_records_its_index) {
  memory.write(test::eptp_list + 8 * 3, other);
  ASSERT_TRUE(vmfunc(unit, mode, 0, 3));
  EXPECT_EQ(state.current->read(field::ept_pointer), other);
  EXPECT_EQ(state.current->read(field::eptp_index), 3u);
  caps.secondary &= ~(std::uint64_t{secondary::ept_violation_ve} << 32);
  ASSERT_TRUE(vmfunc(unit, mode, 0, 511));
  EXPECT_EQ(state.current->read(field::ept_pointer), legal_eptp);
  EXPECT_EQ(state.current->read(field::eptp_index), 3u) << "there is no such field now";
  EXPECT_EQ(state.mode, operation::non_root);
}

TEST_F(vmx_vm_function, works_at_every_cpl_and_in_every_mode) {
  for (unsigned cpl = 0; cpl < 4; ++cpl) {
    mode.cpl = cpl;
    EXPECT_TRUE(vmfunc(unit, mode, 0, 511)) << cpl;
  }
  mode.virtual_8086 = true;
  EXPECT_TRUE(vmfunc(unit, mode, 0, 0));
  mode = {};
  mode.code_64_bit = false;
  EXPECT_TRUE(vmfunc(unit, mode, 0, 0));
  mode.cr0 = 0x30;
  EXPECT_TRUE(vmfunc(unit, mode, 0, 0)) << "an unrestricted guest in real mode";
}

TEST_F(vmx_vm_function, exits_leave_the_eptp_alone) {
  memory.write(test::eptp_list, other | 0x800);
  const vmx_outcome outcome = vmfunc(unit, mode, 0, 0);
  EXPECT_EQ(outcome.kind, outcome_kind::vm_exit);
  EXPECT_EQ(outcome.reason, exit_reason::vmfunc);
  EXPECT_EQ(state.current->read(field::ept_pointer), legal_eptp);
}

TEST_F(vmx_vm_function, the_next_entry_checks_the_new_eptp) {
  state.current->note_checks_passed(1);
  memory.write(test::eptp_list, other);
  ASSERT_TRUE(vmfunc(unit, mode, 0, 0));
  EXPECT_FALSE(state.current->checks_hold(1));
}

}  // namespace
}  // namespace vmxsys::vmx
