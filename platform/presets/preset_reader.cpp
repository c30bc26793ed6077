#include "detail/preset_reader.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <set>

#include <vmxsys/vmx/base/nearest.hpp>
#include <vmxsys/vmx/vmcs/capability.hpp>

namespace vmxsys::platform {

namespace json = boost::json;

namespace {

constexpr std::size_t most_idle_states = 16;

std::string_view view(json::string_view s) { return {s.data(), s.size()}; }

class preset_reader {
 public:
  preset_reader(const preset_document& document, round_trip_rule rule, std::vector<config_error>& errors)
      : document_{document}, content_{document.content}, rule_{rule}, reading_{&errors, ""} {}

  preset read() {
    const std::size_t before = reading_.errors->size();
    only(content_, {"name", "base", "description", "capabilities", "tsc_khz", "core_per_tsc", "round_trip",
                    "instruction", "transfer", "exit", "entry", "interrupt", "apic", "idle_states", "kernel", "kvm"});
    result_.name = text(content_, "name");
    result_.description = text(content_, "description");
    capabilities();
    // The clocks come first: everything else is converted by them.
    clocks();
    quantity(content_, "round_trip", "round_trip", "");
    result_.round_trip = last_;
    group("instruction", result_.costs.instruction);
    group("transfer", result_.costs.transfer);
    group("exit", result_.costs.exit);
    group("entry", result_.costs.entry);
    group("interrupt", result_.costs.interrupt);
    group("apic", result_.costs.apic);
    idle_states();
    group("kernel", result_.kernel);
    group("kvm", result_.kvm);
    if (reading_.errors->size() == before) round_trip();
    return std::move(result_);
  }

 private:
  void fault(const json::value& found, std::string reason, std::string like = {}) {
    reading_.origin = document_.origin_of(reading_.path);
    reading_.fault(found, std::move(reason), std::move(like));
  }
  void missing(std::string reason) {
    reading_.errors->push_back({shown(reading_.path), "", std::move(reason), "", document_.origin_of(reading_.path)});
  }
  /// nullptr is what is not there.
  void wrong(const json::value* found, std::string reason) {
    found == nullptr ? missing(std::move(reason)) : fault(*found, std::move(reason));
  }

  void only(const json::object& object, const std::vector<std::string>& known) {
    for (const auto& [key, value] : object) {
      if (std::find(known.begin(), known.end(), view(key)) != known.end()) continue;
      const path_part part{reading_, view(key)};
      fault(value, "unknown key; known here: " + joined(known), nearest(view(key), known));
    }
  }

  std::string text(const json::object& object, std::string_view key) {
    const path_part part{reading_, key};
    const json::value* v = object.if_contains({key.data(), key.size()});
    if (v != nullptr && v->is_string() && !v->get_string().empty()) return std::string{view(v->get_string())};
    wrong(v, "text is needed");
    return {};
  }

  void capabilities() {
    result_.capabilities = text(content_, "capabilities");
    if (result_.capabilities.empty() || vmx::find_capability_row(result_.capabilities) != nullptr) return;
    std::vector<std::string> rows;
    for (std::size_t i = 0; i < vmx::capability_table_size(); ++i) rows.emplace_back(vmx::capability_table()[i].name);
    const path_part part{reading_, "capabilities"};
    fault(*content_.if_contains("capabilities"), "not known here; must be one of: " + joined(rows),
          nearest(result_.capabilities, rows));
  }

  void clocks() {
    const auto clock = [&](const char* key, std::string_view unit, double lowest, double highest, const char* range) {
      const std::size_t before = reading_.errors->size();
      const double value = quantity(content_, key, key, unit);
      if (reading_.errors->size() != before) return 0.0;
      if (value >= lowest && value <= highest) return value;
      const path_part part{reading_, key};
      const path_part inner{reading_, "value"};
      fault(content_.at(key).at("value"), std::string{"out of range: must be "} + range);
      return 0.0;
    };
    // A faulty one leaves a clock by which the rest can be read.
    const double khz = clock("tsc_khz", "kHz", 1e5, 1e7, "100000 .. 10000000");
    result_.tsc_khz = khz == 0 ? 1000000 : static_cast<std::uint64_t>(std::llround(khz));
    const double ratio = clock("core_per_tsc", "ratio", 0.1, 10, "0.1 .. 10");
    result_.core_per_tsc = ratio == 0 ? 1 : ratio;
  }

