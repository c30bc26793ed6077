#pragma once
// A machine made of plain vectors, for tests of choosing a CPU and of balancing.

#include <vector>

#include <vmxsys/models/schedulers/select_task_rq.hpp>

namespace vmxsys::models {

class machine_double : public machine_view {
 public:
  // CPUs of one cache and of one core are neighbours.
  machine_double(unsigned cpus, unsigned llc_size, unsigned threads = 1)
      : running(cpus, 1), loads(cpus, 1024), capacities(cpus, 1024), llc(llc_size), smt(threads) {}

  unsigned cpu_count() const override { return static_cast<unsigned>(running.size()); }
  bool idle(unsigned cpu) const override { return running[cpu] == 0; }
  unsigned nr_running(unsigned cpu) const override { return running[cpu]; }
  std::uint64_t load(unsigned cpu) const override { return loads[cpu]; }
  std::uint64_t capacity(unsigned cpu) const override { return capacities[cpu]; }
  bool shares_cache(unsigned a, unsigned b) const override { return a / llc == b / llc; }
  bool shares_core(unsigned a, unsigned b) const override { return a / smt == b / smt; }
  bool idle_core_hint(unsigned) const override { return hint; }

  std::vector<unsigned> running;
  std::vector<std::uint64_t> loads;
  std::vector<std::uint64_t> capacities;
  unsigned llc;
  unsigned smt;
  bool hint = false;
};

}  // namespace vmxsys::models
