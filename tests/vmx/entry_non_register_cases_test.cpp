#include "entry_bench.hpp"

// The two sides of every rule about guest RIP, RFLAGS, SSP, non-register state and PDPTEs. SDM Vol. 3C §29.3.1.4 to
// §29.3.1.6.
namespace vmxsys::vmx::entry_testing {
namespace {

entry_case pair(const char* rule, std::string label, change prepare, change good, change bad, u64 qualification = 0) {
  return {rule, std::move(label), ending::exit_33, std::move(prepare), std::move(good), std::move(bad), qualification};
}

constexpr u64 plain_flags = 0x202;

const field blocking = f::guest_interruptibility_state;
const field activity = f::guest_activity_state;
const field pending = f::guest_pending_debug_exceptions;
const change hlt = set(activity, 1);

void add_rip(std::vector<entry_case>& c) {
  // Not canonical, yet legal: only the bits above the linear-address width must agree.
  c.push_back(pair("guest RIP", "rip_lower_half", nothing(), set(f::guest_rip, (u64{1} << 57) - 1),
                   set(f::guest_rip, u64{1} << 57)));
  c.push_back(pair("guest RIP", "rip_upper_half", nothing(), set(f::guest_rip, ~u64{0} << 57),
                   set(f::guest_rip, (~u64{0} << 57) - 1)));
  c.push_back(pair("guest RIP", "rip_of_a_32_bit_guest", guest_32(), set(f::guest_rip, 0xFFFF'FFFF),
                   set(f::guest_rip, u64{1} << 32)));
  c.push_back(pair("guest RIP", "rip_in_compatibility_mode",
                   all(set(f::guest_cs_access_rights, 0xC09B), set(f::guest_rip, 0)), set(f::guest_rip, 0xFFFF'FFFF),
                   set(f::guest_rip, u64{1} << 32)));
  for (const unsigned bit : {3u, 5u, 15u, 22u, 31u, 32u, 63u})
    c.push_back(pair("guest RFLAGS: reserved bits", "rflags_bit_" + std::to_string(bit), nothing(),
                     set(f::guest_rflags, 0x1D'7FD7 | plain_flags), set(f::guest_rflags, plain_flags | u64{1} << bit)));
  c.push_back(
      pair("guest RFLAGS: reserved bits", "rflags_bit_1_must_be_1", nothing(), nothing(), set(f::guest_rflags, 0x200)));
  // In the other modes virtual-8086 segments are not those of the mode: only this rule is about the mode itself.
  c.push_back(pair("guest RFLAGS.VM", "v86_of_an_ia_32e_guest", guest_v86(), nothing(),
                   entry_on(vm_entry_control::ia_32e_mode_guest)));
  c.push_back(pair("guest RFLAGS.VM", "v86_in_real_mode",
                   all(guest_v86(), unrestricted_on(), flip(f::guest_cr0, 0x8000'0000)), nothing(),
                   flip(f::guest_cr0, 1)));
  c.push_back(pair("guest RFLAGS.IF with an injected interrupt", "interrupt_with_if_0", inject(0, 0x30),
                   set(f::guest_rflags, 0x202), set(f::guest_rflags, 2)));
  c.push_back(pair("guest RFLAGS.IF with an injected interrupt", "nmi_with_if_0", set(f::guest_rflags, 2), inject(2, 2),
                   inject(0, 2)));
  const change cet = entry_on(vm_entry_control::load_cet_state);
  c.push_back(pair("guest SSP", "ssp_bit_0", cet, set(f::guest_ssp, 4), set(f::guest_ssp, 1)));
  c.push_back(pair("guest SSP", "ssp_bit_1", cet, set(f::guest_ssp, 4), set(f::guest_ssp, 2)));
  c.push_back(
      pair("guest SSP", "ssp_lower_half", cet, set(f::guest_ssp, (u64{1} << 57) - 4), set(f::guest_ssp, u64{1} << 57)));
  c.push_back(pair("guest SSP", "ssp_upper_half", cet, set(f::guest_ssp, ~u64{0} << 57),
                   set(f::guest_ssp, (~u64{0} << 57) - 4)));
  c.push_back(pair("guest SSP", "ssp_when_loaded", set(f::guest_ssp, 1), nothing(), cet));
}

void add_activity(std::vector<entry_case>& c) {
  c.push_back(pair("activity state is supported", "activity_4", nothing(), set(activity, 3), set(activity, 4)));
  c.push_back(pair("activity state is supported", "activity_bit_31", nothing(), nothing(), set(activity, 0x8000'0001)));
  for (const unsigned state : {1u, 2u, 3u})
    c.push_back(pair("activity state is supported", "activity_" + std::to_string(state) + "_is_an_option",
                     set(activity, state), nothing(),
                     [=](entry_bench& b) { b.caps.misc &= ~(u64{1} << (5 + state)); }));
  const auto level = [](u64 dpl) {
    return all(set(f::guest_ss_selector, 0x18 | dpl), set(f::guest_cs_selector, 0x10 | dpl),
               set(f::guest_ss_access_rights, 0xC093 | dpl << 5), set(f::guest_cs_access_rights, 0xA09B | dpl << 5));
  };
  c.push_back(pair("HLT needs SS.DPL 0", "hlt_at_cpl_1", hlt, level(0), level(1)));
  c.push_back(pair("HLT needs SS.DPL 0", "cpl_2_in_hlt", level(2), set(activity, 2), set(activity, 1)));
  for (const unsigned state : {1u, 2u, 3u})
    for (const u64 shadow : {1, 2})
      c.push_back(pair("blocking by STI or MOV SS needs the active state",
                       "shadow_" + std::to_string(shadow) + "_in_state_" + std::to_string(state), set(blocking, shadow),
                       set(activity, 0), set(activity, state)));
  const char* fits = "injection fits the activity state";
  const std::string hlt_label = "hlt_";
  const change code = set(f::vm_entry_instruction_length, 1);
  c.push_back(
      pair(fits, hlt_label + "interrupt_and_software_interrupt", all(hlt, code), inject(0, 0x30), inject(4, 0x30)));
  c.push_back(pair(fits, hlt_label + "debug_and_breakpoint", all(hlt, code), inject(3, 1), inject(6, 3)));
  c.push_back(pair(fits, hlt_label + "machine_check_and_page_fault", hlt, inject(3, 18),
                   inject(3, 14, event_bits::error_code)));
  c.push_back(pair(fits, hlt_label + "nmi_and_invalid_opcode", hlt, inject(2, 2), inject(3, 6)));
  c.push_back(pair(fits, hlt_label + "mtf_and_icebp", all(hlt, code), inject(7, 0), inject(5, 1)));
  c.push_back(pair(fits, hlt_label + "mtf_and_fred", hlt, inject(7, 0), inject(7, 1)));
  const change shutdown = set(activity, 2);
  c.push_back(pair(fits, "shutdown_nmi_and_interrupt", shutdown, inject(2, 2), inject(0, 0x30)));
  c.push_back(pair(fits, "shutdown_machine_check_and_debug", shutdown, inject(3, 18), inject(3, 1)));
  c.push_back(pair(fits, "shutdown_no_mtf", shutdown, nothing(), inject(7, 0)));
  c.push_back(pair(fits, "shutdown_interrupt_18_is_no_machine_check", shutdown, inject(3, 18), inject(0, 18)));
  const change wait = set(activity, 3);
  for (const auto& [type, vector] : {std::pair{0, 0x30}, {2, 2}, {3, 18}, {7, 0}})
    c.push_back(pair(fits, "wait_for_sipi_type_" + std::to_string(type), wait, nothing(), inject(type, vector)));
  c.push_back(pair("entry to SMM excludes wait-for-SIPI", "smm_and_sipi",
                   all([](entry_bench& b) { b.in_smm = true; }, set(blocking, interruptibility::smi),
                       entry_on(vm_entry_control::entry_to_smm)),
                   set(activity, 2), set(activity, 3)));
}

void add_interruptibility(std::vector<entry_case>& c) {
  for (const unsigned bit : {5u, 6u, 31u})
    c.push_back(pair("interruptibility: reserved bits", "bit_" + std::to_string(bit), nothing(), set(blocking, 8),
                     set(blocking, u64{1} << bit)));
  c.push_back(pair("interruptibility: STI and MOV SS exclude each other", "sti", nothing(), set(blocking, 1),
                   set(blocking, 3)));
  c.push_back(pair("interruptibility: STI and MOV SS exclude each other", "mov_ss", nothing(), set(blocking, 2),
                   set(blocking, 3)));
  c.push_back(pair("interruptibility: blocking by STI needs RFLAGS.IF", "sti_with_if_0", set(blocking, 1),
                   set(f::guest_rflags, 0x202), set(f::guest_rflags, 2)));
  c.push_back(pair("interruptibility: blocking by STI needs RFLAGS.IF", "if_0_with_mov_ss", set(f::guest_rflags, 2),
                   set(blocking, 2), set(blocking, 1)));
  for (const u64 shadow : {1, 2})
    c.push_back(pair("interruptibility: no shadow with an injected interrupt",
                     "interrupt_in_shadow_" + std::to_string(shadow), inject(0, 0x30), set(blocking, 0),
                     set(blocking, shadow)));
  c.push_back(pair("interruptibility: no shadow with an injected interrupt", "exception_in_a_shadow", set(blocking, 1),
                   inject(3, 6), inject(0, 6)));
  c.push_back(pair("interruptibility: no MOV SS with an injected NMI", "nmi_after_mov_ss", inject(2, 2),
                   set(blocking, 0), set(blocking, 2)));
  c.push_back(pair("interruptibility: no STI with an injected NMI", "nmi_after_sti", inject(2, 2), set(blocking, 0),
                   set(blocking, 1), 3));
  c.push_back(pair("interruptibility: no STI with an injected NMI", "nmi_after_sti_without_qualification",
                   all(inject(2, 2), [](entry_bench& b) { b.options.sti_nmi_qualification = 0; }), set(blocking, 0),
                   set(blocking, 1), 0));
  c.push_back(pair(
      "interruptibility: no STI with an injected NMI", "nmi_after_sti_by_the_switch",
      all(inject(2, 2), set(blocking, 1)), [](entry_bench& b) { b.options.sti_blocks_nmi_injection = false; },
      [](entry_bench& b) { b.options.sti_blocks_nmi_injection = true; }, 3));
  c.push_back(pair("interruptibility: no blocking by SMI outside SMM", "smi_blocking",
                   all([](entry_bench& b) { b.in_smm = true; }, set(blocking, interruptibility::smi)), nothing(),
                   [](entry_bench& b) { b.in_smm = false; }));
  c.push_back(pair("interruptibility: blocking by SMI when entering SMM", "smi_blocking_in_smm",
                   all([](entry_bench& b) { b.in_smm = true; }, entry_on(vm_entry_control::entry_to_smm)),
                   set(blocking, interruptibility::smi), set(blocking, 0)));
  const change virtual_nmis = on(control_word::pin, pin_based::virtual_nmis);
  c.push_back(pair("interruptibility: no virtual-NMI blocking with an injected NMI", "nmi_while_virtually_blocked",
                   all(virtual_nmis, inject(2, 2)), set(blocking, 0), set(blocking, 8)));
  c.push_back(pair("interruptibility: no virtual-NMI blocking with an injected NMI", "nmi_while_blocked",
                   all(inject(2, 2), set(blocking, 8)), nothing(), virtual_nmis));
  c.push_back(pair("interruptibility: enclave interruption", "enclave_after_mov_ss", set(blocking, 0x10), nothing(),
                   set(blocking, 0x12)));
  c.push_back(pair("interruptibility: enclave interruption", "enclave_without_sgx", set(blocking, 0x10), nothing(),
                   [](entry_bench& b) { b.features.sgx = false; }));
}

void add_pending_debug(std::vector<entry_case>& c) {
  for (const unsigned bit : {4u, 10u, 11u, 13u, 15u, 17u, 63u})
    c.push_back(pair("pending debug exceptions: reserved bits", "pending_bit_" + std::to_string(bit), nothing(),
                     set(pending, 0x500F), set(pending, u64{1} << bit)));
  c.push_back(pair(
      "pending debug exceptions: reserved bits", "bus_lock_by_the_switch", set(pending, 0x800),
      [](entry_bench& b) { b.options.bus_lock_in_pending_debug = true; },
      [](entry_bench& b) { b.options.bus_lock_in_pending_debug = false; }));
  const char* bs = "pending debug exceptions: BS";
  const change tf = set(f::guest_rflags, 0x302);
  const std::pair<const char*, change> held[] = {{"hlt", hlt}, {"sti", set(blocking, 1)}, {"mov_ss", set(blocking, 2)}};
  for (const auto& [label, how] : held) {
    c.push_back(pair(bs, label + std::string{"_stepping"}, all(tf, how), set(pending, 0x4000), set(pending, 0)));
    c.push_back(pair(bs, label + std::string{"_not_stepping"}, how, set(pending, 0), set(pending, 0x4000)));
    c.push_back(pair(bs, label + std::string{"_branch_stepping"}, all(tf, how, set(f::guest_ia32_debugctl, 2)),
                     set(pending, 0), set(pending, 0x4000)));
    c.push_back(pair(bs, label + std::string{"_counts_when_held"}, set(pending, 0x4000), nothing(), how));
  }
  const char* rtm = "pending debug exceptions: RTM";
  constexpr u64 in_transaction = 0x1'1000;
  c.push_back(pair(rtm, "rtm_needs_bit_12", nothing(), set(pending, in_transaction), set(pending, 0x1'0000)));
  c.push_back(
      pair(rtm, "rtm_excludes_bit_0", nothing(), set(pending, in_transaction), set(pending, in_transaction | 1)));
  c.push_back(
      pair(rtm, "rtm_excludes_bs", nothing(), set(pending, in_transaction), set(pending, in_transaction | 0x4000)));
  c.push_back(pair(rtm, "rtm_after_mov_ss", set(pending, in_transaction), set(blocking, 1), set(blocking, 2)));
  c.push_back(
      pair(rtm, "rtm_exists", set(pending, in_transaction), nothing(), [](entry_bench& b) { b.features.rtm = false; }));
}

void add_link(std::vector<entry_case>& c) {
  constexpr u64 link_error = 4;
  const change region = [](entry_bench& b) {
    b.memory.write(0xA000, b.caps.revision());
    b.memory.write(0xB000, b.caps.revision() | vmcs_region::shadow_bit);
    b.memory.write(0xC000, b.caps.revision() + 1);
    b.memory.write(width_end - 4096, b.caps.revision());
    b.memory.write(width_end, b.caps.revision());
    b.memory.write(0xA800, b.caps.revision());
  };
  const change link = all(region, set(f::vmcs_link_pointer, 0xA000));
  const auto to = [](u64 at) { return set(f::vmcs_link_pointer, at); };
  c.push_back(
      pair("VMCS link pointer: alignment and width", "link_alignment", link, nothing(), to(0xA800), link_error));
  c.push_back(pair("VMCS link pointer: alignment and width", "link_width", link, to(width_end - 4096), to(width_end),
                   link_error));
  c.push_back(pair("VMCS link pointer is not the current VMCS", "link_to_itself", link, nothing(),
                   to(entry_bench::vmcs_address), link_error));
  const change in_smm = [](entry_bench& b) { b.in_smm = true; };
  c.push_back(pair("VMCS link pointer is not the current VMCS", "link_to_the_executive_vmcs", all(link, in_smm),
                   nothing(), set(f::executive_vmcs_pointer, 0xA000), link_error));
  c.push_back(pair("VMCS link pointer is not the current VMCS", "link_to_itself_when_entering_smm",
                   all(link, in_smm, to(entry_bench::vmcs_address), set(f::executive_vmcs_pointer, 0xA000)), nothing(),
                   all(entry_on(vm_entry_control::entry_to_smm), set(blocking, interruptibility::smi)), link_error));
  c.push_back(pair("VMCS link pointer: revision identifier", "link_revision", link, nothing(), to(0xC000), link_error));
  c.push_back(pair("VMCS link pointer: revision identifier", "link_revision_in_memory", link, nothing(),
                   poke<std::uint32_t>(0xA000, 0x7FFF'FFFF), link_error));
  c.push_back(
      pair("VMCS link pointer: shadow-VMCS indicator", "link_to_a_shadow", link, nothing(), to(0xB000), link_error));
  const change shadowing = secondary_on(secondary::vmcs_shadowing);
  c.push_back(pair("VMCS link pointer: shadow-VMCS indicator", "link_to_no_shadow", all(link, shadowing, to(0xB000)),
                   nothing(), to(0xA000), link_error));
  c.push_back(pair(
      "VMCS link pointer: shadow-VMCS indicator", "link_shadow_in_memory", link, nothing(),
      [](entry_bench& b) { b.memory.write(0xA000, b.caps.revision() | vmcs_region::shadow_bit); }, link_error));
}

void add_pdptes(std::vector<entry_case>& c) {
  constexpr u64 pdpte_error = 2;
  const change pae_ept = all(guest_32(), ept_on());
  const field pdptes[] = {f::guest_pdpte0, f::guest_pdpte1, f::guest_pdpte2, f::guest_pdpte3};
  const change pae = all(guest_32(), set(f::guest_cr3, 0x2020));
  for (unsigned i = 0; i < 4; ++i) {
    const std::string n = std::to_string(i);
    for (const unsigned bit : {1u, 2u, 5u, 8u, 46u, 63u}) {
      const u64 wrong = 1 | u64{1} << bit;
      const u64 not_present = u64{1} << bit;
      c.push_back(pair("PDPTEs in the VMCS", "pdpte_" + n + "_bit_" + std::to_string(bit), pae_ept,
                       set(pdptes[i], not_present), set(pdptes[i], wrong), pdpte_error));
      c.push_back(pair("PDPTEs in memory", "memory_pdpte_" + n + "_bit_" + std::to_string(bit), pae,
                       poke(0x2020 + 8 * i, not_present), poke(0x2020 + 8 * i, wrong), pdpte_error));
    }
    c.push_back(pair("PDPTEs in the VMCS", "pdpte_" + n + "_ignored_bits", pae_ept, set(pdptes[i], 0x3FFF'FFFF'FE19),
                     set(pdptes[i], 0x7FFF'FFFF'FE19), pdpte_error));
  }
  const change bad_field = set(f::guest_pdpte2, 3);
  c.push_back(pair("PDPTEs in the VMCS", "pdptes_of_pae_paging_only", all(ept_on(), bad_field), nothing(), guest_32(),
                   pdpte_error));
  c.push_back(pair("PDPTEs in the VMCS", "pdptes_in_the_vmcs_with_ept_only", all(guest_32(), bad_field), nothing(),
                   ept_on(), pdpte_error));
  const change paging_off = all(pae_ept, unrestricted_on(), bad_field, flip(f::guest_cr0, 0x8000'0000));
  c.push_back(pair("PDPTEs in the VMCS", "pdptes_with_paging_only", paging_off, nothing(),
                   flip(f::guest_cr0, 0x8000'0000), pdpte_error));
  c.push_back(pair("PDPTEs in the VMCS", "pdptes_with_pae_only", all(pae_ept, bad_field, flip(f::guest_cr4, 0x20)),
                   nothing(), flip(f::guest_cr4, 0x20), pdpte_error));
  const change bad_entry = poke<u64>(0x2038, 3);
  c.push_back(pair("PDPTEs in memory", "memory_pdptes_without_ept_only",
                   all(pae_ept, set(f::guest_cr3, 0x2020), bad_entry), nothing(),
                   off(control_word::secondary, secondary::enable_ept), pdpte_error));
  c.push_back(pair("PDPTEs in memory", "memory_pdptes_by_cr3", all(guest_32(), bad_entry), set(f::guest_cr3, 0x2000),
                   set(f::guest_cr3, 0x2020), pdpte_error));
  c.push_back(pair("PDPTEs in memory", "memory_pdptes_ignore_cr3_bits_4_to_0", all(guest_32(), bad_entry),
                   set(f::guest_cr3, 0x2018), set(f::guest_cr3, 0x203F), pdpte_error));
  const auto host_paging = [](bool pae_on, u64 cr3) {
    return [=](entry_bench& b) {
      b.pae_paging = pae_on;
      b.cr3 = cr3;
    };
  };
  c.push_back(pair("PDPTEs in memory", "memory_pdptes_when_cr3_changes", all(host_32(), pae, bad_entry),
                   host_paging(true, 0x2020), host_paging(true, 0x2000), pdpte_error));
  c.push_back(pair("PDPTEs in memory", "memory_pdptes_when_pae_paging_begins", all(host_32(), pae, bad_entry),
                   host_paging(true, 0x2020), host_paging(false, 0x2020), pdpte_error));
}

}  // namespace

std::vector<entry_case> non_register_cases() {
  std::vector<entry_case> c;
  add_rip(c);
  add_activity(c);
  add_interruptibility(c);
  add_pending_debug(c);
  add_link(c);
  add_pdptes(c);
  return c;
}

}  // namespace vmxsys::vmx::entry_testing
