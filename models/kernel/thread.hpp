#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <vmxsys/cpu/program/strand.hpp>
#include <vmxsys/models/schedulers/scheduler.hpp>
#include <vmxsys/models/schedulers/select_task_rq.hpp>

namespace vmxsys::models {

class thread;

/// Told when a thread leaves and takes a CPU, as Linux's preempt notifiers are (include/linux/preempt.h). Both run on
/// the CPU concerned: `sched_out` with the run-queue lock held, `sched_in` after it was released.
class switch_notifier {
 public:
  virtual ~switch_notifier() = default;
  virtual cpu::program sched_out(thread& self) = 0;
  virtual cpu::program sched_in(thread& self) = 0;
};

enum class thread_state : std::uint8_t { runnable, sleeping };

/// A kernel's thread: a strand with what scheduling needs.
class thread {
 public:
  thread(cpu::name_space& names, std::string name, std::uint32_t number)
      : pid{number}, strand{names, std::move(name)} {}

  const std::string& name() const { return strand.name(); }
  bool idle() const { return entity == nullptr; }

  std::uint32_t pid;
  thread_state state = thread_state::runnable;
  bool on_cpu = false;                 ///< executes, or has not quite been switched away from
  bool preempted = false;              ///< its last switch-out was asked for from outside
  std::uint32_t address_space = 0;     ///< threads of one process share it; 0: the kernel's
  bool extended_state = false;         ///< has FPU state worth saving
  bool extended_state_loaded = false;  ///< and it is in the registers of its CPU
  switch_notifier* notifier = nullptr;
  wakee_flips flips;                          ///< how often it wakes different threads
  std::unique_ptr<sched_entity> entity;       ///< none for idle threads
  std::function<cpu::program(thread&)> body;  ///< what it does; its program names what the function holds
  cpu::strand strand;
};

}  // namespace vmxsys::models
