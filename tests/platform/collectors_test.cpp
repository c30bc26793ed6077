#include <map>
#include <memory>

#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/models/kernel/kernel_facts.hpp>
#include <vmxsys/models/kvm/kvm_facts.hpp>
#include <vmxsys/platform/observe/collectors/collector_set.hpp>

#include "execution_fixture.hpp"

// Collectors on facts that a test states, and on whole runs; and statistics out of figures.
namespace vmxsys::platform::testing {
namespace {

using vmx::exit_reason;

/// A machine that does not run: 2 GHz. vCPU threads are 1 and 2 of "db", 3 and 4 of "web".
class collecting : public ::testing::Test {
 protected:
  void attach(const std::vector<component<collector_entry>>& chosen) {
    all = std::make_unique<collector_set>(chosen, collectors(), machine.observed());
    machine.hardware().facts().attach(*all);
  }
  template <class F>
  void record(std::uint64_t ns, const F& fact) {
    machine.hardware().facts().record(machine.host().fact_source(0), cycles{2 * ns}, fact);
  }
  std::uint64_t vmcs(unsigned vm, unsigned vcpu) { return machine.hypervisor().vms()[vm]->cpu(vcpu).vmcs(); }
  /// One exit from the guest's last cycle at `ns` to its next: 100 ns, of which a tracer sees 60.
  void exit(std::uint64_t ns, unsigned vcpu, exit_reason reason, std::uint64_t rip = 0x1000) {
    record(ns + 20, cpu::vm_exit_fact{vmcs(0, vcpu), reason, 0, 0, rip, 0, cycles{2 * ns}});
    record(ns + 30, models::kvm_exit_fact{0, static_cast<std::uint16_t>(vcpu), 0, vcpu + 1, reason, rip, 0, 0});
  }
  void entry(std::uint64_t ns, unsigned vcpu) {
    record(ns - 20, models::kvm_entry_fact{0, static_cast<std::uint16_t>(vcpu), 0, vcpu + 1, 0});
    record(ns, cpu::vm_entry_fact{vmcs(0, vcpu), 0, 0, 0, cycles{0}});
  }
  void round(std::uint64_t ns, unsigned vcpu, exit_reason reason, std::uint64_t rip = 0x1000) {
    exit(ns, vcpu, reason, rip);
    entry(ns + 100, vcpu);
  }
  statistics end() {
    all->finish(cycles{0});
    return all->sum_up();
  }

