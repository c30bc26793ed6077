#include "tracepoint_patterns.hpp"

#include <algorithm>

#include <vmxsys/vmx/base/nearest.hpp>

namespace vmxsys::platform {

namespace {

std::string_view group_of(std::string_view full) { return full.substr(0, full.find(':')); }
std::string_view name_of(std::string_view full) { return full.substr(full.find(':') + 1); }

// Goes back to the last `*` only: what an earlier one could take, the last one can take as well.
bool matches(std::string_view pattern, std::string_view text) {
  constexpr std::size_t none = std::string_view::npos;
  std::size_t p = 0, t = 0, star = none, taken = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != none) {
      p = star + 1;
      t = ++taken;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == none;
}

}  // namespace

bool names_tracepoint(std::string_view pattern, std::string_view full) {
  if (pattern.find(':') != std::string_view::npos) return matches(pattern, full);
  return matches(pattern, name_of(full)) || matches(pattern, group_of(full));
}

std::string tracepoint_fault(const std::vector<std::string>& patterns, const std::vector<choice>& known) {
  for (const std::string& pattern : patterns) {
    const auto named = [&](const choice& c) { return names_tracepoint(pattern, c.name); };
    if (std::any_of(known.begin(), known.end(), named)) continue;
    const bool whole = pattern.find(':') != std::string::npos;
    std::vector<std::string> names;
    for (const choice& c : known) names.emplace_back(whole ? std::string_view{c.name} : name_of(c.name));
    for (const choice& c : known) names.emplace_back(group_of(c.name));
    return "no tracepoint \"" + pattern + '"' + did_you_mean(pattern, names) + "; see vmxsys list tracepoints";
  }
  return "";
}

}  // namespace vmxsys::platform
