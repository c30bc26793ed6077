#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/vmx/instructions/ept.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>

#include "flat_memory.hpp"
#include "row_tests.hpp"

namespace vmxsys::vmx {
namespace {

using e = ept_outcome;
using u64 = std::uint64_t;

constexpr u64 rwx = 7;
constexpr u64 wb = 6u << 3;
constexpr u64 table_base = 0x10'0000;
constexpr u64 host_page = 0x3'4567'8000;
constexpr u64 ad = eptp_bits::accessed_and_dirty;

// A 4-level walk to one 4-KByte page; tests change single entries.
class vmx_ept : public testing::Test {
 protected:
  vmx_ept() {
    context.eptp = table(4) | 3 << 3 | 6;
    access.guest_physical = gpa;
    access.linear_address_valid = access.final_translation = true;
    link(4);
  }

  static constexpr u64 gpa = 0x0000'5A12'3456'7ABC;
  static constexpr unsigned shift(unsigned level) { return 12 + 9 * (level - 1); }
  static u64 table(unsigned level) { return table_base + 0x1000 * level; }
  u64 entry_at(unsigned level) const { return table(level) + 8 * (access.guest_physical >> shift(level) & 511); }
  u64 entry(unsigned level) const { return memory.read<u64>(entry_at(level)); }
  void put(unsigned level, u64 value) { memory.write(entry_at(level), value); }
  void change(unsigned level, u64 clear, u64 set = 0) { put(level, (entry(level) & ~clear) | set); }
  /// Tables from `levels` down, and the page.
  void link(unsigned levels) {
    for (unsigned level = levels; level > 1; --level) put(level, table(level - 1) | rwx);
    put(1, host_page | wb | rwx);
  }
  ept_result walk() { return walk_ept(context, caps, memory, access); }
  void write_access() {
    access.read = false;
    access.write = true;
  }

