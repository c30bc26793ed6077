#pragma once
#include <cstdint>

namespace vmxsys::cpu {

/// What a CPU's time is spent on. Time in root and in non-root operation is kept apart, so `user` is a guest's user
/// mode in non-root operation and the host's in root operation. The innermost code location decides, but for the
/// hardware's own steps.
enum class bucket : std::uint8_t {
  user,           // user-mode work
  kernel,         // kernel work that is none of the following
  scheduler,      // run queues, picking, context switches, load balancing
  interrupt,      // interrupt entry, exit and handlers
  spin,           // waiting in a spin loop while the awaited strand is on a CPU
  spin_futile,    // waiting in a spin loop while it is on none
  tracing,        // enabled tracepoints
  exit_handling,  // a hypervisor's dispatch of exits and preparation of entries
  handle_pause,   // its handlers, one by one
  handle_msr,
  handle_hlt,
  handle_cpuid,
  handle_hypercall,
  handle_interrupt,
  handle_timer,
  vcpu_switch,    // vcpu_put and vcpu_load, extended state
  idle,           // halted, or entering and leaving the halted state
  vm_exit,        // the hardware's exit
  vm_entry,       // the hardware's entry
  wait_for_sipi,  // not started yet
  count_
};

const char* bucket_name(bucket b);

/// A place in the code of a modelled program: what a profiler would show and what RIP holds there. Declared once per
/// program or per spin site with `constexpr`, never derived from source lines, so edits do not move it.
struct code_location {
  const char* symbol;
  std::uint64_t base;    ///< linear address of the symbol
  std::uint32_t offset;  ///< of this place from `base`
  std::uint8_t cpl;      ///< current privilege level, 0 or 3
  bucket account;

  constexpr std::uint64_t rip() const { return base + offset; }
};

}  // namespace vmxsys::cpu
