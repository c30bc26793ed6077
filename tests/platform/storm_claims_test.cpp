#include <algorithm>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/platform/experiments/detail/study_ple_storm.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/platform/run/execution.hpp>

// What the README says of the storm, over seeds: any one run may be an exception.
namespace vmxsys::platform {
namespace {

struct outcome {
  std::uint64_t exits, longest;
};

std::vector<outcome> storms(const char* affinity) {
  std::vector<outcome> all;
  for (int seed = 1; seed <= 5; ++seed) {
    const std::vector<std::string> overrides{"host.spin_policy=ipi_receivers",
                                             std::string{"host.vcpu_affinity="} + affinity,
                                             "seed=" + std::to_string(seed), "until=120ms"};
    const loaded_config c = load_config_text(ple_storm_configuration(), overrides, "ple_storm.json");
    EXPECT_TRUE(c.ok()) << c.report();
    execution_options how;
    how.bare = true;
    const run_result r = execute(c.config, how);
    all.push_back({r.ple_exits, r.longest_exit_streak});
  }
  return all;
}

std::uint64_t median(std::vector<outcome> all, std::uint64_t outcome::*what) {
  std::nth_element(all.begin(), all.begin() + 2, all.end(),
                   [&](const outcome& a, const outcome& b) { return a.*what < b.*what; });
  return all[2].*what;
}

TEST(storm_claims, stacked_siblings_exit_in_long_streaks_and_spread_ones_a_hundredth_as_often) {
  const std::vector<outcome> stacked = storms("stacked"), spread = storms("spread");
  EXPECT_GT(median(stacked, &outcome::longest), 100u);
  EXPECT_LT(100 * median(spread, &outcome::exits), median(stacked, &outcome::exits));
  for (std::size_t i = 0; i < stacked.size(); ++i)
    EXPECT_LT(10 * spread[i].exits, stacked[i].exits) << "seed " << i + 1;
}

}  // namespace
}  // namespace vmxsys::platform
