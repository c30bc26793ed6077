#include "json_binding.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <cmath>
#include <set>
#include <utility>

#include <vmxsys/vmx/base/nearest.hpp>

namespace vmxsys::platform {

namespace json = boost::json;

namespace {

/// What a message may quote: one line, printable, not long.
std::string shown(std::string text) {
  constexpr std::size_t limit = 60;
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  if (text.size() > limit) {
    std::size_t end = limit;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // not inside a character
    text.resize(end);
    text += "...";
  }
  return text;
}

std::string_view view(const json::string& s) { return {s.data(), s.size()}; }
json::string_view key(std::string_view s) { return {s.data(), s.size()}; }

/// Restores the path of a reading at the end of a scope.
class path_part {
 public:
  path_part(reading& r, std::string_view name) : r_{r}, size_{r.path.size()} {
    if (!r.path.empty()) r.path += '.';
    r.path += name;
  }
  path_part(reading& r, std::size_t index) : r_{r}, size_{r.path.size()} {
    r.path += '[' + std::to_string(index) + ']';
  }
  ~path_part() { r_.path.resize(size_); }
  path_part(const path_part&) = delete;
  path_part& operator=(const path_part&) = delete;

 private:
  reading& r_;
  std::size_t size_;
};

std::string joined(const std::vector<std::string>& names) {
  std::string result;
  for (const std::string& name : names) result += (result.empty() ? "" : ", ") + name;
  return result;
}

constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

/// Prints a limit in the parameter's own spelling.
using limit_printer = std::string (*)(std::uint64_t);
std::string plain(std::uint64_t n) { return std::to_string(n); }
std::string as_time(std::uint64_t n) { return duration::from_picoseconds(n).to_string(); }
std::string as_size(std::uint64_t n) { return byte_size{n}.to_string(); }

std::string range_text(const parameter& about, limit_printer print, std::uint64_t type_highest) {
  const std::uint64_t highest = std::min(about.highest, type_highest);
  if (about.lowest == 0 && highest == unlimited) return "";
  if (highest == unlimited) return "at least " + print(about.lowest);
  return print(about.lowest) + " .. " + print(highest);
}

bool in_range(std::uint64_t n, std::uint64_t type_highest, limit_printer print, const json::value& from, reading& r) {
  const parameter none{};
  const parameter& about = r.about ? *r.about : none;
  if (n >= about.lowest && n <= std::min(about.highest, type_highest)) return true;
  r.fault(from, "out of range: must be " + range_text(about, print, type_highest));
  return false;
}

std::vector<std::string> choice_names(const parameter& about) {
  std::vector<std::string> names;
  for (const choice& c : about.choices()) names.emplace_back(c.name);
  return names;
}

// ---- leaves ----

class bool_type final : public value_type {
 public:
  std::string type_name() const override { return "true or false"; }
  void read(const json::value& from, void* to, reading& r) const override {
    if (const bool* b = from.if_bool()) {
      *static_cast<bool*>(to) = *b;
    } else {
      r.fault(from, "must be true or false");
    }
  }
  void write(const void* from, json::value& to) const override { to = *static_cast<const bool*>(from); }
};

template <class Integer>
class integer_type final : public value_type {
 public:
  std::string type_name() const override { return "integer"; }
  void read(const json::value& from, void* to, reading& r) const override {
    std::uint64_t n = 0;
    if (const std::uint64_t* u = from.if_uint64()) {
      n = *u;
    } else if (const std::int64_t* i = from.if_int64()) {
      if (*i < 0) return r.fault(from, "must not be negative");
      n = static_cast<std::uint64_t>(*i);
    } else if (const double* d = from.if_double(); d && *d >= 0 && *d < 9007199254740992.0 && std::floor(*d) == *d) {
      n = static_cast<std::uint64_t>(*d);  // 1e6 is an integer too
    } else {
      return r.fault(from, "must be an integer" + std::string{from.is_string() ? ", without quotes or unit" : ""});
    }
    if (in_range(n, std::numeric_limits<Integer>::max(), plain, from, r))
      *static_cast<Integer*>(to) = static_cast<Integer>(n);
  }
  void write(const void* from, json::value& to) const override {
    to = std::uint64_t{*static_cast<const Integer*>(from)};
  }
};

class string_type final : public value_type {
 public:
  std::string type_name() const override { return "text"; }
  bool is_text() const override { return true; }
  void read(const json::value& from, void* to, reading& r) const override {
    const json::string* s = from.if_string();
    if (!s) return r.fault(from, "must be text in quotes");
    if (r.about && r.about->choices) {
      const auto names = choice_names(*r.about);
      if (std::find(names.begin(), names.end(), view(*s)) == names.end()) {
        return r.fault(from, "not known here; must be one of: " + joined(names), nearest(view(*s), names));
      }
    }
    if (s->empty()) return r.fault(from, "must not be empty");
    if (s->size() > 4096) return r.fault(from, "longer than 4096 bytes");
    static_cast<std::string*>(to)->assign(s->data(), s->size());
  }
  void write(const void* from, json::value& to) const override {
    to = json::string{*static_cast<const std::string*>(from)};
  }
};

class duration_type final : public value_type {
 public:
  std::string type_name() const override { return "duration"; }
  bool is_text() const override { return true; }
  void read(const json::value& from, void* to, reading& r) const override {
    const json::string* s = from.if_string();
    std::string reason = "a duration needs a unit: write it as text, e.g. \"10ms\" or \"3000cycles\"";
    const auto parsed = s ? parse_duration(view(*s), &reason) : std::nullopt;
    if (!parsed) return r.fault(from, reason);
    // For the range alone a cycle counts as a third of a nanosecond.
    const std::uint64_t ps = !parsed->in_cycles()                ? parsed->count()
                             : parsed->count() > unlimited / 334 ? unlimited
                                                                 : parsed->count() * 1000 / 3;
    if (in_range(ps, unlimited, as_time, from, r)) *static_cast<duration*>(to) = *parsed;
  }
  void write(const void* from, json::value& to) const override {
    to = json::string{static_cast<const duration*>(from)->to_string()};
  }
};

class byte_size_type final : public value_type {
 public:
  std::string type_name() const override { return "size"; }
  bool is_text() const override { return true; }
  void read(const json::value& from, void* to, reading& r) const override {
    const json::string* s = from.if_string();
    std::string reason = "a size needs a unit: write it as text, e.g. \"4GiB\"";
    const auto parsed = s ? parse_byte_size(view(*s), &reason) : std::nullopt;
    if (!parsed) return r.fault(from, reason);
    if (in_range(parsed->bytes, unlimited, as_size, from, r)) *static_cast<byte_size*>(to) = *parsed;
  }
  void write(const void* from, json::value& to) const override {
    to = json::string{static_cast<const byte_size*>(from)->to_string()};
  }
};

/// The value with a record's shorthand written out.
json::value expanded(const json::value& value, const record_type& record) {
  if (value.is_string() && !record.shorthand().empty()) {
    json::object object;
    object[key(record.shorthand())] = value;
    if (!record.selector().empty()) {
      // A shorthand is whole: it means the default kind, whatever was there before.
      const field* f = record.find(record.selector());
      f->type->write(f->at(record.defaults()), object[key(record.selector())]);
    }
    return object;
  }
  return value;
}

/// The `name` in force for a record: the one in the object, else the default.
std::string name_in_force(const json::object& object, const record_type& record) {
  if (const json::value* given = object.if_contains("name"); given && given->is_string()) {
    return std::string{view(given->get_string())};
  }
  if (const field* f = record.find("name"); f && f->type == &leaf_type(static_cast<const std::string*>(nullptr))) {
    return *static_cast<const std::string*>(f->at(record.defaults()));
  }
  return {};
}

/// `object` holds the record's defaults: those of its own type, or what the struct around it initialises it with.
void collect_rows(const record_type& record, const void* object, const std::string& prefix,
                  std::vector<parameter_row>& rows) {
  for (const field& f : record.fields()) {
    const parameter& about = *f.about;
    parameter_row row;
    row.path = prefix + std::string{about.name};
    row.type = f.type->type_name();
    row.unit = about.unit;
    row.description = about.description;
    if (!about.only_for.empty()) row.description += " (" + std::string{about.only_for} + " only)";

    const value_type* inner = f.type;
    if (inner->is_list()) {
      row.path += "[]";
      inner = inner->element();
    }
    if (const record_type* nested = inner->record()) {
      if (f.type->is_list() || !nested->shorthand().empty()) {
        // The record itself is worth a line: what the list is, what the shorthand means.
        row.type =
            f.type->is_list() ? f.type->type_name() : "object, or its \"" + std::string{nested->shorthand()} + "\"";
        rows.push_back(row);
      }
      const bool member = inner == f.type && nested == inner;  // neither in a list nor optional
      collect_rows(*nested, member ? f.at(object) : nested->defaults(), row.path + '.', rows);
      continue;
    }
    if (about.choices) {
      row.range = joined(choice_names(about));
    } else {
      limit_printer print = plain;
      std::uint64_t type_highest = unlimited;
      if (row.type == "duration") print = as_time;
      if (row.type == "size") print = as_size;
      if (inner == &leaf_type(static_cast<const std::uint32_t*>(nullptr)))
        type_highest = std::numeric_limits<std::uint32_t>::max();
      if (row.type != "text" && row.type != "true or false") row.range = range_text(about, print, type_highest);
    }
    json::value value;
    f.type->write(f.at(object), value);
    row.default_value = value.is_null()     ? record.selector().empty() ? "as the policy has it" : "none"
                        : value.is_string() ? std::string{view(value.get_string())}
                                            : json::serialize(value);
    rows.push_back(row);
  }
}

}  // namespace

const value_type& leaf_type(const bool*) {
  static const bool_type t;
  return t;
}
const value_type& leaf_type(const std::uint32_t*) {
  static const integer_type<std::uint32_t> t;
  return t;
}
const value_type& leaf_type(const std::uint64_t*) {
  static const integer_type<std::uint64_t> t;
  return t;
}
const value_type& leaf_type(const std::string*) {
  static const string_type t;
  return t;
}
const value_type& leaf_type(const duration*) {
  static const duration_type t;
  return t;
}
const value_type& leaf_type(const byte_size*) {
  static const byte_size_type t;
  return t;
}

std::string config_error::message() const {
  std::string text = origin.empty() ? "" : origin + ": ";
  if (!path.empty()) text += path + (value.empty() ? "" : " = " + value) + ": ";
  text += reason;
  if (!nearest.empty()) text += " (did you mean \"" + nearest + "\"?)";
  return text;
}

void reading::fault(const json::value& found, std::string reason, std::string nearest_name) {
  constexpr std::size_t enough = 1000;
  if (errors->size() >= enough) return;
  errors->push_back({shown(path), found.is_null() ? "null" : shown(json::serialize(found)), std::move(reason),
                     std::move(nearest_name), origin});
}

// ---- records ----

const field* record_type::find(std::string_view name) const {
  for (const field& f : fields_) {
    if (f.about->name == name) return &f;
  }
  return nullptr;
}

std::vector<std::string> record_type::names() const {
  std::vector<std::string> names;
  for (const field& f : fields_) names.emplace_back(f.about->name);
  return names;
}

namespace {

/// The legal key most like `key`: among the record's own, else where the document has one of exactly this name.
void unknown_key(std::string_view given, const json::value& value, const record_type& record, reading& r) {
  std::string guess = nearest(given, record.names());
  if (guess.empty() && r.document) {
    for (const parameter_row& row : parameter_rows(*r.document)) {
      const auto dot = row.path.rfind('.');
      if (dot != std::string::npos && std::string_view{row.path}.substr(dot + 1) == given) {
        guess = row.path;
        break;
      }
    }
  }
  r.fault(value, "unknown key; known here: " + joined(record.names()), std::move(guess));
}

/// "a, b" as "\"a\" or \"b\"".
std::string quoted(std::string_view names) {
  std::string text{names};
  for (std::size_t comma = text.find(", "); comma != std::string::npos; comma = text.find(", ", comma))
    text.replace(comma, 2, "\" or \"");
  return '"' + text + '"';
}

}  // namespace

void record_type::read(const json::value& given, void* to, reading& r) const {
  const json::value from = given.is_object() ? json::value{} : expanded(given, *this);
  const json::object* object = given.is_object() ? &given.get_object() : from.if_object();
  if (!object) {
    return r.fault(given, shorthand_.empty()
                              ? "must be an object {...}"
                              : "must be an object {...}, or its \"" + std::string{shorthand_} + "\" as text");
  }
  const std::string name = name_in_force(*object, *this);
  if (!selector_.empty() && object->contains(key(selector_))) reset_(to);
  const parameter* outer = r.about;
  for (const auto& [key_string, value] : *object) {
    const std::string_view given_key{key_string.data(), key_string.size()};
    const path_part part{r, given_key};
    const field* f = find(given_key);
    if (!f) {
      unknown_key(given_key, value, *this, r);
      continue;
    }
    r.about = f->about;
    if (r.complete && !f->about->belongs_to(name) && !value.is_null()) {
      r.fault(value, "\"" + name + "\" has no such parameter; it belongs to " + quoted(f->about->only_for));
      continue;
    }
    f->type->read(value, const_cast<void*>(f->at(to)), r);
  }
  r.about = outer;
}

void record_type::write(const void* from, json::value& to) const {
  json::object& object = to.emplace_object();
  std::string name;
  for (const field& f : fields_) {
    if (!f.about->belongs_to(name)) continue;
    json::value value;
    f.type->write(f.at(from), value);
    if (f.about->name == "name" && value.is_string()) name = std::string{view(value.get_string())};
    if (value.is_null()) continue;
    object[key(f.about->name)] = std::move(value);
  }
}

// ---- lists and optional values ----

void list_type::read(const json::value& from, void* to, reading& r) const {
  const json::array* array = from.if_array();
  if (!array) return r.fault(from, "must be a list [...]");
  if (r.about && array->size() > r.about->highest) {
    return r.fault(from, "too many: at most " + std::to_string(r.about->highest));
  }
  access_.resize(to, array->size());
  const parameter* outer = r.about;
  for (std::size_t i = 0; i < array->size(); ++i) {
    const path_part part{r, i};
    r.about = nullptr;
    element_->read((*array)[i], const_cast<void*>(access_.at(to, i)), r);
  }
  r.about = outer;
}

void list_type::write(const void* from, json::value& to) const {
  json::array& array = to.emplace_array();
  for (std::size_t i = 0; i < access_.size(from); ++i)
    element_->write(access_.at(from, i), array.emplace_back(nullptr));
}

void optional_type::read(const json::value& from, void* to, reading& r) const {
  if (from.is_null()) return access_.reset(to);
  // A faulty value must leave no half-made one behind.
  const bool had = access_.get(to) != nullptr;
  const std::size_t faults = r.errors->size();
  void* inner = had ? const_cast<void*>(access_.get(to)) : access_.emplace(to);
  element_->read(from, inner, r);
  if (!had && r.errors->size() != faults) access_.reset(to);
}

void optional_type::write(const void* from, json::value& to) const {
  if (const void* inner = access_.get(from)) {
    element_->write(inner, to);
  } else {
    to = nullptr;
  }
}

// ---- documents ----

std::vector<parameter_row> parameter_rows(const record_type& document) {
  std::vector<parameter_row> rows;
  collect_rows(document, document.defaults(), "", rows);
  return rows;
}

namespace {

/// Looks for keys that an object holds twice: the tree keeps the last and says nothing. Every event has its function.
class duplicate_finder {
 public:
  static constexpr std::size_t max_object_size = -1, max_array_size = -1, max_key_size = -1, max_string_size = -1;
  explicit duplicate_finder(reading& r) : reading_{r} {}

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) {
    scopes_.push_back({reading_.path.size(), {}, false, 0});
    return true;
  }
  bool on_object_end(std::size_t, json::error_code&) { return close(); }
  bool on_array_begin(json::error_code&) {
    scopes_.push_back({reading_.path.size(), {}, true, 0});
    return next();
  }
  bool on_array_end(std::size_t, json::error_code&) { return close(); }
  bool on_key_part(json::string_view s, std::size_t, json::error_code&) {
    key_.append(s.data(), s.size());
    return true;
  }
  bool on_key(json::string_view s, std::size_t, json::error_code&) {
    key_.append(s.data(), s.size());
    scope& here = scopes_.back();
    reading_.path.resize(here.path);
    reading_.path += (reading_.path.empty() ? "" : ".") + key_;
    if (!here.keys.insert(std::exchange(key_, {})).second && reading_.errors->size() < enough)
      reading_.errors->push_back({shown(reading_.path), "", "given twice in one object", "", reading_.origin});
    return true;
  }
  bool on_string_part(json::string_view, std::size_t, json::error_code&) { return true; }
  bool on_string(json::string_view, std::size_t, json::error_code&) { return next(); }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(std::int64_t, json::string_view, json::error_code&) { return next(); }
  bool on_uint64(std::uint64_t, json::string_view, json::error_code&) { return next(); }
  bool on_double(double, json::string_view, json::error_code&) { return next(); }
  bool on_bool(bool, json::error_code&) { return next(); }
  bool on_null(json::error_code&) { return next(); }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  static constexpr std::size_t enough = 1000;
  struct scope {
    std::size_t path;  // how long the path around it is
    std::set<std::string> keys;
    bool is_list;
    std::size_t index;
  };
  bool close() {
    reading_.path.resize(scopes_.back().path);
    scopes_.pop_back();
    return next();
  }
  /// After a value, or at the beginning of a list: in a list the path names the next element.
  bool next() {
    if (scopes_.empty() || !scopes_.back().is_list) return true;
    reading_.path.resize(scopes_.back().path);
    reading_.path += '[' + std::to_string(scopes_.back().index++) + ']';
    return true;
  }

