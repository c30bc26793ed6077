#pragma once
#include <boost/describe.hpp>
#include <cstdint>

#include <vmxsys/cpu/facts/fact.hpp>

// The facts that a kernel records. Each CPU of a kernel is a source of its own.
namespace vmxsys::models {

/// A context switch, as the sched_switch tracepoint has it. `state`: 'R' runnable, 'P' preempted (R+), 'S' sleeping.
struct sched_switch_fact {
  static constexpr const char* fact_name = "sched_switch";
  std::uint16_t kernel;
  std::uint16_t cpu;
  std::uint32_t prev_pid;
  std::uint32_t next_pid;
  char prev_state;
};
BOOST_DESCRIBE_STRUCT(sched_switch_fact, (), (kernel, cpu, prev_pid, next_pid, prev_state))

struct sched_wakeup_fact {
  static constexpr const char* fact_name = "sched_wakeup";
  std::uint16_t kernel;
  std::uint16_t target_cpu;
  std::uint32_t pid;
};
BOOST_DESCRIBE_STRUCT(sched_wakeup_fact, (), (kernel, target_cpu, pid))

struct sched_migrate_fact {
  static constexpr const char* fact_name = "sched_migrate_task";
  std::uint16_t kernel;
  std::uint32_t pid;
  std::uint16_t from;
  std::uint16_t to;
};
BOOST_DESCRIBE_STRUCT(sched_migrate_fact, (), (kernel, pid, from, to))

/// A directed yield and what became of it; `outcome` is a yield_to_outcome. `cpu` is the caller's, `target_cpu` the one
/// whose run queue the target belongs to.
struct yield_to_fact {
  static constexpr const char* fact_name = "yield_to";
  std::uint16_t kernel;
  std::uint16_t cpu;
  std::uint32_t pid;
  std::uint32_t target_pid;
  std::uint16_t target_cpu;
  std::uint8_t outcome;
};
BOOST_DESCRIBE_STRUCT(yield_to_fact, (), (kernel, cpu, pid, target_pid, target_cpu, outcome))

/// One unit of a workload's work was done.
struct work_fact {
  static constexpr const char* fact_name = "work";
  std::uint16_t kernel;
  std::uint16_t cpu;
  std::uint32_t pid;
  std::uint64_t units;
};
BOOST_DESCRIBE_STRUCT(work_fact, (), (kernel, cpu, pid, units))

}  // namespace vmxsys::models
