#pragma once
#include <vmxsys/cpu/core/cpu_core.hpp>
#include <vmxsys/cpu/program/instruction.hpp>

#include "monitor_wait.hpp"
#include "spin_loop.hpp"

namespace vmxsys::cpu {

/// What a CPU may be interrupted in: a block of straight-line code, a spin loop, a wait.
class interruptible {
 public:
  interruptible(cpu_core& core, spin_loop& spin, monitor_wait& wait) : core_{core}, spin_{spin}, wait_{wait} {}

  /// Begins or resumes a block. `boundary`: something is recognised behind its first instruction. False: it was empty.
  bool begin_compute(instruction& i, bool boundary, cycles now) {
    if (i.a == 0) {
      core_.complete(i);
      return false;
    }
    core_.book(now);
    core_.activity = cpu_activity::computing;
    until_ = now + cycles{i.a};
    core_.time.arm(core_.step, boundary && i.a > 1 ? now + cycles{1} : until_, phase::read);
    return true;
  }
  /// The step slot fired in a block. False: only its first instruction is over.
  bool compute_over(cycles now) const { return now >= until_; }
  void end_compute(cycles now) {
    if (core_.in_guest) report_work(now);
    instruction& i = *core_.active->in_flight();
    i.a = 0;
    core_.complete(i);
  }
  /// A boundary before the end has come to nothing.
  void resume_compute() { core_.time.arm(core_.step, until_, phase::read); }

  /// Stops the activity so that another may begin; the instruction keeps what is left of it.
  void leave(cycles now);

 private:
  void report_work(cycles now);

  cpu_core& core_;
  spin_loop& spin_;
  monitor_wait& wait_;
  cycles until_{0};  // of a block
};

}  // namespace vmxsys::cpu
