#pragma once
// What is wrong with a document, and where.
#include <boost/json/fwd.hpp>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace vmxsys::platform {

/// One fault of a configuration.
struct config_error {
  std::string path;     ///< "vms[0].vcpus"; "" for the document as a whole
  std::string value;    ///< what was found there, shortened
  std::string reason;   ///< what is wrong and what would be right
  std::string nearest;  ///< the legal name most like the one found, or ""
  std::string origin;   ///< the file, or "-p ..." it came from; "" when the layers together are at fault

  /// One line: origin, path, value, reason, suggestion.
  std::string message() const;
};

class record_type;

/// Where in a document a reader is, and what it has found wrong.
struct reading {
  std::vector<config_error>* errors;
  std::string origin;
  std::string path{};
  const record_type* document = nullptr;  ///< to say where a misplaced key belongs
  bool complete = false;                  ///< all layers are merged, so a component's name is the final one

  void fault(const boost::json::value& found, std::string reason, std::string nearest = {});
  void fault(std::string_view text, std::string reason, std::string nearest = {});
};

/// Lengthens the path of a reading for the time of a scope.
class path_part {
 public:
  path_part(reading& r, std::string_view name);
  path_part(reading& r, std::size_t index);
  ~path_part() { r_.path.resize(size_); }
  path_part(const path_part&) = delete;
  path_part& operator=(const path_part&) = delete;

 private:
  reading& r_;
  std::size_t size_;
};

/// What a message may quote: one line, printable, not long.
std::string shown(std::string text);
/// "a, b, c".
std::string joined(const std::vector<std::string>& names);

}  // namespace vmxsys::platform
