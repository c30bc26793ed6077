#pragma once
// The picture of `perf sched map`: one line per context switch, one column per CPU, threads by two-letter names.
// Source: tools/perf/builtin-sched.c, v7.2 (v6.1 leaves out the highest CPU's column; that quirk is not reproduced).

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace vmxsys::models::trace {

/// Turns sched_switch events into lines, in the order of the calls.
class sched_map {
 public:
  /// `cpus` columns from the start; a higher CPU number adds columns when it appears.
  explicit sched_map(unsigned cpus) : running_(cpus) {}

  /// CPU `cpu` switches to a thread at `time` (ns); thread id 0 is the idle task. Returns the line without newline.
  std::string on_switch(unsigned cpu, int next_tid, std::string_view next_comm, std::uint64_t time);

 private:
  struct thread_record {
    std::string short_name;
    std::string comm;
  };
  std::string new_short_name();

  std::map<int, thread_record> threads_;
  std::vector<std::string> running_;  // short name by CPU, empty before its first switch
  char letter_ = 'A';
  char digit_ = '0';
};

}  // namespace vmxsys::models::trace
