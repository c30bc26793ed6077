#include <gtest/gtest.h>
#include <iterator>
#include <ostream>
#include <string>
#include <vector>

#include <vmxsys/vmx/vmcs/capability.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "row_tests.hpp"

namespace vmxsys::vmx {
namespace {

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

// What dumps of real parts say, row by row.
struct expected_row {
  const char* name;
  std::uint64_t pin;        // allowed-1
  std::uint64_t secondary;  // allowed-1
  unsigned timer_shift;
  bool apic_virtualization;  // virtual-interrupt delivery and posted interrupts
  bool pause_loop_exiting;
  bool tsc_scaling;
  std::uint64_t tertiary = 0;  // allowed-1: bit 4 IPI virtualization, bit 8 APIC-timer virtualization
};

constexpr expected_row expected_rows[] = {
    {"merom", 0x1F, 0, 0, false, false, false},
    {"core2", 0x3F, 0x41, 0, false, false, false},
    {"nehalem", 0x7F, 0x7F, 5, false, false, false},
    {"westmere_ep", 0x7F, 0x4FF, 7, false, true, false},
    {"sandy_bridge", 0x7F, 0xFF, 5, false, false, false},
    {"sandy_bridge_ep", 0x7F, 0x4FF, 5, false, true, false},
    {"ivy_bridge", 0x7F, 0x8FF, 5, false, false, false},
    {"ivy_bridge_ep", 0xFF, 0xFFF, 5, true, true, false},
    {"haswell", 0x7F, 0x7CFF, 5, false, true, false},
    {"haswell_ep", 0xFF, 0x7FFF, 5, true, true, false},
    {"broadwell_ep", 0xFF, 0x7'7FFF, 5, true, true, false},
    {"airmont", 0x7F, 0x28EF, 6, false, false, false},
    {"skylake", 0x7F, 0x1F'7CFF, 7, false, true, false},
    {"skylake_x", 0xFF, 0x25D'3FFF, 7, true, true, true},
    {"skylake_sp", 0xFF, 0x25F'7FFF, 7, true, true, true},
    {"cascade_lake_sp", 0xFF, 0x25F'7FFF, 7, true, true, true},
    {"sapphire_rapids", 0xFF, 0xCF5F'7FFF, 7, true, true, true, 0x10},
    {"apic_timer", 0xFF, 0xCF5F'7FFF, 7, true, true, true, 0x110},
};

void PrintTo(const expected_row& row, std::ostream* out) { *out << row.name; }

class vmx_capability_row : public testing::TestWithParam<expected_row> {};

TEST_P(vmx_capability_row, is_what_its_processor_has) {
  const expected_row& e = GetParam();
  const capability_row* row = find_capability_row(e.name);
  ASSERT_NE(row, nullptr);
  const capabilities& c = row->values;
  EXPECT_EQ(c.allowed_1(control_word::pin), e.pin);
  EXPECT_EQ(c.allowed_1(control_word::secondary), e.secondary);
  EXPECT_EQ(c.preemption_timer_shift(), e.timer_shift);
  EXPECT_EQ(c.supports(control_word::pin, 6), e.pin >= 0x7F) << "a timer";
  EXPECT_EQ(c.supports(control_word::pin, 7), e.apic_virtualization);
  EXPECT_EQ(c.supports(control_word::secondary, 8), e.apic_virtualization);
  EXPECT_EQ(c.supports(control_word::secondary, 9), e.apic_virtualization);
  EXPECT_EQ(c.supports(control_word::secondary, 10), e.pause_loop_exiting);
  EXPECT_EQ(c.has_field(*find_field(encoding_of(field::ple_window))), e.pause_loop_exiting);
  EXPECT_EQ(c.supports(control_word::secondary, 25), e.tsc_scaling);
  EXPECT_EQ(c.tertiary, e.tertiary);
}

TEST_P(vmx_capability_row, hangs_together) {
  const capabilities& c = find_capability_row(GetParam().name)->values;
  const auto on = [&](control_word w, unsigned bit) { return c.supports(w, bit); };
  EXPECT_EQ(on(control_word::primary, 31), c.secondary != 0);
  EXPECT_EQ(on(control_word::primary, 17), c.tertiary != 0);
  EXPECT_EQ(on(control_word::vm_exit, 31), c.vm_exit_2 != 0);
  const bool ept = on(control_word::secondary, 1);
  EXPECT_EQ(ept, c.ept_vpid_has(ept_vpid_cap::walk_length_4 | ept_vpid_cap::write_back | ept_vpid_cap::invept));
  EXPECT_EQ(on(control_word::secondary, 5), c.ept_vpid_has(ept_vpid_cap::invvpid));
  EXPECT_EQ(on(control_word::secondary, 13), (c.vmfunc & 1) != 0);
  EXPECT_LE(c.vmfunc, 1u);
  if (on(control_word::secondary, 7)) EXPECT_TRUE(ept) << "unrestricted guests need EPT";
  if (on(control_word::secondary, 17)) EXPECT_TRUE(c.ept_vpid_has(ept_vpid_cap::accessed_and_dirty)) << "PML";
  EXPECT_EQ(on(control_word::pin, 5), on(control_word::primary, 22)) << "NMI windows need virtual NMIs";
  if (on(control_word::pin, 7)) EXPECT_TRUE(on(control_word::secondary, 9));
  EXPECT_EQ(c.secondary & 0xFFFF'FFFF, 0u);
  EXPECT_EQ(c.basic >> 50 & 15, 6u) << "write-back";
  EXPECT_EQ(c.basic >> 31 & 1, 0u);
  EXPECT_EQ(c.max_cr3_targets(), 4u);
  EXPECT_EQ(c.misc >> 6 & 7, 7u) << "HLT, shutdown and wait-for-SIPI";
  EXPECT_TRUE(c.cr0_legal(0x8000'0021));
  EXPECT_TRUE(c.cr4_legal(0x2000));
  EXPECT_TRUE(c.cr4_legal(0x2020));
  EXPECT_FALSE(c.cr4_legal(0x20));
  EXPECT_GE(c.physical_address_width, 36u);
  EXPECT_LE(c.physical_address_width, 52u);
  EXPECT_EQ(c.linear_address_width, c.ept_vpid_has(ept_vpid_cap::walk_length_5) ? 57u : 48u);
}

INSTANTIATE_TEST_SUITE_P(every, vmx_capability_row, testing::ValuesIn(expected_rows),
                         [](const testing::TestParamInfo<expected_row>& test) { return std::string{test.param.name}; });

TEST(vmx_capability_rows, every_row_has_a_test) {
  std::vector<std::string> rows;
  std::vector<testing_rows::row_test> list;
  for (std::size_t i = 0; i < capability_table_size(); ++i) rows.emplace_back(capability_table()[i].name);
  for (const expected_row& row : expected_rows)
    for (const char* test : {"vmx_capability_row.is_what_its_processor_has", "vmx_capability_row.hangs_together"})
      list.push_back({row.name, test});
  testing_rows::expect_rows_tested(rows, list);
}

TEST(vmx_capability, the_first_processors_are_the_dumped_sets) {
  const capabilities& merom = find_capability_row("merom")->values;
  EXPECT_EQ(merom.basic, 0x001A'1000'0000'0007u);  // the dumps have region sizes 400H and 800H
  EXPECT_EQ(merom.pin, 0x1F'0000'0016u);
  EXPECT_EQ(merom.primary, 0x77B9'FFFE'0401'E172u);
  EXPECT_EQ(merom.vm_exit, 0x3'EFFF'0003'6DFFu);
  EXPECT_EQ(merom.vm_entry, 0x1FFF'0000'11FFu);
  EXPECT_EQ(merom.misc, 0x4'03C0u);
  EXPECT_EQ(merom.cr4_fixed1, 0x27FFu);
  EXPECT_EQ(merom.vmcs_enum, 0x2Cu);
  EXPECT_EQ(merom.ept_vpid, 0u);
  const capabilities& penryn = find_capability_row("core2")->values;
  EXPECT_EQ(penryn.basic, 0x005A'1000'0000'000Du);
  EXPECT_EQ(penryn.primary, 0xF7F9'FFFE'0401'E172u);
  EXPECT_EQ(penryn.vm_exit, 0x3'FFFF'0003'6DFFu);
  EXPECT_EQ(penryn.vm_entry, 0x3FFF'0000'11FFu);
  EXPECT_EQ(penryn.misc, 0x4'03C0u);
  EXPECT_EQ(find_capability_row("pentium"), nullptr);
}

TEST(vmx_capability, canonical_addresses) {
  capabilities c;
  c.linear_address_width = 48;
  for (const std::uint64_t good : {0ull, 0x7FFF'FFFF'FFFFull, 0xFFFF'8000'0000'0000ull, ~0ull})
    EXPECT_TRUE(c.canonical(good)) << good;
  for (const std::uint64_t bad : {0x8000'0000'0000ull, 0xFFFF'7FFF'FFFF'FFFFull, 1ull << 63})
    EXPECT_FALSE(c.canonical(bad)) << bad;
  c.linear_address_width = 57;
  EXPECT_TRUE(c.canonical((1ull << 56) - 1));
  EXPECT_FALSE(c.canonical(1ull << 56));
}

TEST(vmx_capability, fixed_bits_and_the_exemption_of_unrestricted_guests) {
  const capabilities& c = find_capability_row("cascade_lake_sp")->values;
  constexpr std::uint64_t pe_and_pg = 0x8000'0001;
  EXPECT_FALSE(c.cr0_legal(0x20));
  EXPECT_TRUE(c.cr0_legal(0x20, pe_and_pg));
  EXPECT_FALSE(c.cr0_legal(0x1'0000'0020, pe_and_pg)) << "nothing is exempt from FIXED1";
  EXPECT_FALSE(c.cr0_legal(pe_and_pg, pe_and_pg)) << "NE";
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
