#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace vmxsys {

/// Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`. Only the first 64 characters of each
/// are looked at, so the time is bounded for any file.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate most like `name`, or "" when none is like it (more than a third of it, and more than two letters,
/// would have to change). The first of equals wins.
std::string nearest(std::string_view name, const std::vector<std::string>& candidates);

/// The same for the end of a message: ` (did you mean "..."?)`, or "" when none is like it.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace vmxsys
