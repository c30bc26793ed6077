#include "component.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include <vmxsys/vmx/base/nearest.hpp>

#include "record.hpp"

namespace vmxsys::platform {

namespace json = boost::json;

namespace {
json::string_view key(std::string_view s) { return {s.data(), s.size()}; }
std::string_view view(const json::string& s) { return {s.data(), s.size()}; }
}  // namespace

const entry* catalogue_view::find(std::string_view name) const {
  for (const entry* e : entries)
    if (name == e->name) return e;
  return nullptr;
}

std::vector<std::string> catalogue_view::names() const {
  std::vector<std::string> all;
  for (const entry* e : entries) all.emplace_back(e->name);
  return all;
}

std::shared_ptr<void> options_of(const entry& e, const settings& given) {
  std::shared_ptr<void> options = e.defaults == nullptr ? nullptr : e.defaults();
  for (const setting& s : given)
    if (const parameter* p = e.parameters.find(s.name); p != nullptr && !p->check(s.value))
      p->assign(options.get(), s.value);
  return options;
}

/// The name itself. Read by the component around it.
class component_type::name_type final : public value_type {
 public:
  std::string type_name() const override { return "text"; }
  bool is_text() const override { return true; }
  void read(const json::value&, void*, reading&) const override {}
  void write(const void*, json::value&) const override {}
  void rows(const std::string&, const void*, std::string_view, std::vector<parameter_row>&) const override {}
};

component_type::component_type(catalogue_view of) : view_{std::move(of)}, name_{std::make_unique<name_type>()} {
  for (const entry* e : view_.entries)
    for (const parameter& p : e->parameters) types_.emplace_back(&p, std::make_unique<parameter_type>(p));
}
component_type::~component_type() = default;

const entry& component_type::entry_of(const named_options& options) const {
  const entry* e = view_.find(options.name);
  return e == nullptr ? *view_.entries.front() : *e;
}

const entry& component_type::entry_in(const json::value& object) const {
  if (const json::object* o = object.if_object())
    if (const json::value* name = o->if_contains("name"); name != nullptr && name->is_string())
      if (const entry* e = view_.find(view(name->get_string()))) return *e;
  return *view_.entries.front();
}

json::value component_type::expanded(const json::value& given) const {
  if (!given.is_string()) return given;
  return json::object{{"name", given}};
}

void component_type::wrong_name(const json::value& name, reading& r) const {
  const path_part part{r, "name"};
  if (!name.is_string()) return r.fault(name, "must be text in quotes");
  r.fault(name, "not known here; must be one of: " + joined(view_.names()),
          nearest(view(name.get_string()), view_.names()));
}

void component_type::option_of_another(std::string_view option, const json::value& value, const entry& of, reading& r,
                                       const json::value& object, const std::vector<std::string>& known) const {
  std::string owners;
  for (const entry* e : view_.entries)
    if (e->parameters.find(option) != nullptr) owners += (owners.empty() ? "\"" : ", \"") + std::string{e->name} + '"';
  if (!owners.empty())
    return r.fault(value, "no option of " + view_.kind + " \"" + of.name + "\"; it is one of " + owners);
  std::vector<std::string> names = members(object);
  names.insert(names.end(), known.begin(), known.end());
  r.fault(value, "unknown key; known here: " + joined(names), nearest(option, names));
}

void component_type::read(const json::value& given, void* to, reading& r) const {
  const json::value from = expanded(given);
  if (!from.is_object()) return r.fault(given, "must be an object {...}, or its \"name\" as text");
  read_members(from, *static_cast<named_options*>(to), r, {});
}

void component_type::read_members(const json::value& from, named_options& to, reading& r,
                                  const std::vector<std::string>& known) const {
  const json::object& object = from.get_object();
  const json::value* name = object.if_contains("name");
  const entry* e = &entry_of(to);
  if (name != nullptr) {
    e = name->is_string() ? view_.find(view(name->get_string())) : nullptr;
    if (e == nullptr) return wrong_name(*name, r);
    if (to.name != e->name) to.options.clear();
  }
  to.name = e->name;
  const std::shared_ptr<void> options = options_of(*e, to.options);
  for (const auto& [key_string, value] : object) {
    const std::string option{key_string.data(), key_string.size()};
    if (option == "name" || std::find(known.begin(), known.end(), option) != known.end()) continue;
    const path_part part{r, option};
    const parameter* p = e->parameters.find(option);
    if (p == nullptr) {
      // The name may come from another layer.
      const bool elsewhere = name == nullptr && !r.complete &&
                             std::any_of(view_.entries.begin(), view_.entries.end(),
                                         [&](const entry* other) { return other->parameters.find(option); });
      if (!elsewhere) option_of_another(option, value, *e, r, from, known);
      continue;
    }
    const std::size_t faults = r.errors->size();
    parameter_type{*p}.read(value, options.get(), r);
    if (r.errors->size() != faults) continue;
    std::erase_if(to.options, [&](const setting& s) { return s.name == option; });
    to.options.push_back({option, p->value(options.get())});
  }
}

void component_type::write(const void* from, json::value& to) const {
  const auto& given = *static_cast<const named_options*>(from);
  const entry& e = entry_of(given);
  const std::shared_ptr<void> options = options_of(e, given.options);
  json::object object;
  object["name"] = json::string{e.name};
  for (const parameter& p : e.parameters) parameter_type{p}.write(options.get(), object[p.name]);
  to = std::move(object);
}

const value_type* component_type::member(std::string_view name, const json::value& object) const {
  if (name == "name") return name_.get();
  const auto type_of = [&](const entry& e) -> const value_type* {
    const parameter* p = e.parameters.find(name);
    for (const auto& [about, type] : types_)
      if (about == p) return type.get();
    return nullptr;
  };
  if (const value_type* own = type_of(entry_in(object))) return own;
  // Of another entry: it is found, and refused when the whole document is read.
  for (const entry* e : view_.entries)
    if (const value_type* other = type_of(*e)) return other;
  return nullptr;
}

std::vector<std::string> component_type::members(const json::value& object) const {
  std::vector<std::string> all = entry_in(object).parameters.names();
  all.insert(all.begin(), "name");
  return all;
}

void component_type::merge(json::value& base, const json::value& overlay) const {
  const json::value over = expanded(overlay);
  base = expanded(base);
  if (over.is_object() && base.is_object() && over.get_object().contains("name")) {
    const entry& next = entry_in(over);
    std::vector<std::string> gone;
    for (const auto& member : base.get_object()) {
      const std::string name{member.key().data(), member.key().size()};
      const auto has = [&](const entry* e) { return e->parameters.find(name) != nullptr; };
      // Options of another entry only: what else stands there is a fault to be told.
      if (!has(&next) && std::any_of(view_.entries.begin(), view_.entries.end(), has)) gone.push_back(name);
    }
    for (const std::string& name : gone) base.get_object().erase(key(name));
  }
  value_type::merge(base, over);
}

void component_type::rows(const std::string& path, const void* at, std::string_view description,
                          std::vector<parameter_row>& to) const {
  const auto& given = *static_cast<const named_options*>(at);
  to.push_back({path, type_name(), "name", entry_of(given).name, joined(view_.names()), std::string{description}});
  // An option that several entries have alike is one row.
  struct option_row {
    parameter_row row;
    std::string owners;
    unsigned count;
  };
  std::vector<option_row> options;
  for (const entry* e : view_.entries) {
    const std::shared_ptr<void> defaults = e->defaults == nullptr ? nullptr : e->defaults();
    for (const parameter& p : e->parameters) {
      std::vector<parameter_row> one;
      parameter_type{p}.rows(path + '.' + p.name, defaults.get(), p.description, one);
      for (parameter_row& row : one) {
        const auto same = std::find_if(options.begin(), options.end(), [&](const option_row& o) {
          return o.row.path == row.path && o.row.default_value == row.default_value && o.row.range == row.range &&
                 o.row.description == row.description;
        });
        if (same == options.end()) {
          options.push_back({std::move(row), e->name, 1});
        } else {
          same->owners += std::string{", "} + e->name;
          ++same->count;
        }
      }
    }
  }
  for (option_row& o : options) {
    if (o.count != view_.entries.size()) o.row.description += " (" + o.owners + " only)";
    to.push_back(std::move(o.row));
  }
}

}  // namespace vmxsys::platform
