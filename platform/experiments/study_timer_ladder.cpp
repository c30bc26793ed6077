#include "detail/study_timer_ladder.hpp"

#include <boost/json.hpp>
#include <cctype>
#include <cstdio>
#include <iomanip>
#include <ostream>
#include <sstream>
#include <utility>

#include <vmxsys/platform/config/json_text.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/platform/observe/report/report.hpp>
#include <vmxsys/platform/presets/preset.hpp>
#include <vmxsys/platform/run/execution.hpp>
#include <vmxsys/platform/run/interruption.hpp>

#include "detail/study_kit.hpp"

namespace vmxsys::platform {

namespace json = boost::json;

std::vector<timer_rung> timer_rungs(const run_config& base) {
  std::vector<timer_rung> rungs;
  const auto add = [&](std::string name, std::string description, const char* path,
                       component<models::timer_backend_entry> backend) -> run_config& {
    rungs.push_back({std::move(name), std::move(description), base});
    run_config& c = rungs.back().config;
    c.host.interrupt_path = path;
    c.host.timer_backend = std::move(backend);
    return c;
  };
  run_config& bare = add("bare metal", "no hypervisor", "injected", "preemption_timer");
  bare.bare_metal = true;
  bare.machine.sockets = bare.machine.cores = bare.machine.threads = 1;
  add("hrtimer", "a timer of the host on the same CPU: its interrupt makes the guest exit", "injected", "hrtimer");
  add("preemption timer", "the VMX-preemption timer while the guest runs, a timer of the host while it is halted",
      "injected", "preemption_timer");
  add("preemption timer, adaptive", "the same, let expire early by what it was late before", "injected",
      "preemption_timer")
      .host.timer_advance = "adaptive";
  add("hrtimer, APICv", "with APIC virtualization: the EOI does not exit", "posted", "hrtimer");
  add("preemption timer, APICv", "with APIC virtualization: the EOI does not exit", "posted", "preemption_timer");
  add("preemption timer, fast path", "the same; exits go back in with interrupts off (Linux v6.12)", "posted",
      "preemption_timer")
      .host.interrupt_path.set("exit_fast_paths", true);
  add("posted from another CPU",
      "a timer of the host posts from a housekeeping CPU, which sleeps meanwhile (Linux v5.3)", "posted",
      {"posted", {{"housekeeping_cpu", logical_cpus(base.machine) - 1}}});
  add("APIC-timer virtualization", "the processor keeps the guest's deadline", "posted", "apic_timer_virtualization");
  return rungs;
}

run_config while_halted(const run_config& computing) {
  run_config c = computing;
  c.vms[0].workload.set("halted", true);
  return c;
}

std::vector<timer_publication> timer_publications(const run_config& base) {
  std::vector<timer_publication> all;
  const auto add = [&](const char* name, double published, const char* backend, const char* advance) {
    timer_publication p{name, published, base};
    p.config.machine.preset = "skylake_sp";
    p.config.vms[0].workload.set("ahead", duration::from_cycles(200'000));
    p.config.host.interrupt_path = "posted";
    p.config.host.timer_backend = backend;
    p.config.host.timer_advance = advance;
    all.push_back(std::move(p));
  };
  add("hrtimer", 5700, "hrtimer", "off");
  add("preemption timer", 2600, "preemption_timer", "off");
  add("preemption timer, adaptive", 1200, "preemption_timer", "adaptive");
  return all;
}

timer_timing_result run_timer(const run_config& config, bool bare) {
  const preset hardware = preset_of(config);
  timer_timing timing{config.measure_from.to_cycles(hardware.tsc_khz)};
  execution_options how;
  how.stop = interrupted;
  how.observer = &timing;
  how.bare = bare;
  const run_result run = execute_whole(config, how);
  timer_timing_result r = timing.result();
  r.tsc_khz = run.tsc_khz;
  r.fact_hash = run.fact_hash;
  return r;
}

namespace {

/// Computing and halted in turn, of the rungs, then of the publications.
std::vector<run_config> configurations(const timer_ladder_output& s) {
  std::vector<run_config> configs;
  for (const timer_rung& r : s.rungs) {
    configs.push_back(r.config);
    configs.push_back(while_halted(r.config));
  }
  for (const timer_publication& p : s.publications) {
    configs.push_back(p.config);
    configs.push_back(while_halted(p.config));
  }
  return configs;
}

std::vector<std::string> names(const timer_ladder_output& s) {
  std::vector<std::string> all;
  const auto both = [&](const std::string& name) {
    for (const char* waiting : {", computing", ", halted"}) all.push_back(name + waiting);
  };
  for (const timer_rung& r : s.rungs) both(r.name);
  for (const timer_publication& p : s.publications) both("as published: " + p.name);
  return all;
}

/// Runs all of it. Of an interrupted study the rungs stay that have run to their end both ways.
void run(timer_ladder_output& s, const options& what, std::ostream& err) {
  const std::vector<run_config> configs = configurations(s);
  study_jobs jobs = run_study_jobs(
      names(s), what, err, [&](std::size_t i) { return json::serialize(json::value_from(run_timer(configs[i]))); });
  s.missing = std::move(jobs.missing);
  const auto result = [&](std::size_t i) { return json::value_to<timer_timing_result>(json::parse(*jobs.texts[i])); };
  std::size_t at = 0;
  const auto keep = [&](auto& rungs, std::vector<timer_rung_results>& results) {
    for (const auto& r : std::exchange(rungs, {})) {
      if (jobs.texts[at] && jobs.texts[at + 1]) {
        rungs.push_back(r);
        results.push_back({result(at), result(at + 1)});
      }
      at += 2;
    }
  };
  keep(s.rungs, s.results);
  keep(s.publications, s.publication_results);
}

constexpr int name_width = 30;

void print_rungs(std::ostream& out, const timer_ladder_output& s, const char* title,
                 timer_timing_result timer_rung_results::*which) {
  out << title << '\n'
      << std::left << std::setw(name_width) << "" << std::right << std::setw(7) << "arm" << std::setw(9) << "late"
      << std::setw(9) << "p99"
      << "  exits: arm | until it has fired\n";
  for (std::size_t i = 0; i < s.rungs.size(); ++i) {
    const timer_timing_result& r = s.results[i].*which;
    out << std::left << std::setw(name_width) << s.rungs[i].name << std::right << std::setw(7)
        << shown(r.arm, &cycle_summary::median) << std::setw(9) << shown(r.late, &cycle_summary::median) << std::setw(9)
        << shown(r.late, &cycle_summary::p99) << "  " << shown(r.arming) << " | " << shown(r.firing) << '\n';
  }
  out << '\n';
}

void print_ladder(std::ostream& out, const timer_ladder_output& s) {
  if (s.rungs.empty()) return;
  print_rungs(out, s, "The CPU computes while it waits", &timer_rung_results::computing);
  print_rungs(out, s, "The CPU is halted while it waits", &timer_rung_results::halted);
  out << "  arm: what arming takes the kernel. late: from the deadline to the first instruction of the handler. "
         "Exits after arming\n  include an EOI that exits and, halted, the HLT.\n\n";
  for (const timer_rung& r : s.rungs)
    out << "  " << std::left << std::setw(name_width) << r.name << std::right << r.description << '\n';
}

void print_publications(std::ostream& out, const timer_ladder_output& s) {
  if (s.publications.empty()) return;
  out << "\nMean lateness on Skylake-SP, kvm-unit-tests tscdeadline_latency: published; here computing, here halted\n";
  for (std::size_t i = 0; i < s.publications.size(); ++i) {
    const timer_publication& p = s.publications[i];
    const auto mean = [&](const cycle_summary& late) {
      char text[40];
      if (late.empty())
        std::snprintf(text, sizeof text, "%6s %7s", no_figure, "");
      else
        std::snprintf(text, sizeof text, "%6.0f %7s", late.mean, difference(late.mean, p.published).c_str());
      return std::string{text};
    };
    char line[160];
    std::snprintf(line, sizeof line, "  %-28s %6.0f; %s, %s\n", p.name.c_str(), p.published,
                  mean(s.publication_results[i].computing.late).c_str(),
                  mean(s.publication_results[i].halted.late).c_str());
    out << line;
  }
  if (const auto hardware = find_preset(s.publications.front().config.machine.preset))
    out << "  The guest of that test halts. Not told: whether its HLT exits, and whether the CPU of the host sleeps "
           "then; here it does,\n  and takes "
        << hardware->costs.idle_states.front().exit_latency.count() << " cycles to wake up.\n";
}

void print_study(std::ostream& out, const run_config& c, const timer_ladder_output& s) {
  std::ostringstream tables;
  tables << "Study timer_ladder: one kernel's TSC-deadline timer on bare metal and with each backend of a hypervisor\n"
         << c.machine.preset << " at " << static_cast<double>(tsc_khz_of(c)) / 1e6 << " GHz, armed "
         << models::workloads().value_of(c.vms[0].workload, "ahead").to_string() << " ahead, seed " << c.seed
         << "; medians in TSC cycles\n\n";
  print_ladder(tables, s);
  print_publications(tables, s);
  print_tables(out, tables.str());
  if (!s.missing.empty()) return;
  out << "\nWhat came out\n";
  for (const std::string& sentence : timer_ladder_findings(s)) print_wrapped(out, sentence);
}

std::string study_json(const timer_ladder_output& s) {
  json::object document;
  document["schema"] = 1;
  document["study"] = "timer_ladder";
  tell_missing(s.missing, document);
  json::array rungs, publications, sentences;
  for (std::size_t i = 0; i < s.rungs.size(); ++i)
    rungs.push_back(json::object{{"name", s.rungs[i].name},
                                 {"description", s.rungs[i].description},
                                 {"computing", json::value_from(s.results[i].computing)},
                                 {"halted", json::value_from(s.results[i].halted)}});
  for (std::size_t i = 0; i < s.publications.size(); ++i)
    publications.push_back(json::object{{"name", s.publications[i].name},
                                        {"published_cycles", s.publications[i].published},
                                        {"computing", json::value_from(s.publication_results[i].computing)},
                                        {"halted", json::value_from(s.publication_results[i].halted)}});
  if (s.missing.empty())
    for (const std::string& line : timer_ladder_findings(s)) sentences.emplace_back(line);
  document["rungs"] = std::move(rungs);
  document["publications"] = std::move(publications);
  document["findings"] = std::move(sentences);
  return pretty_json(document);
}

}  // namespace

std::vector<std::string> timer_ladder_findings(const timer_ladder_output& s) {
  std::vector<std::string> all;
  const auto results = [&](std::string_view name) -> const timer_rung_results* {
    for (std::size_t i = 0; i < s.rungs.size(); ++i)
      if (s.rungs[i].name == name) return &s.results[i];
    return nullptr;
  };
  const auto exits = [](std::uint32_t n) { return std::to_string(n) + (n == 1 ? " exit" : " exits"); };
  const timer_rung_results* bare = results("bare metal");
  for (std::size_t i = 0; i < s.rungs.size(); ++i) {
    const timer_timing_result& c = s.results[i].computing;
    if (bare == nullptr || &s.results[i] == bare) continue;
    std::string name = s.rungs[i].name;
    name.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(name.front())));
    if (c.arming.empty() || c.late.empty() || c.firing.empty() || bare->computing.late.empty()) {
      all.push_back(name + ": no samples, here or on bare metal.");
      continue;
    }
    const auto more = static_cast<std::int64_t>(c.late.median) - static_cast<std::int64_t>(bare->computing.late.median);
    all.push_back(name + ": " + exits(c.arming.usual) + " to arm, " + exits(c.firing.usual) +
                  " until the timer has fired; its handler runs " + std::to_string(c.late.median) +
                  " cycles after the deadline, " + std::to_string(more < 0 ? -more : more) +
                  (more < 0 ? " less" : " more") + " than on bare metal.");
  }
  const timer_rung_results *local = results("hrtimer, APICv"), *posted = results("posted from another CPU");
  if (local != nullptr && posted != nullptr && !local->computing.late.empty() && !posted->computing.late.empty() &&
      !local->computing.firing.empty() && !posted->computing.firing.empty()) {
    const preset hardware = preset_of(s.rungs.front().config);
    all.push_back("A timer on another CPU spares the guest the exit of its expiry (" +
                  exits(local->computing.firing.usual) + " against " + std::to_string(posted->computing.firing.usual) +
                  "); the one that arms it stays. It is later by " +
                  std::to_string(static_cast<std::int64_t>(posted->computing.late.median) -
                                 static_cast<std::int64_t>(local->computing.late.median)) +
                  " cycles: " + std::to_string(hardware.costs.idle_states.front().exit_latency.count()) +
                  " the other CPU takes to wake up.");
  }
  return all;
}

int study_timer_ladder(const options& what, const output_directory* directory, std::ostream& out, std::ostream& err) {
  const loaded_config base = load_study("timer_ladder", what, err);
  std::vector<config_error> errors = base.errors;
  for (const char* path : {"bare_metal", "host.interrupt_path", "host.timer_backend", "host.timer_advance",
                           "host.interrupt_path.exit_fast_paths", "vms[0].workload.halted"})
    refuse_override(what.overrides, path, false, "", errors);
  timer_ladder_output s;
  if (errors.empty()) {
    s.rungs = timer_rungs(base.config);
    s.publications = timer_publications(base.config);
    check_study_cases(configurations(s), errors);
  }
  if (!errors.empty()) return refuse_study(errors, err);
  const std::size_t runs = configurations(s).size();
  run(s, what, err);
  return show_study(
      {"timer_ladder", base.config, study_json(s), s.missing, runs, [&] { return timer_ladder_picture(s); },
       [&](std::ostream& to) { print_study(to, base.config, s); }},
      what, directory, out);
}

}  // namespace vmxsys::platform
