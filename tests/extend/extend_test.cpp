#include <algorithm>
#include <array>
#include <cstdio>
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

#include <vmxsys/platform/cli/list.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/platform/run/execution.hpp>

// An entry of each kind from outside the tree, with an option of its own: linked into this program, and loaded by the
// command line as a shared object.
extern "C" void vmxsys_entries_v1(vmxsys::platform::catalogues& names);

namespace {

using namespace vmxsys::platform;

constexpr const char* machine = R"({
  "until": "8ms",
  "machine": {"cores": 2},
  "vms": [{"name": "a", "vcpus": 4, "workload": {"name": "lock_bound", "work": "20us", "hold": "100us"}}]
})";

const catalogues& extended() {
  static const catalogues all = [] {
    catalogues c;
    vmxsys_entries_v1(c);
    return c;
  }();
  return all;
}

double exits(const run_result& r, const std::string& reason) {
  for (const exit_row& row : r.exits)
    if (row.reason.find(reason) != std::string::npos) return static_cast<double>(row.count);
  return 0;
}

using strings = std::vector<std::string>;

/// A run, and what it wrote as a trace of the kind.
struct outcome_of_run : run_result {
  std::string trace;
};

struct kind {
  const char* topic;   // of `list`
  const char* name;    // of the entry
  const char* choose;  // the override that chooses it
  const char* path;    // of what was chosen
  const char* option;
  const char *low, *high;  // two values
  bool rises;              // `seen` is more with the high one
  std::function<double(const outcome_of_run&)> seen;
  const char *wrong, *range;  // a value that is refused, and what is said then
  const char* misspelt;
  strings with;                  // what else the machine needs
  bool traced = false;           // it is the format of a trace
  const char* listed = nullptr;  // what `list` shows of it in place of the range

