#include <boost/json.hpp>
#include <cmath>
#include <cstdio>
#include <map>
#include <regex>
#include <sstream>

#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/facts/fact_hash.hpp>
#include <vmxsys/models/kvm/kvm_facts.hpp>
#include <vmxsys/platform/machine/driver.hpp>
#include <vmxsys/platform/observe/report/report.hpp>
#include <vmxsys/platform/presets/preset.hpp>

#include "execution_fixture.hpp"
#include "random_numbers.hpp"

// Whole runs, bare: many in one process.
namespace vmxsys::platform::testing {
namespace {

using vmxsys::testing::random_numbers;

// -- the same run -----------------------------------------------------------------------------------------------------

TEST(execution, the_study_is_the_same_fast_and_stepped_and_twice) {
  const run_config fast = short_study();
  const run_result once = run_bare(fast);
  EXPECT_GT(once.facts, 10'000u);
  EXPECT_GT(once.ple_exits, 100u);
  EXPECT_EQ(document(run_bare(fast)), document(once));
  const run_result stepped = run_bare(short_study({"machine.stepped=true"}));
  EXPECT_EQ(document(stepped), document(once));
  EXPECT_GT(stepped.events, 2 * once.events);
}

TEST(execution, another_seed_is_another_run) {
  const run_result one = run_bare(short_study());
  for (const char* seed : {"seed=2", "seed=3"})
    EXPECT_NE(run_bare(short_study({seed})).fact_hash, one.fact_hash) << seed;
}

TEST(execution, slices_and_materialising_change_nothing) {
  const run_config config = short_study();
  const std::string expected = run_bare(config).fact_hash;
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    random_numbers random{seed};
    simulation s{config};
    cpu::fact_hash hash;
    s.hardware().facts().attach(hash);
    const std::unique_ptr<driver> d = make_bare_driver(s);
    while (s.hardware().time().now() < s.end()) {
      const std::uint64_t left = (s.end() - s.hardware().time().now()).count();
      const std::uint64_t slice = random.below(3) == 0 ? random.between(1, 500) : random.between(1, 80'000);
      d->run_until(s.hardware().time().now() + cycles{std::min(left, slice)});
      if (random.below(2) == 0) s.hardware().materialise();
      if (random.below(4) == 0) s.hardware().check_accounting();
    }
    s.hardware().check_accounting();
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash.value()));
    EXPECT_EQ(text, expected) << seed;
  }
}

std::string random_configuration(std::uint64_t seed) {
  random_numbers r{seed};
  std::ostringstream out;
  const auto vcpus = [&] { return r.between(1, 6); };
  const auto workload = [&](std::uint64_t n) -> std::string {
    const std::string work =
        R"("work": {"kind": "exponential", "mean": ")" + std::to_string(r.between(5, 60)) + R"(us"})";
    const std::uint64_t which = r.below(8);
    if (which < 2) return R"({"name": "cpu_bound", "chunk": "70us"})";
    if (which == 2) return R"({"name": "tlb_shootdown", )" + work + "}";
    if (which == 3)
      return R"({"name": "user_spin", "lock": ")" + r.one_of("test_and_set", "ticket") + R"(", "hold": "9us", )" +
             work + "}";
    return R"({"name": "lock_bound", "locks": )" + std::to_string(r.between(1, 2)) + R"(, "threads": )" +
           std::to_string(r.below(3) == 0 ? r.between(1, n + 2) : 0) + ", " + work + R"(, "hold": ")" +
           std::to_string(r.between(1, 50)) + R"(us"})";
  };
  out << R"({"seed": )" << seed << R"(, "until": ")" << r.between(9'000, 24'000) << R"(us", "measure_from": ")"
      << r.below(8'000) << R"(us", "machine": {"preset": ")" << r.one_of("haswell_ep", "skylake_sp", "cascade_lake_sp")
      << R"(", "sockets": )" << r.between(1, 2) << R"(, "cores": )" << r.between(1, 3)
      << R"(, "memory": "16GiB"}, "host": {"hz": )" << r.one_of("100", "250", "1000") << R"(, "scheduler": )"
      << r.one_of(R"("cfs")", R"({"name": "cfs", "profile": "v3.4"})", R"({"name": "cfs", "profile": "v5.10"})",
                  R"({"name": "round_robin", "quantum": "2ms"})")
      << R"(, "spin_policy": ")"
      << r.one_of("none", "sleep", "directed", "deprioritize_recent", "preempted_only", "kernel_mode", "ipi_receivers",
                  "single_scan")
      << R"(", "ple_window_grow": )" << r.one_of("0", "1", "2", "4096") << R"(, "ple_window_shrink": )"
      << r.one_of("0", "2") << R"(, "vcpu_affinity": ")" << r.one_of("stacked", "spread", "free") << R"(", "tracing": )"
      << r.one_of("true", "false") << R"(}, "vms": [)";
  const std::uint64_t vms = r.between(1, 2);
  for (std::uint64_t i = 0; i < vms; ++i) {
    const std::uint64_t n = vcpus();
    out << (i ? ", " : "") << R"({"name": "vm)" << i << R"(", "vcpus": )" << n << R"(, "guest": {"hz": )"
        << r.one_of("100", "250", "1000") << R"(, "lock": ")" << r.one_of("test_and_set", "ticket", "queued")
        << R"("}, "workload": )" << workload(n) << "}";
  }
  out << "]}";
  return out.str();
}

