#include <gtest/gtest.h>
#include <vector>

#include "fuzz/vmx_driver.hpp"
#include "random_numbers.hpp"

namespace vmxsys::vmx {
namespace {

// The driver of the fuzz target on random inputs, the same ones every time.
TEST(vmx_random, instructions_entries_and_walks_keep_their_invariants) {
  vmxsys::testing::random_numbers random{20241120};
  fuzz::vmx_driver::counts total{};
  for (unsigned n = 0; n < 10'000; ++n) {
    std::vector<std::uint8_t> input(random.between(96, 256));
    for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(random());
    fuzz::vmx_driver driver{input.data(), input.size()};
    driver.run();
    ASSERT_EQ(driver.failure(), "") << "input " << n;
    const auto& seen = driver.seen();
    total.succeeded += seen.succeeded;
    total.failed += seen.failed;
    total.faulted += seen.faulted;
    total.exited += seen.exited;
    total.entered += seen.entered;
    total.entry_failed += seen.entry_failed;
    total.translated += seen.translated;
    total.ept_exits += seen.ept_exits;
  }
  EXPECT_GT(total.succeeded, 10'000u);
  EXPECT_GT(total.failed, 1'000u);
  EXPECT_GT(total.faulted, 1'000u);
  EXPECT_GT(total.exited, 1'000u);
  EXPECT_GT(total.entered, 1'000u);
  EXPECT_GT(total.entry_failed, 1'000u);
  EXPECT_GT(total.translated, 500u);
  EXPECT_GT(total.ept_exits, 1'000u);
  RecordProperty("entered", static_cast<int>(total.entered));
}

}  // namespace
}  // namespace vmxsys::vmx
