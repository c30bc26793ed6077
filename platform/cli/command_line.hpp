#pragma once
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include <vmxsys/platform/run/options.hpp>

namespace vmxsys::platform {

/// What became of reading a command line: either options to act on, or text for the user and the status to end with.
struct command_line {
  std::optional<options> to_do;
  int status = exit_ok;  ///< when there is nothing to do
  std::string text;      ///< help or version (for stdout), or what is wrong (for stderr; status is not exit_ok)
};

/// Reads arguments (without the program's name). Never throws for what they contain.
command_line parse_command_line(const std::vector<std::string>& arguments);

/// Reads, acts and returns the exit status; what main() does. Nothing escapes: a broken invariant is status 4.
int command_line_main(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err);

}  // namespace vmxsys::platform
