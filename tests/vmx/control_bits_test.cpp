#include <gtest/gtest.h>
#include <ostream>
#include <string>
#include <vector>

#include <vmxsys/vmx/transition/entry.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

#include "flat_memory.hpp"
#include "row_tests.hpp"

// Every control bit on every processor: VM entry admits a 1 where the capability MSRs do, and a 0 where they do.
namespace vmxsys::vmx {

static void PrintTo(const control_info& c, std::ostream* out) { *out << name_of(c.word) << ", bit " << +c.bit; }

namespace {

const char* check_of(control_word word) {
  switch (word) {
    case control_word::pin:
      return "pin-based controls: reserved bits";
    case control_word::primary:
      return "primary processor-based controls: reserved bits";
    case control_word::secondary:
      return "secondary processor-based controls: reserved bits";
    case control_word::tertiary:
      return "tertiary processor-based controls: reserved bits";
    case control_word::vm_exit:
      return "VM-exit controls: reserved bits";
    case control_word::vm_exit_2:
      return "secondary VM-exit controls: reserved bits";
    case control_word::vm_entry:
      return "VM-entry controls: reserved bits";
    case control_word::vm_function:
      return "VM functions: reserved bits";
    case control_word::none:
      break;
  }
  return "";
}

const entry_check* find_check(const std::string& name) {
  for (const entry_check_group* group : entry_check_groups())
    for (const entry_check& c : *group)
      if (name == c.name) return &c;
  return nullptr;
}

/// Words that other words switch on.
void activate(vmcs& v, control_word word) {
  const auto set = [&v](field f, std::uint64_t bits) { v.write(f, v.read(f) | bits); };
  if (word == control_word::secondary || word == control_word::vm_function)
    set(field::primary_processor_based_controls, primary::activate_secondary_controls);
  if (word == control_word::vm_function) set(field::secondary_processor_based_controls, secondary::enable_vm_functions);
  if (word == control_word::tertiary) set(field::primary_processor_based_controls, primary::activate_tertiary_controls);
  if (word == control_word::vm_exit_2)
    set(field::primary_vm_exit_controls, vm_exit_control::activate_secondary_controls);
}

class vmx_control_bit : public ::testing::TestWithParam<control_info> {};

TEST_P(vmx_control_bit, is_admitted_as_the_capability_msrs_say) {
  const control_info& c = GetParam();
  const entry_check* check = find_check(check_of(c.word));
  ASSERT_NE(check, nullptr);
  const std::uint64_t bit = std::uint64_t{1} << c.bit;
  const field word = field_of(c.word);
  int may = 0, must_not = 0;
  for (std::size_t i = 0; i < capability_table_size(); ++i) {
    const capability_row& row = capability_table()[i];
    test::flat_memory memory;
    const entry_context context{row.values, memory};
    vmcs v = make_minimal_vmcs(row.values);
    activate(v, c.word);
    const std::uint64_t legal = row.values.allowed_0(c.word);
    v.write(word, legal | bit);
    EXPECT_EQ(check->holds(v, context), row.values.supports(c.word, c.bit)) << row.name << ", 1";
    v.write(word, legal & ~bit);
    EXPECT_EQ(check->holds(v, context), (legal & bit) == 0) << row.name << ", 0";
    ++(row.values.supports(c.word, c.bit) ? may : must_not);
  }
  EXPECT_EQ(may + must_not, static_cast<int>(capability_table_size()));
}

INSTANTIATE_TEST_SUITE_P(every, vmx_control_bit,
                         ::testing::ValuesIn(control_table(), control_table() + control_table_size()));

TEST(vmx_control_bits, every_bit_has_a_test) {
  std::vector<std::string> rows;
  std::vector<testing_rows::row_test> list;
  for (std::size_t i = 0; i < control_table_size(); ++i) {
    const control_info& c = control_table()[i];
    rows.push_back(std::string{name_of(c.word)} + ", bit " + std::to_string(c.bit));
    list.push_back({rows.back(), "vmx_control_bit.is_admitted_as_the_capability_msrs_say"});
    EXPECT_EQ(find_control(c.word, c.bit), &c);
    EXPECT_EQ(find_control(c.word, c.name), &c);
  }
  testing_rows::expect_rows_tested(rows, list);
}

}  // namespace
}  // namespace vmxsys::vmx
