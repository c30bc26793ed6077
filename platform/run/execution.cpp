#include "execution.hpp"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include <vmxsys/cpu/facts/fact_hash.hpp>
#include <vmxsys/platform/machine/combinations.hpp>
#include <vmxsys/platform/machine/driver.hpp>
#include <vmxsys/platform/observe/run_statistics.hpp>

namespace vmxsys::platform {

namespace {

std::string hexadecimal(std::uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

/// The component of this name; where the list has none, with its defaults.
template <class Entry>
component<Entry> options_in(const std::vector<component<Entry>>& list, const std::string& name) {
  for (const component<Entry>& c : list)
    if (c.name == name) return c;
  return {name};
}

/// False if `options.stop` ended it; the present may have reached `end` all the same.
bool run_to(simulation& s, driver& d, cycles end, const execution_options& options) {
  constexpr double worth_telling = 1.0 / 256;
  const cycles millisecond{s.preset().tsc_khz};
  double told = 0;
  while (s.hardware().time().now() < end) {
    const cycles next = std::min(end, s.hardware().time().now() + millisecond);
    d.run_until(next);
    if (options.stop && options.stop()) return false;
    const double done = static_cast<double>(next.count()) / static_cast<double>(s.end().count());
    if (!options.progress || (done - told < worth_telling && next != end)) continue;
    told = done;
    options.progress(done, next);
  }
  return true;
}

}  // namespace

run_result execute(const run_config& config, const execution_options& options) {
  simulation s{config, options.names};
  cpu::fact_hash hash;
  run_statistics statistics{s};
  cpu::fact_bus& facts = s.hardware().facts();
  facts.attach(hash);
  facts.attach(statistics);
  std::vector<std::unique_ptr<trace_sink>> traces;
  for (const trace_output& t : options.traces) {
    const auto format = s.names().trace_formats.select(options_in(config.traces, t.format));
    traces.push_back(format.make(trace_environment{s.observed(), *t.to, t.tracepoints}));
    facts.attach(*traces.back());
  }
  if (options.observer != nullptr) facts.attach(*options.observer);

  const std::unique_ptr<driver> d = options.bare ? make_bare_driver(s) : make_driver(s);
  const bool go_on = run_to(s, *d, s.measure_from(), options);
  statistics.begin();
  for (const auto& t : traces) t->begin(s.measure_from());
  if (go_on) run_to(s, *d, s.end(), options);
  s.hardware().check_accounting();
  for (const auto& t : traces) t->finish(s.hardware().time().now());

  run_result result = statistics.finish();
  result.version = VMXSYS_VERSION;
  result.fact_hash = hexadecimal(hash.value());
  result.facts = hash.count();
  std::vector<config_error> warnings;
  collect_warnings(config, options.names, {}, warnings);
  for (const config_error& w : warnings) result.warnings.push_back({w.path, w.value, w.reason, w.message()});
  return result;
}

run_result execute_whole(const run_config& config, const execution_options& options) {
  run_result result = execute(config, options);
  if (result.partial) throw execution_interrupted{};
  return result;
}

}  // namespace vmxsys::platform
