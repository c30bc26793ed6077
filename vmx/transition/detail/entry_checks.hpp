#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/transition/entry.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>
#include <vmxsys/vmx/vmcs/event.hpp>
#include <vmxsys/vmx/vmcs/register_bits.hpp>

/// What the tables of VM-entry checks (entry_checks_*.cpp) are made of. Internal: users include entry.hpp.
namespace vmxsys::vmx::entry_checks {

extern const entry_check_group execution_controls, exit_and_entry_controls, host_state, guest_registers, guest_segments,
    guest_non_register;

// ---- small tests the rules are made of -----------------------------------------------------------------------------

using u64 = std::uint64_t;
using V = const vmcs&;
using C = const entry_context&;

inline constexpr u64 cr0_pe = 1u << 0;
inline constexpr u64 cr0_wp = 1u << 16;
inline constexpr u64 cr0_nw_cd = 3u << 29;
inline constexpr u64 cr0_pg = 1u << 31;
inline constexpr u64 cr4_pae = 1u << 5;
inline constexpr u64 cr4_pcide = 1u << 17;
inline constexpr u64 cr4_cet = 1u << 23;
inline constexpr u64 cr4_fred = u64{1} << 32;
inline constexpr u64 efer_defined = 1u << 0 | efer_bits::lme | efer_bits::lma | 1u << 11;

inline bool pin_on(V v, u64 bits) { return (pin_controls(v) & bits) != 0; }
inline bool primary_on(V v, u64 bits) { return (primary_controls(v) & bits) != 0; }
inline bool secondary_on(V v, u64 bits) { return (secondary_controls(v) & bits) != 0; }
inline bool tertiary_on(V v, u64 bits) { return (tertiary_controls(v) & bits) != 0; }
inline bool exit_on(V v, u64 bits) { return v.any(field::primary_vm_exit_controls, bits); }
inline bool exit_2_on(V v, u64 bits) {
  return exit_on(v, vm_exit_control::activate_secondary_controls) && v.any(field::secondary_vm_exit_controls, bits);
}
inline bool entry_on(V v, u64 bits) { return v.any(field::vm_entry_controls, bits); }

inline bool legal(V v, C c, control_word word) {
  return control_legal(v.read(field_of(word)), c.caps().allowed_0(word), c.caps().allowed_1(word));
}

// Physical address of the structures a VMCS points to.
inline bool in_width(u64 address, C c) {
  const unsigned width = (c.caps().basic >> 48 & 1) != 0 ? 32 : c.caps().physical_address_width;
  return address >> width == 0;
}
inline bool address_ok(u64 address, u64 alignment, C c) {
  return (address & (alignment - 1)) == 0 && in_width(address, c);
}
inline bool page_ok(V v, field f, C c) { return address_ok(v.read(f), 4096, c); }

// CR3 and paging entries know only MAXPHYADDR.
inline bool in_maxphyaddr(u64 address, C c) { return address >> c.caps().physical_address_width == 0; }

inline bool canonical(V v, field f, C c) { return c.caps().canonical(v.read(f)); }

// Weaker than canonical: the bits above the linear-address width are all equal.
inline bool upper_bits_equal(u64 address, C c) {
  const u64 upper = address >> c.caps().linear_address_width;
  return upper == 0 || upper == ~u64{0} >> c.caps().linear_address_width;
}

inline bool upper_half_zero(V v, field f) { return v.read(f) >> 32 == 0; }

// Entries and exits do not change NW and CD: they are not looked at.
inline bool cr0_ok(u64 value, C c, u64 exempt = 0) {
  return c.caps().cr0_legal(value & ~cr0_nw_cd, exempt | cr0_nw_cd);
}

inline bool pat_ok(u64 pat) {
  for (unsigned i = 0; i < 8; ++i) {
    const u64 type = pat >> (8 * i) & 0xFF;
    if (type > 7 || type == 2 || type == 3) return false;
  }
  return true;
}

inline constexpr u64 s_cet_reserved = 0x3C0;
inline constexpr u64 s_cet_suppress_and_tracker = 0xC00;

// What WRMSR would take (Vol. 3A, flexible return and event delivery): reserved bits of IA32_FRED_CONFIG, stacks
// aligned to 64 bytes, shadow stacks to 8, all linear addresses canonical.
struct fred_fields {
  field config, rsp1, rsp2, rsp3, ssp1, ssp2, ssp3;
};
inline bool fred_ok(V v, const fred_fields& f, C c) {
  constexpr u64 config_reserved = 1u << 2 | 3u << 4 | 1u << 11;
  for (const field rsp : {f.rsp1, f.rsp2, f.rsp3})
    if (v.any(rsp, 63) || !canonical(v, rsp, c)) return false;
  for (const field ssp : {f.ssp1, f.ssp2, f.ssp3})
    if (v.any(ssp, 7) || !canonical(v, ssp, c)) return false;
  return !v.any(f.config, config_reserved) && canonical(v, f.config, c);
}

inline bool ia_32e_guest(V v) { return entry_on(v, vm_entry_control::ia_32e_mode_guest); }
inline bool unrestricted(V v) { return secondary_on(v, secondary::unrestricted_guest); }
inline bool v86(V v) { return v.any(field::guest_rflags, rflags_bits::vm); }

// ---- event injection -----------------------------------------------------------------------------------------------

inline std::uint32_t event_word_of(V v) {
  return static_cast<std::uint32_t>(v.read(field::vm_entry_interruption_information));
}
inline bool injects(V v) { return (event_word_of(v) & event_bits::valid) != 0; }
inline event_information injected(V v) { return decode_event(event_word_of(v)); }
inline bool injects_type(V v, event_type type) { return injects(v) && injected(v).type == type; }

// ---- what a row reads ----------------------------------------------------------------------------------------------

// Short names for the words nearly every row looks at.
inline constexpr field pin_word = field::pin_based_controls;
inline constexpr field primary_word = field::primary_processor_based_controls;
inline constexpr field secondary_word = field::secondary_processor_based_controls;
inline constexpr field tertiary_word = field::tertiary_processor_based_controls;
inline constexpr field exit_word = field::primary_vm_exit_controls;
inline constexpr field exit_2_word = field::secondary_vm_exit_controls;
inline constexpr field entry_controls_word = field::vm_entry_controls;
inline constexpr field event_word = field::vm_entry_interruption_information;

template <field... F>
inline constexpr std::array<field, sizeof...(F)> fields_of{F...};
template <field... F>
inline constexpr field_list reads{fields_of<F...>.data(), sizeof...(F)};

// ---- making the tables ---------------------------------------------------------------------------------------------

using rule = bool (*)(V, C);

constexpr check_when once = check_when::once;
constexpr check_when always = check_when::always;
constexpr check_when if_injecting = check_when::if_injecting;
constexpr check_when if_not_ordinary = check_when::if_not_ordinary;

constexpr u64 qualification_pdpte = 2;
constexpr u64 qualification_nmi = 3;  // or what the options say
constexpr u64 qualification_link = 4;

constexpr entry_check control(const char* name, const char* section, check_when when, field_list fields, rule holds) {
  return {name, section, check_area::control, when, 0, fields, holds};
}
constexpr entry_check host(const char* name, const char* section, field_list fields, rule holds,
                           check_area area = check_area::host) {
  return {name, section, area, once, 0, fields, holds};
}
constexpr entry_check guest(const char* name, const char* section, check_when when, field_list fields, rule holds,
                            u64 qualification = 0) {
  return {name, section, check_area::guest, when, qualification, fields, holds};
}

template <std::size_t N>
constexpr std::size_t count_rows(const entry_check (&rows)[N], check_when when) {
  std::size_t n = 0;
  for (const entry_check& row : rows) n += row.when == when ? 1 : 0;
  return n;
}

// The positions of the rows of one kind, so that the short way does not walk the long table.
template <std::size_t Count, std::size_t N>
constexpr std::array<std::uint8_t, Count> rows_of(const entry_check (&rows)[N], check_when when) {
  static_assert(N <= 256);
  std::array<std::uint8_t, Count> positions{};
  std::size_t n = 0;
  for (std::size_t i = 0; i < N; ++i)
    if (rows[i].when == when) positions[n++] = static_cast<std::uint8_t>(i);
  return positions;
}

template <const auto& Rows, check_when When>
inline constexpr auto positions_of = rows_of<count_rows(Rows, When)>(Rows, When);

template <const auto& Rows, check_when When>
constexpr entry_check_group::index_list index_of_rows() {
  return {positions_of<Rows, When>.data(), positions_of<Rows, When>.size()};
}

template <const auto& Rows>
constexpr entry_check_group group(const char* name) {
  return {name,
          Rows,
          std::size(Rows),
          index_of_rows<Rows, always>(),
          index_of_rows<Rows, if_injecting>(),
          index_of_rows<Rows, if_not_ordinary>()};
}

}  // namespace vmxsys::vmx::entry_checks
