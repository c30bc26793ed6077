#include "json_text.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <set>
#include <utility>

namespace vmxsys::platform {

namespace json = boost::json;

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
