#include "runner.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ostream>
#include <unistd.h>
#include <vector>

#include <vmxsys/platform/observe/report/report.hpp>
#include <vmxsys/platform/run/execution.hpp>
#include <vmxsys/platform/run/interruption.hpp>

namespace vmxsys::platform {

namespace {

using clock = std::chrono::steady_clock;

double seconds_since(clock::time_point start) { return std::chrono::duration<double>(clock::now() - start).count(); }

/// The line that a terminal sees while a run goes on: simulated time, speed, time left.
class progress_line {
 public:
  explicit progress_line(std::ostream& to) : to_{to} {}
  ~progress_line() {
    if (shown_) to_ << "\r\033[K" << std::flush;
  }
  void show(double done, double simulated_ns) {
    const double wall = seconds_since(start_);
    if (wall - last_ < 0.1 || done <= 0) return;
    last_ = wall;
    shown_ = true;
    char text[120];
    std::snprintf(text, sizeof text, "\r\033[K%3.0f%%  %s simulated, %.2f simulated seconds a second, %.0f s left",
                  done * 100, readable_ns(simulated_ns).c_str(), simulated_ns / 1e9 / wall, wall / done - wall);
    to_ << text << std::flush;
  }

 private:
  std::ostream& to_;
  clock::time_point start_ = clock::now();
  double last_ = 0;
  bool shown_ = false;
};

/// Where the traces of a run go: files that are whole or not there, and standard output.
class trace_outputs {
 public:
  /// Opens all of them. Throws file_error.
  trace_outputs(const options& what, std::ostream& out) : out_{out} {
    files_.reserve(what.traces.size());
    for (const trace_request& t : what.traces) {
      uses_out_ |= t.to_standard_output();
      std::ostream& to = t.to_standard_output() ? out : files_.emplace_back(t.file).stream();
      outputs_.push_back({t.format, &to, what.tracepoints});
    }
  }

  const std::vector<trace_output>& outputs() const { return outputs_; }
  bool use_standard_output() const { return uses_out_; }
  /// A disk or pipe does not take any more: the run need not go on.
  bool failed() const {
    return std::any_of(outputs_.begin(), outputs_.end(), [](const trace_output& o) { return !*o.to; });
  }
  /// Throws file_error if one could not be written; one that is known to be incomplete before any gets its name.
  void commit() {
    if (uses_out_ && !out_) throw file_error{"cannot write to standard output"};
    for (output_file& f : files_)
      if (!f.stream()) f.commit();
    for (output_file& f : files_) f.commit();
  }

 private:
  std::ostream& out_;
  std::vector<output_file> files_;
  std::vector<trace_output> outputs_;
  bool uses_out_ = false;
};

}  // namespace

int run_command(const options& what, const run_config& config, const catalogues& names,
                const output_directory* directory, std::ostream& out, std::ostream& err) {
  trace_outputs traces{what, out};
  execution_options how;
  how.stop = [&] { return interrupted() || traces.failed(); };
  how.names = names;
  how.traces = traces.outputs();

  const clock::time_point start = clock::now();
  run_result result;
  try {
    progress_line line{err};
    const double ns_per_cycle = 1e6 / static_cast<double>(tsc_khz_of(config));
    if (!what.quiet && isatty(STDERR_FILENO) != 0)
      how.progress = [&](double done, cycles now) { line.show(done, static_cast<double>(now.count()) * ns_per_cycle); };
    result = execute(config, how);
  } catch (const execution_interrupted&) {
    if (traces.failed()) traces.commit();  // says which, and why
    err << "vmxsys: interrupted; no file was written\n";
    return exit_interrupted;
  }
  const double wall = seconds_since(start);

  if (directory != nullptr) {
    directory->write("effective.json", to_json_text(config, names));
    directory->write("stats.json", to_json(result));
  }
  traces.commit();
  if (what.json) {
    out << to_json(result);
  } else {
    print_report(traces.use_standard_output() ? err : out, result);
  }
  if (!what.quiet) {
    char text[160];
    std::snprintf(text, sizeof text, "%.2f s of wall time: %.1f M events/s, %.2f simulated seconds a second\n", wall,
                  static_cast<double>(result.events) / wall / 1e6,
                  static_cast<double>(result.simulated_ns) / 1e9 / wall);
    err << text;
  }
  return exit_ok;
}

}  // namespace vmxsys::platform
