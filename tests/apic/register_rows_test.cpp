// Every register x kind of access x mode x width x alignment, enumerated from the register map of the product and
// compared with the manual's table, written down again below.
#include <cctype>
#include <gtest/gtest.h>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include <vmxsys/apic/local/local_apic.hpp>

#include "row_tests.hpp"
#include "xapic_bench.hpp"

namespace vmxsys::apic {

void PrintTo(const register_row& row, std::ostream* out) { *out << row.name; }

namespace {

using testing_bench::enabled_xapic;
using testing_bench::fingerprint;
using testing_bench::in_mode;
using testing_bench::load;
using testing_bench::store;

constexpr std::uint32_t hardware_id = 0x123;
constexpr apic_mode modes[] = {apic_mode::disabled, apic_mode::xapic, apic_mode::x2apic};
constexpr unsigned widths[] = {1, 2, 4, 8};

// The manual's table, once more -------------------------------------------------------------------------------------

struct manual_row {
  const char* name;
  std::uint32_t offset;
  std::uint32_t count;
  std::string x2apic;  // "r", "w", "rw", or "" where there is no MSR
  std::uint64_t x2apic_writable;
  std::uint64_t x2apic_reset;
  std::string xapic;
  std::uint32_t xapic_writable;
  std::uint32_t xapic_reset;
};

const std::vector<manual_row> manual{
    {"ID", 0x020, 1, "r", 0, 0x123, "r", 0, 0x23000000},
    {"version", 0x030, 1, "r", 0, 0x01060015, "r", 0, 0x01060015},
    {"TPR", 0x080, 1, "rw", 0xFF, 0, "rw", 0xFF, 0},
    {"APR", 0x090, 1, "", 0, 0, "r", 0, 0},
    {"PPR", 0x0A0, 1, "r", 0, 0, "r", 0, 0},
    {"EOI", 0x0B0, 1, "w", 0, 0, "w", 0, 0},
    {"RRD", 0x0C0, 1, "", 0, 0, "r", 0, 0},
    {"LDR", 0x0D0, 1, "r", 0, 0x00120008, "rw", 0xFF000000, 0},
    {"DFR", 0x0E0, 1, "", 0, 0, "rw", 0xF0000000, 0xFFFFFFFF},
    {"SVR", 0x0F0, 1, "rw", 0x13FF, 0xFF, "rw", 0x13FF, 0xFF},
    {"ISR", 0x100, 8, "r", 0, 0, "r", 0, 0},
    {"TMR", 0x180, 8, "r", 0, 0, "r", 0, 0},
    {"IRR", 0x200, 8, "r", 0, 0, "r", 0, 0},
    {"ESR", 0x280, 1, "rw", 0, 0, "rw", 0, 0},
    {"LVT CMCI", 0x2F0, 1, "rw", 0x117FF, 0x10000, "rw", 0x107FF, 0x10000},
    {"ICR", 0x300, 1, "rw", 0xFFFFFFFF'000CDFFF, 0, "rw", 0x000CCFFF, 0},
    {"ICR high", 0x310, 1, "", 0, 0, "rw", 0xFF000000, 0},
    {"LVT timer", 0x320, 1, "rw", 0x710FF, 0x10000, "rw", 0x700FF, 0x10000},
    {"LVT thermal", 0x330, 1, "rw", 0x117FF, 0x10000, "rw", 0x107FF, 0x10000},
    {"LVT performance", 0x340, 1, "rw", 0x117FF, 0x10000, "rw", 0x107FF, 0x10000},
    {"LVT LINT0", 0x350, 1, "rw", 0x1F7FF, 0x10000, "rw", 0x1A7FF, 0x10000},
    {"LVT LINT1", 0x360, 1, "rw", 0x1F7FF, 0x10000, "rw", 0x1A7FF, 0x10000},
    {"LVT error", 0x370, 1, "rw", 0x110FF, 0x10000, "rw", 0x100FF, 0x10000},
    {"initial count", 0x380, 1, "rw", 0xFFFFFFFF, 0, "rw", 0xFFFFFFFF, 0},
    {"current count", 0x390, 1, "r", 0, 0, "r", 0, 0},
    {"divide configuration", 0x3E0, 1, "rw", 0xB, 0, "rw", 0xB, 0},
    {"SELF IPI", 0x3F0, 1, "w", 0xFF, 0, "", 0, 0},
};

const manual_row& manual_row_of(const register_row& row) {
  static const manual_row nothing{"", 0, 1, "", 0, 0, "", 0, 0};
  for (const manual_row& m : manual)
    if (m.name == row.name) return m;
  return nothing;
}

bool allows(const std::string& directions, char direction) { return directions.find(direction) != std::string::npos; }

register_access access_of(const std::string& directions) {
  if (directions == "r") return register_access::read_only;
  if (directions == "w") return register_access::write_only;
  return directions == "rw" ? register_access::read_write : register_access::absent;
}

TEST(register_map, is_the_manuals_table) {
  ASSERT_EQ(register_map.size(), manual.size());
  for (std::size_t i = 0; i < manual.size(); ++i) {
    const register_row& row = register_map[i];
    const manual_row& m = manual[i];
    EXPECT_EQ(row.name, m.name);
    EXPECT_EQ(row.first, 0x800 + m.offset / 16) << m.name;
    EXPECT_EQ(row.offset(), m.offset) << m.name;
    EXPECT_EQ(row.count, m.count) << m.name;
    EXPECT_EQ(row.access, access_of(m.x2apic)) << m.name;
    EXPECT_EQ(row.writable, m.x2apic_writable) << m.name;
    EXPECT_EQ(row.page_access, access_of(m.xapic)) << m.name;
    EXPECT_EQ(row.reset, i == 0 || row.first == msr::ldr ? 0 : m.xapic_reset | m.x2apic_reset) << m.name;
    if (i != 0) {
      EXPECT_EQ(row.page_writable, m.xapic_writable) << m.name;
    }
  }
  EXPECT_EQ(register_map[0].page_writable, 0xFF000000U) << "the ID, where software may write it";
}

// One access --------------------------------------------------------------------------------------------------------

void check_msr_accesses(const manual_row& m, std::uint32_t number, apic_mode mode) {
  const local_apic fresh = in_mode(mode, hardware_id);
  const bool on = mode == apic_mode::x2apic;
  const register_outcome read = fresh.read_msr(number, cycles{0});
  EXPECT_EQ(read.fault, !(on && allows(m.x2apic, 'r')));
  EXPECT_EQ(read.value, read.fault ? 0 : m.x2apic_reset);
  EXPECT_FALSE(read.undefined || read.unclaimed);

  local_apic apic = fresh;
  const register_outcome write = apic.write_msr(number, 0, cycles{0});
  EXPECT_EQ(write.fault, !(on && allows(m.x2apic, 'w')));
  EXPECT_FALSE(write.undefined || write.unclaimed);
  if (write.fault) {
    EXPECT_EQ(fingerprint(apic), fingerprint(fresh));
  }
}

struct verdict {
  bool undefined, unclaimed, illegal_address;
  std::uint64_t value;
};

std::uint64_t all_ones(unsigned bytes) { return bytes == 8 ? ~0ULL : (1ULL << (bytes * 8)) - 1; }

verdict expected_of_page(const manual_row& m, apic_mode mode, char direction, unsigned displacement, unsigned bytes) {
  if (mode != apic_mode::xapic) return {false, true, false, all_ones(bytes)};
  if (displacement != 0 || bytes != 4) return {true, false, false, 0};
  if (m.xapic.empty()) return {false, false, true, 0};
  if (direction == 'r' && !allows(m.xapic, 'r')) return {true, false, false, 0};
  return {false, false, false, direction == 'r' ? m.xapic_reset : 0};
}

void check_page_access(const manual_row& m, std::uint32_t slot, apic_mode mode, char direction, unsigned displacement,
                       unsigned bytes) {
  SCOPED_TRACE(testing::Message() << direction << ' ' << bytes << " bytes at +" << displacement);
  const local_apic fresh = in_mode(mode, hardware_id);
  const verdict expected = expected_of_page(m, mode, direction, displacement, bytes);
  local_apic apic = fresh;
  const register_outcome outcome = direction == 'r'
                                       ? apic.read_page(slot + displacement, bytes, cycles{0})
                                       : apic.write_page(slot + displacement, bytes, 0x00010040, cycles{0});
  EXPECT_FALSE(outcome.fault) << "the page never faults";
  EXPECT_EQ(outcome.undefined, expected.undefined);
  EXPECT_EQ(outcome.unclaimed, expected.unclaimed);
  EXPECT_EQ(apic.errors(), expected.illegal_address ? 0x80U : 0U);
  if (direction == 'r' || expected.undefined) {
    EXPECT_EQ(outcome.value, expected.value);
  }
  const bool may_change = !expected.undefined && !expected.unclaimed && direction == 'w' && allows(m.xapic, 'w');
  if (!may_change && !expected.illegal_address) {
    EXPECT_EQ(fingerprint(apic), fingerprint(fresh));
  }
}

void check_all_accesses(const manual_row& m, std::uint32_t number) {
  for (apic_mode mode : modes) {
    SCOPED_TRACE(testing::Message() << m.name << ' ' << std::hex << number << " mode " << static_cast<int>(mode));
    check_msr_accesses(m, number, mode);
    for (char direction : {'r', 'w'})
      for (unsigned displacement = 0; displacement < 16; ++displacement)
        for (unsigned bytes : widths) check_page_access(m, (number - 0x800) * 16, mode, direction, displacement, bytes);
  }
}

// All of them, row by row -------------------------------------------------------------------------------------------

class register_row_test : public testing::TestWithParam<register_row> {
 protected:
  const register_row& row() const { return GetParam(); }
  const manual_row& m() const { return manual_row_of(GetParam()); }
};

TEST_P(register_row_test, access_in_every_mode_width_and_alignment) {
  for (std::uint32_t i = 0; i < row().count; ++i) check_all_accesses(m(), row().first + i);
}

TEST_P(register_row_test, every_single_bit_is_writable_or_faults_as_an_msr) {
  for (std::uint32_t i = 0; i < row().count; ++i)
    for (int bit = 0; bit < 64; ++bit) {
      local_apic apic = in_mode(apic_mode::x2apic, hardware_id);
      const std::uint64_t value = std::uint64_t{1} << bit;
      const bool legal = allows(m().x2apic, 'w') && (m().x2apic_writable & value) != 0;
      EXPECT_EQ(apic.write_msr(row().first + i, value, cycles{0}).fault, !legal) << bit;
    }
}

TEST_P(register_row_test, every_single_bit_is_writable_or_ignored_in_the_page) {
  for (int bit = 0; bit < 32; ++bit) {
    local_apic apic = enabled_xapic(hardware_id);
    const std::uint32_t value = std::uint32_t{1} << bit;
    store(apic, m().offset, 0);
    store(apic, m().offset, value);
    if (m().xapic != "rw") continue;
    std::uint32_t expected = value & m().xapic_writable;
    if (row().first == number_of(page::dfr)) expected |= 0x0FFFFFFF;
    EXPECT_EQ(load(apic, m().offset), expected) << bit;
    store(apic, m().offset, 0);
    EXPECT_EQ(load(apic, m().offset), expected & ~m().xapic_writable) << bit;
  }
}

TEST_P(register_row_test, has_its_reset_value_after_reset_and_init) {
  for (bool init : {false, true}) {
    local_apic xapic = enabled_xapic(hardware_id);
    if (allows(m().xapic, 'w')) store(xapic, m().offset, m().xapic_writable & 0xFFFBFFFF);
    init ? xapic.init() : xapic.reset();
    if (allows(m().xapic, 'r')) {
      EXPECT_EQ(load(xapic, m().offset), m().xapic_reset) << init;
    }

    local_apic x2apic = in_mode(apic_mode::x2apic, hardware_id);
    if (allows(m().x2apic, 'w')) x2apic.write_msr(row().first, m().x2apic_writable & ~0x40000ULL, cycles{0});
    init ? x2apic.init() : x2apic.reset();
    x2apic.enter_x2apic();
    if (allows(m().x2apic, 'r')) {
      EXPECT_EQ(x2apic.read_msr(row().first, cycles{0}).value, m().x2apic_reset);
    }
  }
}

std::string identifier_of(const testing::TestParamInfo<register_row>& info) {
  std::string name{info.param.name};
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(map, register_row_test, testing::ValuesIn(register_map), identifier_of);

TEST(register_map, every_other_number_and_slot_is_absent) {
  std::map<std::uint32_t, bool> taken;
  for (const manual_row& m : manual)
    for (std::uint32_t i = 0; i < m.count; ++i) taken[0x800 + m.offset / 16 + i] = true;
  const manual_row absent{"absent", 0, 1, "", 0, 0, "", 0, 0};
  for (std::uint32_t number = 0x800; number <= 0x8FF; ++number)
    if (!taken[number]) {
      EXPECT_EQ(row_of(number).page_access, register_access::absent);
      check_all_accesses(absent, number);
    }
  for (std::uint32_t number : {0x7FFU, 0x900U}) EXPECT_EQ(&row_of(number), &absent_row);
}

TEST(register_map, odd_widths_and_accesses_over_the_end_of_the_page_are_undefined) {
  struct row {
    std::uint32_t offset;
    unsigned bytes;
    bool defined;
  };
  for (const row& r :
       {row{0x080, 0, false}, row{0x080, 3, false}, row{0x080, 4, true}, row{0x080, 5, false}, row{0x080, 16, false},
        row{0xFF0, 4, true}, row{0xFFC, 4, false}, row{0xFFE, 4, false}, row{0x1000, 4, false}}) {
    EXPECT_EQ(is_defined_page_access(r.offset, r.bytes), r.defined) << std::hex << r.offset << ' ' << r.bytes;
    local_apic apic = enabled_xapic();
    EXPECT_EQ(apic.read_page(r.offset, r.bytes, cycles{0}).undefined, !r.defined);
    EXPECT_EQ(apic.write_page(r.offset, r.bytes, 0, cycles{0}).undefined, !r.defined);
  }
}

// What the access does, beyond being allowed ------------------------------------------------------------------------

TEST(register_map, every_register_access_and_mode_names_its_tests) {
  // Which test shows what a read of the register answers, and what a write does.
  const std::vector<std::string> vectors{"local_apic_registers.irr_isr_and_tmr_show_their_vectors",
                                         "xapic_page.the_same_state_as_the_msrs_show"};
  const std::map<std::string, std::vector<std::string>> effects{
      {"ID", {"xapic_id.can_be_written_only_where_the_part_allows", "local_apic_mode.x2apic_forgets_what_xapic_wrote"}},
      {"version", {"local_apic_registers.optional_parts"}},
      {"TPR", {"local_apic_priority.ppr_table", "xapic_page.the_same_state_as_the_msrs_show"}},
      {"APR", {"arbitration.priority_register"}},
      {"PPR", {"local_apic_priority.ppr_table", "xapic_page.the_same_state_as_the_msrs_show"}},
      {"EOI", {"local_apic_eoi.broadcast_only_for_level_and_only_if_not_suppressed", "xapic_page.any_value_is_an_eoi"}},
      {"RRD", {"xapic_page.remote_read_answers_nothing"}},
      {"LDR", {"xapic_destination.address_follows_ldr_and_dfr", "destination.logical_id_is_cluster_and_one_hot_place"}},
      {"DFR", {"xapic_destination.address_follows_ldr_and_dfr"}},
      {"SVR",
       {"local_apic_accept.software_disable_holds_what_is_there_and_takes_nothing_new",
        "xapic_page.the_same_state_as_the_msrs_show"}},
      {"ISR", vectors},
      {"TMR", vectors},
      {"IRR", vectors},
      {"ESR",
       {"local_apic_esr.errors_show_after_a_write_and_are_then_forgotten", "xapic_esr.each_bit_and_who_sets_it"}},
      {"LVT CMCI", {"local_apic_lvt.local_sources"}},
      {"ICR", {"local_apic_icr.a_legal_command_leaves_decoded", "xapic_icr.the_lower_half_sends_with_the_upper_half"}},
      {"ICR high", {"xapic_icr.the_lower_half_sends_with_the_upper_half"}},
      {"LVT timer",
       {"local_apic_timer.an_expiry_requests_the_vector_of_the_entry", "xapic_timer.fires_at_c_not_before"}},
      {"LVT thermal", {"local_apic_lvt.local_sources"}},
      {"LVT performance", {"local_apic_lvt.local_sources", "local_apic_lvt.a_performance_interrupt_masks_its_entry"}},
      {"LVT LINT0", {"lint.every_mode_on_both_edges", "lint.a_level_asks_again_after_its_eoi"}},
      {"LVT LINT1", {"lint.every_mode_on_both_edges", "lint.a_level_asks_again_after_its_eoi"}},
      {"LVT error", {"local_apic_esr.a_new_error_raises_the_error_entry_once", "xapic_esr.each_bit_and_who_sets_it"}},
      {"initial count", {"apic_timer.zero_initial_count_stops", "xapic_timer.fires_at_c_not_before"}},
      {"current count", {"apic_timer.current_count_is_the_remaining_count", "xapic_timer.fires_at_c_not_before"}},
      {"divide configuration", {"apic_timer.divisor_encodings", "xapic_timer.fires_at_c_not_before"}},
      {"SELF IPI", {"local_apic_icr.self_ipi_register"}},
  };
  std::vector<std::string> rows;
  std::vector<testing_rows::row_test> tests;
  for (const register_row& row : register_map) {
    const std::string name{row.name};
    const auto found = effects.find(name);
    for (const char* mode : {"disabled", "xAPIC", "x2APIC"})
      for (const char* kind : {"read", "write"}) {
        const std::string key = name + ", " + mode + ", " + kind;
        rows.push_back(key);
        tests.push_back({key, "register_row_test.access_in_every_mode_width_and_alignment"});
        if (std::string{kind} == "write") {
          tests.push_back({key, "register_row_test.every_single_bit_is_writable_or_faults_as_an_msr"});
          tests.push_back({key, "register_row_test.every_single_bit_is_writable_or_ignored_in_the_page"});
        }
        tests.push_back({key, "register_row_test.has_its_reset_value_after_reset_and_init"});
        ASSERT_NE(found, effects.end()) << "no test shows what " << name << " does";
        for (const std::string& test : found->second) tests.push_back({key, test});
      }
  }
  testing_rows::expect_rows_tested(rows, tests);
  EXPECT_EQ(effects.size(), register_map.size());
}

}  // namespace
}  // namespace vmxsys::apic
