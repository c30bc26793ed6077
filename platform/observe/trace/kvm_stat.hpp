#pragma once
// The exit table of `perf kvm stat`: pairs exits with entries and reports, per exit reason, how long the host took.
//
// The time of an exit runs from kvm_exit to the next kvm_entry of the same thread, so it includes the time a halted or
// yielding vCPU was off its CPU. Source: tools/perf/builtin-kvm.c and util/stat.c, v6.1 and v7.2.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "trace_format.hpp"

namespace vmxsys::models::trace {

/// Count, sum, extremes and spread of durations in ns.
class duration_statistics {
 public:
  void add(std::uint64_t ns) noexcept;
  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t total() const noexcept { return total_; }
  std::uint64_t min() const noexcept { return min_; }
  std::uint64_t max() const noexcept { return max_; }
  double mean() const noexcept { return mean_; }
  /// Standard error of the mean in percent of the mean; 0 for fewer than two samples.
  double relative_error_percent() const noexcept;

 private:
  std::uint64_t count_ = 0;
  std::uint64_t total_ = 0;
  std::uint64_t min_ = 0;
  std::uint64_t max_ = 0;
  double mean_ = 0;
  double squares_ = 0;  // sum of squared distances from the mean
};

/// Observes one trace. Threads are named by their id; times in ns, not decreasing per thread.
class kvm_stat {
 public:
  /// The first entry of a thread says which vCPU it is; exits before it are ignored.
  void on_entry(int thread, unsigned vcpu, std::uint64_t time);
  /// An exit that follows an exit replaces it.
  void on_exit(int thread, std::uint32_t reason, std::uint64_t time);

  struct row {
    std::uint32_t reason = 0;
    duration_statistics time;
  };
  /// Most samples first, equal ones by reason. Of one vCPU, or of all.
  std::vector<row> rows(std::optional<unsigned> vcpu = std::nullopt) const;

  /// The table as text. Names have 40 columns in v7_2, 20 before. Nothing recorded: a table without rows.
  std::string report(trace_version version, std::optional<unsigned> vcpu = std::nullopt) const;

 private:
  struct pending_exit {
    std::uint32_t reason;
    std::uint64_t since;
  };
  struct thread_record {
    unsigned vcpu = 0;
    std::optional<pending_exit> pending;
  };
  std::map<int, thread_record> threads_;
  std::map<unsigned, std::map<std::uint32_t, duration_statistics>> by_vcpu_;
  std::map<std::uint32_t, duration_statistics> all_;
};

/// One row of the table with its newline; `all_count` and `all_time` are the table's totals.
std::string kvm_stat_row(trace_version version, const kvm_stat::row& row, std::uint64_t all_count,
                         std::uint64_t all_time);

}  // namespace vmxsys::models::trace
