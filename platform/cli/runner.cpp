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

}  // namespace

int run_command(const options& what, const run_config& config, const catalogues& names,
                const output_directory* directory, std::ostream& out, std::ostream& err) {
  output_files files;
  execution_options how;
  how.names = names;
  bool traced_to_out = false;
  for (const trace_request& t : what.traces) {
    traced_to_out |= t.to_standard_output();
    how.traces.push_back({t.format, t.to_standard_output() ? &out : &files.add(t.file), what.tracepoints});
  }

  how.stop = [&] { return interrupted() || (traced_to_out && !out); };

  const clock::time_point start = clock::now();
  run_result result;
  {
    progress_line line{err};
    const double ns_per_cycle = 1e6 / static_cast<double>(tsc_khz_of(config, names));
    if (!what.quiet && isatty(STDERR_FILENO) != 0)
      how.progress = [&](double done, cycles now) { line.show(done, static_cast<double>(now.count()) * ns_per_cycle); };
    result = execute(config, how);
  }
  if (traced_to_out && !out) throw file_error{"cannot write to standard output"};
  const double wall = seconds_since(start);

  if (directory != nullptr) {
    files.add(directory->path() / "effective.json", to_json_text(config, names));
    files.add(directory->path() / "stats.json", to_json(result));
  }
  files.commit();
  if (what.json) {
    out << to_json(result);
  } else {
    print_report(traced_to_out ? err : out, result);
  }
  out.flush();  // what is said about it comes after it
  if (!what.quiet) {
    char text[160];
    std::snprintf(text, sizeof text, "%.2f s of wall time: %.1f M events/s, %.2f simulated seconds a second\n", wall,
                  static_cast<double>(result.events) / wall / 1e6,
                  static_cast<double>(result.simulated_ns) / 1e9 / wall);
    err << text;
  }
  if (!result.partial) return exit_ok;
  err << "vmxsys: " << interruption(result) << '\n';
  return exit_interrupted;
}

}  // namespace vmxsys::platform
