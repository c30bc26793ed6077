#pragma once
#include <boost/describe.hpp>
#include <string>
#include <vector>

#include "config.hpp"
#include "run_result.hpp"

namespace vmxsys::platform {

/// The study of excessive PAUSE-loop exiting: Ishiguro, "Mitigating Excessive Pause-Loop-Exiting in VM-Agnostic KVM",
/// KVM Forum 2021; Ishiguro et al., VEE '21. Two VMs of 8 vCPUs on 8 CPUs, one bound by a lock, one by computing, under
/// each of KVM's spin policies, with siblings stacked on one run queue or spread, and with a window that doubles or not.
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
std::vector<std::string> ple_storm_findings(const std::vector<ple_storm_case>& cases, const std::vector<run_result>& results);

/// What a vCPU's thread does for a while, for the picture.
struct lane_segment {
  std::string lane;      ///< the vCPU
  std::string state;     ///< "guest" or "host"; in between it is switched out
  double from_us = 0;    ///< since the beginning of the excerpt
  double to_us = 0;
};
BOOST_DESCRIBE_STRUCT(lane_segment, (), (lane, state, from_us, to_us))

/// A few rounds of a run of PAUSE exits.
struct ple_storm_excerpt {
  std::vector<std::string> lines;       ///< annotated trace
  std::vector<lane_segment> segments;   ///< of the spinner and of whoever shares its CPU
};
BOOST_DESCRIBE_STRUCT(ple_storm_excerpt, (), (lines, segments))

/// The first rounds of the longest run of `result`: re-runs `config`, which gives the same facts.
ple_storm_excerpt take_ple_storm_excerpt(const run_config& config, const run_result& result, unsigned rounds);

/// The study as a picture (SVG): who has the CPU during the excerpt, and the PLE exits of every case.
std::string ple_storm_picture(const std::vector<ple_storm_case>& cases, const std::vector<run_result>& results,
                              const ple_storm_excerpt& excerpt, std::size_t excerpt_of);

}  // namespace vmxsys::platform
