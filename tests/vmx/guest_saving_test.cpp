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

// What an exit saves of the guest.
namespace vmxsys::vmx {
namespace {

using test::all_defined;
using test::guest_field;
using test::guest_fields;
using test::mark;
using test::marked_processor;
using test::of;
using test::pae_processor;

exit_info event(std::uint8_t vector, event_type type) {
  exit_info exit;
  exit.interruption_information = encode({vector, type, false, false, false, true});
  return exit;
}

// Saves pending debug exceptions and leaves RF alone: what a round trip needs.
const exit_info init = test::of(exit_reason::init_signal);

TEST(vmx_guest_saving, every_field_is_saved_by_its_control_and_by_nothing_else) {
  const capabilities caps = test::every_control();
  const processor_state p = marked_processor();
  for (const guest_field& f : guest_fields()) {
    for (const bool on : {false, true}) {
      vmcs v;
      v.write(field::primary_vm_exit_controls, on ? 0xFFFF'FFFF : 0);
      v.write(field::secondary_vm_exit_controls, on ? ~std::uint64_t{0} : 0);
      if (f.save >= 0 && on) {  // exactly this control
        v.write(field::primary_vm_exit_controls, f.save < 32 ? std::uint64_t{1} << f.save : 1u << 31);
        v.write(field::secondary_vm_exit_controls, f.save < 32 ? 0 : std::uint64_t{1} << (f.save - 32));
      } else if (f.save >= 0) {  // all but this one
        v.write(field::primary_vm_exit_controls, f.save < 32 ? ~(std::uint64_t{1} << f.save) : 0xFFFF'FFFF);
        v.write(field::secondary_vm_exit_controls,
                f.save < 32 ? ~std::uint64_t{0} : ~(std::uint64_t{1} << (f.save - 32)));
      }
      v.write(f.where, 0x33);
      save_guest_state(v, p, caps, init);
      const bool expected = f.save < 0 || on;
      EXPECT_EQ(v.read(f.where), expected ? f.get(p) & mask_of(width_of(f.where)) : 0x33u) << name_of(f.where);
    }
  }
}

TEST(vmx_guest_saving, msrs_without_a_save_control_are_saved_where_the_processor_can_load_or_clear_them) {
  const processor_state p = marked_processor();
  for (const guest_field& f : guest_fields()) {
    if (!f.saved_if_loadable) continue;
    const std::uint64_t load = std::uint64_t{1} << (32 + f.load);
    const std::uint64_t clear = f.clear >= 0 ? std::uint64_t{1} << (32 + f.clear) : 0;
    for (const bool can_load : {false, true})
      for (const bool can_clear : {false, true}) {
        capabilities caps = test::every_control();
        if (!can_load) caps.vm_entry &= ~load;
        if (!can_clear) caps.vm_exit &= ~clear;
        vmcs v;
        v.write(f.where, 0x33);
        save_guest_state(v, p, caps, init);
        const bool expected = can_load || (can_clear && f.clear >= 0);
        EXPECT_EQ(v.read(f.where) != 0x33, expected) << name_of(f.where) << can_load << can_clear;
      }
  }
}

TEST(vmx_guest_saving, secondary_exit_controls_count_only_when_activated) {
  const processor_state p = marked_processor();
  vmcs v;
  v.write(field::secondary_vm_exit_controls, vm_exit_control_2::save_fred);
  save_guest_state(v, p, test::every_control(), init);
  EXPECT_EQ(v.read(field::guest_ia32_fred_config), 0u);
  v.write(field::primary_vm_exit_controls, vm_exit_control::activate_secondary_controls);
  save_guest_state(v, p, test::every_control(), init);
  EXPECT_EQ(v.read(field::guest_ia32_fred_config), p.fred.config);
}

TEST(vmx_guest_saving, fields_nobody_saves_stay) {
  vmcs v;
  for (const field f : {field::vmcs_link_pointer, field::guest_smbase, field::guest_interrupt_status, field::pml_index})
    v.write(f, 0x11);
  save_guest_state(v, marked_processor(), test::every_control(), init);
  for (const field f : {field::vmcs_link_pointer, field::guest_smbase, field::guest_interrupt_status, field::pml_index})
    EXPECT_EQ(v.read(f), 0x11u) << name_of(f);
}

TEST(vmx_guest_saving, activity_state) {
  processor_state p;
  for (const activity_state a :
       {activity_state::active, activity_state::hlt, activity_state::shutdown, activity_state::wait_for_sipi}) {
    p.activity = a;
    vmcs v;
    save_guest_state(v, p, test::every_control(), init);
    EXPECT_EQ(v.read(field::guest_activity_state), static_cast<std::uint64_t>(a));
  }
}

TEST(vmx_guest_saving, interruptibility_state) {
  const auto saved = [](const processor_state& p, bool virtual_nmis, std::uint32_t flags = 0) {
    vmcs v;
    v.write(field::pin_based_controls, virtual_nmis ? pin_based::virtual_nmis : 0);
    exit_info exit = init;
    exit.flags = flags;
    save_guest_state(v, p, test::every_control(), exit);
    return v.read(field::guest_interruptibility_state);
  };
  processor_state p;
  EXPECT_EQ(saved(p, true), 0u);
  p.sti_blocking = true;
  EXPECT_EQ(saved(p, true), 1u);
  p = {};
  p.mov_ss_blocking = true;
  EXPECT_EQ(saved(p, true), 2u);
  p = {};
  p.nmi_blocking = true;
  EXPECT_EQ(saved(p, false), 8u);
  EXPECT_EQ(saved(p, true), 0u) << "bit 3 is virtual-NMI blocking";
  p = {};
  p.virtual_nmi_blocking = true;
  EXPECT_EQ(saved(p, false), 0u);
  EXPECT_EQ(saved(p, true), 8u);
  EXPECT_EQ(saved({}, false, exit_reason_flag::enclave), 16u);
  p = {};
  p.enclave_interruption = true;
  EXPECT_EQ(saved(p, false), 16u);
}

// ---- RIP -----------------------------------------------------------------------------------------------------------

TEST(vmx_guest_saving, rip_of_each_class) {
  processor_state p;
  p.rip = 0x1000;
  p[segment_name::cs].rights = access_rights::long_mode;
  const exit_situation three_bytes{3, false, false};
  EXPECT_EQ(rip_to_save(of(exit_reason::pause), {}, p), 0x1000u);
  EXPECT_EQ(rip_to_save(of(exit_reason::pause), three_bytes, p), 0x1000u) << "a fault";
  EXPECT_EQ(rip_to_save(of(exit_reason::external_interrupt), three_bytes, p), 0x1000u) << "an event";
  for (const exit_reason trap : {exit_reason::apic_write, exit_reason::virtualized_eoi, exit_reason::bus_lock,
                                 exit_reason::tpr_below_threshold, exit_reason::monitor_trap_flag}) {
    EXPECT_EQ(rip_to_save(of(trap), three_bytes, p), 0x1003u);
    EXPECT_EQ(rip_to_save(of(trap), {}, p), 0x1000u) << "RIP has been advanced";
  }
  vmcs v;
  save_guest_state(v, p, test::every_control(), of(exit_reason::apic_write), three_bytes);
  EXPECT_EQ(v.read(field::guest_rip), 0x1003u);
}

TEST(vmx_guest_saving, rip_wraps_at_32_bits_outside_64_bit_mode) {
  processor_state p;
  p.rip = 0xFFFF'FFFE;
  const exit_situation at{3, false, false};
  EXPECT_EQ(rip_to_save(of(exit_reason::apic_write), at, p), 1u) << "compatibility mode";
  p[segment_name::cs].rights = access_rights::long_mode;
  EXPECT_EQ(rip_to_save(of(exit_reason::apic_write), at, p), 0x1'0000'0001u);
  p.efer = 0;
  EXPECT_EQ(rip_to_save(of(exit_reason::apic_write), at, p), 1u);
}

// ---- RFLAGS.RF -----------------------------------------------------------------------------------------------------

bool rf(const exit_info& exit, bool before, bool between_iterations = false) {
  processor_state p;
  p.rflags = 0x202 | (before ? rflags_bits::rf : 0);
  const std::uint64_t saved = rflags_to_save(exit, {0, between_iterations, false}, p);
  EXPECT_EQ(saved & ~rflags_bits::rf, 0x202u);
  return (saved & rflags_bits::rf) != 0;
}

TEST(vmx_guest_saving, rf_is_0_after_instruction_exits) {
  for (std::size_t i = 0; i < exit_reason_table_size(); ++i) {
    const exit_reason_info& row = exit_reason_table()[i];
    if (row.length != length_rule::instruction) continue;
    EXPECT_FALSE(rf(of(row.reason), true)) << row.name;
    EXPECT_FALSE(rf(of(row.reason), false)) << row.name;
  }
}

TEST(vmx_guest_saving, rf_of_exceptions_is_that_of_the_pushed_image) {
  constexpr auto hardware = event_type::hardware_exception;
  for (const unsigned fault : {0u, 5u, 6u, 7u, 10u, 11u, 12u, 13u, 14u, 16u, 17u, 19u, 20u, 21u})
    EXPECT_TRUE(rf(event(static_cast<std::uint8_t>(fault), hardware), false)) << fault;
  for (const unsigned vector : {1u, 8u, 18u}) {
    const auto other = static_cast<std::uint8_t>(vector);
    EXPECT_FALSE(rf(event(other, hardware), false)) << "#DB, #DF, #MC";
    EXPECT_TRUE(rf(event(other, hardware), true));
    EXPECT_TRUE(rf(event(other, hardware), false, true)) << "between iterations of a repeated string instruction";
  }
  exit_info general_detect = event(1, hardware);
  general_detect.qualification = 1u << 13;
  EXPECT_TRUE(rf(general_detect, false)) << "a #DB that is a fault and no instruction breakpoint";
  for (const event_type software : {event_type::software_exception, event_type::privileged_software_exception})
    EXPECT_FALSE(rf(event(3, software), true));
}

TEST(vmx_guest_saving, rf_of_interrupts_and_nmis) {
  exit_info interrupt = of(exit_reason::external_interrupt);
  for (const std::uint32_t word : {0u, 0x8000'00ECu}) {
    interrupt.interruption_information = word;
    EXPECT_FALSE(rf(interrupt, false));
    EXPECT_TRUE(rf(interrupt, true));
    EXPECT_TRUE(rf(interrupt, false, true));
  }
  EXPECT_FALSE(rf(event(2, event_type::nmi), false));
  EXPECT_TRUE(rf(event(2, event_type::nmi), false, true));
}

TEST(vmx_guest_saving, rf_of_memory_exits_is_1_unless_an_event_is_being_delivered) {
  for (const exit_reason reason :
       {exit_reason::apic_access, exit_reason::ept_violation, exit_reason::ept_misconfiguration,
        exit_reason::page_modification_log_full, exit_reason::spp_event}) {
    exit_info exit = of(reason);
    EXPECT_TRUE(rf(exit, false));
    exit.idt_vectoring_information = 0x8000'0030;
    EXPECT_FALSE(rf(exit, false)) << "as in the image of the interrupt";
    EXPECT_TRUE(rf(exit, true));
    exit.idt_vectoring_information = encode({13, event_type::hardware_exception, true, false, false, true});
    EXPECT_TRUE(rf(exit, false));
    exit.idt_vectoring_information = encode({0x80, event_type::software_interrupt, false, false, false, true});
    EXPECT_FALSE(rf(exit, true));
  }
}

TEST(vmx_guest_saving, rf_of_task_switches) {
  exit_info exit = of(exit_reason::task_switch);
  EXPECT_FALSE(rf(exit, true)) << "by an instruction";
  exit.idt_vectoring_information = encode({13, event_type::hardware_exception, true, false, false, true});
  EXPECT_TRUE(rf(exit, false));
  exit.idt_vectoring_information = 0x8000'0030;
  EXPECT_FALSE(rf(exit, false));
  EXPECT_TRUE(rf(exit, true));
}

TEST(vmx_guest_saving, rf_of_the_others_is_as_it_was) {
  for (const exit_reason reason :
       {exit_reason::triple_fault, exit_reason::init_signal, exit_reason::startup_ipi, exit_reason::interrupt_window,
        exit_reason::nmi_window, exit_reason::preemption_timer, exit_reason::monitor_trap_flag,
        exit_reason::tpr_below_threshold, exit_reason::virtualized_eoi, exit_reason::apic_write, exit_reason::bus_lock,
        exit_reason::instruction_timeout}) {
    EXPECT_TRUE(rf(of(reason), true));
    EXPECT_FALSE(rf(of(reason), false));
    EXPECT_FALSE(rf(of(reason), false, true));
  }
}

// ---- pending debug exceptions --------------------------------------------------------------------------------------

processor_state with_pending_debug() {
  processor_state p;
  p.pending_debug = ~std::uint64_t{0};
  p.rflags = rflags_bits::one | rflags_bits::tf;
  return p;
}
TEST(vmx_guest_saving, pending_debug_exceptions_are_dropped_by_most_exits) {
  for (std::size_t i = 0; i < exit_reason_table_size(); ++i) {
    const auto number = static_cast<unsigned>(exit_reason_table()[i].reason);
    const bool kept = number == 3 || number == 5 || number == 6 || number == 37 || number == 43 || number == 45 ||
                      number == 56 || number == 74;
    EXPECT_EQ(pending_debug_to_save(of(exit_reason_table()[i].reason), with_pending_debug()), kept ? all_defined : 0)
        << exit_reason_table()[i].name;
  }
  constexpr auto hardware = event_type::hardware_exception;
  EXPECT_EQ(pending_debug_to_save(event(18, hardware), with_pending_debug()), all_defined) << "machine check";
  EXPECT_EQ(pending_debug_to_save(event(14, hardware), with_pending_debug()), 0u);
  EXPECT_EQ(pending_debug_to_save(event(18, event_type::software_interrupt), with_pending_debug()), 0u);
}

TEST(vmx_guest_saving, pending_debug_exceptions_are_kept_under_blocking_by_mov_ss) {
  processor_state p = with_pending_debug();
  p.mov_ss_blocking = true;
  EXPECT_EQ(pending_debug_to_save(of(exit_reason::cpuid), p), all_defined);
  p.debugctl = debugctl_bits::btf;
  EXPECT_EQ(pending_debug_to_save(of(exit_reason::cpuid), p), all_defined & ~0x4000u);
  EXPECT_EQ(pending_debug_to_save(event(1, event_type::hardware_exception), p), 0u) << "not if a #DB exits";
  EXPECT_EQ(pending_debug_to_save(event(1, event_type::privileged_software_exception), p), 0u) << "nor INT1";
}

// Otherwise a VM entry with what the exit saved would fail.
TEST(vmx_guest_saving, single_step_is_pending_in_a_shadow_and_in_hlt) {
  constexpr std::uint64_t bs = 0x4000;
  for (int which = 0; which < 4; ++which)
    for (const bool tf : {false, true})
      for (const bool btf : {false, true}) {
        processor_state p;
        p.sti_blocking = which == 1;
        p.mov_ss_blocking = which == 2;
        if (which == 3) p.activity = activity_state::hlt;
        p.rflags = rflags_bits::one | (tf ? rflags_bits::tf : 0);
        p.debugctl = btf ? debugctl_bits::btf : 0;
        const bool stepping = which != 0 && tf && !btf;
        EXPECT_EQ(pending_debug_to_save(of(exit_reason::preemption_timer), p), stepping ? bs : 0u)
            << which << tf << btf;
        EXPECT_EQ(pending_debug_to_save(init, p), stepping ? bs : 0u) << which << tf << btf;
      }
}

TEST(vmx_guest_saving, a_debug_exit_in_a_shadow_does_not_save_the_step_unless_told) {
  processor_state p;
  p.sti_blocking = true;
  p.rflags = rflags_bits::one | rflags_bits::tf;
  const exit_info debug = event(1, event_type::hardware_exception);
  EXPECT_EQ(pending_debug_to_save(debug, p), 0u);
  exit_options options;
  options.debug_exit_saves_step = true;
  EXPECT_EQ(pending_debug_to_save(debug, p, options), 0x4000u);
  vmcs v;
  save_guest_state(v, p, test::every_control(), debug, {}, options);
  EXPECT_EQ(v.read(field::guest_pending_debug_exceptions), 0x4000u);
}

// ---- timers, PDPTEs, IA-32e mode -----------------------------------------------------------------------------------

TEST(vmx_guest_saving, preemption_timer) {
  processor_state p;
  p.preemption_timer = 77;
  const auto saved = [&p](std::uint64_t controls, exit_reason reason) {
    vmcs v;
    v.write(field::primary_vm_exit_controls, controls);
    v.write(field::vmx_preemption_timer_value, 1000);
    save_guest_state(v, p, test::every_control(), of(reason));
    return v.read(field::vmx_preemption_timer_value);
  };
  constexpr auto control = vm_exit_control::save_vmx_preemption_timer_value;
  EXPECT_EQ(saved(0, exit_reason::pause), 1000u) << "the next entry starts from the same value";
  EXPECT_EQ(saved(~std::uint64_t{control}, exit_reason::pause), 1000u);
  EXPECT_EQ(saved(control, exit_reason::pause), 77u);
  EXPECT_EQ(saved(control, exit_reason::preemption_timer), 0u);
}

TEST(vmx_guest_saving, guest_deadline) {
  processor_state p;
  p.guest_deadline = 0x1234;
  capabilities caps = test::every_control();
  vmcs v;
  save_guest_state(v, p, caps, init);
  EXPECT_EQ(v.read(field::guest_deadline), 0x1234u) << "by the processor's ability, not by the control";
  caps.tertiary &= ~tertiary::apic_timer_virtualization;
  v.write(field::guest_deadline, 9);
  save_guest_state(v, p, caps, init);
  EXPECT_EQ(v.read(field::guest_deadline), 9u);
}

TEST(vmx_guest_saving, pdptes_with_ept_and_pae_paging) {
  const auto saved = [](const processor_state& p, bool ept) {
    vmcs v;
    v.write(field::primary_processor_based_controls, primary::activate_secondary_controls);
    v.write(field::secondary_processor_based_controls, ept ? secondary::enable_ept : 0);
    v.write(field::guest_pdpte3, 0x55);
    save_guest_state(v, p, test::every_control(), init);
    return v.read(field::guest_pdpte3);
  };
  EXPECT_EQ(saved(pae_processor(), true), 0x4001u);
  EXPECT_EQ(saved(pae_processor(), false), 0x55u);
  processor_state p = pae_processor();
  p.cr0 &= 0x7FFF'FFFF;
  EXPECT_EQ(saved(p, true), 0x55u) << "no paging";
  p = pae_processor();
  p.cr4 &= ~0x20u;
  EXPECT_EQ(saved(p, true), 0x55u) << "32-bit paging";
  p = pae_processor();
  p.efer = 0x500;
  EXPECT_EQ(saved(p, true), 0x55u) << "4-level paging";
}

TEST(vmx_guest_saving, ia_32e_mode_guest_follows_lma_where_the_processor_does_that) {
  const auto saved = [](std::uint64_t efer, std::uint64_t before, bool does) {
    capabilities caps = test::every_control();
    caps.misc = does ? 0x20 : 0;
    processor_state p;
    p.efer = efer;
    vmcs v;
    v.write(field::vm_entry_controls, before);
    save_guest_state(v, p, caps, init);
    return v.read(field::vm_entry_controls);
  };
  EXPECT_EQ(saved(0x500, 0x11FB, true), 0x13FBu);
  EXPECT_EQ(saved(0x100, 0x13FB, true), 0x11FBu) << "LME alone does not count";
  EXPECT_EQ(saved(0x500, 0x11FB, false), 0x11FBu);
  EXPECT_EQ(saved(0, 0x13FB, false), 0x13FBu);
}

TEST(vmx_guest_saving, unchanged_state_leaves_passed_checks_standing) {
  const capabilities& caps = find_capability_row("cascade_lake_sp")->values;
  vmcs v = make_minimal_vmcs(caps, {});
  processor_state p;
  load_guest_state(v, p, caps);
  save_guest_state(v, p, caps, of(exit_reason::pause));
  v.note_checks_passed(1);
  p.rip += 2;
  p.rsp -= 8;
  save_guest_state(v, p, caps, of(exit_reason::pause));
  EXPECT_TRUE(v.checks_hold(1));
  p.cr4 ^= 0x80;
  save_guest_state(v, p, caps, of(exit_reason::pause));
  EXPECT_FALSE(v.checks_hold(1));
}

TEST(vmx_guest_saving, counts_the_fields_it_writes) {
  testing::random_numbers random{7};
  for (int i = 0; i < 300; ++i) {
    capabilities caps = test::every_control();
    caps.vm_entry &= random() | 0xFFFF'FFFF;
    caps.vm_exit &= random() | 0xFFFF'FFFF;
    caps.tertiary = random();
    caps.misc = random();
    processor_state p = i % 2 == 0 ? pae_processor() : processor_state{};
    vmcs v;
    for (const field f : {field::primary_vm_exit_controls, field::secondary_vm_exit_controls,
                          field::primary_processor_based_controls, field::secondary_processor_based_controls})
      v.write(f, random());
    const std::uint64_t controls = p.efer == 0 ? vm_entry_control::ia_32e_mode_guest : 0u;  // always to be changed
    v.write(field::vm_entry_controls, controls);
    constexpr std::uint64_t odd = 0xAB;  // no field is saved with this value
    for (const field_info& f : field_table)
      if (f.type == field_type::guest_state) v.write(f.encoding, odd);
    v.write(field::vmx_preemption_timer_value, odd);
    for (const guest_field& f : guest_fields())
      if (f.get(p) == 0 && f.where != field::guest_ia32_efer) f.set(p, 0xCD);
    const unsigned expected = guest_fields_saved(v, p, caps);
    save_guest_state(v, p, caps, init);
    unsigned changed = v.read(field::vm_entry_controls) != controls ? 1 : 0;
    for (const field_info& f : field_table)
      if (f.type == field_type::guest_state && v.read(f.encoding) != odd) ++changed;
    EXPECT_EQ(changed, expected);
  }
}

}  // namespace
}  // namespace vmxsys::vmx
