#include <gtest/gtest.h>
#include <initializer_list>
#include <set>

#include "random_numbers.hpp"
#include "virtual_apic_bench.hpp"

namespace vmxsys::apic {
namespace {

using apic_testing::all_apic_controls;
using apic_testing::is_quiet;
using apic_testing::is_trap;
using apic_testing::reads;
using apic_testing::virtual_apic_bench;
using apic_testing::writes;
using vmx::exit_reason;
using vmx::field;
using verdict = apic_access_verdict;
using why = apic_access_reason;

constexpr apic_controls tpr_shadow = apic_controls{} | apic_control::tpr_shadow;
constexpr apic_controls everything = apic_control::tpr_shadow | apic_control::register_virtualization |
                                     apic_control::interrupt_delivery | apic_control::ipi_virtualization;

// -- the register table against a restatement -------------------------------------------------------------------------

// The lists of the manual as it writes them: registers by configuration, not configurations by register.
bool listed(bool write, unsigned reg, bool arv, bool vid, bool ipiv) {
  std::set<unsigned> list{0x080};
  if (vid) list.insert({0x0B0, 0x300});
  if (write && ipiv) list.insert(0x300);
  if (arv) {
    list.insert({0x020, 0x0B0, 0x0D0, 0x0E0, 0x0F0, 0x280, 0x300, 0x310, 0x380, 0x3E0});
    for (unsigned lvt = 0x320; lvt <= 0x370; lvt += 0x10) list.insert(lvt);
    if (!write) {
      list.insert(0x030);
      for (unsigned set = 0x100; set <= 0x270; set += 0x10) list.insert(set);
    }
  }
  return list.count(reg) != 0;
}

// Every byte of the page, every width, both directions, every combination of the controls.
TEST(apic_page, every_offset_width_direction_and_control) {
  for (const apic_controls controls : all_apic_controls()) {
    virtual_apic_bench b;
    b.with(controls);
    ASSERT_EQ(apic_controls_of(b.v), controls);
    const bool tpr = controls & 1, arv = controls & 2, vid = controls & 4, ipiv = controls & 8;
    for (unsigned offset = 0; offset < 0x1000; ++offset)
      for (const std::uint8_t bytes : std::initializer_list<std::uint8_t>{1, 2, 4, 8, 16})
        for (const bool write : {false, true}) {
          apic_access access = reads(static_cast<std::uint16_t>(offset), bytes);
          access.write = write;
          const bool inside = offset % 16 + bytes <= 4;
          const bool expected = tpr && inside && listed(write, offset & ~15u, arv, vid, ipiv);
          const apic_access_outcome o = decide(b.v, access);
          ASSERT_EQ(o.verdict, expected ? verdict::virtualized : verdict::vm_exit)
              << std::hex << offset << ' ' << unsigned{bytes} << ' ' << write << ' ' << unsigned{controls};
          ASSERT_EQ(o.qualification, expected ? 0 : offset | (write ? 0x1000u : 0u));
        }
  }
}

TEST(apic_page, register_table_is_sorted_and_every_row_is_found) {
  unsigned end = 0;
  std::set<unsigned> covered;
  for (const apic_page_rule& rule : apic_page_table) {
    EXPECT_GE(rule.first, end) << rule.name;
    EXPECT_EQ(rule.first % 16, 0) << rule.name;
    end = rule.first + 16u * rule.count;
    for (unsigned at = rule.first; at < end; ++at) {
      EXPECT_EQ(find_apic_page_rule(static_cast<std::uint16_t>(at)), &rule);
      covered.insert(at);
    }
    // What may be written has something that follows, and only that.
    EXPECT_EQ(rule.write_if == 0, rule.emulation == write_emulation::none) << rule.name;
  }
  for (unsigned at = 0; at < 0x1000; ++at)
    if (covered.count(at) == 0) EXPECT_EQ(find_apic_page_rule(static_cast<std::uint16_t>(at)), nullptr) << at;
}

TEST(apic_page, controls_count_only_where_they_are_activated) {
  virtual_apic_bench b;
  b.with(everything);
  b.set(field::primary_processor_based_controls, vmx::primary::activate_secondary_controls, false);
  EXPECT_EQ(apic_controls_of(b.v), apic_control::tpr_shadow | apic_control::ipi_virtualization);
  b.set(field::primary_processor_based_controls, vmx::primary::activate_tertiary_controls, false);
  EXPECT_EQ(apic_controls_of(b.v), tpr_shadow);
}

// -- width and alignment ----------------------------------------------------------------------------------------------

TEST(apic_page, an_access_lies_in_the_low_four_bytes_of_a_register) {
  const auto of = [](unsigned offset, unsigned bytes) {
    return decide(everything, reads(static_cast<std::uint16_t>(offset), static_cast<std::uint8_t>(bytes))).reason;
  };
  EXPECT_EQ(of(0x080, 4), why::none);
  EXPECT_EQ(of(0x081, 4), why::not_in_one_register);
  EXPECT_EQ(of(0x081, 2), why::none);
  EXPECT_EQ(of(0x082, 2), why::none);
  EXPECT_EQ(of(0x083, 1), why::none);
  EXPECT_EQ(of(0x083, 2), why::not_in_one_register);
  EXPECT_EQ(of(0x084, 1), why::not_in_one_register);
  EXPECT_EQ(of(0x08F, 1), why::not_in_one_register);
  EXPECT_EQ(of(0x07F, 2), why::not_in_one_register);
  EXPECT_EQ(of(0x080, 8), why::wider_than_32_bits);
  EXPECT_EQ(of(0xFFF, 2), why::not_in_one_register);
}

// -- the other reasons, and their order -------------------------------------------------------------------------------

TEST(apic_page, without_the_tpr_shadow_everything_exits) {
  for (const apic_controls c : all_apic_controls())
    EXPECT_EQ(decide(c, reads(0x080)).reason, (c & 1) != 0 ? why::none : why::no_tpr_shadow);
}

TEST(apic_page, fetches_exit) {
  apic_access fetch = reads(0x080);
  fetch.origin = access_origin::fetch;
  EXPECT_EQ(decide(everything, fetch).reason, why::instruction_fetch);
  EXPECT_EQ(decide(everything, fetch).qualification, 0x2080u);
}

TEST(apic_page, guest_physical_accesses_exit_and_physical_ones_by_a_switch) {
  apic_access walk = reads(0x080, 8);
  walk.path = access_path::guest_physical;
  EXPECT_EQ(decide(everything, walk).reason, why::guest_physical_access);
  walk.path = access_path::physical;
  EXPECT_EQ(decide(everything, walk).verdict, verdict::memory);
  EXPECT_EQ(decide(0, walk).verdict, verdict::memory);
  apic_access_switches switches;
  switches.physical_accesses_exit = true;
  EXPECT_EQ(decide(everything, walk, {}, switches).verdict, verdict::vm_exit);
  EXPECT_EQ(decide(everything, walk, {}, switches).reason, why::physical_access);
  EXPECT_EQ(decide(everything, walk, {}, switches).qualification, 0u);
}

TEST(apic_page, a_read_after_a_virtualized_write_of_the_operation_exits) {
  virtual_apic_bench b;
  b.with(everything);
  apic_operation operation;
  EXPECT_EQ(decide(b.v, reads(0x080), operation).reason, why::none);
  store_virtual_apic(b.a, writes(0x080), 0x40, operation);
  EXPECT_EQ(decide(b.v, reads(0x080), operation).reason, why::read_after_write);
  EXPECT_EQ(decide(b.v, reads(0x300), operation).reason, why::read_after_write);
  EXPECT_EQ(decide(b.v, reads(0x080)).reason, why::none) << "in the next operation";
}

TEST(apic_page, a_second_write_must_be_the_same_place_and_size) {
  virtual_apic_bench b;
  b.with(everything);
  apic_operation operation;
  store_virtual_apic(b.a, writes(0x300), 0x40, operation);
  EXPECT_EQ(decide(b.v, writes(0x300), operation).reason, why::none);
  EXPECT_EQ(decide(b.v, writes(0x300, 2), operation).reason, why::other_write);
  EXPECT_EQ(decide(b.v, writes(0x310), operation).reason, why::other_write);
  EXPECT_EQ(decide(b.v, writes(0x301, 1), operation).reason, why::other_write);
  EXPECT_EQ(decide(b.v, writes(0x310), operation).qualification, 0x1310u);
  EXPECT_EQ(decide(b.v, writes(0x310)).reason, why::none) << "in the next operation";
}

TEST(apic_page, other_operands_exit_by_a_switch) {
  apic_access access = reads(0x080);
  access.general_register = false;
  EXPECT_EQ(decide(everything, access).reason, why::none);
  apic_access_switches switches;
  switches.other_operands_exit = true;
  EXPECT_EQ(decide(everything, access, {}, switches).reason, why::operand);
  access.general_register = true;
  EXPECT_EQ(decide(everything, access, {}, switches).reason, why::none);
}

// Of several reasons the first of the enumeration is reported.
TEST(apic_page, reasons_in_their_order) {
  apic_access_switches switches;
  switches.other_operands_exit = true;
  apic_access access;
  access.offset = 0x0A1;
  access.bytes = 8;
  access.origin = access_origin::fetch;
  access.path = access_path::guest_physical;
  access.general_register = false;
  const apic_operation wrote{true, 0x300, 4};
  const auto reason = [&](apic_controls c) { return decide(c, access, wrote, switches).reason; };
  EXPECT_EQ(reason(0), why::guest_physical_access);
  access.path = access_path::linear;
  EXPECT_EQ(reason(0), why::no_tpr_shadow);
  EXPECT_EQ(reason(everything), why::instruction_fetch);
  access.origin = access_origin::instruction;
  EXPECT_EQ(reason(everything), why::wider_than_32_bits);
  access.bytes = 4;
  EXPECT_EQ(reason(everything), why::not_in_one_register);
  access.offset = 0x0A0;
  EXPECT_EQ(reason(everything), why::read_after_write);
  access.write = true;
  EXPECT_EQ(reason(everything), why::other_write);
  const apic_operation same{true, 0x0A0, 4};
  EXPECT_EQ(decide(everything, access, same, switches).reason, why::operand);
  access.general_register = true;
  EXPECT_EQ(decide(everything, access, same, switches).reason, why::register_not_virtualized);
  for (std::size_t i = 0; i < apic_access_reason_table.size(); ++i)
    EXPECT_EQ(static_cast<std::size_t>(apic_access_reason_table[i].reason), i);
}

// -- qualification ----------------------------------------------------------------------------------------------------

TEST(apic_page, qualification_of_every_kind_of_access) {
  struct row {
    access_origin origin;
    access_path path;
    bool write;
    std::uint64_t qualification;
  };
  using o = access_origin;
  using p = access_path;
  for (const row& r :
       {row{o::instruction, p::linear, false, 0x0ABC}, row{o::instruction, p::linear, true, 0x1ABC},
        row{o::fetch, p::linear, false, 0x2ABC}, row{o::event_delivery, p::linear, false, 0x3ABC},
        row{o::event_delivery, p::linear, true, 0x3ABC}, row{o::asynchronous, p::linear, true, 0x14ABC},
        row{o::asynchronous, p::linear, false, 0x14ABC}, row{o::event_delivery, p::guest_physical, false, 0xA000},
        row{o::asynchronous, p::guest_physical, true, 0x1B000}, row{o::instruction, p::guest_physical, false, 0xF000},
        row{o::instruction, p::guest_physical, true, 0xF000}, row{o::fetch, p::guest_physical, false, 0xF000}}) {
    apic_access access = reads(0xABC);
    access.origin = r.origin;
    access.path = r.path;
    access.write = r.write;
    EXPECT_EQ(qualification_of(access), r.qualification) << std::hex << r.qualification;
    const vmx::exit_info exit = apic_access_exit(decide(0, access));
    EXPECT_EQ(exit.reason, exit_reason::apic_access);
    EXPECT_EQ(exit.qualification, r.qualification);
    EXPECT_EQ(vmx::qualification::is_event_delivery(vmx::qualification::decode_apic_access(r.qualification).type),
              r.origin == o::event_delivery);
  }
}

TEST(apic_page, covers_its_page_and_no_byte_more) {
  virtual_apic_bench b;
  EXPECT_FALSE(in_apic_access_page(b.v, b.access_page)) << "the control is 0";
  b.set(field::secondary_processor_based_controls, vmx::secondary::virtualize_apic_accesses);
  EXPECT_FALSE(in_apic_access_page(b.v, b.access_page - 1));
  EXPECT_TRUE(in_apic_access_page(b.v, b.access_page));
  EXPECT_TRUE(in_apic_access_page(b.v, b.access_page + 0xFFF));
  EXPECT_FALSE(in_apic_access_page(b.v, b.access_page + 0x1000));
}

// -- data -------------------------------------------------------------------------------------------------------------

TEST(virtual_apic_access, reads_and_writes_the_bytes_it_names) {
  virtual_apic_bench b;
  b.page().write_32(0x0D0, 0x44332211);
  b.page().write_32(0x0D4, 0xFFFFFFFF);
  EXPECT_EQ(read_virtual_apic(b.a, reads(0x0D0)), 0x44332211u);
  EXPECT_EQ(read_virtual_apic(b.a, reads(0x0D1, 2)), 0x3322u);
  EXPECT_EQ(read_virtual_apic(b.a, reads(0x0D3, 1)), 0x44u);
  apic_operation operation;
  store_virtual_apic(b.a, writes(0x0D1, 2), 0xDDCCBBAA, operation);
  EXPECT_EQ(b.page().read_64(0x0D0), 0xFFFFFFFF'44BBAA11u);
  EXPECT_TRUE(operation.wrote);
  EXPECT_EQ(operation.offset, 0x0D1);
  EXPECT_EQ(operation.bytes, 2);
}

// -- what follows a write ---------------------------------------------------------------------------------------------

TEST(apic_write, tpr_loses_its_upper_bytes_and_is_virtualized) {
  virtual_apic_bench b;
  b.v.write(field::tpr_threshold, 5);
  EXPECT_TRUE(is_trap(write_virtual_apic(b.a, writes(0x080), 0xFFFFFF4F), exit_reason::tpr_below_threshold, 0));
  EXPECT_EQ(b.page().read_32(vapic::tpr), 0x4Fu);
  EXPECT_TRUE(is_quiet(write_virtual_apic(b.a, writes(0x080), 0x50)));
  // A byte of the register that is cleared: TPR virtualization all the same.
  b.page().write_32(vapic::tpr, 0x40);
  EXPECT_TRUE(is_trap(write_virtual_apic(b.a, writes(0x081, 1), 0xFF), exit_reason::tpr_below_threshold, 0));
  EXPECT_EQ(b.page().read_32(vapic::tpr), 0x40u);
}

TEST(apic_write, eoi_is_virtualized_with_delivery_and_exits_without) {
  virtual_apic_bench b;
  b.with(tpr_shadow | apic_control::register_virtualization);
  EXPECT_TRUE(is_trap(write_virtual_apic(b.a, writes(0x0B0), 7), exit_reason::apic_write, 0x0B0));
  EXPECT_EQ(b.page().read_32(vapic::eoi), 7u) << "the value is there for the hypervisor";
  b.delivering();
  b.page().set_in_service(0x41);
  b.state.svi = 0x41;
  EXPECT_TRUE(is_quiet(write_virtual_apic(b.a, writes(0x0B0), 7)));
  EXPECT_EQ(b.page().read_32(vapic::eoi), 0u);
  EXPECT_EQ(b.state.svi, 0);
  b.page().set_in_service(0x41);
  b.state.svi = 0x41;
  b.eoi_exit(0x41);
  EXPECT_TRUE(is_trap(write_virtual_apic(b.a, writes(0x0B0), 7), exit_reason::virtualized_eoi, 0x41));
}

TEST(apic_write, icr_high_keeps_its_destination_only) {
  virtual_apic_bench b;
  b.with(everything);
  EXPECT_TRUE(is_quiet(write_virtual_apic(b.a, writes(0x310), 0x12345678)));
  EXPECT_EQ(b.page().read_32(vapic::icr_high), 0x12000000u);
  EXPECT_TRUE(is_quiet(write_virtual_apic(b.a, writes(0x313, 1), 0xAB)));
  EXPECT_EQ(b.page().read_32(vapic::icr_high), 0xAB000000u);
}

TEST(apic_write, the_rest_exits_with_the_value_in_the_page) {
  for (const apic_page_rule& rule : apic_page_table) {
    if (rule.emulation != write_emulation::exit) continue;
    for (unsigned i = 0; i < rule.count; ++i)
      for (unsigned byte = 0; byte < 4; ++byte) {
        const auto at = static_cast<std::uint16_t>(rule.first + 16 * i + byte);
        virtual_apic_bench b;
        b.with(everything);
        const virtualization_result r = write_virtual_apic(b.a, writes(at, 1), 0x5A);
        EXPECT_TRUE(is_trap(r, exit_reason::apic_write, at)) << rule.name;
        EXPECT_EQ(b.page().read(at, 1), 0x5Au);
      }
  }
}

// Writes that exit have no emulation: asking for one is harmless.
TEST(apic_write, nothing_follows_where_nothing_can_be_written) {
  virtual_apic_bench b;
  b.with(everything);
  const vmx::test::flat_memory before = b.memory;
  for (const std::uint16_t at : std::initializer_list<std::uint16_t>{0x000, 0x030, 0x090, 0x0A0, 0x0C0, 0x100, 0x1F0,
                                                                     0x270, 0x2F0, 0x390, 0x3F0, 0xFF0})
    EXPECT_TRUE(is_quiet(emulate_apic_write(b.a, at))) << at;
  EXPECT_TRUE(b.memory == before);
  EXPECT_EQ(b.state, virtual_interrupt_state{});
}

TEST(apic_write, emulation_is_lost_only_with_an_exit) {
  EXPECT_TRUE(emulates_after(operation_end::completes));
  EXPECT_TRUE(emulates_after(operation_end::fault_delivered));
  EXPECT_FALSE(emulates_after(operation_end::exits));
  for (std::size_t i = 0; i < operation_end_table.size(); ++i)
    EXPECT_EQ(static_cast<std::size_t>(operation_end_table[i].end), i);
}

// Between the write and what follows it the guest sees the value, and nothing else has happened.
TEST(apic_write, the_write_itself_only_writes) {
  virtual_apic_bench b;
  b.delivering();
  self_ipi_virtualization(b.a, 0x61);
  apic_operation operation;
  store_virtual_apic(b.a, writes(0x080), 0x12345670, operation);
  EXPECT_EQ(b.page().read_32(vapic::tpr), 0x12345670u);
  EXPECT_TRUE(b.state.recognized);
  emulate_apic_write(b.a, operation.offset);
  EXPECT_EQ(b.page().read_32(vapic::tpr), 0x70u);
  EXPECT_FALSE(b.state.recognized);
}

}  // namespace
}  // namespace vmxsys::apic
