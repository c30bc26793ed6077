#include "preset.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <stdexcept>
#include <utility>

#include <vmxsys/vmx/base/nearest.hpp>

#include "detail/preset_document.hpp"
#include "detail/preset_reader.hpp"

namespace vmxsys::platform {

namespace json = boost::json;

namespace {

void throw_if_any(const std::vector<config_error>& errors) {
  if (errors.empty()) return;
  std::string text;
  for (const config_error& e : errors) text += (text.empty() ? "" : "\n") + e.message();
  throw std::invalid_argument{text};
}

json::object set_quantity(double value, const std::string& unit) {
  return {{"value", value},
          {"unit", unit},
          {"source", "set in the configuration"},
          {"status", "assumed"},
          {"range", {value, value}}};
}

/// The quantity of this path. The path must be one of a preset read from the document.
json::value& at_path(json::object& content, std::string_view path) {
  json::object* object = &content;
  for (;;) {
    const std::size_t dot = path.find('.');
    json::value& next = object->at({path.data(), std::min(dot, path.size())});
    if (dot == std::string_view::npos) return next;
    path.remove_prefix(dot + 1);
    if (next.is_object()) {
      object = &next.get_object();
      continue;
    }
    // A list: its elements stand by their names.
    const std::size_t end = path.find('.');
    const json::string_view name{path.data(), end};
    for (json::value& element : next.get_array())
      if (element.at("name").get_string() == name) object = &element.get_object();
    path.remove_prefix(end + 1);
  }
}

/// The cost most like `path`, or one of the same name in another group.
std::string nearest_cost(const std::string& path, const std::vector<std::string>& costs) {
  std::string like = nearest(path, costs);
  if (!like.empty()) return like;
  const std::string_view name = std::string_view{path}.substr(path.rfind('.') + 1);
  for (const std::string& c : costs)
    if (std::string_view{c}.substr(c.rfind('.') + 1) == name) return c;
  return {};
}

/// Lays what the request sets over the document, as one more preset on top of it.
void lay_over(preset_document& document, const preset_request& request, const preset& as_it_stands,
              std::vector<config_error>& errors) {
  if (const unsigned percent = request.core_clock_percent; percent != 0) {
    if (percent < 10 || percent > 1000)
      errors.push_back(
          {"core_clock_percent", std::to_string(percent), "out of range: must be 10 .. 1000, or 0", "", ""});
    document.content["core_per_tsc"] = set_quantity(percent / 100.0, "ratio");
  }
  std::vector<std::string> costs;
  for (const preset_quantity& q : as_it_stands.quantities)
    if (q.is_cost()) costs.push_back(q.path);
  for (const cost_override& o : request.costs) {
    const auto fault = [&](std::string reason, std::string like = {}) {
      errors.push_back({shown(o.path), '"' + shown(o.value) + '"', std::move(reason), std::move(like), ""});
    };
    std::string reason;
    const auto cost = parse_cost(o.value, &reason);
    if (!cost) fault(reason);
    if (std::find(costs.begin(), costs.end(), o.path) == costs.end())
      fault("no single cost of preset " + as_it_stands.name + "; `vmxsys list costs` has all of them",
            nearest_cost(o.path, costs));
    else if (cost)
      at_path(document.content, o.path) = set_quantity(cost->value, cost->unit);
    document.origins[o.path] = "";
  }
}

}  // namespace

std::string_view to_string(provenance p) noexcept {
  switch (p) {
    case provenance::published:
      return "published";
    case provenance::derived:
      return "derived";
    case provenance::assumed:
      return "assumed";
  }
  return "";
}

preset make_preset(const preset_request& request, const catalogue<preset_entry>& from) {
  std::vector<config_error> errors;
  std::optional<preset_document> document = load_preset_document(request.name_or_file, from, errors);
  if (!document) throw_if_any(errors);
  preset result = read_preset(*document, round_trip_rule::measured, errors);
  throw_if_any(errors);
  if (request.core_clock_percent == 0 && request.costs.empty()) return result;
  lay_over(*document, request, result, errors);
  throw_if_any(errors);
  result = read_preset(*document, round_trip_rule::sum, errors);
  throw_if_any(errors);
  return result;
}

std::shared_ptr<const preset> find_preset(std::string_view name, const catalogue<preset_entry>& from) {
  const preset_entry* e = from.find(name);
  if (e == nullptr) return nullptr;
  static const std::vector<std::pair<const preset_entry*, std::shared_ptr<const preset>>> shipped = [] {
    std::vector<std::pair<const preset_entry*, std::shared_ptr<const preset>>> all;
    const catalogue<preset_entry> entries = presets();
    for (const preset_entry* one : entries)
      all.emplace_back(one, std::make_shared<const preset>(make_preset({one->name}, entries)));
    return all;
  }();
  for (const auto& [entry, made] : shipped)
    if (entry == e) return made;
  try {
    return std::make_shared<const preset>(make_preset({std::string{name}}, from));
  } catch (const std::invalid_argument&) {
    return nullptr;
  }
}

preset preset_at_core_clock(std::string_view name, unsigned percent) {
  return make_preset({std::string{name}, percent});
}

}  // namespace vmxsys::platform