  capabilities caps = find_capability_row("cascade_lake_sp")->values;
  test::flat_memory memory;
  ept_context context;
  ept_access access;
};

TEST_F(vmx_ept, translates_a_4_kbyte_page) {
  const ept_result r = walk();
  EXPECT_EQ(r.outcome, e::translated);
  EXPECT_EQ(r.host_physical, host_page | 0xABC);
  EXPECT_EQ(r.page_size, 4096u);
  EXPECT_EQ(r.references, 4u);
  EXPECT_EQ(r.level, 1u);
  EXPECT_EQ(r.memory_type, 6u);
  EXPECT_FALSE(r.ignore_pat);
  EXPECT_EQ(r.flag_updates, 0u) << "no accessed and dirty flags";
  EXPECT_EQ(entry(1), host_page | wb | rwx);
}

TEST_F(vmx_ept, translates_large_pages) {
  put(2, 0x1'2340'0000 | ept_entry::maps_page | ept_entry::ignore_pat | rwx);
  ept_result r = walk();
  EXPECT_EQ(r.outcome, e::translated);
  EXPECT_EQ(r.host_physical, 0x1'2340'0000 | (gpa & 0x1F'FFFF));
  EXPECT_EQ(r.page_size, 2u << 20);
  EXPECT_EQ(r.references, 3u);
  EXPECT_EQ(r.memory_type, 0u);
  EXPECT_TRUE(r.ignore_pat);
  put(3, 0x7'4000'0000 | ept_entry::maps_page | wb | rwx);
  r = walk();
  EXPECT_EQ(r.host_physical, 0x7'4000'0000 | (gpa & 0x3FFF'FFFF));
  EXPECT_EQ(r.page_size, 1u << 30);
  EXPECT_EQ(r.references, 2u);
}

TEST_F(vmx_ept, walks_five_levels) {
  caps.physical_address_width = 52;
  context.eptp = table(5) | 4 << 3 | 6;
  access.guest_physical |= u64{9} << 48;
  link(5);
  const ept_result r = walk();
  EXPECT_EQ(r.outcome, e::translated);
  EXPECT_EQ(r.references, 5u);
  access.guest_physical ^= u64{1} << 48;
  EXPECT_EQ(walk().outcome, e::violation) << "bits 56:48 select the first entry";
}

TEST_F(vmx_ept, an_address_wider_than_the_walk_is_a_violation) {
  put(4, 0);
  access.guest_physical = (u64{1} << 48) - 1;
  EXPECT_EQ(walk().references, 1u);
  access.guest_physical = u64{1} << 48;
  const ept_result r = walk();
  EXPECT_EQ(r.outcome, e::violation);
  EXPECT_EQ(r.references, 0u);
  EXPECT_EQ(r.level, 0u);
  EXPECT_EQ(r.qualification & 0x38, 0u);
}

TEST_F(vmx_ept, an_entry_that_is_not_present_is_a_violation_at_each_level) {
  for (unsigned level = 4; level >= 1; --level) {
    link(4);
    put(level, ~u64{7});  // everything else is ignored
    const ept_result r = walk();
    EXPECT_EQ(r.outcome, e::violation);
    EXPECT_EQ(r.level, level);
    EXPECT_EQ(r.references, 5 - level);
    EXPECT_EQ(r.qualification, 0x181u) << "bits 5:3 are 0";
    EXPECT_EQ(r.check, nullptr);
  }
}

TEST_F(vmx_ept, rights_are_the_and_of_all_levels_and_judged_last) {
  for (const u64 bit : {ept_entry::write, ept_entry::execute})
    for (unsigned level = 4; level >= 1; --level) {
      link(4);
      change(level, bit);
      access.read = false;
      access.write = bit == ept_entry::write;
      access.fetch = bit == ept_entry::execute;
      const ept_result r = walk();
      EXPECT_EQ(r.outcome, e::violation);
      EXPECT_EQ(r.level, 1u) << "the whole walk was made";
      EXPECT_EQ(r.references, 4u);
      EXPECT_EQ(r.qualification, 0x180u | bit | (7 & ~bit) << 3);
    }
  link(4);
  change(2, 3);  // execute-only
  access = {gpa};
  EXPECT_EQ(walk().qualification, 0x1u | 4u << 3);
  access.read = false;
  access.fetch = true;
  EXPECT_EQ(walk().outcome, e::translated);
}

TEST_F(vmx_ept, a_malformed_entry_below_beats_missing_rights_above) {
  write_access();
  change(4, 2);
  change(1, 0, 7u << 3);
  EXPECT_EQ(walk().outcome, e::misconfiguration);
  put(2, 0);
  EXPECT_EQ(walk().outcome, e::violation) << "not present, before the malformed one is reached";
  put(3, ept_entry::write);
  EXPECT_EQ(walk().outcome, e::misconfiguration) << "before the one that is not present";
}

TEST_F(vmx_ept, qualification_tells_the_access) {
  namespace q = ept_violation;
  put(1, 0);
  access = {gpa};
  EXPECT_EQ(walk().qualification, q::read) << "no linear address";
  access.linear_address_valid = true;
  EXPECT_EQ(walk().qualification, q::read | q::linear_address_valid) << "a guest paging structure";
  access.user_page = access.writable_page = access.execute_disable_page = true;
  EXPECT_EQ(walk().qualification, q::read | q::linear_address_valid) << "only for the final translation";
  access.final_translation = true;
  constexpr u64 advanced = q::user_page | q::writable_page | q::execute_disable_page;
  EXPECT_EQ(walk().qualification, q::read | q::linear_address_valid | q::final_translation | advanced);
  caps.ept_vpid &= ~ept_vpid_cap::advanced_exit_information;
  EXPECT_EQ(walk().qualification, q::read | q::linear_address_valid | q::final_translation);
  access.write = true;
  access.nmi_unblocking = access.shadow_stack = access.asynchronous = true;
  EXPECT_EQ(walk().qualification, q::read | q::write | q::linear_address_valid | q::final_translation |
                                      q::nmi_unblocking | q::shadow_stack | q::asynchronous);
}

// ---- accessed and dirty flags --------------------------------------------------------------------------------------

TEST_F(vmx_ept, a_read_sets_accessed_flags_at_every_level) {
  context.eptp |= ad;
  EXPECT_EQ(walk().flag_updates, 4u);
  for (unsigned level = 1; level <= 4; ++level) {
    EXPECT_NE(entry(level) & ept_entry::accessed, 0u) << level;
    EXPECT_EQ(entry(level) & ept_entry::dirty, 0u) << level;
  }
  EXPECT_EQ(walk().flag_updates, 0u);
}

TEST_F(vmx_ept, a_write_sets_the_dirty_flag_of_the_last_level_only) {
  context.eptp |= ad;
  walk();
  write_access();
  EXPECT_EQ(walk().flag_updates, 1u);
  EXPECT_EQ(entry(1) & 0x300, 0x300u);
  EXPECT_EQ(entry(2) & 0x300, 0x100u);
}

TEST_F(vmx_ept, a_guest_paging_structure_counts_as_written_with_the_flags) {
  access.final_translation = false;
  change(1, 2);
  EXPECT_EQ(walk().outcome, e::translated) << "a read without accessed and dirty flags";
  context.eptp |= ad;
  const ept_result r = walk();
  EXPECT_EQ(r.outcome, e::violation);
  EXPECT_EQ(r.qualification, 0x3u | 5u << 3 | 0x80u);
  change(1, 0, 2);
  EXPECT_EQ(walk().outcome, e::translated);
  EXPECT_NE(entry(1) & ept_entry::dirty, 0u);
}

TEST_F(vmx_ept, a_walk_that_fails_sets_no_flags) {
  context.eptp |= ad;
  write_access();
  change(1, 2);
  const test::flat_memory before = memory;
  EXPECT_EQ(walk().outcome, e::violation);
  change(1, 0, 2 | 7u << 3);
  EXPECT_EQ(walk().outcome, e::misconfiguration);
  change(1, 2 | 7u << 3, wb);
  EXPECT_TRUE(memory == before);
}

TEST_F(vmx_ept, without_the_flags_bits_8_and_9_are_ignored) {
  change(4, 0, 0x300);
  change(1, 0, 0x300);
  EXPECT_EQ(walk().outcome, e::translated);
}

// ---- page-modification log -----------------------------------------------------------------------------------------

class vmx_ept_log : public vmx_ept {
 protected:
  vmx_ept_log() {
    context.eptp |= ad;
    context.log_modifications = true;
    context.log_address = log;
    context.log_index = 511;
    write_access();
  }
  static constexpr u64 log = 0x9000;
  u64 logged(unsigned index) const { return memory.read<u64>(log + 8 * index); }
};

TEST_F(vmx_ept_log, setting_a_dirty_flag_logs_the_page) {
  const ept_result r = walk();
  EXPECT_EQ(r.outcome, e::translated);
  EXPECT_TRUE(r.logged);
  EXPECT_EQ(r.log_index, 510u);
  EXPECT_EQ(logged(511), gpa & ~u64{0xFFF});
  const ept_result again = walk();
  EXPECT_FALSE(again.logged);
  EXPECT_EQ(again.log_index, 511u) << "as given";
}

TEST_F(vmx_ept_log, reads_and_walks_without_the_flags_log_nothing) {
  access.read = true;
  access.write = false;
  EXPECT_FALSE(walk().logged);
  write_access();
  context.eptp &= ~ad;
  EXPECT_FALSE(walk().logged);
  context.eptp |= ad;
  context.log_modifications = false;
  EXPECT_FALSE(walk().logged);
  EXPECT_EQ(logged(511), 0u);
}

TEST_F(vmx_ept_log, index_0_is_used_and_wraps) {
  context.log_index = 0;
  EXPECT_EQ(walk().log_index, 0xFFFFu);
  EXPECT_EQ(logged(0), gpa & ~u64{0xFFF});
}

TEST_F(vmx_ept_log, beyond_511_it_is_full_and_the_access_is_not_done) {
  for (const std::uint16_t index : {std::uint16_t{512}, std::uint16_t{0xFFFF}}) {
    context.log_index = index;
    access.nmi_unblocking = index == 512;
    const test::flat_memory before = memory;
    const ept_result r = walk();
    EXPECT_EQ(r.outcome, e::log_full);
    EXPECT_EQ(r.qualification, index == 512 ? 1u << 12 : 0u);
    EXPECT_TRUE(memory == before) << "no flag is set";
    EXPECT_EQ(r.log_index, index);
  }
}

TEST_F(vmx_ept_log, a_full_log_is_noticed_when_the_choice_says) {
  context.log_index = 512;
  access.read = true;
  access.write = false;
  using t = log_full_test;
  const auto outcome = [&](t test) {
    context.log_test = test;
    return walk().outcome;
  };
  EXPECT_EQ(outcome(t::every_access), e::log_full);
  EXPECT_EQ(outcome(t::setting_any_flag), e::log_full);
  EXPECT_EQ(outcome(t::setting_dirty), e::translated) << "sets accessed flags";
  EXPECT_EQ(outcome(t::setting_any_flag), e::translated) << "nothing left to set";
  EXPECT_EQ(outcome(t::every_access), e::log_full);
  write_access();
  EXPECT_EQ(outcome(t::setting_dirty), e::log_full);
  EXPECT_EQ(outcome(t::setting_any_flag), e::log_full);
}

TEST_F(vmx_ept_log, the_vmcs_gives_the_fields_and_gets_the_index_back) {
  vmcs v{4};
  v.write(field::primary_processor_based_controls, primary::activate_secondary_controls);
  v.write(field::secondary_processor_based_controls, secondary::enable_ept | secondary::enable_pml);
  v.write(field::ept_pointer, context.eptp);
  v.write(field::pml_address, log);
  v.write(field::pml_index, 7);
  EXPECT_TRUE(translate_guest_physical(v, caps, memory, access).logged);
  EXPECT_EQ(v.read(field::pml_index), 6u);
  EXPECT_EQ(logged(7), gpa & ~u64{0xFFF});
  v.write(field::pml_index, 512);
  change(1, ept_entry::dirty);
  EXPECT_EQ(translate_guest_physical(v, caps, memory, access).outcome, e::log_full);
  v.write(field::primary_processor_based_controls, 0);
  EXPECT_FALSE(ept_context_of(v).log_modifications) << "secondary controls are not activated";
}

// ---- rows ----------------------------------------------------------------------------------------------------------

class vmx_ept_entry : public vmx_ept {
 protected:
  /// The walk ends at `level` with this malformation.
  void expect_malformed(unsigned level, const char* row) {
    const ept_result r = walk();
    EXPECT_EQ(r.outcome, e::misconfiguration) << row;
    ASSERT_NE(r.check, nullptr) << row;
    EXPECT_STREQ(r.check, row);
    EXPECT_EQ(r.level, level);
    EXPECT_EQ(r.qualification, 0u);
  }
  void expect_well_formed() { EXPECT_EQ(walk().check, nullptr); }
  static constexpr u64 page_2m = 0x4020'0000 | ept_entry::maps_page | wb | rwx;
  static constexpr u64 page_1g = 0x4000'0000 | ept_entry::maps_page | wb | rwx;
};

TEST_F(vmx_ept_entry, writes_need_reads) {
  for (unsigned level = 4; level >= 1; --level)
    for (const u64 rights : {2u, 6u}) {
      link(4);
      change(level, 7, rights);
      expect_malformed(level, "writes are allowed only with reads");
    }
  change(1, 7, 3);
  expect_well_formed();
}

TEST_F(vmx_ept_entry, execute_only_needs_support) {
  change(3, 7, 4);
  expect_well_formed();
  caps.ept_vpid &= ~ept_vpid_cap::execute_only;
  expect_malformed(3, "execute-only translations are supported");
  change(3, 7, 5);
  expect_well_formed();
}

TEST_F(vmx_ept_entry, address_width) {
  for (unsigned level = 4; level >= 1; --level) {
    link(4);
    change(level, 0, u64{1} << 46);
    expect_malformed(level, "the address is within the physical-address width");
    change(level, u64{1} << 46, u64{1} << 51);
    expect_malformed(level, "the address is within the physical-address width");
    change(level, u64{1} << 51, u64{1} << 52);  // ignored
    expect_well_formed();
  }
  change(1, 0, u64{1} << 45);
  expect_well_formed();
}

TEST_F(vmx_ept_entry, reserved_bits_of_tables) {
  for (unsigned level = 4; level >= 2; --level)
    for (unsigned bit = 3; bit <= (level == 4 ? 7u : 6u); ++bit) {
      link(4);
      change(level, 0, u64{1} << bit);
      expect_malformed(level, "reserved bits of an entry that refers to a table");
    }
  link(4);
  for (unsigned level = 4; level >= 2; --level) change(level, 0, 0x800 | 0x400);  // bits 11:10 are ignored
  expect_well_formed();
  caps.physical_address_width = 52;
  context.eptp = table(5) | 4 << 3 | 6;
  link(5);
  change(5, 0, ept_entry::maps_page);
  expect_malformed(5, "reserved bits of an entry that refers to a table");
}

TEST_F(vmx_ept_entry, pages_of_2_mbytes_need_support) {
  put(2, page_2m);
  expect_well_formed();
  caps.ept_vpid &= ~ept_vpid_cap::page_2m;
  expect_malformed(2, "2-MByte pages are supported");
  put(3, page_1g);
  expect_well_formed();
}

TEST_F(vmx_ept_entry, pages_of_1_gbyte_need_support) {
  put(3, page_1g);
  expect_well_formed();
  caps.ept_vpid &= ~ept_vpid_cap::page_1g;
  expect_malformed(3, "1-GByte pages are supported");
  link(4);
  put(2, page_2m);
  expect_well_formed();
}

TEST_F(vmx_ept_entry, large_pages_are_aligned) {
  for (const u64 bit : {u64{1} << 12, u64{1} << 20}) {
    put(2, page_2m | bit);
    expect_malformed(2, "a large page is aligned");
  }
  put(2, page_2m | u64{1} << 21);
  expect_well_formed();
  for (const u64 bit : {u64{1} << 12, u64{1} << 29}) {
    put(3, page_1g | bit);
    expect_malformed(3, "a large page is aligned");
  }
  put(3, page_1g | u64{1} << 30);
  expect_well_formed();
}

TEST_F(vmx_ept_entry, memory_types) {
  for (u64 type = 0; type < 8; ++type) {
    const bool reserved = type == 2 || type == 3 || type == 7;
    link(4);
    change(1, 7 << 3, type << 3);
    reserved ? expect_malformed(1, "the memory type of a page") : expect_well_formed();
    put(2, (page_2m & ~u64{7 << 3}) | type << 3);
    reserved ? expect_malformed(2, "the memory type of a page") : expect_well_formed();
    put(3, (page_1g & ~u64{7 << 3}) | type << 3);
    reserved ? expect_malformed(3, "the memory type of a page") : expect_well_formed();
  }
}

class vmx_eptp : public testing::Test {
 protected:
  /// Which row rejects it; empty: legal.
  std::string rejected_by(u64 eptp) const {
    for (std::size_t n = 0; n < eptp_check_table_size(); ++n) {
      if (eptp_check_table()[n].holds(eptp, caps)) continue;
      EXPECT_FALSE(eptp_legal(eptp, caps));
      return eptp_check_table()[n].name;
    }
    EXPECT_TRUE(eptp_legal(eptp, caps));
    return "";
  }
  capabilities caps = find_capability_row("cascade_lake_sp")->values;
  static constexpr u64 legal = 0x5000 | 3 << 3 | 6;
};

TEST_F(vmx_eptp, memory_type) {
  for (u64 type = 0; type < 8; ++type)
    EXPECT_EQ(rejected_by((legal & ~u64{7}) | type), type == 0 || type == 6 ? "" : "memory type") << type;
  caps.ept_vpid &= ~ept_vpid_cap::uncacheable;
  EXPECT_EQ(rejected_by(legal & ~u64{7}), "memory type");
  EXPECT_EQ(rejected_by(legal), "");
  caps.ept_vpid &= ~ept_vpid_cap::write_back;
  EXPECT_EQ(rejected_by(legal), "memory type");
}

TEST_F(vmx_eptp, walk_length) {
  const auto of_length = [](u64 length) { return (legal & ~u64{7 << 3}) | (length - 1) << 3; };
  for (u64 length = 1; length <= 8; ++length)
    EXPECT_EQ(rejected_by(of_length(length)), length == 4 ? "" : "page-walk length") << length;
  caps.ept_vpid |= ept_vpid_cap::walk_length_5;
  EXPECT_EQ(rejected_by(of_length(5)), "");
  EXPECT_EQ(rejected_by(of_length(6)), "page-walk length");
  caps.ept_vpid &= ~ept_vpid_cap::walk_length_4;
  EXPECT_EQ(rejected_by(of_length(4)), "page-walk length");
}

TEST_F(vmx_eptp, accessed_and_dirty_flags) {
  EXPECT_EQ(rejected_by(legal | 1u << 6), "");
  caps.ept_vpid &= ~ept_vpid_cap::accessed_and_dirty;
  EXPECT_EQ(rejected_by(legal | 1u << 6), "accessed and dirty flags are supported");
}

TEST_F(vmx_eptp, supervisor_shadow_stacks) {
  EXPECT_EQ(rejected_by(legal | 1u << 7), "supervisor shadow-stack control is supported");
  caps.ept_vpid |= ept_vpid_cap::supervisor_shadow_stack;
  EXPECT_EQ(rejected_by(legal | 1u << 7), "");
}

TEST_F(vmx_eptp, reserved_bits) {
  for (unsigned bit = 8; bit < 12; ++bit) EXPECT_EQ(rejected_by(legal | 1u << bit), "reserved bits 11:8") << bit;
  EXPECT_EQ(rejected_by(legal | 1u << 12), "");
}

TEST_F(vmx_eptp, address_width) {
  EXPECT_EQ(rejected_by(legal | u64{1} << 45), "");
  EXPECT_EQ(rejected_by(legal | u64{1} << 46), "physical-address width");
  EXPECT_EQ(rejected_by(legal | u64{1} << 63), "physical-address width");
}

TEST(vmx_ept_rows, every_rule_has_a_test) {
  std::vector<std::string> rows;
  for (std::size_t n = 0; n < eptp_check_table_size(); ++n) rows.emplace_back(eptp_check_table()[n].name);
  for (std::size_t n = 0; n < ept_entry_check_table_size(); ++n) rows.emplace_back(ept_entry_check_table()[n].name);
  testing_rows::expect_rows_tested(
      rows, {{"memory type", "vmx_eptp.memory_type"},
             {"page-walk length", "vmx_eptp.walk_length"},
             {"accessed and dirty flags are supported", "vmx_eptp.accessed_and_dirty_flags"},
             {"supervisor shadow-stack control is supported", "vmx_eptp.supervisor_shadow_stacks"},
             {"reserved bits 11:8", "vmx_eptp.reserved_bits"},
             {"physical-address width", "vmx_eptp.address_width"},
             {"writes are allowed only with reads", "vmx_ept_entry.writes_need_reads"},
             {"execute-only translations are supported", "vmx_ept_entry.execute_only_needs_support"},
             {"the address is within the physical-address width", "vmx_ept_entry.address_width"},
             {"reserved bits of an entry that refers to a table", "vmx_ept_entry.reserved_bits_of_tables"},
             {"2-MByte pages are supported", "vmx_ept_entry.pages_of_2_mbytes_need_support"},
             {"1-GByte pages are supported", "vmx_ept_entry.pages_of_1_gbyte_need_support"},
             {"a large page is aligned", "vmx_ept_entry.large_pages_are_aligned"},
             {"the memory type of a page", "vmx_ept_entry.memory_types"}});
}

}  // namespace
}  // namespace vmxsys::vmx
