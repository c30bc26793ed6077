#include <gtest/gtest.h>
#include <map>
#include <vector>

#include <vmxsys/vmx/transition/msr_list.hpp>

#include "flat_memory.hpp"

namespace vmxsys::vmx {
namespace {

/// Knows some MSRs; notes the order of accesses.
class known_msrs final : public msr_interface {
 public:
  bool read_msr(std::uint32_t msr, std::uint64_t& value) override {
    const auto found = values.find(msr);
    if (found == values.end()) return false;
    accesses.push_back(msr);
    value = found->second;
    return true;
  }
  bool write_msr(std::uint32_t msr, std::uint64_t value) override {
    if (values.count(msr) == 0 || value == poison) return false;
    accesses.push_back(msr);
    values[msr] = value;
    return true;
  }
  static constexpr std::uint64_t poison = 0xBAD;
  std::map<std::uint32_t, std::uint64_t> values;
  std::vector<std::uint32_t> accesses;
};

constexpr physical_address list = 0x8000;

class vmx_msr_list : public ::testing::Test {
 protected:
  void put(unsigned n, std::uint32_t index, std::uint64_t value = 0, std::uint32_t reserved = 0) {
    memory.write(list + 16 * n, index);
    memory.write(list + 16 * n + 4, reserved);
    memory.write(list + 16 * n + 8, value);
    if (msrs.values.count(index) == 0) msrs.values[index] = 0x1000 + index;
  }
  msr_list_result store(std::uint32_t count) { return store_msrs(memory, list, count, msrs, caps, options); }
  msr_list_result load(std::uint32_t count) { return load_msrs(memory, list, count, msrs, caps, options); }
  std::uint64_t value(unsigned n) const { return memory.physical_memory::read<std::uint64_t>(list + 16 * n + 8); }

  static void expect_failure(const msr_list_result& result, std::uint32_t number, msr_entry_fault fault) {
    EXPECT_FALSE(result);
    EXPECT_EQ(result.failed, number);
    EXPECT_EQ(result.done, number - 1);
    EXPECT_EQ(result.fault, fault) << name_of(result.fault);
  }

