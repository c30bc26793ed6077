#pragma once
#include <algorithm>
#include <benchmark/benchmark.h>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

// Ratios that must hold. A machine's speed drifts, so both sides of a ratio run in turn in one process and the median
// of the pairs counts; absolute times are information only.
namespace vmxsys::bench {

/// Processor time of this process, which other load on the machine disturbs less than the wall clock.
template <class F>
double seconds(F&& work) {
  const std::clock_t start = std::clock();
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

/// Median of time(slow) / time(fast) over `pairs` pairs, each normalised to what it did.
template <class Slow, class Fast>
double median_ratio(unsigned pairs, Slow&& slow, Fast&& fast) {
  std::vector<double> ratios;
  for (unsigned i = 0; i < pairs; ++i) {
    const double s = slow();
    ratios.push_back(s / fast());
  }
  std::nth_element(ratios.begin(), ratios.begin() + ratios.size() / 2, ratios.end());
  return ratios[ratios.size() / 2];
}

/// States a figure and the bound that it must keep; main() fails if it does not.
inline void at_least(benchmark::State& state, double value, double bound) {
  state.counters["figure"] = value;
  state.counters["at_least"] = bound;
  if (value < bound)
    state.SkipWithError((std::to_string(value) + " is below its bound " + std::to_string(bound)).c_str());
}
inline void at_most(benchmark::State& state, double value, double bound) {
  state.counters["figure"] = value;
  state.counters["at_most"] = bound;
  if (value > bound)
    state.SkipWithError((std::to_string(value) + " is above its bound " + std::to_string(bound)).c_str());
}

}  // namespace vmxsys::bench