  std::string set(const std::string& value) const { return std::string{path} + "." + option + "=" + value; }
  strings overrides(const strings& more = {}) const {
    strings all = with;
    all.emplace_back(choose);
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  friend void PrintTo(const kind& k, std::ostream* out) { *out << k.name; }
};

const strings busy{R"(vms[0].workload={"name": "cpu_bound"})"};
const strings sleeper{R"(vms[0].workload={"name": "timer", "ahead": "30us", "halted": true})", "vms[0].vcpus=2"};

const std::vector<kind> kinds{
    {"detectors",
     "pause_budget",
     "machine.detector=pause_budget",
     "machine.detector",
     "pauses",
     "50",
     "5000",
     false,
     [](const run_result& r) { return static_cast<double>(r.ple_exits); },
     "0",
     "1 .. 1000000",
     "pausen",
     {}},
    {"schedulers",
     "tick_robin",
     "host.scheduler=tick_robin",
     "host.scheduler",
     "ticks",
     "1",
     "5",
     false,
     [](const run_result& r) { return static_cast<double>(r.switches); },
     "1001",
     "1 .. 1000",
     "tick",
     {busy[0], "until=60ms", "host.vcpu_affinity=stacked"}},
    {"policies",
     "next_siblings",
     "host.spin_policy=next_siblings",
     "host.spin_policy",
     "siblings",
     "1",
     "3",
     true,
     [](const run_result& r) { return static_cast<double>(r.yields.attempts) / static_cast<double>(r.yields.handled); },
     "65",
     "1 .. 64",
     "sibling",
     {}},
    {"halt_policies", "poll_first", "host.halt_policy=poll_first", "host.halt_policy", "poll", "0", "1000000", false,
     [](const run_result& r) { return r.idle_share; }, "-1", "0 .. 1000000000", "pol", sleeper},
    {"timer_backends", "late_timer", "host.timer_backend=late_timer", "host.timer_backend", "delay", "0us", "50us",
     true, [](const run_result& r) { return r.host_share; }, "2ms", "0s .. 1ms", "delais", sleeper},
    {"timer_advances", "stepwise", "host.timer_advance=stepwise", "host.timer_advance", "step", "1", "20000", true,
     [](const run_result& r) { return r.host_share; }, "0", "1 .. 100000", "stop", sleeper},
    {"interrupt_paths",
     "slow_injection",
     "host.interrupt_path=slow_injection",
     "host.interrupt_path",
     "delay",
     "0us",
     "50us",
     true,
     [](const run_result& r) { return r.host_share; },
     "2ms",
     "0s .. 1ms",
     "dely",
     {R"(vms[0].workload={"name": "ipi"})"}},
    {"apics",
     "in_batches",
     "vms[0].guest.apic=in_batches",
     "vms[0].guest.apic",
     "targets",
     "1",
     "16",
     false,
     [](const run_result& r) { return exits(r, "MSR_WRITE") / static_cast<double>(r.vms[0].work); },
     "17",
     "1 .. 16",
     "target",
     {R"(vms[0].workload={"name": "tlb_shootdown"})", "machine.cores=4", "host.vcpu_affinity=spread"}},
    {"idle_drivers", "poll_idle", "vms[0].guest.idle=poll_idle", "vms[0].guest.idle", "polls", "0", "5000", false,
     [](const run_result& r) { return exits(r, "HLT"); }, "1000001", "0 .. 1000000", "poll", sleeper},
    {"locks",
     "backoff",
     "vms[0].guest.lock=backoff",
     "vms[0].guest.lock",
     "backoff",
     "100",
     "1000000",
     true,
     [](const run_result& r) { return static_cast<double>(r.locks.waits.mean_ns); },
     "0",
     "1 .. 10000000",
     "backof",
     {"machine.cores=4"}},
    {"workloads",
     "counting",
     R"(vms[0].workload={"name": "counting"})",
     "vms[0].workload",
     "unit",
     "10us",
     "100us",
     false,
     [](const run_result& r) { return static_cast<double>(r.vms[0].work); },
     "2s",
     "10ns .. 1s",
     "units",
     {}},
    {"vcpu_affinities", "strided", "host.vcpu_affinity=strided", "host.vcpu_affinity", "step", "0", "1", true,
     [](const run_result& r) { return r.guest_share; }, "1025", "0 .. 1024", "steps", busy},
    {"pv_services", "host_time", R"(vms[0].pv=[{"name": "host_time"}])", "vms[0].pv[0]", "calls", "3", "30", true,
     [](const run_result& r) { return exits(r, "VMCALL"); }, "1000001", "0 .. 1000000", "call", busy},
    {"presets",
     "slow_pause",
     "machine.preset=slow_pause",
     "machine.costs.instruction",
     "pause",
     "9core_cycles",
     "900core_cycles",
     false,
     [](const run_result& r) { return static_cast<double>(r.spins.pauses); },
     "140",
     "a cost needs a unit",
     "pauze",
     {},
     false,
     "instruction.pause = 140 core_cycles [138 .. 142] published: uops.info"},
    {"collectors",
     "cpu_stays",
     R"(collectors=["cpu_stays"])",
     "collectors[0]",
     "brief",
     "1us",
     "1ms",
     true,
     [](const run_result& r) { return static_cast<double>(r.statistics.count("cpu_stays.brief")); },
     "200ms",
     "0s .. 100ms",
     "grief",
     {}},
    {"traces",
     "exit_csv",
     R"(traces=["kvm", "exit_csv"])",
     "traces[1]",
     "every",
     "1",
     "10",
     false,
     [](const outcome_of_run& r) { return static_cast<double>(r.trace.size()); },
     "0",
     "1 .. 1000000",
     "even",
     {},
     true},
};

loaded_config load(const strings& overrides) {
  return load_config_text(machine, overrides, "machine.json", ".", {}, extended());
}

class extend : public testing::TestWithParam<kind> {};
INSTANTIATE_TEST_SUITE_P(each_kind, extend, testing::ValuesIn(kinds),
                         [](const auto& of) { return std::string{of.param.name}; });

outcome_of_run run(const strings& overrides, const kind& k) {
  const loaded_config loaded = load(overrides);
  EXPECT_TRUE(loaded.ok()) << loaded.report();
  execution_options how;
  how.names = extended();
  how.bare = true;
  std::ostringstream trace;
  if (k.traced) how.traces = {{k.name, &trace, {}}};
  return {execute(loaded.config, how), trace.str()};
}

TEST_P(extend, runs_and_its_option_changes_what_is_seen) {
  const kind& k = GetParam();
  const double low = k.seen(run(k.overrides({k.set(k.low)}), k));
  const double high = k.seen(run(k.overrides({k.set(k.high)}), k));
  if (k.rises)
    EXPECT_LT(low, high);
  else
    EXPECT_GT(low, high);
}

TEST_P(extend, fast_and_stepped_give_the_same_facts) {
  const kind& k = GetParam();
  const strings is = k.overrides({"until=4ms", k.set(k.low)});
  strings stepped = is;
  stepped.emplace_back("machine.stepped=true");
  EXPECT_EQ(run(is, k).fact_hash, run(stepped, k).fact_hash);
}

TEST_P(extend, the_effective_configuration_holds_the_option) {
  const kind& k = GetParam();
  const loaded_config once = load(k.overrides({k.set(k.high)}));
  const std::string text = to_json_text(once.config, extended());
  EXPECT_NE(text.find(std::string{"\""} + k.name + "\""), std::string::npos) << text;
  const loaded_config again = load_config_text(text, {}, "", ".", {}, extended());
  EXPECT_EQ(again.report(), "");
  EXPECT_EQ(to_json_text(again.config, extended()), text);
  EXPECT_NE(to_json_text(load(k.overrides({k.set(k.low)})).config, extended()), text);
}

TEST_P(extend, list_shows_entry_and_option) {
  const kind& k = GetParam();
  std::ostringstream all, one;
  EXPECT_EQ(list(k.topic, "", false, extended(), all), "");
  EXPECT_NE(all.str().find(k.name), std::string::npos) << all.str();
  EXPECT_EQ(list(k.topic, k.name, false, extended(), one), "");
  EXPECT_NE(one.str().find(k.option), std::string::npos) << one.str();
  EXPECT_NE(one.str().find(k.listed != nullptr ? k.listed : k.range), std::string::npos) << one.str();
}

TEST_P(extend, a_wrong_value_is_refused_with_the_range) {
  const kind& k = GetParam();
  const std::string said = load(k.overrides({k.set(k.wrong)})).report();
  EXPECT_NE(said.find(std::string{k.path} + "." + k.option + " = "), std::string::npos) << said;
  EXPECT_NE(said.find(k.range), std::string::npos) << said;
}

TEST_P(extend, a_wrong_option_is_refused_with_the_nearest) {
  const kind& k = GetParam();
  const std::string said = load(k.overrides({std::string{k.path} + "." + k.misspelt + "=" + k.low})).report();
  EXPECT_NE(said.find(std::string{"did you mean \""} + k.option + "\"?"), std::string::npos) << said;
}

TEST_P(extend, the_library_alone_does_not_know_it) {
  const kind& k = GetParam();
  const std::string said = load_config_text(machine, k.overrides()).report();
  EXPECT_NE(said.find(k.name), std::string::npos) << said;
  EXPECT_NE(said.find("must be one of"), std::string::npos) << said;
}

// ---- the same from the command line ----

/// The machine in a file, and the command line with the shared object.
class command : public testing::Test {
 protected:
  command() : file_{std::filesystem::temp_directory_path() / ("vmxsys_extend_" + std::to_string(getpid()) + ".json")} {
    std::ofstream{file_} << machine;
  }
  ~command() override { std::filesystem::remove(file_); }

