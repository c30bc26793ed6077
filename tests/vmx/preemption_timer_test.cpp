#include <gtest/gtest.h>

#include <vmxsys/vmx/events/preemption_timer.hpp>

namespace vmxsys::vmx {
namespace {

TEST(preemption_timer_rule, counts_changes_of_a_tsc_bit) {
  EXPECT_EQ(preemption_timer_expiry(cycles{123456}, 1000, 5), cycles{155456});
  EXPECT_EQ(preemption_timer_expiry(cycles{123487}, 1000, 5), cycles{155456}) << "the first tick may be short";
  EXPECT_EQ(preemption_timer_expiry(cycles{123488}, 1000, 5), cycles{155488});
  EXPECT_EQ(preemption_timer_expiry(cycles{100}, 7, 0), cycles{107});
  EXPECT_LE(preemption_timer_expiry(cycles{123487}, 0, 5), cycles{123487}) << "0 has expired already";
  EXPECT_EQ(preemption_timer_expiry(cycles{31}, 1, 5), cycles{32});
  EXPECT_EQ(preemption_timer_expiry(cycles{0}, 0xFFFF'FFFF, 7), cycles{std::uint64_t{0xFFFF'FFFF} << 7});
}

TEST(preemption_timer_rule, value_and_expiry_agree) {
  for (const unsigned shift : {0u, 5u, 7u})
    for (const std::uint64_t loaded : {0u, 1u, 31u, 127u, 128u, 5000u})
      for (const std::uint32_t value : {0u, 1u, 2u, 10u}) {
        const cycles expiry = preemption_timer_expiry(cycles{loaded}, value, shift);
        for (std::uint64_t t = loaded; t < loaded + 2000; ++t) {
          const bool expired = preemption_timer_expired(cycles{loaded}, value, shift, cycles{t});
          ASSERT_EQ(expired, cycles{t} >= expiry) << shift << " " << loaded << " " << value << " " << t;
        }
        EXPECT_EQ(preemption_timer_value(cycles{loaded}, value, shift, cycles{loaded}), value);
      }
  EXPECT_EQ(preemption_timer_value(cycles{123456}, 1000, 5, cycles{155455}), 1u);
  EXPECT_EQ(preemption_timer_value(cycles{123456}, 1000, 5, cycles{155456}), 0u);
}

TEST(preemption_timer_rule, holds_one_cycle_before_and_expires_on_it) {
  for (const unsigned shift : {0u, 1u, 5u, 31u})
    for (const std::uint32_t value : {1u, 2u, 0xFFFF'FFFFu}) {
      const cycles loaded{123456};
      const cycles expiry = preemption_timer_expiry(loaded, value, shift);
      EXPECT_FALSE(preemption_timer_expired(loaded, value, shift, expiry - cycles{1})) << shift;
      EXPECT_EQ(preemption_timer_value(loaded, value, shift, expiry - cycles{1}), 1u);
      EXPECT_TRUE(preemption_timer_expired(loaded, value, shift, expiry)) << shift;
    }
}

TEST(preemption_timer_rule, counts_down_to_c2) {
  EXPECT_TRUE(preemption_timer_counts(0));
  EXPECT_TRUE(preemption_timer_counts(2));
  EXPECT_FALSE(preemption_timer_counts(3));
  EXPECT_TRUE(preemption_timer_counts(6, 6));
  EXPECT_FALSE(preemption_timer_counts(7, 6));
}

TEST(preemption_timer_class, stands_still_in_a_deep_state) {
  preemption_timer timer{cycles{100}, 10, 5};  // 3 + 10 = 13: expires at 416
  EXPECT_EQ(timer.expiry(), cycles{416});
  EXPECT_EQ(timer.value(cycles{320}), 3u);
  timer.stop(cycles{320});
  EXPECT_TRUE(timer.stopped());
  EXPECT_EQ(timer.expiry(), cycles::never());
  EXPECT_EQ(timer.value(cycles{9999}), 3u);
  EXPECT_FALSE(timer.expired(cycles{9999}));
  timer.resume(cycles{1000});  // 31 + 3 = 34
  EXPECT_FALSE(timer.stopped());
  EXPECT_EQ(timer.expiry(), cycles{1088});
  EXPECT_FALSE(timer.expired(cycles{1087}));
  EXPECT_TRUE(timer.expired(cycles{1088}));
  timer.resume(cycles{2000});
  EXPECT_EQ(timer.expiry(), cycles{1088}) << "resume without stop changes nothing";
}

TEST(preemption_timer_class, expired_stays_expired) {
  preemption_timer timer{cycles{100}, 1, 5};
  timer.stop(cycles{128});
  EXPECT_TRUE(timer.expired(cycles{128}));
  EXPECT_LE(timer.expiry(), cycles{128});
  timer.resume(cycles{500});
  EXPECT_TRUE(timer.expired(cycles{500}));
  const preemption_timer zero{cycles{77}, 0, 5};
  EXPECT_TRUE(zero.expired(cycles{77})) << "before the first guest instruction";
}

TEST(preemption_timer_class, without_a_stop_is_the_three_functions) {
  for (const unsigned shift : {0u, 5u})
    for (std::uint32_t value = 0; value < 4; ++value) {
      const preemption_timer timer{cycles{33}, value, shift};
      EXPECT_EQ(timer.expiry(), preemption_timer_expiry(cycles{33}, value, shift));
      for (std::uint64_t t = 33; t < 200; ++t)
        EXPECT_EQ(timer.value(cycles{t}), preemption_timer_value(cycles{33}, value, shift, cycles{t}));
    }
}

}  // namespace
}  // namespace vmxsys::vmx
