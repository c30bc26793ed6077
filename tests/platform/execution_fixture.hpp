#pragma once
#include <gtest/gtest.h>
#include <string>
#include <utility>
#include <vector>

#include <vmxsys/platform/experiments/detail/study_ple_storm.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/platform/run/execution.hpp>

namespace vmxsys::platform::testing {

/// The study's configuration, short: the guests are up after some 20 ms.
inline run_config short_study(const std::vector<std::string>& more = {}) {
  std::vector<std::string> overrides{"until=60ms", "measure_from=20ms"};
  overrides.insert(overrides.end(), more.begin(), more.end());
  const loaded_config c = load_config_text(ple_storm_configuration(), overrides, "ple_storm.json");
  EXPECT_TRUE(c.ok()) << c.report();
  return c.config;
}

/// 2 GHz. vCPU threads are 1 and 2 of "db", 3 and 4 of "web".
inline run_config two_vms() {
  const loaded_config c = load_config_text(R"({"machine": {"preset": "flat", "cores": 2}, "vms": [
      {"name": "db", "vcpus": 2}, {"name": "web", "vcpus": 2}]})");
  EXPECT_TRUE(c.ok()) << c.report();
  return c.config;
}

inline run_result run_bare(const run_config& config, cpu::fact_observer* observer = nullptr,
                           std::vector<trace_output> traces = {}) {
  execution_options how;
  how.bare = true;
  how.observer = observer;
  how.traces = std::move(traces);
  return execute(config, how);
}

/// All that a run says but how much work the engine had with it.
inline std::string document(run_result r) {
  r.events = 0;
  return to_json(r);
}

}  // namespace vmxsys::platform::testing
