#pragma once
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include <vmxsys/platform/machine/config.hpp>
#include <vmxsys/platform/observe/bench_timing.hpp>
#include <vmxsys/platform/run/options.hpp>
#include <vmxsys/platform/run/output_file.hpp>

namespace vmxsys::platform {

/// The study of interprocessor interrupts: the same kernel sends the same interrupt on bare metal and through every
/// generation of virtualized interrupts. A rung is one way to get an interrupt across; each is climbed with one target,
/// with many, and with all others by shorthand.
enum class ipi_fan { unicast, multicast, broadcast };

struct ipi_rung {
  std::string name;
  std::string description;
  run_config config;  ///< of the unicast
};

/// The rungs, in the order of the table.
std::vector<ipi_rung> ipi_rungs(const run_config& base);
/// The same rung with other targets.
/// How many CPUs the workload of a case interrupts.
std::uint64_t targets_of(const run_config& config);
run_config with_fan(const run_config& unicast, ipi_fan fan);

/// Synchronous calls in a virtual machine of 80 vCPUs on Skylake-SP, as they were measured for KVM's paravirtual IPIs.
struct ipi_call_case {
  std::string name;                 ///< of the APIC driver
  bool all = false;                 ///< call all 79 others, else one
  double published_latency_ns = 0;  ///< to the handler; 0: not published
  double published_total_ns = 0;    ///< until the caller goes on
  run_config config;
};
std::vector<ipi_call_case> ipi_call_cases(const run_config& base);

struct ipi_rung_results {
  ipi_timing_result unicast, multicast, broadcast;
};
BOOST_DESCRIBE_STRUCT(ipi_rung_results, (), (unicast, multicast, broadcast))

/// Whether exits of the sender and of the receiver cost what they cost alone when both happen.
struct ipi_additivity {
  double neither = 0, sender = 0, receiver = 0, both = 0;  ///< median latency, TSC cycles
  double predicted = 0;                                    ///< sender + receiver - neither
  double error = 0;                                        ///< share of `both` by which the prediction is off
};
BOOST_DESCRIBE_STRUCT(ipi_additivity, (), (neither, sender, receiver, both, predicted, error))

struct ipi_ladder_output {
  std::vector<ipi_rung> rungs;
  std::vector<ipi_rung_results> results;
  std::vector<ipi_call_case> calls;
  std::vector<ipi_timing_result> call_results;
  std::vector<std::string> missing;  ///< names of the runs that an interruption left out, with the rungs they are of
  /// None while a rung it needs is missing.
  std::optional<ipi_additivity> additivity() const;
};

/// Runs one configuration with the workload `ipi`; bare of SystemC where `bare`.
ipi_timing_result run_ipi(const run_config& config, bool bare = false);

/// What came out, in sentences made from the numbers.
std::vector<std::string> ipi_ladder_findings(const ipi_ladder_output& s);
/// The study as a picture (SVG): the parts of the latency of each rung, and its exits.
std::string ipi_ladder_picture(const ipi_ladder_output& s);

/// `vmxsys study ipi_ladder`.
int study_ipi_ladder(const options& what, const output_directory* directory, std::ostream& out, std::ostream& err);

}  // namespace vmxsys::platform
