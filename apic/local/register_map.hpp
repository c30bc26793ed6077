#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "icr.hpp"

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

/// Offsets of the registers in the xAPIC page, 4 KBytes at the base address of IA32_APIC_BASE (SDM Vol. 3A §13.4.1).
namespace page {
inline constexpr std::uint32_t id = 0x020;
inline constexpr std::uint32_t version = 0x030;
inline constexpr std::uint32_t tpr = 0x080;
inline constexpr std::uint32_t apr = 0x090;
inline constexpr std::uint32_t ppr = 0x0A0;
inline constexpr std::uint32_t eoi = 0x0B0;
inline constexpr std::uint32_t rrd = 0x0C0;
inline constexpr std::uint32_t ldr = 0x0D0;
inline constexpr std::uint32_t dfr = 0x0E0;
inline constexpr std::uint32_t svr = 0x0F0;
inline constexpr std::uint32_t isr = 0x100;
inline constexpr std::uint32_t tmr = 0x180;
inline constexpr std::uint32_t irr = 0x200;
inline constexpr std::uint32_t esr = 0x280;
inline constexpr std::uint32_t lvt_cmci = 0x2F0;
inline constexpr std::uint32_t icr_low = 0x300;
inline constexpr std::uint32_t icr_high = 0x310;
inline constexpr std::uint32_t lvt_timer = 0x320;
inline constexpr std::uint32_t lvt_thermal = 0x330;
inline constexpr std::uint32_t lvt_performance = 0x340;
inline constexpr std::uint32_t lvt_lint0 = 0x350;
inline constexpr std::uint32_t lvt_lint1 = 0x360;
inline constexpr std::uint32_t lvt_error = 0x370;
inline constexpr std::uint32_t initial_count = 0x380;
inline constexpr std::uint32_t current_count = 0x390;
inline constexpr std::uint32_t divide_configuration = 0x3E0;
inline constexpr std::uint32_t self_ipi = 0x3F0;
inline constexpr std::uint32_t size = 0x1000;
}  // namespace page

/// A register's number in the x2APIC map, and its offset in the xAPIC page. APR, RRD, DFR and the upper half of the
/// ICR have a number here although x2APIC mode has no such MSR.
constexpr std::uint32_t number_of(std::uint32_t page_offset) noexcept { return msr::x2apic_first + (page_offset >> 4); }
constexpr std::uint16_t offset_of(std::uint32_t number) noexcept {
  return static_cast<std::uint16_t>((number - msr::x2apic_first) << 4);
}

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
inline constexpr std::uint32_t mode_shift = 8;
inline constexpr std::uint32_t delivery_status = 1U << 12;  // read-only; always idle, the model delivers at once
inline constexpr std::uint32_t active_low = 1U << 13;       // LINT0, LINT1
inline constexpr std::uint32_t remote_irr = 1U << 14;       // LINT0, LINT1; read-only
inline constexpr std::uint32_t level_triggered = 1U << 15;  // LINT0, LINT1; counts in fixed mode only
inline constexpr std::uint32_t masked = 1U << 16;
inline constexpr std::uint32_t timer_mode_shift = 17;
}  // namespace lvt

/// Error status register (SDM Vol. 3A §13.5.3). Bits 3:0 belong to parts with an APIC bus; a fabric that models one
/// reports them (`local_apic::report_error`).
namespace esr {
inline constexpr std::uint32_t send_checksum = 1U << 0;
inline constexpr std::uint32_t receive_checksum = 1U << 1;
inline constexpr std::uint32_t send_accept = 1U << 2;
inline constexpr std::uint32_t receive_accept = 1U << 3;
inline constexpr std::uint32_t redirectable_ipi = 1U << 4;
inline constexpr std::uint32_t send_illegal_vector = 1U << 5;
inline constexpr std::uint32_t receive_illegal_vector = 1U << 6;
inline constexpr std::uint32_t illegal_register_address = 1U << 7;  // xAPIC page only; an MSR would be #GP
}  // namespace esr

/// How software may use a register. In x2APIC mode a direction that is not allowed is #GP. In the xAPIC page writing a
/// read-only register does nothing, reading a write-only one is undefined, and touching an absent one sets ESR bit 7.
enum class register_access : std::uint8_t { absent, read_only, write_only, read_write };

/// One line of the register map: `count` consecutive registers from `first`, a number of the x2APIC map.
struct register_row {
  std::uint32_t first;
  std::uint32_t count;
  std::string_view name;
  register_access access;       ///< in x2APIC mode
  std::uint64_t writable;       ///< in x2APIC mode: a write with any other bit set is #GP
  register_access page_access;  ///< in xAPIC mode
  std::uint32_t page_writable;  ///< in xAPIC mode: bits that a write can set; others are ignored
  std::uint32_t reset;          ///< value after RESET and INIT but for the IDs that hardware gives (ID, x2APIC LDR)

  constexpr std::uint32_t offset() const noexcept { return offset_of(first); }
};

