#pragma once
#include <string>
#include <vector>

#include <vmxsys/platform/observe/trace/trace_sink.hpp>

#include "options.hpp"

namespace vmxsys::platform {

/// Reads the values of `--trace` (NAME=FILE) and `-e` (tracepoints, separated by commas) into `to`, whose other members
/// are read already. Returns what is wrong with them, or an empty text.
std::string read_trace_options(const std::vector<std::string>& traces, const std::vector<std::string>& events,
                               options& to);

/// What is wrong with the names of formats and tracepoints in `of`, or an empty text.
std::string trace_name_fault(const options& of, const catalogue<trace_format_entry>& formats);

/// The tracepoints of all formats that have some, each once.
std::vector<choice> tracepoint_choices(const catalogue<trace_format_entry>& formats);

}  // namespace vmxsys::platform
