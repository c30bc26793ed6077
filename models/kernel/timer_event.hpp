#pragma once
#include <cstdint>

#include <vmxsys/cpu/program/program.hpp>
#include <vmxsys/vmx/base/cycles.hpp>

namespace vmxsys::models {

/// Something due on one CPU at a cycle; runs in the timer interrupt of that CPU, interrupts off. Re-armed freely.
class timer_event {
 public:
  virtual ~timer_event() = default;
  virtual cpu::program expire() = 0;

  bool armed() const { return due_ != cycles::never(); }
  cycles due() const { return due_; }
  /// The CPU on which it was armed last.
  unsigned cpu() const { return cpu_; }

 private:
  friend class kernel;
  cycles due_ = cycles::never();
  unsigned cpu_ = 0;
  std::uint64_t number_ = 0;  // timers due together expire in the order in which they were first armed
};

}  // namespace vmxsys::models
