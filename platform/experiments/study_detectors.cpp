#include "detail/study_detectors.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <iomanip>
#include <ostream>

#include <vmxsys/platform/config/json_text.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/platform/observe/report/report.hpp>
#include <vmxsys/platform/presets/preset.hpp>
#include <vmxsys/vmx/spin_detectors/catalogue.hpp>

#include "detail/study_kit.hpp"

namespace vmxsys::platform {

namespace json = boost::json;

namespace {

/// Every detector that remembers something, and the variants that the manuals leave open; one that exits at each PAUSE,
/// or at none, has nothing to be scored.
std::vector<observer_config> catalogue() {
  const component<vmx::spin_detector_entry> variants[] = {
      {"pause_loop_exiting", {{"gap_end_to_start", true}}},
      {"pause_filter", {{"count_adjustment", -1}, {"first_reloads", true}}},
  };
  std::vector<observer_config> all;
  for (const std::string& name : vmx::spin_detectors().names()) {
    if (name == "none" || name == "pause_exiting") continue;
    all.push_back({name});
    for (const auto& variant : variants)
      if (variant.name == name) all.push_back({variant});
  }
  return all;
}

detector_case make_case(const run_config& base, std::string name, std::string description) {
  detector_case c{std::move(name), std::move(description), base};
  c.config.machine.observers = catalogue();
  return c;
}

void alone(detector_case& c) { c.config.vms.resize(1); }

component<models::workload_entry> lock_bound(duration work, duration hold) {
  return {"lock_bound", {{"work", distribution::exponential(work)}, {"hold", distribution::fixed(hold)}}};
}

constexpr std::uint32_t sweep_clocks[] = {100, 104, 108, 110, 112, 113, 114, 115, 116, 118, 120, 127, 140, 156};

detector_case sweep_case(const run_config& base) {
  detector_case c = make_case(base, "slow PAUSE", "the preempted holder on Skylake-SP");
  c.config.machine.preset = "skylake_sp";
  c.config.machine.core_clock_percent = 100;
  c.config.machine.observers.clear();
  return c;
}

}  // namespace

std::vector<detector_case> detector_cases(const run_config& base) {
  std::vector<detector_case> cases;
  const auto add = [&](const char* name, const char* description) -> detector_case& {
    cases.push_back(make_case(base, name, description));
    return cases.back();
  };
  detector_case* c = &add("short holds", "one kernel lock held for 2 us, a CPU for every vCPU");
  alone(*c);
  c->config.vms[0].workload = lock_bound(duration::us(20), duration::us(2));

  c = &add("long holds", "one kernel lock held for 50 us, a CPU for every vCPU");
  alone(*c);
  c->config.vms[0].workload = lock_bound(duration::us(500), duration::us(50));

  add("preempted holder", "one kernel lock held for 20 us, two vCPUs to a CPU");

  c = &add("TLB shootdown", "waiting for every other vCPU's answer to a call, two vCPUs to a CPU");
  c->config.vms[0].workload = {"tlb_shootdown", {{"work", distribution::exponential(duration::us(500))}}};

  c = &add("user-level spin", "a lock of a program at CPL 3, two vCPUs to a CPU");
  c->config.vms[0].workload = lock_bound(duration::us(200), duration::us(20));
  c->config.vms[0].workload.name = "user_spin";

  c = &add("no contention", "64 kernel locks held for 1 us, two vCPUs to a CPU");
  c->config.vms[0].workload = lock_bound(duration::us(50), duration::us(1));
  c->config.vms[0].workload.set("locks", 64u);
  return cases;
}

detector_case gap_sweep(const run_config& base) {
  detector_case c = sweep_case(base);
  for (const std::uint32_t gap : {32u, 64u, 96u, 112u, vmx::default_ple_gap, 136u, 140u, 142u, 144u, 145u, 146u, 147u,
                                  148u, 152u, 160u, 192u, 256u})
    c.config.machine.observers.push_back({"pause_loop_exiting", gap});
  return c;
}

std::vector<detector_case> clock_sweep(const run_config& base) {
  std::vector<detector_case> cases;
  for (const std::uint32_t percent : sweep_clocks) {
    detector_case c = sweep_case(base);
    c.config.machine.core_clock_percent = percent;
    c.config.machine.observers = {{"pause_loop_exiting"}};
    cases.push_back(std::move(c));
  }
  return cases;
}

detector_row pooled(const std::vector<detector_row>& rows) {
  detector_row all = rows.front();
  for (auto it = rows.begin() + 1; it != rows.end(); ++it) {
    all.answers += it->answers;
    all.true_positives += it->true_positives;
    all.false_positives += it->false_positives;
    all.true_negatives += it->true_negatives;
    all.false_negatives += it->false_negatives;
    all.early += it->early;
    all.answered_in_vain += it->answered_in_vain;
  }
  const auto share = [](std::uint64_t part, std::uint64_t rest) -> std::optional<double> {
    if (part + rest == 0) return {};
    return static_cast<double>(part) / static_cast<double>(part + rest);
  };
  all.precision = share(all.true_positives, all.false_positives);
  all.recall = share(all.true_positives, all.false_negatives);
  return all;
}

namespace {

const detector_row& row_of(const run_result& r, std::size_t detector) { return r.detection.detectors[detector]; }

std::optional<double> false_alarms(const detector_row& d) {
  const std::uint64_t negative = d.false_positives + d.true_negatives;
  if (negative == 0) return {};
  return static_cast<double>(d.false_positives) / static_cast<double>(negative);
}

detector_row over_all(const detectors_output& s, std::size_t detector) {
  std::vector<detector_row> rows;
  for (const run_result& r : s.results) rows.push_back(row_of(r, detector));
  return pooled(rows);
}

std::string short_percent(const std::optional<double>& share) {
  if (!share) return "-";
  char text[16];
  std::snprintf(text, sizeof text, "%.0f", *share * 100);
  return text;
}

std::string fine_percent(const std::optional<double>& share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.2f%%", share.value_or(0) * 100);
  return text;
}

/// Median latency of the workloads in which it has one.
std::string latency_of(const detectors_output& s, std::size_t detector) {
  std::vector<std::uint64_t> medians;
  for (const run_result& r : s.results)
    if (row_of(r, detector).answered_in_vain != 0) medians.push_back(row_of(r, detector).latency_median_ns);
  if (medians.empty()) return "-";
  const auto [least, most] = std::minmax_element(medians.begin(), medians.end());
  const std::string from = readable_ns(static_cast<double>(*least)), to = readable_ns(static_cast<double>(*most));
  return from == to ? from : from + " .. " + to;
}

void print_matrix(std::ostream& out, const detectors_output& s) {
  constexpr int name_width = 32, cell = 18;
  out << std::left << std::setw(name_width) << "" << std::right;
  for (const detector_case& c : s.cases) out << std::setw(cell) << c.name;
  out << std::setw(cell) << "all" << std::setw(8) << "bits"
      << "  latency\n";
  out << std::left << std::setw(name_width) << "waits, of them in vain" << std::right;
  std::uint64_t waits = 0, futile = 0;
  for (const run_result& r : s.results) {
    out << std::setw(cell) << grouped(r.detection.waits) + ", " + grouped(r.detection.futile_waits);
    waits += r.detection.waits;
    futile += r.detection.futile_waits;
  }
  out << std::setw(cell) << grouped(waits) + ", " + grouped(futile) << '\n';
  const std::size_t detectors = s.results.front().detection.detectors.size();
  for (std::size_t d = 0; d < detectors; ++d) {
    out << std::left << std::setw(name_width) << row_of(s.results.front(), d).name << std::right;
    for (const run_result& r : s.results)
      out << std::setw(cell) << short_percent(row_of(r, d).recall) + " | " + short_percent(false_alarms(row_of(r, d)));
    const detector_row all = over_all(s, d);
    out << std::setw(cell) << short_percent(all.recall) + " | " + short_percent(all.precision) << std::setw(8)
        << all.state_bits << "  " << latency_of(s, d) << '\n';
  }
}

void print_legend(std::ostream& out, const detectors_output& s) {
  out << "\n  A wait is in vain when at one of its PAUSEs the awaited strand runs on no CPU; a detector detects it "
         "when\n"
         "  it would have exited during it. None acts. Per workload: recall | false alarms, in percent of the waits\n"
         "  in vain | of the others. All: recall | precision. Latency: from the first PAUSE in vain to the first\n"
         "  answer after it, medians of the workloads. oracle and coin_flip are controls.\n\n";
  for (const detector_case& c : s.cases)
    out << "  " << std::left << std::setw(18) << c.name << std::right << c.description << '\n';
}

void print_sweep(std::ostream& out, const std::vector<sweep_point>& points, const char* what, const char* unit) {
  constexpr int width = 50;
  if (points.empty()) return;
  out << '\n' << what << '\n';
  for (const sweep_point& p : points) {
    out << "  " << std::setw(6) << p.x << ' ' << std::left << std::setw(8) << unit << std::right << " PAUSE "
        << std::setw(3) << p.pause << "  " << std::left << std::setw(width)
        << std::string(static_cast<std::size_t>(p.recall.value_or(0) * width + 0.5), '#') << std::right << ' '
        << optional_percent(p.recall) << '\n';
  }
}

detectors_output run(const run_config& base, const options& what, std::ostream& err) {
  detectors_output s;
  std::vector<std::string> names;
  std::vector<run_config> configs;
  const auto add = [&](std::string name, const detector_case& c) {
    names.push_back(std::move(name));
    configs.push_back(c.config);
  };
  const std::vector<detector_case> cases = detector_cases(base);
  for (const detector_case& c : cases) add(c.name, c);
  const detector_case gaps = gap_sweep(base);
  add("the sweep of PLE_Gap", gaps);
  for (const detector_case& c : clock_sweep(base))
    add("a core clock of " + std::to_string(c.config.machine.core_clock_percent) + " %", c);
  study_runs runs = run_study_cases(names, configs, what, err);
  std::vector<std::optional<run_result>>& all = runs.results;
  s.missing = std::move(runs.missing);
  s.runs = names.size();

  const auto pause_of = [](const run_config& c) { return preset_of(c).costs.instruction.pause.count(); };
  const std::size_t sweep = cases.size();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!all[i]) continue;
    const std::vector<detector_row>& detectors = all[i]->detection.detectors;
    if (i < sweep) {
      s.cases.push_back(cases[i]);
      s.results.push_back(*all[i]);
    } else if (i == sweep) {
      for (const detector_row& d : detectors)
        s.gaps.push_back({static_cast<double>(d.gap), pause_of(configs[i]), d.recall});
    } else {
      s.clocks.push_back(
          {static_cast<double>(configs[i].machine.core_clock_percent), pause_of(configs[i]), detectors.front().recall});
    }
  }
  return s;
}

