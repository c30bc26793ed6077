#pragma once
#include <vmxsys/vmx/vmcs/event.hpp>

#include "rig.hpp"

// What tests of VM entries and exits share: the cycles of one in `bare_config`, and what hypervisors of tests do.
namespace vmxsys::cpu::testing {

inline constexpr std::uint64_t exit_cost = 40 + 110 + 90 + 8;
inline constexpr std::uint64_t entry_cost = 50 + 40 + 50 + 100 + 8;
inline constexpr std::uint64_t inject_cost = 60;
inline constexpr std::uint64_t wake_latency = 4600;
inline constexpr std::uint64_t interrupt_flag = vmx::rflags_bits::interrupt_flag;
inline constexpr std::uint64_t interrupts_off = vmx::rflags_bits::one, interrupts_on = interrupts_off | interrupt_flag;

/// Interruption information, of an exit as of an entry: SDM Vol. 3C §27.8.3.
constexpr std::uint64_t information_of(vmx::event_type type, std::uint8_t vector) {
  return vmx::encode({vector, type, false, false, false, true});
}
inline constexpr std::uint8_t injected_vector = 0x61;
inline constexpr std::uint64_t injected_interrupt =
    information_of(vmx::event_type::external_interrupt, injected_vector);
inline constexpr std::uint64_t injected_ud = information_of(vmx::event_type::hardware_exception, 6);
inline constexpr std::uint64_t an_nmi = information_of(vmx::event_type::nmi, 2);

/// The values of the field "guest activity state".
namespace activity {
constexpr std::uint64_t number(vmx::activity_state s) { return static_cast<std::uint64_t>(s); }
inline constexpr std::uint64_t active = number(vmx::activity_state::active), hlt = number(vmx::activity_state::hlt),
                               shutdown = number(vmx::activity_state::shutdown),
                               wait_for_sipi = number(vmx::activity_state::wait_for_sipi);
}  // namespace activity

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
