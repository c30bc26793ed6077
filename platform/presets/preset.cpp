#include "preset.hpp"

#include <boost/json.hpp>
#include <cmath>
#include <set>
#include <stdexcept>

#include <vmxsys/platform/config/embedded_file.hpp>
#include <vmxsys/platform/config/json_text.hpp>

namespace vmxsys::platform {

namespace json = boost::json;

namespace {

class preset_reader {
 public:
  preset_reader(preset& result, unsigned core_clock_percent)
      : result_{result}, core_clock_percent_{core_clock_percent} {}

  void read(const json::object& document) {
    static const std::set<std::string_view> known{
        "name", "description", "capabilities", "tsc_khz", "core_per_tsc", "round_trip", "instruction", "transfer",
        "exit", "entry",       "interrupt",    "apic",    "idle_states",  "kernel",     "kvm"};
    for (const auto& [key, value] : document) {
      if (!known.contains({key.data(), key.size()})) fault(std::string{key}, "unknown key");
    }
    result_.name = text(document, "name", "name");
    result_.description = text(document, "description", "description");
    result_.capabilities = text(document, "capabilities", "capabilities");
    // The clocks come first: everything else is converted by them.
    const double khz = quantity(document, "tsc_khz", "tsc_khz", "kHz");
    if (khz >= 1e5 && khz <= 1e7)
      result_.tsc_khz = static_cast<std::uint64_t>(std::llround(khz));
    else
      fault("tsc_khz", "must be 100000 .. 10000000");
    result_.core_per_tsc = quantity(document, "core_per_tsc", "core_per_tsc", "ratio");
    if (!(result_.core_per_tsc >= 0.1 && result_.core_per_tsc <= 10)) fault("core_per_tsc", "must be 0.1 .. 10");
    if (core_clock_percent_ != 0) result_.core_per_tsc = core_clock_percent_ / 100.0;
    if (!faults_.empty()) return;
    quantity(document, "round_trip", "round_trip", "");
    result_.round_trip = last_;
    record(document, "instruction", result_.costs.instruction);
    record(document, "transfer", result_.costs.transfer);
    record(document, "exit", result_.costs.exit);
    record(document, "entry", result_.costs.entry);
    record(document, "interrupt", result_.costs.interrupt);
    record(document, "apic", result_.costs.apic);
    idle_states(document);
    record(document, "kernel", result_.kernel);
    record(document, "kvm", result_.kvm);
  }

  std::string faults() const { return faults_; }

 private:
  void fault(const std::string& path, const std::string& reason) { faults_ += path + ": " + reason + '\n'; }

  std::string text(const json::object& object, const char* key, const std::string& path) {
    const json::value* v = object.if_contains(key);
    if (!v || !v->is_string() || v->get_string().empty()) {
      fault(path, "text is needed");
      return {};
    }
    return std::string{v->get_string().data(), v->get_string().size()};
  }

  /// Reads one number with its source; `unit` when only that one is right. `last_` is its value in TSC cycles.
  double quantity(const json::object& object, std::string_view key, const std::string& path, std::string_view unit) {
    last_ = cycles{0};
    const json::value* v = object.if_contains({key.data(), key.size()});
    if (!v || !v->is_object()) {
      fault(path, "needs {value, unit, source, status, range}");
      return 0;
    }
    const json::object& q = v->get_object();
    for (const auto& [name, unused] : q) {
      static_cast<void>(unused);
      if (name != "value" && name != "unit" && name != "source" && name != "status" && name != "range") {
        fault(path + '.' + std::string{name}, "unknown key");
      }
    }
    preset_quantity result{
        path, 0, text(q, "unit", path + ".unit"), cycles{0}, text(q, "source", path + ".source"), knowledge::assumed,
        0,    0};
    const auto number = [&](const json::value* n, const std::string& where) {
      if (n && n->is_number()) {
        const double d = n->to_number<double>();
        if (d >= 0 && d <= 1e12) return d;
      }
      fault(where, "a number of 0 .. 10^12 is needed");
      return 0.0;
    };
    result.value = number(q.if_contains("value"), path + ".value");
    const std::string status = text(q, "status", path + ".status");
    if (status == "published")
      result.status = knowledge::published;
    else if (status == "derived")
      result.status = knowledge::derived;
    else if (status != "assumed")
      fault(path + ".status", "published, derived or assumed");
    const json::value* range = q.if_contains("range");
    if (range && range->is_array() && range->get_array().size() == 2) {
      result.lowest = number(&range->get_array()[0], path + ".range[0]");
      result.highest = number(&range->get_array()[1], path + ".range[1]");
      if (!(result.lowest <= result.value && result.value <= result.highest))
        fault(path + ".range", "does not hold the value");
    } else {
      fault(path + ".range", "[lowest, highest] is needed");
    }
    const std::string& u = result.unit;
    if (!unit.empty() && u != unit) fault(path + ".unit", "must be " + std::string{unit});
    double in_cycles = 0;
    if (unit.empty()) {
      if (u == "cycles")
        in_cycles = result.value;
      else if (u == "core_cycles")
        in_cycles = result.value / result_.core_per_tsc;
      else if (u == "ns")
        in_cycles = result.value * static_cast<double>(result_.tsc_khz) / 1e6;
      else if (u == "us")
        in_cycles = result.value * static_cast<double>(result_.tsc_khz) / 1e3;
      else
        fault(path + ".unit", "cycles, core_cycles, ns or us");
      // To the nearest cycle, but never to none.
      result.converted = cycles{static_cast<std::uint64_t>(std::llround(std::min(in_cycles, 1e15)))};
      if (result.converted == cycles{0} && result.value > 0) result.converted = cycles{1};
    }
    last_ = result.converted;
    result_.quantities.push_back(result);
    return result.value;
  }

