#include <gtest/gtest.h>
#include <vector>

#include <vmxsys/vmx/transition/host_state.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

#include "exit_state_fields.hpp"
#include "random_numbers.hpp"

namespace vmxsys::vmx {
namespace {

using s = segment_name;

class vmx_host_loading : public ::testing::Test {
 protected:
  void load(std::uint64_t exit_controls = vm_exit_control::host_address_space_size) {
    v.write(field::primary_vm_exit_controls, exit_controls);
    load_host_state(v, p, caps);
  }
  void load_32() { load(0); }

  capabilities caps = test::every_control();
  vmcs v{4};
  processor_state p;
};

constexpr std::uint64_t host_64 = vm_exit_control::host_address_space_size;

TEST_F(vmx_host_loading, cr0_keeps_reserved_fixed_and_cache_bits) {
  v.write(field::host_cr0, 0xFFFF'FFFF);
  p.cr0 = 0;
  load();
  EXPECT_EQ(p.cr0, 0x8005'002Fu) << "not CD, NW, ET and the reserved ones";
  v.write(field::host_cr0, 0);
  p.cr0 = 0xFFFF'FFFF;
  load();
  EXPECT_EQ(p.cr0, 0x7FFA'FFD0u | 0x8000'0021u) << "PG, NE and PE are fixed in VMX operation";
}

TEST_F(vmx_host_loading, a_real_mode_guest_exits_to_a_paging_host) {
  v.write(field::host_cr0, 0x8000'0033);
  p.cr0 = 0x30;  // an unrestricted guest
  load();
  EXPECT_EQ(p.cr0, 0x8000'0033u);
}

TEST_F(vmx_host_loading, cr3) {
  v.write(field::host_cr3, 0x1234'5000);
  load();
  EXPECT_EQ(p.cr3, 0x1234'5000u);
}

TEST_F(vmx_host_loading, cr4_by_the_size_of_the_host) {
  v.write(field::host_cr4, 0);
  load();
  EXPECT_EQ(p.cr4, 0x2020u) << "VMXE is fixed, PAE is forced";
  v.write(field::host_cr4, std::uint64_t{1} << 32 | 1u << 17 | 0x2020);
  load();
  EXPECT_EQ(p.cr4, std::uint64_t{1} << 32 | 1u << 17 | 0x2020);
  load_32();
  EXPECT_EQ(p.cr4, 0x2020u) << "no PCIDE, no FRED";
  v.write(field::host_cr4, 0x2000);
  load_32();
  EXPECT_EQ(p.cr4, 0x2000u);
  caps.cr4_fixed1 = 0x77'67FF;
  v.write(field::host_cr4, ~std::uint64_t{0});
  load();
  EXPECT_EQ(p.cr4, 0x77'67FFu) << "fixed to 0";
}

TEST_F(vmx_host_loading, debug_registers) {
  p.dr7 = 0xFFFF'FFFF;
  p.debugctl = 3;
  p.dr6 = 0x1234;
  load();
  EXPECT_EQ(p.dr7, 0x400u);
  EXPECT_EQ(p.debugctl, 0u);
  EXPECT_EQ(p.dr6, 0x1234u) << "the guest's stays";
}

TEST_F(vmx_host_loading, sysenter_msrs) {
  v.write(field::host_ia32_sysenter_cs, 0x10);
  v.write(field::host_ia32_sysenter_esp, 0x20);
  v.write(field::host_ia32_sysenter_eip, 0x30);
  load();
  EXPECT_EQ(p.sysenter_cs, 0x10u);
  EXPECT_EQ(p.sysenter_esp, 0x20u);
  EXPECT_EQ(p.sysenter_eip, 0x30u);
}

TEST_F(vmx_host_loading, efer) {
  v.write(field::host_ia32_efer, 0xD01);
  p.efer = 0x800;
  load();
  EXPECT_EQ(p.efer, 0xD00u) << "LMA and LME only";
  load(host_64 | vm_exit_control::load_ia32_efer);
  EXPECT_EQ(p.efer, 0xD01u);
  load_32();
  EXPECT_EQ(p.efer, 0x801u);
  load(vm_exit_control::load_ia32_efer);
  EXPECT_EQ(p.efer, 0x801u) << "LMA and LME are the size of the host whatever the field says";
}

TEST_F(vmx_host_loading, msrs_by_their_controls) {
  struct row {
    std::uint64_t control, control_2;
    field from;
    std::uint64_t processor_state::*to;
  };
  using c = processor_state;
  for (const row& r :
       {row{vm_exit_control::load_ia32_perf_global_ctrl, 0, field::host_ia32_perf_global_ctrl, &c::perf_global_ctrl},
        row{vm_exit_control::load_ia32_pat, 0, field::host_ia32_pat, &c::pat},
        row{vm_exit_control::load_cet_state, 0, field::host_ia32_s_cet, &c::s_cet},
        row{vm_exit_control::load_cet_state, 0, field::host_ssp, &c::ssp},
        row{vm_exit_control::load_cet_state, 0, field::host_ia32_interrupt_ssp_table_addr,
            &c::interrupt_ssp_table_addr},
        row{vm_exit_control::load_pkrs, 0, field::host_ia32_pkrs, &c::pkrs},
        row{0, vm_exit_control_2::load_ia32_spec_ctrl, field::host_ia32_spec_ctrl, &c::spec_ctrl}}) {
    for (const bool on : {false, true}) {
      p.*r.to = 0x77;
      v.write(r.from, 0x55);
      const std::uint64_t activate = vm_exit_control::activate_secondary_controls;
      v.write(field::secondary_vm_exit_controls, on ? r.control_2 : ~r.control_2);
      load(on ? host_64 | r.control | activate : 0xFFFF'FFFF & ~r.control);
      EXPECT_EQ(p.*r.to, on ? 0x55u : 0x77u) << name_of(r.from) << on;
    }
  }
}

TEST_F(vmx_host_loading, msrs_cleared_by_their_controls) {
  struct row {
    std::uint64_t control;
    std::uint64_t processor_state::*which;
  };
  using c = processor_state;
  for (const row& r :
       {row{vm_exit_control::clear_ia32_bndcfgs, &c::bndcfgs}, row{vm_exit_control::clear_ia32_rtit_ctl, &c::rtit_ctl},
        row{vm_exit_control::clear_ia32_lbr_ctl, &c::lbr_ctl}}) {
    p.*r.which = 5;
    load(host_64 | (0xFFFF'FFFF & ~r.control));
    EXPECT_EQ(p.*r.which, 5u);
    load(host_64 | r.control);
    EXPECT_EQ(p.*r.which, 0u);
  }
  p.uinv = 5;
  load(0xFFFF'FFFF & ~vm_exit_control::clear_uinv);
  EXPECT_EQ(p.uinv, 5u);
  load(vm_exit_control::clear_uinv);
  EXPECT_EQ(p.uinv, 0u);
}

TEST_F(vmx_host_loading, fred_msrs) {
  const field from[] = {field::host_ia32_fred_config, field::host_ia32_fred_rsp1,    field::host_ia32_fred_rsp2,
                        field::host_ia32_fred_rsp3,   field::host_ia32_fred_stklvls, field::host_ia32_fred_ssp1,
                        field::host_ia32_fred_ssp2,   field::host_ia32_fred_ssp3};
  std::uint64_t n = 1;
  for (const field f : from) v.write(f, n++);
  v.write(field::secondary_vm_exit_controls, vm_exit_control_2::load_fred);
  load();
  EXPECT_EQ(p.fred.config, 0u) << "secondary exit controls are not activated";
  load(host_64 | vm_exit_control::activate_secondary_controls);
  EXPECT_EQ(p.fred.config, 1u);
  EXPECT_EQ(p.fred.rsp, (std::array<std::uint64_t, 3>{2, 3, 4}));
  EXPECT_EQ(p.fred.stklvls, 5u);
  EXPECT_EQ(p.fred.ssp, (std::array<std::uint64_t, 3>{6, 7, 8}));
}

void expect_segment(const segment_register& r, unsigned selector, std::uint64_t base, std::uint32_t limit,
                    std::uint32_t rights) {
  EXPECT_EQ(r.selector, selector);
  EXPECT_EQ(r.base, base);
  EXPECT_EQ(r.limit, limit);
  EXPECT_EQ(r.rights, rights);
}

TEST_F(vmx_host_loading, cs) {
  v.write(field::host_cs_selector, 0x10);
  p[s::cs].base = 9;
  load();
  expect_segment(p[s::cs], 0x10, 0, 0xFFFF'FFFF, 0xA09B);
  load_32();
  expect_segment(p[s::cs], 0x10, 0, 0xFFFF'FFFF, 0xC09B);
}

TEST_F(vmx_host_loading, data_segments_are_flat_and_unusable_if_null) {
  const std::pair<s, field> all[] = {{s::ss, field::host_ss_selector},
                                     {s::ds, field::host_ds_selector},
                                     {s::es, field::host_es_selector},
                                     {s::fs, field::host_fs_selector},
                                     {s::gs, field::host_gs_selector}};
  for (const auto& [name, selector] : all) v.write(selector, 0x18);
  load();
  for (const auto& [name, selector] : all) {
    SCOPED_TRACE(name_of(selector));
    expect_segment(p[name], 0x18, 0, 0xFFFF'FFFF, 0xC093);
    v.write(selector, 0);
  }
  load();
  for (const auto& [name, selector] : all) {
    SCOPED_TRACE(name_of(selector));
    expect_segment(p[name], 0, 0, 0xFFFF'FFFF, 0x1'C093);
  }
  EXPECT_EQ(p.cpl(), 0u);
}

TEST_F(vmx_host_loading, bases_are_sign_extended) {
  const field all[] = {field::host_fs_base, field::host_gs_base, field::host_tr_base, field::host_gdtr_base,
                       field::host_idtr_base};
  std::uint64_t n = 0x0000'8000'0000'0000;
  for (const field f : all) v.write(f, n += 0x1000);
  load();
  EXPECT_EQ(p[s::fs].base, 0xFFFF'8000'0000'1000u);
  EXPECT_EQ(p[s::gs].base, 0xFFFF'8000'0000'2000u);
  EXPECT_EQ(p[s::tr].base, 0xFFFF'8000'0000'3000u);
  EXPECT_EQ(p.gdtr.base, 0xFFFF'8000'0000'4000u);
  EXPECT_EQ(p.idtr.base, 0xFFFF'8000'0000'5000u);
  caps.linear_address_width = 57;
  load();
  EXPECT_EQ(p[s::fs].base, 0x0000'8000'0000'1000u);
}

TEST_F(vmx_host_loading, system_segments_and_tables) {
  v.write(field::host_tr_selector, 0x40);
  v.write(field::host_tr_base, 0x7000);
  p[s::ldtr] = {0x28, 0xFFFF, 0x82, 0x9000};
  p.gdtr.limit = p.idtr.limit = 7;
  load();
  expect_segment(p[s::tr], 0x40, 0x7000, 0x67, 0x8B);
  EXPECT_EQ(p[s::ldtr].selector, 0u);
  EXPECT_FALSE(p[s::ldtr].usable());
  EXPECT_EQ(p.gdtr.limit, 0xFFFFu);
  EXPECT_EQ(p.idtr.limit, 0xFFFFu);
}

TEST_F(vmx_host_loading, rip_rsp_rflags) {
  v.write(field::host_rip, 0xFFFF'8000'0000'0000);
  v.write(field::host_rsp, 0x9000);
  p.rflags = 0x3F'FFD7;
  load();
  EXPECT_EQ(p.rip, 0xFFFF'8000'0000'0000u);
  EXPECT_EQ(p.rsp, 0x9000u);
  EXPECT_EQ(p.rflags, 2u) << "interrupts are disabled";
}

TEST_F(vmx_host_loading, non_register_state) {
  for (const bool nmi : {false, true}) {
    p.activity = activity_state::hlt;
    p.sti_blocking = p.mov_ss_blocking = p.virtual_nmi_blocking = p.enclave_interruption = p.monitor_armed = true;
    p.pending_debug = 0x4000;
    p.preemption_timer = 7;
    p.guest_deadline = 8;
    p.nmi_blocking = nmi;
    load();
    EXPECT_EQ(p.activity, activity_state::active);
    EXPECT_FALSE(p.sti_blocking || p.mov_ss_blocking || p.virtual_nmi_blocking || p.enclave_interruption);
    EXPECT_EQ(p.nmi_blocking, nmi) << "as it was";
    EXPECT_EQ(p.pending_debug, 0u);
    EXPECT_FALSE(p.monitor_armed);
    EXPECT_EQ(p.preemption_timer, 0u);
    EXPECT_EQ(p.guest_deadline, 0u);
  }
}

TEST_F(vmx_host_loading, what_has_no_control_goes_through) {
  p.cr2 = 1;
  p.pat = 2;
  p.perf_global_ctrl = 3;
  p.bndcfgs = 4;
  p.spec_ctrl = 5;
  p.s_cet = 6;
  p.ssp = 7;
  p.pkrs = 8;
  p.uinv = 9;
  load();
  EXPECT_EQ(p.cr2, 1u);
  EXPECT_EQ(p.pat, 2u);
  EXPECT_EQ(p.perf_global_ctrl, 3u);
  EXPECT_EQ(p.bndcfgs, 4u);
  EXPECT_EQ(p.spec_ctrl, 5u);
  EXPECT_EQ(p.s_cet, 6u);
  EXPECT_EQ(p.ssp, 7u);
  EXPECT_EQ(p.pkrs, 8u);
  EXPECT_EQ(p.uinv, 9u);
}

TEST_F(vmx_host_loading, only_an_nmi_that_exits_blocks_nmis) {
  exit_info exit;
  exit.interruption_information = 0x8000'0202;
  EXPECT_TRUE(exit_blocks_nmi(exit));
  exit.interruption_information = 0x8000'0302;
  EXPECT_FALSE(exit_blocks_nmi(exit)) << "an exception with vector 2";
  exit.interruption_information = 0x202;
  EXPECT_FALSE(exit_blocks_nmi(exit));
  exit.interruption_information = 0x8000'0202;
  exit.reason = exit_reason::external_interrupt;
  EXPECT_FALSE(exit_blocks_nmi(exit));
}

TEST_F(vmx_host_loading, a_long_mode_guest_needs_a_64_bit_host) {
  for (const bool lma : {false, true})
    for (const bool host_is_64 : {false, true}) {
      p.efer = lma ? 0x500 : 0x100;
      v.write(field::primary_vm_exit_controls, host_is_64 ? host_64 : 0);
      EXPECT_EQ(leaves_ia_32e_mode(v, p), lma && !host_is_64);
    }
}

TEST_F(vmx_host_loading, pdptes_of_a_pae_host) {
  v.write(field::host_cr0, 0x8000'0031);
  v.write(field::host_cr4, 0x2020);
  load_32();
  EXPECT_TRUE(host_pdptes_in_memory(p));
  load();
  EXPECT_FALSE(host_pdptes_in_memory(p)) << "4-level paging";
  v.write(field::host_cr4, 0x2000);
  load_32();
  EXPECT_FALSE(host_pdptes_in_memory(p)) << "32-bit paging";
}

std::vector<std::uint64_t> flattened(const processor_state& p) {
  std::vector<std::uint64_t> all{p.efer, p.nmi_blocking, p.monitor_armed};
  for (const test::guest_field& f : test::guest_fields()) all.push_back(f.get(p));
  return all;
}

TEST_F(vmx_host_loading, counts_the_fields_it_reads) {
  testing::random_numbers random{3};
  for (int i = 0; i < 100; ++i) {
    v.write(field::secondary_vm_exit_controls, random());
    const std::uint64_t controls = random() | (i % 2 == 0 ? 0 : vm_exit_control::activate_secondary_controls);
    load(controls);
    const auto base = flattened(p);
    unsigned read = 0;
    for (const field_info& f : field_table) {
      if (f.type != field_type::host_state) continue;
      vmcs changed = v;
      changed.write(f.encoding, ~v.read(f.encoding));
      processor_state q = p;
      load_host_state(changed, q, caps);
      if (flattened(q) != base) ++read;
    }
    EXPECT_EQ(read, host_fields_loaded(v));
  }
}

}  // namespace
}  // namespace vmxsys::vmx