  capabilities caps = find_capability_row("cascade_lake_sp")->values;
  exit_options options;
  test::flat_memory memory;
  known_msrs msrs;
};

TEST_F(vmx_msr_list, an_empty_list_is_fine) {
  EXPECT_TRUE(store(0));
  EXPECT_TRUE(load(0));
  EXPECT_EQ(load(0).done, 0u);
  EXPECT_TRUE(msrs.accesses.empty());
}

TEST_F(vmx_msr_list, stores_and_loads_in_order) {
  put(0, 0x10, 1);
  put(1, 0xC000'0082, 2);
  put(2, 0x174, 3);
  EXPECT_TRUE(store(3));
  EXPECT_EQ(store(3).done, 3u);
  EXPECT_EQ(value(0), 0x1010u) << "what RDMSR gives: the host's TSC";
  EXPECT_EQ(value(1), 0xC000'1082u);
  EXPECT_EQ(value(2), 0x1174u);
  EXPECT_EQ(memory.physical_memory::read<std::uint64_t>(list), 0x10u) << "index and reserved bits stay";
  msrs.accesses.clear();
  put(0, 0x10, 7);
  put(1, 0xC000'0082, 8);
  put(2, 0x174, 9);
  EXPECT_EQ(load(3).done, 3u);
  EXPECT_EQ(msrs.accesses, (std::vector<std::uint32_t>{0x10, 0xC000'0082, 0x174}));
  EXPECT_EQ(msrs.values[0x174], 9u);
}

TEST_F(vmx_msr_list, the_same_msr_twice_ends_with_the_last_value) {
  put(0, 0x174, 1);
  put(1, 0x174, 2);
  EXPECT_TRUE(load(2));
  EXPECT_EQ(msrs.values[0x174], 2u);
}

TEST_F(vmx_msr_list, entries_before_the_bad_one_have_taken_effect) {
  put(0, 0x174, 5);
  put(1, 0x175, 6, 1);
  put(2, 0x176, 7);
  expect_failure(load(3), 2, msr_entry_fault::reserved_bits);
  EXPECT_EQ(msrs.values[0x174], 5u);
  EXPECT_EQ(msrs.values[0x175], 0x1175u);
  EXPECT_EQ(msrs.values[0x176], 0x1176u);
  expect_failure(store(3), 2, msr_entry_fault::reserved_bits);
  EXPECT_EQ(value(1), 6u);
}

TEST_F(vmx_msr_list, reserved_bits) {
  for (unsigned bit = 0; bit < 32; ++bit) {
    put(0, 0x174, 0, 1u << bit);
    expect_failure(load(1), 1, msr_entry_fault::reserved_bits);
    expect_failure(store(1), 1, msr_entry_fault::reserved_bits);
  }
}

TEST_F(vmx_msr_list, x2apic_msrs) {
  for (const std::uint32_t good : {0x7FFu, 0x900u, 0x1'0800u}) {
    put(0, good);
    EXPECT_TRUE(load(1)) << std::hex << good;
    EXPECT_TRUE(store(1)) << std::hex << good;
  }
  for (const std::uint32_t bad : {0x800u, 0x830u, 0x8FFu}) {
    put(0, bad);
    expect_failure(load(1), 1, msr_entry_fault::x2apic);
    expect_failure(store(1), 1, msr_entry_fault::x2apic);
  }
}

TEST_F(vmx_msr_list, fs_and_gs_base_are_not_loaded) {
  for (const std::uint32_t good : {0xC000'00FFu, 0xC000'0102u}) {
    put(0, good);
    EXPECT_TRUE(load(1)) << std::hex << good;
  }
  for (const std::uint32_t bad : {0xC000'0100u, 0xC000'0101u}) {
    put(0, bad);
    expect_failure(load(1), 1, msr_entry_fault::fs_or_gs_base);
    EXPECT_TRUE(store(1)) << "storing them is fine";
  }
}

TEST_F(vmx_msr_list, msrs_of_system_management_mode) {
  put(0, 0x9E);
  expect_failure(store(1), 1, msr_entry_fault::smm_only);
  EXPECT_TRUE(load(1)) << "whether WRMSR takes it is the processor's affair";
  put(0, 0x9B);
  expect_failure(load(1), 1, msr_entry_fault::smm_only);
  EXPECT_TRUE(store(1));
}

TEST_F(vmx_msr_list, microcode_msrs_are_a_switch) {
  for (const std::uint32_t msr : {0x79u, 0x8Bu}) {
    put(0, msr);
    options.microcode_msrs_in_lists = false;
    expect_failure(load(1), 1, msr_entry_fault::model_specific);
    expect_failure(store(1), 1, msr_entry_fault::model_specific);
    options.microcode_msrs_in_lists = true;
    EXPECT_TRUE(load(1));
    EXPECT_TRUE(store(1));
  }
}

TEST_F(vmx_msr_list, accesses_that_would_fault) {
  put(0, 0x174, 1);
  put(1, 0x175, known_msrs::poison);
  expect_failure(load(2), 2, msr_entry_fault::access);
  put(1, 0x999);
  msrs.values.erase(0x999);
  expect_failure(load(2), 2, msr_entry_fault::access);
  expect_failure(store(2), 2, msr_entry_fault::access);
}

TEST_F(vmx_msr_list, a_list_longer_than_recommended_fails_at_the_first_entry_too_many) {
  caps.misc &= ~std::uint64_t{7 << 25};
  ASSERT_EQ(caps.max_msr_list(), 512u);
  for (unsigned n = 0; n < 513; ++n) put(n, 0x174, n);
  EXPECT_TRUE(load(512));
  EXPECT_TRUE(store(512));
  for (unsigned n = 0; n < 513; ++n) put(n, 0x174, n);
  expect_failure(load(513), 513, msr_entry_fault::list_too_long);
  EXPECT_EQ(msrs.values[0x174], 511u) << "the recommended number is processed";
  expect_failure(store(513), 513, msr_entry_fault::list_too_long);
  expect_failure(load(0xFFFF'FFFF), 513, msr_entry_fault::list_too_long);
  expect_failure(store(0xFFFF'FFFF), 513, msr_entry_fault::list_too_long);
  caps.misc |= 1 << 25;
  EXPECT_EQ(load(0xFFFF'FFFF).done, 513u) << "index 0 follows, which no RDMSR knows";
  EXPECT_EQ(load(0xFFFF'FFFF).fault, msr_entry_fault::access);
}

TEST_F(vmx_msr_list, an_earlier_bad_entry_beats_the_length) {
  put(0, 0x830);
  expect_failure(load(0xFFFF'FFFF), 1, msr_entry_fault::x2apic);
}

TEST_F(vmx_msr_list, the_table_says_which_lists_a_fault_belongs_to) {
  options.microcode_msrs_in_lists = false;
  std::map<msr_entry_fault, std::pair<bool, bool>> seen{{msr_entry_fault::list_too_long, {true, true}},
                                                        {msr_entry_fault::access, {true, true}}};
  for (const msr_entry& entry : {msr_entry{0x174, 1, 0}, msr_entry{0x800, 0, 0}, msr_entry{0xC000'0100, 0, 0},
                                 msr_entry{0x9B, 0, 0}, msr_entry{0x9E, 0, 0}, msr_entry{0x79, 0, 0}}) {
    if (const auto fault = check_msr_store(entry, options); fault != msr_entry_fault::none) seen[fault].first = true;
    if (const auto fault = check_msr_load(entry, options); fault != msr_entry_fault::none) seen[fault].second = true;
  }
  for (std::size_t i = 0; i < msr_entry_table_size(); ++i) {
    const msr_entry_rule& row = msr_entry_table()[i];
    EXPECT_EQ(seen[row.fault], (std::pair{row.on_store, row.on_load})) << row.name;
    EXPECT_EQ(static_cast<std::size_t>(row.fault), i + 1);
    EXPECT_STREQ(name_of(row.fault), row.name);
  }
}

TEST_F(vmx_msr_list, the_three_lists_of_a_vmcs) {
  vmcs v;
  put(0, 0x174, 0x11);
  memory.write<std::uint64_t>(0x9000, 0x175);
  memory.write<std::uint64_t>(0x9008, 0x22);
  memory.write<std::uint64_t>(0xA000, 0x176);
  memory.write<std::uint64_t>(0xA008, 0x33);
  msrs.values[0x175] = msrs.values[0x176] = 0;
  v.write(field::vm_exit_msr_store_address, list);
  v.write(field::vm_exit_msr_load_address, 0x9000);
  v.write(field::vm_entry_msr_load_address, 0xA000);
  EXPECT_EQ(store_guest_msrs(v, memory, msrs, caps).done, 0u);
  v.write(field::vm_exit_msr_store_count, 1);
  EXPECT_EQ(store_guest_msrs(v, memory, msrs, caps).done, 1u);
  EXPECT_EQ(value(0), 0x1174u);
  v.write(field::vm_exit_msr_load_count, 1);
  EXPECT_EQ(load_host_msrs(v, memory, msrs, caps).done, 1u);
  EXPECT_EQ(msrs.values[0x175], 0x22u);
  v.write(field::vm_entry_msr_load_count, 1);
  EXPECT_EQ(load_guest_msrs(v, memory, msrs, caps).done, 1u);
  EXPECT_EQ(msrs.values[0x176], 0x33u);
}

TEST_F(vmx_msr_list, a_failed_load_at_entry_is_exit_34_with_the_number) {
  put(0, 0x174);
  put(1, 0x830);
  const exit_info exit = failed_msr_load_exit(load(2));
  EXPECT_EQ(exit.reason, exit_reason::entry_failure_msr_loading);
  EXPECT_EQ(exit.qualification, 2u);
  vmcs v;
  record_exit(v, exit);
  EXPECT_EQ(v.read(field::exit_reason), 0x8000'0022u);
  EXPECT_EQ(v.read(field::exit_qualification), 2u);
}

}  // namespace
}  // namespace vmxsys::vmx
