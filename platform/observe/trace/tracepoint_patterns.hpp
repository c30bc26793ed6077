#pragma once
#include <string>
#include <string_view>
#include <vector>

#include <vmxsys/vmx/base/parameter.hpp>

// How `-e` names tracepoints: as `perf record -e` and `trace-cmd record -e` do.
namespace vmxsys::platform {

/// Whether `pattern` names the tracepoint `full` ("group:name"). A pattern with a colon is compared with all of it, one
/// without with the name and with the group. `*` stands for any characters, `?` for one.
bool names_tracepoint(std::string_view pattern, std::string_view full);

/// A sentence about the first pattern that names none of `known`, with the nearest name; empty: there is none.
std::string tracepoint_fault(const std::vector<std::string>& patterns, const std::vector<choice>& known);

}  // namespace vmxsys::platform
