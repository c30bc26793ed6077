#pragma once
#include <vmxsys/apic/icr.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vmxsys::apic {

/// MSR numbers of the local APIC. Registers of the x2APIC map are 800H + (xAPIC offset >> 4) (SDM Vol. 3A §13.12.1.2).
namespace msr {
inline constexpr std::uint32_t apic_base = 0x1B;
inline constexpr std::uint32_t tsc_deadline = 0x6E0;
inline constexpr std::uint32_t x2apic_first = 0x800;
inline constexpr std::uint32_t id = 0x802;
inline constexpr std::uint32_t version = 0x803;
inline constexpr std::uint32_t tpr = 0x808;
inline constexpr std::uint32_t ppr = 0x80A;
inline constexpr std::uint32_t eoi = 0x80B;
inline constexpr std::uint32_t ldr = 0x80D;
inline constexpr std::uint32_t svr = 0x80F;
inline constexpr std::uint32_t isr = 0x810;
inline constexpr std::uint32_t tmr = 0x818;
inline constexpr std::uint32_t irr = 0x820;
inline constexpr std::uint32_t esr = 0x828;
inline constexpr std::uint32_t lvt_cmci = 0x82F;
inline constexpr std::uint32_t icr = 0x830;
inline constexpr std::uint32_t lvt_timer = 0x832;
inline constexpr std::uint32_t lvt_thermal = 0x833;
inline constexpr std::uint32_t lvt_performance = 0x834;
inline constexpr std::uint32_t lvt_lint0 = 0x835;
inline constexpr std::uint32_t lvt_lint1 = 0x836;
inline constexpr std::uint32_t lvt_error = 0x837;
inline constexpr std::uint32_t initial_count = 0x838;
inline constexpr std::uint32_t current_count = 0x839;
inline constexpr std::uint32_t divide_configuration = 0x83E;
inline constexpr std::uint32_t self_ipi = 0x83F;
inline constexpr std::uint32_t x2apic_last = 0x8FF;
}  // namespace msr

/// IA32_APIC_BASE (SDM Vol. 3A §13.4.4, §13.12.1): bits that are not the base page.
namespace apic_base {
inline constexpr std::uint64_t bootstrap = 1U << 8;
inline constexpr std::uint64_t x2apic = 1U << 10;  // EXTD
inline constexpr std::uint64_t enable = 1U << 11;  // EN
inline constexpr std::uint64_t reset_page = 0xFEE00000;
}  // namespace apic_base

/// Spurious-interrupt vector register (SDM Vol. 3A §13.9).
namespace svr {
inline constexpr std::uint32_t vector_bits = 0xFF;
inline constexpr std::uint32_t software_enable = 1U << 8;
inline constexpr std::uint32_t focus_checking = 1U << 9;
inline constexpr std::uint32_t suppress_eoi_broadcast = 1U << 12;
}  // namespace svr

/// Local vector table entries (SDM Vol. 3A §13.5.1).
namespace lvt {
inline constexpr std::uint32_t vector_bits = 0xFF;
inline constexpr std::uint32_t masked = 1U << 16;
inline constexpr std::uint32_t delivery_status = 1U << 12;  // read-only; always idle, the model delivers at once
inline constexpr std::uint32_t remote_irr = 1U << 14;       // read-only
inline constexpr std::uint32_t timer_mode_shift = 17;
}  // namespace lvt

/// Error status register (SDM Vol. 3A §13.5.3): the bits an x2APIC can set here.
namespace esr {
inline constexpr std::uint32_t redirectable_ipi = 1U << 4;
inline constexpr std::uint32_t send_illegal_vector = 1U << 5;
inline constexpr std::uint32_t receive_illegal_vector = 1U << 6;
}  // namespace esr

/// How the x2APIC map lets software use a register. A direction that is not allowed is #GP.
enum class register_access : std::uint8_t { absent, read_only, write_only, read_write };

/// One line of the register map: `count` consecutive registers from `first`.
struct register_row {
  std::uint32_t first;
  std::uint32_t count;
  std::string_view name;
  register_access access;
  std::uint64_t writable;  ///< a write with any other bit set is #GP
};

/// The x2APIC register map (SDM Vol. 3A §13.12.1.2), every optional part present. What is not listed is absent:
/// APR, RRD, DFR and the upper half of the ICR have no MSR.
inline constexpr std::array<register_row, 23> register_map{{
    {msr::id, 1, "ID", register_access::read_only, 0},
    {msr::version, 1, "version", register_access::read_only, 0},
    {msr::tpr, 1, "TPR", register_access::read_write, 0xFF},
    {msr::ppr, 1, "PPR", register_access::read_only, 0},
    {msr::eoi, 1, "EOI", register_access::write_only, 0},
    {msr::ldr, 1, "LDR", register_access::read_only, 0},
    {msr::svr, 1, "SVR", register_access::read_write, 0x13FF},
    {msr::isr, 8, "ISR", register_access::read_only, 0},
    {msr::tmr, 8, "TMR", register_access::read_only, 0},
    {msr::irr, 8, "IRR", register_access::read_only, 0},
    {msr::esr, 1, "ESR", register_access::read_write, 0},
    {msr::lvt_cmci, 1, "LVT CMCI", register_access::read_write, 0x117FF},
    {msr::icr, 1, "ICR", register_access::read_write, icr_defined_bits | icr_delivery_status},
    {msr::lvt_timer, 1, "LVT timer", register_access::read_write, 0x710FF},
    {msr::lvt_thermal, 1, "LVT thermal", register_access::read_write, 0x117FF},
    {msr::lvt_performance, 1, "LVT performance", register_access::read_write, 0x117FF},
    {msr::lvt_lint0, 1, "LVT LINT0", register_access::read_write, 0x1F7FF},
    {msr::lvt_lint1, 1, "LVT LINT1", register_access::read_write, 0x1F7FF},
    {msr::lvt_error, 1, "LVT error", register_access::read_write, 0x110FF},
    {msr::initial_count, 1, "initial count", register_access::read_write, 0xFFFFFFFF},
    {msr::current_count, 1, "current count", register_access::read_only, 0},
    {msr::divide_configuration, 1, "divide configuration", register_access::read_write, 0xB},
    {msr::self_ipi, 1, "SELF IPI", register_access::write_only, 0xFF},
}};

/// Stands for every number that has no register.
inline constexpr register_row absent_row{0, 0, "", register_access::absent, 0};

constexpr bool is_x2apic_msr(std::uint32_t number) noexcept {
  return number >= msr::x2apic_first && number <= msr::x2apic_last;
}

/// The row an MSR belongs to, or `absent_row`. O(1).
const register_row& row_of(std::uint32_t number) noexcept;

constexpr bool readable(register_access access) noexcept {
  return access == register_access::read_only || access == register_access::read_write;
}
constexpr bool writable(register_access access) noexcept {
  return access == register_access::write_only || access == register_access::read_write;
}

}  // namespace vmxsys::apic
