#include "cost_overrides.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <utility>

#include "preset.hpp"

namespace vmxsys::platform {

namespace json = boost::json;

std::optional<cost_value> parse_cost(std::string_view text, std::string* reason) {
  const auto refuse = [&](const char* why) {
    if (reason != nullptr) *reason = why;
    return std::nullopt;
  };
  constexpr const char* how =
      "a cost needs a unit: write it as text, e.g. \"140cycles\" (of the TSC), \"140core_cycles\", \"44ns\" or \"2us\"";
  // Not what else from_chars reads: signs, "inf", "nan".
  if (text.empty() || text[0] < '0' || text[0] > '9') return refuse(how);
  cost_value result{};
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), result.value, std::chars_format::fixed);
  if (error != std::errc{} || result.value > 1e12) return refuse("out of range: must be 0 .. 10^12");
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  if (text != "cycles" && text != "core_cycles" && text != "ns" && text != "us") return refuse(how);
  result.unit = text;
  return result;
}

/// A single cost. It works, as the groups do, on the whole list.
class costs_type::leaf final : public value_type {
 public:
  explicit leaf(std::string path) : path_{std::move(path)} {}
  std::string type_name() const override { return "cost"; }
  bool is_text() const override { return true; }
  void rows(const std::string&, const void*, std::string_view, std::vector<parameter_row>&) const override {}

  void read(const json::value& from, void* to, reading& r) const override {
    const json::string* s = from.if_string();
    std::string reason;
    if (!parse_cost(s == nullptr ? std::string_view{} : std::string_view{s->data(), s->size()}, &reason))
      return r.fault(from, reason);
    auto& list = *static_cast<std::vector<cost_override>*>(to);
    std::erase_if(list, [&](const cost_override& o) { return o.path == path_; });
    list.push_back({path_, std::string{s->data(), s->size()}});
  }

  void write(const void* from, json::value& to) const override {
    to = nullptr;
    for (const cost_override& o : *static_cast<const std::vector<cost_override>*>(from))
      if (o.path == path_) to = json::string{o.value};
  }

 private:
  std::string path_;
};

class costs_type::group final : public value_type {
 public:
  std::string type_name() const override { return "object"; }
  bool has_members() const override { return true; }
  void rows(const std::string&, const void*, std::string_view, std::vector<parameter_row>&) const override {}

  /// `path`: what is left of the way to the cost `whole`.
  void add(std::string_view path, const std::string& whole) {
    const std::size_t dot = path.find('.');
    const std::string_view name = path.substr(0, dot);
    auto at = std::find_if(below_.begin(), below_.end(), [&](const auto& m) { return m.first == name; });
    if (dot == std::string_view::npos) {
      if (at == below_.end()) below_.emplace_back(name, std::make_unique<leaf>(whole));
      return;
    }
    if (at == below_.end()) at = below_.emplace(at, name, std::make_unique<group>());
    static_cast<group&>(*at->second).add(path.substr(dot + 1), whole);
  }

  const value_type* member(std::string_view name, const json::value&) const override {
    for (const auto& [of, type] : below_)
      if (of == name) return type.get();
    return nullptr;
  }

  std::vector<std::string> members(const json::value&) const override {
    std::vector<std::string> all;
    for (const auto& [name, type] : below_) all.push_back(name);
    return all;
  }

  void read(const json::value& from, void* to, reading& r) const override {
    const json::object* object = from.if_object();
    if (object == nullptr) return r.fault(from, "must be an object {...}");
    for (const auto& [key, value] : *object) {
      const std::string_view name{key.data(), key.size()};
      const path_part part{r, name};
      if (const value_type* type = member(name, from))
        type->read(value, to, r);
      else
        unknown_key(name, value, *this, from, r);
    }
  }

  void write(const void* from, json::value& to) const override {
    json::object object;
    for (const auto& [name, type] : below_) {
      json::value inner;
      type->write(from, inner);
      const bool empty = inner.is_object() ? inner.get_object().empty() : inner.is_null();
      if (!empty) object[name] = std::move(inner);
    }
    to = std::move(object);
  }

 private:
  std::vector<std::pair<std::string, std::unique_ptr<value_type>>> below_;
};

costs_type::costs_type(const catalogue<preset_entry>& from) : all_{std::make_unique<group>()} {
  for (const preset_entry* e : from)
    if (const auto p = find_preset(e->name, from))
      for (const preset_quantity& q : p->quantities)
        if (q.is_cost()) all_->add(q.path, q.path);
}
costs_type::~costs_type() = default;

void costs_type::read(const json::value& from, void* to, reading& r) const { all_->read(from, to, r); }
void costs_type::write(const void* from, json::value& to) const { all_->write(from, to); }
const value_type* costs_type::member(std::string_view name, const json::value& object) const {
  return all_->member(name, object);
}
std::vector<std::string> costs_type::members(const json::value& object) const { return all_->members(object); }

void costs_type::rows(const std::string& path, const void*, std::string_view description,
                      std::vector<parameter_row>& to) const {
  to.push_back({path, type_name(), "cost", "as the preset has it", "",
                std::string{description} + "; `vmxsys list costs` has all of them"});
}

}  // namespace vmxsys::platform
