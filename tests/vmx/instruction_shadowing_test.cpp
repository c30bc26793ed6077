#include <vmxsys/vmx/instructions/exit_bitmaps.hpp>

#include "instruction_bench.hpp"

namespace vmxsys::vmx {
namespace {

using error = instruction_error;
using kind = outcome_kind;
using test::instruction_bench;

// VMREAD and VMWRITE of a guest that reach the VMCS its link pointer names.
class vmx_shadowing : public testing::Test, public instruction_bench {
 protected:
  vmx_shadowing() { enter_shadowing_guest(); }
  std::uint64_t in_memory(field f) const {
    return memory.read<std::uint64_t>(test::shadow_region + vmcs_region::fields + 8 * slot_of(f));
  }
};

TEST_F(vmx_shadowing, reads_and_writes_the_region_in_memory) {
  ASSERT_TRUE(vmwrite(unit, mode, encoding_of(field::guest_rip), 0x1234));
  EXPECT_EQ(in_memory(field::guest_rip), 0x1234u);
  EXPECT_EQ(vmread(unit, mode, encoding_of(field::guest_rip)).value, 0x1234u);
  EXPECT_NE(state.current->read(field::guest_rip), 0x1234u) << "the controlling VMCS is another";
  EXPECT_EQ(store.find(test::shadow_region), nullptr) << "that does not activate it";
}

TEST_F(vmx_shadowing, in_memory_too_widths_and_halves_are_the_fields) {
  ASSERT_TRUE(vmwrite(unit, mode, encoding_of(field::guest_cs_selector), 0x1'2345));
  EXPECT_EQ(in_memory(field::guest_cs_selector), 0x2345u);
  ASSERT_TRUE(vmwrite(unit, mode, encoding_of(field::tsc_offset), 0x1111'2222'3333'4444));
  ASSERT_TRUE(vmwrite(unit, mode, encoding_of(field::tsc_offset) | 1, 0xAAAA'BBBB));
  EXPECT_EQ(in_memory(field::tsc_offset), 0xAAAA'BBBB'3333'4444u);
  EXPECT_EQ(vmread(unit, mode, encoding_of(field::tsc_offset) | 1).value, 0xAAAA'BBBBu);
  memory.write(test::shadow_region + vmcs_region::fields + 8 * slot_of(field::guest_cs_selector), ~std::uint64_t{0});
  EXPECT_EQ(vmread(unit, mode, encoding_of(field::guest_cs_selector)).value, 0xFFFFu);
}

TEST_F(vmx_shadowing, an_active_shadow_vmcs_is_used_where_it_is) {
  vmcs& shadow = store.activate(test::shadow_region, 0, memory);
  ASSERT_TRUE(vmwrite(unit, mode, encoding_of(field::guest_rip), 0x55));
  EXPECT_EQ(shadow.read(field::guest_rip), 0x55u);
  EXPECT_EQ(in_memory(field::guest_rip), 0u) << "not written back before VMCLEAR";
  shadow.write(field::guest_rsp, 0x66);
  EXPECT_EQ(vmread(unit, mode, encoding_of(field::guest_rsp)).value, 0x66u);
}

TEST_F(vmx_shadowing, errors_go_to_the_controlling_vmcs) {
  store.activate(test::shadow_region, 0, memory);
  caps.misc &= ~(std::uint64_t{1} << 29);
  EXPECT_EQ(vmread(unit, mode, 0x681F).error, error::unsupported_component);
  EXPECT_EQ(state.current->read(field::vm_instruction_error), 12u);
  EXPECT_EQ(vmwrite(unit, mode, encoding_of(field::exit_reason), 1).error, error::vmwrite_read_only);
  EXPECT_EQ(state.current->read(field::vm_instruction_error), 13u);
  EXPECT_EQ(store.find(test::shadow_region)->read(field::vm_instruction_error), 0u);
  EXPECT_EQ(in_memory(field::vm_instruction_error), 0u);
}

TEST_F(vmx_shadowing, with_misc_bit_29_the_exit_information_of_the_shadow_can_be_written) {
  EXPECT_TRUE(vmwrite(unit, mode, encoding_of(field::exit_reason), 18));
  EXPECT_EQ(vmread(unit, mode, encoding_of(field::exit_reason)).value, 18u);
}

TEST_F(vmx_shadowing, without_a_link_pointer_the_guest_sees_vmfailinvalid) {
  set(field::vmcs_link_pointer, no_vmcs);
  set(field::vm_instruction_error, 0);
  EXPECT_EQ(vmread(unit, mode, encoding_of(field::guest_rip)).kind, kind::fail_invalid);
  EXPECT_EQ(vmwrite(unit, mode, encoding_of(field::guest_rip), 1).kind, kind::fail_invalid);
  EXPECT_EQ(state.current->read(field::vm_instruction_error), 0u);
}

TEST_F(vmx_shadowing, each_bit_of_a_bitmap_stops_its_encoding_only) {
  for (const std::uint64_t encoding : {0x0000u, 0x0007u, 0x0008u, 0x2011u, 0x681Eu, 0x7FFFu}) {
    instruction_bench b;
    b.enter_shadowing_guest();
    b.set_bitmap_bit(test::read_bitmap, encoding);
    for (std::uint64_t e = 0; e < 0x8000; ++e) {
      ASSERT_EQ(vmread(b.unit, b.mode, e).kind == kind::vm_exit, e == encoding) << e;
      ASSERT_EQ(vmread_exits(*b.state.current, b.memory, e), e == encoding) << "the guest's instruction table agrees";
    }
    ASSERT_NE(vmwrite(b.unit, b.mode, encoding, 0).kind, kind::vm_exit);
  }
}

TEST_F(vmx_shadowing, exits_come_before_the_cpl_and_the_cpl_before_the_rest) {
  mode.cpl = 3;
  EXPECT_EQ(vmread(unit, mode, encoding_of(field::guest_rip)).kind, kind::fault_gp);
  set_bitmap_bit(test::read_bitmap, encoding_of(field::guest_rip));
  const vmx_outcome outcome = vmread(unit, mode, encoding_of(field::guest_rip));
  EXPECT_EQ(outcome.kind, kind::vm_exit);
  EXPECT_EQ(outcome.reason, exit_reason::vmread);
  EXPECT_EQ(vmwrite(unit, mode, 0x8000, 0).reason, exit_reason::vmwrite);
}

TEST_F(vmx_shadowing, a_fault_of_the_destination_stores_nothing_and_fails_nothing) {
  set(field::vm_instruction_error, 0);
  const vmx_outcome outcome = vmread(unit, mode, encoding_of(field::guest_rip), operand_fault::vm_exit);
  EXPECT_EQ(outcome.kind, kind::operand_fault);
  EXPECT_EQ(outcome.fault, operand_fault::vm_exit) << "an EPT violation of the destination, say";
  EXPECT_EQ(state.current->read(field::vm_instruction_error), 0u);
}

TEST_F(vmx_shadowing, other_instructions_of_the_guest_exit_all_the_same) {
  EXPECT_EQ(vmptrst(unit, mode).reason, exit_reason::vmptrst);
  EXPECT_EQ(vmclear(unit, mode, test::region_b).kind, kind::vm_exit);
  EXPECT_EQ(invept(unit, mode, 1, {}).reason, exit_reason::invept);
  EXPECT_EQ(vmlaunch_basics(state, mode).reason, exit_reason::vmlaunch);
}

}  // namespace
}  // namespace vmxsys::vmx
