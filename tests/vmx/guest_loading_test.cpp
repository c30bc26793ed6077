#include <gtest/gtest.h>
#include <string>

#include <vmxsys/vmx/transition/entry.hpp>
#include <vmxsys/vmx/transition/guest_state.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>
#include <vmxsys/vmx/vmcs/pdpte.hpp>
#include <vmxsys/vmx/vmcs/register_bits.hpp>

#include "flat_memory.hpp"
#include "marked_processor.hpp"
#include "random_numbers.hpp"

// What an entry loads of the guest.
namespace vmxsys::vmx {
namespace {

using test::all_defined;
using test::guest_field;
using test::guest_fields;
using test::mark;
using test::marked_processor;
using test::pae_processor;

TEST(vmx_guest_loading, every_field_is_loaded_by_its_control_and_by_nothing_else) {
  const capabilities caps = test::every_control();
  for (const guest_field& f : guest_fields()) {
    for (const bool on : {false, true}) {
      vmcs v;
      v.write(field::vm_entry_controls, f.load < 0 ? 0
                                        : on       ? std::uint64_t{1} << f.load
                                                   : ~(std::uint64_t{1} << f.load));
      std::uint64_t value = mark(f.where);
      if (f.where == field::guest_uinv) value &= 0xFF;
      if (f.where == field::guest_cr0) value &= ~cr0_kept_bits;
      if (f.where == field::guest_dr7) value = 0x0F40'07FF;
      v.write(f.where, value);
      if (name_of(f.where) == std::string{"guest_ss_base"}) v.write(field::guest_ss_access_rights, 0x93);
      processor_state p;
      p.cr0 = 0;
      f.set(p, 0x1'0003);
      const std::uint64_t before = f.get(p);
      load_guest_state(v, p, caps);
      const bool rights = encoding_of(f.where) >= encoding_of(field::guest_es_access_rights) &&
                          encoding_of(f.where) <= encoding_of(field::guest_tr_access_rights);
      if (rights) value &= ~std::uint64_t{access_rights::reserved};
      if (f.where == field::guest_ss_access_rights && (value & access_rights::unusable) != 0)
        value |= access_rights::default_big;
      if (f.load >= 0 && !on && f.where == field::guest_ia32_efer) continue;  // LMA and LME, tested below
      EXPECT_EQ(f.get(p), f.load < 0 || on ? value : before) << name_of(f.where) << on;
    }
  }
}

TEST(vmx_guest_loading, cr0_keeps_its_reserved_bits_and_cache_control) {
  vmcs v;
  processor_state p;
  v.write(field::guest_cr0, 0xFFFF'FFFF);
  p.cr0 = 0;
  load_guest_state(v, p, test::every_control());
  EXPECT_EQ(p.cr0, 0x8005'002Fu) << "PG, AM, WP, NE, TS, EM, MP, PE; not CD, NW, ET";
  v.write(field::guest_cr0, 0);
  p.cr0 = 0xFFFF'FFFF;
  load_guest_state(v, p, test::every_control());
  EXPECT_EQ(p.cr0, 0x7FFA'FFD0u);
}

TEST(vmx_guest_loading, dr7_has_its_fixed_bits) {
  vmcs v;
  processor_state p;
  v.write(field::vm_entry_controls, vm_entry_control::load_debug_controls);
  v.write(field::guest_dr7, 0xFFFF'FFFF);
  load_guest_state(v, p, test::every_control());
  EXPECT_EQ(p.dr7, 0xFFFF'2FFFu) << "12 and 15:14 are 0";
  v.write(field::guest_dr7, 0);
  load_guest_state(v, p, test::every_control());
  EXPECT_EQ(p.dr7, 0x400u) << "10 is 1";
}

TEST(vmx_guest_loading, lma_and_lme_without_loading_efer) {
  const auto efer = [](bool ia_32e, bool paging, std::uint64_t before) {
    vmcs v;
    v.write(field::vm_entry_controls, ia_32e ? vm_entry_control::ia_32e_mode_guest : 0);
    v.write(field::guest_cr0, paging ? 0x8000'0001 : 1);
    v.write(field::guest_ia32_efer, 0x800);
    processor_state p;
    p.efer = before;
    load_guest_state(v, p, test::every_control());
    return p.efer;
  };
  EXPECT_EQ(efer(true, true, 0x801), 0xD01u);
  EXPECT_EQ(efer(false, true, 0xD01), 0x801u);
  EXPECT_EQ(efer(false, false, 0xD01), 0x901u) << "without paging LME stays";
  EXPECT_EQ(efer(false, false, 0x001), 0x001u);
}

TEST(vmx_guest_loading, cpl_is_the_dpl_of_ss_even_if_unusable) {
  vmcs v;
  processor_state p;
  v.write(field::guest_ss_access_rights, access_rights::unusable | 3u << 5);
  load_guest_state(v, p, test::every_control());
  EXPECT_EQ(p.cpl(), 3u);
}

TEST(vmx_guest_loading, unusable_registers) {
  vmcs v;
  for (const field f : {field::guest_es_base, field::guest_cs_base, field::guest_ss_base, field::guest_ds_base,
                        field::guest_fs_base, field::guest_gs_base, field::guest_ldtr_base})
    v.write(f, 0x0000'8FFF'1234'567F);
  for (const field f : {field::guest_es_access_rights, field::guest_ss_access_rights, field::guest_ds_access_rights,
                        field::guest_fs_access_rights, field::guest_gs_access_rights, field::guest_ldtr_access_rights})
    v.write(f, access_rights::unusable | 3u << 5 | access_rights::reserved);
  processor_state p;
  load_guest_state(v, p, test::every_control());
  using s = segment_name;
  EXPECT_EQ(p[s::ss].base, 0x1234'5670u);
  EXPECT_EQ(p[s::ss].rights, access_rights::unusable | 3u << 5 | access_rights::default_big);
  for (const s name : {s::ds, s::es}) {
    EXPECT_EQ(p[name].base, 0x1234'567Fu);
    EXPECT_EQ(p[name].rights, access_rights::unusable | 3u << 5);
  }
  for (const s name : {s::fs, s::gs}) EXPECT_EQ(p[name].base, 0x0000'8FFF'1234'567Fu) << "FS_BASE and GS_BASE count";
  EXPECT_EQ(p[s::ldtr].base, 0xFFFF'8FFF'1234'567Fu) << "canonical";

  v.write(field::guest_ss_access_rights, 0x93);
  v.write(field::guest_ldtr_access_rights, 0x82);
  load_guest_state(v, p, test::every_control());
  EXPECT_EQ(p[s::ss].base, 0x0000'8FFF'1234'567Fu) << "usable: as it stands";
  EXPECT_EQ(p[s::ss].rights, 0x93u);
  EXPECT_EQ(p[s::ldtr].base, 0x0000'8FFF'1234'567Fu);
}

TEST(vmx_guest_loading, non_register_state) {
  vmcs v;
  v.write(field::guest_activity_state, 1);
  v.write(field::guest_interruptibility_state, 1u | 8u);
  v.write(field::guest_pending_debug_exceptions, ~std::uint64_t{0});
  processor_state p;
  p.monitor_armed = true;
  load_guest_state(v, p, test::every_control());
  EXPECT_EQ(p.activity, activity_state::hlt);
  EXPECT_TRUE(p.sti_blocking && !p.mov_ss_blocking && p.nmi_blocking && !p.virtual_nmi_blocking);
  EXPECT_EQ(p.pending_debug, all_defined);
  EXPECT_FALSE(p.monitor_armed);

  v.write(field::pin_based_controls, pin_based::virtual_nmis);
  v.write(field::guest_interruptibility_state, 2u | 8u | 16u);
  load_guest_state(v, p, test::every_control());
  EXPECT_TRUE(!p.sti_blocking && p.mov_ss_blocking && !p.nmi_blocking && p.virtual_nmi_blocking &&
              p.enclave_interruption);
  v.write(field::guest_interruptibility_state, 0);
  load_guest_state(v, p, test::every_control());
  EXPECT_FALSE(p.sti_blocking || p.mov_ss_blocking || p.nmi_blocking || p.virtual_nmi_blocking ||
               p.enclave_interruption);
}

TEST(vmx_guest_loading, timers_by_their_controls) {
  vmcs v;
  v.write(field::vmx_preemption_timer_value, 1000);
  v.write(field::guest_deadline, 2000);
  processor_state p;
  load_guest_state(v, p, test::every_control());
  EXPECT_EQ(p.preemption_timer, 0u);
  EXPECT_EQ(p.guest_deadline, 0u);
  v.write(field::pin_based_controls, pin_based::activate_vmx_preemption_timer);
  v.write(field::primary_processor_based_controls, primary::activate_tertiary_controls);
  v.write(field::tertiary_processor_based_controls, tertiary::apic_timer_virtualization);
  load_guest_state(v, p, test::every_control());
  EXPECT_EQ(p.preemption_timer, 1000u);
  EXPECT_EQ(p.guest_deadline, 2000u);
}

vmcs pae_guest(bool ept) {
  vmcs v;
  v.write(field::guest_cr0, 0x8000'0001);
  v.write(field::guest_cr4, 0x20);
  v.write(field::guest_cr3, 0x5020);
  v.write(field::guest_pdpte0, 0x1001);
  v.write(field::guest_pdpte1, 0x2001);
  v.write(field::guest_pdpte2, 0x3001);
  v.write(field::guest_pdpte3, 0x4001);
  v.write(field::primary_processor_based_controls, primary::activate_secondary_controls);
  v.write(field::secondary_processor_based_controls, ept ? secondary::enable_ept : 0);
  return v;
}

TEST(vmx_guest_loading, pdptes_from_the_vmcs_with_ept) {
  processor_state p;
  load_guest_state(pae_guest(true), p, test::every_control());
  EXPECT_EQ(p.pdpte, (std::array<std::uint64_t, 4>{0x1001, 0x2001, 0x3001, 0x4001}));
  p = {};
  load_guest_state(pae_guest(false), p, test::every_control());
  EXPECT_EQ(p.pdpte[0], 0u);
  vmcs v = pae_guest(true);
  v.write(field::vm_entry_controls, vm_entry_control::ia_32e_mode_guest);
  load_guest_state(v, p, test::every_control());
  EXPECT_EQ(p.pdpte[0], 0u) << "not PAE paging";
}

TEST(vmx_guest_loading, pdptes_from_memory_without_ept) {
  const processor_state host;  // 4-level paging
  EXPECT_TRUE(guest_pdptes_in_memory(pae_guest(false), host));
  EXPECT_FALSE(guest_pdptes_in_memory(pae_guest(true), host));
  vmcs v = pae_guest(false);
  v.write(field::guest_cr0, 1);
  EXPECT_FALSE(guest_pdptes_in_memory(v, host)) << "no paging";
  processor_state same = pae_processor();
  same.cr3 = 0x5020;
  EXPECT_FALSE(guest_pdptes_in_memory(pae_guest(false), same)) << "the same PAE paging goes on";
  same.cr3 = 0x5040;
  EXPECT_TRUE(guest_pdptes_in_memory(pae_guest(false), same));

  test::flat_memory memory;
  memory.write<std::uint64_t>(0x5020, 0x1001);
  memory.write<std::uint64_t>(0x5038, 0x4001);
  processor_state p = same;
  p.cr3 = 0x503F;
  EXPECT_TRUE(load_pdptes(p, memory, test::every_control()));
  EXPECT_EQ(p.pdpte, (std::array<std::uint64_t, 4>{0x1001, 0, 0, 0x4001})) << "bits 4:0 of CR3 do not count";
  memory.write<std::uint64_t>(0x5028, 0x2003);
  p.pdpte = {};
  EXPECT_FALSE(load_pdptes(p, memory, test::every_control()));
  EXPECT_EQ(p.pdpte[0], 0u) << "nothing is loaded";
}

TEST(vmx_guest_loading, legal_pdptes) {
  const capabilities& caps = find_capability_row("cascade_lake_sp")->values;  // 46 bits
  for (unsigned bit = 1; bit < 64; ++bit) {
    const bool reserved = (bit >= 1 && bit <= 2) || (bit >= 5 && bit <= 8) || bit >= 46;
    EXPECT_EQ(pdpte_legal(1 | std::uint64_t{1} << bit, caps), !reserved) << bit;
    EXPECT_TRUE(pdpte_legal(std::uint64_t{1} << bit, caps)) << "not present";
  }
}

TEST(vmx_guest_loading, counts_the_fields_it_reads) {
  testing::random_numbers random{8};
  const capabilities caps = test::every_control();
  for (int i = 0; i < 60; ++i) {
    vmcs v;
    for (const field f : {field::vm_entry_controls, field::pin_based_controls, field::primary_processor_based_controls,
                          field::secondary_processor_based_controls, field::tertiary_processor_based_controls})
      v.write(f, random());
    v.write(field::guest_cr0, i % 2 == 0 ? 0x8000'0001 : 1);
    v.write(field::guest_cr4, 0x20);
    v.write(field::vm_entry_controls, v.read(field::vm_entry_controls) & ~(i % 4 == 0 ? 0x200u : 0u));
    processor_state base;
    load_guest_state(v, base, caps);
    unsigned read = 0;
    for (const field_info& f : field_table) {
      if (f.type != field_type::guest_state) continue;
      // CR0 and CR4 decide about the PDPTEs: change bits that do not.
      const bool paging = f.encoding == field::guest_cr0 || f.encoding == field::guest_cr4;
      vmcs changed = v;
      changed.write(f.encoding, paging ? v.read(f.encoding) ^ 8 : ~v.read(f.encoding));
      processor_state p;
      load_guest_state(changed, p, caps);
      bool differs = p.activity != base.activity || p.pending_debug != base.pending_debug || p.pdpte != base.pdpte ||
                     p.preemption_timer != base.preemption_timer || p.guest_deadline != base.guest_deadline ||
                     p.sti_blocking != base.sti_blocking;
      for (const guest_field& g : guest_fields()) differs = differs || g.get(p) != g.get(base);
      if (differs) ++read;
    }
    EXPECT_EQ(read, guest_fields_loaded(v));
  }
}

}  // namespace
}  // namespace vmxsys::vmx