  reading& reading_;
  std::vector<scope> scopes_;
  std::string key_;
};

void find_duplicate_keys(std::string_view text, reading& r) {
  const std::string path = r.path;
  json::basic_parser<duplicate_finder> parser{json::parse_options{}, r};
  json::error_code ignored;
  parser.write_some(false, text.data(), text.size(), ignored);
  r.path = path;
}

}  // namespace

std::optional<json::value> parse_json(std::string_view text, reading& r) {
  json::stream_parser parser;
  json::error_code error;
  const std::size_t used = parser.write_some(text.data(), text.size(), error);
  std::size_t at = used;
  if (!error && used < text.size()) {
    const auto rest = text.find_first_not_of(" \t\r\n", used);
    if (rest != std::string_view::npos) {
      error = json::error::extra_data;
      at = rest;
    }
  }
  if (!error) parser.finish(error);
  if (!error) {
    find_duplicate_keys(text, r);
    return parser.release();
  }
  const std::string_view before = text.substr(0, std::min(at, text.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const auto newline = before.rfind('\n');
  const auto column = newline == std::string_view::npos ? before.size() + 1 : before.size() - newline;
  r.errors->push_back(
      {shown(r.path), "",
       "not JSON at line " + std::to_string(line) + ", column " + std::to_string(column) + ": " + error.message(), "",
       r.origin});
  return std::nullopt;
}

void merge_json(json::value& base, const json::value& overlay, const value_type& type) {
  const record_type* record = type.record();
  if (!record) {
    base = overlay;
    return;
  }
  const json::value over = expanded(overlay, *record);
  base = expanded(base, *record);
  if (!over.is_object() || !base.is_object()) {
    base = over;
    return;
  }
  json::object& to = base.get_object();
  if (!record->selector().empty() && over.get_object().contains(key(record->selector()))) to.clear();
  if (over.get_object().contains("name")) {
    const std::string name = name_in_force(over.get_object(), *record);
    for (const field& f : record->fields()) {
      if (!f.about->belongs_to(name)) to.erase(key(f.about->name));
    }
  }
  for (const auto& [name, value] : over.get_object()) {
    const field* f = record->find({name.data(), name.size()});
    if (!f) {
      to[name] = value;
    } else {
      merge_json(to[name], value, *f->type);
    }
  }
}

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
  // A shorthand may look like a number or a word of JSON.
  if (type.record() && !type.record()->shorthand().empty() && !parsed.is_object() && !parsed.is_string()) return raw;
  return parsed;
}

void set_at(json::value& at, const value_type& type, const std::vector<step>& steps, std::size_t i,
            std::string_view text, reading& r) {
  if (i == steps.size()) {
    merge_json(at, override_value(text, type), type);
    return;
  }
  const step& s = steps[i];
  if (s.key.empty()) {
    if (!type.is_list())
      return r.fault(json::string{text.data(), text.size()},
                     "is no list, so [" + (s.all ? "*" : std::to_string(*s.index)) + "] means nothing here");
    if (!at.is_array()) at.emplace_array();
    json::array& array = at.get_array();
    if (s.index && *s.index >= array.size()) {
      return r.fault(json::string{text.data(), text.size()}, "there are only " + std::to_string(array.size()) +
                                                                 " (numbered from 0), so there is no [" +
                                                                 std::to_string(*s.index) + "]");
    }
    const std::size_t first = s.index.value_or(0), last = s.index ? *s.index + 1 : array.size();
    if (first == last) return r.fault(json::string{text.data(), text.size()}, "the list is empty");
    for (std::size_t k = first; k < last; ++k) {
      const path_part part{r, k};
      set_at(array[k], *type.element(), steps, i + 1, text, r);
    }
    return;
  }
  const path_part part{r, s.key};
  const record_type* record = type.record();
  if (!record) {
    return r.fault(json::string{text.data(), text.size()},
                   type.is_list() ? "say which one: [0], [1], ... or [*]" : "there is nothing below a plain value");
  }
  const field* f = record->find(s.key);
  if (!f) return unknown_key(s.key, json::string{text.data(), text.size()}, *record, r);
  at = expanded(at, *record);
  if (!at.is_object()) at.emplace_object();
  if ((s.key == "name" || s.key == record->selector()) && i + 1 == steps.size()) {
    // As a layer that names another policy: parameters of the old one go.
    json::object change;
    change[s.key] = override_value(text, *f->type);
    merge_json(at, change, type);
    return;
  }
  set_at(at.get_object()[s.key], *f->type, steps, i + 1, text, r);
}

}  // namespace

void apply_override(json::value& document, std::string_view assignment, const record_type& type, reading& r) {
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

namespace {

void print(std::string& out, const json::value& value, std::size_t indent) {
  const auto margin = [&](std::size_t n) { out.append(1, '\n').append(2 * n, ' '); };
  if (const json::object* object = value.if_object(); object && !object->empty()) {
    out += '{';
    bool first = true;
    for (const auto& [name, member] : *object) {
      if (!std::exchange(first, false)) out += ',';
      margin(indent + 1);
      out += json::serialize(json::string{name}) + ": ";
      print(out, member, indent + 1);
    }
    margin(indent);
    out += '}';
  } else if (const json::array* array = value.if_array(); array && !array->empty()) {
    out += '[';
    bool first = true;
    for (const json::value& member : *array) {
      if (!std::exchange(first, false)) out += ',';
      margin(indent + 1);
      print(out, member, indent + 1);
    }
    margin(indent);
    out += ']';
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

std::string pretty_json(const json::value& value) {
  std::string out;
  print(out, value, 0);
  return out + '\n';
}

}  // namespace vmxsys::platform
