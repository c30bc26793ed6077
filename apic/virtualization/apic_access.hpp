#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <vmxsys/vmx/base/physical_memory.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/exit_qualification.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "virtual_interrupts.hpp"

namespace vmxsys::apic {

// Memory-mapped accesses of a guest to the APIC-access page ("virtualize APIC accesses"): whether they exit or act on
// the virtual-APIC page, and what follows a write. SDM Vol. 3C §32.4.
//
// The question comes after everything translation could raise: page fault, EPT violation or misconfiguration. PREFETCH
// never exits; CLFLUSH and MONITOR ask as reads, ENTER as a write at its final stack pointer.

/// The processor-based controls that decide, as they take effect.
enum class apic_control : std::uint8_t {
  tpr_shadow = 1,               ///< use TPR shadow
  register_virtualization = 2,  ///< APIC-register virtualization
  interrupt_delivery = 4,       ///< virtual-interrupt delivery
  ipi_virtualization = 8,
};
/// A set of them.
using apic_controls = std::uint8_t;
constexpr apic_controls operator|(apic_control a, apic_control b) noexcept {
  return static_cast<apic_controls>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr apic_controls operator|(apic_controls a, apic_control b) noexcept {
  return static_cast<apic_controls>(a | static_cast<unsigned>(b));
}
constexpr bool has(apic_controls set, apic_control c) noexcept { return (set & static_cast<unsigned>(c)) != 0; }
/// Those that are 1 in a VMCS.
apic_controls apic_controls_of(const vmx::vmcs& v) noexcept;

/// What follows a virtualized write, before the next instruction.
enum class write_emulation : std::uint8_t {
  none,                    ///< writes of the register always exit
  tpr,                     ///< bytes 3:1 of VTPR become 0; TPR virtualization
  eoi,                     ///< VEOI becomes 0 and EOI virtualization with virtual-interrupt delivery, else exit 56
  icr_low,                 ///< self-IPI virtualization, IPI virtualization or exit 56 (ipi_virtualization.hpp)
  clear_destination_bits,  ///< ICR high: bytes 2:0 become 0; nothing else
  exit,                    ///< exit 56, qualification: the offset
};

/// One row: `count` registers, 10H apart. A read (write) is virtualized if one of the controls in `read_if`
/// (`write_if`) is 1; "use TPR shadow" there means always, as nothing is virtualized without it.
struct apic_page_rule {
  std::uint16_t first;
  std::uint8_t count;
  const char* name;
  apic_controls read_if;
  apic_controls write_if;
  write_emulation emulation;
};

namespace detail {
inline constexpr apic_controls never = 0;
inline constexpr apic_controls always = apic_controls{} | apic_control::tpr_shadow;
inline constexpr apic_controls arv = apic_controls{} | apic_control::register_virtualization;
inline constexpr apic_controls vid_or_arv = apic_control::interrupt_delivery | apic_control::register_virtualization;
inline constexpr apic_controls vid_ipiv_or_arv = vid_or_arv | apic_control::ipi_virtualization;
}  // namespace detail

/// SDM Vol. 3C §32.4.2, §32.4.3. Offsets that are not listed always exit: APR 090H, PPR 0A0H, RRD 0C0H, LVT CMCI 2F0H,
/// current count 390H, 3F0H, and all reserved ones.
inline constexpr std::array<apic_page_rule, 20> apic_page_table{{
    {0x020, 1, "ID", detail::arv, detail::arv, write_emulation::exit},
    {0x030, 1, "version", detail::arv, detail::never, write_emulation::none},
    {0x080, 1, "TPR", detail::always, detail::always, write_emulation::tpr},
    {0x0B0, 1, "EOI", detail::vid_or_arv, detail::vid_or_arv, write_emulation::eoi},
    {0x0D0, 1, "LDR", detail::arv, detail::arv, write_emulation::exit},
    {0x0E0, 1, "DFR", detail::arv, detail::arv, write_emulation::exit},
    {0x0F0, 1, "SVR", detail::arv, detail::arv, write_emulation::exit},
    {0x100, 8, "ISR", detail::arv, detail::never, write_emulation::none},
    {0x180, 8, "TMR", detail::arv, detail::never, write_emulation::none},
    {0x200, 8, "IRR", detail::arv, detail::never, write_emulation::none},
    {0x280, 1, "ESR", detail::arv, detail::arv, write_emulation::exit},
    {0x300, 1, "ICR low", detail::vid_or_arv, detail::vid_ipiv_or_arv, write_emulation::icr_low},
    {0x310, 1, "ICR high", detail::arv, detail::arv, write_emulation::clear_destination_bits},
    {0x320, 1, "LVT timer", detail::arv, detail::arv, write_emulation::exit},
    {0x330, 1, "LVT thermal", detail::arv, detail::arv, write_emulation::exit},
    {0x340, 1, "LVT performance", detail::arv, detail::arv, write_emulation::exit},
    {0x350, 2, "LVT LINT", detail::arv, detail::arv, write_emulation::exit},
    {0x370, 1, "LVT error", detail::arv, detail::arv, write_emulation::exit},
    {0x380, 1, "initial count", detail::arv, detail::arv, write_emulation::exit},
    {0x3E0, 1, "divide configuration", detail::arv, detail::arv, write_emulation::exit},
}};
/// The row of a page offset, or nullptr.
const apic_page_rule* find_apic_page_rule(std::uint16_t offset) noexcept;

/// On whose behalf the processor accesses memory.
enum class access_origin : std::uint8_t {
  instruction,     ///< data of an instruction
  fetch,           ///< an instruction itself
  event_delivery,  ///< stack, IDT and GDT while an event is delivered
  asynchronous,    ///< none of these: the debug-store area, trace output
};
/// How it came by the address. `guest_physical`: guest paging structures and PDPTEs with EPT, with no linear address.
/// `physical`: guest paging structures without EPT, EPT structures, bitmaps, the virtual-APIC page itself.
enum class access_path : std::uint8_t { linear, guest_physical, physical };

/// An access to the APIC-access page.
struct apic_access {
  std::uint16_t offset = 0;  ///< 0 .. FFFH
  std::uint8_t bytes = 4;
  bool write = false;
  access_origin origin = access_origin::instruction;
  access_path path = access_path::linear;
  bool general_register = true;  ///< the other operand is a general-purpose register or an immediate
};

/// Writes that the same operation has made to the page, and that were virtualized. An operation is an instruction, one
/// iteration of a REP string instruction, or the delivery of one event; clear it before each.
struct apic_operation {
  bool wrote = false;
  std::uint16_t offset = 0;
  std::uint8_t bytes = 0;
};

/// What the manual leaves to the processor.
struct apic_access_switches {
  bool other_operands_exit = false;     ///< a register operand that is not a general-purpose register exits
  bool physical_accesses_exit = false;  ///< with an undefined qualification; else they go to memory
};

/// `virtualized`: on the virtual-APIC page. `memory`: as if the page were an ordinary one.
enum class apic_access_verdict : std::uint8_t { virtualized, vm_exit, memory };

/// Why an access exits, in the order in which the reasons are looked at.
enum class apic_access_reason : std::uint8_t {
  physical_access,
  guest_physical_access,
  no_tpr_shadow,
  instruction_fetch,
  wider_than_32_bits,
  not_in_one_register,  ///< not wholly inside the low 4 bytes of a 16-byte block
  read_after_write,     ///< a read in an operation that made a virtualized write
  other_write,          ///< a write in an operation that made one elsewhere or of another size
  operand,              ///< by `apic_access_switches::other_operands_exit`
  register_not_virtualized,
  none,
};
struct apic_access_reason_info {
  apic_access_reason reason;
  const char* name;
};
inline constexpr std::array<apic_access_reason_info, 10> apic_access_reason_table{{
    {apic_access_reason::physical_access, "physical access"},
    {apic_access_reason::guest_physical_access, "guest-physical access"},
    {apic_access_reason::no_tpr_shadow, "\"use TPR shadow\" is 0"},
    {apic_access_reason::instruction_fetch, "instruction fetch"},
    {apic_access_reason::wider_than_32_bits, "wider than 32 bits"},
    {apic_access_reason::not_in_one_register, "not inside the low 4 bytes of a register"},
    {apic_access_reason::read_after_write, "read after a virtualized write of the same operation"},
    {apic_access_reason::other_write, "second write of the same operation elsewhere or of another size"},
    {apic_access_reason::operand, "operand that is not a general-purpose register"},
    {apic_access_reason::register_not_virtualized, "register not virtualized in this direction"},
}};

struct apic_access_outcome {
  apic_access_verdict verdict = apic_access_verdict::virtualized;
  apic_access_reason reason = apic_access_reason::none;  ///< of an exit
  std::uint64_t qualification = 0;                       ///< of exit 44
};

/// The guest accesses the APIC-access page; "virtualize APIC accesses" is 1. The exit is fault-like.
apic_access_outcome decide(const vmx::vmcs& v, const apic_access& access, const apic_operation& operation = {},
                           const apic_access_switches& switches = {}) noexcept;
/// The same from the controls alone.
apic_access_outcome decide(apic_controls controls, const apic_access& access, const apic_operation& operation = {},
                           const apic_access_switches& switches = {}) noexcept;

/// The qualification of an APIC-access exit.
std::uint64_t qualification_of(const apic_access& access) noexcept;
/// Exit 44.
vmx::exit_info apic_access_exit(const apic_access_outcome& outcome) noexcept;

/// "Virtualize APIC accesses" is 1 and the address lies in the APIC-access page.
bool in_apic_access_page(const vmx::vmcs& v, physical_address at) noexcept;

/// A virtualized read: `access.bytes` of the virtual-APIC page, zero-extended. Precondition: the verdict is
/// virtualized.
std::uint32_t read_virtual_apic(const virtual_apic& a, const apic_access& access);

/// A virtualized write, without what follows it: the data go to the virtual-APIC page and `operation` remembers. When
/// the operation is over (`emulates_after`), `emulate_apic_write` follows.
void store_virtual_apic(const virtual_apic& a, const apic_access& access, std::uint32_t value,
                        apic_operation& operation);

/// APIC-write emulation of a virtualized write at `offset`, SDM Vol. 3C §32.4.3.2. Comes before SMI, INIT and
/// everything lower, and heeds neither RFLAGS.IF nor the shadows.
virtualization_result emulate_apic_write(const virtual_apic& a, std::uint16_t offset);

/// An instruction that does nothing but this write: both in one.
virtualization_result write_virtual_apic(const virtual_apic& a, const apic_access& access, std::uint32_t value);

/// How an operation that made a virtualized write ends.
enum class operation_end : std::uint8_t { completes, fault_delivered, exits };
struct operation_end_rule {
  operation_end end;
  const char* name;
  bool emulates;  ///< APIC-write emulation follows
};
/// SDM Vol. 3C §32.4.3.2. After a fault the emulation comes before the first instruction of the handler.
inline constexpr std::array<operation_end_rule, 3> operation_end_table{{
    {operation_end::completes, "the operation completes", true},
    {operation_end::fault_delivered, "it faults, and the fault is delivered to the guest", true},
    {operation_end::exits, "it exits, by a fault or otherwise", false},
}};
constexpr bool emulates_after(operation_end end) noexcept {
  return operation_end_table[static_cast<std::size_t>(end)].emulates;
}

}  // namespace vmxsys::apic
