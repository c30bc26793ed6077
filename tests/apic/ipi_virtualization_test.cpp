#include <gtest/gtest.h>

#include <vmxsys/apic/local/icr.hpp>
#include <vmxsys/apic/virtualization/ipi_virtualization.hpp>
#include <vmxsys/apic/virtualization/posted_interrupts.hpp>

#include "random_numbers.hpp"
#include "virtual_apic_bench.hpp"

namespace vmxsys::apic {
namespace {

using apic_testing::is_quiet;
using apic_testing::is_trap;
using apic_testing::virtual_apic_bench;
using apic_testing::writes;
using vmx::exit_reason;
using vmx::field;

constexpr apic_controls xapic_controls = apic_control::tpr_shadow | apic_control::register_virtualization |
                                         apic_control::interrupt_delivery | apic_control::ipi_virtualization;
constexpr physical_address pid = virtual_apic_bench::descriptor;

struct ipi_bench : virtual_apic_bench {
  ipi_bench() {
    with(xapic_controls);
    v.write(field::last_pid_pointer_index, 3);
    entry(2, pid_pointer::encode(descriptor));
    write_descriptor_info(memory, descriptor, {false, false, notification_vector, 7});
  }
  void entry(std::uint32_t index, std::uint64_t value) { memory.write(table + 8 * index, value); }
  ipi_target find(std::uint8_t vector, std::uint32_t to, unsigned width = 46) {
    return find_target(v, memory, vector, to, width);
  }
  virtualization_result send(std::uint64_t icr) {
    EXPECT_TRUE(is_quiet(write_virtual_apic(a, writes(vapic::icr_high), static_cast<std::uint32_t>(icr >> 32))));
    return write_virtual_apic(a, writes(vapic::icr_low), static_cast<std::uint32_t>(icr));
  }
};

// -- the table of PID pointers ----------------------------------------------------------------------------------------

TEST(ipi_target, is_what_the_table_names) {
  ipi_bench b;
  EXPECT_EQ(b.find(0x41, 2).obstacle, ipi_obstacle::none);
  EXPECT_EQ(b.find(0x41, 2).descriptor, pid);
}

TEST(ipi_target, vectors_from_16) {
  ipi_bench b;
  EXPECT_EQ(b.find(15, 2).obstacle, ipi_obstacle::vector_below_16);
  EXPECT_EQ(b.find(16, 2).obstacle, ipi_obstacle::none);
  EXPECT_EQ(b.find(255, 2).obstacle, ipi_obstacle::none);
}

TEST(ipi_target, destinations_up_to_the_last_index) {
  ipi_bench b;
  b.entry(3, pid_pointer::encode(pid));
  b.entry(4, pid_pointer::encode(pid));
  EXPECT_EQ(b.find(0x41, 3).obstacle, ipi_obstacle::none);
  EXPECT_EQ(b.find(0x41, 4).obstacle, ipi_obstacle::beyond_last_index);
  b.v.write(field::last_pid_pointer_index, 4);
  EXPECT_EQ(b.find(0x41, 4).obstacle, ipi_obstacle::none);
}

// FFH and FFFFFFFFH are indices like any other.
TEST(ipi_target, has_no_broadcast) {
  ipi_bench b;
  EXPECT_EQ(b.find(0x41, 0xFF).obstacle, ipi_obstacle::beyond_last_index);
  EXPECT_EQ(b.find(0x41, 0xFFFFFFFF).obstacle, ipi_obstacle::beyond_last_index);
  b.v.write(field::last_pid_pointer_index, 0xFF);
  b.entry(0xFF, pid_pointer::encode(0x7000));
  EXPECT_EQ(b.find(0x41, 0xFF).descriptor, 0x7000u);
}

TEST(ipi_target, every_bit_of_an_entry) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    ipi_bench b;
    b.entry(2, pid_pointer::encode(pid) ^ std::uint64_t{1} << bit);
    const bool good = bit >= 6 && bit < 46;
    const ipi_target t = b.find(0x41, 2);
    EXPECT_EQ(t.obstacle, good ? ipi_obstacle::none : ipi_obstacle::bad_entry) << bit;
    EXPECT_EQ(t.descriptor, good ? pid ^ std::uint64_t{1} << bit : 0) << bit;
  }
}