/// What must hold in every result.
void expect_consistent(const run_result& r, const std::string& what) {
  std::uint64_t cpu_ns = 0;
  double share = 0;
  for (const time_row& t : r.cpu_time) {
    cpu_ns += t.ns;
    share += t.share;
    EXPECT_LE(t.share, 1.0 + 1e-9) << what << ' ' << t.bucket;
  }
  EXPECT_NEAR(share, 1, 1e-9) << what;
  EXPECT_NEAR(static_cast<double>(cpu_ns), static_cast<double>(r.measured_ns * r.cpus), 64.0 * r.cpus) << what;
  EXPECT_NEAR(r.guest_share + r.host_share + r.idle_share, 1, 1e-9) << what;
  std::uint64_t exits = 0, ple = 0;
  double exit_share = 0;
  for (const exit_row& e : r.exits) {
    exits += e.count;
    exit_share += e.share;
    if (e.number == 40) ple = e.count;
    EXPECT_LE(e.software.min_ns, e.software.mean_ns) << what;
    EXPECT_LE(e.software.mean_ns, e.software.max_ns) << what;
    EXPECT_LE(e.software.mean_ns, e.all.mean_ns) << what << ' ' << e.reason;
    // A kvm_entry whose vm_entry has not completed is counted on one side only.
    EXPECT_NEAR(static_cast<double>(e.software.count), static_cast<double>(e.count), 12.0) << what << ' ' << e.reason;
  }
  if (exits != 0) EXPECT_NEAR(exit_share, 1, 1e-9) << what;
  EXPECT_LE(ple, r.ple_exits) << what;
  EXPECT_LE(r.ple_exits, ple + 12) << what << ": those under way at the end";
  std::uint64_t by_vm = 0;
  double least = 1;
  for (const vm_row& v : r.vms) {
    by_vm += v.ple_exits;
    EXPECT_LE(v.least_vcpu_ns, v.most_vcpu_ns) << what;
    EXPECT_LE(v.most_vcpu_ns, v.guest_ns) << what;
    least = std::min(least, v.guest_ns == 0 ? 0.0 : 1.0);
  }
  EXPECT_EQ(by_vm, r.ple_exits) << what;
  EXPECT_LE(r.longest_exit_streak, r.ple_exits) << what;
  EXPECT_LE(r.exits_in_long_streaks, r.ple_exits) << what;
  EXPECT_EQ(r.exit_streaks_over_100 == 0, r.longest_exit_streak <= 100) << what;
  EXPECT_LE(r.yields.accepted + r.yields.nobody + r.yields.target_running, r.yields.attempts + 12) << what;
  EXPECT_LE(r.yields.futile, r.yields.accepted) << what;
  EXPECT_LE(r.spins.futile_ns, r.spins.spinning_ns) << what;
}

