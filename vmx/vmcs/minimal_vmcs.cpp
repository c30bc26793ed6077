#include "minimal_vmcs.hpp"

namespace vmxsys::vmx {

namespace {

using values = std::vector<std::pair<field, std::uint64_t>>;

constexpr std::uint64_t code_selector = 0x10;
constexpr std::uint64_t data_selector = 0x18;
constexpr std::uint64_t tr_selector = 0x40;

// Access rights, SDM Vol. 3C §27.4.1.
constexpr std::uint64_t code_64 = 0xA09B;    // type 11, S, P, L, G
constexpr std::uint64_t flat_data = 0xC093;  // type 3, S, P, D/B, G
constexpr std::uint64_t busy_tss = 0x8B;     // type 11, P
constexpr std::uint64_t unusable = 0x1'0000;

constexpr std::uint64_t cr0_value = 0x8000'0033;  // PG, NE, ET, MP, PE
constexpr std::uint64_t cr4_value = 0x20;         // PAE
constexpr std::uint64_t efer_long = 0x500;        // LMA, LME
constexpr std::uint64_t pat_reset = 0x0007'0406'0007'0406;

std::uint64_t with_fixed_bits(std::uint64_t value, std::uint64_t fixed0, std::uint64_t fixed1) {
  return (value | fixed0) & fixed1;
}

void add_controls(values& out, const capabilities& caps, const minimal_vmcs_options& o) {
  std::uint64_t primary = o.primary;
  std::uint64_t vm_exit = o.vm_exit;
  if (o.secondary != 0) primary |= vmx::primary::activate_secondary_controls;
  if (o.tertiary != 0) primary |= vmx::primary::activate_tertiary_controls;
  if (o.vm_exit_2 != 0) vm_exit |= vm_exit_control::activate_secondary_controls;
  out.emplace_back(field::pin_based_controls, adjust(o.pin, control_word::pin, caps));
  out.emplace_back(field::primary_processor_based_controls, adjust(primary, control_word::primary, caps));
  out.emplace_back(field::secondary_processor_based_controls, adjust(o.secondary, control_word::secondary, caps));
  if (o.tertiary != 0)
    out.emplace_back(field::tertiary_processor_based_controls, adjust(o.tertiary, control_word::tertiary, caps));
  out.emplace_back(field::primary_vm_exit_controls, adjust(vm_exit, control_word::vm_exit, caps));
  if (o.vm_exit_2 != 0)
    out.emplace_back(field::secondary_vm_exit_controls, adjust(o.vm_exit_2, control_word::vm_exit_2, caps));
  out.emplace_back(field::vm_entry_controls, adjust(o.vm_entry, control_word::vm_entry, caps));
  out.emplace_back(field::virtual_processor_identifier, 1);
  out.emplace_back(field::tsc_multiplier, std::uint64_t{1} << 48);
  out.emplace_back(field::ple_gap, o.ple_gap);
  out.emplace_back(field::ple_window, o.ple_window);
}

void add_host(values& out, const capabilities& caps, const minimal_vmcs_options& o) {
  out.emplace_back(field::host_cr0, with_fixed_bits(cr0_value, caps.cr0_fixed0, caps.cr0_fixed1));
  out.emplace_back(field::host_cr3, o.host_cr3);
  out.emplace_back(field::host_cr4, with_fixed_bits(cr4_value, caps.cr4_fixed0, caps.cr4_fixed1));
  out.emplace_back(field::host_cs_selector, code_selector);
  out.emplace_back(field::host_ss_selector, data_selector);
  out.emplace_back(field::host_tr_selector, tr_selector);
  out.emplace_back(field::host_ia32_efer, efer_long);
  out.emplace_back(field::host_ia32_pat, pat_reset);
  out.emplace_back(field::host_rsp, o.host_rsp);
  out.emplace_back(field::host_rip, o.host_rip);
}

void add_guest_segments(values& out) {
  out.emplace_back(field::guest_cs_selector, code_selector);
  out.emplace_back(field::guest_cs_limit, 0xFFFF'FFFF);
  out.emplace_back(field::guest_cs_access_rights, code_64);
  out.emplace_back(field::guest_ss_selector, data_selector);
  out.emplace_back(field::guest_ss_limit, 0xFFFF'FFFF);
  out.emplace_back(field::guest_ss_access_rights, flat_data);
  out.emplace_back(field::guest_tr_selector, tr_selector);
  out.emplace_back(field::guest_tr_limit, 0x67);
  out.emplace_back(field::guest_tr_access_rights, busy_tss);
  for (const field f : {field::guest_es_access_rights, field::guest_ds_access_rights, field::guest_fs_access_rights,
                        field::guest_gs_access_rights, field::guest_ldtr_access_rights})
    out.emplace_back(f, unusable);
  out.emplace_back(field::guest_gdtr_limit, 0xFFFF);
  out.emplace_back(field::guest_idtr_limit, 0xFFFF);
}

void add_guest(values& out, const capabilities& caps, const minimal_vmcs_options& o) {
  out.emplace_back(field::guest_cr0, with_fixed_bits(cr0_value, caps.cr0_fixed0, caps.cr0_fixed1));
  out.emplace_back(field::guest_cr3, o.guest_cr3);
  out.emplace_back(field::guest_cr4, with_fixed_bits(cr4_value, caps.cr4_fixed0, caps.cr4_fixed1));
  out.emplace_back(field::guest_dr7, 0x400);
  out.emplace_back(field::guest_ia32_efer, efer_long);
  out.emplace_back(field::guest_ia32_pat, pat_reset);
  add_guest_segments(out);
  out.emplace_back(field::guest_rsp, o.guest_rsp);
  out.emplace_back(field::guest_rip, o.guest_rip);
  out.emplace_back(field::guest_rflags, o.guest_rflags);
  out.emplace_back(field::vmcs_link_pointer, no_vmcs);
}

}  // namespace

std::vector<std::pair<field, std::uint64_t>> minimal_vmcs_fields(const capabilities& caps,
                                                                 const minimal_vmcs_options& options) {
  values all;
  add_controls(all, caps, options);
  add_host(all, caps, options);
  add_guest(all, caps, options);
  values supported;
  for (const auto& value : all)
    if (caps.has_field(*find_field(encoding_of(value.first)))) supported.push_back(value);
  return supported;
}

vmcs make_minimal_vmcs(const capabilities& caps, const minimal_vmcs_options& options) {
  vmcs v{caps.revision()};
  for (const auto& [f, value] : minimal_vmcs_fields(caps, options)) v.write(f, value);
  return v;
}

}  // namespace vmxsys::vmx
