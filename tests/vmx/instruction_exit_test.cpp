#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/vmx/events/control_registers.hpp>
#include <vmxsys/vmx/instructions/instruction.hpp>
#include <vmxsys/vmx/instructions/instruction_exit.hpp>
#include <vmxsys/vmx/instructions/invalidation.hpp>
#include <vmxsys/vmx/instructions/vm_function.hpp>
#include <vmxsys/vmx/vmcs/active_vmcs_store.hpp>

#include "instruction_guest.hpp"

// The table of instructions against a second copy of the manual's: who exits, and what beats the exit.
namespace vmxsys::vmx {
namespace {

using namespace test;

const std::string at_cpl_3 = "LVTMUIJ";

using arrangement = void (*)(guest&);

// A row as the manual has it, written down a second time. `level`: '0' needs CPL 0 or #GP, 'u' or #UD, '3' runs
// anywhere. `ud` and `gp`: the spoilers that fault besides. `arrange` makes it exit; nullptr: it always does.
struct expectation {
  mnemonic what;
  const char* name;
  int reason;  // -1: never exits
  char level;
  const char* ud;
  const char* gp;
  arrangement arrange;
  std::uint64_t qualification;
};
void PrintTo(const expectation& e, std::ostream* out) { *out << e.name; }

template <std::uint32_t bits>
void primary_control(guest& g) {
  g.primary_on(bits);
}
template <std::uint32_t bits>
void secondary_control(guest& g) {
  g.secondary_on(bits);
  g.i.displacement = 0x1234;
  g.i.linear_address = 0x7654'3210;
}
void with_displacement(guest& g) { g.i.displacement = 0xFFFF'FFFF'FFFF'FFF0; }
void invlpg(guest& g) {
  g.primary_on(primary::invlpg_exiting);
  g.i.displacement = 0x88;
  g.i.linear_address = 0x7654'3210;
}
void masked_cr0(guest& g) {
  g.v.write(field::cr0_guest_host_mask, cr0_bits::ne);
  g.i.source &= ~cr0_bits::ne;
  g.v.write(field::cr0_read_shadow, cr0_bits::ne);
  g.i.gpr = general_register::rsi;
}
void masked_cr4(guest& g) {
  g.v.write(field::cr4_guest_host_mask, cr4_bits::vmxe);
  g.i.gpr = general_register::rsi;
}
void debug_register(guest& g) {
  g.primary_on(primary::mov_dr_exiting);
  g.i.gpr = general_register::r15;
}
void msr_read(guest& g) { g.set_bit(msr_page, 0xC0); }
void msr_write(guest& g) { g.set_bit(msr_page + 0x800, 0xC0); }
void xss(guest& g) {
  g.i.edx_eax = 0x900;
  g.i.xss = 0x100;
  g.v.write(field::xss_exiting_bitmap, 0x300);
  g.i.displacement = 7;
}
void leaf_3(guest& g) {
  g.i.eax = 3;
  for (const field f : {field::encls_exiting_bitmap, field::enclv_exiting_bitmap, field::pconfig_exiting_bitmap})
    g.v.write(f, 1ull << 63 | 8);
}
void no_function(guest& g) { g.v.write(field::vm_function_controls, ~std::uint64_t{1}); }
void vmread_bit(guest& g) {
  g.set_bit(vmread_page, 0x681E);
  g.i.displacement = 0x10;
}
void vmwrite_bit(guest& g) {
  g.set_bit(vmwrite_page, 0x681E);
  g.i.displacement = 0x10;
}
void monitored(guest& g) {
  g.primary_on(primary::mwait_exiting);
  g.i.monitor_armed = true;
}
void no_pasid(guest& g) {
  g.secondary_on(secondary::pasid_translation);
  g.i.pasid_fails = true;
}
void loadiwkey(guest& g) { g.tertiary_on(tertiary::loadiwkey_exiting); }

using m = mnemonic;
const std::vector<expectation>& expectations() {
  constexpr auto rdtsc = primary_control<primary::rdtsc_exiting>;
  constexpr auto tables = secondary_control<secondary::descriptor_table_exiting>;
  constexpr auto wbinvd = secondary_control<secondary::wbinvd_exiting>;
  constexpr std::uint64_t minus_16 = 0xFFFF'FFFF'FFFF'FFF0;
  static const std::vector<expectation> all = {
      {m::cpuid, "CPUID", 10, '3', "", "", nullptr, 0},
      {m::getsec, "GETSEC", 11, '3', "S", "", nullptr, 0},
      {m::invd, "INVD", 13, '0', "", "", nullptr, 0},
      {m::xsetbv, "XSETBV", 55, '0', "O", "", nullptr, 0},
      {m::invept, "INVEPT", 50, '3', "PVJCE", "", with_displacement, minus_16},
      {m::invvpid, "INVVPID", 53, '3', "PVJCF", "", with_displacement, minus_16},
      {m::vmcall, "VMCALL", 18, '3', "", "", nullptr, 0},
      {m::vmclear, "VMCLEAR", 19, '3', "PVJC", "", with_displacement, minus_16},
      {m::vmlaunch, "VMLAUNCH", 20, '3', "PVJC", "", nullptr, 0},
      {m::vmptrld, "VMPTRLD", 21, '3', "PVJC", "", with_displacement, minus_16},
      {m::vmptrst, "VMPTRST", 22, '3', "PVJC", "", with_displacement, minus_16},
      {m::vmresume, "VMRESUME", 24, '3', "PVJC", "", nullptr, 0},
      {m::vmxoff, "VMXOFF", 26, '3', "PVJC", "", nullptr, 0},
      {m::vmxon, "VMXON", 27, '3', "PVJC", "", with_displacement, minus_16},
      {m::seamcall, "SEAMCALL", 76, '3', "PXVJC", "", nullptr, 0},
      {m::tdcall, "TDCALL", 77, '3', "", "", nullptr, 0},

      {m::hlt, "HLT", 12, '0', "", "", primary_control<primary::hlt_exiting>, 0},
      {m::pause, "PAUSE", 40, '3', "", "", primary_control<primary::pause_exiting>, 0},
      {m::mwait, "MWAIT", 36, 'u', "", "", monitored, 1},
      {m::monitor, "MONITOR", 39, 'u', "", "", primary_control<primary::monitor_exiting>, 0},
      {m::rdtsc, "RDTSC", 16, '3', "", "T", rdtsc, 0},
      {m::rdtscp, "RDTSCP", 51, '3', "", "T", rdtsc, 0},
      {m::rdpid, "RDPID", -1, '3', "", "", nullptr, 0},
      {m::rdpmc, "RDPMC", 15, '3', "", "M", primary_control<primary::rdpmc_exiting>, 0},
      {m::invlpg, "INVLPG", 14, '0', "", "", invlpg, 0x7654'3210},
      {m::invpcid, "INVPCID", 58, '0', "", "", invlpg, 0x88},

      {m::mov_to_cr0, "MOV to CR0", 28, '0', "", "", masked_cr0, 0x600},
      {m::mov_to_cr3, "MOV to CR3", 28, '0', "", "", primary_control<primary::cr3_load_exiting>, 0x03},
      {m::mov_to_cr4, "MOV to CR4", 28, '0', "", "", masked_cr4, 0x604},
      {m::mov_to_cr8, "MOV to CR8", 28, '0', "", "", primary_control<primary::cr8_load_exiting>, 0x08},
      {m::mov_from_cr0, "MOV from CR0", -1, '0', "", "", masked_cr0, 0},
      {m::mov_from_cr3, "MOV from CR3", 28, '0', "", "", primary_control<primary::cr3_store_exiting>, 0x13},
      {m::mov_from_cr4, "MOV from CR4", -1, '0', "", "", masked_cr4, 0},
      {m::mov_from_cr8, "MOV from CR8", 28, '0', "", "", primary_control<primary::cr8_store_exiting>, 0x18},
      {m::clts, "CLTS", 28, '0', "", "", masked_ts, 0x20},
      {m::lmsw, "LMSW", 28, '0', "", "", masked_lmsw, 0xABC1'0070},
      {m::smsw, "SMSW", -1, '3', "", "U", masked_cr0, 0},
      {m::mov_to_dr, "MOV to DR", 29, '3', "", "", debug_register, 0xF00},
      {m::mov_from_dr, "MOV from DR", 29, '3', "", "", debug_register, 0xF10},

      {m::in, "IN", 30, '3', "", "IJ", port_bit, 0x0060'004B},
      {m::out, "OUT", 30, '3', "", "IJ", port_bit, 0x0060'0043},
      {m::ins, "INS", 30, '3', "", "IJ", port_bit, 0x0060'003B},
      {m::outs, "OUTS", 30, '3', "", "IJ", port_bit, 0x0060'0033},
      {m::rdmsr, "RDMSR", 31, '0', "", "", msr_read, 0},
      {m::wrmsr, "WRMSR", 32, '0', "", "", msr_write, 0},
      {m::wrmsrns, "WRMSRNS", 32, '0', "", "", msr_write, 1},
      {m::rdmsr_immediate, "RDMSR, immediate form", 84, '0', "PXVJC", "", msr_read, 0xC0},
      {m::wrmsrns_immediate, "WRMSRNS, immediate form", 85, '0', "PXVJC", "", msr_write, 0xC0},
      {m::rdmsrlist, "RDMSRLIST, one element", 78, '0', "PXVJC", "", msr_read, 0xC0},
      {m::wrmsrlist, "WRMSRLIST, one element", 79, '0', "PXVJC", "", msr_write, 0xC0},
      {m::urdmsr, "URDMSR", 80, '3', "PXVJCN", "Q", msr_read, 0},
      {m::uwrmsr, "UWRMSR", 81, '3', "PXVJCN", "Q", msr_write, 0},

      {m::lgdt, "LGDT", 46, '0', "", "", tables, 0x1234},
      {m::lidt, "LIDT", 46, '0', "", "", tables, 0x1234},
      {m::sgdt, "SGDT", 46, '3', "", "U", tables, 0x1234},
      {m::sidt, "SIDT", 46, '3', "", "U", tables, 0x1234},
      {m::lldt, "LLDT", 47, '0', "PVJ", "", tables, 0x1234},
      {m::ltr, "LTR", 47, '0', "PVJ", "", tables, 0x1234},
      {m::sldt, "SLDT", 47, '3', "PVJ", "U", tables, 0x1234},
      {m::str, "STR", 47, '3', "PVJ", "U", tables, 0x1234},
      {m::wbinvd, "WBINVD", 54, '0', "", "", wbinvd, 0},
      {m::wbnoinvd, "WBNOINVD", 54, '0', "", "", wbinvd, 1},
      {m::rdrand, "RDRAND", 57, '3', "", "", secondary_control<secondary::rdrand_exiting>, 0},
      {m::rdseed, "RDSEED", 61, '3', "", "", secondary_control<secondary::rdseed_exiting>, 0},
      {m::xsaves, "XSAVES", 63, '0', "O", "", xss, 7},
      {m::xrstors, "XRSTORS", 64, '0', "O", "", xss, 7},
      {m::tpause, "TPAUSE", 68, '3', "", "T", rdtsc, 0},
      {m::umwait, "UMWAIT", 67, '3', "", "T", rdtsc, 0},
      {m::umonitor, "UMONITOR", -1, '3', "", "", rdtsc, 0},
      {m::vmread, "VMREAD", 23, '3', "PVJC", "", vmread_bit, 0x10},
      {m::vmwrite, "VMWRITE", 25, '3', "PVJC", "", vmwrite_bit, 0x10},
      {m::vmfunc, "VMFUNC", 59, '3', "A", "", no_function, 0},
      {m::encls, "ENCLS", 60, 'u', "PVJ", "", leaf_3, 0},
      {m::enclv, "ENCLV", 70, 'u', "PVJ", "", leaf_3, 0},
      {m::pconfig, "PCONFIG", 65, 'u', "", "", leaf_3, 0},
      {m::pbndkb, "PBNDKB", -1, 'u', "PXVJC", "", nullptr, 0},
      {m::loadiwkey, "LOADIWKEY", 69, '0', "K", "", loadiwkey, 0},
      {m::enqcmd, "ENQCMD", 72, '3', "", "", no_pasid, 0},
      {m::enqcmds, "ENQCMDS", 73, '0', "", "", no_pasid, 0},
      {m::rsm, "RSM", 17, '3', "R", "", nullptr, 0},
  };
  return all;
}

// The rows that name a control without which the instruction is #UD.
struct enabling {
  mnemonic what;
  field word;
  std::uint64_t bit;
};
const enabling enabled_by[] = {
    {m::rdtscp, field::secondary_processor_based_controls, secondary::enable_rdtscp},
    {m::rdpid, field::secondary_processor_based_controls, secondary::enable_rdtscp},
    {m::invpcid, field::secondary_processor_based_controls, secondary::enable_invpcid},
    {m::xsaves, field::secondary_processor_based_controls, secondary::enable_xsaves},
    {m::xrstors, field::secondary_processor_based_controls, secondary::enable_xsaves},
    {m::tpause, field::secondary_processor_based_controls, secondary::enable_user_wait_and_pause},
    {m::umwait, field::secondary_processor_based_controls, secondary::enable_user_wait_and_pause},
    {m::umonitor, field::secondary_processor_based_controls, secondary::enable_user_wait_and_pause},
    {m::vmfunc, field::secondary_processor_based_controls, secondary::enable_vm_functions},
    {m::enclv, field::secondary_processor_based_controls, secondary::enable_enclv_exiting},
    {m::pconfig, field::secondary_processor_based_controls, secondary::enable_pconfig},
    {m::pbndkb, field::tertiary_processor_based_controls, tertiary::enable_pbndkb},
    {m::rdmsrlist, field::tertiary_processor_based_controls, tertiary::enable_msr_list_instructions},
    {m::wrmsrlist, field::tertiary_processor_based_controls, tertiary::enable_msr_list_instructions},
};

class instruction_row : public ::testing::TestWithParam<expectation> {
 protected:
  guest exiting() const {
    guest g{GetParam().what};
    if (GetParam().arrange != nullptr) GetParam().arrange(g);
    return g;
  }
  instruction_verdict unspoiled() const {
    return GetParam().reason < 0 ? instruction_verdict::execute : instruction_verdict::vm_exit;
  }
};

TEST_P(instruction_row, says_what_the_manual_says) {
  const expectation& e = GetParam();
  const instruction_rule& rule = rule_of(e.what);
  EXPECT_STREQ(rule.name, e.name);
  EXPECT_EQ(rule.may_exit, e.reason >= 0);
  EXPECT_NE(std::string{rule.section}.find("§28."), std::string::npos);
  EXPECT_STRNE(rule.exits_if, "");
  EXPECT_STRNE(rule.otherwise, "");
  EXPECT_EQ(std::string{rule.exits_if} == "always", std::string{rule.otherwise} == "-");
}

TEST_P(instruction_row, exits_with_its_reason_and_only_when_asked) {
  const expectation& e = GetParam();
  const instruction_outcome o = exiting().decide();
  ASSERT_EQ(o.verdict, unspoiled());
  if (e.reason >= 0) {
    EXPECT_EQ(static_cast<int>(o.reason), e.reason);
    EXPECT_EQ(o.qualification, e.qualification);
    EXPECT_EQ(o.instruction_length, 3);
    const exit_info exit = exit_of(o, exiting().i);
    EXPECT_EQ(static_cast<int>(exit.reason), e.reason);
    EXPECT_EQ(exit.qualification, e.qualification);
    EXPECT_EQ(exit.instruction_length, 3u);
    EXPECT_EQ(class_of(exit.reason), exit_class::fault);
    const exit_info kept = recorded(exit);
    EXPECT_EQ(kept.qualification, e.qualification) << "the exit table knows the qualification";
    EXPECT_EQ(kept.instruction_length, 3u);
    EXPECT_EQ(kept.guest_linear_address, exit.guest_linear_address);
  }
  const bool always = std::string{rule_of(e.what).exits_if} == "always";
  EXPECT_EQ(guest{e.what}.decide().verdict, always ? instruction_verdict::vm_exit : instruction_verdict::execute);
}

// §28.1.1: invalid opcode, mode, privilege and I/O permission beat the exit; nothing else here does.
TEST_P(instruction_row, faults_that_beat_the_exit_and_no_others) {
  const expectation& e = GetParam();
  const std::string ud = e.ud, gp = e.gp;
  for (const char how : every_spoiler) {
    guest g = exiting();
    spoil(g, how);
    instruction_verdict expected = unspoiled();
    if (at_cpl_3.find(how) != std::string::npos && e.level != '3')
      expected = e.level == '0' ? instruction_verdict::fault_gp : instruction_verdict::fault_ud;
    if (gp.find(how) != std::string::npos) expected = instruction_verdict::fault_gp;
    if (ud.find(how) != std::string::npos) expected = instruction_verdict::fault_ud;
    EXPECT_EQ(g.decide().verdict, expected) << how;
  }
}

TEST_P(instruction_row, invalid_opcode_comes_before_the_privilege_fault) {
  const expectation& e = GetParam();
  for (const char how : std::string{e.ud}) {
    guest g = exiting();
    for (const char privilege : {'L', 'T', 'U', 'Q'}) spoil(g, privilege);
    spoil(g, how);
    EXPECT_EQ(g.decide().verdict, instruction_verdict::fault_ud) << how;
  }
}

TEST_P(instruction_row, needs_its_enabling_control_before_anything_else) {
  const expectation& e = GetParam();
  bool listed = false;
  for (const enabling& needed : enabled_by) {
    if (needed.what != e.what) continue;
    listed = true;
    for (const char how : every_spoiler) {
      guest g = exiting();
      spoil(g, how);
      g.remove(needed.word, needed.bit);
      EXPECT_EQ(g.decide().verdict, instruction_verdict::fault_ud) << how;
    }
    guest g = exiting();
    g.remove(field::primary_processor_based_controls,
             primary::activate_secondary_controls | primary::activate_tertiary_controls);
    EXPECT_EQ(g.decide().verdict, instruction_verdict::fault_ud) << "the word counts as 0 unless activated";
  }
  EXPECT_EQ(listed, rule_of(e.what).enable.word != control_word::none);
  if (listed) {
    EXPECT_NE(find_control(rule_of(e.what).enable.word, rule_of(e.what).enable.bit), nullptr);
  }
}

INSTANTIATE_TEST_SUITE_P(, instruction_row, ::testing::ValuesIn(expectations()), [](const auto& row) {
  std::string name = row.param.name;
  for (char& c : name)
    if (c == ' ' || c == ',') c = '_';
  return name;
});

TEST(instruction_table, every_mnemonic_has_a_row_and_an_expectation) {
  ASSERT_EQ(expectations().size(), mnemonic_count);
  for (std::size_t i = 0; i < mnemonic_count; ++i) {
    EXPECT_EQ(static_cast<std::size_t>(expectations()[i].what), i);
    EXPECT_EQ(&rule_of(static_cast<mnemonic>(i)), instruction_table() + i);
    EXPECT_STREQ(name_of(static_cast<mnemonic>(i)), expectations()[i].name);
  }
}

TEST(fault_gates, the_table_is_in_order) {
  for (std::size_t i = 0; i < fault_gate_table.size(); ++i)
    EXPECT_EQ(static_cast<std::size_t>(fault_gate_table[i].gate), i);
}

}  // namespace
}  // namespace vmxsys::vmx
