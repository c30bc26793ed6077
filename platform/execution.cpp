#include "execution.hpp"

#include <algorithm>
#include <cstdio>

#include <vmxsys/cpu/fact_hash.hpp>

#include "driver.hpp"
#include "kvm_trace.hpp"
#include "run_statistics.hpp"

namespace vmxsys::platform {

namespace {

std::string hexadecimal(std::uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
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
  simulation s{config, options.make_policy};
  cpu::fact_hash hash;
  run_statistics statistics{s};
  cpu::fact_bus& facts = s.hardware().facts();
  facts.attach(hash);
  facts.attach(statistics);
  std::optional<kvm_trace> trace;
  if (options.kvm_trace != nullptr) facts.attach(trace.emplace(s, *options.kvm_trace));
  if (options.observer != nullptr) facts.attach(*options.observer);

  const std::unique_ptr<driver> d = options.bare ? make_bare_driver(s) : make_driver(s);
  const bool go_on = run_to(s, *d, s.measure_from(), options);
  statistics.begin();
  if (go_on) run_to(s, *d, s.end(), options);
  s.hardware().check_accounting();

  run_result result = statistics.finish();
  result.version = VMXSYS_VERSION;
  result.fact_hash = hexadecimal(hash.value());
  result.facts = hash.count();
  return result;
}

run_result execute_whole(const run_config& config, const execution_options& options) {
  run_result result = execute(config, options);
  if (result.partial) throw execution_interrupted{};
  return result;
}

}  // namespace vmxsys::platform
