#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/vmcs/event.hpp>

namespace vmxsys::vmx {

// The life of blocking by STI and by MOV SS (bits 0 and 1 of the interruptibility state): for one instruction. SDM
// Vol. 3A §6.8.1, §6.8.3; Vol. 3C §27.4.2, §29.7.1. NMI blocking and IRET: `nmi.hpp`.

/// What may cast or end a shadow.
enum class interrupt_shadow_step : std::uint8_t {
  sti_sets_if,          ///< STI with RFLAGS.IF = 0 before
  sti_changes_nothing,  ///< STI with RFLAGS.IF = 1 before
  mov_ss,               ///< MOV SS or POP SS
  consecutive_mov_ss,   ///< the same directly after another one
  hlt,                  ///< enters the HLT state (or MWAIT, TPAUSE, UMWAIT their waits)
  instruction,          ///< any other one that retires
  event_delivery,       ///< interrupt, NMI or exception, injected ones too
  exiting_instruction,  ///< a fault-like VM exit: the shadow is saved as it is
};

/// What it makes of the two bits. `kept`: as before.
enum class interrupt_shadow_after : std::uint8_t { none, sti, mov_ss, kept };

struct interrupt_shadow_rule {
  interrupt_shadow_step step;
  const char* name;
  const char* section;
  interrupt_shadow_after after;
};

inline constexpr std::array<interrupt_shadow_rule, 8> interrupt_shadow_table{{
    {interrupt_shadow_step::sti_sets_if, "STI that sets IF", "Vol. 3A §6.8.1", interrupt_shadow_after::sti},
    {interrupt_shadow_step::sti_changes_nothing, "STI with IF already 1", "Vol. 3A §6.8.1",
     interrupt_shadow_after::none},
    {interrupt_shadow_step::mov_ss, "MOV SS or POP SS", "Vol. 3A §6.8.3", interrupt_shadow_after::mov_ss},
    // Of a sequence only the first is sure to block: a switch.
    {interrupt_shadow_step::consecutive_mov_ss, "MOV SS directly after MOV SS", "Vol. 3A §6.8.3",
     interrupt_shadow_after::none},
    {interrupt_shadow_step::hlt, "HLT and the waiting instructions", "Vol. 3C §27.4.2", interrupt_shadow_after::none},
    {interrupt_shadow_step::instruction, "any other instruction", "Vol. 3A §6.8.1", interrupt_shadow_after::none},
    {interrupt_shadow_step::event_delivery, "delivery of an event", "Vol. 3C §29.7.1", interrupt_shadow_after::none},
    {interrupt_shadow_step::exiting_instruction, "instruction that exits", "Vol. 3C §30.3.4",
     interrupt_shadow_after::kept},
}};

/// The interruptibility state after a step; only bits 1:0 change. `every_mov_ss_blocks`: also each further one of a
/// sequence of MOV SS.
constexpr std::uint32_t interruptibility_after(std::uint32_t before, interrupt_shadow_step step,
                                               bool every_mov_ss_blocks = false) noexcept {
  constexpr std::uint32_t both = interruptibility::sti | interruptibility::mov_ss;
  if (step == interrupt_shadow_step::mov_ss && (before & interruptibility::mov_ss) != 0)
    step = interrupt_shadow_step::consecutive_mov_ss;
  if (step == interrupt_shadow_step::consecutive_mov_ss && every_mov_ss_blocks) step = interrupt_shadow_step::mov_ss;
  const std::uint32_t cleared = before & ~both;
  switch (interrupt_shadow_table[static_cast<std::size_t>(step)].after) {
    case interrupt_shadow_after::kept:
      return before;
    case interrupt_shadow_after::sti:
      return cleared | interruptibility::sti;
    case interrupt_shadow_after::mov_ss:
      return cleared | interruptibility::mov_ss;
    case interrupt_shadow_after::none:
      break;
  }
  return cleared;
}

}  // namespace vmxsys::vmx