  /// A struct of costs: JSON keys are its members' names, all of them.
  template <class T>
  void record(const json::object& document, const char* key, T& to) {
    const json::value* v = document.if_contains(key);
    if (!v || !v->is_object()) return fault(key, "an object is needed");
    const std::string prefix = std::string{key} + '.';
    std::set<std::string_view> known;
    boost::mp11::mp_for_each<boost::describe::describe_members<T, boost::describe::mod_public>>([&](auto member) {
      known.insert(member.name);
      quantity(v->get_object(), member.name, prefix + member.name, "");
      to.*member.pointer = last_;
    });
    for (const auto& [name, unused] : v->get_object()) {
      static_cast<void>(unused);
      if (!known.contains({name.data(), name.size()})) fault(prefix + std::string{name}, "unknown key");
    }
  }

  void idle_states(const json::object& document) {
    const json::value* v = document.if_contains("idle_states");
    if (!v || !v->is_array() || v->get_array().empty()) return fault("idle_states", "a list of at least one is needed");
    result_.costs.idle_states.clear();
    std::size_t i = 0;
    for (const json::value& state : v->get_array()) {
      const std::string path = "idle_states[" + std::to_string(i++) + ']';
      if (!state.is_object()) {
        fault(path, "needs {name, exit_latency, target_residency}");
        continue;
      }
      const json::object& object = state.get_object();
      for (const auto& [name, unused] : object) {
        static_cast<void>(unused);
        if (name != "name" && name != "exit_latency" && name != "target_residency")
          fault(path + '.' + std::string{name}, "unknown key");
      }
      cpu::idle_state result;
      result.name = text(object, "name", path + ".name");
      quantity(object, "exit_latency", path + ".exit_latency", "");
      result.exit_latency = last_;
      quantity(object, "target_residency", path + ".target_residency", "");
      result.target_residency = last_;
      result_.costs.idle_states.push_back(std::move(result));
    }
  }

  preset& result_;
  unsigned core_clock_percent_;
  cycles last_;
  std::string faults_;
};

}  // namespace

std::string_view to_string(knowledge k) noexcept {
  switch (k) {
    case knowledge::published:
      return "published";
    case knowledge::derived:
      return "derived";
    case knowledge::assumed:
      return "assumed";
  }
  return "";
}

preset parse_preset(std::string_view json_text, unsigned core_clock_percent) {
  std::vector<config_error> errors;
  reading r{&errors, "preset"};
  const auto parsed = parse_json(json_text, r);
  if (!parsed) throw std::invalid_argument{errors.front().message()};
  if (!parsed->is_object()) throw std::invalid_argument{"a preset is an object {...}"};
  preset result;
  preset_reader reader{result, core_clock_percent};
  reader.read(parsed->get_object());
  if (!reader.faults().empty()) throw std::invalid_argument{reader.faults()};

  const cpu::exit_costs& x = result.costs.exit;
  const cpu::entry_costs& e = result.costs.entry;
  const cycles sum = x.record_information + x.save_guest_state + x.load_host_state + x.flush_translations +
                     e.check_controls + e.check_host_state + e.check_guest_state + e.load_guest_state +
                     e.flush_translations;
  if (sum != result.round_trip) {
    throw std::invalid_argument{result.name + ": the micro-steps of exit and entry add up to " +
                                std::to_string(sum.count()) + " cycles, but round_trip is " +
                                std::to_string(result.round_trip.count())};
  }
  return result;
}

const std::vector<preset>& presets() {
  static const std::vector<preset> all = [] {
    std::vector<preset> result;
    for (std::size_t i = 0; i < embedded_presets_count; ++i) {
      try {
        result.push_back(parse_preset(embedded_presets[i].text));
      } catch (const std::exception& e) {
        throw std::logic_error{"embedded preset " + std::string{embedded_presets[i].key} + ": " + e.what()};
      }
    }
    return result;
  }();
  return all;
}

preset preset_at_core_clock(std::string_view name, unsigned percent) {
  const preset* shipped = find_preset(name);
  if (shipped == nullptr) throw std::invalid_argument{"no preset '" + std::string{name} + "'"};
  if (percent == 0) return *shipped;
  for (std::size_t i = 0; i < embedded_presets_count; ++i)
    if (embedded_presets[i].key == name) return parse_preset(embedded_presets[i].text, percent);
  throw std::invalid_argument{"preset '" + std::string{name} + "' has no file of its name"};
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const preset& p : presets()) names.push_back(p.name);
  return names;
}

const preset* find_preset(std::string_view name) {
  for (const preset& p : presets()) {
    if (p.name == name) return &p;
  }
  return nullptr;
}

}  // namespace vmxsys::platform