  struct outcome {
    int status;
    std::string text;  // of both streams
  };
  static outcome call(const strings& arguments) {
    std::string line = "'" VMXSYS_CLI "'";
    for (const std::string& a : arguments) line += " '" + a + "'";
    std::FILE* pipe = popen((line + " 2>&1").c_str(), "r");
    std::string text;
    std::array<char, 4096> part;
    for (std::size_t n; (n = fread(part.data(), 1, part.size(), pipe)) > 0;) text.append(part.data(), n);
    const int status = pclose(pipe);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text};
  }
  strings arguments(const char* what, const kind& k, const strings& more) const {
    strings all{what, file_.string(), "--with", VMXSYS_EXTEND, "-q"};
    for (const std::string& o : k.overrides(more)) all.insert(all.end(), {"-p", o});
    return all;
  }

  std::filesystem::path file_;
};
class command_of_kind : public command, public testing::WithParamInterface<kind> {};
INSTANTIATE_TEST_SUITE_P(each_kind, command_of_kind, testing::ValuesIn(kinds),
                         [](const auto& of) { return std::string{of.param.name}; });

TEST_P(command_of_kind, list_check_and_run) {
  const kind& k = GetParam();
  const outcome listed = call({"list", k.topic, k.name, "--with", VMXSYS_EXTEND});
  EXPECT_EQ(listed.status, 0) << listed.text;
  EXPECT_NE(listed.text.find(k.option), std::string::npos) << listed.text;

  const outcome checked = call(arguments("check", k, {k.set(k.high)}));
  EXPECT_EQ(checked.status, 0) << checked.text;
  EXPECT_NE(checked.text.find(k.name), std::string::npos) << checked.text;
  const outcome refused = call(arguments("check", k, {k.set(k.wrong)}));
  EXPECT_EQ(refused.status, 2) << refused.text;
  EXPECT_NE(refused.text.find(k.range), std::string::npos) << refused.text;

  strings as_json = arguments("run", k, {k.set(k.low)});
  as_json.emplace_back("--json");
  const outcome ran = call(as_json);
  EXPECT_EQ(ran.status, 0) << ran.text;
  const run_result linked = run(k.overrides({k.set(k.low)}), k);
  EXPECT_NE(ran.text.find(linked.fact_hash), std::string::npos) << linked.fact_hash << '\n' << ran.text;
}