TEST(ipi_target, addresses_within_the_processors_width) {
  for (const unsigned width : {32u, 36u, 46u, 52u}) {
    ipi_bench b;
    b.entry(2, pid_pointer::encode(std::uint64_t{1} << (width - 1)));
    EXPECT_EQ(b.find(0x41, 2, width).obstacle, ipi_obstacle::none);
    b.entry(2, pid_pointer::encode(std::uint64_t{1} << width));
    EXPECT_EQ(b.find(0x41, 2, width).obstacle, ipi_obstacle::bad_entry);
  }
}

TEST(ipi_target, obstacles_in_their_order) {
  ipi_bench b;
  EXPECT_EQ(b.find(15, 4).obstacle, ipi_obstacle::vector_below_16);
  EXPECT_EQ(b.find(16, 4).obstacle, ipi_obstacle::beyond_last_index);
  EXPECT_EQ(b.find(16, 1).obstacle, ipi_obstacle::bad_entry);
  for (std::size_t i = 0; i < ipi_obstacle_table.size(); ++i)
    EXPECT_EQ(static_cast<std::size_t>(ipi_obstacle_table[i].obstacle), i);
}

// -- the operation ----------------------------------------------------------------------------------------------------

TEST(ipi_virtualization, posts_and_notifies) {
  ipi_bench b;
  const virtualization_result r = virtualize_ipi(b.a, 0x41, 2);
  EXPECT_FALSE(r.trap);
  EXPECT_EQ(r.posted, pid);
  EXPECT_EQ(r.notify, (notification{b.notification_vector, 7}));
  EXPECT_TRUE(is_posted(b.memory, pid, 0x41));
  EXPECT_TRUE(read_descriptor_info(b.memory, pid).outstanding);
  // The second finds it outstanding; the sender cannot tell.
  const virtualization_result again = virtualize_ipi(b.a, 0x42, 2);
  EXPECT_FALSE(again.trap || again.notify);
  EXPECT_EQ(again.posted, pid);
}

TEST(ipi_virtualization, to_a_processor_that_suppresses_notification_posts_only) {
  ipi_bench b;
  write_descriptor_info(b.memory, pid, {false, true, b.notification_vector, 7});
  const virtualization_result r = virtualize_ipi(b.a, 0x41, 2);
  EXPECT_FALSE(r.trap || r.notify);
  EXPECT_TRUE(is_posted(b.memory, pid, 0x41));
}

TEST(ipi_virtualization, every_obstacle_is_the_same_exit_and_posts_nothing) {
  ipi_bench b;
  for (const auto& r : {virtualize_ipi(b.a, 15, 2), virtualize_ipi(b.a, 0x41, 4), virtualize_ipi(b.a, 0x41, 1)})
    EXPECT_TRUE(is_trap(r, exit_reason::apic_write, 0x300));
  EXPECT_FALSE(any_posted(b.memory, pid));
}

// -- routes of a command ----------------------------------------------------------------------------------------------

// The conditions once more, on decoded fields.
icr_route expected_route(std::uint32_t low, bool x2apic, bool vid, bool ipiv) {
  const interrupt_command c = decode_icr(low);
  const bool reserved = (low >> 20) != 0 || (low >> 16 & 3) != 0 || (low >> 13 & 1) != 0 || (low >> 12 & 1) != 0;
  const bool plain = !reserved && c.mode == delivery_mode::fixed && !c.level_triggered;
  if (vid && !x2apic && plain && c.group == shorthand::self && c.vector >= 16) return icr_route::self_ipi;
  if (ipiv && plain && c.group == shorthand::none && c.to == destination_mode::physical) return icr_route::ipi;
  return icr_route::exit;
}

