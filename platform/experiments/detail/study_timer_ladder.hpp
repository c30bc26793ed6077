#pragma once
#include <iosfwd>
#include <string>
#include <vector>

#include <vmxsys/platform/machine/config.hpp>
#include <vmxsys/platform/observe/bench_timing.hpp>
#include <vmxsys/platform/run/options.hpp>
#include <vmxsys/platform/run/output_file.hpp>

namespace vmxsys::platform {

/// The study of timers: the same kernel arms the same TSC deadline on bare metal and with every backend a hypervisor
/// may use for it, while its CPU computes and while it is halted.
struct timer_rung {
  std::string name;
  std::string description;
  run_config config;  ///< computing
};

/// The rungs, in the order of the table.
std::vector<timer_rung> timer_rungs(const run_config& base);
/// The same with a CPU that halts while it waits.
run_config while_halted(const run_config& computing);

/// A published latency of the virtual timer, in cycles: kvm-unit-tests, tscdeadline_latency, on Skylake-SP. Its guest
/// halts, 200 000 cycles ahead of the deadline; whether a HLT exits there, and whether the host's CPU sleeps then, is
/// not told.
struct timer_publication {
  std::string name;
  double published = 0;
  run_config config;  ///< computing
};
std::vector<timer_publication> timer_publications(const run_config& base);

struct timer_rung_results {
  timer_timing_result computing, halted;
};
BOOST_DESCRIBE_STRUCT(timer_rung_results, (), (computing, halted))

struct timer_ladder_output {
  std::vector<timer_rung> rungs;
  std::vector<timer_rung_results> results;
  std::vector<timer_publication> publications;
  std::vector<timer_rung_results> publication_results;
  std::vector<std::string> missing;  ///< names of the runs that an interruption left out, with the rungs they are of
};

/// Runs one configuration with the workload `timer`; bare of SystemC where `bare`.
timer_timing_result run_timer(const run_config& config, bool bare = false);

/// What came out, in sentences made from the numbers.
std::vector<std::string> timer_ladder_findings(const timer_ladder_output& s);
/// The study as a picture (SVG): lateness and exits of each rung.
std::string timer_ladder_picture(const timer_ladder_output& s);

/// `vmxsys study timer_ladder`.
int study_timer_ladder(const options& what, const output_directory* directory, std::ostream& out, std::ostream& err);

}  // namespace vmxsys::platform
