#pragma once
#include <boost/json/fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "reading.hpp"

namespace vmxsys::platform {

/// Parses JSON text; a fault (with line and column) goes to r, and nothing is returned. A key that an object holds
/// twice goes to r too; the document then has the last.
std::optional<boost::json::value> parse_json(std::string_view text, reading& r);

/// Indented JSON text with a final newline.
std::string pretty_json(const boost::json::value& value);

}  // namespace vmxsys::platform
