#include "trace_options.hpp"

#include <algorithm>

#include <vmxsys/platform/config/reading.hpp>
#include <vmxsys/platform/observe/trace/tracepoint_patterns.hpp>
#include <vmxsys/vmx/base/nearest.hpp>

namespace vmxsys::platform {

namespace {

std::string read_trace(const std::string& text, options& to) {
  const std::size_t equals = text.find('=');
  const std::string name = text.substr(0, equals);
  if (equals == std::string::npos || equals + 1 == text.size())
    return "--trace takes NAME=FILE, e.g. " + name + "=trace.txt, or " + name + "=- for standard output";
  const trace_request request{name, text.substr(equals + 1)};
  for (const trace_request& other : to.traces) {
    if (other.format == name) return "--trace " + name + "= is given twice";
    if (other.file.lexically_normal() == request.file.lexically_normal())
      return "--trace " + other.format + "= and --trace " + name + "= cannot both write to " +
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

void add_tracepoints(const trace_format_entry& of, std::vector<choice>& to) {
  if (of.tracepoints == nullptr) return;
  for (choice& c : of.tracepoints()) {
    const auto same = [&](const choice& known) { return known.name == c.name; };
    if (std::none_of(to.begin(), to.end(), same)) to.push_back(std::move(c));
  }
}

}  // namespace

std::string read_trace_options(const std::vector<std::string>& traces, const std::vector<std::string>& events,
                               options& to) {
  for (const std::string& text : traces)
    if (std::string fault = read_trace(text, to); !fault.empty()) return fault;
  for (const std::string& text : events) read_events(text, to);
  return "";
}

std::string trace_name_fault(const options& of, const catalogue<trace_format_entry>& formats) {
  std::vector<choice> known;
  for (const trace_request& t : of.traces) {
    const trace_format_entry* format = formats.find(t.format);
    if (format == nullptr)
      return "no trace format \"" + t.format + '"' + did_you_mean(t.format, formats.names()) +
             "; formats: " + joined(formats.names());
    add_tracepoints(*format, known);
  }
  if (of.tracepoints.empty()) return "";
  if (known.empty()) {
    std::string others;
    for (const trace_format_entry* f : formats)
      if (f->tracepoints != nullptr)
        others += (others.empty() ? "--trace " : " or --trace ") + std::string{f->name} + "=FILE";
    return "-e chooses tracepoints of a trace; give " + others + " as well";
  }
  return tracepoint_fault(of.tracepoints, known);
}

std::vector<choice> tracepoint_choices(const catalogue<trace_format_entry>& formats) {
  std::vector<choice> all;
  for (const trace_format_entry* f : formats) add_tracepoints(*f, all);
  return all;
}

}  // namespace vmxsys::platform
