#pragma once
#include <vmxsys/cpu/program/program.hpp>

namespace vmxsys::models {

class kernel;

/// What a kernel does on a CPU that has nothing to run: halt, poll, wait with MWAIT. One object per kernel, for all of
/// its CPUs.
class idle_driver {
 public:
  virtual ~idle_driver() = default;
  /// Called by CPU `cpu` of `on`, in its idle thread, with interrupts off, again and again while kernel::need_resched
  /// is clear. Returns with interrupts off, and soon after need_resched is set: by an interrupt's handler on this CPU,
  /// or by another CPU, which then sends a reschedule interrupt. What it needs of the kernel: stop_tick, begin_idle and
  /// end_idle, costs, need_resched.
  virtual cpu::program idle(kernel& on, unsigned cpu) = 0;
};

}  // namespace vmxsys::models
