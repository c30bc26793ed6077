#include "record.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

#include <vmxsys/vmx/base/nearest.hpp>

namespace vmxsys::platform {

namespace json = boost::json;

namespace {

std::string_view view(const json::string& s) { return {s.data(), s.size()}; }
json::string_view key(std::string_view s) { return {s.data(), s.size()}; }

std::vector<choice> shapes() {
  return {{"fixed", "always `mean`"},
          {"uniform", "between `min` and `max`"},
          {"exponential", "exponential with mean `mean`, cut off at `min` and `max` where given"}};
}

/// A distribution as an object. Its `kind` decides what the others mean.
const record_type& distribution_record() {
  static const record_type type = record<distribution>(
      {value(row<&distribution::kind>("kind", shapes, "shape of the distribution")),
       value(row<&distribution::mean>("mean", duration::from_picoseconds(1), duration::s(3600),
                                      "mean (fixed: the value)")),
       value(row<&distribution::min>("min", duration{}, duration::s(3600), "smallest value")),
       value(row<&distribution::max>("max", duration::from_picoseconds(1), duration::s(3600), "largest value"))});
  return type;
}

std::optional<parameter_value> integer_from(const json::value& from, reading& r) {
  if (const std::uint64_t* u = from.if_uint64()) return parameter_value{*u};
  if (const std::int64_t* i = from.if_int64()) return parameter_value{*i};
  if (const double* d = from.if_double(); d != nullptr && std::abs(*d) < 9007199254740992.0 && std::floor(*d) == *d)
    return *d < 0 ? parameter_value{static_cast<std::int64_t>(*d)}
                  : parameter_value{static_cast<std::uint64_t>(*d)};  // 1e6 is an integer too
  r.fault(from, "must be an integer" + std::string{from.is_string() ? ", without quotes or unit" : ""});
  return std::nullopt;
}

std::optional<parameter_value> scalar_from(parameter_kind kind, const json::value& from, reading& r,
                                           const parameter_value& before) {
  const json::string* s = from.if_string();
  switch (kind) {
    case parameter_kind::flag:
      if (const bool* b = from.if_bool()) return parameter_value{*b};
      r.fault(from, "must be true or false");
      return std::nullopt;
    case parameter_kind::integer:
      return integer_from(from, r);
    case parameter_kind::duration: {
      std::string reason = "a duration needs a unit: write it as text, e.g. \"10ms\" or \"3000cycles\"";
      if (const auto d = s != nullptr ? parse_duration(view(*s), &reason) : std::nullopt) return parameter_value{*d};
      r.fault(from, reason);
      return std::nullopt;
    }
    case parameter_kind::size: {
      std::string reason = "a size needs a unit: write it as text, e.g. \"4GiB\"";
      if (const auto b = s != nullptr ? parse_byte_size(view(*s), &reason) : std::nullopt) return parameter_value{*b};
      r.fault(from, reason);
      return std::nullopt;
    }
    case parameter_kind::name:
      if (s == nullptr)
        r.fault(from, "must be text in quotes");
      else if (s->empty())
        r.fault(from, "must not be empty");
      else if (s->size() > 4096)
        r.fault(from, "longer than 4096 bytes");
      else
        return parameter_value{std::string{view(*s)}};
      return std::nullopt;
    case parameter_kind::distribution: {
      distribution d;
      if (const auto* now = std::get_if<distribution>(&before.held)) d = *now;
      const json::value object = s == nullptr ? from : json::value(json::object{{"kind", "fixed"}, {"mean", from}});
      if (!object.is_object()) {
        r.fault(from, "must be an object {...}, or its \"mean\" as text");
        return std::nullopt;
      }
      if (object.get_object().contains("kind")) d = distribution{};
      const std::size_t faults = r.errors->size();
      distribution_record().read(object, &d, r);
      if (r.errors->size() != faults) return std::nullopt;
      return parameter_value{std::move(d)};
    }
    case parameter_kind::list:
      break;
  }
  return std::nullopt;
}

json::value duration_or_null(const std::optional<duration>& d) {
  return d ? json::value(json::string{d->to_string()}) : json::value(nullptr);
}

}  // namespace

std::optional<parameter_value> value_from_json(const parameter& about, const json::value& from, reading& r,
                                               const parameter_value& before) {
  if (from.is_null() && about.optional) return parameter_value{};
  std::optional<parameter_value> value;
  if (about.kind == parameter_kind::list) {
    const json::array* array = from.if_array();
    if (array == nullptr) {
      r.fault(from, "must be a list [...]");
      return std::nullopt;
    }
    parameter_value::list all;
    for (std::size_t i = 0; i < array->size(); ++i) {
      const path_part part{r, i};
      if (auto one = scalar_from(about.element, (*array)[i], r, {})) all.push_back(std::move(*one));
    }
    if (all.size() != array->size()) return std::nullopt;
    value = std::move(all);
  } else {
    value = scalar_from(about.kind, from, r, before);
  }
  if (!value) return std::nullopt;
  if (const auto fault = about.check(*value)) {
    r.fault(from, fault->reason, fault->nearest);
    return std::nullopt;
  }
  return value;
}

json::value value_to_json(const parameter_value& value) {
  struct writer {
    json::value operator()(std::monostate) const { return nullptr; }
    json::value operator()(bool b) const { return b; }
    json::value operator()(std::uint64_t n) const { return n; }
    json::value operator()(std::int64_t n) const { return n; }
    json::value operator()(duration d) const { return json::value(json::string{d.to_string()}); }
    json::value operator()(byte_size s) const { return json::value(json::string{s.to_string()}); }
    json::value operator()(const std::string& s) const { return json::value(json::string{s}); }
    json::value operator()(const distribution& d) const {
      return json::object{{"kind", json::string{to_string(d.kind)}},
                          {"mean", duration_or_null(d.mean)},
                          {"min", duration_or_null(d.min)},
                          {"max", duration_or_null(d.max)}};
    }
    json::value operator()(const parameter_value::list& l) const {
      json::array array;
      for (const parameter_value& one : l) array.push_back(value_to_json(one));
      return array;
    }
  };
  return std::visit(writer{}, value.held);
}

// ---- parameters ----

std::string parameter_type::type_name() const {
  static constexpr const char* names[] = {"true or false", "integer", "duration", "size", "text", "object", "list"};
  std::string name = names[static_cast<std::size_t>(parameter_.element)];
  if (parameter_.element == parameter_kind::distribution) name += ", or its \"mean\"";
  return parameter_.kind == parameter_kind::list ? "list of " + name : name;
}

bool parameter_type::is_text() const {
  const parameter_kind k = parameter_.kind;
  return k == parameter_kind::duration || k == parameter_kind::size || k == parameter_kind::name;
}

void parameter_type::read(const json::value& from, void* to, reading& r) const {
  if (const auto value = value_from_json(parameter_, from, r, parameter_.value(to))) parameter_.assign(to, *value);
}

void parameter_type::write(const void* from, json::value& to) const { to = value_to_json(parameter_.value(from)); }

const value_type* parameter_type::member(std::string_view name, const json::value& object) const {
  return has_members() ? distribution_record().member(name, object) : nullptr;
}

std::vector<std::string> parameter_type::members(const json::value& object) const {
  return has_members() ? distribution_record().members(object) : std::vector<std::string>{};
}

json::value parameter_type::expanded(const json::value& given) const {
  if (!has_members() || !given.is_string()) return given;
  // A shorthand is whole: it means the fixed kind and replaces what was there before.
  return json::object{{"mean", given}, {"kind", "fixed"}};
}

void parameter_type::merge(json::value& base, const json::value& overlay) const {
  const json::value over = expanded(overlay);
  if (has_members() && over.is_object() && over.get_object().contains("kind")) base = json::object{};
  value_type::merge(base, over);
}

void parameter_type::rows(const std::string& path, const void* at, std::string_view description,
                          std::vector<parameter_row>& to) const {
  parameter_row row{path, type_name(), parameter_.unit, "", parameter_.range(), std::string{description}};
  const parameter_value now = parameter_.value(at);
  if (!has_members()) {
    row.default_value = now.absent() ? default_of_entry : now.to_string();
    to.push_back(std::move(row));
    return;
  }
  row.range.clear();
  to.push_back(row);
  distribution d = std::get<distribution>(now.held);
  std::vector<parameter_row> members;
  distribution_record().rows(path, &d, "", members);
  for (parameter_row& m : members) {
    if (m.default_value == default_of_entry) m.default_value = "none";
    to.push_back(std::move(m));
  }
}

// ---- records ----

const field* record_type::find(std::string_view name) const {
  for (const field& f : fields_)
    if (!f.name.empty() && f.name == name) return &f;
  return nullptr;
}

const field* record_type::inlined() const {
  for (const field& f : fields_)
    if (f.name.empty()) return &f;
  return nullptr;
}

std::string record_type::type_name() const { return "object"; }

json::value record_type::expanded(const json::value& given) const {
  if (shorthand_.empty() || !given.is_string()) return given;
  json::object object;
  object[key(shorthand_)] = given;
  return object;
}

json::value record_type::initial(std::string_view member) const {
  json::value value;
  if (const field* f = find(member)) f->type->write(f->at(defaults_.get()), value);
  return value;
}

void record_type::read(const json::value& given, void* to, reading& r) const {
  const json::value from = expanded(given);
  if (!from.is_object())
    return r.fault(given, shorthand_.empty() ? "must be an object {...}"
                                             : "must be an object {...}, or its \"" + shorthand_ + "\" as text");
  const field* in = inlined();
  if (in != nullptr) {
    std::vector<std::string> own;
    for (const field& f : fields_)
      if (!f.name.empty()) own.push_back(f.name);
    static_cast<const component_type&>(*in->type).read_members(from, *static_cast<named_options*>(in->at(to)), r, own);
  }
  for (const auto& [key_string, value] : from.get_object()) {
    const std::string_view name{key_string.data(), key_string.size()};
    const path_part part{r, name};
    if (const field* f = find(name))
      f->type->read(value, f->at(to), r);
    else if (in == nullptr)
      unknown_key(name, value, *this, from, r);
  }
}

void record_type::write(const void* from, json::value& to) const {
  json::object object;
  for (const field& f : fields_) {
    const void* at = f.at(const_cast<void*>(from));
    if (f.name.empty()) {
      json::value inner;
      f.type->write(at, inner);
      for (const auto& member : inner.get_object()) object[member.key()] = member.value();
    } else {
      f.type->write(at, object[key(f.name)]);
    }
  }
  to = std::move(object);
}

const value_type* record_type::member(std::string_view name, const json::value& object) const {
  if (const field* f = find(name)) return f->type.get();
  const field* in = inlined();
  return in == nullptr ? nullptr : in->type->member(name, object);
}

std::vector<std::string> record_type::members(const json::value& object) const {
  std::vector<std::string> all;
  for (const field& f : fields_) {
    if (!f.name.empty()) {
      all.push_back(f.name);
      continue;
    }
    for (std::string& name : f.type->members(object)) all.push_back(std::move(name));
  }
  return all;
}

void record_type::rows(const std::string& path, const void* at, std::string_view /*description*/,
                       std::vector<parameter_row>& to) const {
  for (const field& f : fields_) {
    const std::string below = f.name.empty() ? path : path.empty() ? f.name : path + '.' + f.name;
    f.type->rows(below, f.at(const_cast<void*>(at)), f.description, to);
  }
}

// ---- lists ----

void list_type::read(const json::value& from, void* to, reading& r) const {
  const json::array* array = from.if_array();
  if (array == nullptr) return r.fault(from, "must be a list [...]");
  if (array->size() > most_)
    return r.fault(from, "has " + std::to_string(array->size()) + " entries; at most " + std::to_string(most_));
  access_.resize(to, array->size());
  for (std::size_t i = 0; i < array->size(); ++i) {
    const path_part part{r, i};
    element_.read((*array)[i], access_.at(to, i), r);
  }
}

void list_type::write(const void* from, json::value& to) const {
  json::array array;
  for (std::size_t i = 0; i < access_.size(from); ++i)
    element_.write(access_.at(const_cast<void*>(from), i), array.emplace_back(nullptr));
  to = std::move(array);
}

void list_type::rows(const std::string& path, const void* /*at*/, std::string_view description,
                     std::vector<parameter_row>& to) const {
  to.push_back({path + "[]", type_name(), "list", "", "", std::string{description}});
  element_.rows(path + "[]", element_.defaults(), "", to);
}

// ---- what all have in common ----

json::value value_type::expanded(const json::value& given) const { return given; }
json::value value_type::initial(std::string_view /*member*/) const { return nullptr; }

void value_type::merge(json::value& base, const json::value& overlay) const {
  if (!has_members()) {
    base = overlay;
    return;
  }
  const json::value over = expanded(overlay);
  base = expanded(base);
  if (!over.is_object() || !base.is_object()) {
    base = over;
    return;
  }
  for (const auto& [name, value] : over.get_object()) {
    const value_type* type = member({name.data(), name.size()}, over.get_object().contains("name") ? over : base);
    json::value& to = base.get_object()[name];
    if (type == nullptr)
      to = value;
    else
      type->merge(to, value);
  }
}

void unknown_key(std::string_view given, const json::value& value, const value_type& type, const json::value& object,
                 reading& r) {
  const std::vector<std::string> known = type.members(object);
  std::string guess = nearest(given, known);
  if (guess.empty() && r.document != nullptr) {
    std::vector<parameter_row> rows;
    r.document->rows("", r.document->defaults(), "", rows);
    for (const parameter_row& row : rows) {
      const auto dot = row.path.rfind('.');
      if (dot != std::string::npos && std::string_view{row.path}.substr(dot + 1) == given) {
        guess = row.path;
        break;
      }
    }
  }
  r.fault(value, "unknown key; known here: " + joined(known), std::move(guess));
}

}  // namespace vmxsys::platform
