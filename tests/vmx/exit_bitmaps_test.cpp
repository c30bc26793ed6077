#include <gtest/gtest.h>
#include <set>
#include <tuple>

#include <vmxsys/vmx/instructions/exit_bitmaps.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

#include "flat_memory.hpp"

namespace vmxsys::vmx {
namespace {

constexpr physical_address bitmap = 0x5000;

class vmx_exit_bitmaps : public testing::Test {
 protected:
  void set_primary(std::uint64_t controls) { v.write(field::primary_processor_based_controls, controls); }
  void set_secondary(std::uint64_t controls) {
    set_primary(v.read(field::primary_processor_based_controls) | primary::activate_secondary_controls);
    v.write(field::secondary_processor_based_controls, controls);
  }
  void set_bit(physical_address byte, unsigned bit) { memory.write(byte, static_cast<std::uint8_t>(1u << bit)); }

  vmcs v{4};
  test::flat_memory memory;
};

TEST_F(vmx_exit_bitmaps, msr_bitmap_boundaries) {
  set_primary(primary::use_msr_bitmaps);
  v.write(field::msr_bitmap_address, bitmap);
  struct row {
    std::uint32_t msr;
    physical_address read_byte;
    unsigned bit;
  };
  for (const row& r : {row{0, 0, 0}, row{7, 0, 7}, row{8, 1, 0}, row{0x1FFF, 0x3FF, 7}, row{0xC000'0000, 0x400, 0},
                       row{0xC000'1FFF, 0x7FF, 7}, row{0x830, 0x106, 0}}) {
    EXPECT_FALSE(rdmsr_exits(v, memory, r.msr));
    EXPECT_FALSE(wrmsr_exits(v, memory, r.msr));
    set_bit(bitmap + r.read_byte, r.bit);
    EXPECT_TRUE(rdmsr_exits(v, memory, r.msr)) << std::hex << r.msr;
    EXPECT_FALSE(wrmsr_exits(v, memory, r.msr));
    memory.write(bitmap + r.read_byte, std::uint8_t{0});
    set_bit(bitmap + 0x800 + r.read_byte, r.bit);
    EXPECT_FALSE(rdmsr_exits(v, memory, r.msr));
    EXPECT_TRUE(wrmsr_exits(v, memory, r.msr)) << std::hex << r.msr;
  }
  for (const std::uint32_t outside : {0x2000u, 0xBFFF'FFFFu, 0xC000'2000u, 0x4000'0000u, 0xFFFF'FFFFu}) {
    EXPECT_TRUE(rdmsr_exits(v, memory, outside)) << std::hex << outside;
    EXPECT_TRUE(wrmsr_exits(v, memory, outside)) << std::hex << outside;
  }
}

TEST_F(vmx_exit_bitmaps, msr_ranges_end_where_the_bitmap_does) {
  struct edge {
    std::uint32_t msr;
    bool covered;
  };
  set_primary(primary::use_msr_bitmaps);
  v.write(field::msr_bitmap_address, bitmap);
  for (const edge& at :
       {edge{0x0000'0000, true}, edge{0x0000'1FFF, true}, edge{0x0000'2000, false}, edge{0xBFFF'FFFF, false},
        edge{0xC000'0000, true}, edge{0xC000'1FFF, true}, edge{0xC000'2000, false}, edge{0xFFFF'FFFF, false},
        edge{0x8000'0000, false}, edge{0x4000'0000, false}}) {
    EXPECT_EQ(locate_in_msr_bitmap(at.msr, msr_access::read).covered, at.covered) << std::hex << at.msr;
    EXPECT_EQ(rdmsr_exits(v, memory, at.msr), !at.covered) << std::hex << at.msr;
    EXPECT_EQ(wrmsr_exits(v, memory, at.msr), !at.covered) << std::hex << at.msr;
  }
}

TEST_F(vmx_exit_bitmaps, every_covered_msr_has_a_bit_of_its_own) {
  std::set<unsigned> bits;
  for (const std::uint32_t base : {0u, 0xC000'0000u})
    for (std::uint32_t i = 0; i < 0x2000; ++i)
      for (const msr_access access : {msr_access::read, msr_access::write}) {
        const msr_bitmap_position at = locate_in_msr_bitmap(base + i, access);
        ASSERT_TRUE(at.covered);
        bits.insert(at.byte * 8u + at.bit);
      }
  EXPECT_EQ(bits.size(), 4096u * 8);
  EXPECT_EQ(*bits.rbegin(), 4096u * 8 - 1);
}

TEST_F(vmx_exit_bitmaps, without_msr_bitmaps_every_access_exits) {
  EXPECT_TRUE(rdmsr_exits(v, memory, 0x10));
  EXPECT_TRUE(wrmsr_exits(v, memory, 0x830));
}

TEST_F(vmx_exit_bitmaps, io_bitmaps) {
  EXPECT_FALSE(io_exits(v, memory, 0x60, 1));
  set_primary(primary::unconditional_io_exiting);
  EXPECT_TRUE(io_exits(v, memory, 0x60, 1));
  set_primary(primary::unconditional_io_exiting | primary::use_io_bitmaps);
  v.write(field::io_bitmap_a_address, 0x6000);
  v.write(field::io_bitmap_b_address, 0x7000);
  EXPECT_FALSE(io_exits(v, memory, 0x60, 1)) << "the bitmaps replace the unconditional control";
  set_bit(0x7000, 0);
  EXPECT_TRUE(io_exits(v, memory, 0x8000, 1));
  EXPECT_TRUE(io_exits(v, memory, 0x7FFD, 4)) << "any byte of the access";
  EXPECT_FALSE(io_exits(v, memory, 0x7FFC, 4));
  EXPECT_FALSE(io_exits(v, memory, 0xFFFF, 1));
  EXPECT_TRUE(io_exits(v, memory, 0xFFFF, 2)) << "wraps";
}

TEST_F(vmx_exit_bitmaps, io_bitmap_edges) {
  set_primary(primary::use_io_bitmaps);
  v.write(field::io_bitmap_a_address, 0x6000);
  v.write(field::io_bitmap_b_address, 0x7000);
  for (const std::uint32_t port : {0u, 7u, 8u, 0x7FFEu, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
    const physical_address byte = (port < 0x8000 ? 0x6000 : 0x7000) + (port & 0x7FFF) / 8;
    set_bit(byte, port % 8);
    for (const unsigned bytes : {1u, 2u, 4u})
      for (const int from : {-4, -3, -2, -1, 0, 1}) {
        const std::int64_t first = static_cast<std::int64_t>(port) + from;
        if (first < 0 || first > 0xFFFF) continue;
        const bool touches = first <= port && port < first + bytes;
        const bool wraps = first + bytes > 0x1'0000;
        EXPECT_EQ(io_exits(v, memory, static_cast<std::uint16_t>(first), bytes), touches || wraps)
            << std::hex << port << ' ' << first << ' ' << bytes;
      }
    memory.write(byte, std::uint8_t{0});
  }
}

TEST_F(vmx_exit_bitmaps, io_wraps_only_with_bitmaps) {
  for (const auto& [port, bytes, wraps] :
       {std::tuple{0xFFFFu, 1u, false}, std::tuple{0xFFFEu, 2u, false}, std::tuple{0xFFFFu, 2u, true},
        std::tuple{0xFFFCu, 4u, false}, std::tuple{0xFFFDu, 4u, true}}) {
    set_primary(primary::use_io_bitmaps);
    EXPECT_EQ(io_exits(v, memory, static_cast<std::uint16_t>(port), bytes), wraps) << port;
    set_primary(0);
    EXPECT_FALSE(io_exits(v, memory, static_cast<std::uint16_t>(port), bytes)) << port;
  }
}

TEST_F(vmx_exit_bitmaps, vmread_and_vmwrite_bitmaps) {
  EXPECT_TRUE(vmread_exits(v, memory, 0x4002) && vmwrite_exits(v, memory, 0x4002)) << "no shadowing";
  set_secondary(secondary::vmcs_shadowing);
  v.write(field::vmread_bitmap_address, 0x6000);
  v.write(field::vmwrite_bitmap_address, 0x7000);
  for (const std::uint64_t encoding : {0ull, 0x4002ull, 0x6C1Aull, 0x7FFFull}) {
    EXPECT_FALSE(vmread_exits(v, memory, encoding) || vmwrite_exits(v, memory, encoding)) << encoding;
    set_bit(0x6000 + encoding / 8, encoding % 8);
    EXPECT_TRUE(vmread_exits(v, memory, encoding)) << encoding;
    EXPECT_FALSE(vmwrite_exits(v, memory, encoding)) << encoding;
    memory.write(0x6000 + encoding / 8, std::uint8_t{0});
    set_bit(0x7000 + encoding / 8, encoding % 8);
    EXPECT_FALSE(vmread_exits(v, memory, encoding)) << encoding;
    EXPECT_TRUE(vmwrite_exits(v, memory, encoding)) << encoding;
    memory.write(0x7000 + encoding / 8, std::uint8_t{0});
  }
  for (const std::uint64_t encoding : {0x8000ull, 0xFFFF'FFFFull, 1ull << 32, 1ull << 63})
    EXPECT_TRUE(vmread_exits(v, memory, encoding) && vmwrite_exits(v, memory, encoding)) << encoding;
}

}  // namespace
}  // namespace vmxsys::vmx
