// main() of the benchmarks; see tests/main.cpp for why it is an object file here and why sc_main stands beside it.
// Fails when a figure misses its bound, so that the ratios can be a test.
#include <benchmark/benchmark.h>

extern "C" int sc_main(int, char**) { return 1; }

namespace {

class checking_reporter final : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) missed_ = missed_ || run.error_occurred;
    ConsoleReporter::ReportRuns(runs);
  }
  bool missed() const { return missed_; }

 private:
  bool missed_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  checking_reporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  return reporter.missed() ? 1 : 0;
}
