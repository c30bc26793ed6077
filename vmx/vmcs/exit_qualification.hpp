#pragma once
#include <cstdint>
#include <string>

namespace vmxsys::vmx {

struct exit_info;

/// General-purpose registers as exit qualifications and instruction information number them.
enum class general_register : std::uint8_t {
  rax,
  rcx,
  rdx,
  rbx,
  rsp,
  rbp,
  rsi,
  rdi,
  r8,
  r9,
  r10,
  r11,
  r12,
  r13,
  r14,
  r15
};
const char* name_of(general_register r) noexcept;

/// The formats of the exit qualification (6400H), SDM Vol. 3C §30.2.1: one struct per format with `encode` and the
/// matching `decode_...`. Decoding any 64-bit value works; bits a format leaves undefined are dropped.
namespace qualification {

namespace detail {
constexpr bool bit(std::uint64_t word, unsigned n) noexcept { return (word >> n & 1) != 0; }
constexpr std::uint64_t bit_if(bool on, unsigned n) noexcept { return on ? std::uint64_t{1} << n : 0; }
constexpr std::uint8_t bits(std::uint64_t word, unsigned low, unsigned count) noexcept {
  return static_cast<std::uint8_t>(word >> low & ((1u << count) - 1));
}
}  // namespace detail

// -- control-register accesses (28) -----------------------------------------------------------------------------------

enum class cr_access_type : std::uint8_t { mov_to_cr, mov_from_cr, clts, lmsw };

struct cr_access {
  std::uint8_t cr = 0;  ///< 0 for CLTS and LMSW
  cr_access_type type = cr_access_type::mov_to_cr;
  bool lmsw_memory = false;                      ///< the operand of LMSW is in memory
  general_register gpr = general_register::rax;  ///< MOV only
  std::uint16_t lmsw_source = 0;                 ///< LMSW only
};

constexpr std::uint64_t encode(const cr_access& a) noexcept {
  return (a.cr & 15u) | std::uint64_t{static_cast<std::uint8_t>(a.type)} << 4 | detail::bit_if(a.lmsw_memory, 6) |
         std::uint64_t{static_cast<std::uint8_t>(a.gpr)} << 8 | std::uint64_t{a.lmsw_source} << 16;
}
constexpr cr_access decode_cr_access(std::uint64_t q) noexcept {
  return {detail::bits(q, 0, 4), static_cast<cr_access_type>(detail::bits(q, 4, 2)), detail::bit(q, 6),
          static_cast<general_register>(detail::bits(q, 8, 4)), static_cast<std::uint16_t>(q >> 16)};
}

// -- MOV DR (29) ------------------------------------------------------------------------------------------------------

struct dr_access {
  std::uint8_t dr = 0;   ///< 0 .. 7
  bool from_dr = false;  ///< MOV from DR
  general_register gpr = general_register::rax;
};

constexpr std::uint64_t encode(const dr_access& a) noexcept {
  return (a.dr & 7u) | detail::bit_if(a.from_dr, 4) | std::uint64_t{static_cast<std::uint8_t>(a.gpr)} << 8;
}
constexpr dr_access decode_dr_access(std::uint64_t q) noexcept {
  return {detail::bits(q, 0, 3), detail::bit(q, 4), static_cast<general_register>(detail::bits(q, 8, 4))};
}

// -- I/O instructions (30) --------------------------------------------------------------------------------------------

struct io_access {
  std::uint8_t bytes = 1;  ///< 1, 2 or 4
  bool in = false;         ///< IN or INS
  bool string = false;     ///< INS or OUTS
  bool rep = false;
  bool immediate = false;  ///< the port is in the instruction, not in DX
  std::uint16_t port = 0;
};

constexpr std::uint64_t encode(const io_access& a) noexcept {
  return ((a.bytes - 1u) & 7u) | detail::bit_if(a.in, 3) | detail::bit_if(a.string, 4) | detail::bit_if(a.rep, 5) |
         detail::bit_if(a.immediate, 6) | std::uint64_t{a.port} << 16;
}
constexpr io_access decode_io(std::uint64_t q) noexcept {
  return {static_cast<std::uint8_t>(detail::bits(q, 0, 3) + 1),
          detail::bit(q, 3),
          detail::bit(q, 4),
          detail::bit(q, 5),
          detail::bit(q, 6),
          static_cast<std::uint16_t>(q >> 16)};
}

// -- task switches (9) ------------------------------------------------------------------------------------------------

enum class task_switch_source : std::uint8_t { call, iret, jmp, idt_gate };

struct task_switch {
  std::uint16_t selector = 0;  ///< of the new task's TSS
  task_switch_source source = task_switch_source::call;
};

constexpr std::uint64_t encode(const task_switch& t) noexcept {
  return t.selector | std::uint64_t{static_cast<std::uint8_t>(t.source)} << 30;
}
constexpr task_switch decode_task_switch(std::uint64_t q) noexcept {
  return {static_cast<std::uint16_t>(q), static_cast<task_switch_source>(detail::bits(q, 30, 2))};
}

// -- debug exceptions (0, vector 1) -----------------------------------------------------------------------------------

/// What was met; DR6 itself is not changed by a debug exception that exits.
struct debug_conditions {
  std::uint8_t breakpoints = 0;  ///< B3:0
  bool bus_lock = false;         ///< 1 for a bus lock (DR6 has the opposite sense)
  bool register_access = false;  ///< BD: general detect
  bool single_step = false;      ///< BS
  bool rtm = false;              ///< inside a transaction (DR6 has the opposite sense)
};

constexpr std::uint64_t encode(const debug_conditions& d) noexcept {
  return (d.breakpoints & 15u) | detail::bit_if(d.bus_lock, 11) | detail::bit_if(d.register_access, 13) |
         detail::bit_if(d.single_step, 14) | detail::bit_if(d.rtm, 16);
}
constexpr debug_conditions decode_debug(std::uint64_t q) noexcept {
  return {detail::bits(q, 0, 4), detail::bit(q, 11), detail::bit(q, 13), detail::bit(q, 14), detail::bit(q, 16)};
}

// -- APIC accesses (44) -----------------------------------------------------------------------------------------------

enum class apic_access_type : std::uint8_t {
  linear_read = 0,   ///< data read by an instruction, MONITOR too
  linear_write = 1,  ///< data write by an instruction
  linear_fetch = 2,
  linear_event_delivery = 3,
  linear_asynchronous = 4,  ///< e.g. the debug-store area
  guest_physical_event_delivery = 10,
  guest_physical_asynchronous = 11,
  guest_physical_instruction = 15,  ///< fetch or execution of an instruction
};

struct apic_access {
  std::uint16_t offset = 0;  ///< in the page, bits 11:0; defined for linear accesses
  apic_access_type type = apic_access_type::linear_read;
  bool asynchronous = false;  ///< neither by an instruction nor by event delivery
};

constexpr std::uint64_t encode(const apic_access& a) noexcept {
  return (a.offset & 0xFFFu) | std::uint64_t{static_cast<std::uint8_t>(a.type)} << 12 |
         detail::bit_if(a.asynchronous, 16);
}
constexpr apic_access decode_apic_access(std::uint64_t q) noexcept {
  return {static_cast<std::uint16_t>(q & 0xFFF), static_cast<apic_access_type>(detail::bits(q, 12, 4)),
          detail::bit(q, 16)};
}
/// Exactly these come with a valid IDT-vectoring information.
constexpr bool is_event_delivery(apic_access_type t) noexcept {
  return t == apic_access_type::linear_event_delivery || t == apic_access_type::guest_physical_event_delivery;
}

// -- EPT violations (48) ----------------------------------------------------------------------------------------------

/// Bit 12 of the qualification of EPT violations, PML-full and SPP events.
inline constexpr std::uint64_t nmi_unblocking_bit = 1u << 12;

struct ept_violation {
  bool read = false;
  bool write = false;
  bool fetch = false;
  bool readable = false;  ///< what the paging-structure entries allowed, all levels together
  bool writable = false;
  bool executable = false;  ///< from supervisor mode with mode-based execute control
  bool user_executable = false;
  bool linear_address_valid = false;
  bool final_translation = false;  ///< of the linear address itself; else of a paging-structure entry
  bool user_page = false;          ///< 9 to 11: advanced information, where IA32_VMX_EPT_VPID_CAP bit 22 says so
  bool writable_page = false;
  bool execute_disable_page = false;
  bool nmi_unblocking = false;
  bool shadow_stack = false;
  bool supervisor_shadow_stack = false;
  bool guest_paging_verification = false;
  bool asynchronous = false;
};

constexpr std::uint64_t encode(const ept_violation& e) noexcept {
  const bool all[] = {e.read,
                      e.write,
                      e.fetch,
                      e.readable,
                      e.writable,
                      e.executable,
                      e.user_executable,
                      e.linear_address_valid,
                      e.final_translation,
                      e.user_page,
                      e.writable_page,
                      e.execute_disable_page,
                      e.nmi_unblocking,
                      e.shadow_stack,
                      e.supervisor_shadow_stack,
                      e.guest_paging_verification,
                      e.asynchronous};
  std::uint64_t q = 0;
  for (unsigned n = 0; n < 17; ++n) q |= detail::bit_if(all[n], n);
  return q;
}
constexpr ept_violation decode_ept_violation(std::uint64_t q) noexcept {
  using detail::bit;
  return {bit(q, 0), bit(q, 1),  bit(q, 2),  bit(q, 3),  bit(q, 4),  bit(q, 5),  bit(q, 6),  bit(q, 7), bit(q, 8),
          bit(q, 9), bit(q, 10), bit(q, 11), bit(q, 12), bit(q, 13), bit(q, 14), bit(q, 15), bit(q, 16)};
}

// -- one-bit formats --------------------------------------------------------------------------------------------------

/// MWAIT (36): address-range monitoring was armed.
constexpr std::uint64_t encode_mwait(bool monitor_armed) noexcept { return monitor_armed ? 1 : 0; }
constexpr bool decode_mwait(std::uint64_t q) noexcept { return (q & 1) != 0; }

}  // namespace qualification

/// In words what happened, on one line and without the final full stop: "MOV to CR3 from RAX". For people; the wording
/// may change.
std::string describe(const exit_info& exit);

}  // namespace vmxsys::vmx