  double number(const json::value* from, std::string_view key) {
    const path_part part{reading_, key};
    return number(from);
  }
  double number(const json::value* from) {
    if (from != nullptr && from->is_number()) {
      const double d = from->to_number<double>();
      if (d >= 0 && d <= 1e12) return d;
    }
    wrong(from, "a number of 0 .. 10^12 is needed");
    return 0;
  }

  provenance status(const json::object& of) {
    const std::string given = text(of, "status");
    for (const provenance p : {provenance::published, provenance::derived, provenance::assumed})
      if (given == to_string(p)) return p;
    const path_part part{reading_, "status"};
    if (!given.empty())
      fault(of.at("status"), "must be one of: published, derived, assumed",
            nearest(given, {"published", "derived", "assumed"}));
    return provenance::assumed;
  }

  void range(const json::object& of, preset_quantity& to) {
    const path_part part{reading_, "range"};
    const json::value* given = of.if_contains("range");
    if (given == nullptr || !given->is_array() || given->get_array().size() != 2)
      return wrong(given, "[lowest, highest] is needed");
    for (const std::size_t i : {0u, 1u}) {
      const path_part index{reading_, i};
      (i == 0 ? to.lowest : to.highest) = number(&given->get_array()[i]);
    }
    if (!(to.lowest <= to.value && to.value <= to.highest)) fault(*given, "does not hold the value");
  }

  /// To the nearest cycle, but never to none.
  cycles converted(const preset_quantity& q) {
    double in_cycles = q.value;
    if (q.unit == "core_cycles") in_cycles = q.value / result_.core_per_tsc;
    if (q.unit == "ns") in_cycles = q.value * static_cast<double>(result_.tsc_khz) / 1e6;
    if (q.unit == "us") in_cycles = q.value * static_cast<double>(result_.tsc_khz) / 1e3;
    const auto count = static_cast<std::uint64_t>(std::llround(std::min(in_cycles, 1e15)));
    return cycles{count == 0 && q.value > 0 ? 1 : count};
  }

  void unit(const json::object& of, std::string_view wanted, preset_quantity& to) {
    to.unit = text(of, "unit");
    const path_part part{reading_, "unit"};
    static const std::vector<std::string> of_costs{"cycles", "core_cycles", "ns", "us"};
    if (to.unit.empty()) return;
    if (!wanted.empty() && to.unit != wanted) fault(of.at("unit"), "must be " + std::string{wanted});
    if (wanted.empty() && std::find(of_costs.begin(), of_costs.end(), to.unit) == of_costs.end())
      fault(of.at("unit"), "must be one of: " + joined(of_costs), nearest(to.unit, of_costs));
  }

  /// Reads one number with its source; `wanted` when only that unit is right. `last_` is its value in TSC cycles.
  double quantity(const json::object& object, std::string_view key, std::string path, std::string_view wanted) {
    last_ = cycles{0};
    const path_part part{reading_, key};
    const json::value* v = object.if_contains({key.data(), key.size()});
    if (v == nullptr || !v->is_object()) {
      wrong(v, "needs {value, unit, source, status, range}");
      return 0;
    }
    const json::object& q = v->get_object();
    only(q, {"value", "unit", "source", "status", "range"});
    preset_quantity result{std::move(path), number(q.if_contains("value"), "value"), {}, {}, {}, {}, 0, 0};
    unit(q, wanted, result);
    result.source = text(q, "source");
    result.status = status(q);
    range(q, result);
    if (wanted.empty()) last_ = result.converted = converted(result);
    result_.quantities.push_back(std::move(result));
    return result_.quantities.back().value;
  }

