#include "reading.hpp"

#include <boost/json.hpp>
#include <utility>

namespace vmxsys::platform {

namespace json = boost::json;

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

void reading::fault(std::string_view text, std::string reason, std::string nearest_name) {
  fault(json::value(json::string{text.data(), text.size()}), std::move(reason), std::move(nearest_name));
}

path_part::path_part(reading& r, std::string_view name) : r_{r}, size_{r.path.size()} {
  if (!r.path.empty()) r.path += '.';
  r.path += name;
}

path_part::path_part(reading& r, std::size_t index) : r_{r}, size_{r.path.size()} {
  r.path += '[' + std::to_string(index) + ']';
}

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

std::string joined(const std::vector<std::string>& names) {
  std::string result;
  for (const std::string& name : names) result += (result.empty() ? "" : ", ") + name;
  return result;
}

}  // namespace vmxsys::platform
