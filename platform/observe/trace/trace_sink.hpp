#pragma once
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

#include <vmxsys/cpu/facts/fact.hpp>
#include <vmxsys/platform/observe/base/observed_machine.hpp>
#include <vmxsys/vmx/base/catalogue.hpp>

namespace vmxsys::platform {

/// Observes one run and writes it in one format. It sees every fact from cycle 0 on.
class trace_sink : public cpu::fact_observer {
 public:
  /// The measured interval begins (run_config::measure_from).
  virtual void begin(cycles) {}
  /// The run is over: the last chance to write.
  virtual void finish(cycles) {}
};

/// What a trace is made of. The machine and the stream outlive the sink.
struct trace_environment {
  observed_machine machine;
  std::ostream& to;
  std::vector<std::string> tracepoints{};  ///< patterns (tracepoint_patterns.hpp); none: the format's default
};

/// A trace format: `--trace NAME=FILE`, `vmxsys list traces`. Its options stand in the configuration (`traces`).
struct trace_format_entry : entry {
  /// Throws std::invalid_argument for a pattern that names no tracepoint of the format.
  std::unique_ptr<trace_sink> (*make)(const void* options, const trace_environment& environment);
  /// The tracepoints among which `-e` chooses, as "group:name"; null: the format has none to choose.
  std::vector<choice> (*tracepoints)() = nullptr;
};

/// The formats that ship.
catalogue<trace_format_entry> trace_formats();

}  // namespace vmxsys::platform