TEST(extend_preset, it_is_its_base_with_a_difference_and_may_be_the_base_of_a_file) {
  const auto own = find_preset("slow_pause", extended().presets), base = find_preset("haswell_ep");
  ASSERT_NE(own, nullptr);
  EXPECT_EQ(own->name, "slow_pause");
  EXPECT_EQ(own->description, "haswell_ep with the PAUSE of its successor");
  EXPECT_GT(own->costs.instruction.pause, base->costs.instruction.pause);
  EXPECT_EQ(own->costs.instruction.rdtsc, base->costs.instruction.rdtsc);

  const auto file = std::filesystem::temp_directory_path() / ("vmxsys_own_" + std::to_string(getpid()) + ".json");
  std::ofstream{file} << R"({"name": "mine", "description": "ours", "base": "slow_pause"})";
  EXPECT_EQ(make_preset({file.string()}, extended().presets).costs.instruction.pause, own->costs.instruction.pause);
  EXPECT_THROW(make_preset({file.string()}), std::invalid_argument) << "the library alone does not know the base";
  std::filesystem::remove(file);
}

TEST(extend_preset, a_faulty_one_is_told_when_it_is_chosen) {
  static constexpr preset_entry faulty = vmxsys::entry_without<preset_entry>(
      "faulty", "an unknown cost", R"({"base": "flat", "instruction": {"pauze": 1}})");
  static constexpr preset_entry misnamed =
      vmxsys::entry_without<preset_entry>("misnamed", "another name", R"({"base": "flat", "name": "flat"})");
  catalogues names;
  names.presets.add(faulty);
  names.presets.add(misnamed);
  const auto said = [&](const std::string& preset) {
    return load_config_text(machine, strings{"machine.preset=" + preset}, "", ".", {}, names).report();
  };
  EXPECT_NE(said("faulty").find("did you mean \"pause\"?"), std::string::npos) << said("faulty");
  EXPECT_NE(said("misnamed").find("is not the name of its entry, \"misnamed\""), std::string::npos) << said("misnamed");
  EXPECT_EQ(said("flat"), "") << "others are not affected";
}

const kind& collector_kind() {
  return *std::find_if(kinds.begin(), kinds.end(), [](const kind& k) { return k.name == std::string{"cpu_stays"}; });
}

TEST(extend_collector, its_statistics_stand_beside_those_of_the_library_and_change_nothing) {
  const kind& k = collector_kind();
  const run_result own = run(k.overrides({"collectors.cpu_stays.brief=100us"}), k);
  const run_result without = run({R"(collectors=["exits"])"}, k);
  const tally_summary stays = own.statistics.tally("cpu_stays.time");
  EXPECT_GT(stays.count, 10u);
  EXPECT_LE(stays.min, stays.mean);
  EXPECT_LE(stays.mean, stays.max);
  EXPECT_LE(own.statistics.count("cpu_stays.brief"), stays.count);
  EXPECT_EQ(own.fact_hash, without.fact_hash);
  EXPECT_EQ(own.ple_exits, without.ple_exits);
  EXPECT_GT(own.ple_exits, 0u) << "what the report needs runs in any case";
  EXPECT_EQ(run_result_from_json(to_json(own)).statistics, own.statistics);
  EXPECT_EQ(run({}, k).statistics.tally("cpu_stays.time"), stays) << "all that the catalogue has run by default";
}

