#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/vmx/events/control_registers.hpp>
#include <vmxsys/vmx/instructions/instruction.hpp>
#include <vmxsys/vmx/instructions/instruction_exit.hpp>
#include <vmxsys/vmx/instructions/invalidation.hpp>
#include <vmxsys/vmx/instructions/vm_function.hpp>
#include <vmxsys/vmx/vmcs/active_vmcs_store.hpp>

#include "instruction_guest.hpp"
#include "random_numbers.hpp"

// Instructions of a guest one by one: their exits, faults and effects beyond the rows of the table.
namespace vmxsys::vmx {
namespace {

using test::guest;
using test::masked_lmsw;
using test::msr_page;
using test::port_bit;
using test::port_page_a;
using test::port_page_b;
using test::vmread_page;
using test::vmwrite_page;
using m = mnemonic;

// MOV DR is the exception to the rule: its exit comes before CPL and CR4.DE.
TEST(mov_dr, exits_before_its_faults_which_come_otherwise) {
  for (const mnemonic what : {m::mov_to_dr, m::mov_from_dr}) {
    guest g{what};
    for (const char how : {'D', 'L'}) {
      guest spoiled = g;
      spoil(spoiled, how);
      EXPECT_EQ(spoiled.decide().verdict, how == 'D' ? instruction_verdict::fault_ud : instruction_verdict::fault_gp);
      spoiled.primary_on(primary::mov_dr_exiting);
      EXPECT_EQ(spoiled.decide().verdict, instruction_verdict::vm_exit);
    }
    for (const unsigned dr : {3u, 4u, 5u, 6u}) {
      guest spoiled = g;
      spoil(spoiled, 'D');
      spoiled.i.debug_register = static_cast<std::uint8_t>(dr);
      EXPECT_EQ(spoiled.decide().verdict == instruction_verdict::fault_ud, dr == 4 || dr == 5) << dr;
      spoiled.i.mode.cr4 &= ~cr4_bits::de;
      EXPECT_EQ(spoiled.decide().verdict, instruction_verdict::execute) << dr;
    }
    g.primary_on(primary::mov_dr_exiting);
    g.i.debug_register = 7;
    g.i.gpr = general_register::rcx;
    EXPECT_EQ(g.decide().qualification, what == m::mov_from_dr ? 0x117u : 0x107u);
  }
}

TEST(pause, exits_by_either_control) {
  guest g{m::pause};
  g.i.spin_detected = true;
  EXPECT_EQ(g.decide().verdict, instruction_verdict::execute) << "the detector was not asked";
  g.secondary_on(secondary::pause_loop_exiting);
  EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit);
  g.i.spin_detected = false;
  EXPECT_EQ(g.decide().verdict, instruction_verdict::execute);
  g.primary_on(primary::pause_exiting);
  g.i.mode.cpl = 3;
  EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit) << "PAUSE exiting at any CPL";
}

TEST(mwait, qualification_says_whether_monitoring_is_armed) {
  guest g{m::mwait};
  g.primary_on(primary::mwait_exiting);
  EXPECT_EQ(g.decide().qualification, 0u);
  g.i.monitor_armed = true;
  EXPECT_EQ(g.decide().qualification, 1u);
}

TEST(mwait, without_exit_may_not_sleep) {
  guest g{m::mwait};
  g.i.ecx = 1;
  g.i.virtual_interrupt = true;
  EXPECT_EQ(g.decide().effect, instruction_effect::nothing);
  g.i.rflags |= rflags_bits::interrupt_flag;
  EXPECT_EQ(g.decide().effect, instruction_effect::as_usual);
}

TEST(time_stamp_counter, is_delivered_in_the_guests_time) {
  for (const mnemonic what : {m::rdtsc, m::rdtscp, m::rdmsr, m::rdmsr_immediate, m::rdmsrlist, m::urdmsr}) {
    guest g{what};
    g.i.msr = 0x10;
    g.i.tsc = 1000;
    g.v.write(field::tsc_offset, 5);
    EXPECT_EQ(g.decide().effect, instruction_effect::deliver_value) << name_of(what);
    EXPECT_EQ(g.decide().value, 1000u) << name_of(what);
    g.primary_on(primary::use_tsc_offsetting);
    EXPECT_EQ(g.decide().value, 1005u) << name_of(what);
  }
  guest write{m::wrmsr};
  write.i.msr = 0x10;
  write.primary_on(primary::use_tsc_offsetting);
  EXPECT_EQ(write.decide().effect, instruction_effect::as_usual) << "WRMSR sets the real counter";
}

