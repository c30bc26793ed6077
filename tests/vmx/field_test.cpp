#include <vmxsys/vmx/capability.hpp>
#include <vmxsys/vmx/control.hpp>
#include <vmxsys/vmx/field.hpp>
#include <vmxsys/vmx/vmcs.hpp>

#include <gtest/gtest.h>

#include <set>
#include <string>

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
    EXPECT_TRUE(row.word == control_word::none || find_control(row.word, row.bit) != nullptr) << row.name;
}

TEST(vmx_capability, cascade_lake_is_the_dumped_set) {
  const capabilities& c = find_capability_row("cascade_lake_sp")->values;
  EXPECT_EQ(c.basic, 0x00DA'1000'0000'0004u);  // the dump has region size 400H, see the row
  EXPECT_EQ(c.pin, 0x0000'00FF'0000'0016u);
  EXPECT_EQ(c.primary, 0xFFF9'FFFE'0401'E172u);
  EXPECT_EQ(c.vm_exit, 0x01FF'FFFF'0003'6DFFu);
  EXPECT_EQ(c.vm_entry, 0x0003'FFFF'0000'11FFu);
  EXPECT_EQ(c.misc, 0x7004'C1E7u);
  EXPECT_EQ(c.cr4_fixed1, 0x77'67FFu);
  EXPECT_EQ(c.vmcs_enum, 0x2Eu);
  EXPECT_EQ(c.secondary, 0x025F'7FFF'0000'0000u);
  EXPECT_EQ(c.ept_vpid, 0xF01'0673'4141u);
  EXPECT_EQ(c.true_primary, 0xFFF9'FFFE'0400'6172u);
  EXPECT_EQ(c.true_vm_exit, 0x01FF'FFFF'0003'6DFBu);
  EXPECT_EQ(c.true_vm_entry, 0x0003'FFFF'0000'11FBu);
  EXPECT_EQ(c.vmfunc, 1u);
  EXPECT_EQ(c.preemption_timer_shift(), 7u);
  EXPECT_EQ(c.max_cr3_targets(), 4u);
}

TEST(vmx_capability, allowed_0_of_the_true_msrs_adds_up) {
  for (std::size_t i = 0; i < capability_table_size(); ++i) {
    const auto& [name, description, c] = capability_table()[i];
    EXPECT_GE(c.region_size(), vmcs_region::bytes_used) << name;
    for (const control_word w :
         {control_word::pin, control_word::primary, control_word::vm_exit, control_word::vm_entry}) {
      EXPECT_EQ(c.allowed_0(w, false), c.allowed_0(w, true) | default1_of(w)) << name;
      EXPECT_EQ(c.allowed_0(w) & ~c.allowed_1(w), 0u) << name;
    }
  }
}

TEST(vmx_capability, features_by_family) {
  const auto has = [](const char* row, control_word w, unsigned bit) {
    return find_capability_row(row)->values.supports(w, bit);
  };
  constexpr unsigned ple = 10;
  for (const char* no : {"core2", "nehalem", "sandy_bridge", "ivy_bridge", "airmont"})
    EXPECT_FALSE(has(no, control_word::secondary, ple)) << no;
  for (const char* yes : {"westmere_ep", "sandy_bridge_ep", "ivy_bridge_ep", "haswell", "haswell_ep", "broadwell_ep",
                          "skylake", "skylake_x", "skylake_sp", "cascade_lake_sp", "sapphire_rapids"})
    EXPECT_TRUE(has(yes, control_word::secondary, ple)) << yes;
  EXPECT_FALSE(has("haswell", control_word::pin, 7));
  EXPECT_TRUE(has("ivy_bridge_ep", control_word::pin, 7));
  EXPECT_FALSE(has("broadwell_ep", control_word::secondary, 25));
  EXPECT_TRUE(has("skylake_sp", control_word::secondary, 25));
  EXPECT_TRUE(has("sapphire_rapids", control_word::tertiary, 4));
  EXPECT_EQ(find_capability_row("pentium"), nullptr);
}

TEST(vmx_capability, legal_and_adjust) {
  EXPECT_TRUE(control_legal(0b0110, 0b0010, 0b0111));
  EXPECT_FALSE(control_legal(0b0100, 0b0010, 0b0111));
  EXPECT_FALSE(control_legal(0b1010, 0b0010, 0b0111));
  EXPECT_EQ(adjust(0x81u, 0x0000'007F'0000'0016u), 0x17u);
}

TEST(vmx_capability, msrs_by_index) {
  const capabilities& c = find_capability_row("nehalem")->values;
  EXPECT_EQ(*find_capability_msr(c, 0x481), c.pin);
  EXPECT_EQ(find_capability_msr(c, 0x491), nullptr);  // no VM functions yet
  EXPECT_EQ(find_capability_msr(c, 0x492), nullptr);
  EXPECT_EQ(find_capability_msr(c, 0x494), nullptr);
  EXPECT_EQ(find_capability_msr(find_capability_row("core2")->values, 0x48D), nullptr);
  EXPECT_NE(find_capability_msr(find_capability_row("sapphire_rapids")->values, 0x492), nullptr);
}

}  // namespace
}  // namespace vmxsys::vmx
