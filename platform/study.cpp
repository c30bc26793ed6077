#include "study.hpp"

#include <unistd.h>

#include <boost/json.hpp>
#include <iomanip>
#include <ostream>

#include <vmxsys/platform/config_loader.hpp>
#include <vmxsys/platform/json_binding.hpp>

#include "execution.hpp"
#include "report.hpp"
#include "study_ple_storm.hpp"
#include "workers.hpp"

namespace vmxsys::platform {

namespace json = boost::json;

namespace {

constexpr unsigned excerpt_rounds = 6;

struct study_output {
  std::vector<ple_storm_case> cases;
  std::vector<run_result> results;
  std::size_t longest = 0;              ///< the case with the longest run
  ple_storm_excerpt excerpt;
  std::vector<std::string> findings;
};

study_output run_ple_storm(const options& what, std::ostream& err, std::vector<config_error>& errors) {
  study_output s;
  const loaded_config base = load_config_text(ple_storm_configuration(), what.overrides, "ple_storm.json");
  errors = base.errors;
  if (!errors.empty()) return s;
  s.cases = ple_storm_cases(base.config);
  const bool show = !what.quiet && isatty(STDERR_FILENO) != 0;
  const auto texts = run_in_workers(
      s.cases.size(), what.jobs, [&](std::size_t i) { return to_json(execute(s.cases[i].config)); },
      [&](std::size_t done) {
        if (show) err << "\r\033[K" << done << " of " << s.cases.size() << " runs" << std::flush;
      });
  if (show) err << "\r\033[K" << std::flush;
  for (const std::string& text : texts) s.results.push_back(run_result_from_json(text));
  for (std::size_t i = 0; i < s.results.size(); ++i)
    if (s.results[i].longest_run > s.results[s.longest].longest_run && s.cases[i].grow == base.config.host.ple_window_grow)
      s.longest = i;
  const auto excerpt = run_in_workers(1, 1, [&](std::size_t) {
    return std::string{json::serialize(json::value_from(
        take_ple_storm_excerpt(s.cases[s.longest].config, s.results[s.longest], excerpt_rounds)))};
  });
  s.excerpt = json::value_to<ple_storm_excerpt>(json::parse(excerpt[0]));
  s.findings = ple_storm_findings(s.cases, s.results);
  return s;
}

void print_table(std::ostream& out, const study_output& s) {
  out << std::left << std::setw(9) << "placing" << std::setw(5) << "grow" << std::setw(16) << "policy" << std::right
      << std::setw(10) << "PLE exits" << std::setw(9) << "longest" << std::setw(7) << ">100" << std::setw(10) << "slice"
      << std::setw(11) << "work lock" << std::setw(10) << "work cpu" << std::setw(8) << "guest" << std::setw(7) << "host"
      << std::setw(7) << "idle" << std::setw(10) << "switches" << '\n';
  for (std::size_t i = 0; i < s.cases.size(); ++i) {
    const ple_storm_case& c = s.cases[i];
    const run_result& r = s.results[i];
    out << std::left << std::setw(9) << c.placement << std::setw(5) << (c.policy == "none" ? "-" : std::to_string(c.grow))
        << std::setw(16) << c.policy << std::right << std::setw(10) << grouped(r.ple_exits) << std::setw(9)
        << grouped(r.longest_run) << std::setw(7) << grouped(r.runs_over_100) << std::setw(10)
        << (r.ple_exits == 0 ? "-" : readable_ns(static_cast<double>(r.guest_slice_ns))) << std::setw(11)
        << (r.vms.empty() ? "-" : grouped(r.vms[0].work)) << std::setw(10)
        << (r.vms.size() < 2 ? "-" : grouped(r.vms[1].work)) << std::setw(8) << percent(r.guest_share) << std::setw(7)
        << percent(r.host_share) << std::setw(7) << percent(r.idle_share) << std::setw(10) << grouped(r.switches) << '\n';
  }
}

void print_wrapped(std::ostream& out, const std::string& text) {
  constexpr std::size_t width = 110;
  std::size_t column = 2;
  out << "- ";
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::size_t length = end - at;
    if (column + length > width) {
      out << "\n  ";
      column = 2;
    }
    out << text.substr(at, length) << ' ';
    column += length + 1;
    at = end + 1;
  }
  out << '\n';
}

void print_study(std::ostream& out, const study_output& s) {
  const run_config& c = s.cases.front().config;
  out << "Study ple_storm: excessive PAUSE-loop exiting (Ishiguro, KVM Forum 2021; Ishiguro et al., VEE '21)\n"
      << logical_cpus(c.machine) << " CPUs (" << c.machine.preset << ")";
  for (const vm_config& v : c.vms) out << ", " << v.name << " with " << v.vcpus << " vCPUs";
  out << "; " << readable_ns(static_cast<double>(s.results.front().measured_ns)) << " measured, seed " << c.seed
      << ", the same for every row\n\n";
  print_table(out, s);
  const ple_storm_case& longest = s.cases[s.longest];
  out << "\nWhat one spinner goes through (" << longest.placement << ", grow " << longest.grow << ", " << longest.policy
      << "; the first " << excerpt_rounds << " exits of a run of " << s.results[s.longest].longest_run << ")\n";
  for (const std::string& line : s.excerpt.lines) out << line << '\n';
  out << "\nWhat happened, and why\n";
  for (const std::string& sentence : s.findings) print_wrapped(out, sentence);
}

std::string study_json(const study_output& s) {
  json::object document;
  document["schema"] = 1;
  document["study"] = "ple_storm";
  json::array runs, excerpt, sentences;
  for (const run_result& r : s.results) runs.push_back(json::value_from(r));
  for (const std::string& line : s.excerpt.lines) excerpt.emplace_back(line);
  for (const std::string& sentence : s.findings) sentences.emplace_back(sentence);
  document["runs"] = std::move(runs);
  document["excerpt"] = std::move(excerpt);
  document["findings"] = std::move(sentences);
  return pretty_json(document);
}

}  // namespace

std::vector<choice> study_choices() {
  return {{"ple_storm", "excessive PAUSE-loop exiting under KVM's spin policies (KVM Forum 2021, VEE '21)"}};
}

int study_command(const options& what, const output_directory* directory, std::ostream& out, std::ostream& err) {
  study_output s;
  std::vector<config_error> errors;
  try {
    s = run_ple_storm(what, err, errors);
  } catch (const worker_error& e) {
    err << "vmxsys: " << e.what() << '\n';
    return e.status();
  }
  if (!errors.empty()) {
    for (const config_error& e : errors) err << e.message() << '\n';
    return exit_usage;
  }
  if (directory != nullptr) {
    directory->write("stats.json", study_json(s));
    directory->write("ple_storm.svg", ple_storm_picture(s.cases, s.results, s.excerpt, s.longest));
  }
  if (what.json) out << study_json(s);
  else print_study(out, s);
  return exit_ok;
}

}  // namespace vmxsys::platform