TEST(user_wait_instructions, wait_in_the_guests_time) {
  for (const mnemonic what : {m::tpause, m::umwait}) {
    guest g{what};
    g.i.tsc = 1000;
    g.i.edx_eax = 1500;
    EXPECT_EQ(g.decide().effect, instruction_effect::wait);
    EXPECT_EQ(g.decide().value, 500u);
    EXPECT_FALSE(g.decide().limited);
    g.i.umwait_control = 400;
    EXPECT_EQ(g.decide().value, 400u);
    EXPECT_TRUE(g.decide().limited);
  }
}

// -- control registers ------------------------------------------------------------------------------------------------

TEST(mov_cr, loads_what_the_host_does_not_own) {
  guest g{m::mov_to_cr0};
  g.v.write(field::cr0_guest_host_mask, cr0_bits::ts);
  g.v.write(field::cr0_read_shadow, 0);
  g.i.mode.cr0 |= cr0_bits::ts;
  g.i.source = (g.i.mode.cr0 & ~cr0_bits::ts) | cr0_bits::em;
  instruction_outcome o = g.decide();
  EXPECT_EQ(o.effect, instruction_effect::load_control_register);
  EXPECT_EQ(o.value, g.i.mode.cr0 | cr0_bits::em) << "TS stays, EM is set";

  guest four{m::mov_to_cr4};
  four.v.write(field::cr4_guest_host_mask, cr4_bits::vmxe);
  four.i.source = cr4_bits::pae | cr4_bits::pge;
  o = four.decide();
  EXPECT_EQ(o.effect, instruction_effect::load_control_register);
  EXPECT_EQ(o.value, cr4_bits::pae | cr4_bits::pge | cr4_bits::vmxe);
}

TEST(mov_cr, an_unmasked_bit_that_vmx_fixes_faults) {
  guest g{m::mov_to_cr0};
  g.i.source &= ~cr0_bits::ne;
  EXPECT_EQ(g.decide().verdict, instruction_verdict::fault_gp);
  g.v.write(field::cr0_guest_host_mask, cr0_bits::ne);
  EXPECT_EQ(g.decide().verdict, instruction_verdict::execute) << "masked and equal to the shadow";
  g.v.write(field::cr0_read_shadow, cr0_bits::ne);
  EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit) << "the exit comes before the #GP";

  guest four{m::mov_to_cr4};
  four.i.source &= ~cr4_bits::vmxe;
  EXPECT_EQ(four.decide().verdict, instruction_verdict::fault_gp);
}

