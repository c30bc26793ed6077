#include "instruction_exit.hpp"

#include <vmxsys/vmx/events/control_registers.hpp>
#include <vmxsys/vmx/events/tsc.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>
#include <vmxsys/vmx/vmcs/exit_qualification.hpp>

#include "exit_bitmaps.hpp"
#include "user_wait.hpp"

namespace vmxsys::vmx {

namespace {

using context = instruction_context;
using outcome = instruction_outcome;
using effect = instruction_effect;
using gate = fault_gate;
using reason = exit_reason;
using cr_access = qualification::cr_access_type;

constexpr std::uint64_t low_32 = 0xFFFF'FFFF;

outcome as_usual() { return {}; }
outcome executes(effect how, std::uint64_t value = 0) {
  outcome o;
  o.effect = how;
  o.value = value;
  return o;
}
outcome exits(std::uint64_t qualification = 0) {
  outcome o;
  o.verdict = instruction_verdict::vm_exit;
  o.qualification = qualification;
  return o;
}
outcome general_protection() {
  outcome o;
  o.verdict = instruction_verdict::fault_gp;
  return o;
}
outcome exits_if(bool condition, std::uint64_t qualification = 0) {
  return condition ? exits(qualification) : as_usual();
}

// Most rules are one control.
outcome always(const context&) { return exits(); }
outcome always_with_displacement(const context& c) { return exits(c.i.displacement); }
outcome never(const context&) { return as_usual(); }

template <std::uint32_t control>
outcome by_primary(const context& c) {
  return exits_if((primary_controls(c.v) & control) != 0);
}
template <std::uint32_t control>
outcome by_secondary(const context& c) {
  return exits_if((secondary_controls(c.v) & control) != 0);
}
template <std::uint32_t control>
outcome by_secondary_with_displacement(const context& c) {
  return exits_if((secondary_controls(c.v) & control) != 0, c.i.displacement);
}
template <std::uint64_t control>
outcome by_tertiary(const context& c) {
  return exits_if((tertiary_controls(c.v) & control) != 0);
}

// Bitmaps of leaf functions: bit 63 stands for every leaf from 63 on.
bool leaf_bit(const vmcs& v, field bitmap, std::uint32_t leaf) {
  return (v.read(bitmap) >> (leaf < 63 ? leaf : 63) & 1) != 0;
}

// -- waiting and time -------------------------------------------------------------------------------------------------

outcome pause(const context& c) {
  const bool every_pause = (primary_controls(c.v) & primary::pause_exiting) != 0;
  const bool pause_loops = (secondary_controls(c.v) & secondary::pause_loop_exiting) != 0;
  return exits_if(every_pause || (pause_loops && c.i.spin_detected));
}

outcome mwait(const context& c) {
  if (mwait_exits(c.v)) return exits(qualification::encode_mwait(c.i.monitor_armed));
  return mwait_sleeps(c.v, c.i.ecx, c.i.rflags, c.i.virtual_interrupt) ? as_usual() : executes(effect::nothing);
}

outcome rdtsc(const context& c) {
  return rdtsc_exits(c.v) ? exits() : executes(effect::deliver_value, guest_tsc(c.v, c.i.tsc));
}

outcome timed_wait(const context& c) {
  if (rdtsc_exits(c.v)) return exits();
  const user_wait wait =
      user_wait_of(c.v, c.i.tsc, c.i.edx_eax, static_cast<std::uint32_t>(c.i.source), c.i.umwait_control);
  outcome o = executes(effect::wait, wait.physical_delay.count());
  o.limited = wait.limited;
  return o;
}

// -- control and debug registers --------------------------------------------------------------------------------------

std::uint64_t cr_qualification(const context& c, std::uint8_t number, cr_access type) {
  return encode(qualification::cr_access{number, type, false, c.i.gpr});
}
std::uint64_t operand(const context& c) { return c.i.in_64_bit_mode() ? c.i.source : c.i.source & low_32; }
std::uint64_t real(const context& c, masked_register which) {
  return which == masked_register::cr0 ? c.i.mode.cr0 : c.i.mode.cr4;
}

template <masked_register which>
outcome mov_to_masked(const context& c) {
  constexpr std::uint8_t number = which == masked_register::cr0 ? 0 : 4;
  if (mov_to_masked_exits(c.v, which, operand(c))) return exits(cr_qualification(c, number, cr_access::mov_to_cr));
  if (breaks_fixed_bits(c.v, c.caps, which, operand(c))) return general_protection();
  return executes(effect::load_control_register, after_mov(c.v, which, real(c, which), operand(c)));
}

template <masked_register which>
outcome mov_from_masked(const context& c) {
  const std::uint64_t seen = guest_view(c.v, which, real(c, which));
  return executes(effect::deliver_value, c.i.in_64_bit_mode() ? seen : seen & low_32);
}

outcome mov_to_cr3(const context& c) {
  return exits_if(mov_to_cr3_exits(c.v, operand(c)), cr_qualification(c, 3, cr_access::mov_to_cr));
}
outcome mov_from_cr3(const context& c) {
  return exits_if(mov_from_cr3_exits(c.v), cr_qualification(c, 3, cr_access::mov_from_cr));
}

outcome cr8(const context& c, bool exit, cr_access access) {
  if (exit) return exits(cr_qualification(c, 8, access));
  return executes((primary_controls(c.v) & primary::use_tpr_shadow) != 0 ? effect::tpr_shadow : effect::as_usual);
}
outcome mov_to_cr8(const context& c) { return cr8(c, cr8_load_exits(c.v), cr_access::mov_to_cr); }
outcome mov_from_cr8(const context& c) { return cr8(c, cr8_store_exits(c.v), cr_access::mov_from_cr); }

outcome clear_ts(const context& c) {
  switch (clts(c.v)) {
    case clts_effect::exits:
      return exits(encode(qualification::cr_access{0, cr_access::clts}));
    case clts_effect::nothing:
      return executes(effect::nothing);
    case clts_effect::clears:
      break;
  }
  return executes(effect::load_control_register, c.i.mode.cr0 & ~cr0_bits::ts);
}

outcome lmsw(const context& c) {
  const auto source = static_cast<std::uint16_t>(c.i.source);
  if (lmsw_exits(c.v, source))
    return exits(
        encode(qualification::cr_access{0, cr_access::lmsw, c.i.memory_operand, general_register::rax, source}));
  const std::uint64_t value = after_lmsw(c.v, c.i.mode.cr0, source);
  if (breaks_fixed_bits(c.v, c.caps, masked_register::cr0, value)) return general_protection();
  return executes(effect::load_control_register, value);
}

// With a 16-bit or memory destination only the low half is stored; a 32-bit one clears bits 63:32.
outcome smsw(const context& c) {
  const std::uint64_t seen = guest_view(c.v, masked_register::cr0, c.i.mode.cr0);
  return executes(effect::deliver_value, c.i.bytes == 2 ? seen & 0xFFFF : c.i.bytes == 4 ? seen & low_32 : seen);
}

template <bool from>
outcome mov_dr(const context& c) {
  return exits_if((primary_controls(c.v) & primary::mov_dr_exiting) != 0,
                  encode(qualification::dr_access{c.i.debug_register, from, c.i.gpr}));
}

// -- ports and MSRs ---------------------------------------------------------------------------------------------------

template <bool in, bool string>
outcome port_access(const context& c) {
  return exits_if(io_exits(c.v, c.memory, c.i.port, c.i.bytes),
                  encode(qualification::io_access{c.i.bytes, in, string, string && c.i.rep,
                                                  !string && c.i.immediate_port, c.i.port}));
}

constexpr std::uint32_t ia32_time_stamp_counter = 0x10;
constexpr std::uint32_t ia32_spec_ctrl = 0x48;
constexpr std::uint32_t ia32_bios_updt_trig = 0x79;
constexpr std::uint32_t ia32_tsc_deadline = 0x6E0;

// What both directions have in common once the access does not exit.
effect msr_effect(const vmcs& v, std::uint32_t msr) {
  if (msr >> 8 == 8 && (secondary_controls(v) & secondary::virtualize_x2apic_mode) != 0) return effect::virtual_x2apic;
  const std::uint64_t third = tertiary_controls(v);
  if (msr == ia32_tsc_deadline && (third & tertiary::apic_timer_virtualization) != 0) return effect::apic_timer;
  if (msr == ia32_spec_ctrl && (third & tertiary::virtualize_ia32_spec_ctrl) != 0) return effect::virtual_spec_ctrl;
  return effect::as_usual;
}

outcome read_msr(const context& c, std::uint64_t qualification) {
  if (rdmsr_exits(c.v, c.memory, c.i.msr)) return exits(qualification);
  if (c.i.msr == ia32_time_stamp_counter) return executes(effect::deliver_value, guest_tsc(c.v, c.i.tsc));
  return executes(msr_effect(c.v, c.i.msr));
}

outcome write_msr(const context& c, std::uint64_t qualification) {
  if (wrmsr_exits(c.v, c.memory, c.i.msr)) return exits(qualification);
  if (c.i.msr == ia32_bios_updt_trig)
    return c.switches.microcode_update_exits ? exits(qualification) : executes(effect::nothing);
  return executes(msr_effect(c.v, c.i.msr));
}

outcome rdmsr(const context& c) { return read_msr(c, 0); }
outcome wrmsr(const context& c) { return write_msr(c, 0); }
outcome wrmsrns(const context& c) { return write_msr(c, 1); }
outcome rdmsr_by_index(const context& c) { return read_msr(c, c.i.msr); }
outcome wrmsr_by_index(const context& c) { return write_msr(c, c.i.msr); }

// -- the rest ---------------------------------------------------------------------------------------------------------

outcome invlpg(const context& c) {
  return exits_if(invlpg_exits(c.v), c.i.in_64_bit_mode() ? c.i.linear_address : c.i.linear_address & low_32);
}
outcome invpcid(const context& c) { return exits_if(invlpg_exits(c.v), c.i.displacement); }
outcome wbinvd(const context& c) { return exits_if(wbinvd_exits(c.v), 0); }
outcome wbnoinvd(const context& c) { return exits_if(wbinvd_exits(c.v), 1); }

outcome xsaves(const context& c) {
  return exits_if((c.i.edx_eax & c.i.xss & c.v.read(field::xss_exiting_bitmap)) != 0, c.i.displacement);
}

template <bool write>
outcome shadowed(const context& c) {
  const bool exit = write ? vmwrite_exits(c.v, c.memory, operand(c)) : vmread_exits(c.v, c.memory, operand(c));
  if (exit) return exits(c.i.displacement);
  return passes(gate::cpl_0, c.caps, c.i) ? executes(effect::shadow_vmcs) : general_protection();
}

outcome vmfunc(const context& c) {
  constexpr std::uint32_t eptp_switching = 0;
  constexpr std::uint32_t eptp_list_entries = 512;
  const bool enabled = (c.v.read(field::vm_function_controls) >> c.i.eax & 1) != 0;
  if (!enabled || (c.i.eax == eptp_switching && c.i.ecx >= eptp_list_entries)) return exits();
  return executes(effect::vm_function);
}

outcome encls(const context& c) {
  const bool control = (secondary_controls(c.v) & secondary::enable_encls_exiting) != 0;
  return exits_if(control && leaf_bit(c.v, field::encls_exiting_bitmap, c.i.eax));
}
outcome enclv(const context& c) { return exits_if(leaf_bit(c.v, field::enclv_exiting_bitmap, c.i.eax)); }
outcome pconfig(const context& c) { return exits_if(leaf_bit(c.v, field::pconfig_exiting_bitmap, c.i.eax)); }

outcome enqueue(const context& c) {
  return exits_if((secondary_controls(c.v) & secondary::pasid_translation) != 0 && c.i.pasid_fails);
}

// -- the table --------------------------------------------------------------------------------------------------------

constexpr const char* causes = "Vol. 3C §28.1.2";
constexpr const char* conditional = "Vol. 3C §28.1.3";
constexpr const char* changed = "Vol. 3C §28.3";

constexpr control_bit no_control{};
constexpr control_bit secondary_bit(unsigned bit) { return {control_word::secondary, static_cast<std::uint8_t>(bit)}; }
constexpr control_bit tertiary_bit(unsigned bit) { return {control_word::tertiary, static_cast<std::uint8_t>(bit)}; }

using gates = std::array<fault_gate, 3>;
constexpr gates no_gate{};
constexpr gates one(gate a) { return {a, gate::none, gate::none}; }
constexpr gates two(gate a, gate b) { return {a, b, gate::none}; }

constexpr instruction_rule row(mnemonic what, const char* name, const char* section, exit_reason why, gates before,
                               const char* exits_if, const char* otherwise, outcome (*decide)(const context&),
                               control_bit enable = no_control) {
  return {what, name, section, true, why, enable, before, false, exits_if, otherwise, decide};
}
// An instruction that never exits but behaves differently.
constexpr instruction_rule quiet(mnemonic what, const char* name, gates before, const char* otherwise,
                                 outcome (*decide)(const context&), control_bit enable = no_control) {
  return {what, name, changed, false, reason::cpuid, enable, before, false, "never", otherwise, decide};
}
constexpr instruction_rule mov_debug(mnemonic what, const char* name, outcome (*decide)(const context&)) {
  return {what,
          name,
          conditional,
          true,
          reason::mov_dr,
          no_control,
          two(gate::debug_extensions, gate::cpl_0),
          true,
          "MOV-DR exiting",
          "as usual",
          decide};
}

constexpr const char* bitmap_read = "no MSR bitmaps; or the MSR outside their ranges; or its bit for reads is 1";
constexpr const char* bitmap_write = "no MSR bitmaps; or the MSR outside their ranges; or its bit for writes is 1";
constexpr const char* ports =
    "with I/O bitmaps: the bit of a port is 1, or the access wraps past FFFFH; without: unconditional I/O exiting";
constexpr const char* msr_changes = "TSC by offset and multiplier; 48H, 6E0H, 800H to 8FFH as virtualized";

constexpr std::array<instruction_rule, mnemonic_count> table{{
    row(mnemonic::cpuid, "CPUID", causes, reason::cpuid, no_gate, "always", "-", always),
    row(mnemonic::getsec, "GETSEC", causes, reason::getsec, one(gate::smxe), "always", "-", always),
    row(mnemonic::invd, "INVD", causes, reason::invd, one(gate::cpl_0), "always", "-", always),
    row(mnemonic::xsetbv, "XSETBV", causes, reason::xsetbv, two(gate::osxsave, gate::cpl_0), "always", "-", always),
    row(mnemonic::invept, "INVEPT", causes, reason::invept, two(gate::has_invept, gate::vmx_mode), "always", "-",
        always_with_displacement),
    row(mnemonic::invvpid, "INVVPID", causes, reason::invvpid, two(gate::has_invvpid, gate::vmx_mode), "always", "-",
        always_with_displacement),
    row(mnemonic::vmcall, "VMCALL", causes, reason::vmcall, no_gate, "always", "-", always),
    row(mnemonic::vmclear, "VMCLEAR", causes, reason::vmclear, one(gate::vmx_mode), "always", "-",
        always_with_displacement),
    row(mnemonic::vmlaunch, "VMLAUNCH", causes, reason::vmlaunch, one(gate::vmx_mode), "always", "-", always),
    row(mnemonic::vmptrld, "VMPTRLD", causes, reason::vmptrld, one(gate::vmx_mode), "always", "-",
        always_with_displacement),
    row(mnemonic::vmptrst, "VMPTRST", causes, reason::vmptrst, one(gate::vmx_mode), "always", "-",
        always_with_displacement),
    row(mnemonic::vmresume, "VMRESUME", causes, reason::vmresume, one(gate::vmx_mode), "always", "-", always),
    row(mnemonic::vmxoff, "VMXOFF", causes, reason::vmxoff, one(gate::vmx_mode), "always", "-", always),
    row(mnemonic::vmxon, "VMXON", causes, reason::vmxon, one(gate::vmx_mode), "always", "-", always_with_displacement),
    row(mnemonic::seamcall, "SEAMCALL", causes, reason::seamcall, one(gate::mode_64_bit), "always", "-", always),
    row(mnemonic::tdcall, "TDCALL", causes, reason::tdcall, no_gate, "always", "-", always),

    row(mnemonic::hlt, "HLT", conditional, reason::hlt, one(gate::cpl_0), "HLT exiting", "enters the HLT state",
        by_primary<primary::hlt_exiting>),
    row(mnemonic::pause, "PAUSE", conditional, reason::pause, no_gate,
        "PAUSE exiting; or PAUSE-loop exiting and the spin detector says so", "as usual", pause),
    row(mnemonic::mwait, "MWAIT", conditional, reason::mwait, one(gate::cpl_0_or_ud), "MWAIT exiting",
        "sleeps, unless it breaks on masked interrupts and one may be due", mwait),
    row(mnemonic::monitor, "MONITOR", conditional, reason::monitor, one(gate::cpl_0_or_ud), "MONITOR exiting",
        "as usual", by_primary<primary::monitor_exiting>),
    row(mnemonic::rdtsc, "RDTSC", conditional, reason::rdtsc, one(gate::tsd), "RDTSC exiting",
        "TSC by offset and multiplier", rdtsc),
    row(mnemonic::rdtscp, "RDTSCP", conditional, reason::rdtscp, one(gate::tsd), "RDTSC exiting",
        "TSC by offset and multiplier", rdtsc, secondary_bit(3)),
    quiet(mnemonic::rdpid, "RDPID", no_gate, "as usual", never, secondary_bit(3)),
    row(mnemonic::rdpmc, "RDPMC", conditional, reason::rdpmc, one(gate::pce), "RDPMC exiting", "as usual",
        by_primary<primary::rdpmc_exiting>),
    row(mnemonic::invlpg, "INVLPG", conditional, reason::invlpg, one(gate::cpl_0), "INVLPG exiting", "as usual",
        invlpg),
    row(mnemonic::invpcid, "INVPCID", conditional, reason::invpcid, one(gate::cpl_0), "INVLPG exiting", "as usual",
        invpcid, secondary_bit(12)),

    row(mnemonic::mov_to_cr0, "MOV to CR0", conditional, reason::control_register_access, one(gate::cpl_0),
        "a bit of the CR0 guest/host mask differs from the read shadow",
        "#GP if an unmasked bit may not have its value, else masked bits stay", mov_to_masked<masked_register::cr0>),
    row(mnemonic::mov_to_cr3, "MOV to CR3", conditional, reason::control_register_access, one(gate::cpl_0),
        "CR3-load exiting and the value is none of the CR3 targets", "as usual", mov_to_cr3),
    row(mnemonic::mov_to_cr4, "MOV to CR4", conditional, reason::control_register_access, one(gate::cpl_0),
        "a bit of the CR4 guest/host mask differs from the read shadow",
        "#GP if an unmasked bit may not have its value, else masked bits stay", mov_to_masked<masked_register::cr4>),
    row(mnemonic::mov_to_cr8, "MOV to CR8", conditional, reason::control_register_access, one(gate::cpl_0),
        "CR8-load exiting", "with the TPR shadow: virtual-APIC page", mov_to_cr8),
    quiet(mnemonic::mov_from_cr0, "MOV from CR0", one(gate::cpl_0), "masked bits from the read shadow",
          mov_from_masked<masked_register::cr0>),
    row(mnemonic::mov_from_cr3, "MOV from CR3", conditional, reason::control_register_access, one(gate::cpl_0),
        "CR3-store exiting", "as usual", mov_from_cr3),
    quiet(mnemonic::mov_from_cr4, "MOV from CR4", one(gate::cpl_0), "masked bits from the read shadow",
          mov_from_masked<masked_register::cr4>),
    row(mnemonic::mov_from_cr8, "MOV from CR8", conditional, reason::control_register_access, one(gate::cpl_0),
        "CR8-store exiting", "with the TPR shadow: virtual-APIC page", mov_from_cr8),
    row(mnemonic::clts, "CLTS", conditional, reason::control_register_access, one(gate::cpl_0),
        "CR0.TS is masked and 1 in the read shadow", "clears an unmasked CR0.TS", clear_ts),
    row(mnemonic::lmsw, "LMSW", conditional, reason::control_register_access, one(gate::cpl_0),
        "a masked bit of 3:1 differs from the read shadow; or it sets a masked PE that is 0 there",
        "#GP if an unmasked bit may not have its value, else masked bits stay", lmsw),
    quiet(mnemonic::smsw, "SMSW", one(gate::umip), "masked bits from the read shadow", smsw),
    mov_debug(mnemonic::mov_to_dr, "MOV to DR", mov_dr<false>),
    mov_debug(mnemonic::mov_from_dr, "MOV from DR", mov_dr<true>),

    row(mnemonic::in, "IN", conditional, reason::io_instruction, one(gate::io_permission), ports, "as usual",
        port_access<true, false>),
    row(mnemonic::out, "OUT", conditional, reason::io_instruction, one(gate::io_permission), ports, "as usual",
        port_access<false, false>),
    row(mnemonic::ins, "INS", conditional, reason::io_instruction, one(gate::io_permission), ports, "as usual",
        port_access<true, true>),
    row(mnemonic::outs, "OUTS", conditional, reason::io_instruction, one(gate::io_permission), ports, "as usual",
        port_access<false, true>),
    row(mnemonic::rdmsr, "RDMSR", conditional, reason::rdmsr, one(gate::cpl_0), bitmap_read, msr_changes, rdmsr),
    row(mnemonic::wrmsr, "WRMSR", conditional, reason::wrmsr, one(gate::cpl_0), bitmap_write,
        "48H, 6E0H, 800H to 8FFH as virtualized; 79H does nothing (switch)", wrmsr),
    row(mnemonic::wrmsrns, "WRMSRNS", conditional, reason::wrmsr, one(gate::cpl_0), bitmap_write, "as WRMSR", wrmsrns),
    row(mnemonic::rdmsr_immediate, "RDMSR, immediate form", conditional, reason::rdmsr_immediate,
        two(gate::mode_64_bit, gate::cpl_0), bitmap_read, "as RDMSR", rdmsr_by_index),
    row(mnemonic::wrmsrns_immediate, "WRMSRNS, immediate form", conditional, reason::wrmsrns_immediate,
        two(gate::mode_64_bit, gate::cpl_0), bitmap_write, "as WRMSR", wrmsr_by_index),
    row(mnemonic::rdmsrlist, "RDMSRLIST, one element", conditional, reason::rdmsrlist,
        two(gate::mode_64_bit, gate::cpl_0), bitmap_read, "as RDMSR", rdmsr_by_index, tertiary_bit(6)),
    row(mnemonic::wrmsrlist, "WRMSRLIST, one element", conditional, reason::wrmsrlist,
        two(gate::mode_64_bit, gate::cpl_0), bitmap_write, "as WRMSR", wrmsr_by_index, tertiary_bit(6)),
    row(mnemonic::urdmsr, "URDMSR", conditional, reason::urdmsr,
        {gate::mode_64_bit, gate::user_msr_enabled, gate::user_msr_permitted}, bitmap_read, "as RDMSR", rdmsr),
    row(mnemonic::uwrmsr, "UWRMSR", conditional, reason::uwrmsr,
        {gate::mode_64_bit, gate::user_msr_enabled, gate::user_msr_permitted}, bitmap_write, "as WRMSR", wrmsr),

    row(mnemonic::lgdt, "LGDT", conditional, reason::gdtr_or_idtr_access, one(gate::cpl_0), "descriptor-table exiting",
        "as usual", by_secondary_with_displacement<secondary::descriptor_table_exiting>),
    row(mnemonic::lidt, "LIDT", conditional, reason::gdtr_or_idtr_access, one(gate::cpl_0), "descriptor-table exiting",
        "as usual", by_secondary_with_displacement<secondary::descriptor_table_exiting>),
    row(mnemonic::sgdt, "SGDT", conditional, reason::gdtr_or_idtr_access, one(gate::umip), "descriptor-table exiting",
        "as usual", by_secondary_with_displacement<secondary::descriptor_table_exiting>),
    row(mnemonic::sidt, "SIDT", conditional, reason::gdtr_or_idtr_access, one(gate::umip), "descriptor-table exiting",
        "as usual", by_secondary_with_displacement<secondary::descriptor_table_exiting>),
    row(mnemonic::lldt, "LLDT", conditional, reason::ldtr_or_tr_access, two(gate::protected_mode, gate::cpl_0),
        "descriptor-table exiting", "as usual", by_secondary_with_displacement<secondary::descriptor_table_exiting>),
    row(mnemonic::ltr, "LTR", conditional, reason::ldtr_or_tr_access, two(gate::protected_mode, gate::cpl_0),
        "descriptor-table exiting", "as usual", by_secondary_with_displacement<secondary::descriptor_table_exiting>),
    row(mnemonic::sldt, "SLDT", conditional, reason::ldtr_or_tr_access, two(gate::protected_mode, gate::umip),
        "descriptor-table exiting", "as usual", by_secondary_with_displacement<secondary::descriptor_table_exiting>),
    row(mnemonic::str, "STR", conditional, reason::ldtr_or_tr_access, two(gate::protected_mode, gate::umip),
        "descriptor-table exiting", "as usual", by_secondary_with_displacement<secondary::descriptor_table_exiting>),
    row(mnemonic::wbinvd, "WBINVD", conditional, reason::wbinvd, one(gate::cpl_0), "WBINVD exiting", "as usual",
        wbinvd),
    row(mnemonic::wbnoinvd, "WBNOINVD", conditional, reason::wbinvd, one(gate::cpl_0), "WBINVD exiting", "as usual",
        wbnoinvd),
    row(mnemonic::rdrand, "RDRAND", conditional, reason::rdrand, no_gate, "RDRAND exiting", "as usual",
        by_secondary<secondary::rdrand_exiting>),
    row(mnemonic::rdseed, "RDSEED", conditional, reason::rdseed, no_gate, "RDSEED exiting", "as usual",
        by_secondary<secondary::rdseed_exiting>),
    row(mnemonic::xsaves, "XSAVES", conditional, reason::xsaves, two(gate::osxsave, gate::cpl_0),
        "a bit is 1 in EDX:EAX, IA32_XSS and the XSS-exiting bitmap", "as usual", xsaves, secondary_bit(20)),
    row(mnemonic::xrstors, "XRSTORS", conditional, reason::xrstors, two(gate::osxsave, gate::cpl_0),
        "a bit is 1 in EDX:EAX, IA32_XSS and the XSS-exiting bitmap", "as usual", xsaves, secondary_bit(20)),
    row(mnemonic::tpause, "TPAUSE", conditional, reason::tpause, one(gate::tsd), "RDTSC exiting",
        "delay in the guest's time", timed_wait, secondary_bit(26)),
    row(mnemonic::umwait, "UMWAIT", conditional, reason::umwait, one(gate::tsd), "RDTSC exiting",
        "delay in the guest's time", timed_wait, secondary_bit(26)),
    quiet(mnemonic::umonitor, "UMONITOR", no_gate, "as usual", never, secondary_bit(26)),
    row(mnemonic::vmread, "VMREAD", conditional, reason::vmread, one(gate::vmx_mode),
        "no VMCS shadowing; or encoding bits 63:15 not 0; or its bit in the VMREAD bitmap is 1",
        "#GP if CPL > 0, else the shadow VMCS", shadowed<false>),
    row(mnemonic::vmwrite, "VMWRITE", conditional, reason::vmwrite, one(gate::vmx_mode),
        "no VMCS shadowing; or encoding bits 63:15 not 0; or its bit in the VMWRITE bitmap is 1",
        "#GP if CPL > 0, else the shadow VMCS", shadowed<true>),
    row(mnemonic::vmfunc, "VMFUNC", conditional, reason::vmfunc, one(gate::vm_function_number),
        "the function's bit in the VM-function controls is 0; or EPTP switching with ECX > 511",
        "the VM function, which may still exit", vmfunc, secondary_bit(13)),
    row(mnemonic::encls, "ENCLS", conditional, reason::encls, two(gate::protected_mode, gate::cpl_0_or_ud),
        "enable ENCLS exiting and the leaf's bit in the bitmap is 1", "as usual", encls),
    row(mnemonic::enclv, "ENCLV", conditional, reason::enclv, two(gate::protected_mode, gate::cpl_0_or_ud),
        "the leaf's bit in the ENCLV-exiting bitmap is 1", "as usual", enclv, secondary_bit(28)),
    row(mnemonic::pconfig, "PCONFIG", conditional, reason::pconfig, one(gate::cpl_0_or_ud),
        "the leaf's bit in the PCONFIG-exiting bitmap is 1", "as usual", pconfig, secondary_bit(27)),
    quiet(mnemonic::pbndkb, "PBNDKB", two(gate::mode_64_bit, gate::cpl_0_or_ud), "as usual", never, tertiary_bit(9)),
    row(mnemonic::loadiwkey, "LOADIWKEY", conditional, reason::loadiwkey, two(gate::key_locker, gate::cpl_0),
        "LOADIWKEY exiting", "as usual", by_tertiary<tertiary::loadiwkey_exiting>),
    row(mnemonic::enqcmd, "ENQCMD", conditional, reason::enqcmd_pasid_failure, no_gate,
        "PASID translation, and the PASID has none", "as usual", enqueue),
    row(mnemonic::enqcmds, "ENQCMDS", conditional, reason::enqcmds_pasid_failure, one(gate::cpl_0),
        "PASID translation, and the PASID has none", "as usual", enqueue),
    row(mnemonic::rsm, "RSM", causes, reason::rsm, one(gate::in_smm), "always", "-", always),
}};

constexpr bool in_order() {
  for (std::size_t i = 0; i < mnemonic_count; ++i)
    if (static_cast<std::size_t>(table[i].what) != i) return false;
  return true;
}
static_assert(in_order(), "the table is indexed by mnemonic");

bool enabled(const vmcs& v, control_bit control) {
  switch (control.word) {
    case control_word::secondary:
      return (secondary_controls(v) >> control.bit & 1) != 0;
    case control_word::tertiary:
      return (tertiary_controls(v) >> control.bit & 1) != 0;
    default:
      return true;
  }
}

outcome fault(gate_fault which) {
  outcome o;
  o.verdict = which == gate_fault::ud ? instruction_verdict::fault_ud : instruction_verdict::fault_gp;
  return o;
}

}  // namespace

const instruction_rule* instruction_table() noexcept { return table.data(); }
const instruction_rule& rule_of(mnemonic what) noexcept { return table[static_cast<std::size_t>(what)]; }
const char* name_of(mnemonic what) noexcept { return rule_of(what).name; }

instruction_outcome decide(const vmcs& v, const capabilities& caps, const physical_memory& memory,
                           const guest_instruction& instruction, const instruction_switches& switches) {
  const instruction_rule& rule = rule_of(instruction.what);
  const context c{v, caps, memory, instruction, switches};
  if (!enabled(v, rule.enable)) return fault(gate_fault::ud);
  outcome o;
  if (rule.exit_first) o = rule.decide(c);
  if (o.verdict != instruction_verdict::vm_exit) {
    for (const gate g : rule.gates)
      if (!passes(g, caps, instruction)) return fault(fault_gate_table[static_cast<std::size_t>(g)].fault);
    if (!rule.exit_first) o = rule.decide(c);
  }
  if (o.verdict == instruction_verdict::vm_exit) {
    o.reason = rule.reason;
    o.instruction_length = instruction.length;
  }
  return o;
}

exit_info exit_of(const instruction_outcome& outcome, const guest_instruction& instruction) noexcept {
  exit_info exit;
  exit.reason = outcome.reason;
  exit.qualification = outcome.qualification;
  exit.instruction_length = outcome.instruction_length;
  const bool string = instruction.what == mnemonic::ins || instruction.what == mnemonic::outs;
  if (string || (instruction.what == mnemonic::lmsw && instruction.memory_operand))
    exit.guest_linear_address = instruction.linear_address;
  return exit;
}

}  // namespace vmxsys::vmx
