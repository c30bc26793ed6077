#pragma once
// A preset's file together with its bases.
#include <boost/json.hpp>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vmxsys/platform/config/reading.hpp>
#include <vmxsys/platform/presets/catalogue.hpp>

namespace vmxsys::platform {

/// The parts of a preset that are objects of quantities. A file that has a base gives only those that differ.
bool is_cost_group(std::string_view key);

/// What a file and its bases hold together.
struct preset_document {
  boost::json::object content;                 ///< without "base"
  std::string origin;                          ///< the file asked for
  std::map<std::string, std::string> origins;  ///< where each path came from

  /// The file that the value at `path`, or what is around it, came from.
  const std::string& origin_of(std::string path) const;
};

/// Nothing when the file or one of its bases cannot be read at all. Faults go to `errors`.
std::optional<preset_document> load_preset_document(const std::string& name_or_file,
                                                    const catalogue<preset_entry>& from,
                                                    std::vector<config_error>& errors);

}  // namespace vmxsys::platform
