#include <gtest/gtest.h>
#include <sstream>

#include <vmxsys/platform/cli/command_line.hpp>
#include <vmxsys/platform/experiments/detail/study_detectors.hpp>
#include <vmxsys/platform/experiments/detail/study_kit.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/platform/run/execution.hpp>

// The study of spin detectors on short runs: the controls say whether the scoring can be trusted.
namespace vmxsys::platform {
namespace {

run_config short_base() {
  const std::vector<std::string> overrides{"until=50ms", "measure_from=5ms"};
  return load_config_text(study_configuration("detectors"), overrides).config;
}

run_result run(const run_config& config) {
  execution_options how;
  how.bare = true;
  return execute(config, how);
}

const detector_row& row(const run_result& r, std::string_view name) {
  for (const detector_row& d : r.detection.detectors)
    if (d.name == name) return d;
  throw std::logic_error{"no such detector"};
}

TEST(study_detectors, the_oracle_is_perfect_and_the_coin_knows_nothing) {
  std::uint64_t futile = 0, waits = 0, heads = 0, right = 0;
  for (const detector_case& c : detector_cases(short_base())) {
    const run_result r = run(c.config);
    const detector_row& oracle = row(r, "oracle");
    EXPECT_EQ(oracle.false_positives, 0u) << c.name;
    EXPECT_EQ(oracle.false_negatives, 0u) << c.name;
    EXPECT_EQ(oracle.true_positives, r.detection.futile_waits) << c.name;
    EXPECT_EQ(oracle.latency_max_ns, 0u) << c.name;
    const detector_row& coin = row(r, "coin_flip");
    futile += r.detection.futile_waits;
    waits += r.detection.waits;
    heads += coin.true_positives + coin.false_positives;
    right += coin.true_positives;
    EXPECT_GT(r.detection.waits, 0u) << c.name;
  }
  EXPECT_GT(futile, 20u);
  const double base = static_cast<double>(futile) / static_cast<double>(waits);
  const double precision = static_cast<double>(right) / static_cast<double>(heads);
  EXPECT_GT(precision, base / 3);
  EXPECT_LT(precision, base * 4) << "no better than chance, but that waits without a PAUSE are never asked about";
}

TEST(study_detectors, what_each_kind_sees) {
  const std::vector<detector_case> cases = detector_cases(short_base());
  const auto of = [&](std::string_view name) {
    for (const detector_case& c : cases)
      if (c.name == name) return run(c.config);
    throw std::logic_error{"no such case"};
  };
  const run_result user = of("user-level spin");
  EXPECT_EQ(row(user, "pause_loop_exiting").answers, 0u) << "CPL 3 is not watched";
  EXPECT_GT(row(user, "lock_line").true_positives, 0u);
  EXPECT_EQ(row(user, "lock_line").false_negatives, 0u);
  const run_result alone = of("long holds");
  EXPECT_EQ(alone.detection.futile_waits, 0u) << "a CPU for every vCPU";
  EXPECT_GT(row(alone, "pause_loop_exiting").false_positives, 0u);
  EXPECT_EQ(row(alone, "overcommit_aware").answers, 0u) << "nobody waits for a CPU";
}

TEST(study_detectors, a_slow_pause_blinds_pause_loop_exiting_below_its_period) {
  // PAUSE 140, load 4, compare and branch 2.
  const run_result gaps = run(gap_sweep(short_base()).config);
  for (const detector_row& d : gaps.detection.detectors) {
    if (d.gap < 146)
      EXPECT_EQ(d.answers, 0u) << d.gap;
    else
      EXPECT_GT(d.answers, 0u) << d.gap;
  }
  for (const detector_case& c : clock_sweep(short_base())) {
    if (c.config.machine.core_clock_percent != 114 && c.config.machine.core_clock_percent != 115) continue;
    const detector_row d = run(c.config).detection.detectors.front();
    if (c.config.machine.core_clock_percent == 114)
      EXPECT_EQ(d.answers, 0u);
    else
      EXPECT_GT(d.answers, 0u);
  }
}

TEST(study_detectors, stepped_and_fast_score_alike) {
  run_config c = detector_cases(short_base())[2].config;
  c.until = duration::ms(40);
  c.measure_from = duration::ms(1);
  const run_result fast = run(c);
  c.machine.stepped = true;
  const run_result stepped = run(c);
  EXPECT_EQ(fast.fact_hash, stepped.fact_hash);
  EXPECT_GT(fast.detection.waits, 0u);
}

TEST(study_detectors, what_it_sets_itself_cannot_be_set) {
  for (const std::string assignment :
       {"machine.observers=[]", "machine.detector=none", "machine.core_clock_percent=150"}) {
    std::ostringstream out, err;
    EXPECT_EQ(command_line_main({"study", "detectors", "-q", "-p", assignment}, out, err), exit_usage) << assignment;
    EXPECT_NE(err.str().find("the study runs every value"), std::string::npos) << err.str();
  }
}

}  // namespace
}  // namespace vmxsys::platform
