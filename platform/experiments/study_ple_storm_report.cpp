#include <algorithm>
#include <boost/json.hpp>
#include <iomanip>
#include <optional>
#include <ostream>

#include <vmxsys/platform/config/json_text.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/platform/observe/report/report.hpp>

#include "detail/study_kit.hpp"
#include "detail/study_ple_storm.hpp"

namespace vmxsys::platform {

namespace json = boost::json;

namespace {

constexpr unsigned excerpt_rounds = 6;

struct study_output {
  std::vector<ple_storm_case> cases;
  std::vector<run_result> results;
  std::optional<std::size_t> excerpt_of;  ///< the case with the longest run; none without PLE exits
  run_config base;
  ple_storm_excerpt excerpt;
  std::vector<std::string> findings;
  std::vector<std::string> missing;  ///< of an interrupted study: no excerpt and no findings then
  std::size_t runs = 0;
};

/// What the study sets itself may not be set from outside. Faults of the document come first.
void refuse_swept(const std::vector<std::string>& overrides, const run_config& base,
                  std::vector<config_error>& errors) {
  const run_config shipped = load_config_text(ple_storm_configuration()).config;
  refuse_override(overrides, "host.spin_policy", base.host.spin_policy != shipped.host.spin_policy, "host", errors);
  refuse_override(overrides, "host.vcpu_affinity", base.host.vcpu_affinity != shipped.host.vcpu_affinity, "host",
                  errors);
  refuse_override(overrides, "host.ple_window_grow", base.host.ple_window_grow != shipped.host.ple_window_grow, "host",
                  errors);
}

void take_excerpt(study_output& s, const options& what, std::ostream& err) {
  s.excerpt_of = ple_storm_excerpt_of(s.cases, s.results);
  if (!s.excerpt_of) return;
  ++s.runs;
  study_jobs excerpt = run_study_jobs({"the excerpt of the trace"}, what, err, [&](std::size_t) {
    return json::serialize(json::value_from(
        take_ple_storm_excerpt(s.cases[*s.excerpt_of].config, s.results[*s.excerpt_of], excerpt_rounds)));
  });
  s.missing = std::move(excerpt.missing);
  if (s.missing.empty())
    s.excerpt = json::value_to<ple_storm_excerpt>(json::parse(*excerpt.texts[0]));
  else
    s.excerpt_of.reset();
}

study_output run(const options& what, std::ostream& err, std::vector<config_error>& errors) {
  study_output s;
  const loaded_config base = load_study("ple_storm", what, err);
  errors = base.errors;
  refuse_swept(what.overrides, base.config, errors);
  if (!errors.empty()) return s;
  s.base = base.config;
  std::vector<std::string> names;
  std::vector<run_config> configs;
  const std::vector<ple_storm_case> cases = ple_storm_cases(base.config);
  for (const ple_storm_case& c : cases) {
    names.push_back(c.placement + (c.policy == "none" ? "" : ", grow " + std::to_string(c.grow)) + ", " + c.policy);
    configs.push_back(c.config);
  }
  study_runs runs = run_study_cases(names, configs, what, err);
  s.runs = cases.size();
  s.missing = std::move(runs.missing);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (!runs.results[i]) continue;
    s.cases.push_back(cases[i]);
    s.results.push_back(std::move(*runs.results[i]));
  }
  if (s.missing.empty()) take_excerpt(s, what, err);
  if (s.missing.empty()) s.findings = ple_storm_findings(s.cases, s.results);
  return s;
}

void print_table(std::ostream& out, const study_output& s) {
  out << std::left << std::setw(9) << "placing" << std::setw(5) << "grow" << std::setw(16) << "policy" << std::right
      << std::setw(10) << "PLE exits" << std::setw(9) << "longest" << std::setw(7) << ">100" << std::setw(10) << "slice"
      << std::setw(11) << "work lock" << std::setw(10) << "work cpu" << std::setw(8) << "guest" << std::setw(7)
      << "host" << std::setw(7) << "idle" << std::setw(10) << "switches" << '\n';
  for (std::size_t i = 0; i < s.cases.size(); ++i) {
    const ple_storm_case& c = s.cases[i];
    const run_result& r = s.results[i];
    out << std::left << std::setw(9) << c.placement << std::setw(5)
        << (c.policy == "none" ? "-" : std::to_string(c.grow)) << std::setw(16) << c.policy << std::right
        << std::setw(10) << grouped(r.ple_exits) << std::setw(9) << grouped(r.longest_exit_streak) << std::setw(7)
        << grouped(r.exit_streaks_over_100) << std::setw(10)
        << (r.ple_exits == 0 ? "-" : readable_ns(static_cast<double>(r.guest_slice_ns))) << std::setw(11)
        << (r.vms.empty() ? "-" : grouped(r.vms[0].work)) << std::setw(10)
        << (r.vms.size() < 2 ? "-" : grouped(r.vms[1].work)) << std::setw(8) << percent(r.guest_share) << std::setw(7)
        << percent(r.host_share) << std::setw(7) << percent(r.idle_share) << std::setw(10) << grouped(r.switches)
        << '\n';
  }
}

void print_legend(std::ostream& out, const run_config& c) {
  out << "\n"
         "  grow       ple_window_grow: 2 doubles the window at each PLE exit, 0 leaves it fixed\n"
         "  PLE exits  PAUSE-loop exits of all vCPUs\n"
         "  longest    longest run of consecutive exits of one vCPU, all PAUSE at one RIP\n"
         "  >100       such runs of more than 100 exits\n"
         "  slice      mean time in the guest from an entry to the PLE exit that ends it\n"
         "  work lock  rounds of "
      << c.vms[0].name << ": work outside, then a critical section\n";
  if (c.vms.size() > 1)
    out << "  work cpu   chunks of " << c.vms[1].name << ", "
        << models::workloads().value_of(c.vms[1].workload, "chunk").to_string() << " of computing each\n";
  out << "  guest      share of all CPU time in non-root operation\n"
         "  host       share in root operation, VM entries and exits included\n"
         "  idle       share without anything to run\n"
         "  switches   context switches of the host\n";
}

/// The published excerpt beside ours.
void print_comparison(std::ostream& out, const ple_storm_case& c, const run_result& r) {
  const std::optional<traced_means> ours = traced_means_of(r);
  if (!ours) return;
  const auto time = [](std::uint64_t ns) { return readable_ns(static_cast<double>(ns)); };
  const auto row = [&](const std::string& name, const std::string& host, const std::string& guest,
                       const std::string& period) {
    out << "  " << std::left << std::setw(44) << name << std::right << std::setw(14) << host << std::setw(14) << guest
        << std::setw(12) << period << '\n';
  };
  out << '\n';
  row("Beside the published trace", "exit to entry", "entry to exit", "period");
  row("KVM Forum 2021, excerpt", "21-22 us", "4-5 us", "26 us");
  row("here, mean of " + c.placement + ", grow " + std::to_string(c.grow) + ", " + c.policy,
      time(ours->exit_to_entry_ns), time(ours->entry_to_exit_ns), time(ours->period_ns));
  out << "  Costs of host paths are assumed values (vmxsys list costs), so the times of the host part are no claim.\n";
}

void print_study(std::ostream& out, const study_output& s) {
  const run_config& c = s.cases.front().config;
  out << "Study ple_storm: excessive PAUSE-loop exiting (Ishiguro, KVM Forum 2021; Ishiguro et al., VEE '21)\n"
      << logical_cpus(c.machine) << " CPUs (" << c.machine.preset << ")";
  for (const vm_config& v : c.vms) out << ", " << v.name << " with " << v.vcpus << " vCPUs";
  out << "; " << readable_ns(static_cast<double>(s.results.front().measured_ns)) << " measured, seed " << c.seed
      << ", the same for every row\n\n";
  print_table(out, s);
  print_legend(out, c);
  if (!s.missing.empty()) return;
  if (s.excerpt_of) {
    const ple_storm_case& longest = s.cases[*s.excerpt_of];
    const run_result& result = s.results[*s.excerpt_of];
    out << "\nWhat one spinner goes through (" << longest.placement << ", grow " << longest.grow << ", "
        << longest.policy << "; the first " << std::min<std::uint64_t>(excerpt_rounds, result.longest_exit_streak)
        << " exits of a run of " << result.longest_exit_streak << ")\n";
    for (const std::string& line : s.excerpt.lines) out << line << '\n';
    print_comparison(out, longest, result);
  } else {
    out << "\nNo vCPU took a PLE exit in any case, so there is no run of exits to show.\n";
  }
  out << "\nWhat happened, and why\n";
  for (const std::string& sentence : s.findings) print_wrapped(out, sentence);
}

std::string study_json(const study_output& s) {
  json::object document;
  document["schema"] = 1;
  document["study"] = "ple_storm";
  tell_missing(s.missing, document);
  json::array runs, excerpt, sentences;
  for (const run_result& r : s.results) runs.push_back(json::value_from(r));
  for (const std::string& line : s.excerpt.lines) excerpt.emplace_back(line);
  for (const std::string& sentence : s.findings) sentences.emplace_back(sentence);
  document["runs"] = std::move(runs);
  document["excerpt_of"] = s.excerpt_of ? json::value(*s.excerpt_of) : json::value(nullptr);  // index into runs
  document["excerpt"] = std::move(excerpt);
  if (const auto ours = s.excerpt_of ? traced_means_of(s.results[*s.excerpt_of]) : std::nullopt)
    document["traced_means"] = {{"published",
                                 {{"source", "KVM Forum 2021"},
                                  {"exit_to_entry_us", {21, 22}},
                                  {"entry_to_exit_us", {4, 5}},
                                  {"period_us", 26}}},
                                {"here", json::value_from(*ours)}};
  document["findings"] = std::move(sentences);
  return pretty_json(document);
}

}  // namespace

int study_ple_storm(const options& what, const output_directory* directory, std::ostream& out, std::ostream& err) {
  std::vector<config_error> errors;
  const study_output s = run(what, err, errors);
  if (!errors.empty()) return refuse_study(errors, err);
  return show_study({"ple_storm", s.base, study_json(s), s.missing, s.runs,
                     [&] { return ple_storm_picture(s.cases, s.results, s.excerpt, s.excerpt_of); },
                     [&](std::ostream& to) { print_study(to, s); }},
                    what, directory, out);
}

}  // namespace vmxsys::platform
