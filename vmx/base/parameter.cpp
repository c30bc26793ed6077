#include "parameter.hpp"

#include <algorithm>

#include "nearest.hpp"

namespace vmxsys {

namespace {

constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

std::string joined(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
}

std::string shown(const distribution& d) {
  if (d.kind == distribution::shape::fixed && d.mean) return d.mean->to_string();
  std::string text = std::string{"{kind: "} + to_string(d.kind);
  if (d.mean) text += ", mean: " + d.mean->to_string();
  if (d.min) text += ", min: " + d.min->to_string();
  if (d.max) text += ", max: " + d.max->to_string();
  return text + '}';
}

std::string limit(parameter_kind kind, std::uint64_t n) {
  switch (kind) {
    case parameter_kind::duration:
    case parameter_kind::distribution:
      return duration::from_picoseconds(n).to_string();
    case parameter_kind::size:
      return byte_size{n}.to_string();
    default:
      return std::to_string(n);
  }
}

std::string lowest_text(const parameter& p) {
  return p.lowest < 0 ? std::to_string(p.lowest) : limit(p.element, static_cast<std::uint64_t>(p.lowest));
}

/// For a range alone a cycle counts as a third of a nanosecond.
std::uint64_t picoseconds_of(duration d) {
  if (!d.in_cycles()) return d.count();
  return d.count() > unlimited / 334 ? unlimited : d.count() * 1000 / 3;
}

const char* wanted(parameter_kind kind) {
  switch (kind) {
    case parameter_kind::flag:
      return "must be true or false";
    case parameter_kind::integer:
      return "must be an integer";
    case parameter_kind::duration:
      return "must be a duration, e.g. \"10ms\" or \"3000cycles\"";
    case parameter_kind::size:
      return "must be a size, e.g. \"4GiB\"";
    case parameter_kind::name:
      return "must be text in quotes";
    case parameter_kind::distribution:
      return "must be a duration, or {kind, mean, min, max}";
    case parameter_kind::list:
      return "must be a list [...]";
  }
  return "";
}

bool within(const parameter& p, std::uint64_t n) {
  return (p.lowest < 0 || n >= static_cast<std::uint64_t>(p.lowest)) && n <= p.highest;
}

std::optional<parameter_fault> out_of_range(const parameter& p) {
  return parameter_fault{"out of range: must be " + p.range(), ""};
}

std::optional<parameter_fault> check_one(const parameter& p, const parameter_value& value) {
  const parameter_fault wrong_kind{wanted(p.element), ""};
  const auto& held = value.held;
  switch (p.element) {
    case parameter_kind::flag:
      if (!std::holds_alternative<bool>(held)) return wrong_kind;
      return std::nullopt;
    case parameter_kind::integer:
      if (const auto* n = std::get_if<std::uint64_t>(&held)) {
        if (!within(p, *n)) return out_of_range(p);
      } else if (const auto* i = std::get_if<std::int64_t>(&held)) {
        if (*i < p.lowest && p.range().empty()) return parameter_fault{"must not be negative", ""};
        if (*i < p.lowest) return out_of_range(p);
      } else {
        return wrong_kind;
      }
      return std::nullopt;
    case parameter_kind::duration:
      if (const auto* d = std::get_if<duration>(&held)) {
        if (!within(p, picoseconds_of(*d))) return out_of_range(p);
        return std::nullopt;
      }
      return wrong_kind;
    case parameter_kind::size:
      if (const auto* s = std::get_if<byte_size>(&held)) {
        if (!within(p, s->bytes)) return out_of_range(p);
        return std::nullopt;
      }
      return wrong_kind;
    case parameter_kind::name:
      if (const auto* text = std::get_if<std::string>(&held)) {
        if (p.choices == nullptr) return std::nullopt;
        const std::vector<std::string> names = p.choice_names();
        if (std::find(names.begin(), names.end(), *text) != names.end()) return std::nullopt;
        return parameter_fault{"not known here; must be one of: " + joined(names), nearest(*text, names)};
      }
      return wrong_kind;
    case parameter_kind::distribution:
      if (const auto* d = std::get_if<distribution>(&held)) {
        for (const auto& member : {d->mean, d->min, d->max})
          if (member && !within(p, picoseconds_of(*member))) return out_of_range(p);
        return std::nullopt;
      }
      return wrong_kind;
    case parameter_kind::list:
      break;
  }
  return wrong_kind;
}

}  // namespace

std::string parameter_value::to_string() const {
  struct printer {
    std::string operator()(std::monostate) const { return ""; }
    std::string operator()(bool b) const { return b ? "true" : "false"; }
    std::string operator()(std::uint64_t n) const { return std::to_string(n); }
    std::string operator()(std::int64_t n) const { return std::to_string(n); }
    std::string operator()(duration d) const { return d.to_string(); }
    std::string operator()(byte_size s) const { return s.to_string(); }
    std::string operator()(const std::string& s) const { return s; }
    std::string operator()(const distribution& d) const { return shown(d); }
    std::string operator()(const list& l) const {
      std::string text;
      for (const parameter_value& v : l) text += (text.empty() ? "[" : ", ") + v.to_string();
      return text.empty() ? "[]" : text + ']';
    }
  };
  return std::visit(printer{}, held);
}

std::optional<parameter_fault> parameter::check(const parameter_value& value) const {
  if (value.absent() && optional) return std::nullopt;
  if (kind != parameter_kind::list) return check_one(*this, value);
  const auto* all = std::get_if<parameter_value::list>(&value.held);
  if (all == nullptr) return parameter_fault{wanted(kind), ""};
  for (const parameter_value& one : *all)
    if (auto fault = check_one(*this, one)) return fault;
  return std::nullopt;
}

std::string parameter::range() const {
  if (choices != nullptr) return joined(choice_names());
  if (element == parameter_kind::flag || element == parameter_kind::name) return "";
  if (lowest == 0 && highest == unlimited) return "";
  if (highest == unlimited) return "at least " + lowest_text(*this);
  return lowest_text(*this) + " .. " + limit(element, highest);
}

std::vector<std::string> parameter::choice_names() const {
  std::vector<std::string> names;
  if (choices != nullptr)
    for (choice& c : choices()) names.push_back(std::move(c.name));
  return names;
}

const parameter* parameter_list::find(std::string_view name) const noexcept {
  for (const parameter& p : *this)
    if (name == p.name) return &p;
  return nullptr;
}

std::vector<std::string> parameter_list::names() const {
  std::vector<std::string> all;
  for (const parameter& p : *this) all.emplace_back(p.name);
  return all;
}

namespace detail {

std::string name_of_index(const parameter& p, std::size_t index) { return p.choices().at(index).name; }

std::size_t index_of_name(const parameter& p, const std::string& name) {
  const std::vector<std::string> names = p.choice_names();
  return static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
}

std::uint64_t bits_of(const parameter_value& value) {
  if (const auto* n = std::get_if<std::int64_t>(&value.held)) return static_cast<std::uint64_t>(*n);
  return std::get<std::uint64_t>(value.held);
}

}  // namespace detail

}  // namespace vmxsys
