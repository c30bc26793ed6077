#include <gtest/gtest.h>
#include <initializer_list>

#include "virtual_apic_bench.hpp"

namespace vmxsys::apic {
namespace {

using apic_testing::virtual_apic_bench;

TEST(virtual_apic_page, every_vector_has_the_place_the_manual_gives_it) {
  for (unsigned x = 0; x < 256; ++x) {
    const auto vector = static_cast<std::uint8_t>(x);
    virtual_apic_bench b;
    virtual_apic_page page = b.page();
    page.set_requested(vector);
    page.set_in_service(vector);
    const physical_address byte_irr = b.page_at + (0x200 | (x & 0xE0) >> 1) + (x & 0x1F) / 8;
    const physical_address byte_isr = b.page_at + (0x100 | (x & 0xE0) >> 1) + (x & 0x1F) / 8;
    EXPECT_EQ(b.memory.read<std::uint8_t>(byte_irr), 1u << x % 8);
    EXPECT_EQ(b.memory.read<std::uint8_t>(byte_isr), 1u << x % 8);
    EXPECT_EQ(page.highest_requested(), static_cast<int>(x));
    EXPECT_EQ(page.highest_in_service(), static_cast<int>(x));
    EXPECT_TRUE(page.requested(vector) && page.in_service(vector));
    // Nothing else in the page.
    page.set_requested(vector, false);
    page.set_in_service(vector, false);
    EXPECT_FALSE(page.requested(vector) || page.in_service(vector));
    for (std::uint16_t at = 0; at < 0x1000; at += 8) ASSERT_EQ(page.read_64(at), 0u) << at;
  }
}

TEST(virtual_apic_page, the_highest_of_several_and_none) {
  virtual_apic_bench b;
  virtual_apic_page page = b.page();
  EXPECT_EQ(page.highest_requested(), virtual_apic_page::none);
  page.set_requested(0);
  EXPECT_EQ(page.highest_requested(), 0);
  for (const std::uint8_t v : std::initializer_list<std::uint8_t>{31, 32, 63, 64, 127, 128, 255}) {
    page.set_requested(v);
    EXPECT_EQ(page.highest_requested(), v);
  }
  EXPECT_EQ(page.highest_in_service(), virtual_apic_page::none);
}

TEST(virtual_apic_page, sixty_four_requests_at_once_keep_the_others) {
  for (unsigned word = 0; word < 4; ++word) {
    virtual_apic_bench b;
    virtual_apic_page page = b.page();
    page.set_requested(static_cast<std::uint8_t>(64 * word + 5));
    page.request_64(word, 0x8000'0001'8000'0001);
    for (unsigned x = 0; x < 256; ++x) {
      const unsigned bit = x - 64 * word;
      const bool expected = x / 64 == word && (bit == 0 || bit == 5 || bit == 31 || bit == 32 || bit == 63);
      EXPECT_EQ(page.requested(static_cast<std::uint8_t>(x)), expected) << x;
    }
  }
}

TEST(virtual_apic_page, accesses_of_every_width_are_little_endian) {
  virtual_apic_bench b;
  virtual_apic_page page = b.page();
  page.write(0x300, 8, 0x8877665544332211);
  EXPECT_EQ(page.read(0x300, 1), 0x11u);
  EXPECT_EQ(page.read(0x301, 2), 0x3322u);
  EXPECT_EQ(page.read(0x300, 3), 0x332211u);
  EXPECT_EQ(page.read_32(0x304), 0x88776655u);
  page.write(0x302, 1, 0xAAAA);
  EXPECT_EQ(page.read_64(0x300), 0x8877665544AA2211u);
}

}  // namespace
}  // namespace vmxsys::apic
