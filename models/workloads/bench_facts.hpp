#pragma once
#include <boost/describe.hpp>
#include <cstdint>

#include <vmxsys/cpu/facts/fact.hpp>

// What microbenchmarks of a kernel state about themselves. The source is the CPU of that kernel; `on` is the CPU of the
// machine that it was being, so that what the hardware and a hypervisor did there can be put beside it.
namespace vmxsys::models {

enum class ipi_step : std::uint8_t {
  issued,    ///< by the sender: the next instruction sends
  left,      ///< by the sender: everything has been sent, it goes on
  entered,   ///< by a target: at the first instruction of its handler
  handled,   ///< by a target: its handler has done what it was asked to
  answered,  ///< by the sender, if it waits: all targets have
};

/// One step of one round of the workload `ipi`.
struct ipi_bench_fact {
  static constexpr const char* fact_name = "ipi_bench";
  std::uint16_t kernel;
  std::uint16_t cpu;
  std::uint16_t on;
  ipi_step step;
  std::uint64_t round;  ///< from 1
};
BOOST_DESCRIBE_STRUCT(ipi_bench_fact, (), (kernel, cpu, on, step, round))

enum class timer_step : std::uint8_t {
  arming,   ///< the next instruction arms the timer
  armed,    ///< it goes on
  entered,  ///< at the first instruction of the timer interrupt's handler
  expired,  ///< the kernel has found the timer due and runs it
};

/// One step of one round of the workload `timer`.
struct timer_bench_fact {
  static constexpr const char* fact_name = "timer_bench";
  std::uint16_t kernel;
  std::uint16_t cpu;
  std::uint16_t on;
  timer_step step;
  std::uint64_t round;  ///< from 1
  cycles due;
};
BOOST_DESCRIBE_STRUCT(timer_bench_fact, (), (kernel, cpu, on, step, round, due))

}  // namespace vmxsys::models
