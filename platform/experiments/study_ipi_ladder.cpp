#include "detail/study_ipi_ladder.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
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

namespace {

constexpr std::uint32_t many = 80;

/// The roles in the published table, each played by a rung.
constexpr const char* nobody_exits = "IPI-virtualized";
constexpr const char* sender_exits = "posted, x2APIC physical";
constexpr const char* receiver_exits = "direct, x2APIC physical";
constexpr const char* both_exit = "injected, x2APIC physical";

/// Kaffes et al., Shinjuku, NSDI '19: cost of preemption mechanisms, in cycles. No number for both: there a Linux
/// signal stands in that place, which is another mechanism.
struct published_row {
  const char* rung;
  const char* what;
  double sender, receiver, latency;
  const char* how;  ///< it comes about here
};
constexpr published_row shinjuku[] = {
    {nobody_exits, "no exits", 298, 1212, 1993, "fitted"},  // and with it the receiver of the next row
    {sender_exits, "sender exits", 2081, 1212, 2768, "predicted"},
    {receiver_exits, "receiver exits", 298, 2662, 3433, "predicted"},
};

std::string whole(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f", x);
  return text;
}
std::string fixed(double x, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, x);
  return text;
}
double ns_of(double cycles, const ipi_timing_result& r) { return cycles * 1e6 / static_cast<double>(r.tsc_khz); }
/// A median of `r` as a time.
std::string median_time(const cycle_summary& s, const ipi_timing_result& r) {
  return s.empty() ? no_figure : readable_ns(ns_of(static_cast<double>(s.median), r));
}

}  // namespace

std::vector<ipi_rung> ipi_rungs(const run_config& base) {
  std::vector<ipi_rung> rungs;
  const auto add = [&](std::string name, std::string description) -> ipi_rung& {
    rungs.push_back({std::move(name), std::move(description), base});
    return rungs.back();
  };
  const auto bare = [&](const char* driver, std::string name, std::string description) {
    run_config& c = add("bare metal, " + name, std::move(description)).config;
    c.bare_metal = true;
    c.vms[0].guest.apic = driver;
  };
  const auto virtualized = [&](const char* path, const char* driver, std::string name,
                               std::string description) -> host_config& {
    run_config& c = add(std::move(name), std::move(description)).config;
    c.host.interrupt_path = path;
    c.vms[0].guest.apic = driver;
    return c.host;
  };
  bare("xapic", "xAPIC", "no hypervisor; two writes of the register page for each target");
  bare("x2apic_physical", "x2APIC physical", "an ICR write for each target");
  bare("x2apic_cluster", "x2APIC cluster", "an ICR write for each 16 targets");
  virtualized("injected", "xapic", "injected, xAPIC",
              "KVM without APIC virtualization: each access of the register page exits, and so does the target");
  virtualized("injected", "x2apic_physical", both_exit, "the ICR write exits, and so does the target");
  virtualized("injected", "x2apic_cluster", "injected, x2APIC cluster", "an exit for each 16 targets");
  virtualized("direct", "x2apic_physical", receiver_exits,
              "the guest has the ICR, the target exits (as Dune, OSDI '12)");
  virtualized("posted", "xapic", "posted, xAPIC",
              "APIC virtualization: the ICR write exits once it is done, the target does not");
  virtualized("posted", "x2apic_physical", sender_exits, "the ICR write exits, the target does not");
  virtualized("posted", "x2apic_cluster", "posted, x2APIC cluster", "an exit for each 16 targets");
  virtualized("posted", "x2apic_physical", "posted, fast path",
              "the exit goes back in with interrupts off (Linux v6.12)")
      .interrupt_path.set("exit_fast_paths", true);
  virtualized("ipi_virtualized", "x2apic_physical", nobody_exits, "the processor posts: no exits");
  return rungs;
}

run_config with_fan(const run_config& unicast, ipi_fan fan) {
  run_config c = unicast;
  component<models::workload_entry>& w = c.vms[0].workload;
  switch (fan) {
    case ipi_fan::unicast:
      w.set("targets", 1u);
      break;
    case ipi_fan::multicast:
      w.set("targets", std::min(many, c.vms[0].vcpus - 1));
      break;
    case ipi_fan::broadcast:
      w.set("send", "shorthand");
      break;
  }
  return c;
}

std::uint64_t targets_of(const run_config& config) {
  return std::get<std::uint64_t>(models::workloads().value_of(config.vms[0].workload, "targets").held);
}

