#pragma once
#include <string>
#include <vector>

#include "options.hpp"

namespace vmxsys::platform {

/// Reads the values of `--trace` (NAME=FILE) and `-e` (tracepoints, separated by commas) into `to`, whose other members
/// are read already. Returns what is wrong with them, or an empty text.
std::string read_trace_options(const std::vector<std::string>& traces, const std::vector<std::string>& events,
                               options& to);

}  // namespace vmxsys::platform
