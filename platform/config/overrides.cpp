#include "overrides.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <vector>

#include <vmxsys/vmx/base/nearest.hpp>

namespace vmxsys::platform {

namespace json = boost::json;

namespace {

struct step {
  std::string key;                   ///< a member, or
  std::optional<std::size_t> index;  ///< one element, or
  bool all = false;                  ///< every element
};

std::optional<std::vector<step>> parse_path(std::string_view path) {
  std::vector<step> steps;
  std::size_t at = 0;
  while (at < path.size()) {
    const std::size_t end = std::min(path.find_first_of(".[", at), path.size());
    if (end == at) return std::nullopt;
    steps.push_back({std::string{path.substr(at, end - at)}, {}, false});
    at = end;
    while (at < path.size() && path[at] == '[') {
      const std::size_t close = path.find(']', at);
      if (close == std::string_view::npos) return std::nullopt;
      const std::string_view inside = path.substr(at + 1, close - at - 1);
      if (inside == "*") {
        steps.push_back({"", {}, true});
      } else {
        if (inside.empty() || inside.size() > 6) return std::nullopt;
        std::size_t index = 0;
        for (const char c : inside) {
          if (c < '0' || c > '9') return std::nullopt;
          index = index * 10 + static_cast<std::size_t>(c - '0');
        }
        steps.push_back({"", index, false});
      }
      at = close + 1;
    }
    if (at == path.size()) break;
    if (path[at] != '.' || at + 1 == path.size()) return std::nullopt;
    ++at;
  }
  return steps.empty() || steps.size() > 32 ? std::nullopt : std::optional{std::move(steps)};
}

json::value override_value(std::string_view text, const value_type& type) {
  json::error_code error;
  json::value parsed = json::parse({text.data(), text.size()}, error);
  const json::string raw{text.data(), text.size()};
  if (error) return raw;
  if (type.is_text() && !parsed.is_string() && !parsed.is_null()) return raw;
  // What a text stands for may look like a number or a word of JSON.
  if (type.has_members() && !parsed.is_object() && !parsed.is_string() && type.expanded(raw).is_object()) return raw;
  return parsed;
}

void set_at(json::value& at, const value_type& type, const std::vector<step>& steps, std::size_t i,
            std::string_view text, reading& r);

/// The element of a list that has the step's key as its name.
void set_named(json::value& at, const value_type& element, const std::vector<step>& steps, std::size_t i,
               std::string_view text, reading& r) {
  std::vector<std::string> names;
  json::array* array = at.if_array();
  for (std::size_t k = 0; array != nullptr && k < array->size(); ++k) {
    const json::value one = element.expanded((*array)[k]);
    const json::value* name = one.is_object() ? one.get_object().if_contains("name") : nullptr;
    if (name == nullptr || !name->is_string()) continue;
    names.emplace_back(name->get_string().data(), name->get_string().size());
    if (names.back() != steps[i].key) continue;
    const path_part part{r, k};
    return set_at((*array)[k], element, steps, i + 1, text, r);
  }
  const path_part part{r, steps[i].key};
  r.fault(text, "say which one: [0], [1], ... or [*]" + (names.empty() ? "" : ", or its name: " + joined(names)),
          nearest(steps[i].key, names));
}

void set_at(json::value& at, const value_type& type, const std::vector<step>& steps, std::size_t i,
            std::string_view text, reading& r) {
  if (i == steps.size()) {
    type.merge(at, override_value(text, type));
    return;
  }
  const step& s = steps[i];
  if (s.key.empty()) {
    if (type.element() == nullptr)
      return r.fault(text, "is no list, so [" + (s.all ? "*" : std::to_string(*s.index)) + "] means nothing here");
    if (!at.is_array()) at.emplace_array();
    json::array& array = at.get_array();
    if (s.index && *s.index >= array.size()) {
      return r.fault(text, "there are only " + std::to_string(array.size()) + " (numbered from 0), so there is no [" +
                               std::to_string(*s.index) + "]");
    }
    const std::size_t first = s.index.value_or(0), last = s.index ? *s.index + 1 : array.size();
    if (first == last) return r.fault(text, "the list is empty");
    for (std::size_t k = first; k < last; ++k) {
      const path_part part{r, k};
      set_at(array[k], *type.element(), steps, i + 1, text, r);
    }
    return;
  }
  if (type.element() != nullptr) return set_named(at, *type.element(), steps, i, text, r);
  const path_part part{r, s.key};
  if (!type.has_members()) return r.fault(text, "there is nothing below a plain value");
  at = type.expanded(at);
  if (!at.is_object()) at.emplace_object();
  const value_type* below = type.member(s.key, at);
  if (below == nullptr) return unknown_key(s.key, json::string{text.data(), text.size()}, type, at, r);
  if (i + 1 == steps.size()) {
    // As a layer that gives this member alone: with another name or kind, options of the old one go.
    json::object change;
    change[s.key] = override_value(text, *below);
    type.merge(at, change);
    return;
  }
  const bool fresh = !at.get_object().contains(s.key);
  json::value& next = at.get_object()[s.key];
  if (fresh && below->element() != nullptr) next = type.initial(s.key);
  set_at(next, *below, steps, i + 1, text, r);
  // What could not be set is not there.
  if (fresh && at.get_object()[s.key].is_null()) at.get_object().erase(s.key);
}

}  // namespace

void apply_override(json::value& document, std::string_view assignment, const value_type& type, reading& r) {
  const std::size_t equals = assignment.find('=');
  const auto steps = equals == std::string_view::npos ? std::nullopt : parse_path(assignment.substr(0, equals));
  if (!steps) {
    r.errors->push_back(
        {"", "", "an override is written path=value, e.g. vms[0].vcpus=4 or vms[*].guest.hz=250", "", r.origin});
    return;
  }
  if (!document.is_object()) document.emplace_object();
  set_at(document, type, *steps, 0, assignment.substr(equals + 1), r);
}

}  // namespace vmxsys::platform
