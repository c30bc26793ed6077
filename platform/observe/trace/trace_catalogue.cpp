#include "trace_catalogue.hpp"

#include <algorithm>

namespace vmxsys::platform {

// One line per format; each is defined in the file of its class.
extern const trace_format_entry kvm_trace_format;
extern const trace_format_entry kvm_stat_trace_format;
extern const trace_format_entry sched_map_trace_format;

namespace {
constexpr const trace_format_entry* table[] = {
    &kvm_trace_format,
    &kvm_stat_trace_format,
    &sched_map_trace_format,
};
}  // namespace

std::span<const trace_format_entry* const> trace_formats() { return table; }

const trace_format_entry* find_trace_format(std::string_view name) {
  const auto found = std::find_if(std::begin(table), std::end(table), [&](auto* entry) { return entry->name == name; });
  return found == std::end(table) ? nullptr : *found;
}

std::vector<choice> trace_format_choices() {
  std::vector<choice> result;
  for (const trace_format_entry* entry : table)
    result.push_back({std::string{entry->name}, std::string{entry->description}});
  return result;
}

std::vector<choice> tracepoint_choices() {
  std::vector<choice> result;
  for (const trace_format_entry* entry : table) {
    if (entry->tracepoints == nullptr) continue;
    for (choice& c : entry->tracepoints()) {
      const auto same = [&](const choice& known) { return known.name == c.name; };
      if (std::none_of(result.begin(), result.end(), same)) result.push_back(std::move(c));
    }
  }
  return result;
}

}  // namespace vmxsys::platform
