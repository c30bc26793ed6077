#pragma once
#include <iosfwd>
#include <string>

#include <vmxsys/platform/machine/catalogues.hpp>

namespace vmxsys::platform {

/// Prints all topics in short for "", one topic, or with a name one of its entries with every option. With `json`, one
/// document {"schema": 1, ...}. What is wrong with topic or name; empty if nothing.
std::string list(const std::string& topic, const std::string& name, bool json, const catalogues& from,
                 std::ostream& out);

}  // namespace vmxsys::platform