TEST(execution, random_configurations_are_the_same_fast_and_stepped_and_their_books_close) {
  std::uint64_t ple = 0;
  for (std::uint64_t seed = 1; seed <= 48; ++seed) {
    const std::string text = random_configuration(seed);
    loaded_config c = load_config_text(text);
    ASSERT_TRUE(c.ok()) << c.report() << text;
    const run_result fast = run_bare(c.config);
    c.config.machine.stepped = true;
    const run_result stepped = run_bare(c.config);
    ASSERT_EQ(document(stepped), document(fast)) << text;
    expect_consistent(fast, text);
    if (::testing::Test::HasFailure()) break;
    ple += fast.ple_exits;
  }
  EXPECT_GT(ple, 2'000u);
}

// -- the statistics against a recount ---------------------------------------------------------------------------------

/// Adds up PAUSE exits by itself: from the guest's last cycle to its next.
class pause_recount final : public cpu::fact_observer {
 public:
  explicit pause_recount(cycles from) : from_{from} {}
  void observe(const cpu::fact_view& view) override {
    if (const auto* x = view.as<cpu::vm_exit_fact>()) {
      if (view.header().at < from_) return;
      began_[x->vmcs] = {x->reason == vmx::exit_reason::pause, x->began};
    } else if (const auto* e = view.as<cpu::vm_entry_fact>()) {
      const auto it = began_.find(e->vmcs);
      if (it == began_.end()) return;
      if (it->second.first) {
        ++rounds;
        total += (view.header().at - it->second.second).count();
      }
      began_.erase(it);
    }
  }
  std::uint64_t rounds = 0, total = 0;

 private:
  cycles from_;
  std::map<std::uint64_t, std::pair<bool, cycles>> began_;
};

TEST(execution, the_parts_of_the_mean_PAUSE_exit_add_up_to_the_cycle) {
  for (const char* placement : {"stacked", "spread", "free"})
    for (const char* policy : {"sleep", "ipi_receivers"}) {
      const run_config config = short_study({std::string{"host.vcpu_affinity="} + placement,
                                             std::string{"host.spin_policy="} + policy, "host.ple_window_grow=0"});
      const std::uint64_t khz = find_preset(config.machine.preset)->tsc_khz;
      pause_recount recount{config.measure_from.to_cycles(khz)};
      const run_result r = run_bare(config, &recount);
      ASSERT_GT(recount.rounds, 50u);
      std::uint64_t total = 0;
      double share = 0;
      for (const part_row& p : r.pause_parts) {
        const double part = p.mean_ns * static_cast<double>(recount.rounds) * static_cast<double>(khz) / 1e6;
        EXPECT_NEAR(part, std::round(part), 1e-3) << p.part << " is a whole number of cycles";
        total += static_cast<std::uint64_t>(std::llround(part));
        share += p.share;
      }
      EXPECT_EQ(total, recount.total) << placement << ' ' << policy;
      EXPECT_NEAR(share, 1, 1e-9);
      for (const exit_row& e : r.exits)
        if (e.number == 40) {
          EXPECT_EQ(e.count, recount.rounds);
          EXPECT_EQ(e.all.mean_ns, recount.total / recount.rounds * 1'000'000 / khz);
        }
    }
}

TEST(execution, the_largest_window_includes_one_that_never_changes) {
  for (const auto& [grow, largest] : {std::pair{"0", 4096u}, {"1", 4096u}, {"4096", 8192u}}) {
    const run_result r = run_bare(short_study({std::string{"host.ple_window_grow="} + grow}));
    EXPECT_GT(r.ple_exits, 100u);
    EXPECT_GE(r.largest_ple_window, largest) << grow;
    if (largest == 4096) EXPECT_EQ(r.largest_ple_window, largest) << grow;
  }
  EXPECT_EQ(run_bare(short_study({"host.ple_window=5000", "host.ple_window_grow=1"})).largest_ple_window, 5000u);
  // Nothing changes it while this is measured; before, it has grown.
  const run_result late =
      run_bare(short_study({"host.vcpu_affinity=spread", "vms[1].vcpus=1", "measure_from=59990us"}));
  EXPECT_EQ(late.switches, 0u);
  EXPECT_EQ(late.ple_exits, 0u);
  EXPECT_GT(late.largest_ple_window, 4096u);
  EXPECT_EQ(run_bare(short_study({"host.spin_policy=none"})).largest_ple_window, 0u) << "no PAUSE-loop exiting";
}

TEST(execution, a_window_that_wraps_is_left_so_and_the_result_says_it) {
  const run_result wraps = run_bare(short_study({"host.ple_window_shrink=8192"}));
  EXPECT_GT(wraps.largest_ple_window, 4'294'000'000u);
  EXPECT_EQ(wraps.ple_exits, 0u);
  ASSERT_EQ(wraps.warnings.size(), 1u);
  EXPECT_EQ(wraps.warnings[0].path, "host.ple_window_shrink");
  EXPECT_EQ(run_bare(short_study({"host.ple_window_shrink=4096"})).warnings.size(), 0u);
}

// From v4.14 on candidates preempted in user mode are left out only if the PAUSE was in the kernel. So where every
// PAUSE is in user mode, v4.14 does what v3.18 did.
TEST(execution, spinners_in_user_mode_yield_to_siblings_preempted_in_user_mode) {
  for (const char* detector : {"lock_line", "pause_filter", "progress"}) {
    const auto run_with = [detector](const char* policy) {
      const loaded_config c = load_config_text(
          R"({"until": "60ms", "machine": {"cores": 2}, "host": {"vcpu_affinity": "stacked", "ple_window_grow": 0},
              "vms": [{"vcpus": 4, "workload": {"name": "user_spin", "hold": "20us", "work": "200us"}}]})",
          std::vector<std::string>{std::string{"host.spin_policy="} + policy,
                                   std::string{"machine.detector="} + detector});
      EXPECT_TRUE(c.ok()) << c.report();
      return run_bare(c.config);
    };
    for (const char* policy : {"kernel_mode", "ipi_receivers", "posted_receivers", "single_scan"}) {
      const run_result r = run_with(policy);
      EXPECT_GT(r.yields.handled, 100u) << policy << ' ' << detector;
      EXPECT_GT(2 * r.yields.accepted, r.yields.handled) << policy << ' ' << detector;
    }
    EXPECT_EQ(run_with("kernel_mode").fact_hash, run_with("three_tries").fact_hash) << detector;
  }
}

