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

void run_to(simulation& s, driver& d, cycles end, const execution_options& options) {
  constexpr double worth_telling = 1.0 / 256;
  const cycles millisecond{s.preset().tsc_khz};
  double told = 0;
  while (s.hardware().time().now() < end) {
    const cycles next = std::min(end, s.hardware().time().now() + millisecond);
    d.run_until(next);
    if (options.stop && options.stop()) throw execution_interrupted{};
    const double done = static_cast<double>(next.count()) / static_cast<double>(s.end().count());
    if (!options.progress || (done - told < worth_telling && next != end)) continue;
    told = done;
    options.progress(done, next);
  }
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
  if (s.measure_from() != cycles{0}) run_to(s, *d, s.measure_from(), options);
  statistics.begin();
  run_to(s, *d, s.end(), options);
  s.hardware().check_accounting();

  run_result result = statistics.finish();
  result.version = VMXSYS_VERSION;
  result.fact_hash = hexadecimal(hash.value());
  result.facts = hash.count();
  std::vector<config_error> warnings;
  collect_warnings(config, {}, warnings);
  for (const config_error& w : warnings) result.warnings.push_back({w.path, w.value, w.reason, w.message()});
  return result;
}

}  // namespace vmxsys::platform
