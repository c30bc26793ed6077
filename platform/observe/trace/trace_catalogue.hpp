#pragma once
#include <span>
#include <string_view>
#include <vector>

#include "trace_sink.hpp"

namespace vmxsys::platform {

/// Every trace format that ships, in the order of `vmxsys list traces`.
std::span<const trace_format_entry* const> trace_formats();

/// Null when there is none of that name.
const trace_format_entry* find_trace_format(std::string_view name);

std::vector<choice> trace_format_choices();
/// The tracepoints of all formats that have some, each once.
std::vector<choice> tracepoint_choices();

}  // namespace vmxsys::platform
