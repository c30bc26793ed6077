#include "interruption.hpp"

#include <atomic>
#include <csignal>

namespace vmxsys::platform {

namespace {

std::atomic<bool> interrupt_seen{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

extern "C" void vmxsys_note_interrupt(int signal) {
  interrupt_seen.store(true, std::memory_order_relaxed);
  std::signal(signal, SIG_DFL);  // the second one ends the process
}

}  // namespace

bool interrupted() noexcept { return interrupt_seen.load(std::memory_order_relaxed); }

void catch_interrupts() {
  std::signal(SIGINT, vmxsys_note_interrupt);
  std::signal(SIGTERM, vmxsys_note_interrupt);
}

}  // namespace vmxsys::platform
