#include <array>
#include <gtest/gtest.h>
#include <vector>

#include <vmxsys/apic/local/icr.hpp>

namespace {

using namespace vmxsys::apic;

constexpr std::array<delivery_mode, 8> modes{delivery_mode::fixed,   delivery_mode::lowest_priority,
                                             delivery_mode::smi,     delivery_mode::reserved,
                                             delivery_mode::nmi,     delivery_mode::init,
                                             delivery_mode::startup, delivery_mode::ext_int};
constexpr std::array<shorthand, 4> shorthands{shorthand::none, shorthand::self, shorthand::all_including_self,
                                              shorthand::all_excluding_self};

interrupt_command command(delivery_mode mode, shorthand group, std::uint8_t vector = 0x40) {
  interrupt_command c;
  c.mode = mode;
  c.group = group;
  c.vector = vector;
  return c;
}

TEST(icr, fields_are_where_the_manual_puts_them) {
  struct row {
    std::uint64_t value;
    interrupt_command command;
  };
  const std::vector<row> rows{
      {0x4000, command(delivery_mode::fixed, shorthand::none, 0)},
      {0x00000003'000040FD, {0xFD, delivery_mode::fixed, destination_mode::physical, true, false, shorthand::none, 3}},
      {0x00010002'00004831,
       {0x31, delivery_mode::fixed, destination_mode::logical, true, false, shorthand::none, 0x00010002}},
      {0x00000001'00004400, {0, delivery_mode::nmi, destination_mode::physical, true, false, shorthand::none, 1}},
      {0x00000001'0000C500, {0, delivery_mode::init, destination_mode::physical, true, true, shorthand::none, 1}},
      {0x00000001'00008500, {0, delivery_mode::init, destination_mode::physical, false, true, shorthand::none, 1}},
      {0x00000001'00004698,
       {0x98, delivery_mode::startup, destination_mode::physical, true, false, shorthand::none, 1}},
      {0x00000000'00044050, {0x50, delivery_mode::fixed, destination_mode::physical, true, false, shorthand::self, 0}},
      {0x00000000'000840FB,
       {0xFB, delivery_mode::fixed, destination_mode::physical, true, false, shorthand::all_including_self, 0}},
      {0xFFFFFFFF'000C4400,
       {0, delivery_mode::nmi, destination_mode::physical, true, false, shorthand::all_excluding_self, 0xFFFFFFFF}},
  };
  for (const row& r : rows) {
    EXPECT_EQ(decode_icr(r.value), r.command) << std::hex << r.value;
    EXPECT_EQ(encode_icr(r.command), r.value) << std::hex << r.value;
  }
}

TEST(icr, encode_inverts_decode_on_every_low_half) {
  for (std::uint64_t low = 0; low < (1U << 20); ++low) {
    const std::uint64_t value = (std::uint64_t{0xA5A5'0001} << 32 | low) & icr_defined_bits;
    ASSERT_EQ(encode_icr(decode_icr(value)), value);
  }
}

TEST(icr, every_shorthand_with_every_mode) {
  using v = ipi_verdict;
  // Rows: none, self, all including self, all excluding self. Columns in the order of the encodings 0..7.
  const ipi_verdict expected[4][8] = {
      {v::send, v::send, v::send, v::undefined, v::send, v::send, v::send, v::undefined},
      {v::send, v::undefined, v::undefined, v::undefined, v::undefined, v::undefined, v::undefined, v::undefined},
      {v::send, v::undefined, v::undefined, v::undefined, v::undefined, v::undefined, v::undefined, v::undefined},
      {v::send, v::send, v::send, v::undefined, v::send, v::send, v::send, v::undefined},
  };
  for (std::size_t group = 0; group < 4; ++group)
    for (std::size_t mode = 0; mode < 8; ++mode)
      EXPECT_EQ(judge(command(modes[mode], shorthands[group])), expected[group][mode]) << group << ' ' << mode;
}

TEST(icr, vectors_below_sixteen_are_illegal_for_fixed_and_lowest_only) {
  for (int vector : {0, 15, 16, 255}) {
    const auto v = static_cast<std::uint8_t>(vector);
    const ipi_verdict fixed = vector < 16 ? ipi_verdict::send_illegal_vector : ipi_verdict::send;
    EXPECT_EQ(judge(command(delivery_mode::fixed, shorthand::none, v)), fixed);
    EXPECT_EQ(judge(command(delivery_mode::lowest_priority, shorthand::none, v)), fixed);
    for (delivery_mode other : {delivery_mode::nmi, delivery_mode::init, delivery_mode::startup, delivery_mode::smi})
      EXPECT_EQ(judge(command(other, shorthand::none, v)), ipi_verdict::send);
  }
}

TEST(icr, a_part_without_lowest_priority_reports_that_before_the_vector) {
  const auto illegal = command(delivery_mode::lowest_priority, shorthand::none, 3);
  EXPECT_EQ(judge(illegal, true), ipi_verdict::send_illegal_vector);
  EXPECT_EQ(judge(illegal, false), ipi_verdict::redirectable_unsupported);
  EXPECT_EQ(judge(command(delivery_mode::fixed, shorthand::none), false), ipi_verdict::send);
}

TEST(icr, only_a_level_triggered_init_can_be_deasserted) {
  interrupt_command c = command(delivery_mode::init, shorthand::all_including_self);
  c.level_triggered = true;
  c.assert_level = false;
  EXPECT_EQ(judge(c), ipi_verdict::deassert_ignored);
  c.group = shorthand::none;
  EXPECT_EQ(judge(c), ipi_verdict::deassert_ignored);
  c.level_triggered = false;
  EXPECT_EQ(judge(c), ipi_verdict::send);
  c.level_triggered = true;
  c.mode = delivery_mode::fixed;
  EXPECT_EQ(judge(c), ipi_verdict::send);
}

TEST(icr, messages_are_edge_and_carry_a_vector_where_one_means_something) {
  for (delivery_mode mode : modes) {
    interrupt_command c = command(mode, shorthand::none, 0x77);
    c.level_triggered = true;
    const bool with_vector =
        mode == delivery_mode::fixed || mode == delivery_mode::lowest_priority || mode == delivery_mode::startup;
    EXPECT_EQ(message_of(c), (interrupt_message{mode, static_cast<std::uint8_t>(with_vector ? 0x77 : 0), false}));
  }
}

TEST(icr, self_ipi_is_a_fixed_edge_command_to_self) { EXPECT_EQ(encode_icr(self_ipi(0xF6)), 0x440F6U); }

}  // namespace
