#include <gtest/gtest.h>
#include <map>
#include <sstream>
#include <string>

#include <vmxsys/platform/cli/command_line.hpp>
#include <vmxsys/platform/experiments/detail/study_kit.hpp>
#include <vmxsys/platform/experiments/detail/study_timer_ladder.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>

#include "study_without_samples.hpp"

// The study of timers on short runs: which exits each backend costs, and in which order they are late.
namespace vmxsys::platform {
namespace {

run_config short_base() {
  const std::vector<std::string> overrides{"until=6ms", "measure_from=2ms"};
  const loaded_config c = load_config_text(study_configuration("timer_ladder"), overrides);
  EXPECT_TRUE(c.ok()) << c.report();
  return c.config;
}

struct expected_exits {
  std::string arming, computing, halted;
};
/// What each mechanism says.
const std::map<std::string, expected_exits> expectations{
    {"bare metal", {"", "", ""}},
    {"hrtimer", {"MSR_WRITE", "EXTERNAL_INTERRUPT, MSR_WRITE", "HLT, MSR_WRITE"}},
    {"preemption timer", {"MSR_WRITE", "PREEMPTION_TIMER, MSR_WRITE", "HLT, MSR_WRITE"}},
    {"preemption timer, adaptive", {"MSR_WRITE", "PREEMPTION_TIMER, MSR_WRITE", "HLT, MSR_WRITE"}},
    {"hrtimer, APICv", {"MSR_WRITE", "EXTERNAL_INTERRUPT", "HLT"}},
    {"preemption timer, APICv", {"MSR_WRITE", "PREEMPTION_TIMER", "HLT"}},
    {"preemption timer, fast path", {"MSR_WRITE", "PREEMPTION_TIMER", "HLT"}},
    {"posted from another CPU", {"MSR_WRITE", "", "HLT"}},
    {"APIC-timer virtualization", {"", "", "HLT"}},
};

timer_ladder_output climbed() {
  timer_ladder_output s;
  s.rungs = timer_rungs(short_base());
  for (const timer_rung& r : s.rungs)
    s.results.push_back({run_timer(r.config, true), run_timer(while_halted(r.config), true)});
  s.publications = timer_publications(short_base());
  for (const timer_publication& p : s.publications)
    s.publication_results.push_back({run_timer(p.config, true), run_timer(while_halted(p.config), true)});
  return s;
}

TEST(study_timer_ladder, every_rung_exits_as_its_mechanism_says) {
  const timer_ladder_output s = climbed();
  ASSERT_EQ(s.rungs.size(), expectations.size());
  for (std::size_t i = 0; i < s.rungs.size(); ++i) {
    const std::string& name = s.rungs[i].name;
    ASSERT_EQ(expectations.count(name), 1u) << name;
    const expected_exits& e = expectations.at(name);
    for (const timer_timing_result* r : {&s.results[i].computing, &s.results[i].halted}) {
      EXPECT_GT(r->rounds, 100u) << name;
      EXPECT_GT(r->firing.share, 0.97) << name;
      EXPECT_EQ(r->arming.reasons, e.arming) << name;
    }
    EXPECT_EQ(s.results[i].computing.firing.reasons, e.computing) << name;
    EXPECT_EQ(s.results[i].halted.firing.reasons, e.halted) << name;
  }
  EXPECT_EQ(timer_ladder_findings(s).size(), s.rungs.size()) << "one for each virtual rung, and one more";
  const std::string picture = timer_ladder_picture(s);
  for (const timer_rung& r : s.rungs) EXPECT_NE(picture.find(">" + r.name + "<"), std::string::npos) << r.name;
}

TEST(study_timer_ladder, a_timer_is_later_the_more_software_it_goes_through) {
  std::map<std::string, std::uint64_t> late;
  for (const timer_rung& r : timer_rungs(short_base())) late[r.name] = run_timer(r.config, true).late.median;
  EXPECT_LT(late["bare metal"], late["preemption timer"]);
  EXPECT_LT(late["preemption timer"], late["hrtimer"]);
  EXPECT_LT(late["preemption timer, adaptive"], late["preemption timer"]);
  EXPECT_LT(late["preemption timer, fast path"], late["preemption timer, APICv"]);
  EXPECT_LT(late["bare metal"], late["APIC-timer virtualization"]);
  EXPECT_LT(late["APIC-timer virtualization"], late["preemption timer, fast path"]);
}

TEST(study_timer_ladder, what_has_no_samples_says_so) {
  timer_ladder_output s;
  s.rungs = timer_rungs(short_base());
  s.results.resize(s.rungs.size());
  EXPECT_NE(timer_ladder_picture(s).find(">no samples<"), std::string::npos);
  const std::vector<std::string> sentences = timer_ladder_findings(s);
  EXPECT_EQ(sentences.size(), s.rungs.size() - 1);
  for (const std::string& line : sentences) EXPECT_NE(line.find("no samples"), std::string::npos) << line;
  const auto computing = study_without_samples("timer_ladder").at("rungs").at(0).at("computing");
  EXPECT_TRUE(computing.at("late").is_null()) << computing;
}

TEST(study_timer_ladder, stepped_and_fast_are_the_same) {
  for (const timer_rung& r : timer_rungs(short_base())) {
    for (run_config c : {r.config, while_halted(r.config)}) {
      const std::string fast = run_timer(c, true).fact_hash;
      c.machine.stepped = true;
      EXPECT_EQ(run_timer(c, true).fact_hash, fast) << r.name;
    }
  }
}

TEST(study_timer_ladder, what_it_sets_itself_cannot_be_set) {
  for (const std::string assignment :
       {"bare_metal=true", "host.timer_backend=hrtimer", "vms[0].workload.halted=true"}) {
    std::ostringstream out, err;
    EXPECT_EQ(command_line_main({"study", "timer_ladder", "-q", "-p", assignment}, out, err), exit_usage) << assignment;
    EXPECT_NE(err.str().find("the study runs every value"), std::string::npos) << err.str();
  }
}

TEST(study_timer_ladder, a_machine_on_which_a_rung_cannot_stand_is_refused) {
  std::ostringstream out, err;
  EXPECT_EQ(command_line_main({"study", "timer_ladder", "-q", "-p", "vms[0].vcpus=2"}, out, err), exit_usage);
  EXPECT_NE(err.str().find("bare_metal"), std::string::npos) << err.str();
}

}  // namespace
}  // namespace vmxsys::platform
