#include <iterator>
#include <ostream>

#include "field_list.hpp"
#include "instruction_bench.hpp"
#include "row_tests.hpp"

// Every field through VMREAD and VMWRITE: width, halves, existence, the read-only rule.
namespace vmxsys::vmx {

void PrintTo(const field_info& row, std::ostream* out) { *out << row.name; }

namespace {

using error = instruction_error;
using test::instruction_bench;

constexpr std::uint64_t pattern = 0xFEDC'BA98'7654'3210;

class vmx_field_access : public testing::TestWithParam<field_info>, public instruction_bench {
 protected:
  vmx_field_access() {
    caps = test::with_controls(true);
    caps.misc |= std::uint64_t{1} << 29;
    make_current(test::region_a);
  }
  const field_info& row() const { return GetParam(); }
  std::uint32_t full() const { return encoding_of(row().encoding); }
  std::uint32_t high() const { return full() | 1; }
  bool has_halves() const { return row().width == field_width::bits_64; }
  void expect_unsupported() {
    for (const std::uint32_t encoding : {full(), high()}) {
      EXPECT_EQ(vmread(unit, mode, encoding).error, error::unsupported_component);
      EXPECT_EQ(vmwrite(unit, mode, encoding, 0).error, error::unsupported_component);
    }
  }
};

TEST_P(vmx_field_access, holds_its_width) {
  ASSERT_TRUE(vmwrite(unit, mode, full(), pattern));
  EXPECT_EQ(vmread(unit, mode, full()).value, pattern & mask_of(row().width));
  ASSERT_TRUE(vmwrite(unit, mode, full(), ~pattern));
  EXPECT_EQ(vmread(unit, mode, full()).value, ~pattern & mask_of(row().width));
  for (const field_info& other : field_table)
    if (other.encoding != row().encoding) ASSERT_EQ(state.current->read(other.encoding), 0u) << other.name;
}

TEST_P(vmx_field_access, has_an_upper_half_only_with_64_bits) {
  ASSERT_TRUE(vmwrite(unit, mode, full(), pattern));
  if (!has_halves()) {
    EXPECT_EQ(vmread(unit, mode, high()).error, error::unsupported_component);
    EXPECT_EQ(vmwrite(unit, mode, high(), 1).error, error::unsupported_component);
    return;
  }
  EXPECT_EQ(vmread(unit, mode, high()).value, pattern >> 32);
  ASSERT_TRUE(vmwrite(unit, mode, high(), 0x5'AAAA'BBBB)) << "truncated to 32 bits";
  EXPECT_EQ(vmread(unit, mode, full()).value, 0xAAAA'BBBB'0000'0000 | (pattern & 0xFFFF'FFFF));
  EXPECT_EQ(vmread(unit, mode, high()).value, 0xAAAA'BBBBu);
}

TEST_P(vmx_field_access, exists_where_one_of_its_controls_does) {
  const test::listed_field& listed = test::field_list[slot_of(row().encoding)];
  ASSERT_EQ(listed.encoding, full());
  const auto conditions = test::conditions_of(listed);
  const auto exists = [&] { return static_cast<bool>(vmread(unit, mode, full())); };
  caps = test::with_controls(false);
  EXPECT_EQ(exists(), conditions.empty());
  if (!conditions.empty()) expect_unsupported();
  for (const auto& [word, bit] : conditions) {
    caps = test::with_controls(false);
    test::support(caps, word, bit, true);
    EXPECT_TRUE(exists()) << name_of(word) << ' ' << bit;
    EXPECT_TRUE(vmwrite(unit, mode, full(), 1) || row().type == field_type::exit_information);
    if (has_halves()) EXPECT_TRUE(vmread(unit, mode, high()));
  }
  caps = test::with_controls(true);
  for (const auto& [word, bit] : conditions) test::support(caps, word, bit, false);
  EXPECT_EQ(exists(), conditions.empty()) << "every other control does not help";
}

TEST_P(vmx_field_access, is_read_only_if_it_is_exit_information) {
  caps.misc &= ~(std::uint64_t{1} << 29);
  set(row().encoding, 7);
  const bool read_only = row().type == field_type::exit_information;
  EXPECT_EQ(read_only, (full() & 0xC00) == 0x400);
  const vmx_outcome outcome = vmwrite(unit, mode, full(), 9);
  EXPECT_EQ(outcome.error, read_only ? error::vmwrite_read_only : error::none);
  if (has_halves()) EXPECT_EQ(vmwrite(unit, mode, high(), 0).error, read_only ? error::vmwrite_read_only : error::none);
  const std::uint64_t kept = row().encoding == field::vm_instruction_error ? 13 : 7;
  EXPECT_EQ(vmread(unit, mode, full()).value, read_only ? kept : 9);
  caps.misc |= std::uint64_t{1} << 29;
  EXPECT_TRUE(vmwrite(unit, mode, full(), 9));
  EXPECT_EQ(vmread(unit, mode, full()).value, 9u);
}

TEST_P(vmx_field_access, is_the_same_in_a_shadow_vmcs_in_memory_and_active) {
  enter_shadowing_guest();
  for (const bool active : {false, true}) {
    if (active) store.activate(test::shadow_region, 0, memory);
    EXPECT_EQ(vmread(unit, mode, full()).value, active ? pattern & mask_of(row().width) : 0u) << "taken from memory";
    ASSERT_TRUE(vmwrite(unit, mode, full(), pattern));
    EXPECT_EQ(vmread(unit, mode, full()).value, pattern & mask_of(row().width));
    if (has_halves()) EXPECT_EQ(vmread(unit, mode, high()).value, pattern >> 32);
  }
}

INSTANTIATE_TEST_SUITE_P(every, vmx_field_access, testing::ValuesIn(field_table),
                         [](const testing::TestParamInfo<field_info>& test) { return std::string{test.param.name}; });

TEST(vmx_field_rows, every_field_has_a_test) {
  std::vector<std::string> rows;
  std::vector<testing_rows::row_test> list;
  for (const field_info& row : field_table) rows.emplace_back(row.name);
  for (const test::listed_field& row : test::field_list)
    for (const char* test :
         {"vmx_field_access.holds_its_width", "vmx_field_access.has_an_upper_half_only_with_64_bits",
          "vmx_field_access.exists_where_one_of_its_controls_does",
          "vmx_field_access.is_read_only_if_it_is_exit_information", "vmx_field.the_manual_lists_the_same_fields"})
      list.push_back({row.name, test});
  testing_rows::expect_rows_tested(rows, list);
}

}  // namespace
}  // namespace vmxsys::vmx
