#include <gtest/gtest.h>
#include <random>
#include <set>

#include <vmxsys/apic/local/vector_set.hpp>

namespace {

using vmxsys::apic::vector_set;

TEST(vector_set, empty_has_no_highest) {
  constexpr vector_set set;
  static_assert(set.empty() && set.highest() == vector_set::none && set.count() == 0);
}

TEST(vector_set, every_vector_alone) {
  for (int v = 0; v < 256; ++v) {
    const auto vector = static_cast<std::uint8_t>(v);
    vector_set set;
    EXPECT_TRUE(set.set(vector));
    EXPECT_FALSE(set.set(vector)) << "already a member";
    EXPECT_TRUE(set.test(vector));
    EXPECT_EQ(set.highest(), v);
    for (unsigned i = 0; i < 8; ++i) {
      const bool here = i == static_cast<unsigned>(v / 32);
      EXPECT_EQ(set.register32(i), here ? 1U << (v % 32) : 0U);
    }
    EXPECT_TRUE(set.clear(vector));
    EXPECT_FALSE(set.clear(vector)) << "no longer a member";
    EXPECT_EQ(set, vector_set{});
  }
}

TEST(vector_set, agrees_with_a_set_of_integers) {
  std::mt19937 random{7};
  vector_set ours;
  std::set<int> naive;
  for (int step = 0; step < 20000; ++step) {
    const auto vector = static_cast<std::uint8_t>(random());
    if (random() % 2)
      EXPECT_EQ(ours.set(vector), naive.insert(vector).second);
    else
      EXPECT_EQ(ours.clear(vector), naive.erase(vector) == 1);
    ASSERT_EQ(ours.highest(), naive.empty() ? -1 : *naive.rbegin());
    ASSERT_EQ(ours.count(), static_cast<int>(naive.size()));
    ASSERT_EQ(ours.empty(), naive.empty());
    if (step % 997 == 0) ours.clear(), naive.clear();
  }
}

}  // namespace
