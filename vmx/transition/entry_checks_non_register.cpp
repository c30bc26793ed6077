#include <vmxsys/vmx/vmcs/pdpte.hpp>
#include <vmxsys/vmx/vmcs/processor_state.hpp>

#include "detail/entry_checks.hpp"

// SDM Vol. 3C §29.3.1.4 to §29.3.1.6: guest RIP, RFLAGS, SSP, non-register state and PDPTEs.
namespace vmxsys::vmx::entry_checks {

namespace {

constexpr const char* rip_rflags = "SDM Vol. 3C §29.3.1.4";
constexpr const char* non_register = "SDM Vol. 3C §29.3.1.5";
constexpr const char* pdptes = "SDM Vol. 3C §29.3.1.6";

constexpr field rflags = field::guest_rflags;
constexpr field activity_field = field::guest_activity_state;
constexpr field blocking_field = field::guest_interruptibility_state;
constexpr field pending_field = field::guest_pending_debug_exceptions;
constexpr field cs_rights = field::guest_cs_access_rights;
constexpr field ss_rights = field::guest_ss_access_rights;
constexpr field link_field = field::vmcs_link_pointer;

constexpr entry_check non_register_row(const char* name, field_list fields, rule holds, u64 qualification = 0) {
  return guest(name, non_register, if_not_ordinary, fields, holds, qualification);
}
constexpr entry_check link_row(const char* name, check_when when, field_list fields, rule holds) {
  return guest(name, non_register, when, fields, holds, qualification_link);
}

// ---- RIP and RFLAGS ------------------------------------------------------------------------------------------------

bool rip_ok(V v, C c) {
  const u64 rip = v.read(field::guest_rip);
  const bool code_64_bit = ia_32e_guest(v) && v.any(cs_rights, access_rights::long_mode);
  // In 64-bit code the address need not be canonical.
  return code_64_bit ? upper_bits_equal(rip, c) : rip >> 32 == 0;
}

bool rflags_ok(V v, C) {
  constexpr u64 reserved = ~u64{0x3F'FFFF} | 1u << 15 | 1u << 5 | 1u << 3;
  return !v.any(rflags, reserved) && v.any(rflags, rflags_bits::one);
}

// ---- activity and interruptibility ---------------------------------------------------------------------------------

u64 activity(V v) { return v.read(activity_field); }
bool halted(V v) { return activity(v) == static_cast<u64>(activity_state::hlt); }
bool blocking(V v, u64 bits) { return v.any(blocking_field, bits); }
bool shadowed(V v) { return blocking(v, interruptibility::sti | interruptibility::mov_ss); }
bool enters_smm(V v) { return entry_on(v, vm_entry_control::entry_to_smm); }

bool activity_supported(V v, C c) {
  const u64 a = activity(v);
  return a == 0 || (a <= 3 && (c.caps().misc >> (5 + a) & 1) != 0);
}

// ---- pending debug exceptions --------------------------------------------------------------------------------------

namespace pending = pending_debug_bits;

bool pending_reserved_ok(V v, C c) {
  const u64 reserved = ~pending::defined | (c.options().bus_lock_in_pending_debug ? 0 : pending::bus_lock);
  return !v.any(pending_field, reserved);
}

bool pending_step_ok(V v, C) {
  if (!shadowed(v) && !halted(v)) return true;
  const bool stepping = v.any(rflags, rflags_bits::tf) && !v.any(field::guest_ia32_debugctl, debugctl_bits::btf);
  return v.any(pending_field, pending::single_step) == stepping;
}

bool pending_rtm_ok(V v, C c) {
  if (!v.any(pending_field, pending::rtm)) return true;
  return v.read(pending_field) == (pending::rtm | pending::enabled_breakpoint) && c.features().rtm &&
         !blocking(v, interruptibility::mov_ss);
}

// ---- VMCS link pointer ---------------------------------------------------------------------------------------------

bool links(V v) { return v.read(link_field) != no_vmcs; }

// Outside SMM, and when entering it, the VMCS being entered with; in SMM otherwise the one that SMM interrupted.
bool link_differs(V v, C c) {
  const physical_address other =
      c.in_smm() && !enters_smm(v) ? v.read(field::executive_vmcs_pointer) : c.current_vmcs();
  return !links(v) || v.read(link_field) != other;
}

bool link_revision_ok(V v, C c) {
  return !links(v) || (revision_word(c.memory(), v.read(link_field)) & ~vmcs_region::shadow_bit) == c.caps().revision();
}

bool link_shadow_bit_ok(V v, C c) {
  return !links(v) || ((revision_word(c.memory(), v.read(link_field)) & vmcs_region::shadow_bit) != 0) ==
                          secondary_on(v, secondary::vmcs_shadowing);
}

// ---- PDPTEs --------------------------------------------------------------------------------------------------------

bool pae_guest(V v) { return v.any(field::guest_cr0, cr0_pg) && v.any(field::guest_cr4, cr4_pae) && !ia_32e_guest(v); }

bool pdptes_in_vmcs_ok(V v, C c) {
  if (!pae_guest(v) || !secondary_on(v, secondary::enable_ept)) return true;
  for (const field f : {field::guest_pdpte0, field::guest_pdpte1, field::guest_pdpte2, field::guest_pdpte3})
    if (!pdpte_legal(v.read(f), c.caps())) return false;
  return true;
}

// Without EPT the processor loads them from memory, as MOV to CR3 does; it need not when PAE paging goes on with the
// same CR3.
bool pdptes_in_memory_ok(V v, C c) {
  constexpr u64 table_address = 0xFFFF'FFE0;
  const u64 cr3 = v.read(field::guest_cr3);
  if (!pae_guest(v) || secondary_on(v, secondary::enable_ept) || c.pae_paging_with(cr3)) return true;
  for (unsigned i = 0; i < 4; ++i)
    if (!pdpte_legal(c.memory().read<u64>((cr3 & table_address) + 8 * i), c.caps())) return false;
  return true;
}

constexpr entry_check rows[] = {
    guest("guest RIP", rip_rflags, always, reads<entry_controls_word, cs_rights, field::guest_rip>, rip_ok),
    guest("guest RFLAGS: reserved bits", rip_rflags, always, reads<rflags>, rflags_ok),
    guest("guest RFLAGS.VM", rip_rflags, once, reads<rflags, entry_controls_word, field::guest_cr0>,
          [](V v, C) { return !v86(v) || (!ia_32e_guest(v) && v.any(field::guest_cr0, cr0_pe)); }),
    guest("guest RFLAGS.IF with an injected interrupt", rip_rflags, if_injecting, reads<event_word, rflags>,
          [](V v, C) {
            return !injects_type(v, event_type::external_interrupt) || v.any(rflags, rflags_bits::interrupt_flag);
          }),
    guest("guest SSP", rip_rflags, once, reads<entry_controls_word, field::guest_ssp>,
          [](V v, C c) {
            return !entry_on(v, vm_entry_control::load_cet_state) ||
                   (!v.any(field::guest_ssp, 3) && upper_bits_equal(v.read(field::guest_ssp), c));
          }),

    non_register_row("activity state is supported", reads<activity_field>, activity_supported),
    non_register_row("HLT needs SS.DPL 0", reads<activity_field, ss_rights>,
                     [](V v, C) { return !halted(v) || !v.any(ss_rights, access_rights::dpl); }),
    non_register_row("blocking by STI or MOV SS needs the active state", reads<activity_field, blocking_field>,
                     [](V v, C) { return activity(v) == 0 || !shadowed(v); }),
    non_register_row("injection fits the activity state", reads<activity_field, event_word>,
                     [](V v, C) { return !injects(v) || injectable(injected(v), activity_of(v)); }),
    non_register_row(
        "entry to SMM excludes wait-for-SIPI", reads<activity_field, entry_controls_word>,
        [](V v, C) { return !enters_smm(v) || activity(v) != static_cast<u64>(activity_state::wait_for_sipi); }),

    non_register_row("interruptibility: reserved bits", reads<blocking_field>,
                     [](V v, C) { return !blocking(v, interruptibility::reserved); }),
    non_register_row(
        "interruptibility: STI and MOV SS exclude each other", reads<blocking_field>,
        [](V v, C) { return !blocking(v, interruptibility::sti) || !blocking(v, interruptibility::mov_ss); }),
    non_register_row(
        "interruptibility: blocking by STI needs RFLAGS.IF", reads<blocking_field, rflags>,
        [](V v, C) { return !blocking(v, interruptibility::sti) || v.any(rflags, rflags_bits::interrupt_flag); }),
    non_register_row("interruptibility: no shadow with an injected interrupt", reads<blocking_field, event_word>,
                     [](V v, C) { return !injects_type(v, event_type::external_interrupt) || !shadowed(v); }),
    non_register_row(
        "interruptibility: no MOV SS with an injected NMI", reads<blocking_field, event_word>,
        [](V v, C) { return !injects_type(v, event_type::nmi) || !blocking(v, interruptibility::mov_ss); }),
    non_register_row(
        "interruptibility: no STI with an injected NMI", reads<blocking_field, event_word>,
        [](V v, C c) {
          return !c.options().sti_blocks_nmi_injection || !injects_type(v, event_type::nmi) ||
                 !blocking(v, interruptibility::sti);
        },
        qualification_nmi),
    non_register_row("interruptibility: no blocking by SMI outside SMM", reads<blocking_field>,
                     [](V v, C c) { return c.in_smm() || !blocking(v, interruptibility::smi); }),
    guest("interruptibility: blocking by SMI when entering SMM", non_register, always,
          reads<blocking_field, entry_controls_word>,
          [](V v, C) { return !enters_smm(v) || blocking(v, interruptibility::smi); }),
    non_register_row("interruptibility: no virtual-NMI blocking with an injected NMI",
                     reads<blocking_field, event_word, pin_word>,
                     [](V v, C) {
                       return !injects_type(v, event_type::nmi) || !pin_on(v, pin_based::virtual_nmis) ||
                              !blocking(v, interruptibility::nmi);
                     }),
    non_register_row("interruptibility: enclave interruption", reads<blocking_field>,
                     [](V v, C c) {
                       return !blocking(v, interruptibility::enclave) ||
                              (!blocking(v, interruptibility::mov_ss) && c.features().sgx);
                     }),

    non_register_row("pending debug exceptions: reserved bits", reads<pending_field>, pending_reserved_ok),
    non_register_row("pending debug exceptions: BS",
                     reads<pending_field, activity_field, blocking_field, rflags, field::guest_ia32_debugctl>,
                     pending_step_ok),
    non_register_row("pending debug exceptions: RTM", reads<pending_field, blocking_field>, pending_rtm_ok),

    link_row("VMCS link pointer: alignment and width", once, reads<link_field>,
             [](V v, C c) { return !links(v) || page_ok(v, link_field, c); }),
    link_row("VMCS link pointer is not the current VMCS", always,
             reads<link_field, entry_controls_word, field::executive_vmcs_pointer>, link_differs),
    link_row("VMCS link pointer: revision identifier", always, reads<link_field>, link_revision_ok),
    link_row("VMCS link pointer: shadow-VMCS indicator", always, reads<link_field, primary_word, secondary_word>,
             link_shadow_bit_ok),

    guest("PDPTEs in the VMCS", pdptes, once,
          reads<primary_word, secondary_word, entry_controls_word, field::guest_cr0, field::guest_cr4,
                field::guest_pdpte0, field::guest_pdpte1, field::guest_pdpte2, field::guest_pdpte3>,
          pdptes_in_vmcs_ok, qualification_pdpte),
    guest(
        "PDPTEs in memory", pdptes, always,
        reads<primary_word, secondary_word, entry_controls_word, field::guest_cr0, field::guest_cr4, field::guest_cr3>,
        pdptes_in_memory_ok, qualification_pdpte),
};

}  // namespace

const entry_check_group guest_non_register = group<rows>("guest RIP, RFLAGS, SSP, non-register state and PDPTEs");

}  // namespace vmxsys::vmx::entry_checks
