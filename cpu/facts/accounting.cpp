#include "accounting.hpp"

namespace vmxsys::cpu {

const char* bucket_name(bucket b) {
  constexpr const char* names[] = {
      "user",        "kernel",       "scheduler",        "interrupt",        "spin",
      "spin futile", "tracing",      "exit handling",    "handle pause",     "handle msr",
      "handle hlt",  "handle cpuid", "handle hypercall", "handle interrupt", "handle timer",
      "vcpu switch", "idle",         "vm exit",          "vm entry",         "wait for SIPI"};
  static_assert(std::size(names) == accounting::buckets);
  return names[static_cast<std::size_t>(b)];
}

cycles accounting::sum() const {
  cycles all{0};
  for (const auto& row : totals_)
    for (cycles c : row) all += c;
  return all;
}

void accounting::check(cycles elapsed, unsigned cpu) const {
  if (since_ != elapsed)
    throw invariant_error("accounting of CPU " + std::to_string(cpu) + " reaches to cycle " +
                              std::to_string(since_.count()) + ", not to the end of the run",
                          elapsed);
  if (sum() != elapsed)
    throw invariant_error("accounting of CPU " + std::to_string(cpu) + " does not close: buckets hold " +
                              std::to_string(sum().count()) + " cycles of " + std::to_string(elapsed.count()),
                          elapsed);
}

}  // namespace vmxsys::cpu
