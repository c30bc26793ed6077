#include <gtest/gtest.h>
#include <random>
#include <string>

#include <vmxsys/vmx/vmcs/active_vmcs_store.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "flat_memory.hpp"

namespace vmxsys::vmx {
namespace {

TEST(vmx_vmcs, writes_truncate_to_the_width) {
  vmcs v{4};
  for (const field_info& row : field_table) {
    v.write(row.encoding, 0xFEDC'BA98'7654'3210u);
    EXPECT_EQ(v.read(row.encoding), 0xFEDC'BA98'7654'3210u & mask_of(row.width)) << row.name;
  }
}

TEST(vmx_vmcs, high_components_are_the_upper_half) {
  vmcs v{4};
  v.write(field::tsc_offset, 0x1111'2222'3333'4444u);
  EXPECT_EQ(v.read_component(0x2011), 0x1111'2222u);
  v.write_component(0x2011, 0xAAAA'BBBBu);
  EXPECT_EQ(v.read(field::tsc_offset), 0xAAAA'BBBB'3333'4444u);
  v.write_component(0x2010, 5);
  EXPECT_EQ(v.read(field::tsc_offset), 5u);
}

TEST(vmx_vmcs, store_then_load_gives_the_same_values) {
  std::mt19937_64 random{1};
  test::flat_memory memory;
  vmcs v{0x1234, true};
  v.set_launch(launch_state::launched);
  v.set_abort_indicator(6);
  for (const field_info& row : field_table) v.write(row.encoding, random());
  v.store(memory, 0x7000);
  EXPECT_EQ(memory.read<std::uint32_t>(0x7000), 0x8000'1234u);
  EXPECT_EQ(memory.read<std::uint32_t>(0x7004), 6u);
  EXPECT_EQ(memory.read<std::uint32_t>(0x7008), 1u);
  EXPECT_EQ(memory.read<std::uint64_t>(0x7000 + 16 + 8 * slot_of(field::guest_rip)), v.read(field::guest_rip));

  // A region may be copied (after VMCLEAR) and the copy loaded.
  unsigned char bytes[4096];
  memory.read(0x7000, bytes, sizeof bytes);
  memory.write(0x9000, bytes, sizeof bytes);
  vmcs copy;
  copy.load(memory, 0x9000);
  EXPECT_EQ(copy.revision(), 0x1234u);
  EXPECT_TRUE(copy.is_shadow());
  EXPECT_EQ(copy.launch(), launch_state::launched);
  EXPECT_EQ(copy.abort_indicator(), 6u);
  for (const field_info& row : field_table) EXPECT_EQ(copy.read(row.encoding), v.read(row.encoding)) << row.name;
}

TEST(vmx_vmcs, loading_garbage_truncates) {
  test::flat_memory memory;
  memory.write(0x1000 + 16 + 8 * slot_of(field::guest_cs_selector), ~std::uint64_t{0});
  vmcs v;
  v.load(memory, 0x1000);
  EXPECT_EQ(v.read(field::guest_cs_selector), 0xFFFFu);
}

TEST(vmx_vmcs, active_store_counts_a_second_processor) {
  test::flat_memory memory;
  active_vmcs_store store;
  vmcs& a = store.activate(0x1000, 0, memory);
  EXPECT_EQ(&store.activate(0x1000, 0, memory), &a);
  EXPECT_EQ(store.violations(), 0u);
  store.activate(0x1000, 1, memory);
  EXPECT_EQ(store.violations(), 1u);
  store.deactivate(0x1000);
  EXPECT_EQ(store.find(0x1000), nullptr);
}

TEST(vmx_exit, recording_and_reading_back) {
  vmcs v{4};
  v.write(field::vm_entry_interruption_information, 0x8000'0030u);
  exit_info exit;
  exit.reason = exit_reason::ept_violation;
  exit.qualification = 0x181;
  exit.idt_vectoring_information = 0x8000'0030;
  exit.instruction_length = 3;
  exit.guest_linear_address = 0xFFFF'8000'0000'1000;
  exit.guest_physical_address = 0x1234'5000;
  record_exit(v, exit);
  EXPECT_EQ(v.read(field::exit_reason), 48u);
  EXPECT_EQ(v.read(field::vm_entry_interruption_information), 0x30u) << "the valid bit is cleared, the rest stays";
  const exit_info back = read_exit(v);
  EXPECT_EQ(back.reason, exit.reason);
  EXPECT_EQ(back.qualification, exit.qualification);
  EXPECT_EQ(back.idt_vectoring_information, exit.idt_vectoring_information);
  EXPECT_EQ(back.guest_physical_address, exit.guest_physical_address);
  EXPECT_FALSE(back.entry_failure);
}

TEST(vmx_exit, failed_entry_writes_reason_and_qualification_only) {
  vmcs v{4};
  v.write(field::vm_entry_interruption_information, 0x8000'0030u);
  v.write(field::vm_exit_instruction_length, 9);
  exit_info exit;
  exit.reason = exit_reason::entry_failure_guest_state;
  exit.qualification = 4;
  exit.entry_failure = true;
  record_exit(v, exit);
  EXPECT_EQ(v.read(field::exit_reason), 0x8000'0021u);
  EXPECT_EQ(v.read(field::exit_qualification), 4u);
  EXPECT_EQ(v.read(field::vm_exit_instruction_length), 9u);
  EXPECT_EQ(v.read(field::vm_entry_interruption_information), 0x8000'0030u);
}

TEST(vmx_exit, reason_table) {
  std::uint32_t last = 0;
  for (std::size_t i = 0; i < exit_reason_table_size(); ++i) {
    const exit_reason_info& row = exit_reason_table()[i];
    const auto number = static_cast<std::uint32_t>(row.reason);
    EXPECT_TRUE(i == 0 || number > last);
    last = number;
    EXPECT_EQ(find_exit_reason(number), &row);
  }
  for (const std::uint32_t reserved : {35u, 38u, 42u, 71u, 82u, 83u, 86u, 1000u})
    EXPECT_EQ(find_exit_reason(reserved), nullptr) << reserved;
  EXPECT_STREQ(kvm_name_of(exit_reason::pause), "PAUSE_INSTRUCTION");
  EXPECT_STREQ(kvm_name_of(exit_reason::external_interrupt), "EXTERNAL_INTERRUPT");
  EXPECT_EQ(kvm_name_of(exit_reason::seamcall), nullptr);
  EXPECT_EQ(kvm_name_of(exit_reason::other_smi), nullptr);
  EXPECT_EQ(class_of(exit_reason::pause), exit_class::fault);
  for (const exit_reason trap : {exit_reason::tpr_below_threshold, exit_reason::virtualized_eoi,
                                 exit_reason::apic_write, exit_reason::bus_lock, exit_reason::monitor_trap_flag})
    EXPECT_EQ(class_of(trap), exit_class::trap);
}

}  // namespace
}  // namespace vmxsys::vmx
