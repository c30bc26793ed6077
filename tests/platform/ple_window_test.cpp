#include <cstdint>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/models/kvm/spin/ple_window.hpp>

namespace vmxsys::models {
namespace {

std::vector<std::uint32_t> growing(ple_window_era era, unsigned steps) {
  ple_window window(era);
  std::vector<std::uint32_t> values;
  for (unsigned i = 0; i < steps; ++i) values.push_back(window.on_pause_exit().after);
  return values;
}

TEST(ple_window_growth, WIN_01_vmx_doubles_up_to_the_full_32_bits) {
  const auto values = growing(ple_window_era::vmx, 25);
  for (unsigned i = 0; i < 19; ++i) EXPECT_EQ(values[i], 8192u << i);
  EXPECT_EQ(values[18], 2147483648u);
  for (unsigned i = 19; i < 25; ++i) EXPECT_EQ(values[i], 4294967295u);
}

TEST(ple_window_growth, WIN_02_svm_stops_at_16_bits) {
  EXPECT_EQ(growing(ple_window_era::svm, 6), (std::vector<std::uint32_t>{6000, 12000, 24000, 48000, 65535, 65535}));
}

TEST(ple_window_growth, WIN_16_signed_stops_one_step_below_the_maximum) {
  const auto values = growing(ple_window_era::vmx_signed, 20);
  for (unsigned i = 0; i < 17; ++i) EXPECT_EQ(values[i], 8192u << i);
  EXPECT_EQ(values[16], 536870912u);
  EXPECT_EQ(values[17], 1073741822u);
  EXPECT_EQ(values[19], 1073741822u);
}

TEST(ple_window_growth, before_v3_18_nothing_moves) {
  EXPECT_EQ(growing(ple_window_era::vmx_fixed, 2), (std::vector<std::uint32_t>{4096, 4096}));
  EXPECT_EQ(ple_window(ple_window_era::vmx_fixed).on_sched_in().after, 4096u);
}

struct step_case {
  const char* label;
  ple_window_era era;
  bool grows;
  ple_window_parameters parameters;
  std::uint32_t value, expected;
};
class ple_window_step : public testing::TestWithParam<step_case> {};

TEST_P(ple_window_step, is_the_kernels) {
  const step_case& c = GetParam();
  EXPECT_EQ((c.grows ? grown_ple_window : shrunk_ple_window)(c.era, c.parameters, c.value), c.expected);
}

constexpr std::uint32_t all_ones = 4294967295u;
constexpr auto vmx = ple_window_era::vmx;
step_case grow_case(const char* label, std::uint32_t value, std::uint32_t grow, std::uint32_t max,
                    std::uint32_t after) {
  return {label, vmx, true, {4096, grow, 0, max}, value, after};
}
step_case shrink_case(const char* label, std::uint32_t value, std::uint32_t shrink, std::uint32_t after) {
  return {label, vmx, false, {4096, 2, shrink, all_ones}, value, after};
}
INSTANTIATE_TEST_SUITE_P(
    golden, ple_window_step,
    testing::Values(grow_case("WIN_03", 16384, 0, all_ones, 4096), grow_case("WIN_04", 8192, 1, all_ones, 8192),
                    grow_case("WIN_05", 8192, 4096, all_ones, 12288),
                    grow_case("WIN_06", 8192, 4095, all_ones, 33546240), grow_case("WIN_07", 12000, 2, 16384, 16384),
                    grow_case("WIN_08", 16384, 0, 1000, 4096), shrink_case("WIN_09", 65536, 0, 4096),
                    shrink_case("WIN_10", 16384, 2, 8192), shrink_case("WIN_11", 4096, 2, 4096),
                    shrink_case("WIN_12", 16384, 8192, 8192), shrink_case("WIN_13", 4096, 8192, 4294963200u),
                    shrink_case("WIN_14", 12288, 3, 4096),
                    step_case{"WIN_15", ple_window_era::svm, false, {3000, 2, 4000, 65535}, 3000, 64536},
                    step_case{"WIN_17", ple_window_era::vmx_signed, false, {4096, 2, 8192, 1073741823}, 4096, 4096}),
    [](const auto& test) { return std::string(test.param.label); });

TEST(ple_window_life, WIN_18_WIN_19_exits_and_sched_ins) {
  ple_window window;
  std::vector<std::uint32_t> at_entry;
  const auto follow = [&](const ple_window_change& change) {
    EXPECT_TRUE(window.take_dirty());
    at_entry.push_back(window.value());
    EXPECT_EQ(change.after, window.value());
  };
  follow(window.on_pause_exit());
  follow(window.on_pause_exit());
  follow(window.on_sched_in());
  follow(window.on_pause_exit());
  EXPECT_EQ(at_entry, (std::vector<std::uint32_t>{8192, 16384, 4096, 8192}));
}

TEST(ple_window_life, a_change_is_to_be_written_though_none_follows) {
  ple_window window(ple_window_era::vmx, {4096, 2, 0, 8192});
  EXPECT_TRUE(window.on_pause_exit().changed());
  EXPECT_FALSE(window.on_pause_exit().changed()) << "it is at its maximum";
  EXPECT_TRUE(window.take_dirty());
  EXPECT_FALSE(window.take_dirty());
}

TEST(ple_window_life, WIN_20_a_change_to_the_same_value) {
  ple_window window;
  const ple_window_change change = window.on_sched_in();
  EXPECT_FALSE(change.changed());
  EXPECT_FALSE(window.take_dirty());
}

}  // namespace
}  // namespace vmxsys::models
