#pragma once
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include <vmxsys/platform/machine/config.hpp>
#include <vmxsys/platform/observe/run_result.hpp>
#include <vmxsys/platform/run/options.hpp>
#include <vmxsys/platform/run/output_file.hpp>

namespace vmxsys::platform {

/// The study of spin detectors: every detector of the catalogue watches the same runs without acting, and each wait of
/// a guest is one decision, held against the truth. Six workloads say how good a detector is; two sweeps show the
/// hazard of PAUSE-loop exiting on processors with a slow PAUSE: with PLE_Gap below the time from one PAUSE to the next
/// it sees nothing.
struct detector_case {
  std::string name;
  std::string description;
  run_config config;
};

/// The workloads, in the order of the table.
std::vector<detector_case> detector_cases(const run_config& base);

/// One run with PAUSE-loop detectors of many gaps, at the core clock of the TSC, where a PAUSE of Skylake-SP takes 140
/// cycles.
detector_case gap_sweep(const run_config& base);
/// Runs with KVM's default gap at core clocks of 100 % of the TSC and more: the same PAUSE, fewer cycles of the TSC.
std::vector<detector_case> clock_sweep(const run_config& base);

/// A detector's score over several runs.
detector_row pooled(const std::vector<detector_row>& rows);

/// A point of a sweep: PLE's recall.
struct sweep_point {
  double x = 0;             ///< PLE_Gap in cycles, or the core clock in percent of the TSC's
  std::uint64_t pause = 0;  ///< latency of PAUSE in TSC cycles
  std::optional<double> recall;
};
BOOST_DESCRIBE_STRUCT(sweep_point, (), (x, pause, recall))

struct detectors_output {
  std::vector<detector_case> cases;
  std::vector<run_result> results;
  std::vector<sweep_point> gaps;
  std::vector<sweep_point> clocks;
  std::vector<std::string> missing;  ///< names of the runs that an interruption left out
  std::size_t runs = 0;              ///< of the whole study
};

/// What came out, in sentences made from the numbers.
std::vector<std::string> detector_findings(const detectors_output& s);

/// The study as a picture (SVG): recall and false alarms by detector and workload, and both sweeps.
std::string detectors_picture(const detectors_output& s);

/// `vmxsys study detectors`.
int study_detectors(const options& what, const output_directory* directory, std::ostream& out, std::ostream& err);

}  // namespace vmxsys::platform
