#include <cstdint>
#include <gtest/gtest.h>
#include <optional>
#include <random_numbers.hpp>

#include <vmxsys/vmx/spin_detectors/detail/spin_arithmetic.hpp>

namespace vmxsys::vmx {
namespace {

std::optional<std::uint64_t> searched(std::uint64_t start, std::uint64_t step, std::uint64_t modulus, std::uint64_t low,
                                      std::uint64_t high) {
  for (std::uint64_t i = 0; i < modulus; ++i)
    if (const std::uint64_t x = (start + i * step) % modulus; low <= x && x <= high) return i;
  return std::nullopt;
}

TEST(vmx_spin_arithmetic, first_hit_is_what_a_search_finds) {
  for (std::uint64_t modulus = 1; modulus <= 14; ++modulus)
    for (std::uint64_t start = 0; start < modulus; ++start)
      for (std::uint64_t step = 0; step <= modulus; ++step)
        for (std::uint64_t low = 0; low < modulus; ++low)
          for (std::uint64_t high = low; high < modulus; ++high)
            ASSERT_EQ(first_hit(start, step, modulus, low, high), searched(start, step, modulus, low, high))
                << start << ' ' << step << ' ' << modulus << ' ' << low << ' ' << high;
  testing::random_numbers random{7};
  for (int i = 0; i < 3'000; ++i) {
    const std::uint64_t modulus = random.between(1, 5'000);
    const std::uint64_t low = random.below(modulus);
    const std::uint64_t high = low + random.below(random.one_in(2) ? 3 : modulus) % (modulus - low);
    const std::uint64_t start = random.below(3 * modulus), step = random.below(3 * modulus);
    ASSERT_EQ(first_hit(start, step, modulus, low, high), searched(start, step, modulus, low, high));
  }
}

TEST(vmx_spin_arithmetic, first_hit_reaches_2_to_the_32) {
  constexpr std::uint64_t all = std::uint64_t{1} << 32;
  EXPECT_EQ(first_hit(0, 1, all, all - 1, all - 1), all - 1);
  EXPECT_EQ(first_hit(0, all - 1, all, 1, 1), all - 1);
  EXPECT_EQ(first_hit(1, 2, all, 0, 0), std::nullopt);
  // 3 * 2863311531 = 2 * 2^32 + 1
  EXPECT_EQ(first_hit(0, 3, all, 1, 1), 2'863'311'531u);
}

TEST(vmx_spin_arithmetic, first_beyond_at_its_limits) {
  EXPECT_EQ(first_beyond(0, 10, 100), 11u);
  EXPECT_EQ(first_beyond(0, 10, 99), 10u);
  EXPECT_EQ(first_beyond(100, 10, 100), 1u);
  EXPECT_EQ(first_beyond(101, 10, 100), 0u);
  EXPECT_EQ(first_beyond(101, 0, 100), 0u);
  EXPECT_EQ(first_beyond(100, 0, 100), std::nullopt);
  EXPECT_EQ(first_beyond(5, 1, ~std::uint64_t{0}), std::nullopt);
}

TEST(vmx_spin_arithmetic, bits_of_a_counter) {
  EXPECT_EQ(counter_bits(0), 0u);
  EXPECT_EQ(counter_bits(1), 1u);
  EXPECT_EQ(counter_bits(7), 3u);
  EXPECT_EQ(counter_bits(8), 4u);
  EXPECT_EQ(counter_bits(~std::uint64_t{0}), 64u);
}

}  // namespace
}  // namespace vmxsys::vmx