std::vector<ipi_call_case> ipi_call_cases(const run_config& base) {
  std::vector<ipi_call_case> cases;
  const auto add = [&](const char* name, bool all, double latency, double total) {
    ipi_call_case c{name, all, latency, total, base};
    c.config.machine.preset = "skylake_sp";
    c.config.machine.sockets = 2;
    c.config.machine.cores = 20;
    c.config.machine.threads = 2;
    c.config.vms[0].vcpus = 80;
    c.config.vms[0].guest.apic = name;
    c.config.host.interrupt_path = "posted";
    c.config.vms[0].workload.set("send", "call").set("targets", all ? 79u : 1u);
    cases.push_back(std::move(c));
  };
  add("x2apic_physical", false, 2264, 2554);
  add("x2apic_cluster", false, 2239, 2513);
  add("x2apic_physical", true, 0, 198'500);
  add("x2apic_cluster", true, 0, 92'800);
  return cases;
}

ipi_timing_result run_ipi(const run_config& config, bool bare) {
  const preset hardware = preset_of(config);
  ipi_timing timing{config.measure_from.to_cycles(hardware.tsc_khz)};
  execution_options how;
  how.stop = interrupted;
  how.observer = &timing;
  how.bare = bare;
  const run_result run = execute_whole(config, how);
  ipi_timing_result r = timing.result();
  r.tsc_khz = run.tsc_khz;
  r.fact_hash = run.fact_hash;
  return r;
}

std::optional<ipi_additivity> ipi_ladder_output::additivity() const {
  bool complete = true;
  const auto latency = [&](const char* name) {
    for (std::size_t i = 0; i < rungs.size(); ++i)
      if (rungs[i].name == name && !results[i].unicast.latency.empty())
        return static_cast<double>(results[i].unicast.latency.median);
    complete = false;
    return 0.0;
  };
  ipi_additivity a{latency(nobody_exits), latency(sender_exits), latency(receiver_exits), latency(both_exit), 0, 0};
  if (!complete) return {};
  a.predicted = a.sender + a.receiver - a.neither;
  a.error = a.predicted / a.both - 1;
  return a;
}

namespace {

/// Of the rungs three each, then of the calls.
std::vector<run_config> configurations(const ipi_ladder_output& s) {
  std::vector<run_config> configs;
  for (const ipi_rung& r : s.rungs)
    for (const ipi_fan fan : {ipi_fan::unicast, ipi_fan::multicast, ipi_fan::broadcast})
      configs.push_back(with_fan(r.config, fan));
  for (const ipi_call_case& c : s.calls) configs.push_back(c.config);
  return configs;
}

std::vector<std::string> names(const ipi_ladder_output& s) {
  std::vector<std::string> all;
  for (const ipi_rung& r : s.rungs)
    for (const char* fan : {" (to one)", " (to many)", " (to all)"}) all.push_back(r.name + fan);
  for (const ipi_call_case& c : s.calls) all.push_back("call, " + c.name + (c.all ? " (to all)" : " (to one)"));
  return all;
}

/// Runs all of it. Of an interrupted study the rungs stay that have run to their end with every fan.
void run(ipi_ladder_output& s, const options& what, std::ostream& err) {
  const std::vector<run_config> configs = configurations(s);
  study_jobs jobs = run_study_jobs(
      names(s), what, err, [&](std::size_t i) { return json::serialize(json::value_from(run_ipi(configs[i]))); });
  s.missing = std::move(jobs.missing);
  const auto result = [&](std::size_t i) { return json::value_to<ipi_timing_result>(json::parse(*jobs.texts[i])); };
  const std::vector<ipi_rung> rungs = std::exchange(s.rungs, {});
  const std::vector<ipi_call_case> calls = std::exchange(s.calls, {});
  std::size_t at = 0;
  for (const ipi_rung& r : rungs) {
    if (jobs.texts[at] && jobs.texts[at + 1] && jobs.texts[at + 2]) {
      s.rungs.push_back(r);
      s.results.push_back({result(at), result(at + 1), result(at + 2)});
    }
    at += 3;
  }
  for (const ipi_call_case& c : calls) {
    if (jobs.texts[at]) {
      s.calls.push_back(c);
      s.call_results.push_back(result(at));
    }
    ++at;
  }
}

constexpr int name_width = 30;

void print_rungs(std::ostream& out, const ipi_ladder_output& s) {
  out << "One target: medians in TSC cycles (" << fixed(static_cast<double>(s.results[0].unicast.tsc_khz) / 1e6, 1)
      << " GHz); exits of one send\n"
      << std::left << std::setw(name_width) << "" << std::right << std::setw(7) << "send" << std::setw(8) << "flight"
      << std::setw(9) << "receive" << std::setw(9) << "latency" << std::setw(11) << "p99" << std::setw(10) << "sender"
      << "  exits: sender | receiver\n";
  for (std::size_t i = 0; i < s.rungs.size(); ++i) {
    const ipi_timing_result& r = s.results[i].unicast;
    const auto median = [](const cycle_summary& of) { return shown(of, &cycle_summary::median); };
    out << std::left << std::setw(name_width) << s.rungs[i].name << std::right << std::setw(7) << median(r.send)
        << std::setw(8) << median(r.flight) << std::setw(9) << median(r.receive) << std::setw(9) << median(r.latency)
        << std::setw(11) << shown(r.latency, &cycle_summary::p99) << std::setw(10) << median(r.sender) << "  "
        << shown(r.sending) << " | " << shown(r.receiving) << '\n';
  }
}

void print_fans(std::ostream& out, const ipi_ladder_output& s) {
  const std::uint64_t targets = targets_of(with_fan(s.rungs[0].config, ipi_fan::multicast));
  const std::uint32_t others = s.rungs[0].config.vms[0].vcpus - 1;
  out << "\nMany targets: exits of a whole send at the sender and at one target; until the sender goes on, and until "
         "the "
         "last target\nis reached (medians)\n"
      << std::left << std::setw(name_width) << "" << std::right << std::setw(38) << "to " + std::to_string(targets)
      << std::setw(42) << "to all " + std::to_string(others) + ", by shorthand" << '\n'
      << std::left << std::setw(name_width) << "" << std::right;
  for (int i = 0; i < 2; ++i)
    out << std::setw(i == 0 ? 8 : 12) << "exits" << std::setw(8) << "target" << std::setw(11) << "sender"
        << std::setw(11) << "last";
  out << '\n';
  for (std::size_t i = 0; i < s.rungs.size(); ++i) {
    out << std::left << std::setw(name_width) << s.rungs[i].name << std::right;
    int width = 8;
    for (const ipi_timing_result* r : {&s.results[i].multicast, &s.results[i].broadcast}) {
      out << std::setw(width) << shown_count(r->sending) << std::setw(8) << shown_count(r->receiving) << std::setw(11)
          << median_time(r->sender, *r) << std::setw(11) << median_time(r->last, *r);
      width = 12;
    }
    out << '\n';
  }
}

void print_shinjuku(std::ostream& out, const ipi_ladder_output& s) {
  out << "\nAgainst Kaffes et al., Shinjuku, NSDI '19 (cycles; published | here)\n"
      << std::left << std::setw(name_width) << "" << std::right << std::setw(16) << "sender" << std::setw(18)
      << "receiver" << std::setw(18) << "latency" << '\n';
  for (const published_row& p : shinjuku) {
    for (std::size_t i = 0; i < s.rungs.size(); ++i) {
      if (s.rungs[i].name != p.rung) continue;
      const ipi_timing_result& r = s.results[i].unicast;
      const auto pair = [](double published, const cycle_summary& here) {
        return whole(published) + " | " + shown(here, &cycle_summary::median);
      };
      out << std::left << std::setw(name_width) << p.what << std::right << std::setw(16) << pair(p.sender, r.sender)
          << std::setw(18) << pair(p.receiver, r.receive) << std::setw(18) << pair(p.latency, r.latency) << "  ";
      if (!r.latency.empty()) out << difference(static_cast<double>(r.latency.median), p.latency) << "  ";
      out << p.how << '\n';
    }
  }
}

void print_calls(std::ostream& out, const ipi_ladder_output& s) {
  if (s.calls.empty()) return;
  out << "\nSynchronous calls in a VM of 80 vCPUs, 2 x 20 cores x 2 threads of Skylake-SP (published | here)\n";
  for (std::size_t i = 0; i < s.calls.size(); ++i) {
    const ipi_call_case& c = s.calls[i];
    const ipi_timing_result& r = s.call_results[i];
    const auto pair = [&](double published, const cycle_summary& here) {
      const double ns = ns_of(here.mean, r);
      return readable_ns(published) + " | " +
             (here.empty() ? no_figure : readable_ns(ns) + "  " + difference(ns, published));
    };
    out << "  " << std::left << std::setw(18) << c.name << std::setw(10) << (c.all ? "to all" : "to one") << std::right;
    if (c.published_latency_ns != 0) out << "  to the handler " << pair(c.published_latency_ns, r.latency) << ';';
    out << "  in all " << pair(c.published_total_ns, r.sender) << "; ICR exits " << shown_count(r.sending) << '\n';
  }
}

void print_ladder(std::ostream& out, const ipi_ladder_output& s) {
  if (s.rungs.empty()) return;
  print_rungs(out, s);
  out << "\n  send: first instruction of the sender to the message that leaves a local APIC, in guest or host. "
         "flight: to the\n  target's local APIC. receive: to the first instruction of the handler. sender: until it "
         "goes on. The receiver's exits\n  include those until its handler has run: an EOI that exits is one of "
         "them.\n\n";
  for (const ipi_rung& r : s.rungs)
    out << "  " << std::left << std::setw(name_width) << r.name << std::right << r.description << '\n';
  print_fans(out, s);
  print_shinjuku(out, s);
}

void print_study(std::ostream& out, const run_config& c, const ipi_ladder_output& s) {
  std::ostringstream tables;
  tables << "Study ipi_ladder: one kernel's interprocessor interrupts on bare metal and through each kind of "
            "virtualization\n"
         << logical_cpus(c.machine) << " CPUs (" << c.machine.preset << "), a vCPU bound to each, seed " << c.seed
         << "\n\n";
  print_ladder(tables, s);
  print_calls(tables, s);
  print_tables(out, tables.str());
  if (!s.missing.empty()) return;
  out << "\nWhat came out\n";
  for (const std::string& sentence : ipi_ladder_findings(s)) print_wrapped(out, sentence);
}

std::string study_json(const ipi_ladder_output& s) {
  json::object document;
  document["schema"] = 1;
  document["study"] = "ipi_ladder";
  tell_missing(s.missing, document);
  json::array rungs, calls, sentences;
  for (std::size_t i = 0; i < s.rungs.size(); ++i)
    rungs.push_back(json::object{{"name", s.rungs[i].name},
                                 {"description", s.rungs[i].description},
                                 {"unicast", json::value_from(s.results[i].unicast)},
                                 {"multicast", json::value_from(s.results[i].multicast)},
                                 {"broadcast", json::value_from(s.results[i].broadcast)}});
  for (std::size_t i = 0; i < s.calls.size(); ++i)
    calls.push_back(json::object{{"driver", s.calls[i].name},
                                 {"targets", targets_of(s.calls[i].config)},
                                 {"published_latency_ns", s.calls[i].published_latency_ns},
                                 {"published_total_ns", s.calls[i].published_total_ns},
                                 {"call", json::value_from(s.call_results[i])}});
  if (s.missing.empty())
    for (const std::string& line : ipi_ladder_findings(s)) sentences.emplace_back(line);
  document["rungs"] = std::move(rungs);
  document["calls"] = std::move(calls);
  if (const auto a = s.additivity()) document["additivity"] = json::value_from(*a);
  document["findings"] = std::move(sentences);
  return pretty_json(document);
}

}  // namespace

std::vector<std::string> ipi_ladder_findings(const ipi_ladder_output& s) {
  std::vector<std::string> all;
  const auto results = [&](std::string_view name) -> const ipi_rung_results* {
    for (std::size_t i = 0; i < s.rungs.size(); ++i)
      if (s.rungs[i].name == name) return &s.results[i];
    return nullptr;
  };
  if (const auto a = s.additivity())
    all.push_back("With exits of the sender alone an interrupt takes " + whole(a->sender) +
                  " cycles, of the receiver alone " + whole(a->receiver) + ", without any " + whole(a->neither) +
                  "; that predicts " + whole(a->predicted) + " for both, and both take " + whole(a->both) + " (" +
                  difference(a->both, a->predicted) +
                  "). The prediction leaves out the lines by which the sender's hypervisor tells the target's: where "
                  "only the receiver exits, its own CPU writes and reads them; where only the sender exits, the "
                  "descriptor's line takes their place.");
  for (const published_row& p : shinjuku) {
    const ipi_rung_results* r = results(p.rung);
    if (r == nullptr) continue;
    if (r->unicast.latency.empty()) {
      all.push_back("Shinjuku with " + std::string{p.what} + ": " + whole(p.latency) + " cycles; no samples here.");
      continue;
    }
    const std::uint64_t latency = r->unicast.latency.median;
    all.push_back("Shinjuku with " + std::string{p.what} + ": " + whole(p.latency) + " cycles, here " +
                  std::to_string(latency) + " (" + difference(static_cast<double>(latency), p.latency) + ", " + p.how +
                  ").");
  }
  const ipi_rung_results *direct = results(receiver_exits), *virtualized = results(nobody_exits);
  if (direct != nullptr && virtualized != nullptr && !direct->unicast.sender.empty() &&
      !virtualized->unicast.sender.empty())
    all.push_back("Posting costs a sender without exits " +
                  std::to_string(virtualized->unicast.sender.median - direct->unicast.sender.median) +
                  " cycles more than a bare ICR write: the descriptor's line moves between cores. Shinjuku has 298 "
                  "cycles for both; only the one that posts was fitted.");
  const ipi_rung_results *injected = results(both_exit), *posted = results(sender_exits);
  const auto sent_to_many = [](const ipi_rung_results* r) { return r != nullptr && !r->multicast.sender.empty(); };
  if (sent_to_many(injected) && sent_to_many(posted) && sent_to_many(virtualized)) {
    const auto time = [](const ipi_rung_results& r) { return median_time(r.multicast.sender, r.multicast); };
    const auto exits = [](const ipi_rung_results& r) { return shown_count(r.multicast.sending); };
    const std::uint64_t targets = targets_of(with_fan(s.rungs[0].config, ipi_fan::multicast));
    all.push_back("To " + std::to_string(targets) + " targets the sender needs " + time(*injected) +
                  " where interrupts are injected (" + exits(*injected) + " exits), " + time(*posted) +
                  " where they are posted (" + exits(*posted) + "), " + time(*virtualized) +
                  " where the processor posts (" + exits(*virtualized) + ").");
  }
  if (virtualized != nullptr && !virtualized->broadcast.sending.empty())
    all.push_back("A shorthand exits even where IPIs are virtualized: " + shown_count(virtualized->broadcast.sending) +
                  " exit for all others.");
  const auto call = [&](std::string_view driver) -> const ipi_timing_result* {
    for (std::size_t i = 0; i < s.calls.size(); ++i)
      if (s.calls[i].all && s.calls[i].name == driver) return &s.call_results[i];
    return nullptr;
  };
  const ipi_timing_result *physical = call("x2apic_physical"), *cluster = call("x2apic_cluster");
  if (physical != nullptr && cluster != nullptr && !physical->sender.empty() && !cluster->sender.empty())
    all.push_back("A call to all 79 others takes " + fixed(physical->sender.mean / cluster->sender.mean, 2) +
                  " times as long with an ICR write for each (" + std::to_string(physical->sending.usual) +
                  " exits) as with clusters (" + std::to_string(cluster->sending.usual) +
                  "); published: " + fixed(198.5 / 92.8, 2) + " times. By clusters it takes " +
                  readable_ns(ns_of(cluster->sender.mean, *cluster)) + ", published: " + readable_ns(92'800) + ".");
  return all;
}

int study_ipi_ladder(const options& what, const output_directory* directory, std::ostream& out, std::ostream& err) {
  const loaded_config base = load_study("ipi_ladder", what, err);
  std::vector<config_error> errors = base.errors;
  for (const char* path :
       {"bare_metal", "host.interrupt_path", "vms[0].guest.apic", "vms[0].workload.send", "vms[0].workload.targets"})
    refuse_override(what.overrides, path, false, "", errors);
  ipi_ladder_output s;
  if (errors.empty()) {
    s.rungs = ipi_rungs(base.config);
    s.calls = ipi_call_cases(base.config);
    check_study_cases(configurations(s), errors);
  }
  if (!errors.empty()) return refuse_study(errors, err);
  const std::size_t runs = configurations(s).size();
  run(s, what, err);
  return show_study({"ipi_ladder", base.config, study_json(s), s.missing, runs, [&] { return ipi_ladder_picture(s); },
                     [&](std::ostream& to) { print_study(to, base.config, s); }},
                    what, directory, out);
}

}  // namespace vmxsys::platform