  /// A struct of costs: JSON keys are its members' names, all of them.
  template <class T>
  void group(const char* key, T& to) {
    const path_part part{reading_, key};
    const json::value* v = content_.if_contains(key);
    if (v == nullptr || !v->is_object()) return wrong(v, "an object is needed");
    std::vector<std::string> known;
    boost::mp11::mp_for_each<boost::describe::describe_members<T, boost::describe::mod_public>>([&](auto member) {
      known.emplace_back(member.name);
      const std::size_t before = reading_.errors->size();
      quantity(v->get_object(), member.name, std::string{key} + '.' + member.name, "");
      to.*member.pointer = last_;
      if constexpr (std::is_same_v<T, cpu::instruction_costs>) {
        // Time must pass, or a loop of instructions never ends. These two are parts of an instruction.
        const bool part_of_one = member.pointer == &T::ept_reference || member.pointer == &T::bitmap_lookup;
        if (last_ == cycles{0} && !part_of_one && reading_.errors->size() == before) {
          const path_part name{reading_, member.name};
          const path_part value{reading_, "value"};
          fault(json::value(0), "an instruction takes time");
        }
      }
    });
    only(v->get_object(), known);
  }

  void idle_states() {
    const path_part part{reading_, "idle_states"};
    const json::value* v = content_.if_contains("idle_states");
    if (v == nullptr || !v->is_array() || v->get_array().empty() || v->get_array().size() > most_idle_states)
      return wrong(v, "a list of 1 .. " + std::to_string(most_idle_states) + " states is needed");
    result_.costs.idle_states.clear();
    std::set<std::string> names;
    for (std::size_t i = 0; i < v->get_array().size(); ++i) {
      const json::value& state = v->get_array()[i];
      const path_part index{reading_, i};
      if (!state.is_object()) {
        fault(state, "needs {name, exit_latency, target_residency}");
        continue;
      }
      const json::object& object = state.get_object();
      only(object, {"name", "exit_latency", "target_residency"});
      cpu::idle_state result;
      result.name = text(object, "name");
      const bool plain = result.name.find_first_of(".[]=") == std::string::npos;
      if (!plain || (!result.name.empty() && !names.insert(result.name).second)) {
        const path_part name{reading_, "name"};
        fault(object.at("name"), plain ? "is the name of another state" : "must not hold . [ ] =");
      }
      const std::string path = "idle_states." + result.name + '.';
      quantity(object, "exit_latency", path + "exit_latency", "");
      result.exit_latency = last_;
      quantity(object, "target_residency", path + "target_residency", "");
      result.target_residency = last_;
      result_.costs.idle_states.push_back(std::move(result));
    }
  }

  void round_trip() {
    const cpu::exit_costs& x = result_.costs.exit;
    const cpu::entry_costs& e = result_.costs.entry;
    const cycles sum = x.record_information + x.save_guest_state + x.load_host_state + x.flush_translations +
                       e.check_controls + e.check_host_state + e.check_guest_state + e.load_guest_state +
                       e.flush_translations;
    if (sum == result_.round_trip) return;
    if (rule_ == round_trip_rule::measured) {
      const path_part part{reading_, "round_trip"};
      return fault(json::value(result_.round_trip.count()),
                   "the micro-steps of exit and entry add up to " + std::to_string(sum.count()) + " cycles");
    }
    result_.round_trip = sum;
    const auto count = static_cast<double>(sum.count());
    for (preset_quantity& q : result_.quantities)
      if (q.path == "round_trip")
        q = {q.path, count, "cycles", sum, "sum of the micro-steps as set in the configuration", provenance::assumed,
             count,  count};
  }

  const preset_document& document_;
  const json::object& content_;
  round_trip_rule rule_;
  reading reading_;
  preset result_;
  cycles last_;
};

}  // namespace

preset read_preset(const preset_document& document, round_trip_rule rule, std::vector<config_error>& errors) {
  return preset_reader{document, rule, errors}.read();
}

}  // namespace vmxsys::platform
