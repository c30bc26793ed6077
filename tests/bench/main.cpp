// main() of the benchmarks; see tests/main.cpp for why it is an object file here and why sc_main stands beside it.
#include <benchmark/benchmark.h>

extern "C" int sc_main(int, char**) { return 1; }

BENCHMARK_MAIN();
