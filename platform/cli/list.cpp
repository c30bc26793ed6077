#include "list.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <ostream>
#include <stdexcept>

#include <vmxsys/platform/experiments/study.hpp>
#include <vmxsys/platform/machine/config.hpp>
#include <vmxsys/platform/presets/preset.hpp>
#include <vmxsys/platform/run/trace_options.hpp>
#include <vmxsys/vmx/base/nearest.hpp>

#include "explore_command.hpp"
#include "list_rules.hpp"

namespace vmxsys::platform {

namespace json = boost::json;

namespace {

struct topic {
  std::string_view name;
  std::string_view description;
  std::vector<choice> (*choices)(const catalogues&) = nullptr;  // rows of a name and a description
  catalogue_view (*entries)(const catalogues&) = nullptr;       // things with options
  /// What else there is to say of one of them: as text, or with a key of the document.
  void (*more)(const catalogues&, const std::string& entry, json::object* document, std::ostream&) = nullptr;
};

template <auto Member>
catalogue_view entries_of(const catalogues& from) {
  return catalogue_view{from.*Member};
}

/// Rows that no catalogue adds to.
template <std::vector<choice> (*Rows)()>
std::vector<choice> fixed(const catalogues&) {
  return Rows();
}

json::string text(std::string_view s) { return json::string{json::string_view{s.data(), s.size()}}; }

json::value number(double d) {
  const auto whole = static_cast<std::int64_t>(d);
  return static_cast<double>(whole) == d ? json::value(whole) : json::value(d);
}

void print_costs(const preset& p, json::array* array, std::ostream& out) {
  for (const preset_quantity& q : p.quantities) {
    if (array != nullptr) {
      array->push_back(json::object{{"preset", p.name},
                                    {"path", q.path},
                                    {"value", number(q.value)},
                                    {"unit", q.unit},
                                    {"cycles", q.converted.count()},
                                    {"range", {number(q.lowest), number(q.highest)}},
                                    {"status", text(to_string(q.status))},
                                    {"source", q.source}});
    } else {
      out << "  " << q.path << " = " << q.value << ' ' << q.unit << " [" << q.lowest << " .. " << q.highest << "] "
          << to_string(q.status) << ": " << q.source << '\n';
    }
  }
}

void costs(const catalogue<preset_entry>& from, bool as_json, json::array& array, std::ostream& out) {
  for (const preset_entry* e : from) {
    if (!as_json) out << e->name << ": " << e->description << '\n';
    if (const auto p = find_preset(e->name, from))
      print_costs(*p, as_json ? &array : nullptr, out);
    else if (!as_json)
      out << "  faulty: see vmxsys list presets " << e->name << '\n';
  }
}

void costs_of_preset(const catalogues& from, const std::string& name, json::object* document, std::ostream& out) {
  json::array all;
  try {
    print_costs(make_preset({name}, from.presets), document == nullptr ? nullptr : &all, out);
    if (document != nullptr) (*document)["costs"] = std::move(all);
  } catch (const std::invalid_argument& e) {
    if (document != nullptr)
      (*document)["faults"] = e.what();
    else
      out << "  faulty: " << e.what() << '\n';
  }
}

void statistics_of_collector(const catalogues& from, const std::string& name, json::object* document,
                             std::ostream& out) {
  json::array all;
  if (document == nullptr) out << "  statistics\n";
  for (const statistic_row& row : from.collectors.find(name)->statistics) {
    const std::string full = name + '.' + row.name;
    if (document != nullptr)
      all.push_back(json::object{{"name", full}, {"unit", row.unit}, {"description", row.description}});
    else
      out << "    " << full << " [" << row.unit << "]\n        " << row.description << '\n';
  }
  if (document != nullptr) (*document)["statistics"] = std::move(all);
}

constexpr topic topics[] = {
    {"parameters", "every parameter of a configuration: type, unit, default, range"},
    {"presets", "microarchitectures (machine.preset); one of them with its numbers", nullptr,
     entries_of<&catalogues::presets>, costs_of_preset},
    {"costs", "every number of every preset with its source and status"},
    {"detectors", "spin detectors (machine.detector, machine.observers)", nullptr,
     entries_of<&catalogues::spin_detectors>},
    {"schedulers", "CPU schedulers (host.scheduler, vms[].guest.scheduler)", nullptr,
     entries_of<&catalogues::schedulers>},
    {"policies", "what a hypervisor does about a spinning vCPU (host.spin_policy)", nullptr,
     entries_of<&catalogues::spin_policies>},
    {"halt_policies", "what a hypervisor does about a halting vCPU (host.halt_policy)", nullptr,
     entries_of<&catalogues::halt_policies>},
    {"interrupt_paths", "how interrupts get into a guest (host.interrupt_path)", nullptr,
     entries_of<&catalogues::interrupt_paths>},
    {"timer_backends", "what waits for the deadlines of guests' timers (host.timer_backend)", nullptr,
     entries_of<&catalogues::timer_backends>},
    {"timer_advances", "how early guests' timers expire (host.timer_advance)", nullptr,
     entries_of<&catalogues::timer_advances>},
    {"vcpu_affinities", "on which CPUs vCPU threads may run (host.vcpu_affinity)", nullptr,
     entries_of<&catalogues::vcpu_affinities>},
    {"pv_services", "what a hypervisor offers its guests (vms[].pv)", nullptr, entries_of<&catalogues::pv_services>},
    {"apics", "how a kernel drives its local APICs (host.apic, vms[].guest.apic)", nullptr,
     entries_of<&catalogues::apic_drivers>},
    {"idle_drivers", "what a CPU does with nothing to run (host.idle, vms[].guest.idle)", nullptr,
     entries_of<&catalogues::idle_drivers>},
    {"locks", "spinlocks of the guest kernel and of programs (vms[].guest.lock)", nullptr,
     entries_of<&catalogues::locks>},
    {"workloads", "what the threads of a VM do (vms[].workload)", nullptr, entries_of<&catalogues::workloads>},
    {"collectors", "what sums a run up in statistics (collectors)", nullptr, entries_of<&catalogues::collectors>,
     statistics_of_collector},
    {"traces", "formats of run --trace NAME=FILE (traces)", nullptr, entries_of<&catalogues::trace_formats>},
    {"tracepoints", "what -e chooses for the traces that have tracepoints",
     [](const catalogues& from) { return tracepoint_choices(from.trace_formats); }},
    {"studies", "experiments to re-run (vmxsys study NAME)", fixed<study_choices>},
    {"explorations", "protocols to run through every order of their steps (vmxsys explore NAME)",
     fixed<exploration_choices>},
    {"orders", "orders of the posting protocol's steps: the shipped one and planted mistakes (explore --order)",
     fixed<order_choices>},
    {"exploration_parameters", "what an exploration takes (explore -p NAME=VALUE)",
     fixed<exploration_parameter_choices>},
    {"fields", "VMCS fields: encoding, width, kind, when they exist", fixed<field_rows>},
    {"controls", "VMX controls by word and bit", fixed<control_rows>},
    {"capabilities", "processors whose VMX capability MSRs are known", fixed<capability_rows>},
    {"instructions", "instructions that VMX non-root operation changes: when they exit", fixed<instruction_rows>},
    {"entry_checks", "checks of VM entry, in the order in which they are made", fixed<entry_check_rows>},
    {"exit_reasons", "basic exit reasons", fixed<exit_reason_rows>},
    {"boundary_events", "what may be due at an instruction boundary of a guest, most urgent first",
     fixed<boundary_event_rows>},
    {"errors", "VM-instruction errors", fixed<instruction_error_rows>},
    {"transition_steps", "micro-steps of VM entries and VM exits", fixed<transition_step_rows>},
};

void parameters(const catalogues& from, bool as_json, json::array& array, std::ostream& out) {
  std::vector<parameter_row> rows;
  const record_type type = run_config_record(from);
  type.rows("", type.defaults(), "", rows);
  for (const parameter_row& row : rows) {
    if (as_json) {
      array.push_back(json::object{{"path", row.path},
                                   {"type", row.type},
                                   {"unit", row.unit},
                                   {"default", row.default_value},
                                   {"range", row.range},
                                   {"description", row.description}});
    } else {
      out << row.path << "\n    " << row.description << "\n    " << row.type;
      // Where type and unit say the same, once is enough.
      if (row.unit != row.type && row.unit != "flag" && row.unit != "object" && row.unit != "name")
        out << ", " << row.unit;
      if (!row.default_value.empty()) out << "; default " << row.default_value;
      if (!row.range.empty()) out << "; " << row.range;
      out << '\n';
    }
  }
}

/// One entry: its description, and each option with kind, default, range and source.
void print_entry(const entry& e, bool more_follows, bool as_json, json::array& array, std::ostream& out) {
  const std::shared_ptr<void> defaults = options_of(e, {});
  if (!as_json) out << e.name << ": " << e.description << '\n';
  for (const parameter& p : e.parameters) {
    const parameter_value initial = p.value(defaults.get());
    if (as_json) {
      array.push_back(json::object{{"name", p.name},
                                   {"unit", p.unit},
                                   {"default", value_to_json(initial)},
                                   {"range", p.range()},
                                   {"description", p.description},
                                   {"source", p.source == nullptr ? "" : p.source}});
      continue;
    }
    out << "  " << p.name << "\n      " << p.description << "\n      " << p.unit;
    out << "; default " << (initial.absent() ? default_of_entry : initial.to_string());
    if (const std::string range = p.range(); !range.empty()) out << "; " << range;
    if (p.source != nullptr) out << "; " << p.source;
    out << '\n';
  }
  if (e.parameters.size() == 0 && !more_follows && !as_json) out << "  no options\n";
}

std::vector<choice> rows_of(const topic& t, const catalogues& from) {
  if (t.choices != nullptr) return t.choices(from);
  std::vector<choice> rows;
  for (const entry* e : t.entries(from).entries) rows.push_back({e->name, e->description});
  return rows;
}

std::vector<std::string> names_in(const std::vector<choice>& rows) {
  std::vector<std::string> names;
  for (const choice& c : rows) names.push_back(c.name);
  return names;
}

void print_rows(const std::vector<choice>& rows, bool as_json, json::array& array, std::ostream& out) {
  std::size_t width = 0;
  for (const choice& c : rows) width = std::max(width, c.name.size());
  for (const choice& c : rows) {
    if (as_json)
      array.push_back(json::object{{"name", text(c.name)}, {"description", text(c.description)}});
    else
      out << c.name << std::string(width + 2 - c.name.size(), ' ') << c.description << '\n';
  }
}

}  // namespace

std::string list(const std::string& wanted, const std::string& name, bool as_json, const catalogues& from,
                 std::ostream& out) {
  json::array array;
  json::object document{{"schema", 1}};
  if (wanted.empty()) {
    if (!as_json) out << "vmxsys list TOPIC [NAME], where TOPIC is one of\n";
    for (const topic& t : topics) {
      if (as_json)
        array.push_back(json::object{{"name", text(t.name)}, {"description", text(t.description)}});
      else
        out << "  " << t.name << std::string(24 - std::min<std::size_t>(23, t.name.size()), ' ') << t.description
            << '\n';
    }
  } else {
    const auto found =
        std::find_if(std::begin(topics), std::end(topics), [&](const topic& t) { return t.name == wanted; });
    std::vector<std::string> known;
    for (const topic& t : topics) known.emplace_back(t.name);
    if (found == std::end(topics))
      return "no topic \"" + wanted + '"' + did_you_mean(wanted, known) + "; topics: " + joined(known);
    if (!found->choices && !found->entries) {
      if (!name.empty()) return wanted + " takes no name";
      found->name == "costs" ? costs(from.presets, as_json, array, out) : parameters(from, as_json, array, out);
    } else if (name.empty()) {
      print_rows(rows_of(*found, from), as_json, array, out);
    } else if (const std::vector<std::string> names = names_in(rows_of(*found, from));
               std::find(names.begin(), names.end(), name) == names.end()) {
      return "no \"" + name + "\" among " + wanted + did_you_mean(name, names) + "; known: " + joined(names);
    } else if (found->entries == nullptr) {
      for (const choice& c : rows_of(*found, from))
        if (c.name == name) print_rows({c}, as_json, array, out);
    } else {
      print_entry(*found->entries(from).find(name), found->more != nullptr, as_json, array, out);
      if (found->more != nullptr) found->more(from, name, as_json ? &document : nullptr, out);
    }
  }
  if (as_json) {
    document[wanted.empty() ? "topics" : json::string_view{wanted}] = std::move(array);
    out << json::serialize(document) << '\n';
  }
  return {};
}

}  // namespace vmxsys::platform
