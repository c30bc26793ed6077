#pragma once
#include "rig.hpp"

// What tests of VM entries and exits share: the cycles of one in `bare_config`, and what hypervisors of tests do.
namespace vmxsys::cpu::testing {

inline constexpr std::uint64_t exit_cost = 40 + 110 + 90 + 8;
inline constexpr std::uint64_t entry_cost = 50 + 40 + 50 + 100 + 8;
inline constexpr std::uint64_t inject_cost = 60;
inline constexpr std::uint64_t wake_latency = 4600;
inline constexpr std::uint64_t interrupt_flag = vmx::rflags_bits::interrupt_flag;

/// Moves the guest's RIP behind the instruction that exited.
inline program skip(const vmx::exit_info& exit) {
  const std::uint64_t rip = co_await isa::vmread(vmx::field::guest_rip);
  co_await isa::vmwrite(vmx::field::guest_rip, rip + exit.instruction_length);
}

struct guest_state {
  std::uint64_t rip, rflags, interruptibility, activity;
};
inline guest_state state_of(vmx_rig& r) {
  using vmx::field;
  return {r.field(field::guest_rip), r.field(field::guest_rflags), r.field(field::guest_interruptibility_state),
          r.field(field::guest_activity_state)};
}

}  // namespace vmxsys::cpu::testing
