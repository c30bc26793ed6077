#include <vmxsys/vmx/control.hpp>
#include <vmxsys/vmx/entry.hpp>
#include <vmxsys/vmx/event.hpp>
#include <vmxsys/vmx/non_root.hpp>

#include <array>
#include <iterator>

namespace vmxsys::vmx {

namespace {

// ---- small tests the rules are made of -----------------------------------------------------------------------------

using u64 = std::uint64_t;

constexpr u64 cr0_pe = 1u << 0;
constexpr u64 cr0_wp = 1u << 16;
constexpr u64 cr0_pg = 1u << 31;
constexpr u64 cr4_pae = 1u << 5;
constexpr u64 cr4_pcide = 1u << 17;
constexpr u64 cr4_cet = 1u << 23;
constexpr u64 cr4_fred = u64{1} << 32;
constexpr u64 efer_lme = 1u << 8;
constexpr u64 efer_lma = 1u << 10;
constexpr u64 efer_defined = 1u << 0 | efer_lme | efer_lma | 1u << 11;

bool pin_on(const vmcs& v, u64 bits) { return (pin_controls(v) & bits) != 0; }
bool primary_on(const vmcs& v, u64 bits) { return (primary_controls(v) & bits) != 0; }
bool secondary_on(const vmcs& v, u64 bits) { return (secondary_controls(v) & bits) != 0; }
bool tertiary_on(const vmcs& v, u64 bits) { return (tertiary_controls(v) & bits) != 0; }
bool exit_on(const vmcs& v, u64 bits) { return v.any(field::primary_vm_exit_controls, bits); }
bool exit_2_on(const vmcs& v, u64 bits) {
  return exit_on(v, vm_exit_control::activate_secondary_controls) && v.any(field::secondary_vm_exit_controls, bits);
}
bool entry_on(const vmcs& v, u64 bits) { return v.any(field::vm_entry_controls, bits); }

bool legal(const vmcs& v, const entry_context& c, control_word word) {
  return control_legal(v.read(field_of(word)), c.caps().allowed_0(word), c.caps().allowed_1(word));
}

// Physical address of the structures a VMCS points to.
bool in_width(u64 address, const entry_context& c) {
  const unsigned width = (c.caps().basic >> 48 & 1) != 0 ? 32 : c.caps().physical_address_width;
  return address >> width == 0;
}
bool address_ok(u64 address, u64 alignment, const entry_context& c) {
  return (address & (alignment - 1)) == 0 && in_width(address, c);
}
bool page_ok(const vmcs& v, field f, const entry_context& c) { return address_ok(v.read(f), 4096, c); }

// CR3 and paging entries know only MAXPHYADDR.
bool in_maxphyaddr(u64 address, const entry_context& c) { return address >> c.caps().physical_address_width == 0; }

bool canonical(u64 address, const entry_context& c) {
  const unsigned shift = 64 - c.caps().linear_address_width;
  return static_cast<u64>(static_cast<std::int64_t>(address << shift) >> shift) == address;
}
bool canonical(const vmcs& v, field f, const entry_context& c) { return canonical(v.read(f), c); }

bool upper_half_zero(const vmcs& v, field f) { return v.read(f) >> 32 == 0; }

bool fixed_ok(u64 value, u64 fixed0, u64 fixed1, u64 exempt = 0) {
  return ((value | exempt) & fixed0) == fixed0 && (value & ~fixed1) == 0;
}

bool pat_ok(u64 pat) {
  for (unsigned i = 0; i < 8; ++i) {
    const u64 type = pat >> (8 * i) & 0xFF;
    if (type > 7 || type == 2 || type == 3) return false;
  }
  return true;
}

bool s_cet_ok(u64 value, const entry_context& c) {
  constexpr u64 reserved = 0x3C0;
  constexpr u64 suppress_and_tracker = 0xC00;
  return (value & reserved) == 0 && (value & suppress_and_tracker) != suppress_and_tracker && canonical(value, c);
}

// 16 bytes per entry; computed wide enough not to wrap.
bool msr_list_ok(const vmcs& v, field count_field, field address_field, const entry_context& c) {
  const u64 count = v.read(count_field);
  if (count == 0) return true;
  const u64 address = v.read(address_field);
  const u64 last = address + 16 * count - 1;
  return (address & 15) == 0 && in_width(address, c) && last >= address && in_width(last, c);
}

bool eptp_ok(u64 eptp, const entry_context& c) {
  const u64 cap = c.caps().ept_vpid;
  const u64 type = eptp & 7;
  const u64 walk = eptp >> 3 & 7;
  const bool type_ok = (type == 0 && (cap >> 8 & 1) != 0) || (type == 6 && (cap >> 14 & 1) != 0);
  const bool walk_ok = (walk == 3 && (cap >> 6 & 1) != 0) || (walk == 4 && (cap >> 7 & 1) != 0);
  const bool dirty_ok = (eptp & 1u << 6) == 0 || (cap >> 21 & 1) != 0;
  const bool shadow_stack_ok = (eptp & 1u << 7) == 0 || (cap >> 23 & 1) != 0;
  return type_ok && walk_ok && dirty_ok && shadow_stack_ok && (eptp & 0xF00) == 0 && in_maxphyaddr(eptp, c);
}

// ---- event injection -----------------------------------------------------------------------------------------------

std::uint32_t entry_word(const vmcs& v) {
  return static_cast<std::uint32_t>(v.read(field::vm_entry_interruption_information));
}
bool injects(const vmcs& v) { return (entry_word(v) & event_bits::valid) != 0; }
event_information injected(const vmcs& v) { return decode_event(entry_word(v)); }
bool injects_type(const vmcs& v, event_type type) { return injects(v) && injected(v).type == type; }
bool is_software(event_type type) {
  return type == event_type::software_interrupt || type == event_type::privileged_software_exception ||
         type == event_type::software_exception;
}

bool unrestricted(const vmcs& v) { return secondary_on(v, secondary::unrestricted_guest); }

bool type_ok(const vmcs& v, const entry_context& c) {
  if (!injects(v)) return true;
  const event_information e = injected(v);
  if (e.type != event_type::other_event) return static_cast<unsigned>(e.type) != 1;
  const bool mtf = e.vector == 0 && c.caps().supports(control_word::primary, 27);
  const bool fred = (e.vector == 1 || e.vector == 2) && c.caps().supports(control_word::vm_entry, 23);
  return mtf || fred;
}

bool vector_ok(const vmcs& v) {
  if (!injects(v)) return true;
  const event_information e = injected(v);
  if (e.type == event_type::nmi) return e.vector == 2;
  return e.type != event_type::hardware_exception || e.vector <= 31;
}

// #DF, #TS, #NP, #SS, #GP, #PF, #AC. The manual does not count #CP (21) in.
bool vector_has_error_code(unsigned vector) { return vector < 32 && (0x2'7D00u >> vector & 1) != 0; }

bool error_code_bit_ok(const vmcs& v, const entry_context& c) {
  if (!injects(v)) return true;
  const event_information e = injected(v);
  const bool protected_mode = !unrestricted(v) || v.any(field::guest_cr0, cr0_pe);
  const bool may_have_one = e.type == event_type::hardware_exception && protected_mode;
  if (!may_have_one) return !e.error_code;
  const bool any_vector = (c.caps().basic >> 56 & 1) != 0;
  return any_vector || e.error_code == vector_has_error_code(e.vector);
}

bool reserved_bits_ok(const vmcs& v, const entry_context& c) {
  if (!injects(v)) return true;
  std::uint32_t reserved = event_bits::entry_reserved;
  const bool nested_exists = (c.caps().basic >> 58 & 1) != 0 && injected(v).type == event_type::hardware_exception;
  if (!nested_exists) reserved |= event_bits::nested;
  return (entry_word(v) & reserved) == 0;
}

bool error_code_ok(const vmcs& v) {
  return !injects(v) || !injected(v).error_code || v.read(field::vm_entry_exception_error_code) >> 16 == 0;
}

bool instruction_length_ok(const vmcs& v, const entry_context& c) {
  if (!injects(v) || !is_software(injected(v).type)) return true;
  const u64 length = v.read(field::vm_entry_instruction_length);
  const bool zero_ok = (c.caps().misc >> 30 & 1) != 0;
  return length <= 15 && (length != 0 || zero_ok);
}

// ---- guest ---------------------------------------------------------------------------------------------------------

bool ia_32e_guest(const vmcs& v) { return entry_on(v, vm_entry_control::ia_32e_mode_guest); }
bool v86(const vmcs& v) { return v.any(field::guest_rflags, rflags_bits::vm); }

struct segment {
  field selector, base, limit, access_rights;
};
constexpr segment es{field::guest_es_selector, field::guest_es_base, field::guest_es_limit,
                     field::guest_es_access_rights};
constexpr segment cs{field::guest_cs_selector, field::guest_cs_base, field::guest_cs_limit,
                     field::guest_cs_access_rights};
constexpr segment ss{field::guest_ss_selector, field::guest_ss_base, field::guest_ss_limit,
                     field::guest_ss_access_rights};
constexpr segment ds{field::guest_ds_selector, field::guest_ds_base, field::guest_ds_limit,
                     field::guest_ds_access_rights};
constexpr segment fs{field::guest_fs_selector, field::guest_fs_base, field::guest_fs_limit,
                     field::guest_fs_access_rights};
constexpr segment gs{field::guest_gs_selector, field::guest_gs_base, field::guest_gs_limit,
                     field::guest_gs_access_rights};
constexpr segment ldtr{field::guest_ldtr_selector, field::guest_ldtr_base, field::guest_ldtr_limit,
                       field::guest_ldtr_access_rights};
constexpr segment tr{field::guest_tr_selector, field::guest_tr_base, field::guest_tr_limit,
                     field::guest_tr_access_rights};
constexpr segment code_and_data[] = {cs, ss, ds, es, fs, gs};

constexpr u64 ar_system_bit = 1u << 4;  // S: 1 for code and data
constexpr u64 ar_present = 1u << 7;
constexpr u64 ar_long = 1u << 13;
constexpr u64 ar_default_big = 1u << 14;
constexpr u64 ar_granularity = 1u << 15;
constexpr u64 ar_unusable = 1u << 16;
constexpr u64 ar_reserved = 0xFFFE'0F00;
constexpr u64 selector_ti = 1u << 2;

u64 rights(const vmcs& v, const segment& s) { return v.read(s.access_rights); }
u64 type_of_segment(const vmcs& v, const segment& s) { return rights(v, s) & 15; }
u64 dpl(const vmcs& v, const segment& s) { return rights(v, s) >> 5 & 3; }
u64 rpl(const vmcs& v, const segment& s) { return v.read(s.selector) & 3; }
bool usable(const vmcs& v, const segment& s) { return (rights(v, s) & ar_unusable) == 0; }

bool granularity_ok(const vmcs& v, const segment& s) {
  const u64 limit = v.read(s.limit);
  const bool pages = (rights(v, s) & ar_granularity) != 0;
  if ((limit & 0xFFF) != 0xFFF && pages) return false;
  return limit >> 20 == 0 || pages;
}

// S, P and the reserved bits of CS and of the usable ones of SS, DS, ES, FS, GS.
bool code_and_data_rights_ok(const vmcs& v) {
  for (const segment& s : code_and_data) {
    if (s.selector != cs.selector && !usable(v, s)) continue;
    const u64 ar = rights(v, s);
    if ((ar & ar_system_bit) == 0 || (ar & ar_present) == 0 || (ar & ar_reserved) != 0) return false;
  }
  return true;
}

bool all_granularity_ok(const vmcs& v) {
  for (const segment& s : code_and_data)
    if ((s.selector == cs.selector || usable(v, s)) && !granularity_ok(v, s)) return false;
  return true;
}

bool data_types_ok(const vmcs& v) {
  for (const segment& s : {ds, es, fs, gs}) {
    if (!usable(v, s)) continue;
    const u64 type = type_of_segment(v, s);
    if ((type & 1) == 0 || ((type & 8) != 0 && (type & 2) == 0)) return false;
  }
  return true;
}

bool data_dpl_ok(const vmcs& v) {
  if (unrestricted(v)) return true;
  for (const segment& s : {ds, es, fs, gs})
    if (usable(v, s) && type_of_segment(v, s) <= 11 && dpl(v, s) < rpl(v, s)) return false;
  return true;
}

bool cs_type_ok(const vmcs& v) {
  const u64 type = type_of_segment(v, cs);
  return type == 9 || type == 11 || type == 13 || type == 15 || (type == 3 && unrestricted(v));
}

bool cs_dpl_ok(const vmcs& v) {
  const u64 type = type_of_segment(v, cs);
  if (type == 3) return dpl(v, cs) == 0;
  return type < 12 ? dpl(v, cs) == dpl(v, ss) : dpl(v, cs) <= dpl(v, ss);
}

bool ss_dpl_ok(const vmcs& v) {
  if (!unrestricted(v) && dpl(v, ss) != rpl(v, ss)) return false;
  const bool must_be_0 = type_of_segment(v, cs) == 3 || !v.any(field::guest_cr0, cr0_pe);
  return !must_be_0 || dpl(v, ss) == 0;
}

bool tr_ok(const vmcs& v) {
  const u64 ar = rights(v, tr);
  const u64 type = ar & 15;
  const bool type_ok = type == 11 || (type == 3 && !ia_32e_guest(v));
  return type_ok && (ar & ar_system_bit) == 0 && (ar & ar_present) != 0 && (ar & ar_reserved) == 0 &&
         (ar & ar_unusable) == 0 && granularity_ok(v, tr);
}

bool ldtr_ok(const vmcs& v) {
  if (!usable(v, ldtr)) return true;
  const u64 ar = rights(v, ldtr);
  return (ar & 15) == 2 && (ar & ar_system_bit) == 0 && (ar & ar_present) != 0 && (ar & ar_reserved) == 0 &&
         granularity_ok(v, ldtr);
}

bool v86_segments_ok(const vmcs& v) {
  for (const segment& s : code_and_data)
    if (v.read(s.base) != v.read(s.selector) << 4 || v.read(s.limit) != 0xFFFF || rights(v, s) != 0xF3) return false;
  return true;
}

bool segment_bases_ok(const vmcs& v, const entry_context& c) {
  for (const field f : {field::guest_tr_base, field::guest_fs_base, field::guest_gs_base})
    if (!canonical(v, f, c)) return false;
  if (usable(v, ldtr) && !canonical(v, field::guest_ldtr_base, c)) return false;
  if (!upper_half_zero(v, field::guest_cs_base)) return false;
  for (const segment& s : {ss, ds, es})
    if (usable(v, s) && !upper_half_zero(v, s.base)) return false;
  return true;
}

bool efer_ok(const vmcs& v) {
  const u64 efer = v.read(field::guest_ia32_efer);
  const bool lma = (efer & efer_lma) != 0;
  const bool lme = (efer & efer_lme) != 0;
  if ((efer & ~efer_defined) != 0 || lma != ia_32e_guest(v)) return false;
  return !v.any(field::guest_cr0, cr0_pg) || lma == lme;
}

bool rip_ok(const vmcs& v, const entry_context& c) {
  const u64 rip = v.read(field::guest_rip);
  if (!ia_32e_guest(v) || (rights(v, cs) & ar_long) == 0) return rip >> 32 == 0;
  // Bits above the linear-address width are all equal; the address need not be canonical.
  const u64 upper = rip >> c.caps().linear_address_width;
  return upper == 0 || upper == ~u64{0} >> c.caps().linear_address_width;
}

bool rflags_ok(const vmcs& v) {
  constexpr u64 reserved = ~u64{0x3F'FFFF} | 1u << 15 | 1u << 5 | 1u << 3;
  const u64 rflags = v.read(field::guest_rflags);
  return (rflags & reserved) == 0 && (rflags & rflags_bits::one) != 0;
}

u64 activity(const vmcs& v) { return v.read(field::guest_activity_state); }
u64 blocking_bits(const vmcs& v) { return v.read(field::guest_interruptibility_state); }
bool shadowed(const vmcs& v) { return (blocking_bits(v) & (interruptibility::sti | interruptibility::mov_ss)) != 0; }

bool activity_supported(const vmcs& v, const entry_context& c) {
  const u64 a = activity(v);
  return a == 0 || (a <= 3 && (c.caps().misc >> (5 + a) & 1) != 0);
}

bool pending_debug_ok(const vmcs& v) {
  constexpr u64 breakpoints = 0xF;
  constexpr u64 enabled = 1u << 12;
  constexpr u64 single_step = 1u << 14;
  constexpr u64 rtm = 1u << 16;
  constexpr u64 btf = 1u << 1;
  const u64 pending = v.read(field::guest_pending_debug_exceptions);
  if ((pending & ~(breakpoints | enabled | single_step | rtm)) != 0) return false;
  if (shadowed(v) || activity(v) == static_cast<u64>(activity_state::hlt)) {
    const bool stepping = v.any(field::guest_rflags, rflags_bits::tf) && !v.any(field::guest_ia32_debugctl, btf);
    if (((pending & single_step) != 0) != stepping) return false;
  }
  if ((pending & rtm) == 0) return true;
  return pending == (rtm | enabled) && (blocking_bits(v) & interruptibility::mov_ss) == 0;
}

bool link_pointer_ok(const vmcs& v, const entry_context& c) {
  const u64 link = v.read(field::vmcs_link_pointer);
  if (link == no_vmcs) return true;
  if (!address_ok(link, 4096, c) || link == c.current_vmcs()) return false;
  const std::uint32_t word = revision_word(c.memory(), link);
  const bool shadow = (word & vmcs_region::shadow_bit) != 0;
  return (word & ~vmcs_region::shadow_bit) == c.caps().revision() &&
         shadow == secondary_on(v, secondary::vmcs_shadowing);
}

bool pdptes_ok(const vmcs& v, const entry_context& c) {
  const bool pae = v.any(field::guest_cr0, cr0_pg) && v.any(field::guest_cr4, cr4_pae) && !ia_32e_guest(v);
  if (!pae || !secondary_on(v, secondary::enable_ept)) return true;
  for (const field f : {field::guest_pdpte0, field::guest_pdpte1, field::guest_pdpte2, field::guest_pdpte3}) {
    const u64 entry = v.read(f);
    if ((entry & 1) != 0 && ((entry & 0x1E6) != 0 || !in_maxphyaddr(entry, c))) return false;
  }
  return true;
}

// ---- the rules, in the order in which they are made ----------------------------------------------------------------

using V = const vmcs&;
using C = const entry_context&;

constexpr const char* execution_controls = "SDM Vol. 3C §29.2.1.1";
constexpr const char* exit_controls = "SDM Vol. 3C §29.2.1.2";
constexpr const char* entry_controls = "SDM Vol. 3C §29.2.1.3";
constexpr const char* host_registers = "SDM Vol. 3C §29.2.2";
constexpr const char* host_segments = "SDM Vol. 3C §29.2.3";
constexpr const char* host_address_space = "SDM Vol. 3C §29.2.4";
constexpr const char* guest_registers = "SDM Vol. 3C §29.3.1.1";
constexpr const char* guest_segments = "SDM Vol. 3C §29.3.1.2";
constexpr const char* guest_tables = "SDM Vol. 3C §29.3.1.3";
constexpr const char* guest_rip_rflags = "SDM Vol. 3C §29.3.1.4";
constexpr const char* guest_non_register = "SDM Vol. 3C §29.3.1.5";
constexpr const char* guest_pdptes = "SDM Vol. 3C §29.3.1.6";

constexpr u64 qualification_pdpte = 2;
constexpr u64 qualification_nmi = 3;
constexpr u64 qualification_link = 4;

constexpr bool once = false;   // skipped while nothing it depends on has changed
constexpr bool always = true;  // depends on memory or on fields that change at nearly every exit

using rule = bool (*)(V, C);
constexpr entry_check control(const char* name, const char* section, bool when, rule holds) {
  return {name, section, check_area::control, when, 0, holds};
}
constexpr entry_check host(const char* name, const char* section, rule holds) {
  return {name, section, check_area::host, once, 0, holds};
}
constexpr entry_check guest(const char* name, const char* section, bool when, rule holds, u64 qualification = 0) {
  return {name, section, check_area::guest, when, qualification, holds};
}

constexpr entry_check table[] = {
    // Execution controls.
    control("pin-based controls: reserved bits", execution_controls, once,
            [](V v, C c) { return legal(v, c, control_word::pin); }),
    control("primary processor-based controls: reserved bits", execution_controls, once,
            [](V v, C c) { return legal(v, c, control_word::primary); }),
    control("secondary processor-based controls: reserved bits", execution_controls, once,
            [](V v, C c) {
              return !primary_on(v, primary::activate_secondary_controls) || legal(v, c, control_word::secondary);
            }),
    control("tertiary processor-based controls: reserved bits", execution_controls, once,
            [](V v, C c) {
              return !primary_on(v, primary::activate_tertiary_controls) || legal(v, c, control_word::tertiary);
            }),
    control("CR3-target count", execution_controls, once,
            [](V v, C c) { return v.read(field::cr3_target_count) <= c.caps().max_cr3_targets(); }),
    control("I/O-bitmap addresses", execution_controls, once,
            [](V v, C c) {
              return !primary_on(v, primary::use_io_bitmaps) ||
                     (page_ok(v, field::io_bitmap_a_address, c) && page_ok(v, field::io_bitmap_b_address, c));
            }),
    control(
        "MSR-bitmap address", execution_controls, once,
        [](V v, C c) { return !primary_on(v, primary::use_msr_bitmaps) || page_ok(v, field::msr_bitmap_address, c); }),
    control(
        "virtual-APIC address", execution_controls, once,
        [](V v, C c) { return !primary_on(v, primary::use_tpr_shadow) || page_ok(v, field::virtual_apic_address, c); }),
    control("TPR threshold: bits 31:4", execution_controls, once,
            [](V v, C) {
              return !primary_on(v, primary::use_tpr_shadow) ||
                     secondary_on(v, secondary::virtual_interrupt_delivery) || v.read(field::tpr_threshold) >> 4 == 0;
            }),
    control("TPR threshold against VTPR", execution_controls, always,
            [](V v, C c) {
              if (!primary_on(v, primary::use_tpr_shadow) ||
                  secondary_on(v, secondary::virtual_interrupt_delivery | secondary::virtualize_apic_accesses))
                return true;
              constexpr u64 vtpr_offset = 0x80;
              const auto vtpr = c.memory().read<std::uint8_t>(v.read(field::virtual_apic_address) + vtpr_offset);
              return (v.read(field::tpr_threshold) & 15) <= (vtpr >> 4);
            }),
    control("virtual NMIs need NMI exiting", execution_controls, once,
            [](V v, C) { return pin_on(v, pin_based::nmi_exiting) || !pin_on(v, pin_based::virtual_nmis); }),
    control("NMI-window exiting needs virtual NMIs", execution_controls, once,
            [](V v, C) { return pin_on(v, pin_based::virtual_nmis) || !primary_on(v, primary::nmi_window_exiting); }),
    control("APIC virtualization needs the TPR shadow", execution_controls, once,
            [](V v, C) {
              return primary_on(v, primary::use_tpr_shadow) ||
                     (!secondary_on(v, secondary::virtualize_x2apic_mode | secondary::apic_register_virtualization |
                                           secondary::virtual_interrupt_delivery) &&
                      !tertiary_on(v, tertiary::ipi_virtualization));
            }),
    control("x2APIC mode excludes APIC-access virtualization", execution_controls, once,
            [](V v, C) {
              return !secondary_on(v, secondary::virtualize_x2apic_mode) ||
                     !secondary_on(v, secondary::virtualize_apic_accesses);
            }),
    control("virtual-interrupt delivery needs external-interrupt exiting", execution_controls, once,
            [](V v, C) {
              return !secondary_on(v, secondary::virtual_interrupt_delivery) ||
                     pin_on(v, pin_based::external_interrupt_exiting);
            }),
    control("posted interrupts need virtual-interrupt delivery and acknowledgement", execution_controls, once,
            [](V v, C) {
              return !pin_on(v, pin_based::process_posted_interrupts) ||
                     (secondary_on(v, secondary::virtual_interrupt_delivery) &&
                      exit_on(v, vm_exit_control::acknowledge_interrupt_on_exit));
            }),
    control("posted-interrupt notification vector", execution_controls, once,
            [](V v, C) {
              return !pin_on(v, pin_based::process_posted_interrupts) ||
                     v.read(field::posted_interrupt_notification_vector) <= 0xFF;
            }),
    control("posted-interrupt descriptor address", execution_controls, once,
            [](V v, C c) {
              return !pin_on(v, pin_based::process_posted_interrupts) ||
                     address_ok(v.read(field::posted_interrupt_descriptor_address), 64, c);
            }),
    control("VPID is not 0", execution_controls, once,
            [](V v, C) {
              return !secondary_on(v, secondary::enable_vpid) || v.read(field::virtual_processor_identifier) != 0;
            }),
    control("EPT pointer", execution_controls, once,
            [](V v, C c) { return !secondary_on(v, secondary::enable_ept) || eptp_ok(v.read(field::ept_pointer), c); }),
    control("features that need EPT", execution_controls, once,
            [](V v, C) {
              return secondary_on(v, secondary::enable_ept) ||
                     (!secondary_on(v, secondary::enable_pml | secondary::unrestricted_guest |
                                           secondary::mode_based_execute_control_for_ept |
                                           secondary::sub_page_write_permissions_for_ept |
                                           secondary::intel_pt_uses_guest_physical_addresses) &&
                      !tertiary_on(v, tertiary::enable_hlat | tertiary::ept_paging_write_control |
                                          tertiary::guest_paging_verification |
                                          tertiary::pebs_uses_guest_physical_addresses));
            }),
    control("PML address", execution_controls, once,
            [](V v, C c) { return !secondary_on(v, secondary::enable_pml) || page_ok(v, field::pml_address, c); }),
    control("APIC-access address", execution_controls, once,
            [](V v, C c) {
              return !secondary_on(v, secondary::virtualize_apic_accesses) || page_ok(v, field::apic_access_address, c);
            }),
    control("VMREAD- and VMWRITE-bitmap addresses", execution_controls, once,
            [](V v, C c) {
              return !secondary_on(v, secondary::vmcs_shadowing) ||
                     (page_ok(v, field::vmread_bitmap_address, c) && page_ok(v, field::vmwrite_bitmap_address, c));
            }),
    control("virtualization-exception information address", execution_controls, once,
            [](V v, C c) {
              return !secondary_on(v, secondary::ept_violation_ve) ||
                     page_ok(v, field::virtualization_exception_information_address, c);
            }),
    control("sub-page-permission-table pointer", execution_controls, once,
            [](V v, C c) {
              return !secondary_on(v, secondary::sub_page_write_permissions_for_ept) ||
                     page_ok(v, field::sub_page_permission_table_pointer, c);
            }),
    control("PASID-directory addresses", execution_controls, once,
            [](V v, C c) {
              return !secondary_on(v, secondary::pasid_translation) ||
                     (page_ok(v, field::low_pasid_directory_address, c) &&
                      page_ok(v, field::high_pasid_directory_address, c));
            }),
    control("VM functions", execution_controls, once,
            [](V v, C c) {
              if (!secondary_on(v, secondary::enable_vm_functions)) return true;
              const u64 functions = v.read(field::vm_function_controls);
              if ((functions & ~c.caps().vmfunc) != 0) return false;
              return (functions & 1) == 0 ||
                     (secondary_on(v, secondary::enable_ept) && page_ok(v, field::eptp_list_address, c));
            }),
    control("TSC multiplier is not 0", execution_controls, once,
            [](V v, C) { return !secondary_on(v, secondary::use_tsc_scaling) || v.read(field::tsc_multiplier) != 0; }),
    control("PID-pointer table", execution_controls, once,
            [](V v, C c) {
              if (!tertiary_on(v, tertiary::ipi_virtualization)) return true;
              const u64 pid_table = v.read(field::pid_pointer_table_address);
              return address_ok(pid_table, 8, c) && in_width(pid_table + 8 * v.read(field::last_pid_pointer_index), c);
            }),
    control("HLAT pointer", execution_controls, once,
            [](V v, C c) {
              const u64 hlatp = v.read(field::hlat_pointer);
              return !tertiary_on(v, tertiary::enable_hlat) || ((hlatp & 0xFE7) == 0 && in_maxphyaddr(hlatp, c));
            }),
    control("APIC-timer virtualization", execution_controls, once,
            [](V v, C) {
              return !tertiary_on(v, tertiary::apic_timer_virtualization) ||
                     (secondary_on(v, secondary::virtual_interrupt_delivery) && !rdtsc_exits(v) &&
                      v.read(field::virtual_timer_vector) <= 0xFF);
            }),
    control("Intel PT with guest-physical addresses", execution_controls, once,
            [](V v, C) {
              return !secondary_on(v, secondary::intel_pt_uses_guest_physical_addresses) ||
                     (entry_on(v, vm_entry_control::load_ia32_rtit_ctl) &&
                      exit_on(v, vm_exit_control::clear_ia32_rtit_ctl));
            }),

    // VM-exit controls.
    control("VM-exit controls: reserved bits", exit_controls, once,
            [](V v, C c) { return legal(v, c, control_word::vm_exit); }),
    control("secondary VM-exit controls: reserved bits", exit_controls, once,
            [](V v, C c) {
              return !exit_on(v, vm_exit_control::activate_secondary_controls) || legal(v, c, control_word::vm_exit_2);
            }),
    control("saving the preemption timer needs the timer", exit_controls, once,
            [](V v, C) {
              return pin_on(v, pin_based::activate_vmx_preemption_timer) ||
                     !exit_on(v, vm_exit_control::save_vmx_preemption_timer_value);
            }),
    control(
        "VM-exit MSR-store list", exit_controls, once,
        [](V v, C c) { return msr_list_ok(v, field::vm_exit_msr_store_count, field::vm_exit_msr_store_address, c); }),
    control("VM-exit MSR-load list", exit_controls, once,
            [](V v, C c) { return msr_list_ok(v, field::vm_exit_msr_load_count, field::vm_exit_msr_load_address, c); }),

    // VM-entry controls.
    control("VM-entry controls: reserved bits", entry_controls, once,
            [](V v, C c) { return legal(v, c, control_word::vm_entry); }),
    control("entry to SMM outside SMM", entry_controls, once,
            [](V v, C) {
              return !entry_on(v, vm_entry_control::entry_to_smm | vm_entry_control::deactivate_dual_monitor_treatment);
            }),
    control(
        "VM-entry MSR-load list", entry_controls, once,
        [](V v, C c) { return msr_list_ok(v, field::vm_entry_msr_load_count, field::vm_entry_msr_load_address, c); }),
    control("injection: type", entry_controls, always, type_ok),
    control("injection: vector", entry_controls, always, [](V v, C) { return vector_ok(v); }),
    control("injection: deliver-error-code bit", entry_controls, always, error_code_bit_ok),
    control("injection: reserved bits", entry_controls, always, reserved_bits_ok),
    control("injection: error code", entry_controls, always, [](V v, C) { return error_code_ok(v); }),
    control("injection: instruction length", entry_controls, always, instruction_length_ok),

    // Host state.
    host("host CR0", host_registers,
         [](V v, C c) { return fixed_ok(v.read(field::host_cr0), c.caps().cr0_fixed0, c.caps().cr0_fixed1); }),
    host("host CR4", host_registers,
         [](V v, C c) { return fixed_ok(v.read(field::host_cr4), c.caps().cr4_fixed0, c.caps().cr4_fixed1); }),
    host("host CR4.CET needs CR0.WP", host_registers,
         [](V v, C) { return !v.any(field::host_cr4, cr4_cet) || v.any(field::host_cr0, cr0_wp); }),
    host("host CR3", host_registers, [](V v, C c) { return in_maxphyaddr(v.read(field::host_cr3), c); }),
    host("host SYSENTER_ESP and SYSENTER_EIP", host_registers,
         [](V v, C c) {
           return canonical(v, field::host_ia32_sysenter_esp, c) && canonical(v, field::host_ia32_sysenter_eip, c);
         }),
    host("host PAT", host_registers,
         [](V v, C) { return !exit_on(v, vm_exit_control::load_ia32_pat) || pat_ok(v.read(field::host_ia32_pat)); }),
    host("host EFER", host_registers,
         [](V v, C) {
           if (!exit_on(v, vm_exit_control::load_ia32_efer)) return true;
           const u64 efer = v.read(field::host_ia32_efer);
           const u64 wanted = exit_on(v, vm_exit_control::host_address_space_size) ? efer_lma | efer_lme : 0;
           return (efer & ~efer_defined) == 0 && (efer & (efer_lma | efer_lme)) == wanted;
         }),
    host("host CET state", host_registers,
         [](V v, C c) {
           return !exit_on(v, vm_exit_control::load_cet_state) ||
                  (s_cet_ok(v.read(field::host_ia32_s_cet), c) && (v.read(field::host_ssp) & 3) == 0 &&
                   canonical(v, field::host_ssp, c) && canonical(v, field::host_ia32_interrupt_ssp_table_addr, c));
         }),
    host("host PKRS", host_registers,
         [](V v, C) { return !exit_on(v, vm_exit_control::load_pkrs) || upper_half_zero(v, field::host_ia32_pkrs); }),
    host("host SPEC_CTRL", host_registers,
         [](V v, C) {
           return !exit_2_on(v, vm_exit_control_2::load_ia32_spec_ctrl) ||
                  upper_half_zero(v, field::host_ia32_spec_ctrl);
         }),
    host("host selectors: RPL and TI", host_segments,
         [](V v, C) {
           for (const field f :
                {field::host_cs_selector, field::host_ss_selector, field::host_ds_selector, field::host_es_selector,
                 field::host_fs_selector, field::host_gs_selector, field::host_tr_selector})
             if ((v.read(f) & 7) != 0) return false;
           return true;
         }),
    host("host CS and TR are not null", host_segments,
         [](V v, C) { return v.read(field::host_cs_selector) != 0 && v.read(field::host_tr_selector) != 0; }),
    host("host SS is not null", host_segments,
         [](V v, C) {
           return exit_on(v, vm_exit_control::host_address_space_size) || v.read(field::host_ss_selector) != 0;
         }),
    host("host FS, GS, TR, GDTR and IDTR bases", host_segments,
         [](V v, C c) {
           for (const field f : {field::host_fs_base, field::host_gs_base, field::host_tr_base, field::host_gdtr_base,
                                 field::host_idtr_base})
             if (!canonical(v, f, c)) return false;
           return true;
         }),
    host("host address-space size matches IA32_EFER.LMA", host_address_space,
         [](V v, C c) { return exit_on(v, vm_exit_control::host_address_space_size) == c.long_mode(); }),
    host("IA-32e guest needs a 64-bit host", host_address_space,
         [](V v, C) { return exit_on(v, vm_exit_control::host_address_space_size) || !ia_32e_guest(v); }),
    host("host CR4 fits the address-space size", host_address_space,
         [](V v, C) {
           return exit_on(v, vm_exit_control::host_address_space_size) ? v.any(field::host_cr4, cr4_pae)
                                                                       : !v.any(field::host_cr4, cr4_pcide | cr4_fred);
         }),
    host("host RIP", host_address_space,
         [](V v, C c) {
           return exit_on(v, vm_exit_control::host_address_space_size) ? canonical(v, field::host_rip, c)
                                                                       : upper_half_zero(v, field::host_rip);
         }),

    // Guest state.
    guest("guest CR0", guest_registers, once,
          [](V v, C c) {
            const u64 exempt = unrestricted(v) ? cr0_pe | cr0_pg : 0;
            return fixed_ok(v.read(field::guest_cr0), c.caps().cr0_fixed0, c.caps().cr0_fixed1, exempt);
          }),
    guest("guest CR0.PG needs PE", guest_registers, once,
          [](V v, C) { return !v.any(field::guest_cr0, cr0_pg) || v.any(field::guest_cr0, cr0_pe); }),
    guest("guest CR4", guest_registers, once,
          [](V v, C c) { return fixed_ok(v.read(field::guest_cr4), c.caps().cr4_fixed0, c.caps().cr4_fixed1); }),
    guest("guest CR4.CET needs CR0.WP", guest_registers, once,
          [](V v, C) { return !v.any(field::guest_cr4, cr4_cet) || v.any(field::guest_cr0, cr0_wp); }),
    guest("guest paging fits IA-32e mode", guest_registers, once,
          [](V v, C) {
            if (ia_32e_guest(v)) return v.any(field::guest_cr0, cr0_pg) && v.any(field::guest_cr4, cr4_pae);
            return !v.any(field::guest_cr4, cr4_pcide);
          }),
    guest("guest DEBUGCTL and DR7", guest_registers, once,
          [](V v, C) {
            if (!entry_on(v, vm_entry_control::load_debug_controls)) return true;
            constexpr u64 debugctl_defined = 0xFFC7;
            return (v.read(field::guest_ia32_debugctl) & ~debugctl_defined) == 0 &&
                   upper_half_zero(v, field::guest_dr7);
          }),
    guest("guest CR3", guest_registers, always, [](V v, C c) { return in_maxphyaddr(v.read(field::guest_cr3), c); }),
    guest("guest SYSENTER_ESP and SYSENTER_EIP", guest_registers, once,
          [](V v, C c) {
            return canonical(v, field::guest_ia32_sysenter_esp, c) && canonical(v, field::guest_ia32_sysenter_eip, c);
          }),
    guest(
        "guest PAT", guest_registers, once,
        [](V v, C) { return !entry_on(v, vm_entry_control::load_ia32_pat) || pat_ok(v.read(field::guest_ia32_pat)); }),
    guest("guest EFER", guest_registers, once,
          [](V v, C) { return !entry_on(v, vm_entry_control::load_ia32_efer) || efer_ok(v); }),
    guest("guest BNDCFGS", guest_registers, once,
          [](V v, C c) {
            return !entry_on(v, vm_entry_control::load_ia32_bndcfgs) ||
                   ((v.read(field::guest_ia32_bndcfgs) & 0xFFC) == 0 && canonical(v, field::guest_ia32_bndcfgs, c));
          }),
    guest("guest CET state", guest_registers, once,
          [](V v, C c) {
            return !entry_on(v, vm_entry_control::load_cet_state) ||
                   (s_cet_ok(v.read(field::guest_ia32_s_cet), c) && (v.read(field::guest_ssp) & 3) == 0 &&
                    canonical(v, field::guest_ia32_interrupt_ssp_table_addr, c));
          }),
    guest(
        "guest PKRS", guest_registers, once,
        [](V v, C) { return !entry_on(v, vm_entry_control::load_pkrs) || upper_half_zero(v, field::guest_ia32_pkrs); }),
    guest("guest UINV", guest_registers, once,
          [](V v, C) { return !entry_on(v, vm_entry_control::load_uinv) || v.read(field::guest_uinv) <= 0xFF; }),

    guest("guest TR and LDTR selectors", guest_segments, once,
          [](V v, C) {
            return !v.any(tr.selector, selector_ti) && (!usable(v, ldtr) || !v.any(ldtr.selector, selector_ti));
          }),
    guest("guest SS.RPL equals CS.RPL", guest_segments, once,
          [](V v, C) { return v86(v) || unrestricted(v) || rpl(v, ss) == rpl(v, cs); }),
    guest("guest segment bases", guest_segments, once, segment_bases_ok),
    guest("virtual-8086 segments", guest_segments, once, [](V v, C) { return !v86(v) || v86_segments_ok(v); }),
    guest("guest CS type", guest_segments, once, [](V v, C) { return v86(v) || cs_type_ok(v); }),
    guest("guest SS type", guest_segments, once,
          [](V v, C) {
            const u64 type = type_of_segment(v, ss);
            return v86(v) || !usable(v, ss) || type == 3 || type == 7;
          }),
    guest("guest data-segment types", guest_segments, once, [](V v, C) { return v86(v) || data_types_ok(v); }),
    guest("guest segments: S, P and reserved bits", guest_segments, once,
          [](V v, C) { return v86(v) || code_and_data_rights_ok(v); }),
    guest("guest CS.DPL", guest_segments, once, [](V v, C) { return v86(v) || cs_dpl_ok(v); }),
    guest("guest SS.DPL", guest_segments, once, [](V v, C) { return v86(v) || ss_dpl_ok(v); }),
    guest("guest data-segment DPLs", guest_segments, once, [](V v, C) { return v86(v) || data_dpl_ok(v); }),
    guest("guest CS.D is 0 in 64-bit mode", guest_segments, once,
          [](V v, C) {
            return v86(v) || !ia_32e_guest(v) || (rights(v, cs) & ar_long) == 0 ||
                   (rights(v, cs) & ar_default_big) == 0;
          }),
    guest("guest segments: granularity", guest_segments, once, [](V v, C) { return v86(v) || all_granularity_ok(v); }),
    guest("guest TR", guest_segments, once, [](V v, C) { return tr_ok(v); }),
    guest("guest LDTR", guest_segments, once, [](V v, C) { return ldtr_ok(v); }),

    guest("guest GDTR and IDTR", guest_tables, once,
          [](V v, C c) {
            return canonical(v, field::guest_gdtr_base, c) && canonical(v, field::guest_idtr_base, c) &&
                   v.read(field::guest_gdtr_limit) <= 0xFFFF && v.read(field::guest_idtr_limit) <= 0xFFFF;
          }),

    guest("guest RIP", guest_rip_rflags, always, rip_ok),
    guest("guest RFLAGS: reserved bits", guest_rip_rflags, always, [](V v, C) { return rflags_ok(v); }),
    guest("guest RFLAGS.VM", guest_rip_rflags, always,
          [](V v, C) { return !v86(v) || (!ia_32e_guest(v) && v.any(field::guest_cr0, cr0_pe)); }),
    guest("guest RFLAGS.IF with an injected interrupt", guest_rip_rflags, always,
          [](V v, C) {
            return !injects_type(v, event_type::external_interrupt) ||
                   v.any(field::guest_rflags, rflags_bits::interrupt_flag);
          }),

    guest("activity state is supported", guest_non_register, always, activity_supported),
    guest("HLT needs SS.DPL 0", guest_non_register, always,
          [](V v, C) { return activity(v) != static_cast<u64>(activity_state::hlt) || dpl(v, ss) == 0; }),
    guest("blocking by STI or MOV SS needs the active state", guest_non_register, always,
          [](V v, C) { return activity(v) == 0 || !shadowed(v); }),
    guest("injection fits the activity state", guest_non_register, always,
          [](V v, C) { return !injects(v) || injectable(injected(v), activity_of(v)); }),
    guest("interruptibility: reserved bits", guest_non_register, always,
          [](V v, C) { return (blocking_bits(v) & interruptibility::reserved) == 0; }),
    guest("interruptibility: STI and MOV SS exclude each other", guest_non_register, always,
          [](V v, C) {
            constexpr u64 both = interruptibility::sti | interruptibility::mov_ss;
            return (blocking_bits(v) & both) != both;
          }),
    guest("interruptibility: blocking by STI needs RFLAGS.IF", guest_non_register, always,
          [](V v, C) {
            return (blocking_bits(v) & interruptibility::sti) == 0 ||
                   v.any(field::guest_rflags, rflags_bits::interrupt_flag);
          }),
    guest("interruptibility: no shadow with an injected interrupt", guest_non_register, always,
          [](V v, C) { return !injects_type(v, event_type::external_interrupt) || !shadowed(v); }),
    guest(
        "interruptibility: no MOV SS with an injected NMI", guest_non_register, always,
        [](V v, C) { return !injects_type(v, event_type::nmi) || (blocking_bits(v) & interruptibility::mov_ss) == 0; }),
    guest(
        "interruptibility: no STI with an injected NMI", guest_non_register, always,
        [](V v, C) { return !injects_type(v, event_type::nmi) || (blocking_bits(v) & interruptibility::sti) == 0; },
        qualification_nmi),
    guest("interruptibility: no blocking by SMI outside SMM", guest_non_register, always,
          [](V v, C) { return (blocking_bits(v) & interruptibility::smi) == 0; }),
    guest("interruptibility: no virtual-NMI blocking with an injected NMI", guest_non_register, always,
          [](V v, C) {
            return !injects_type(v, event_type::nmi) || !pin_on(v, pin_based::virtual_nmis) ||
                   (blocking_bits(v) & interruptibility::nmi) == 0;
          }),
    guest("interruptibility: enclave interruption", guest_non_register, always,
          [](V v, C c) {
            // A processor has SGX where ENCLS exiting exists.
            return (blocking_bits(v) & interruptibility::enclave) == 0 ||
                   ((blocking_bits(v) & interruptibility::mov_ss) == 0 &&
                    c.caps().supports(control_word::secondary, 15));
          }),
    guest("pending debug exceptions", guest_non_register, always, [](V v, C) { return pending_debug_ok(v); }),
    guest("VMCS link pointer", guest_non_register, always, link_pointer_ok, qualification_link),

    guest("PDPTEs", guest_pdptes, once, pdptes_ok, qualification_pdpte),
};

// The rows that are made at every entry, so that the short way does not walk the long table.
constexpr std::size_t count_always() {
  std::size_t n = 0;
  for (const entry_check& check : table) n += check.always ? 1 : 0;
  return n;
}

constexpr std::array<std::uint8_t, count_always()> make_always_rows() {
  std::array<std::uint8_t, count_always()> rows{};
  std::size_t n = 0;
  for (std::size_t i = 0; i < std::size(table); ++i)
    if (table[i].always) rows[n++] = static_cast<std::uint8_t>(i);
  return rows;
}
constexpr auto always_rows = make_always_rows();

// ---- running them --------------------------------------------------------------------------------------------------

entry_result failure_of(const entry_check& check) {
  entry_result result;
  result.check = check.name;
  result.section = check.section;
  if (check.area == check_area::guest) {
    result.outcome = entry_outcome::failed_entry;
    result.reason = exit_reason::entry_failure_guest_state;
    result.qualification = check.qualification;
  } else {
    result.outcome = entry_outcome::fail_valid;
    result.error = check.area == check_area::control ? instruction_error::entry_invalid_control_fields
                                                     : instruction_error::entry_invalid_host_state;
  }
  return result;
}

// Rules that may be skipped look at one bit of a field that changes at every exit: RFLAGS.VM. It goes into the digest.
u64 digest_for(const vmcs& v, const entry_context& context) { return context.digest() ^ (v86(v) ? 2u : 0u); }

struct basic_check {
  const char* name;
  entry_outcome outcome;
  instruction_error error;
  exit_reason reason;
  bool failed;
};

}  // namespace

const entry_check* entry_check_table() noexcept { return table; }
std::size_t entry_check_table_size() noexcept { return std::size(table); }

entry_result check_entry_basics(entry_instruction instruction, vmx_state& state, const execution_mode& mode,
                                std::vector<check_record>* log) {
  constexpr const char* section = "SDM Vol. 3C §29.1";
  const bool launching = instruction == entry_instruction::vmlaunch;
  const bool wrong_mode = (mode.cr0 & cr0_pe) == 0 || mode.virtual_8086 || (mode.long_mode && !mode.code_64_bit);
  const vmcs* v = state.current;
  const launch_state wanted = launching ? launch_state::clear : launch_state::launched;
  const exit_reason reason = launching ? exit_reason::vmlaunch : exit_reason::vmresume;
  constexpr auto none = instruction_error::none;
  const basic_check checks[] = {
      {"in VMX operation, in a mode that has VMX instructions", entry_outcome::fault_ud, none, reason,
       state.mode == operation::off || wrong_mode},
      {"in root operation", entry_outcome::vm_exit, none, reason, state.mode == operation::non_root},
      {"CPL is 0", entry_outcome::fault_gp, none, reason, mode.cpl > 0},
      {"there is a current VMCS", entry_outcome::fail_invalid, none, reason, v == nullptr},
      {"the current VMCS is not a shadow VMCS", entry_outcome::fail_invalid, none, reason,
       v != nullptr && v->is_shadow()},
      {"events are not blocked by MOV SS", entry_outcome::fail_valid, instruction_error::entry_blocked_by_mov_ss,
       reason, mode.mov_ss_blocking},
      {"the launch state fits the instruction", entry_outcome::fail_valid,
       launching ? instruction_error::vmlaunch_not_clear : instruction_error::vmresume_not_launched, reason,
       v != nullptr && v->launch() != wanted},
  };
  for (const basic_check& check : checks) {
    if (log != nullptr) log->push_back({check.name, section, !check.failed});
    if (!check.failed) continue;
    if (check.outcome == entry_outcome::fail_valid) fail(state, check.error);
    return {check.outcome, check.error, check.reason, 0, check.name, section};
  }
  return {};
}

entry_result check_entry_fields(vmcs& v, const entry_context& context, std::vector<check_record>* log) {
  const u64 digest = digest_for(v, context);
  if (log == nullptr && v.checks_hold(digest)) {
    for (const std::uint8_t row : always_rows)
      if (!table[row].holds(v, context)) return failure_of(table[row]);
    return {};
  }
  for (const entry_check& check : table) {
    const bool passed = check.holds(v, context);
    if (log != nullptr) log->push_back({check.name, check.section, passed});
    if (!passed) return failure_of(check);
  }
  v.note_checks_passed(digest);
  return {};
}

entry_result check_entry(entry_instruction instruction, vmx_state& state, const execution_mode& mode,
                         entry_context& context, std::vector<check_record>* log) {
  entry_result result = check_entry_basics(instruction, state, mode, log);
  if (!result) return result;
  context.set_long_mode(mode.long_mode);
  context.set_current_vmcs(state.current_vmcs);
  result = check_entry_fields(*state.current, context, log);
  if (result.outcome == entry_outcome::fail_valid) fail(state, result.error);
  return result;
}

void complete_entry(entry_instruction instruction, vmx_state& state) noexcept {
  if (instruction == entry_instruction::vmlaunch) state.current->set_launch(launch_state::launched);
  state.mode = operation::non_root;
}

exit_info failed_entry_exit(const entry_result& result) noexcept {
  exit_info exit;
  exit.reason = result.reason;
  exit.qualification = result.qualification;
  exit.entry_failure = true;
  return exit;
}

}  // namespace vmxsys::vmx