struct trace_line {
  std::string comm;
  int tid;
  unsigned cpu;
  std::uint64_t us;
  std::string event;
  unsigned vcpu;
  std::string reason, rip;
};

std::vector<trace_line> parse_trace(const std::string& text) {
  static const std::regex entry{R"(^ *(CPU \d+/KVM/\w+) +(\d+) \[(\d+)\] +(\d+)\.(\d{6}): kvm:kvm_entry: vcpu (\d+)$)"};
  static const std::regex exit{
      R"(^ *(CPU \d+/KVM/\w+) +(\d+) \[(\d+)\] +(\d+)\.(\d{6}):  kvm:kvm_exit: vcpu (\d+) reason (\S+) rip (0x[0-9a-f]+) info \S+ \S+$)"};
  std::vector<trace_line> lines;
  std::istringstream in{text};
  for (std::string line; std::getline(in, line);) {
    std::smatch m;
    const bool is_entry = std::regex_match(line, m, entry);
    if (!is_entry && !std::regex_match(line, m, exit)) {
      ADD_FAILURE() << "no such line: '" << line << "'";
      continue;
    }
    lines.push_back({m[1], std::stoi(m[2]), static_cast<unsigned>(std::stoul(m[3])),
                     std::stoull(m[4]) * 1'000'000 + std::stoull(m[5]), is_entry ? "entry" : "exit",
                     static_cast<unsigned>(std::stoul(m[6])), is_entry ? "" : m[7].str(), is_entry ? "" : m[8].str()});
  }
  return lines;
}

/// The two tracepoints of published excerpts.
trace_output entries_and_exits(std::ostream& to) { return {"kvm", &to, {"kvm_entry", "kvm_exit"}}; }

