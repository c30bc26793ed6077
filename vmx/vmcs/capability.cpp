#include "capability.hpp"

#include <iterator>

namespace vmxsys::vmx {

namespace {

// Pieces most families share.
constexpr std::uint64_t pin_default1 = default1_of(control_word::pin);
constexpr std::uint64_t primary_default1 = default1_of(control_word::primary);
constexpr std::uint64_t exit_default1 = default1_of(control_word::vm_exit);
constexpr std::uint64_t entry_default1 = default1_of(control_word::vm_entry);
// Of the default1 class, what even the TRUE MSRs demand: CR3-load and CR3-store exiting and the debug controls may be
// 0.
constexpr std::uint64_t primary_true1 = primary_default1 & ~0x18000u;
constexpr std::uint64_t exit_true1 = exit_default1 & ~4u;
constexpr std::uint64_t entry_true1 = entry_default1 & ~4u;

constexpr std::uint64_t all_primary = 0xFFF9'FFFE;  // no tertiary controls
constexpr std::uint64_t all_primary_tertiary = 0xFFFB'FFFE;

// IA32_VMX_BASIC. The region size (bits 44:32) is 4 KBytes in every row: a region here holds all architectural fields,
// real parts report 1 KByte for the fewer they have. Write-back, INS/OUTS information; TRUE MSRs where asked.
constexpr std::uint64_t basic(std::uint32_t revision, bool true_msrs) {
  return revision | 0x1000ull << 32 | 6ull << 50 | 1ull << 54 | (true_msrs ? 1ull << 55 : 0);
}
constexpr std::uint64_t dual_monitor = 1ull << 49;

// EPT_VPID_CAP by generation.
constexpr std::uint64_t ept_nehalem = 0xF01'0611'4141;   // EPT, 4-level, 2-MByte pages, INVEPT, INVVPID
constexpr std::uint64_t ept_westmere = 0xF01'0613'4141;  // and 1-GByte pages
constexpr std::uint64_t ept_haswell = 0xF01'0633'4141;   // and accessed and dirty flags
constexpr std::uint64_t ept_skylake = 0xF01'0673'4141;   // and advanced exit information

struct row_values {
  std::uint32_t revision;
  std::uint64_t pin;        // allowed-1
  std::uint64_t secondary;  // allowed-1
  std::uint64_t vm_exit;    // allowed-1
  std::uint64_t vm_entry;   // allowed-1
  std::uint64_t misc;
  std::uint64_t cr4_fixed1;
  std::uint64_t vmcs_enum;
  std::uint64_t ept_vpid;
  unsigned address_width;
};

constexpr capabilities make(const row_values& r) {
  capabilities c;
  c.basic = basic(r.revision, true) | dual_monitor;
  c.pin = r.pin << 32 | pin_default1;
  c.primary = all_primary << 32 | primary_default1;
  c.vm_exit = r.vm_exit << 32 | exit_default1;
  c.vm_entry = r.vm_entry << 32 | entry_default1;
  c.misc = r.misc;
  c.cr0_fixed0 = 0x8000'0021;
  c.cr0_fixed1 = 0xFFFF'FFFF;
  c.cr4_fixed0 = 0x2000;
  c.cr4_fixed1 = r.cr4_fixed1;
  c.vmcs_enum = r.vmcs_enum;
  c.secondary = r.secondary << 32;
  c.ept_vpid = r.ept_vpid;
  c.true_pin = r.pin << 32 | pin_default1;
  c.true_primary = all_primary << 32 | primary_true1;
  c.true_vm_exit = r.vm_exit << 32 | exit_true1;
  c.true_vm_entry = r.vm_entry << 32 | entry_true1;
  c.vmfunc = (r.secondary >> 13 & 1) != 0 ? 1 : 0;
  c.physical_address_width = r.address_width;
  return c;
}

// Before the TRUE MSRs, before EPT.
constexpr capabilities make_early(const row_values& r, std::uint64_t primary, std::uint64_t base) {
  capabilities c = make(r);
  c.basic = base | dual_monitor;
  c.primary = primary << 32 | primary_default1;
  c.true_pin = c.true_primary = c.true_vm_exit = c.true_vm_entry = 0;
  return c;
}

// The first VMX processors, a dump of a Core 2 X6800: no virtual NMIs (hence no NMI-window exiting either), no
// secondary controls, no INS/OUTS information.
constexpr capabilities make_merom() {
  return make_early({7, 0x1F, 0, 0x3'EFFF, 0x1FFF, 0x4'03C0, 0x27FF, 0x2C, 0, 36}, 0x77B9'FFFE,
                    basic(7, false) & ~(1ull << 54));
}
// The second generation, a dump of a Xeon X5482.
constexpr capabilities make_core2() {
  return make_early({0xD, 0x3F, 0x41, 0x3'FFFF, 0x3FFF, 0x4'03C0, 0x67FF, 0x2C, 0, 36}, 0xF7F9'FFFE, basic(0xD, false));
}

constexpr std::uint64_t bit(unsigned n) { return 1ull << n; }

// Documented features with typical values around them: tertiary controls with IPI virtualization, user wait and pause,
// PCONFIG, bus-lock detection, instruction timeout; CET and PKRS; 5-level paging.
constexpr capabilities make_sapphire_rapids() {
  capabilities c =
      make({0x10, 0xFF, 0x025F'7FFF | bit(24) | bit(26) | bit(27) | bit(30) | bit(31),
            0x01FF'FFFF | bit(25) | bit(26) | bit(28) | bit(29), 0x0003'FFFF | bit(18) | bit(20) | bit(21) | bit(22),
            0x7004'C1E7, 0x1FF'77FF, 0x2E, ept_skylake | bit(7), 52});
  c.primary = all_primary_tertiary << 32 | primary_default1;
  c.true_primary = all_primary_tertiary << 32 | primary_true1;
  c.tertiary = bit(4);
  c.linear_address_width = 57;
  return c;
}

/// No processor in particular: what a later one may have besides.
constexpr capabilities make_apic_timer() {
  capabilities c = make_sapphire_rapids();
  c.tertiary = bit(4) | bit(8);
  return c;
}

constexpr std::uint64_t exit_nehalem = 0x007F'FFFF;
constexpr std::uint64_t entry_nehalem = 0x0000'FFFF;
constexpr std::uint64_t exit_skylake = 0x01FF'FFFF;
constexpr std::uint64_t entry_skylake = 0x0003'FFFF;

// "Typical" in a description: exit and entry controls, IA32_VMX_MISC beyond the timer shift, CR4 and address widths are
// those of the generation, not of a dump of that very part.
constexpr capability_row table[] = {
    {"merom", "Core 2 X6800 (Merom): no secondary controls, no virtual NMIs; a dump (region size apart)", make_merom()},
    {"core2", "Core 2 (Penryn): no EPT, no preemption timer, no PAUSE-loop exiting; CR4 and widths typical",
     make_core2()},
    {"nehalem", "Core i5-760: EPT, VPID, preemption timer, but no PAUSE-loop exiting; typical values",
     make({0xE, 0x7F, 0x7F, exit_nehalem, entry_nehalem, 0x0004'01E5, 0x27FF, 0x2A, ept_nehalem, 40})},
    {"westmere_ep", "Xeon X5650, X5690: the first with PAUSE-loop exiting; typical values",
     make({0xF, 0x7F, 0x4FF, exit_nehalem, entry_nehalem, 0x0004'01E7, 0x27FF, 0x2A, ept_westmere, 40})},
    {"sandy_bridge", "Sandy Bridge client: no PAUSE-loop exiting; typical values",
     make({0x10, 0x7F, 0xFF, exit_nehalem, entry_nehalem, 0x1004'01E5, 0x4'27FF, 0x2A, ept_nehalem, 36})},
    {"sandy_bridge_ep", "Xeon E5-2600; typical values",
     make({0x10, 0x7F, 0x4FF, exit_nehalem, entry_nehalem, 0x1004'01E5, 0x4'27FF, 0x2A, ept_westmere, 46})},
    {"ivy_bridge", "Ivy Bridge client: no PAUSE-loop exiting; typical values",
     make({0x10, 0x7F, 0x8FF, exit_nehalem, entry_nehalem, 0x1004'01E5, 0x17'27FF, 0x2A, ept_nehalem, 36})},
    {"ivy_bridge_ep", "Xeon E5-2600 v2: the first with APIC virtualization and posted interrupts; typical values",
     make({0x12, 0xFF, 0xFFF, exit_nehalem, entry_nehalem, 0x2004'81E5, 0x17'27FF, 0x2A, ept_westmere, 46})},
    {"haswell", "Haswell client; typical values",
     make({0x12, 0x7F, 0x7CFF, exit_nehalem, entry_nehalem, 0x3004'81E5, 0x17'67FF, 0x2A, ept_haswell, 39})},
    {"haswell_ep", "Xeon E5-2600 v3; typical values",
     make({0x12, 0xFF, 0x7FFF, exit_nehalem, entry_nehalem, 0x3004'81E5, 0x17'67FF, 0x2A, ept_haswell, 46})},
    {"broadwell_ep", "Xeon E5-2600 v4; typical values",
     make({0x12, 0xFF, 0x7'7FFF, exit_nehalem, entry_nehalem, 0x3004'81E5, 0x37'67FF, 0x2A, ept_haswell, 46})},
    {"airmont", "Celeron N3150: no PAUSE-loop exiting; typical values",
     make({0x3, 0x7F, 0x28EF, exit_nehalem, entry_nehalem, 0x3004'81E6, 0x10'27FF, 0x2A, ept_nehalem, 36})},
    {"skylake", "Skylake client; typical values",
     make({0x4, 0x7F, 0x1F'7CFF, exit_skylake, entry_skylake, 0x7004'C1E7, 0x37'67FF, 0x2E, ept_skylake, 39})},
    {"skylake_x", "Core i9-7900X; typical values",
     make({0x4, 0xFF, 0x25D'3FFF, exit_skylake, entry_skylake, 0x7004'C1E7, 0x37'67FF, 0x2E, ept_skylake, 46})},
    {"skylake_sp", "Xeon Scalable, first generation; typical values",
     make({0x4, 0xFF, 0x25F'7FFF, exit_skylake, entry_skylake, 0x7004'C1E7, 0x77'67FF, 0x2E, ept_skylake, 46})},
    {"cascade_lake_sp", "Xeon Gold 6252N, the complete set of a real part (region size apart)",
     make({0x4, 0xFF, 0x25F'7FFF, exit_skylake, entry_skylake, 0x7004'C1E7, 0x77'67FF, 0x2E, ept_skylake, 46})},
    {"sapphire_rapids", "Xeon Scalable, fourth generation: IPI virtualization; typical values", make_sapphire_rapids()},
    {"apic_timer", "sapphire_rapids with APIC-timer virtualization: no processor in particular", make_apic_timer()},
};

}  // namespace

const capability_row* capability_table() noexcept { return table; }
std::size_t capability_table_size() noexcept { return std::size(table); }

const capability_row* find_capability_row(std::string_view name) noexcept {
  for (const capability_row& row : table)
    if (name == row.name) return &row;
  return nullptr;
}

const std::uint64_t* find_capability_msr(const capabilities& c, std::uint32_t msr) noexcept {
  const auto if_ = [](bool exists, const std::uint64_t& value) { return exists ? &value : nullptr; };
  const bool secondary = c.supports(control_word::primary, 31);
  switch (msr) {
    case 0x480:
      return &c.basic;
    case 0x481:
      return &c.pin;
    case 0x482:
      return &c.primary;
    case 0x483:
      return &c.vm_exit;
    case 0x484:
      return &c.vm_entry;
    case 0x485:
      return &c.misc;
    case 0x486:
      return &c.cr0_fixed0;
    case 0x487:
      return &c.cr0_fixed1;
    case 0x488:
      return &c.cr4_fixed0;
    case 0x489:
      return &c.cr4_fixed1;
    case 0x48A:
      return &c.vmcs_enum;
    case 0x48B:
      return if_(secondary, c.secondary);
    case 0x48C:
      return if_(c.supports(control_word::secondary, 1) || c.supports(control_word::secondary, 5), c.ept_vpid);
    case 0x48D:
      return if_(c.has_true_msrs(), c.true_pin);
    case 0x48E:
      return if_(c.has_true_msrs(), c.true_primary);
    case 0x48F:
      return if_(c.has_true_msrs(), c.true_vm_exit);
    case 0x490:
      return if_(c.has_true_msrs(), c.true_vm_entry);
    case 0x491:
      return if_(c.supports(control_word::secondary, 13), c.vmfunc);
    case 0x492:
      return if_(c.supports(control_word::primary, 17), c.tertiary);
    case 0x493:
      return if_(c.supports(control_word::vm_exit, 31), c.vm_exit_2);
    default:
      return nullptr;
  }
}

std::uint64_t digest_of(const capabilities& c) noexcept {
  const std::uint64_t values[] = {c.basic,
                                  c.pin,
                                  c.primary,
                                  c.vm_exit,
                                  c.vm_entry,
                                  c.misc,
                                  c.cr0_fixed0,
                                  c.cr0_fixed1,
                                  c.cr4_fixed0,
                                  c.cr4_fixed1,
                                  c.vmcs_enum,
                                  c.secondary,
                                  c.ept_vpid,
                                  c.true_pin,
                                  c.true_primary,
                                  c.true_vm_exit,
                                  c.true_vm_entry,
                                  c.vmfunc,
                                  c.tertiary,
                                  c.vm_exit_2,
                                  c.physical_address_width,
                                  c.linear_address_width};
  std::uint64_t digest = 0xCBF2'9CE4'8422'2325;
  for (const std::uint64_t value : values) {
    digest = (digest ^ value) * 0x9E37'79B9'7F4A'7C15;
    digest ^= digest >> 29;
  }
  return digest & ~std::uint64_t{0xFF};  // the low byte is left for conditions of the caller
}

}  // namespace vmxsys::vmx