TEST_F(command, a_statistic_of_an_own_collector_is_in_the_document) {
  const kind& k = collector_kind();
  const strings brief{"collectors.cpu_stays.brief=20us"};
  const outcome ran = call({"run", file_.string(), "--with", VMXSYS_EXTEND, "-q", "--json", "-p", brief.front()});
  EXPECT_EQ(ran.status, 0) << ran.text;
  EXPECT_EQ(run_result_from_json(ran.text).statistics, run(brief, k).statistics);
  EXPECT_GT(run_result_from_json(ran.text).statistics.count("cpu_stays.brief"), 0u) << ran.text;
  EXPECT_NE(ran.text.find("\"unit\": \"stays\""), std::string::npos) << ran.text;
  const outcome listed = call({"list", "collectors", "cpu_stays", "--with", VMXSYS_EXTEND});
  EXPECT_NE(listed.text.find("cpu_stays.brief [stays]"), std::string::npos) << listed.text;
  EXPECT_NE(call({"list", "collectors", "cpu_stays", "--with", VMXSYS_EXTEND, "--json"})
                .text.find(R"({"name":"cpu_stays.time","unit":"ns",)"),
            std::string::npos);
}

TEST_F(command, a_trace_is_written_in_the_own_format_with_its_option) {
  const std::string trace = file_.string() + ".csv";
  const auto size = [&](const strings& more) {
    strings all{"run", file_.string(), "--with", VMXSYS_EXTEND, "-q", "--trace", "exit_csv=" + trace};
    all.insert(all.end(), more.begin(), more.end());
    const outcome o = call(all);
    EXPECT_EQ(o.status, 0) << o.text;
    const auto bytes = std::filesystem::file_size(trace);
    std::filesystem::remove(trace);
    return bytes;
  };
  EXPECT_GT(size({}), size({"-p", "traces.exit_csv.every=10"}));

  const outcome misspelt = call({"run", file_.string(), "--with", VMXSYS_EXTEND, "--trace", "exit_csw=" + trace});
  EXPECT_EQ(misspelt.status, 2);
  EXPECT_NE(misspelt.text.find("no trace format \"exit_csw\" (did you mean \"exit_csv\"?)"), std::string::npos)
      << misspelt.text;
  const outcome refused =
      call({"run", file_.string(), "--with", VMXSYS_EXTEND, "-p", "traces.exit_csv.every=0", "--trace", "exit_csv=-"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.text.find("traces[3].every = 0: out of range: must be 1 .. 1000000"), std::string::npos)
      << refused.text;
  EXPECT_NE(call({"run", file_.string(), "--trace", "exit_csv=-"}).text.find("no trace format \"exit_csv\""),
            std::string::npos);
}

TEST_F(command, a_file_that_gives_no_entries_is_refused) {
  Dl_info system_library{};
  ASSERT_NE(dladdr(reinterpret_cast<void*>(&std::fopen), &system_library), 0);
  const struct {
    strings files;
    const char* said;
  } cases[] = {
      {{"/no/such/file.so"}, "/no/such/file.so: no such file"},
      {{file_.string()}, "cannot be loaded as a shared object"},
      {{std::filesystem::canonical(system_library.dli_fname).string()}, "defines no entries"},
      {{VMXSYS_EXTEND, VMXSYS_EXTEND}, "two entries \"pause_budget\" of kind spin detector"},
  };
  for (const auto& c : cases) {
    for (const char* what : {"list", "check", "run"}) {
      strings all{what};
      if (std::string{what} != "list") all.push_back(file_.string());
      for (const std::string& f : c.files) all.insert(all.end(), {"--with", f});
      const outcome o = call(all);
      EXPECT_EQ(o.status, 3) << o.text;
      EXPECT_NE(o.text.find(c.said), std::string::npos) << o.text;
      EXPECT_EQ(o.text.find('\n'), o.text.size() - 1) << "one line: " << o.text;
    }
  }
}

}  // namespace
