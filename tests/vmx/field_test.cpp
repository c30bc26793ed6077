#include <gtest/gtest.h>
#include <iterator>
#include <set>
#include <string>

#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/field.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "field_list.hpp"

namespace vmxsys::vmx {
namespace {

TEST(vmx_field, table_is_sorted_and_consistent_with_the_encodings) {
  std::set<std::string> names;
  std::uint32_t last = 0;
  for (std::size_t i = 0; i < field_count; ++i) {
    const field_info& row = field_table[i];
    const std::uint32_t e = encoding_of(row.encoding);
    EXPECT_TRUE(i == 0 || e > last) << row.name;
    last = e;
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_EQ(row.width, width_of(e)) << row.name;
    EXPECT_EQ(row.type, type_of(e)) << row.name;
    EXPECT_EQ(e & 0xFFFF'9001u, 0u) << row.name << ": reserved or access-type bits";
    EXPECT_EQ(slot_of(row.encoding), i);
    EXPECT_EQ(find_field(e), &row);
    EXPECT_EQ(find_field(std::string_view{row.name}), &row);
    EXPECT_EQ(row.word == control_word::none, row.condition == nullptr) << row.name;
    const bool wide = row.width == field_width::bits_64;
    EXPECT_EQ(find_field(e | 1), wide ? &row : nullptr) << row.name << ": high form";
  }
  EXPECT_EQ(field_count, 206u);
}

TEST(vmx_field, the_manual_lists_the_same_fields) {
  ASSERT_EQ(std::size(test::field_list), field_count);
  for (std::size_t i = 0; i < field_count; ++i) {
    const field_info& row = field_table[i];
    const test::listed_field& listed = test::field_list[i];
    EXPECT_EQ(encoding_of(row.encoding), listed.encoding) << listed.name;
    EXPECT_STREQ(row.name, listed.name);
    const auto conditions = test::conditions_of(listed);
    const auto word = [&](std::size_t n) { return n < conditions.size() ? conditions[n].first : control_word::none; };
    const auto bit = [&](std::size_t n) { return n < conditions.size() ? conditions[n].second : 0; };
    EXPECT_EQ(row.word, word(0)) << row.name;
    EXPECT_EQ(row.bit, bit(0)) << row.name;
    EXPECT_EQ(row.other_word, word(1)) << row.name;
    EXPECT_EQ(row.other_bit, bit(1)) << row.name;
  }
}

TEST(vmx_field, prefix_of_the_name_agrees_with_the_type) {
  for (const field_info& row : field_table) {
    const std::string name = row.name;
    EXPECT_EQ(name.rfind("host_", 0) == 0, row.type == field_type::host_state) << name;
  }
}

TEST(vmx_field, known_encodings) {
  EXPECT_EQ(encoding_of(field::virtual_processor_identifier), 0x0000u);
  EXPECT_EQ(encoding_of(field::pml_index), 0x0812u);
  EXPECT_EQ(encoding_of(field::host_tr_selector), 0x0C0Cu);
  EXPECT_EQ(encoding_of(field::tsc_offset), 0x2010u);
  EXPECT_EQ(encoding_of(field::ept_pointer), 0x201Au);
  EXPECT_EQ(encoding_of(field::tsc_multiplier), 0x2032u);
  EXPECT_EQ(encoding_of(field::pid_pointer_table_address), 0x2042u);
  EXPECT_EQ(encoding_of(field::secondary_vm_exit_controls), 0x2044u);
  EXPECT_EQ(encoding_of(field::guest_physical_address), 0x2400u);
  EXPECT_EQ(encoding_of(field::vmcs_link_pointer), 0x2800u);
  EXPECT_EQ(encoding_of(field::guest_ia32_pkrs), 0x2818u);
  EXPECT_EQ(encoding_of(field::guest_ia32_fred_ssp3), 0x2828u);
  EXPECT_EQ(encoding_of(field::host_ia32_fred_ssp3), 0x2C16u);
  EXPECT_EQ(encoding_of(field::secondary_processor_based_controls), 0x401Eu);
  EXPECT_EQ(encoding_of(field::ple_gap), 0x4020u);
  EXPECT_EQ(encoding_of(field::ple_window), 0x4022u);
  EXPECT_EQ(encoding_of(field::exit_reason), 0x4402u);
  EXPECT_EQ(encoding_of(field::guest_es_access_rights), 0x4814u);
  EXPECT_EQ(encoding_of(field::guest_tr_access_rights), 0x4822u);
  EXPECT_EQ(encoding_of(field::guest_interruptibility_state), 0x4824u);
  EXPECT_EQ(encoding_of(field::vmx_preemption_timer_value), 0x482Eu);
  EXPECT_EQ(encoding_of(field::exit_qualification), 0x6400u);
  EXPECT_EQ(encoding_of(field::guest_linear_address), 0x640Au);
  EXPECT_EQ(encoding_of(field::guest_tr_base), 0x6814u);
  EXPECT_EQ(encoding_of(field::guest_rip), 0x681Eu);
  EXPECT_EQ(encoding_of(field::guest_rflags), 0x6820u);
  EXPECT_EQ(encoding_of(field::host_rip), 0x6C16u);
}

TEST(vmx_field, unknown_encodings) {
  for (const std::uint32_t e :
       {0x000Cu, 0x1000u, 0x2046u, 0x482Cu, 0x8000u, 0x1'0000u, 0x8000'681Eu, 0x0001u, 0x681Fu, 0x2100u, 0x21FEu})
    EXPECT_EQ(find_field(e), nullptr) << std::hex << e;
}

TEST(vmx_control, names_are_unique_in_a_word_and_default1_agrees) {
  std::set<std::string> names;
  for (std::size_t i = 0; i < control_table_size(); ++i) {
    const control_info& row = control_table()[i];
    EXPECT_TRUE(names.insert(std::string{name_of(row.word)} + row.name).second) << row.name;
    EXPECT_EQ(find_control(row.word, row.bit), &row);
    EXPECT_EQ(find_control(row.word, std::string_view{row.name}), &row);
    EXPECT_EQ(row.default1, (default1_of(row.word) >> (row.bit & 31) & 1) != 0) << row.name;
  }
  EXPECT_EQ(find_control(control_word::pin, 1u), nullptr);
}

TEST(vmx_control, conditions_of_fields_name_existing_controls) {
  for (const field_info& row : field_table)
    for (const auto& [word, bit] : {std::pair{row.word, row.bit}, std::pair{row.other_word, row.other_bit}})
      EXPECT_TRUE(word == control_word::none || find_control(word, bit) != nullptr) << row.name;
}

}  // namespace
}  // namespace vmxsys::vmx
