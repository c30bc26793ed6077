#include "trace_options.hpp"

#include <algorithm>

#include <vmxsys/platform/observe/trace/trace_catalogue.hpp>
#include <vmxsys/platform/observe/trace/tracepoint_patterns.hpp>
#include <vmxsys/vmx/base/nearest.hpp>

namespace vmxsys::platform {

namespace {

std::string format_names(const char* between) {
  std::string text;
  for (const trace_format_entry* f : trace_formats()) text += (text.empty() ? "" : between) + std::string{f->name};
  return text;
}

std::string no_format(const std::string& name) {
  std::vector<std::string> names;
  for (const trace_format_entry* f : trace_formats()) names.emplace_back(f->name);
  return "no trace format \"" + name + '"' + did_you_mean(name, names) + "; formats: " + format_names(", ");
}

std::string read_trace(const std::string& text, options& to) {
  const std::size_t equals = text.find('=');
  const std::string name = text.substr(0, equals);
  const trace_format_entry* format = find_trace_format(name);
  if (format == nullptr) return no_format(name);
  if (equals == std::string::npos || equals + 1 == text.size())
    return "--trace takes NAME=FILE, e.g. " + name + "=trace.txt, or " + name + "=- for standard output";
  const trace_request request{format, text.substr(equals + 1)};
  for (const trace_request& other : to.traces) {
    if (other.format == format) return "--trace " + name + "= is given twice";
    if (other.file.lexically_normal() == request.file.lexically_normal())
      return "--trace " + std::string{other.format->name} + "= and --trace " + name + "= cannot both write to " +
             (request.to_standard_output() ? "standard output" : request.file.string());
  }
  if (request.to_standard_output() && to.json)
    return "--json and --trace " + text + " cannot both write to standard output";
  to.traces.push_back(request);
  return "";
}

void read_events(const std::string& text, options& to) {
  for (std::size_t from = 0; from <= text.size();) {
    const std::size_t comma = std::min(text.find(',', from), text.size());
    to.tracepoints.push_back(text.substr(from, comma - from));
    from = comma + 1;
  }
}

}  // namespace

std::string read_trace_options(const std::vector<std::string>& traces, const std::vector<std::string>& events,
                               options& to) {
  for (const std::string& text : traces)
    if (std::string fault = read_trace(text, to); !fault.empty()) return fault;
  for (const std::string& text : events) read_events(text, to);
  if (to.tracepoints.empty()) return "";

  std::vector<choice> known;
  for (const trace_request& t : to.traces)
    if (t.format->tracepoints != nullptr)
      for (choice& c : t.format->tracepoints()) known.push_back(std::move(c));
  if (known.empty()) return "-e chooses tracepoints of a trace; give --trace kvm=FILE as well";
  return tracepoint_fault(to.tracepoints, known);
}

}  // namespace vmxsys::platform