  simulation machine{two_vms()};
  std::unique_ptr<collector_set> all;
};

TEST_F(collecting, exits_by_reason_with_their_times) {
  attach({"exits"});
  all->begin(cycles{0});
  round(1000, 0, exit_reason::hlt);
  round(2000, 0, exit_reason::pause);
  round(3000, 1, exit_reason::pause);
  exit(4000, 1, exit_reason::pause);  // goes on at the end
  const statistics s = end();
  EXPECT_EQ(s.count("exits.HLT.count"), 1u);
  EXPECT_EQ(s.count("exits.PAUSE_INSTRUCTION.count"), 2u);
  EXPECT_EQ(s.tally("exits.PAUSE_INSTRUCTION.time"), (tally_summary{2, 100, 100, 100}));
  EXPECT_EQ(s.tally("exits.PAUSE_INSTRUCTION.host_time"), (tally_summary{2, 60, 60, 60}));
  EXPECT_EQ(s.count("exits.pauses"), 3u);
  EXPECT_EQ(s.count("exits.vm.db.pauses"), 3u);
  EXPECT_EQ(s.count("exits.vm.web.pauses"), 0u);
  EXPECT_EQ(s.find("exits.HLT.time")->unit, "ns");
  EXPECT_EQ(s.find("exits.CPUID.count"), nullptr) << "a reason that was not seen";
}

TEST_F(collecting, a_streak_ends_with_another_reason_or_rip) {
  attach({{"exits", {{"long_streak", 2}}}});
  all->begin(cycles{0});
  std::uint64_t ns = 0;
  const auto pauses = [&](unsigned count, std::uint64_t rip) {
    for (unsigned i = 0; i < count; ++i) round(ns += 1000, 0, exit_reason::pause, rip);
  };
  pauses(2, 0x1000);
  pauses(3, 0x2000);
  round(ns += 1000, 0, exit_reason::hlt);
  pauses(4, 0x2000);
  const statistics s = end();
  EXPECT_EQ(s.count("exits.longest_streak"), 4u);
  EXPECT_EQ(s.count("exits.longest_streak_began"), 2u * 7030);
  EXPECT_EQ(s.count("exits.long_streaks"), 2u) << "over 2: those of 3 and 4";
  EXPECT_EQ(s.count("exits.in_long_streaks"), 7u);
  EXPECT_EQ(s.count("exits.long_streak"), 2u);
}

TEST_F(collecting, what_was_before_the_measured_interval_does_not_count) {
  attach({"exits", "directed_yields"});
  round(1000, 0, exit_reason::pause);
  record(1500, models::on_spin_fact{0, 0, 3, 1, 0});
  exit(2000, 0, exit_reason::pause);  // begun before
  all->begin(cycles{2 * 2050});
  entry(2100, 0);
  round(3000, 0, exit_reason::pause);
  record(3500, models::on_spin_fact{0, 0, 4, 2, 0});
  const statistics s = end();
  EXPECT_EQ(s.count("exits.PAUSE_INSTRUCTION.count"), 1u);
  EXPECT_EQ(s.count("exits.pauses"), 1u);
  EXPECT_EQ(s.count("exits.longest_streak"), 1u);
  EXPECT_EQ(s.count("directed_yields.candidates"), 4u);
}

TEST_F(collecting, what_becomes_of_a_directed_yield) {
  attach({"directed_yields"});
  all->begin(cycles{0});
  const auto yields = [&](std::uint64_t ns) {
    const auto yielded = static_cast<std::uint8_t>(models::yield_to_outcome::yielded);
    exit(ns, 0, exit_reason::pause);
    record(ns + 40, models::yield_to_fact{0, 0, 1, 2, 1, yielded});
  };
  yields(1000);  // picked again
  entry(1100, 0);
  yields(2000);  // its CPU goes to a sibling
  record(2050, models::sched_switch_fact{0, 0, 1, 2, 'R'});
  entry(2100, 0);
  yields(3000);  // to another VM's
  record(3050, models::sched_switch_fact{0, 0, 1, 3, 'R'});
  entry(3100, 0);
  const statistics s = end();
  EXPECT_EQ(s.count("directed_yields.accepted"), 3u);
  EXPECT_EQ(s.count("directed_yields.other_queue"), 3u);
  EXPECT_EQ(s.count("directed_yields.futile"), 1u);
  EXPECT_EQ(s.count("directed_yields.to_sibling"), 1u);
}

TEST_F(collecting, those_that_the_report_needs_run_in_any_case) {
  attach({});
  EXPECT_NE(end().find("exits.pauses"), nullptr);
  attach({{"exits", {{"long_streak", 7}}}});
  const statistics s = end();
  EXPECT_EQ(s.count("exits.long_streak"), 7u);
  EXPECT_NE(s.find("directed_yields.handled"), nullptr);
}

// -- whole runs -------------------------------------------------------------------------------------------------------

TEST(collectors, the_fixed_members_of_the_document_are_statistics) {
  const run_result r = run_bare(short_study());
  const statistics& s = r.statistics;
  EXPECT_GT(r.ple_exits, 100u);
  EXPECT_EQ(r.ple_exits, s.count("exits.pauses"));
  EXPECT_EQ(r.yields.accepted, s.count("directed_yields.accepted"));
  EXPECT_EQ(r.vms[0].ple_exits, s.count("exits.vm." + r.vms[0].name + ".pauses"));
  ASSERT_FALSE(r.exits.empty());
  for (const exit_row& e : r.exits) {
    EXPECT_EQ(e.count, s.count("exits." + e.reason + ".count"));
    EXPECT_EQ(e.all.mean_ns, s.tally("exits." + e.reason + ".time").mean);
  }
}

TEST(collectors, every_statistic_is_one_of_its_collectors_rows_and_no_two_have_a_name) {
  std::map<std::string, unsigned> seen;
  for (const statistic& s : run_bare(short_study()).statistics) {
    ++seen[s.name];
    const collector_entry* of = collectors().find(s.name.substr(0, s.name.find('.')));
    ASSERT_NE(of, nullptr) << s.name;
    const auto is = [&](const statistic_row& row) {
      const std::string name = of->name + std::string{"."} + row.name;
      const std::size_t open = name.find('<');
      return row.unit == s.unit && s.name.starts_with(name.substr(0, open)) &&
             (open == std::string::npos ? s.name == name : s.name.ends_with(name.substr(name.find('>') + 1)));
    };
    EXPECT_TRUE(std::any_of(of->statistics.begin(), of->statistics.end(), is)) << s.name;
  }
  for (const auto& [name, count] : seen) EXPECT_EQ(count, 1u) << name;
}

TEST(collectors, a_document_chooses_them_and_their_options) {
  const auto load = [](const std::vector<std::string>& overrides) {
    return load_config_text(R"({"vms": [{"vcpus": 1}]})", overrides);
  };
  EXPECT_EQ(load({}).config.collectors, collectors().components());
  EXPECT_EQ(load({R"(collectors=["directed_yields"])"}).config.collectors,
            (std::vector<component<collector_entry>>{"directed_yields"}));
  const loaded_config set = load({"collectors.exits.long_streak=50"});
  ASSERT_TRUE(set.ok()) << set.report();
  EXPECT_EQ(set.config.collectors.size(), collectors().size());
  EXPECT_EQ(collectors().value_of(set.config.collectors[0], "long_streak"), 50u);
  EXPECT_EQ(load({R"(collectors=["exits", "exits"])"}).report(),
            "collectors[1] = \"exits\": is collectors[0] already\n");
  EXPECT_EQ(
      load({"collectors.exits.long_streak=0"}).report(),
      "-p collectors.exits.long_streak=0: collectors[0].long_streak = 0: out of range: must be 1 .. 1000000000\n");
  EXPECT_NE(load({"collectors.exist.long_streak=5"}).report().find("did you mean \"exits\"?"), std::string::npos);
}

// -- figures ----------------------------------------------------------------------------------------------------------

struct part {
  time_tally times;
  double share = 0;
};
struct sample {
  std::uint64_t count = 3;
  cycles time{2000};
  double share = 0.5;
  std::map<std::string, std::uint64_t> by_name{{"a", 1}, {"b", 2}};
  std::map<std::string, part> parts;
  part inner;
};
constexpr std::array rows{
    figure<&sample::count>("count", "things", "a count"),
    figure<&sample::time>("time", "a time"),
    figure<&sample::share>("share", "ratio", "a number"),
    figure<&sample::by_name>("<name>.count", "things", "a count for each name"),
    figure<&sample::parts, &part::times>("parts.<name>.times", "a tally for each name"),
    figure<&sample::parts, &part::times, &time_tally::count>("parts.<name>.seen", "times", "its number"),
    figure<&sample::inner, &part::share>("inner", "ratio", "a member of a member"),
};

TEST(figures, rows_give_them_names_and_units) {
  sample f;
  f.parts["x"].times.add(cycles{2000});
  f.parts["x"].times.add(cycles{4000});
  statistics s;
  statistic_sink to{"sample", 2'000'000, s};
  for (const statistic_row& row : statistic_list{rows}) row.give(row, &f, to);
  const statistics expected = [] {
    statistics e;
    e.add({"sample.count", "things", std::uint64_t{3}});
    e.add({"sample.time", "ns", std::uint64_t{1000}});
    e.add({"sample.share", "ratio", 0.5});
    e.add({"sample.a.count", "things", std::uint64_t{1}});
    e.add({"sample.b.count", "things", std::uint64_t{2}});
    e.add({"sample.parts.x.times", "ns", tally_summary{2, 1000, 1500, 2000}});
    e.add({"sample.parts.x.seen", "times", std::uint64_t{2}});
    e.add({"sample.inner", "ratio", 0.0});
    return e;
  }();
  EXPECT_EQ(s, expected);
}

struct counter {
  void on(const models::on_spin_fact& f, const cpu::fact_header&) { spins += f.candidates; }
  void on(const models::inject_fact& f, const cpu::fact_header&) { vectors += f.vector; }
  unsigned spins = 0, vectors = 0;
};

TEST(fact_switch, each_listener_hears_its_kinds) {
  cpu::fact_bus bus;
  const std::uint32_t source = bus.add_source();
  fact_switch to;
  bus.attach(to);
  counter both, one;
  to.add<models::on_spin_fact>(both);
  to.add<models::inject_fact>(both);
  to.add<models::on_spin_fact>(one);
  bus.record(source, cycles{1}, models::on_spin_fact{0, 0, 5, 0, 0});
  bus.record(source, cycles{1}, models::inject_fact{0, 0, 33});
  bus.record(source, cycles{1}, models::ple_window_fact{0, 0, 1, 2});
  EXPECT_EQ(both.spins, 5u);
  EXPECT_EQ(both.vectors, 33u);
  EXPECT_EQ(one.spins, 5u);
  EXPECT_EQ(one.vectors, 0u);
}

}  // namespace
}  // namespace vmxsys::platform::testing
