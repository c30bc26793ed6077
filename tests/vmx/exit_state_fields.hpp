#pragma once
#include <cstdint>
#include <vector>

#include <vmxsys/vmx/vmcs/capability.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/processor_state.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

namespace vmxsys::vmx::test {

/// Everything any processor can do, with real address widths: for tests that want every control.
inline capabilities every_control() {
  capabilities c = find_capability_row("cascade_lake_sp")->values;
  const auto all_ones = [](std::uint64_t& msr) { msr |= 0xFFFF'FFFF'0000'0000; };
  all_ones(c.pin);
  all_ones(c.primary);
  all_ones(c.vm_exit);
  all_ones(c.vm_entry);
  all_ones(c.secondary);
  all_ones(c.true_pin);
  all_ones(c.true_primary);
  all_ones(c.true_vm_exit);
  all_ones(c.true_vm_entry);
  c.tertiary = ~std::uint64_t{0};
  c.vm_exit_2 = ~std::uint64_t{0};
  c.cr4_fixed1 = 0x1'03FF'FFFF;
  return c;
}

/// Where a field of the guest-state area lives in a processor, and by which controls entries load and exits save it.
/// Bit numbers; -1: always, -2: never. `saved_if_loadable`: saved on processors that can load it by `load`, or clear it
/// by exit control `clear`.
struct guest_field {
  field where;
  std::uint64_t (*get)(const processor_state&);
  void (*set)(processor_state&, std::uint64_t);
  int load = -1;  ///< VM-entry control
  int save = -1;  ///< VM-exit control
  bool saved_if_loadable = false;
  int clear = -2;  ///< VM-exit control
};

#define VMXSYS_MEMBER(expression)                                                    \
  [](const processor_state& p) { return static_cast<std::uint64_t>(p.expression); }, \
      [](processor_state& p, std::uint64_t v) { p.expression = static_cast<decltype(p.expression)>(v); }
#define VMXSYS_SEGMENT(name)                                                                                          \
  {field::guest_##name##_selector, VMXSYS_MEMBER(segments[static_cast<std::size_t>(segment_name::name)].selector)},   \
      {field::guest_##name##_base, VMXSYS_MEMBER(segments[static_cast<std::size_t>(segment_name::name)].base)},       \
      {field::guest_##name##_limit, VMXSYS_MEMBER(segments[static_cast<std::size_t>(segment_name::name)].limit)}, {   \
    field::guest_##name##_access_rights, VMXSYS_MEMBER(segments[static_cast<std::size_t>(segment_name::name)].rights) \
  }

/// All of them but interruptibility, activity and what depends on more than controls (PDPTEs, timer, deadline).
inline const std::vector<guest_field>& guest_fields() {
  static const std::vector<guest_field> all{
      {field::guest_cr0, VMXSYS_MEMBER(cr0)},
      {field::guest_cr3, VMXSYS_MEMBER(cr3)},
      {field::guest_cr4, VMXSYS_MEMBER(cr4)},
      {field::guest_ia32_sysenter_cs, VMXSYS_MEMBER(sysenter_cs)},
      {field::guest_ia32_sysenter_esp, VMXSYS_MEMBER(sysenter_esp)},
      {field::guest_ia32_sysenter_eip, VMXSYS_MEMBER(sysenter_eip)},
      {field::guest_dr7, VMXSYS_MEMBER(dr7), 2, 2},
      {field::guest_ia32_debugctl, VMXSYS_MEMBER(debugctl), 2, 2},
      {field::guest_ia32_pat, VMXSYS_MEMBER(pat), 14, 18},
      {field::guest_ia32_efer, VMXSYS_MEMBER(efer), 15, 20},
      {field::guest_ia32_perf_global_ctrl, VMXSYS_MEMBER(perf_global_ctrl), 13, 30},
      {field::guest_ia32_bndcfgs, VMXSYS_MEMBER(bndcfgs), 16, -1, true, 23},
      {field::guest_ia32_rtit_ctl, VMXSYS_MEMBER(rtit_ctl), 18, -1, true, 25},
      {field::guest_ia32_lbr_ctl, VMXSYS_MEMBER(lbr_ctl), 21, -1, true, 26},
      {field::guest_ia32_pkrs, VMXSYS_MEMBER(pkrs), 22, -1, true},
      {field::guest_uinv, VMXSYS_MEMBER(uinv), 19, -1, true, 27},
      {field::guest_ia32_s_cet, VMXSYS_MEMBER(s_cet), 20, -1, true},
      {field::guest_ssp, VMXSYS_MEMBER(ssp), 20, -1, true},
      {field::guest_ia32_interrupt_ssp_table_addr, VMXSYS_MEMBER(interrupt_ssp_table_addr), 20, -1, true},
      {field::guest_ia32_spec_ctrl, VMXSYS_MEMBER(spec_ctrl), 24, -1, true},
      {field::guest_ia32_fred_config, VMXSYS_MEMBER(fred.config), 23, 32},
      {field::guest_ia32_fred_rsp1, VMXSYS_MEMBER(fred.rsp[0]), 23, 32},
      {field::guest_ia32_fred_rsp2, VMXSYS_MEMBER(fred.rsp[1]), 23, 32},
      {field::guest_ia32_fred_rsp3, VMXSYS_MEMBER(fred.rsp[2]), 23, 32},
      {field::guest_ia32_fred_stklvls, VMXSYS_MEMBER(fred.stklvls), 23, 32},
      {field::guest_ia32_fred_ssp1, VMXSYS_MEMBER(fred.ssp[0]), 23, 32},
      {field::guest_ia32_fred_ssp2, VMXSYS_MEMBER(fred.ssp[1]), 23, 32},
      {field::guest_ia32_fred_ssp3, VMXSYS_MEMBER(fred.ssp[2]), 23, 32},
      VMXSYS_SEGMENT(es),
      VMXSYS_SEGMENT(cs),
      VMXSYS_SEGMENT(ss),
      VMXSYS_SEGMENT(ds),
      VMXSYS_SEGMENT(fs),
      VMXSYS_SEGMENT(gs),
      VMXSYS_SEGMENT(ldtr),
      VMXSYS_SEGMENT(tr),
      {field::guest_gdtr_base, VMXSYS_MEMBER(gdtr.base)},
      {field::guest_gdtr_limit, VMXSYS_MEMBER(gdtr.limit)},
      {field::guest_idtr_base, VMXSYS_MEMBER(idtr.base)},
      {field::guest_idtr_limit, VMXSYS_MEMBER(idtr.limit)},
      {field::guest_rip, VMXSYS_MEMBER(rip)},
      {field::guest_rsp, VMXSYS_MEMBER(rsp)},
      {field::guest_rflags, VMXSYS_MEMBER(rflags)},
  };
  return all;
}

#undef VMXSYS_SEGMENT

/// Control bits by number; 32 and up: secondary VM-exit controls.
inline bool exit_control(const vmcs& v, int bit) {
  if (bit < 32) return v.any(field::primary_vm_exit_controls, std::uint64_t{1} << bit);
  return v.any(field::primary_vm_exit_controls, 1u << 31) &&
         v.any(field::secondary_vm_exit_controls, std::uint64_t{1} << (bit - 32));
}
inline bool loaded(const guest_field& f, const vmcs& v) {
  return f.load == -1 || v.any(field::vm_entry_controls, std::uint64_t{1} << f.load);
}
inline bool saved(const guest_field& f, const vmcs& v, const capabilities& caps) {
  if (f.saved_if_loadable)
    return caps.supports(control_word::vm_entry, static_cast<unsigned>(f.load)) ||
           (f.clear >= 0 && caps.supports(control_word::vm_exit, static_cast<unsigned>(f.clear)));
  return f.save == -1 || exit_control(v, f.save);
}

}  // namespace vmxsys::vmx::test
