#pragma once
#include <boost/describe.hpp>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vmxsys/platform/machine/config.hpp>
#include <vmxsys/platform/observe/run_result.hpp>
#include <vmxsys/platform/run/options.hpp>
#include <vmxsys/platform/run/output_file.hpp>

namespace vmxsys::platform {

/// The study of excessive PAUSE-loop exiting: Ishiguro, "Mitigating Excessive Pause-Loop-Exiting in VM-Agnostic KVM",
/// KVM Forum 2021; Ishiguro et al., VEE '21. Two VMs of 8 vCPUs on 8 CPUs, one bound by a lock, one by computing, under
/// each of KVM's spin policies, with siblings stacked on one run queue or spread, and with a window that doubles or
/// not.
struct ple_storm_case {
  std::string placement;
  std::uint32_t grow;
  std::string policy;
  run_config config;
};

/// The cases, in the order of the table. `base` is the shipped configuration with the user's overrides.
std::vector<ple_storm_case> ple_storm_cases(const run_config& base);

/// The shipped configuration, examples/01_ple_storm/ple_storm.json, as text.
std::string_view ple_storm_configuration();

/// What happened and why, in sentences made from the numbers.
std::vector<std::string> ple_storm_findings(const std::vector<ple_storm_case>& cases,
                                            const std::vector<run_result>& results);

/// What a vCPU's thread does for a while, for the picture.
struct lane_segment {
  std::string lane;    ///< the vCPU
  std::string state;   ///< "guest" or "host"; in between it is switched out
  double from_us = 0;  ///< since the beginning of the excerpt
  double to_us = 0;
};
BOOST_DESCRIBE_STRUCT(lane_segment, (), (lane, state, from_us, to_us))

/// A few rounds of a run of PAUSE exits.
struct ple_storm_excerpt {
  std::vector<std::string> lines;      ///< annotated trace
  std::vector<lane_segment> segments;  ///< of the spinner and of the threads that share its CPU
};
BOOST_DESCRIBE_STRUCT(ple_storm_excerpt, (), (lines, segments))

/// The case whose longest run is worth an excerpt: the longest with a doubling window, else of all; none if no vCPU
/// took a PLE exit.
std::optional<std::size_t> ple_storm_excerpt_of(const std::vector<ple_storm_case>& cases,
                                                const std::vector<run_result>& results);

/// Means of a run's PAUSE exits as a tracer sees them, so that they can stand beside a published trace.
struct traced_means {
  std::uint64_t exit_to_entry_ns = 0;  ///< kvm_exit to kvm_entry
  std::uint64_t entry_to_exit_ns = 0;  ///< the guest's slice with the hardware's part of entry and exit
  std::uint64_t period_ns = 0;
};
BOOST_DESCRIBE_STRUCT(traced_means, (), (exit_to_entry_ns, entry_to_exit_ns, period_ns))
std::optional<traced_means> traced_means_of(const run_result& result);

/// The first rounds of the longest run of `result`: re-runs `config`, which gives the same facts.
ple_storm_excerpt take_ple_storm_excerpt(const run_config& config, const run_result& result, unsigned rounds);

/// The study as a picture (SVG): who has the CPU during the excerpt, if there is one, and the PLE exits of every case.
std::string ple_storm_picture(const std::vector<ple_storm_case>& cases, const std::vector<run_result>& results,
                              const ple_storm_excerpt& excerpt, std::optional<std::size_t> excerpt_of);

/// `vmxsys study ple_storm`.
int study_ple_storm(const options& what, const output_directory* directory, std::ostream& out, std::ostream& err);

}  // namespace vmxsys::platform
