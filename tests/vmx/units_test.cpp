#include <gtest/gtest.h>

#include <vmxsys/vmx/base/units.hpp>

// Lengths of time and sizes as a configuration writes them.
namespace vmxsys {
namespace {

TEST(units, durations) {
  EXPECT_EQ(parse_duration("10ms"), duration::ms(10));
  EXPECT_EQ(parse_duration("2.5us"), duration::ns(2500));
  EXPECT_EQ(parse_duration("3000cycles"), duration::from_cycles(3000));
  EXPECT_EQ(parse_duration("0"), duration{});
  EXPECT_EQ(parse_duration("0.001ns"), duration::from_picoseconds(1));
  EXPECT_FALSE(parse_duration("0.0001ns"));
  EXPECT_FALSE(parse_duration("ms"));
  EXPECT_FALSE(parse_duration("1.ms"));
  EXPECT_FALSE(parse_duration(".ms"));
  EXPECT_FALSE(parse_duration("10"));
  EXPECT_EQ(parse_duration("1.50ms"), duration::us(1500));
  EXPECT_FALSE(parse_duration("-1ms"));
  EXPECT_EQ(parse_duration("18446744073709551615ps")->count(), 18446744073709551615u);
  EXPECT_FALSE(parse_duration("18446744073709551616ps"));
  EXPECT_EQ(parse_duration("18446744s")->count(), 18446744000000000000u);
  EXPECT_FALSE(parse_duration("18446745s"));
  EXPECT_EQ(duration::ns(2500).to_string(), "2500ns");
  EXPECT_EQ(duration::ms(1).to_cycles(2500000).count(), 2500000u);
  EXPECT_EQ(duration::from_picoseconds(399).to_cycles(2500000).count(), 0u);  // rounds down
  EXPECT_EQ(duration::from_picoseconds(400).to_cycles(2500000).count(), 1u);
}

TEST(units, sizes) {
  EXPECT_EQ(parse_byte_size("4GiB")->bytes, std::uint64_t{4} << 30);
  EXPECT_EQ(parse_byte_size("1.5KiB")->bytes, 1536u);
  EXPECT_EQ(parse_byte_size("1GB")->bytes, 1000000000u);
  EXPECT_FALSE(parse_byte_size("4"));
  EXPECT_FALSE(parse_byte_size("16777216TiB"));
  EXPECT_EQ(byte_size::gib(64).to_string(), "64GiB");
}

}  // namespace
}  // namespace vmxsys
