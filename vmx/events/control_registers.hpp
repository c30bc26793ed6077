#pragma once
#include <cstdint>

#include <vmxsys/vmx/vmcs/capability.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

namespace vmxsys::vmx {

// Control registers in VMX non-root operation: guest/host masks, read shadows, CR3 targets, fixed bits. SDM Vol. 3C
// §27.6.6, §27.6.7, §28.1.3, §28.3. "Real" is what the processor holds, which the guest need not see.

namespace cr0_bits {
inline constexpr std::uint64_t pe = 1u << 0;
inline constexpr std::uint64_t mp = 1u << 1;
inline constexpr std::uint64_t em = 1u << 2;
inline constexpr std::uint64_t ts = 1u << 3;
inline constexpr std::uint64_t ne = 1u << 5;
inline constexpr std::uint64_t nw = 1u << 29;
inline constexpr std::uint64_t cd = 1u << 30;
inline constexpr std::uint64_t pg = 1u << 31;
}  // namespace cr0_bits

namespace cr4_bits {
inline constexpr std::uint64_t tsd = 1u << 2;
inline constexpr std::uint64_t de = 1u << 3;
inline constexpr std::uint64_t pse = 1u << 4;
inline constexpr std::uint64_t pae = 1u << 5;
inline constexpr std::uint64_t pge = 1u << 7;
inline constexpr std::uint64_t pce = 1u << 8;
inline constexpr std::uint64_t umip = 1u << 11;
inline constexpr std::uint64_t vmxe = 1u << 13;
inline constexpr std::uint64_t smxe = 1u << 14;
inline constexpr std::uint64_t osxsave = 1u << 18;
inline constexpr std::uint64_t kl = 1u << 19;
inline constexpr std::uint64_t smep = 1u << 20;
}  // namespace cr4_bits

/// CR0 and CR4 have a mask and a shadow; the other registers do not.
enum class masked_register : std::uint8_t { cr0, cr4 };

/// What MOV from the register and SMSW deliver: bits of the mask from the read shadow, the others from the register.
std::uint64_t guest_view(const vmcs& v, masked_register which, std::uint64_t real) noexcept;

/// Does MOV of `source` to the register exit? It does if a bit of the mask differs from the read shadow.
bool mov_to_masked_exits(const vmcs& v, masked_register which, std::uint64_t source) noexcept;

/// The register after a MOV that does not exit: bits of the mask unchanged.
std::uint64_t after_mov(const vmcs& v, masked_register which, std::uint64_t real, std::uint64_t source) noexcept;

/// The MOV or LMSW would give a bit that the host does not own a value VMX operation does not support: #GP(0). CR0.PE
/// and CR0.PG are free in an unrestricted guest. Ordinary rules (PG without PE, reserved bits, ...) are not looked at:
/// the caller applies them to the resulting value.
bool breaks_fixed_bits(const vmcs& v, const capabilities& caps, masked_register which, std::uint64_t value) noexcept;

/// CLTS: a masked TS exits if the shadow has it set, is left alone otherwise; an unmasked one is cleared.
enum class clts_effect : std::uint8_t { clears, nothing, exits };
clts_effect clts(const vmcs& v) noexcept;

/// LMSW loads bits 3:0 of CR0 (PE can be set, not cleared). It exits if a masked one of bits 3:1 differs from the read
/// shadow, or if it would set a masked PE that the shadow has clear.
bool lmsw_exits(const vmcs& v, std::uint16_t source) noexcept;
/// CR0 after an LMSW that does not exit.
std::uint64_t after_lmsw(const vmcs& v, std::uint64_t real, std::uint16_t source) noexcept;

/// MOV to CR3 exits with "CR3-load exiting" unless `value` is among the first n CR3-target values, n the CR3-target
/// count (at most 4).
bool mov_to_cr3_exits(const vmcs& v, std::uint64_t value) noexcept;
bool mov_from_cr3_exits(const vmcs& v) noexcept;

/// MOV to CR0 or CR4 that changed the register from `before` to `after` loads the PDPTEs: PAE paging is in use
/// afterwards and CD, NW or PG (CR0), PAE, PGE, PSE or SMEP (CR4) has changed. `other`: the register not written. SDM
/// Vol. 3A §4.4.1.
bool reloads_pdptes(masked_register which, std::uint64_t before, std::uint64_t after, std::uint64_t other,
                    bool long_mode) noexcept;

}  // namespace vmxsys::vmx