void print_study(std::ostream& out, const run_config& c, const detectors_output& s) {
  out << "Study detectors: the catalogue of spin detectors, watching the same runs\n";
  if (!s.results.empty()) {
    out << logical_cpus(c.machine) << " CPUs (" << c.machine.preset << "), "
        << readable_ns(static_cast<double>(s.results.front().measured_ns)) << " measured of each workload, seed "
        << c.seed << "\n\n";
    print_matrix(out, s);
    print_legend(out, s);
  }
  print_sweep(out, s.gaps, "Recall of pause_loop_exiting by PLE_Gap, with a PAUSE of 140 cycles (Skylake-SP)", "gap");
  print_sweep(out, s.clocks, "and by core clock at PLE_Gap 128: a faster core makes the same PAUSE fewer TSC cycles",
              "% clock");
  if (!s.missing.empty()) return;
  out << "\nWhat came out\n";
  for (const std::string& sentence : detector_findings(s)) print_wrapped(out, sentence);
}

std::string study_json(const detectors_output& s) {
  json::object document;
  document["schema"] = 1;
  document["study"] = "detectors";
  tell_missing(s.missing, document);
  json::array cases, sentences;
  for (std::size_t i = 0; i < s.cases.size(); ++i)
    cases.push_back(json::object{
        {"name", s.cases[i].name}, {"description", s.cases[i].description}, {"run", json::value_from(s.results[i])}});
  if (s.missing.empty())
    for (const std::string& line : detector_findings(s)) sentences.emplace_back(line);
  document["cases"] = std::move(cases);
  document["gap_sweep"] = json::value_from(s.gaps);
  document["clock_sweep"] = json::value_from(s.clocks);
  document["findings"] = std::move(sentences);
  return pretty_json(document);
}

}  // namespace

