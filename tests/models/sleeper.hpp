#pragma once
#include <vector>

#include "kernel_rig.hpp"

// Threads that sleep and wake each other.
namespace vmxsys::models::testing {

/// A thread that sleeps until a flag is set, as often as the flag is.
struct sleeper {
  bool flag = false;
  unsigned wakes = 0;
  std::vector<cycles> woken_at;

  kernel_rig::body body(kernel_rig& r, cycles first = cycles{0}) {
    return [this, &r, first](thread& self) -> cpu::program {
      co_await until(first);
      for (;;) {
        co_await isa::cli();
        while (!flag) {
          r.k().prepare_to_sleep(self);
          if (flag) {
            r.k().cancel_sleep(self);
            break;
          }
          co_await r.k().schedule();
        }
        flag = false;
        ++wakes;
        woken_at.push_back(r.now());
        co_await isa::sti();
        co_await isa::compute(10 * us);
      }
    };
  }
};

/// Sets the flag and wakes the sleeper at a cycle.
inline kernel_rig::body waker(kernel_rig& r, sleeper& s, thread& t, std::vector<cycles> at,
                              std::vector<bool>* answers = nullptr) {
  return [&r, &s, &t, at, answers](thread&) -> cpu::program {
    for (const cycles when : at) {
      co_await until(when);
      s.flag = true;
      const bool woken = co_await r.k().wake_up(t);
      if (answers != nullptr) answers->push_back(woken);
    }
  };
}

}  // namespace vmxsys::models::testing
