#include <gtest/gtest.h>

#include <vmxsys/apic/local/destination.hpp>
#include <vmxsys/apic/remapping/msi.hpp>

namespace {

using namespace vmxsys::apic;

TEST(msi, fields_of_the_compatibility_format) {
  for (unsigned bit = 0; bit < 8; ++bit) {
    EXPECT_EQ(decode_msi({msi_window, 1U << bit})->vector, 1U << bit);
    EXPECT_EQ(decode_msi({msi_window | std::uint64_t{1} << (12 + bit), 0x31})->destination, 1U << bit);
  }
  for (unsigned bit = 0; bit < 7; ++bit)
    EXPECT_EQ(decode_msi({msi_window | std::uint64_t{1} << (5 + bit), 0x31})->destination, 0x100U << bit)
        << "extended destination ID";
  for (unsigned bit = 0; bit < 2; ++bit)
    EXPECT_EQ(decode_msi({msi_window | std::uint64_t{1} << bit, 0x31}), decode_msi({msi_window, 0x31}));
  for (unsigned bit = 16; bit < 32; ++bit)
    EXPECT_EQ(decode_msi({msi_window, 0x31 | 1U << bit}), decode_msi({msi_window, 0x31}));
  for (unsigned bit = 11; bit < 14; ++bit)
    EXPECT_EQ(decode_msi({msi_window, 0x31 | 1U << bit}), decode_msi({msi_window, 0x31}));
}

TEST(msi, delivery_modes) {
  for (unsigned mode = 0; mode < 8; ++mode) {
    const auto c = decode_msi({msi_window, 0x31 | mode << 8});
    if (mode == 3 || mode == 6) {
      EXPECT_FALSE(c) << "reserved";
    } else {
      ASSERT_TRUE(c);
      EXPECT_EQ(c->mode, static_cast<delivery_mode>(mode));
    }
  }
}

TEST(msi, broadcast_is_physical_ff_without_extension) {
  EXPECT_EQ(decode_msi({msi_window | 0xFFU << 12, 0x31})->destination, broadcast_destination);
  EXPECT_EQ(decode_msi({msi_window | 0xFEU << 12, 0x31})->destination, 0xFEu);
  EXPECT_EQ(decode_msi({msi_window | 0xFFU << 12 | 1U << 5, 0x31})->destination, 0x1FFu);
  EXPECT_EQ(decode_msi({msi_window | 0xFFU << 12 | 4, 0x31})->destination, 0xFFu) << "logical: a mask";
}

TEST(msi, destination_mode_and_redirection_hint) {
  EXPECT_EQ(decode_msi({msi_window | 1U << 12 | 4, 0x31})->to, destination_mode::logical) << "also without the hint";
  EXPECT_EQ(decode_msi({msi_window | 1U << 12, 0x31})->to, destination_mode::physical);
  EXPECT_EQ(decode_msi({msi_window | 1U << 12, 0x31})->mode, delivery_mode::fixed);
  EXPECT_EQ(decode_msi({msi_window | 1U << 12 | 8, 0x31})->mode, delivery_mode::lowest_priority);
  EXPECT_EQ(decode_msi({msi_window | 1U << 12 | 8, 0x431})->mode, delivery_mode::nmi) << "only of a fixed interrupt";
}

TEST(msi, trigger_mode_and_level) {
  const auto edge = decode_msi({msi_window, 0x31});
  EXPECT_FALSE(edge->level_triggered);
  EXPECT_TRUE(edge->assert_level) << "without meaning for an edge";
  EXPECT_TRUE(decode_msi({msi_window, 0xC031})->level_triggered);
  EXPECT_TRUE(decode_msi({msi_window, 0xC031})->assert_level);
  EXPECT_FALSE(decode_msi({msi_window, 0x8031})->assert_level);
}

TEST(msi, the_format_bit) {
  EXPECT_TRUE(is_remappable({msi_window | 0x10, 0}));
  EXPECT_FALSE(is_remappable({msi_window | 0x20, 0}));
  EXPECT_FALSE(decode_msi({msi_window | 0x10, 0x31}));
}

TEST(msi, handle_and_subhandle_of_the_remappable_format) {
  for (unsigned bit = 0; bit < 16; ++bit) {
    const auto handle = static_cast<std::uint16_t>(1U << bit);
    const msi m = remappable_msi(handle);
    EXPECT_EQ(m.address & ~(msi_window_size - 1), msi_window);
    const remappable_request r = decode_remappable({m.address, 0xFFFFFFFF});
    EXPECT_EQ(r.handle, handle);
    EXPECT_EQ(r.index(), handle) << "the data says nothing without a subhandle";
    EXPECT_FALSE(r.reserved_bits);
    const remappable_request s = decode_remappable(remappable_msi(0, handle));
    EXPECT_TRUE(s.subhandle_valid);
    EXPECT_EQ(s.index(), handle);
  }
  EXPECT_EQ(decode_remappable({msi_window | 0x10 | 0x4, 0}).handle, 0x8000) << "bit 15 is address bit 2";
  EXPECT_EQ(decode_remappable({msi_window | 0x10 | 0x20, 0}).handle, 1);
  EXPECT_EQ(decode_remappable(remappable_msi(0xFFFF, 0xFFFF)).index(), 0x1FFFEu);
  EXPECT_EQ(decode_remappable(remappable_msi(7, 3)).index(), 10u);
}

TEST(msi, reserved_bits_of_the_remappable_format) {
  for (unsigned bit = 0; bit < 32; ++bit) {
    const remappable_request with{decode_remappable({remappable_msi(5, 0).address, 1U << bit})};
    EXPECT_EQ(with.reserved_bits, bit >= 16) << bit;
    EXPECT_FALSE(decode_remappable({remappable_msi(5).address, 1U << bit}).reserved_bits) << bit;
  }
}

}  // namespace