std::vector<std::string> detector_findings(const detectors_output& s) {
  std::vector<std::string> all;
  const auto points = [](const std::vector<sweep_point>& sweep, bool seen) {
    std::optional<double> x;
    for (const sweep_point& p : sweep)
      if (p.recall && (*p.recall > 0) == seen && (!x || seen ? !x || p.x < *x : p.x > *x)) x = p.x;
    return x;
  };
  const auto number = [](double x) { return std::to_string(static_cast<int>(x)); };
  if (const auto blind = points(s.gaps, false), seeing = points(s.gaps, true); blind && seeing)
    all.push_back("With a PAUSE of " + std::to_string(s.gaps.front().pause) +
                  " cycles PAUSE-loop exiting is blind up to a gap of " + number(*blind) + " and sees from " +
                  number(*seeing) + " on: KVM's default of 128 lies below.");
  if (const auto blind = points(s.clocks, false), seeing = points(s.clocks, true); blind && seeing)
    all.push_back("At the default gap of 128 the same processor is blind at a core clock of " + number(*blind) +
                  " % of the TSC's and sees from " + number(*seeing) +
                  " % on: turbo decides whether PAUSE-loop exiting works. No vendor has confirmed this; it follows "
                  "from the documented algorithm and the documented latency.");
  const detector_row* best = nullptr;
  std::vector<detector_row> rows;
  for (std::size_t d = 0; d < s.results.front().detection.detectors.size(); ++d) rows.push_back(over_all(s, d));
  const auto score = [](const detector_row& r) {
    const double p = r.precision.value_or(0), q = r.recall.value_or(0);
    return p + q == 0 ? 0 : 2 * p * q / (p + q);
  };
  for (const detector_row& r : rows)
    if (r.name != "oracle" && r.name != "coin_flip" && (best == nullptr || score(r) > score(*best))) best = &r;
  for (const detector_row& r : rows)
    if (r.name == "pause_loop_exiting")
      all.push_back("PAUSE-loop exiting finds " + optional_percent(r.recall) +
                    " of all waits in vain, and of the waits it answers in " + optional_percent(r.precision) +
                    " are in vain.");
  for (std::size_t d = 0; d < rows.size(); ++d) {
    const detector_row& r = rows[d];
    const std::uint64_t futile = r.true_positives + r.false_negatives;
    const std::uint64_t waits = futile + r.false_positives + r.true_negatives;
    if (r.name == "coin_flip" && waits != 0)
      all.push_back(
          "The controls: the oracle is right and complete by construction; of the waits the coin flip answers in " +
          fine_percent(r.precision) + " are in vain, as are " +
          fine_percent(static_cast<double>(futile) / static_cast<double>(waits)) +
          " of all waits. A detector earns what it has above that.");
  }
  if (best != nullptr)
    all.push_back("The best of the catalogue by the harmonic mean of both is " + best->name + ": recall " +
                  optional_percent(best->recall) + ", precision " + optional_percent(best->precision) + ".");
  return all;
}

int study_detectors(const options& what, const output_directory* directory, std::ostream& out, std::ostream& err) {
  const loaded_config base = load_study("detectors", what, err);
  std::vector<config_error> errors = base.errors;
  for (const char* path : {"machine.observers", "machine.core_clock_percent", "machine.detector"})
    refuse_override(what.overrides, path, false, "machine", errors);
  if (!errors.empty()) return refuse_study(errors, err);
  const detectors_output s = run(base.config, what, err);
  return show_study({"detectors", base.config, study_json(s), s.missing, s.runs, [&] { return detectors_picture(s); },
                     [&](std::ostream& to) { print_study(to, base.config, s); }},
                    what, directory, out);
}

}  // namespace vmxsys::platform