TEST(mov_cr, outside_64_bit_mode_operands_have_32_bits) {
  guest g{m::mov_to_cr0};
  g.i.source |= 1ull << 40;
  EXPECT_EQ(g.decide().verdict, instruction_verdict::fault_gp) << "bits 63:32 of CR0 must be 0";
  g.i.mode.code_64_bit = false;
  EXPECT_EQ(g.decide().verdict, instruction_verdict::execute);

  guest read{m::mov_from_cr0};
  read.v.write(field::cr0_guest_host_mask, ~std::uint64_t{0});
  read.v.write(field::cr0_read_shadow, 0x1234'5678'9ABC'DEF0);
  EXPECT_EQ(read.decide().value, 0x1234'5678'9ABC'DEF0u);
  read.i.mode.code_64_bit = false;
  EXPECT_EQ(read.decide().value, 0x9ABC'DEF0u);
}

TEST(mov_cr, from_a_masked_register_and_smsw_merge_the_shadow) {
  for (const mnemonic what : {m::mov_from_cr0, m::mov_from_cr4, m::smsw}) {
    guest g{what};
    g.i.bytes = 8;
    const bool cr4 = what == m::mov_from_cr4;
    const std::uint64_t real = cr4 ? g.i.mode.cr4 : g.i.mode.cr0;
    g.v.write(cr4 ? field::cr4_guest_host_mask : field::cr0_guest_host_mask, 0xFF);
    g.v.write(cr4 ? field::cr4_read_shadow : field::cr0_read_shadow, 0xFFA5);
    EXPECT_EQ(g.decide().effect, instruction_effect::deliver_value);
    EXPECT_EQ(g.decide().value, (real & ~0xFFull) | 0xA5);
  }
  guest g{m::smsw};
  g.v.write(field::cr0_guest_host_mask, 0xFFFF'FFFF'0000'0000);
  g.v.write(field::cr0_read_shadow, ~std::uint64_t{0});
  for (const auto& [bytes, mask] :
       {std::pair{2, 0xFFFFull}, std::pair{4, 0xFFFF'FFFFull}, std::pair{8, 0xFFFF'FFFF'FFFF'FFFFull}}) {
    g.i.bytes = static_cast<std::uint8_t>(bytes);
    EXPECT_EQ(g.decide().value, (0xFFFF'FFFF'0000'0000 | g.i.mode.cr0) & mask) << bytes;
  }
}

TEST(mov_cr3, cr3_targets_do_not_exit) {
  guest g{m::mov_to_cr3};
  g.primary_on(primary::cr3_load_exiting);
  g.v.write(field::cr3_target_value_0, 0x1000);
  EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit) << "no targets count";
  g.v.write(field::cr3_target_count, 1);
  EXPECT_EQ(g.decide().verdict, instruction_verdict::execute);
}

TEST(mov_cr8, works_on_the_tpr_shadow) {
  for (const mnemonic what : {m::mov_to_cr8, m::mov_from_cr8}) {
    guest g{what};
    EXPECT_EQ(g.decide().effect, instruction_effect::as_usual);
    g.primary_on(primary::use_tpr_shadow);
    EXPECT_EQ(g.decide().effect, instruction_effect::tpr_shadow);
    g.primary_on(what == m::mov_to_cr8 ? primary::cr8_load_exiting : primary::cr8_store_exiting);
    EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit) << "the exit control decides first";
  }
}

TEST(clts, clears_ignores_or_exits) {
  guest g{m::clts};
  g.i.mode.cr0 |= cr0_bits::ts;
  EXPECT_EQ(g.decide().effect, instruction_effect::load_control_register);
  EXPECT_EQ(g.decide().value, g.i.mode.cr0 & ~cr0_bits::ts);
  g.v.write(field::cr0_guest_host_mask, cr0_bits::ts);
  EXPECT_EQ(g.decide().effect, instruction_effect::nothing);
  g.v.write(field::cr0_read_shadow, cr0_bits::ts);
  EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit);
}

TEST(lmsw, loads_the_low_bits_and_faults_on_fixed_ones) {
  guest g{m::lmsw};
  g.i.mode.cr0 |= cr0_bits::ts;
  g.i.source = 0xFFF0 | cr0_bits::mp;
  EXPECT_EQ(g.decide().effect, instruction_effect::load_control_register);
  EXPECT_EQ(g.decide().value, (g.i.mode.cr0 & ~cr0_bits::ts & ~cr0_bits::em) | cr0_bits::mp | cr0_bits::pe);
  g.caps.cr0_fixed0 |= cr0_bits::em;  // no known processor; shows that the check is made
  EXPECT_EQ(g.decide().verdict, instruction_verdict::fault_gp);
}

TEST(exit_information, the_linear_address_of_ins_outs_and_lmsw_from_memory) {
  for (const mnemonic what : {m::in, m::out, m::ins, m::outs, m::lmsw, m::mov_to_cr0}) {
    guest g{what};
    if (what == m::lmsw)
      masked_lmsw(g);
    else
      port_bit(g);
    g.i.linear_address = 0x5555;
    const bool told = what == m::ins || what == m::outs || what == m::lmsw;
    EXPECT_EQ(exit_of(g.decide(), g.i).guest_linear_address, told ? 0x5555u : 0u) << name_of(what);
  }
  guest g{m::lmsw};
  masked_lmsw(g);
  g.i.memory_operand = false;
  EXPECT_EQ(exit_of(g.decide(), g.i).guest_linear_address, 0u);
  EXPECT_EQ(g.decide().qualification, 0xABC1'0030u);
}

// -- ports and MSRs ---------------------------------------------------------------------------------------------------

TEST(io, qualification_of_every_form) {
  struct form {
    mnemonic what;
    unsigned bytes;
    bool rep, immediate;
    std::uint64_t expected;
  };
  for (const form& f : {form{m::in, 1, false, true, 0x0060'0048}, form{m::in, 2, false, false, 0x0060'0009},
                        form{m::out, 4, false, false, 0x0060'0003}, form{m::out, 1, true, true, 0x0060'0040},
                        form{m::ins, 1, false, false, 0x0060'0018}, form{m::ins, 4, true, true, 0x0060'003B},
                        form{m::outs, 2, true, false, 0x0060'0031}}) {
    guest g{f.what};
    g.primary_on(primary::unconditional_io_exiting);
    g.i.bytes = static_cast<std::uint8_t>(f.bytes);
    g.i.rep = f.rep;
    g.i.immediate_port = f.immediate;
    EXPECT_EQ(g.decide().qualification, f.expected) << name_of(f.what) << f.bytes;
  }
}

TEST(io, permission_is_asked_only_above_iopl) {
  for (unsigned cpl = 0; cpl < 4; ++cpl)
    for (unsigned iopl = 0; iopl < 4; ++iopl) {
      guest g{m::in};
      g.primary_on(primary::unconditional_io_exiting);
      g.i.mode.cpl = cpl;
      g.i.rflags |= iopl << 12;
      EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit);
      g.i.port_permitted = false;
      EXPECT_EQ(g.decide().verdict, cpl > iopl ? instruction_verdict::fault_gp : instruction_verdict::vm_exit);
    }
}

TEST(msr, a_bogus_register_exits_rather_than_faults) {
  guest g{m::rdmsr};
  g.i.msr = 0x8765'4321;
  EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit);
  g.remove(field::primary_processor_based_controls, primary::use_msr_bitmaps);
  g.i.msr = 0x10;
  EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit);
}

TEST(msr, seams_to_virtualized_registers) {
  struct seam {
    std::uint32_t msr;
    instruction_effect effect;
  };
  for (const seam& s : {seam{0x7FF, instruction_effect::as_usual}, seam{0x800, instruction_effect::virtual_x2apic},
                        seam{0x8FF, instruction_effect::virtual_x2apic}, seam{0x900, instruction_effect::as_usual},
                        seam{0x6DF, instruction_effect::as_usual}, seam{0x6E0, instruction_effect::apic_timer},
                        seam{0x6E1, instruction_effect::as_usual}, seam{0x47, instruction_effect::as_usual},
                        seam{0x48, instruction_effect::virtual_spec_ctrl}, seam{0x49, instruction_effect::as_usual}})
    for (const mnemonic what : {m::rdmsr, m::wrmsr, m::wrmsrns, m::rdmsr_immediate, m::wrmsrlist}) {
      guest g{what};
      g.i.msr = s.msr;
      EXPECT_EQ(g.decide().effect, instruction_effect::as_usual) << std::hex << s.msr;
      g.secondary_on(secondary::virtualize_x2apic_mode);
      g.tertiary_on(tertiary::apic_timer_virtualization | tertiary::virtualize_ia32_spec_ctrl);
      EXPECT_EQ(g.decide().effect, s.effect) << std::hex << s.msr;
      g.set_bit(msr_page, s.msr);
      g.set_bit(msr_page + 0x800, s.msr);
      EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit) << "the bitmap has priority";
    }
}

TEST(msr, microcode_update_does_nothing_or_exits) {
  for (const mnemonic what : {m::wrmsr, m::wrmsrns}) {
    guest g{what};
    for (const auto& [msr, special] : {std::pair{0x78u, false}, std::pair{0x79u, true}, std::pair{0x7Au, false}}) {
      g.i.msr = msr;
      g.switches.microcode_update_exits = false;
      EXPECT_EQ(g.decide().effect, special ? instruction_effect::nothing : instruction_effect::as_usual);
      g.switches.microcode_update_exits = true;
      EXPECT_EQ(g.decide().verdict == instruction_verdict::vm_exit, special);
    }
  }
  guest read{m::rdmsr};
  read.i.msr = 0x79;
  EXPECT_EQ(read.decide().effect, instruction_effect::as_usual);
}

TEST(msr, user_forms_reach_3fff) {
  for (const mnemonic what : {m::urdmsr, m::uwrmsr}) {
    guest g{what};
    g.i.mode.cpl = 3;
    g.i.msr = 0x3FFF;
    EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit) << "outside the MSR bitmap";
    g.i.msr = 0x4000;
    EXPECT_EQ(g.decide().verdict, instruction_verdict::fault_gp);
    g.i.msr = 0x1FFF;
    EXPECT_EQ(g.decide().verdict, instruction_verdict::execute);
  }
}

// -- bitmaps of leaves and features, shadowing ------------------------------------------------------------------------

TEST(leaf_bitmaps, bit_63_stands_for_all_higher_leaves) {
  struct leaf_bitmap {
    mnemonic what;
    field bitmap;
  };
  for (const leaf_bitmap& b :
       {leaf_bitmap{m::encls, field::encls_exiting_bitmap}, leaf_bitmap{m::enclv, field::enclv_exiting_bitmap},
        leaf_bitmap{m::pconfig, field::pconfig_exiting_bitmap}}) {
    for (const auto& [eax, bit] : {std::pair{0u, 0u}, std::pair{62u, 62u}, std::pair{63u, 63u}, std::pair{64u, 63u},
                                   std::pair{0xFFFF'FFFFu, 63u}}) {
      guest g{b.what};
      g.i.eax = eax;
      g.v.write(b.bitmap, ~(1ull << bit));
      EXPECT_EQ(g.decide().verdict, instruction_verdict::execute) << name_of(b.what) << eax;
      g.v.write(b.bitmap, 1ull << bit);
      EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit) << name_of(b.what) << eax;
    }
  }
  guest g{m::encls};
  g.v.write(field::encls_exiting_bitmap, ~std::uint64_t{0});
  g.remove(field::secondary_processor_based_controls, secondary::enable_encls_exiting);
  EXPECT_EQ(g.decide().verdict, instruction_verdict::execute) << "ENCLS without its control is no #UD";
}

TEST(xsaves_xrstors, exit_on_the_conjunction_of_three) {
  for (const mnemonic what : {m::xsaves, m::xrstors})
    for (unsigned without = 0; without < 4; ++without) {
      guest g{what};
      g.i.edx_eax = without == 0 ? 0xEFF : 0x100;
      g.i.xss = without == 1 ? 0xEFF : 0x100;
      g.v.write(field::xss_exiting_bitmap, without == 2 ? 0xEFF : 0x100);
      EXPECT_EQ(g.decide().verdict, without < 3 ? instruction_verdict::execute : instruction_verdict::vm_exit);
    }
}

TEST(vmfunc, exits_for_a_disabled_function_and_a_bad_list_index) {
  guest g{m::vmfunc};
  g.i.mode.cpl = 3;
  g.i.ecx = 511;
  EXPECT_EQ(g.decide().effect, instruction_effect::vm_function);
  g.i.ecx = 512;
  EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit);
  g.i.eax = 63;
  EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit);
  g.v.write(field::vm_function_controls, 1ull << 63);
  EXPECT_EQ(g.decide().effect, instruction_effect::vm_function) << "ECX is EPTP switching's";
  g.i.eax = 64;
  EXPECT_EQ(g.decide().verdict, instruction_verdict::fault_ud);
}