/// Writes the lines with printf alone.
class plain_trace final : public cpu::fact_observer {
 public:
  explicit plain_trace(std::uint64_t tsc_khz) : khz_{tsc_khz} {}
  void observe(const cpu::fact_view& view) override {
    const std::uint64_t ns = view.header().at.count() * 1'000'000 / khz_;  // no overflow in short runs
    char line[256], time[32], comm[32];
    std::snprintf(time, sizeof time, "%lu.%06lu", static_cast<unsigned long>(ns / 1'000'000'000),
                  static_cast<unsigned long>(ns / 1000 % 1'000'000));
    if (const auto* e = view.as<models::kvm_entry_fact>()) {
      std::snprintf(comm, sizeof comm, "CPU %u/KVM/%s", unsigned{e->vcpu}, e->vm == 0 ? "lock_" : "cpu_b");
      std::snprintf(line, sizeof line, "%16s %5u [%03u] %12s: kvm:kvm_entry: vcpu %u\n", comm, e->pid, unsigned{e->cpu},
                    time, unsigned{e->vcpu});
    } else if (const auto* x = view.as<models::kvm_exit_fact>()) {
      std::snprintf(comm, sizeof comm, "CPU %u/KVM/%s", unsigned{x->vcpu}, x->vm == 0 ? "lock_" : "cpu_b");
      std::snprintf(line, sizeof line, "%16s %5u [%03u] %12s:  kvm:kvm_exit: vcpu %u reason %s rip 0x%lx info %lx %x\n",
                    comm, x->pid, unsigned{x->cpu}, time, unsigned{x->vcpu}, vmx::kvm_name_of(x->reason),
                    static_cast<unsigned long>(x->rip), static_cast<unsigned long>(x->qualification),
                    x->interruption_information);
    } else {
      return;
    }
    text += line;
  }
  std::string text;

 private:
  std::uint64_t khz_;
};

TEST(execution, TR_43_the_kvm_trace_byte_for_byte) {
  const run_config config = short_study({"until=25ms", "measure_from=0"});
  plain_trace plain{find_preset(config.machine.preset)->tsc_khz};
  std::ostringstream trace;
  run_bare(config, &plain, {entries_and_exits(trace)});
  EXPECT_GT(plain.text.size(), 10'000u);
  EXPECT_EQ(trace.str(), plain.text);
  const auto lines = parse_trace(trace.str());
  EXPECT_EQ(static_cast<std::size_t>(std::count(plain.text.begin(), plain.text.end(), '\n')), lines.size());
  std::map<unsigned, std::uint64_t> last;
  for (const trace_line& l : lines) {
    EXPECT_GE(l.us, last[l.cpu]) << "in the order of time per CPU";
    last[l.cpu] = l.us;
  }
}

TEST(execution, spins_are_those_of_guests) {
  for (const bool bare_metal : {false, true}) {
    const loaded_config c = load_config_text(
        R"({"machine": {"preset": "flat", "cores": 2}, "until": "30ms", "bare_metal": )" +
        std::string{bare_metal ? "true" : "false"} +
        R"(, "vms": [{"vcpus": 2, "workload": {"name": "lock_bound", "work": "2us", "hold": "20us"}}]})");
    ASSERT_TRUE(c.ok()) << c.report();
    EXPECT_EQ(run_bare(c.config).spins.episodes == 0, bare_metal);
  }
}

TEST(execution, the_longest_exit_streak_is_the_one_in_the_trace) {
  for (const char* grow : {"host.ple_window_grow=2", "host.ple_window_grow=0"})
    for (const char* placement : {"host.vcpu_affinity=stacked", "host.vcpu_affinity=spread"}) {
      std::ostringstream trace;
      const run_result r =
          run_bare(short_study({"measure_from=0", grow, placement}), nullptr, {entries_and_exits(trace)});
      std::map<int, std::pair<std::string, std::uint64_t>> runs;
      std::uint64_t longest = 0, ple = 0, over_100 = 0;
      const auto ended = [&](std::uint64_t n) { over_100 += n > 100; };
      for (const trace_line& l : parse_trace(trace.str())) {
        if (l.event != "exit") continue;
        auto& [rip, n] = runs[l.tid];
        const std::string now = l.reason == "PAUSE_INSTRUCTION" ? l.rip : "";
        if (now.empty() || now != rip) {
          ended(n);
          n = 0;
        }
        rip = now;
        if (now.empty()) continue;
        ++ple;
        longest = std::max(longest, ++n);
      }
      for (const auto& [tid, run] : runs) ended(run.second);
      EXPECT_EQ(r.ple_exits, ple) << grow << placement;
      EXPECT_EQ(r.longest_exit_streak, longest) << grow << placement;
      EXPECT_EQ(r.exit_streaks_over_100, over_100) << grow << placement;
    }
}

// -- what it says -----------------------------------------------------------------------------------------------------

/// Reading may change the last bit of a share, nothing else.
void expect_same(const boost::json::value& a, const boost::json::value& b, const std::string& path) {
  ASSERT_EQ(a.kind(), b.kind()) << path;
  if (a.is_object()) {
    ASSERT_EQ(a.as_object().size(), b.as_object().size()) << path;
    for (const auto& [key, value] : a.as_object()) expect_same(value, b.at(key), path + '.' + std::string{key});
  } else if (a.is_array()) {
    ASSERT_EQ(a.as_array().size(), b.as_array().size()) << path;
    for (std::size_t i = 0; i < a.as_array().size(); ++i)
      expect_same(a.at(i), b.at(i), path + '[' + std::to_string(i) + ']');
  } else if (a.is_double()) {
    EXPECT_DOUBLE_EQ(a.as_double(), b.as_double()) << path;
  } else {
    EXPECT_EQ(a, b) << path;
  }
}

TEST(run_result, goes_through_JSON_and_back) {
  const run_result r = run_bare(short_study());
  const std::string text = to_json(r);
  expect_same(boost::json::parse(to_json(run_result_from_json(text))), boost::json::parse(text), "");
  const boost::json::value v = boost::json::parse(text);
  for (const char* key :
       {"schema", "fact_hash", "ple_exits", "longest_exit_streak", "vms", "exits", "pause_parts", "cpu_time"})
    EXPECT_TRUE(v.as_object().contains(key)) << key;
  EXPECT_EQ(v.at("fact_hash").as_string().size(), 16u);
  EXPECT_THROW(run_result_from_json("{"), std::invalid_argument);
}

TEST(report, holds_the_numbers_of_the_result) {
  const run_result r = run_bare(short_study());
  std::ostringstream out;
  print_report(out, r);
  const std::string text = out.str();
  const auto expect = [&](const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
  };
  expect(r.fact_hash);
  expect(grouped(r.ple_exits) + " PLE exits");
  expect("spin policy " + r.policy);
  expect("seed 1");
  for (const vm_row& v : r.vms) {
    expect(v.name);
    expect(grouped(v.work));
  }
  for (const exit_row& e : r.exits) expect(e.reason);
  for (const part_row& p : r.pause_parts) expect(p.part);
  for (const time_row& t : r.cpu_time) expect(t.bucket);
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1 000");
  EXPECT_EQ(grouped(1234567), "1 234 567");
}

TEST(ple_storm, findings_hold_the_numbers_of_the_table) {
  const auto cases = ple_storm_cases(short_study());
  std::vector<run_result> results;
  for (const ple_storm_case& c : cases) results.push_back(run_bare(c.config));
  std::string all;
  for (const std::string& s : ple_storm_findings(cases, results)) all += s + '\n';
  const auto expect = [&](const std::string& part) {
    EXPECT_NE(all.find(part), std::string::npos) << part << " in\n" << all;
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (results[i].exit_streaks_over_100 != 0) expect("longest " + grouped(results[i].longest_exit_streak));
    if (cases[i].placement == "spread" && cases[i].policy == "ipi_receivers")
      expect(grouped(results[i].ple_exits) + " PLE exits");
    if (cases[i].policy == "none") EXPECT_EQ(results[i].ple_exits, 0u);
  }
  EXPECT_EQ(all.find("nan"), std::string::npos);
  EXPECT_EQ(all.find("inf"), std::string::npos);
  EXPECT_EQ(all.find("18446744"), std::string::npos);
}

}  // namespace
}  // namespace vmxsys::platform::testing