namespace detail {
inline constexpr register_access none = register_access::absent;
inline constexpr register_access ro = register_access::read_only;
inline constexpr register_access wo = register_access::write_only;
inline constexpr register_access rw = register_access::read_write;
}  // namespace detail

/// The register map of both modes (SDM Vol. 3A §13.4.1, §13.12.1.2), every optional part present. In xAPIC mode the ID
/// is read-only here and writable where `local_apic_options::xapic_id_writable` says so.
inline constexpr std::array<register_row, 27> register_map{{
    {number_of(page::id), 1, "ID", detail::ro, 0, detail::ro, 0xFF000000, 0},
    {number_of(page::version), 1, "version", detail::ro, 0, detail::ro, 0, 0x01060015},
    {number_of(page::tpr), 1, "TPR", detail::rw, 0xFF, detail::rw, 0xFF, 0},
    {number_of(page::apr), 1, "APR", detail::none, 0, detail::ro, 0, 0},
    {number_of(page::ppr), 1, "PPR", detail::ro, 0, detail::ro, 0, 0},
    {number_of(page::eoi), 1, "EOI", detail::wo, 0, detail::wo, 0, 0},
    {number_of(page::rrd), 1, "RRD", detail::none, 0, detail::ro, 0, 0},
    {number_of(page::ldr), 1, "LDR", detail::ro, 0, detail::rw, 0xFF000000, 0},
    {number_of(page::dfr), 1, "DFR", detail::none, 0, detail::rw, 0xF0000000, 0xFFFFFFFF},
    {number_of(page::svr), 1, "SVR", detail::rw, 0x13FF, detail::rw, 0x13FF, 0xFF},
    {number_of(page::isr), 8, "ISR", detail::ro, 0, detail::ro, 0, 0},
    {number_of(page::tmr), 8, "TMR", detail::ro, 0, detail::ro, 0, 0},
    {number_of(page::irr), 8, "IRR", detail::ro, 0, detail::ro, 0, 0},
    {number_of(page::esr), 1, "ESR", detail::rw, 0, detail::rw, 0, 0},
    {number_of(page::lvt_cmci), 1, "LVT CMCI", detail::rw, 0x117FF, detail::rw, 0x107FF, 0x10000},
    {number_of(page::icr_low), 1, "ICR", detail::rw, icr_defined_bits | icr_delivery_status, detail::rw, 0xCCFFF, 0},
    {number_of(page::icr_high), 1, "ICR high", detail::none, 0, detail::rw, 0xFF000000, 0},
    {number_of(page::lvt_timer), 1, "LVT timer", detail::rw, 0x710FF, detail::rw, 0x700FF, 0x10000},
    {number_of(page::lvt_thermal), 1, "LVT thermal", detail::rw, 0x117FF, detail::rw, 0x107FF, 0x10000},
    {number_of(page::lvt_performance), 1, "LVT performance", detail::rw, 0x117FF, detail::rw, 0x107FF, 0x10000},
    {number_of(page::lvt_lint0), 1, "LVT LINT0", detail::rw, 0x1F7FF, detail::rw, 0x1A7FF, 0x10000},
    {number_of(page::lvt_lint1), 1, "LVT LINT1", detail::rw, 0x1F7FF, detail::rw, 0x1A7FF, 0x10000},
    {number_of(page::lvt_error), 1, "LVT error", detail::rw, 0x110FF, detail::rw, 0x100FF, 0x10000},
    {number_of(page::initial_count), 1, "initial count", detail::rw, 0xFFFFFFFF, detail::rw, 0xFFFFFFFF, 0},
    {number_of(page::current_count), 1, "current count", detail::ro, 0, detail::ro, 0, 0},
    {number_of(page::divide_configuration), 1, "divide configuration", detail::rw, 0xB, detail::rw, 0xB, 0},
    {number_of(page::self_ipi), 1, "SELF IPI", detail::wo, 0xFF, detail::none, 0, 0},
}};

/// Stands for every number that has no register.
inline constexpr register_row absent_row{0, 0, "", register_access::absent, 0, register_access::absent, 0, 0};

constexpr bool is_x2apic_msr(std::uint32_t number) noexcept {
  return number >= msr::x2apic_first && number <= msr::x2apic_last;
}

/// The row that a register's number belongs to, or `absent_row`. O(1). For APR, RRD, DFR and ICR high the row says that
/// x2APIC mode has no such MSR.
const register_row& row_of(std::uint32_t number) noexcept;

/// Is this an access to the xAPIC page that the architecture defines: 4 bytes, and to the first 4 of a 16-byte slot?
/// Everything else is undefined and must not be executed (SDM Vol. 3A §13.4.1).
constexpr bool is_defined_page_access(std::uint32_t offset, unsigned bytes) noexcept {
  return bytes == 4 && (offset & 0xF) == 0 && offset < page::size;
}

constexpr bool readable(register_access access) noexcept {
  return access == register_access::read_only || access == register_access::read_write;
}
constexpr bool writable(register_access access) noexcept {
  return access == register_access::write_only || access == register_access::read_write;
}

}  // namespace vmxsys::apic
