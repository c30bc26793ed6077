#include "explore_command.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <iomanip>
#include <optional>
#include <ostream>
#include <sstream>

#include <vmxsys/models/posting/posting_explorer.hpp>
#include <vmxsys/platform/run/interruption.hpp>
#include <vmxsys/vmx/base/nearest.hpp>

namespace vmxsys::platform {

namespace json = boost::json;

namespace {

using models::posting_exploration;
using models::posting_order_info;
using models::posting_scenario;

// A number of a scenario that can be set; flags are 0 .. 1.
struct scenario_parameter {
  const char* name;
  const char* description;
  unsigned lowest, highest;
  unsigned (*get)(const posting_scenario&);
  void (*set)(posting_scenario&, unsigned);
};

constexpr scenario_parameter scenario_parameters[] = {
    {"vcpus", "virtual CPUs, and as many physical ones", 1, models::posting_rules::most_vcpus,
     [](const posting_scenario& s) { return s.vcpus; }, [](posting_scenario& s, unsigned n) { s.vcpus = n; }},
    {"ipis", "interrupts that vCPUs send each other", 0, models::posting_scenario::most_ipis,
     [](const posting_scenario& s) { return s.ipis; }, [](posting_scenario& s, unsigned n) { s.ipis = n; }},
    {"device_posts", "interrupts that a device posts; 0: there is no device", 0,
     models::posting_scenario::most_device_posts, [](const posting_scenario& s) { return s.device_posts; },
     [](posting_scenario& s, unsigned n) { s.device_posts = n; }},
    {"urgent", "the device's interrupts ignore SN", 0, 1, [](const posting_scenario& s) { return unsigned{s.urgent}; },
     [](posting_scenario& s, unsigned n) { s.urgent = n != 0; }},
    {"ipi_virtualization", "the sender's processor posts IPIs, not its hypervisor", 0, 1,
     [](const posting_scenario& s) { return unsigned{s.ipi_virtualization}; },
     [](posting_scenario& s, unsigned n) { s.ipi_virtualization = n != 0; }},
    {"preemptions", "how often the host's scheduler takes a CPU away", 0, models::posting_scenario::most_preemptions,
     [](const posting_scenario& s) { return s.preemptions; },
     [](posting_scenario& s, unsigned n) { s.preemptions = n; }},
    {"migration", "a vCPU may run on every physical CPU", 0, 1,
     [](const posting_scenario& s) { return unsigned{s.migration}; },
     [](posting_scenario& s, unsigned n) { s.migration = n != 0; }},
};

std::optional<unsigned> number(std::string_view text) {
  if (text == "true") return 1;
  if (text == "false") return 0;
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// What the command line asks for.
struct request {
  posting_scenario scenario;
  std::vector<const posting_order_info*> orders;
  bool with_device_given = false;  ///< device_posts was set: no order chooses it for itself
};

// Empty, or what is wrong.
std::string read(const options& what, request& to) {
  std::string order = "all";
  for (const std::string& assignment : what.overrides) {
    const std::size_t equals = assignment.find('=');
    const std::string name = assignment.substr(0, equals), text = assignment.substr(equals + 1);
    if (name == "order") {
      order = text;
      continue;
    }
    const auto* const parameter = std::find_if(std::begin(scenario_parameters), std::end(scenario_parameters),
                                               [&](const scenario_parameter& p) { return p.name == name; });
    if (parameter == std::end(scenario_parameters)) {
      std::vector<std::string> names{"order"};
      for (const scenario_parameter& p : scenario_parameters) names.emplace_back(p.name);
      return "no parameter \"" + name + '"' + did_you_mean(name, names) + "; see vmxsys list exploration_parameters";
    }
    const std::optional<unsigned> value = number(text);
    if (!value || *value < parameter->lowest || *value > parameter->highest) {
      return name + " takes " + std::to_string(parameter->lowest) + " .. " + std::to_string(parameter->highest) +
             ", not \"" + text + '"';
    }
    parameter->set(to.scenario, *value);
    to.with_device_given = to.with_device_given || name == "device_posts";
  }
  std::vector<std::string> names{"all"};
  for (const posting_order_info& info : models::posting_orders()) {
    names.emplace_back(info.name);
    if (order == "all" || order == info.name) to.orders.push_back(&info);
  }
  if (to.orders.empty()) return "no order \"" + order + '"' + did_you_mean(order, names) + "; see vmxsys list orders";
  return "";
}

posting_scenario scenario_for(const request& asked, const posting_order_info& info) {
  posting_scenario s = asked.scenario;
  s.order = info.order;
  if (info.repaired_by_put && !asked.with_device_given) s.device_posts = 0;
  return s;
}

std::string in_words(const posting_scenario& s) {
  std::ostringstream text;
  const auto count = [&](unsigned n, const char* one) { text << n << ' ' << one << (n == 1 ? "" : "s"); };
  count(s.vcpus, "vCPU");
  text << ", ";
  count(s.ipis, "IPI");
  if (s.ipi_virtualization) text << " by IPI virtualization";
  if (s.device_posts == 0) {
    text << ", no device";
  } else {
    text << ", 1 device that posts ";
    count(s.device_posts, s.urgent ? "urgent interrupt" : "interrupt");
  }
  text << ", ";
  count(s.preemptions, "preemption");
  text << (s.migration ? ", migration" : ", no migration");
  return text.str();
}

std::string verdict(const posting_exploration& e) {
  if (!e.violation.empty()) return e.violation;
  return e.complete ? "none lost" : "none lost so far; not complete";
}

json::array events(const std::vector<models::posting_event>& lines) {
  json::array array;
  for (const models::posting_event& line : lines) array.push_back(json::object{{"who", line.who}, {"what", line.what}});
  return array;
}

json::object to_json(const posting_order_info& info, const posting_exploration& e) {
  json::object scenario;
  for (const scenario_parameter& p : scenario_parameters) scenario[p.name] = p.get(e.scenario);
  return {{"order", json::string_view{info.name.data(), info.name.size()}},
          {"scenario", scenario},
          {"states", e.states},
          {"transitions", e.transitions},
          {"settled", e.settled},
          {"quiescent", e.quiescent},
          {"depth", e.depth},
          {"complete", e.complete},
          {"seconds", e.seconds},
          {"violation", e.violation.empty() ? json::value(nullptr) : json::value(json::string{e.violation})},
          {"steps", e.path.size()},
          {"trace", events(e.trace)},
          {"outcome", events(e.outcome)}};
}

void print_events(const std::vector<models::posting_event>& lines, std::ostream& out) {
  std::size_t width = 0;
  for (const models::posting_event& line : lines) width = std::max(width, line.who.size());
  for (const models::posting_event& line : lines)
    out << "  " << line.who << std::string(width + 2 - line.who.size(), ' ') << line.what << '\n';
}

struct explored {
  const posting_order_info* info;
  posting_exploration found;
};

void print(const request& asked, const std::vector<explored>& all, std::ostream& out) {
  out << "Posted interrupts, every order of steps: " << in_words(asked.scenario) << "\n\n";
  std::size_t width = 5;
  for (const explored& e : all) width = std::max(width, e.info->name.size());
  out << std::left << std::setw(static_cast<int>(width + 2)) << "order" << std::right << std::setw(10) << "states"
      << std::setw(12) << "transitions" << std::setw(9) << "settled" << std::setw(11) << "quiescent" << std::setw(7)
      << "depth" << std::setw(8) << "s"
      << "  verdict\n";
  for (const explored& e : all) {
    const posting_exploration& f = e.found;
    out << std::left << std::setw(static_cast<int>(width + 2)) << e.info->name << std::right << std::setw(10)
        << f.states << std::setw(12) << f.transitions << std::setw(9) << f.settled << std::setw(11) << f.quiescent
        << std::setw(7) << f.depth << std::setw(8) << std::fixed << std::setprecision(2) << f.seconds << "  "
        << verdict(f);
    if (f.scenario.device_posts != asked.scenario.device_posts) out << " (without the device)";
    out << '\n';
  }
  for (const explored& e : all) {
    if (e.found.violation.empty()) continue;
    out << '\n'
        << e.info->name << ": " << e.info->description << "\n"
        << e.found.violation << ", after " << e.found.path.size() << " moves at least:\n";
    print_events(e.found.trace, out);
    out << "then, with nothing under way:\n";
    print_events(e.found.outcome, out);
  }
}

}  // namespace

std::vector<choice> exploration_choices() {
  return {{"posting", "posted interrupts: senders, a device, entry, exit, blocking, preemption, migration"}};
}

std::vector<choice> order_choices() {
  std::vector<choice> all;
  for (const posting_order_info& info : models::posting_orders())
    all.push_back({std::string{info.name}, std::string{info.description}});
  return all;
}

std::vector<choice> exploration_parameter_choices() {
  std::vector<choice> all{{"order", "order of steps, or all; default all (vmxsys list orders)"}};
  const posting_scenario defaults;
  for (const scenario_parameter& p : scenario_parameters) {
    all.push_back({p.name, std::string{p.description} + "; default " + std::to_string(p.get(defaults)) + "; " +
                               std::to_string(p.lowest) + " .. " + std::to_string(p.highest)});
  }
  return all;
}

int explore_command(const options& what, std::ostream& out, std::ostream& err) {
  request asked;
  if (const std::string error = read(what, asked); !error.empty()) {
    err << "vmxsys: explore: " << error << '\n';
    return exit_usage;
  }
  models::posting_limits limits;
  limits.stop = [] { return interrupted(); };
  std::vector<explored> all;
  for (const posting_order_info* info : asked.orders) {
    if (!what.quiet) err << "exploring " << info->name << '\n';
    all.push_back({info, models::explore(scenario_for(asked, *info), limits)});
    if (interrupted()) break;
  }
  if (what.json) {
    json::array array;
    for (const explored& e : all) array.push_back(to_json(*e.info, e.found));
    out << json::serialize(json::object{{"schema", 1}, {"exploration", what.argument}, {"orders", array}}) << '\n';
  } else {
    print(asked, all, out);
  }
  return exit_ok;
}

}  // namespace vmxsys::platform