TEST(vmcs_shadowing, decides_before_the_privilege_level) {
  for (const mnemonic what : {m::vmread, m::vmwrite}) {
    guest g{what};
    const physical_address own = what == m::vmread ? vmread_page : vmwrite_page;
    const physical_address other = what == m::vmread ? vmwrite_page : vmread_page;
    g.set_bit(other, 0x681E);
    EXPECT_EQ(g.decide().effect, instruction_effect::shadow_vmcs);
    g.i.mode.cpl = 1;
    EXPECT_EQ(g.decide().verdict, instruction_verdict::fault_gp);
    g.set_bit(own, 0x681E);
    EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit);
    g.i.source = 0x681C;
    EXPECT_EQ(g.decide().verdict, instruction_verdict::fault_gp);
    g.remove(field::secondary_processor_based_controls, secondary::vmcs_shadowing);
    EXPECT_EQ(g.decide().verdict, instruction_verdict::vm_exit);
  }
}

// instruction.hpp, invalidation.hpp and vm_function.hpp hold the VMX instructions themselves, for root operation too.
// In a guest both must say the same.
TEST(vmx_instructions, agree_with_their_own_tables) {
  vmxsys::testing::random_numbers random{50};
  const mnemonic all[] = {m::vmcall,  m::vmclear, m::vmptrld, m::vmptrst, m::vmxoff,   m::vmxon,   m::vmread,
                          m::vmwrite, m::invept,  m::invvpid, m::vmfunc,  m::vmlaunch, m::vmresume};
  int seen[4] = {};
  for (int n = 0; n < 20'000; ++n) {
    guest g{all[random.below(std::size(all))]};
    for (const char how : {'P', 'X', 'C', 'V', 'L', 'E', 'F'})
      if (random.one_in(12)) spoil(g, how);
    if (g.i.mode.cr0 % 2 == 0) g.i.mode.virtual_8086 = false;
    if (random.one_in(3)) g.remove(field::secondary_processor_based_controls, secondary::vmcs_shadowing);
    if (random.one_in(3)) g.remove(field::secondary_processor_based_controls, secondary::enable_vm_functions);
    g.i.source = random.one_in(3) ? random.below(0x1'0000) : 0x681E;
    g.set_bit(vmread_page + random.below(4), static_cast<std::uint32_t>(random.below(0x8000)));
    if (random.one_in(4)) g.set_bit(vmread_page, 0x681E);
    if (random.one_in(4)) g.set_bit(vmwrite_page, 0x681E);
    g.i.eax = static_cast<std::uint32_t>(random.one_in(2) ? 0 : random.below(66));
    g.i.ecx = static_cast<std::uint32_t>(random.between(510, 513));
    g.v.write(field::vm_function_controls, random());
    g.v.write(field::vmcs_link_pointer, no_vmcs);

    vmx_state state;
    state.mode = operation::non_root;
    state.current_vmcs = 0x1000;
    vmcs current = g.v;
    state.current = &current;
    active_vmcs_store store;
    const vmx_unit unit{state, g.caps, g.memory, store};
    const auto run = [&]() -> vmx_outcome {
      const execution_mode& mode = g.i.mode;
      switch (g.i.what) {
        case m::vmcall:
          return vmcall(unit, mode);
        case m::vmclear:
          return vmclear(unit, mode, 0x2000);
        case m::vmptrld:
          return vmptrld(unit, mode, 0x2000);
        case m::vmptrst:
          return vmptrst(unit, mode);
        case m::vmxoff:
          return vmxoff(unit, mode);
        case m::vmxon:
          return vmxon(unit, mode, 0x2000);
        case m::vmread:
          return vmread(unit, mode, g.i.source);
        case m::vmwrite:
          return vmwrite(unit, mode, g.i.source, 0);
        case m::invept:
          return invept(unit, mode, 2, {});
        case m::invvpid:
          return invvpid(unit, mode, 2, {});
        case m::vmlaunch:
          return vmlaunch_basics(state, mode);
        case m::vmresume:
          return vmresume_basics(state, mode);
        default:
          return vmfunc(unit, mode, g.i.eax, g.i.ecx);
      }
    };
    const vmx_outcome theirs = run();
    const instruction_outcome ours = g.decide();
    instruction_verdict expected = instruction_verdict::execute;
    if (theirs.kind == outcome_kind::fault_ud) expected = instruction_verdict::fault_ud;
    if (theirs.kind == outcome_kind::fault_gp) expected = instruction_verdict::fault_gp;
    if (theirs.kind == outcome_kind::vm_exit) expected = instruction_verdict::vm_exit;
    // The list entry, zero here, is VMFUNC's own to look at.
    const bool list_entry = g.i.what == m::vmfunc && ours.effect == instruction_effect::vm_function;
    if (!list_entry) ASSERT_EQ(ours.verdict, expected) << name_of(g.i.what) << ' ' << n << ' ' << theirs.check;
    if (ours.verdict == instruction_verdict::vm_exit) ASSERT_EQ(ours.reason, theirs.reason) << name_of(g.i.what);
    ++seen[static_cast<int>(ours.verdict)];
  }
  for (const int count : seen) EXPECT_GT(count, 50);
}

TEST(invlpg, address_has_32_bits_outside_64_bit_mode) {
  guest g{m::invlpg};
  g.primary_on(primary::invlpg_exiting);
  g.i.linear_address = 0xFFFF'8000'1234'5678;
  EXPECT_EQ(g.decide().qualification, 0xFFFF'8000'1234'5678u);
  g.i.mode.code_64_bit = false;
  EXPECT_EQ(g.decide().qualification, 0x1234'5678u);
}

TEST(enqcmd, exits_only_if_the_translation_fails) {
  for (const mnemonic what : {m::enqcmd, m::enqcmds}) {
    guest g{what};
    g.i.pasid_fails = true;
    EXPECT_EQ(g.decide().verdict, instruction_verdict::execute) << "no PASID translation";
    g.secondary_on(secondary::pasid_translation);
    g.i.pasid_fails = false;
    EXPECT_EQ(g.decide().verdict, instruction_verdict::execute);
  }
}

}  // namespace
}  // namespace vmxsys::vmx
