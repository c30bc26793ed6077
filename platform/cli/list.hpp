#pragma once
#include <iosfwd>
#include <string>
#include <vector>

namespace vmxsys::platform {

/// Topics of `vmxsys list`.
std::vector<std::string> list_topics();

/// Prints one topic, or all of them in short for "". With `json`, one document {"schema": 1, ...}. False when there is
/// no such topic.
bool list(const std::string& topic, bool json, std::ostream& out);

}  // namespace vmxsys::platform
