#include "sched_map.hpp"

#include <cinttypes>
#include <cstdio>

namespace vmxsys::models::trace {
namespace {

std::string timestamp(std::uint64_t time) {
  char seconds[32];
  char text[48];
  const std::uint64_t microseconds = time / 1000;
  std::snprintf(seconds, sizeof seconds, "%" PRIu64 ".%06" PRIu64, microseconds / 1'000'000, microseconds % 1'000'000);
  std::snprintf(text, sizeof text, "  %12s secs ", seconds);
  return text;
}

}  // namespace

std::string sched_map::new_short_name() {
  const std::string name{letter_, digit_};
  if (letter_ < 'Z') {
    ++letter_;
  } else {
    letter_ = 'A';
    digit_ = digit_ < '9' ? static_cast<char>(digit_ + 1) : '0';
  }
  return name;
}

std::string sched_map::on_switch(unsigned cpu, int next_tid, std::string_view next_comm, std::uint64_t time) {
  const std::string comm(next_tid == 0 ? std::string_view("swapper") : next_comm);
  auto [thread, is_new] = threads_.try_emplace(next_tid);
  if (is_new) thread->second.short_name = next_tid == 0 ? ". " : new_short_name();
  const bool announce = is_new || thread->second.comm != comm;
  thread->second.comm = comm;

  if (cpu >= running_.size()) running_.resize(cpu + 1);
  running_[cpu] = thread->second.short_name;

  std::string line = "  ";
  for (unsigned column = 0; column < running_.size(); ++column) {
    line += column == cpu ? '*' : ' ';
    line += running_[column].empty() ? "   " : running_[column] + " ";
  }
  line += timestamp(time);
  if (announce) line += thread->second.short_name + " => " + comm + ":" + std::to_string(next_tid);
  return line;
}

}  // namespace vmxsys::models::trace