TEST(icr_route, of_every_low_half_without_bits_31_to_20) {
  for (const std::uint32_t vector : {0x00, 0x0F, 0x10, 0xFF})
    for (std::uint32_t fields = 0; fields < 1u << 12; ++fields) {
      const std::uint32_t low = fields << 8 | vector;
      for (unsigned c = 0; c < 8; ++c)
        ASSERT_EQ(route_of(low, c & 1, c & 2, c & 4), expected_route(low, c & 1, c & 2, c & 4)) << std::hex << low;
    }
}

TEST(icr_route, of_any_low_half) {
  vmxsys::testing::random_numbers random{17};
  for (int i = 0; i < 200000; ++i) {
    // Few bits set, so that good ones are among them.
    const auto low = static_cast<std::uint32_t>(random() & random() & random());
    const unsigned c = static_cast<unsigned>(random.below(8));
    ASSERT_EQ(route_of(low, c & 1, c & 2, c & 4), expected_route(low, c & 1, c & 2, c & 4)) << std::hex << low;
  }
}

TEST(icr_route, every_reserved_bit_by_itself_exits) {
  for (unsigned bit = 20; bit < 32; ++bit) {
    EXPECT_EQ(route_of(0x40041 | 1u << bit, false, true, true), icr_route::exit);
    EXPECT_EQ(route_of(0x41 | 1u << bit, false, true, true), icr_route::exit);
  }
}

// -- the xAPIC register pair ------------------------------------------------------------------------------------------

TEST(icr_write, sends_to_the_destination_in_the_high_half) {
  ipi_bench b;
  const virtualization_result r = b.send(0x02FFFFFF'00004041);
  EXPECT_EQ(r.posted, pid);
  EXPECT_EQ(r.notify, (notification{b.notification_vector, 7}));
  EXPECT_EQ(b.page().read_32(vapic::icr_high), 0x02000000u);
}

TEST(icr_write, beyond_the_table_exits_with_the_command_in_the_page) {
  ipi_bench b;
  EXPECT_TRUE(is_trap(b.send(0x04000000'00000041), exit_reason::apic_write, 0x300));
  EXPECT_EQ(b.page().read_32(vapic::icr_low), 0x41u);
}

TEST(icr_write, self_shorthand_is_a_self_ipi_from_vector_16) {
  ipi_bench b;
  EXPECT_TRUE(is_trap(b.send(0x4000F), exit_reason::apic_write, 0x300));
  EXPECT_EQ(b.state.rvi, 0);
  // Level and destination mode do not count.
  EXPECT_TRUE(is_quiet(b.send(0x44810)));
  EXPECT_EQ(b.state.rvi, 0x10);
  EXPECT_TRUE(b.state.recognized);
}

TEST(icr_write, without_the_controls_exits) {
  ipi_bench b;
  b.with(apic_control::tpr_shadow | apic_control::register_virtualization);
  EXPECT_TRUE(is_trap(b.send(0x02000000'00000041), exit_reason::apic_write, 0x300));
  EXPECT_TRUE(is_trap(b.send(0x40041), exit_reason::apic_write, 0x300));
  b.with(apic_control::tpr_shadow | apic_control::register_virtualization | apic_control::ipi_virtualization);
  EXPECT_TRUE(is_trap(b.send(0x40041), exit_reason::apic_write, 0x300));
  EXPECT_TRUE(b.send(0x02000000'00000041).posted);
}

TEST(icr_write, of_one_byte_exits_with_its_own_offset) {
  ipi_bench b;
  b.page().write_32(vapic::icr_low, 0x41);
  EXPECT_TRUE(is_trap(write_virtual_apic(b.a, writes(0x302, 1), 0x08), exit_reason::apic_write, 0x302));
  EXPECT_EQ(b.page().read_32(vapic::icr_low), 0x80041u);
}

}  // namespace
}  // namespace vmxsys::apic
