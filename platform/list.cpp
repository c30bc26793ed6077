#include <algorithm>
#include <boost/json.hpp>
#include <ostream>

#include <vmxsys/platform/config.hpp>
#include <vmxsys/platform/explore_command.hpp>
#include <vmxsys/platform/list.hpp>
#include <vmxsys/platform/list_rules.hpp>
#include <vmxsys/platform/preset.hpp>
#include <vmxsys/platform/study.hpp>
#include <vmxsys/platform/trace_catalogue.hpp>

namespace vmxsys::platform {

namespace json = boost::json;

namespace {

struct topic {
  std::string_view name;
  std::string_view description;
  std::vector<choice> (*choices)();  // null: a topic of its own
};

constexpr topic topics[] = {
    {"parameters", "every parameter of a configuration: type, unit, default, range", nullptr},
    {"presets", "microarchitectures (machine.preset)", preset_choices},
    {"costs", "every number of every preset with its source and status", nullptr},
    {"detectors", "spin detectors (machine.detector, machine.observers)", observer_choices},
    {"gap_measures", "ways to measure the PAUSE gap (machine.detector.gap_measure)", gap_measure_choices},
    {"schedulers", "CPU schedulers (host.scheduler, vms[].guest.scheduler)", scheduler_choices},
    {"profiles", "Linux versions a scheduler follows (scheduler.profile)", scheduler_profile_choices},
    {"policies", "what a hypervisor does about a spinning vCPU (host.spin_policy)", spin_policy_choices},
    {"interrupt_paths", "how interrupts get into a guest (host.interrupt_path)", interrupt_path_choices},
    {"timer_backends", "what waits for the deadlines of guests' timers (host.timer_backend)", timer_backend_choices},
    {"timer_advances", "how early guests' timers are let expire (host.timer_advance)", timer_advance_choices},
    {"apics", "how a kernel drives its local APICs (host.apic, vms[].guest.apic)", apic_choices},
    {"placements", "where vCPU threads may run (host.placement)", placement_choices},
    {"locks", "spinlocks of the guest kernel (vms[].guest.lock)", lock_choices},
    {"user_locks", "spinlocks of a program in a guest (vms[].workload.lock)", user_lock_choices},
    {"workloads", "what the threads of a VM do (vms[].workload)", workload_choices},
    {"distributions", "random lengths of time (workload.work, workload.hold, workload.unmap)", distribution_choices},
    {"traces", "formats of run --trace NAME=FILE", trace_format_choices},
    {"tracepoints", "what -e chooses for the traces that have tracepoints", tracepoint_choices},
    {"studies", "experiments to re-run (vmxsys study NAME)", study_choices},
    {"explorations", "protocols to run through every order of their steps (vmxsys explore NAME)", exploration_choices},
    {"orders", "orders of the posting protocol's steps: the shipped one and planted mistakes (explore --order)",
     order_choices},
    {"exploration_parameters", "what an exploration takes (explore -p NAME=VALUE)", exploration_parameter_choices},
    {"fields", "VMCS fields: encoding, width, kind, when they exist", field_rows},
    {"controls", "VMX controls by word and bit", control_rows},
    {"capabilities", "processors whose VMX capability MSRs are known", capability_rows},
    {"instructions", "instructions that VMX non-root operation changes: when they exit", instruction_rows},
    {"entry_checks", "checks of VM entry, in the order in which they are made", entry_check_rows},
    {"exit_reasons", "basic exit reasons", exit_reason_rows},
    {"boundary_events", "what may be due at an instruction boundary of a guest, most urgent first",
     boundary_event_rows},
    {"errors", "VM-instruction errors", instruction_error_rows},
    {"transition_steps", "micro-steps of VM entries and VM exits", transition_step_rows},
};

json::string text(std::string_view s) { return json::string{json::string_view{s.data(), s.size()}}; }

void parameters(bool as_json, json::array& array, std::ostream& out) {
  for (const parameter_row& row : parameter_rows(run_config_type())) {
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

json::value number(double d) {
  const auto whole = static_cast<std::int64_t>(d);
  return static_cast<double>(whole) == d ? json::value(whole) : json::value(d);
}

void costs(bool as_json, json::array& array, std::ostream& out) {
  for (const preset& p : presets()) {
    if (!as_json) out << p.name << ": " << p.description << '\n';
    for (const preset_quantity& q : p.quantities) {
      if (as_json) {
        array.push_back(json::object{{"preset", p.name},
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
}

}  // namespace

std::vector<std::string> list_topics() {
  std::vector<std::string> names;
  for (const topic& t : topics) names.emplace_back(t.name);
  return names;
}

bool list(const std::string& wanted, bool as_json, std::ostream& out) {
  json::array array;
  if (wanted.empty()) {
    if (!as_json) out << "vmxsys list TOPIC, where TOPIC is one of\n";
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
    if (found == std::end(topics)) return false;
    if (!found->choices) {
      found->name == "costs" ? costs(as_json, array, out) : parameters(as_json, array, out);
    } else {
      std::size_t width = 0;
      const std::vector<choice> all = found->choices();
      for (const choice& c : all) width = std::max(width, c.name.size());
      for (const choice& c : all) {
        if (as_json)
          array.push_back(json::object{{"name", text(c.name)}, {"description", text(c.description)}});
        else
          out << c.name << std::string(width + 2 - c.name.size(), ' ') << c.description << '\n';
      }
      if (all.empty() && !as_json) out << "none yet\n";
    }
  }
  if (as_json) {
    out << json::serialize(json::object{{"schema", 1}, {wanted.empty() ? "topics" : json::string_view{wanted}, array}})
        << '\n';
  }
  return true;
}

}  // namespace vmxsys::platform
