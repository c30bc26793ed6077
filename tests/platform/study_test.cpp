#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <vector>

#include <vmxsys/platform/cli/command_line.hpp>
#include <vmxsys/platform/experiments/detail/study_kit.hpp>
#include <vmxsys/platform/experiments/detail/study_ple_storm.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>

// The study says what was counted, and refuses what it sets itself.
namespace {

using namespace vmxsys::platform;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct fixture {
  fixture() : cases{ple_storm_cases(load_config_text(ple_storm_configuration()).config)} {
    for (const ple_storm_case& c : cases) {
      run_result r;
      r.vcpu_affinity = c.placement;
      r.policy = c.policy;
      r.ple_window_grow = c.grow;
      r.vms = {{.name = "lock_bound", .work = 100}, {.name = "cpu_bound", .work = 50}};
      results.push_back(r);
    }
  }
  run_result& of(const std::string& placement, std::uint32_t grow, const std::string& policy) {
    for (std::size_t i = 0; i < cases.size(); ++i)
      if (cases[i].placement == placement && cases[i].grow == grow && cases[i].policy == policy) return results[i];
    throw std::logic_error("no such case");
  }
  std::string sentences() const {
    std::string all;
    for (const std::string& s : ple_storm_findings(cases, results)) all += s + '\n';
    return all;
  }
  std::vector<ple_storm_case> cases;
  std::vector<run_result> results;
};

TEST(study, what_it_sweeps_cannot_be_set) {
  for (const std::string& assignment :
       std::vector<std::string>{"host.spin_policy=sleep", "host.spin_policy.name=sleep", "host.vcpu_affinity=spread",
                                "host.ple_window_grow=4"}) {
    std::ostringstream out, err;
    EXPECT_EQ(command_line_main({"study", "ple_storm", "-q", "-p", assignment}, out, err), exit_usage);
    EXPECT_TRUE(has(err.str(), assignment + ": host.")) << err.str();
    EXPECT_TRUE(has(err.str(), "the study runs every value")) << err.str();
    EXPECT_TRUE(out.str().empty());
  }
}

TEST(study, what_is_doubtful_in_it_is_told) {
  options what;
  std::ostringstream err;
  EXPECT_TRUE(load_study("ple_storm", what, err).warnings.empty());
  EXPECT_TRUE(err.str().empty());
  what.overrides = {"host.ple_window_shrink=8192"};
  EXPECT_TRUE(load_study("ple_storm", what, err).ok());
  EXPECT_EQ(err.str().rfind("warning: host.ple_window_shrink = 8192: ", 0), 0u) << err.str();
}

TEST(study, excerpt_is_of_the_longest_exit_streak_with_a_doubling_window) {
  fixture f;
  EXPECT_FALSE(ple_storm_excerpt_of(f.cases, f.results));
  f.of("spread", 0, "directed").longest_exit_streak = 300;
  EXPECT_EQ(&f.results[*ple_storm_excerpt_of(f.cases, f.results)], &f.of("spread", 0, "directed"));
  f.of("spread", 2, "directed").longest_exit_streak = 4;
  f.of("stacked", 2, "kernel_mode").longest_exit_streak = 7;
  EXPECT_EQ(&f.results[*ple_storm_excerpt_of(f.cases, f.results)], &f.of("stacked", 2, "kernel_mode"));
}

TEST(study, sentences_give_the_counts) {
  fixture f;
  run_result& r = f.of("stacked", 2, "ipi_receivers");
  r.ple_exits = 1000;
  r.yields = {.accepted = 800, .same_queue = 200, .other_queue = 600, .to_sibling = 790, .futile = 8};
  const std::string text = f.sentences();
  EXPECT_TRUE(has(text,
                  "of 800 accepted yields the target was on the yielder's own run queue in 200 (25.0%) and on "
                  "another one in 600 (75.0%)"))
      << text;
  EXPECT_TRUE(has(text, "switched to a vCPU of the same VM in 790 (98.8%)")) << text;
}

TEST(study, without_exits_nothing_is_said_of_slices) {
  fixture f;
  const std::string text = f.sentences();
  EXPECT_TRUE(has(text, "No directed yield was accepted")) << text;
  EXPECT_FALSE(has(text, "slice")) << text;
}

TEST(study, work_is_a_range_of_one_seed) {
  fixture f;
  f.of("stacked", 2, "sleep").vms[0].work = 103;
  f.of("stacked", 0, "directed").vms[0].work = 98;
  const std::string text = f.sentences();
  EXPECT_TRUE(has(text, "stacked: 100 units without PLE, 98 to 103 over the policies")) << text;
  EXPECT_TRUE(has(text, "one seed")) << text;
  EXPECT_FALSE(has(text, "most under")) << text;
}

TEST(study, picture_with_and_without_an_excerpt) {
  fixture f;
  const std::string without = ple_storm_picture(f.cases, f.results, {}, std::nullopt);
  EXPECT_TRUE(has(without, "</svg>"));
  EXPECT_FALSE(has(without, "Who has the CPU"));
  for (const char* group : {"stacked, doubling window", "stacked, fixed window", "spread, doubling window"})
    EXPECT_TRUE(has(without, group));
  f.of("stacked", 2, "sleep").longest_exit_streak = 7;
  EXPECT_TRUE(has(ple_storm_picture(f.cases, f.results, {{}, {{"a/0", "guest", 0, 5}}}, 1), "Who has the CPU"));
}

}  // namespace
