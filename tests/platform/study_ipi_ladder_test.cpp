#include <gtest/gtest.h>
#include <map>
#include <sstream>

#include <vmxsys/platform/cli/command_line.hpp>
#include <vmxsys/platform/experiments/detail/study_ipi_ladder.hpp>
#include <vmxsys/platform/experiments/detail/study_kit.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/platform/presets/preset.hpp>

#include "study_without_samples.hpp"

// The study of interprocessor interrupts on short runs and a smaller machine: exits are what the mechanisms say, to the
// last one, and what they cost follows from them.
namespace vmxsys::platform {
namespace {

constexpr std::uint32_t vcpus = 40;  // as in short_base

run_config short_base() {
  const std::vector<std::string> overrides{"until=6ms", "measure_from=3ms", "machine.cores=20", "vms[0].vcpus=40"};
  const loaded_config c = load_config_text(study_configuration("ipi_ladder"), overrides);
  EXPECT_TRUE(c.ok()) << c.report();
  return c.config;
}

struct expected_exits {
  std::string unicast;      ///< at the sender
  std::uint32_t multicast;  ///< to 39 targets in three clusters of 16 CPUs
  std::uint32_t broadcast;
  std::string receiving;
};
const std::map<std::string, expected_exits> expectations{
    {"bare metal, xAPIC", {"", 0, 0, ""}},
    {"bare metal, x2APIC physical", {"", 0, 0, ""}},
    {"bare metal, x2APIC cluster", {"", 0, 0, ""}},
    {"injected, xAPIC", {"3 x APIC_ACCESS", 3 * 39, 2, "EXTERNAL_INTERRUPT, APIC_ACCESS"}},
    {"injected, x2APIC physical", {"MSR_WRITE", 39, 1, "EXTERNAL_INTERRUPT, MSR_WRITE"}},
    {"injected, x2APIC cluster", {"MSR_WRITE", 3, 1, "EXTERNAL_INTERRUPT, MSR_WRITE"}},
    {"direct, x2APIC physical", {"", 0, 0, "EXTERNAL_INTERRUPT, MSR_WRITE"}},
    {"posted, xAPIC", {"APIC_WRITE", 39, 1, ""}},
    {"posted, x2APIC physical", {"MSR_WRITE", 39, 1, ""}},
    {"posted, x2APIC cluster", {"MSR_WRITE", 3, 1, ""}},
    {"posted, fast path", {"MSR_WRITE", 39, 1, ""}},
    {"IPI-virtualized", {"", 0, 1, ""}},
};

const ipi_ladder_output& climbed() {
  static const ipi_ladder_output all = [] {
    ipi_ladder_output s;
    s.rungs = ipi_rungs(short_base());
    for (const ipi_rung& r : s.rungs)
      s.results.push_back({run_ipi(with_fan(r.config, ipi_fan::unicast), true),
                           run_ipi(with_fan(r.config, ipi_fan::multicast), true),
                           run_ipi(with_fan(r.config, ipi_fan::broadcast), true)});
    return s;
  }();
  return all;
}

TEST(study_ipi_ladder, every_rung_exits_as_its_mechanism_says) {
  const ipi_ladder_output& s = climbed();
  ASSERT_EQ(s.rungs.size(), expectations.size());
  for (std::size_t i = 0; i < s.rungs.size(); ++i) {
    const std::string& name = s.rungs[i].name;
    ASSERT_EQ(expectations.count(name), 1u) << name;
    const expected_exits& e = expectations.at(name);
    const ipi_rung_results& r = s.results[i];
    EXPECT_EQ(r.unicast.sending.reasons, e.unicast) << name;
    EXPECT_EQ(r.multicast.sending.usual, e.multicast) << name;
    EXPECT_EQ(r.broadcast.sending.usual, e.broadcast) << name;
    for (const ipi_timing_result* fan : {&r.unicast, &r.multicast, &r.broadcast}) {
      EXPECT_GT(fan->rounds, 10u) << name;
      EXPECT_EQ(fan->receiving.reasons, e.receiving) << name;
      EXPECT_GT(fan->receiving.share, 0.95) << name;
      EXPECT_GT(fan->sending.share, 0.8) << name;
      EXPECT_EQ(fan->latency.count, fan->flight.count) << name;
    }
    EXPECT_EQ(r.unicast.send.median + r.unicast.flight.median + r.unicast.receive.median, r.unicast.latency.median)
        << name;
    EXPECT_GE(r.multicast.latency.count, (vcpus - 1) * (r.multicast.rounds - 1)) << name;
  }
}

TEST(study_ipi_ladder, exits_of_sender_and_receiver_add_up_but_for_the_lines_between_them) {
  const auto a = climbed().additivity();
  ASSERT_TRUE(a.has_value());
  const double transfer = static_cast<double>(find_preset("sapphire_rapids_sp")->costs.transfer.same_socket.count());
  EXPECT_GT(a->both - a->predicted, 7 * transfer);
  EXPECT_LT(a->both - a->predicted, 9 * transfer);
  EXPECT_EQ(a->neither, 1993) << "fitted: Kaffes et al., Shinjuku, NSDI '19, no exits";
  EXPECT_LT(a->neither, a->sender);
  EXPECT_LT(a->neither, a->receiver);
}

// A sender that posts takes one line of its target, a sender that injects three; exit 56 is over when it comes, a WRMSR
// is not.
TEST(study_ipi_ladder, each_step_of_virtualization_saves_its_sender_time) {
  const auto sender = [](const char* rung) {
    const ipi_ladder_output& s = climbed();
    for (std::size_t i = 0; i < s.rungs.size(); ++i)
      if (s.rungs[i].name == rung) return s.results[i].multicast.sender.median;
    ADD_FAILURE() << rung;
    return std::uint64_t{0};
  };
  EXPECT_GT(sender("injected, xAPIC"), sender("injected, x2APIC physical"));
  EXPECT_GT(sender("injected, x2APIC physical"), sender("posted, x2APIC physical"));
  EXPECT_GT(sender("posted, x2APIC physical"), sender("posted, xAPIC"));
  EXPECT_GT(sender("posted, x2APIC physical"), sender("posted, fast path"));
  EXPECT_GT(sender("posted, fast path"), sender("IPI-virtualized"));
}

TEST(study_ipi_ladder, what_has_no_samples_says_so) {
  ipi_ladder_output s;
  s.rungs = ipi_rungs(short_base());
  s.results.resize(s.rungs.size());
  EXPECT_FALSE(s.additivity().has_value());
  EXPECT_NE(ipi_ladder_picture(s).find(">no samples<"), std::string::npos);
  EXPECT_EQ(ipi_ladder_picture(s).find("\"nan"), std::string::npos) << "no bar of no length";
  const std::vector<std::string> sentences = ipi_ladder_findings(s);
  ASSERT_EQ(sentences.size(), 3u) << "of the publication's rows";
  for (const std::string& line : sentences) EXPECT_NE(line.find("no samples here"), std::string::npos) << line;
}

TEST(study_ipi_ladder, a_measurement_that_is_too_short_has_no_samples) {
  const auto unicast = study_without_samples("ipi_ladder").at("rungs").at(0).at("unicast");
  EXPECT_TRUE(unicast.at("latency").is_null()) << unicast;
  EXPECT_TRUE(unicast.at("sending").is_null()) << unicast;
}

TEST(study_ipi_ladder, stepped_and_fast_are_the_same) {
  for (const ipi_rung& r : ipi_rungs(short_base())) {
    for (run_config c : {with_fan(r.config, ipi_fan::unicast), with_fan(r.config, ipi_fan::multicast)}) {
      c.until = duration::us(4'500);
      const std::string fast = run_ipi(c, true).fact_hash;
      c.machine.stepped = true;
      EXPECT_EQ(run_ipi(c, true).fact_hash, fast) << r.name;
    }
  }
}

TEST(study_ipi_ladder, what_it_sets_itself_cannot_be_set) {
  for (const std::string assignment :
       {"bare_metal=true", "host.interrupt_path=posted", "vms[0].guest.apic=xapic", "vms[0].workload.targets=3"}) {
    std::ostringstream out, err;
    EXPECT_EQ(command_line_main({"study", "ipi_ladder", "-q", "-p", assignment}, out, err), exit_usage) << assignment;
    EXPECT_NE(err.str().find("the study runs every value"), std::string::npos) << err.str();
  }
}

TEST(study_ipi_ladder, a_machine_on_which_a_rung_cannot_stand_is_refused) {
  std::ostringstream out, err;
  EXPECT_EQ(command_line_main({"study", "ipi_ladder", "-q", "-p", "vms[0].vcpus=5"}, out, err), exit_usage);
  EXPECT_NE(err.str().find("bare_metal"), std::string::npos) << err.str();
}

}  // namespace
}  // namespace vmxsys::platform
