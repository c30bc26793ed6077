#include <functional>
#include <gtest/gtest.h>
#include <set>
#include <string>
#include <vector>

#include <vmxsys/vmx/transition/transition_work.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>
#include <vmxsys/vmx/vmcs/processor.hpp>

#include "exit_state_fields.hpp"
#include "row_tests.hpp"

namespace vmxsys::vmx {
namespace {

using area = checked_fields::area;

unsigned checked(const vmcs& v, area where) {
  const transition_work w = entry_work(v, test::every_control());
  return where == area::control ? w.control_fields_checked
         : where == area::host  ? w.host_fields_checked
                                : w.guest_fields_checked;
}

struct condition {
  area where;
  const char* name;
  std::function<void(vmcs&)> make;
};

auto secondary_is(std::uint64_t bits) {
  return [bits](vmcs& v) {
    v.write(field::primary_processor_based_controls,
            v.read(field::primary_processor_based_controls) | primary::activate_secondary_controls);
    v.write(field::secondary_processor_based_controls, bits);
  };
}
auto tertiary_is(std::uint64_t bits) {
  return [bits](vmcs& v) {
    v.write(field::primary_processor_based_controls, primary::activate_tertiary_controls);
    v.write(field::tertiary_processor_based_controls, bits);
  };
}
auto is(field f, std::uint64_t value) {
  return [f, value](vmcs& v) { v.write(f, value); };
}
auto exit_2_is(std::uint64_t bits) {
  return [bits](vmcs& v) {
    v.write(field::primary_vm_exit_controls, vm_exit_control::activate_secondary_controls);
    v.write(field::secondary_vm_exit_controls, bits);
  };
}

const std::vector<condition>& conditions() {
  constexpr field primary_word = field::primary_processor_based_controls;
  constexpr field exit_word = field::primary_vm_exit_controls;
  constexpr field entry_word = field::vm_entry_controls;
  static const std::vector<condition> all{
      {area::control, "secondary controls", is(primary_word, primary::activate_secondary_controls)},
      {area::control, "tertiary controls", is(primary_word, primary::activate_tertiary_controls)},
      {area::control, "secondary VM-exit controls", exit_2_is(0)},
      {area::control, "VM-exit MSR-store address", is(field::vm_exit_msr_store_count, 1)},
      {area::control, "VM-exit MSR-load address", is(field::vm_exit_msr_load_count, 1)},
      {area::control, "VM-entry MSR-load address", is(field::vm_entry_msr_load_count, 1)},
      {area::control, "I/O-bitmap addresses", is(primary_word, primary::use_io_bitmaps)},
      {area::control, "MSR-bitmap address", is(primary_word, primary::use_msr_bitmaps)},
      {area::control, "virtual-APIC address", is(primary_word, primary::use_tpr_shadow)},
      {area::control, "APIC-access address", secondary_is(secondary::virtualize_apic_accesses)},
      {area::control, "posted-interrupt notification vector and descriptor address",
       is(field::pin_based_controls, pin_based::process_posted_interrupts)},
      {area::control, "VPID", secondary_is(secondary::enable_vpid)},
      {area::control, "EPT pointer", secondary_is(secondary::enable_ept)},
      {area::control, "PML address", secondary_is(secondary::enable_pml)},
      {area::control, "VMREAD- and VMWRITE-bitmap addresses", secondary_is(secondary::vmcs_shadowing)},
      {area::control, "virtualization-exception information address", secondary_is(secondary::ept_violation_ve)},
      {area::control, "sub-page-permission-table pointer", secondary_is(secondary::sub_page_write_permissions_for_ept)},
      {area::control, "PASID-directory addresses", secondary_is(secondary::pasid_translation)},
      {area::control, "VM-function controls", secondary_is(secondary::enable_vm_functions)},
      {area::control, "TSC multiplier", secondary_is(secondary::use_tsc_scaling)},
      {area::control, "PID-pointer table address and last index", tertiary_is(tertiary::ipi_virtualization)},
      {area::control, "HLAT pointer", tertiary_is(tertiary::enable_hlat)},
      {area::control, "virtual-timer vector", tertiary_is(tertiary::apic_timer_virtualization)},
      {area::control, "VM-entry exception error code", is(field::vm_entry_interruption_information, 0x8000'0B0D)},
      {area::control, "VM-entry instruction length", is(field::vm_entry_interruption_information, 0x8000'0480)},
      {area::host, "IA32_PERF_GLOBAL_CTRL", is(exit_word, vm_exit_control::load_ia32_perf_global_ctrl)},
      {area::host, "IA32_PAT", is(exit_word, vm_exit_control::load_ia32_pat)},
      {area::host, "IA32_EFER", is(exit_word, vm_exit_control::load_ia32_efer)},
      {area::host, "CET state", is(exit_word, vm_exit_control::load_cet_state)},
      {area::host, "IA32_PKRS", is(exit_word, vm_exit_control::load_pkrs)},
      {area::host, "FRED MSRs", exit_2_is(vm_exit_control_2::load_fred)},
      {area::host, "IA32_SPEC_CTRL", exit_2_is(vm_exit_control_2::load_ia32_spec_ctrl)},
      {area::guest, "DR7 and IA32_DEBUGCTL", is(entry_word, vm_entry_control::load_debug_controls)},
      {area::guest, "IA32_PERF_GLOBAL_CTRL", is(entry_word, vm_entry_control::load_ia32_perf_global_ctrl)},
      {area::guest, "IA32_PAT", is(entry_word, vm_entry_control::load_ia32_pat)},
      {area::guest, "IA32_EFER", is(entry_word, vm_entry_control::load_ia32_efer)},
      {area::guest, "IA32_BNDCFGS", is(entry_word, vm_entry_control::load_ia32_bndcfgs)},
      {area::guest, "IA32_RTIT_CTL", is(entry_word, vm_entry_control::load_ia32_rtit_ctl)},
      {area::guest, "UINV", is(entry_word, vm_entry_control::load_uinv)},
      {area::guest, "CET state", is(entry_word, vm_entry_control::load_cet_state)},
      {area::guest, "IA32_LBR_CTL", is(entry_word, vm_entry_control::load_guest_ia32_lbr_ctl)},
      {area::guest, "IA32_PKRS", is(entry_word, vm_entry_control::load_pkrs)},
      {area::guest, "FRED MSRs", is(entry_word, vm_entry_control::load_fred)},
      {area::guest, "IA32_SPEC_CTRL", is(entry_word, vm_entry_control::load_ia32_spec_ctrl)},
  };
  return all;
}

const std::set<std::string> always_checked{"pin-based, primary, VM-exit and VM-entry controls",
                                           "CR3-target count and MSR-list counts",
                                           "VM-entry interruption information",
                                           "CR0, CR3, CR4",
                                           "SYSENTER_ESP and SYSENTER_EIP",
                                           "selectors",
                                           "FS, GS, TR, GDTR and IDTR bases",
                                           "RIP",
                                           "segment registers",
                                           "GDTR and IDTR",
                                           "RIP and RFLAGS",
                                           "activity, interruptibility, pending debug exceptions, link pointer"};
// Rows of which the condition is more than one control; tested one by one below.
const std::set<std::string> tested_apart{"TPR threshold", "EPTP-list address", "PDPTEs"};

TEST(vmx_exit_work, the_least_an_entry_checks) {
  const vmcs v;
  EXPECT_EQ(checked(v, area::control), 9u);
  EXPECT_EQ(checked(v, area::host), 18u);
  EXPECT_EQ(checked(v, area::guest), 47u);
}

TEST(vmx_exit_work, every_control_adds_its_fields_and_no_others) {
  for (const condition& c : conditions()) {
    SCOPED_TRACE(c.name);
    unsigned fields = 0;
    for (std::size_t i = 0; i < checked_fields_table_size(); ++i)
      if (checked_fields_table()[i].where == c.where && checked_fields_table()[i].name == std::string{c.name})
        fields = checked_fields_table()[i].fields;
    ASSERT_NE(fields, 0u);
    vmcs v;
    c.make(v);
    // The word that holds the control may itself become checked, and the TPR threshold comes with the TPR shadow.
    unsigned others = 0;
    const bool secondary = v.any(field::primary_processor_based_controls, primary::activate_secondary_controls);
    const bool tertiary = v.any(field::primary_processor_based_controls, primary::activate_tertiary_controls);
    const bool tpr = v.any(field::primary_processor_based_controls, primary::use_tpr_shadow);
    if (c.where == area::control && c.name != std::string{"secondary controls"} && secondary) ++others;
    if (c.where == area::control && c.name != std::string{"tertiary controls"} && tertiary) ++others;
    if (tpr) ++others;
    EXPECT_EQ(checked(v, c.where), checked(vmcs{}, c.where) + fields + others);
  }
}

TEST(vmx_exit_work, secondary_words_count_only_when_activated) {
  vmcs v;
  v.write(field::secondary_processor_based_controls, ~0u);
  v.write(field::tertiary_processor_based_controls, ~0u);
  v.write(field::secondary_vm_exit_controls, ~0u);
  for (const area where : {area::control, area::host, area::guest})
    EXPECT_EQ(checked(v, where), checked(vmcs{}, where));
}

TEST(vmx_exit_work, fields_with_more_than_one_condition) {
  vmcs v;
  v.write(field::primary_processor_based_controls, primary::use_tpr_shadow | primary::activate_secondary_controls);
  const unsigned with_threshold = checked(v, area::control);
  v.write(field::secondary_processor_based_controls, secondary::virtual_interrupt_delivery);
  EXPECT_EQ(checked(v, area::control), with_threshold - 1) << "TPR threshold";

  v = {};
  secondary_is(secondary::enable_vm_functions)(v);
  const unsigned functions = checked(v, area::control);
  v.write(field::vm_function_controls, 1);
  EXPECT_EQ(checked(v, area::control), functions + 1) << "EPTP-list address";

  v = {};
  secondary_is(secondary::enable_ept)(v);
  v.write(field::guest_cr0, 0x8000'0001);
  EXPECT_EQ(checked(v, area::guest), 47u);
  v.write(field::guest_cr4, 0x20);
  EXPECT_EQ(checked(v, area::guest), 51u) << "PDPTEs";
  v.write(field::vm_entry_controls, vm_entry_control::ia_32e_mode_guest);
  EXPECT_EQ(checked(v, area::guest), 47u);
}

TEST(vmx_exit_work, table_of_checked_fields_is_tested) {
  std::vector<std::string> rows;
  std::vector<testing_rows::row_test> tests;
  const char* prefix[] = {"control: ", "host: ", "guest: "};
  for (std::size_t i = 0; i < checked_fields_table_size(); ++i) {
    const checked_fields& row = checked_fields_table()[i];
    const std::string name = prefix[static_cast<std::size_t>(row.where)] + std::string{row.name};
    rows.push_back(name);
    if (always_checked.count(row.name) != 0) tests.push_back({name, "vmx_exit_work.the_least_an_entry_checks"});
    if (tested_apart.count(row.name) != 0) tests.push_back({name, "vmx_exit_work.fields_with_more_than_one_condition"});
  }
  for (const condition& c : conditions())
    tests.push_back({prefix[static_cast<std::size_t>(c.where)] + std::string{c.name},
                     "vmx_exit_work.every_control_adds_its_fields_and_no_others"});
  testing_rows::expect_rows_tested(rows, tests);
}

TEST(vmx_exit_work, what_checks_read_from_memory) {
  vmcs v;
  v.write(field::vmcs_link_pointer, no_vmcs);
  const auto reads = [&v] { return entry_work(v, test::every_control()).checks_in_memory; };
  EXPECT_EQ(reads(), 0u);
  v.write(field::vmcs_link_pointer, 0x2000);
  EXPECT_EQ(reads(), 1u);
  v.write(field::primary_processor_based_controls, primary::use_tpr_shadow);
  EXPECT_EQ(reads(), 2u) << "VTPR";
  secondary_is(secondary::virtualize_apic_accesses)(v);
  EXPECT_EQ(reads(), 1u);
  secondary_is(secondary::virtual_interrupt_delivery)(v);
  EXPECT_EQ(reads(), 1u);
}

TEST(vmx_exit_work, lists_are_counted_up_to_the_recommended_length) {
  const capabilities& caps = find_capability_row("cascade_lake_sp")->values;  // 512 entries
  ASSERT_EQ(caps.max_msr_list(), 512u);
  vmcs v;
  for (const std::uint64_t count : {0u, 1u, 512u, 513u, 0xFFFF'FFFFu}) {
    v.write(field::vm_entry_msr_load_count, count);
    v.write(field::vm_exit_msr_store_count, count);
    v.write(field::vm_exit_msr_load_count, count);
    const auto expected = static_cast<unsigned>(count < 512 ? count : 512);
    EXPECT_EQ(entry_work(v, caps).msrs_loaded, expected);
    EXPECT_EQ(exit_work(v, {}, caps).msrs_stored, expected);
    EXPECT_EQ(exit_work(v, {}, caps).msrs_loaded, expected);
    EXPECT_EQ(failed_entry_work(v, caps).msrs_loaded, expected);
    EXPECT_EQ(failed_entry_work(v, caps).msrs_stored, 0u);
  }
}

TEST(vmx_exit_work, translations_injection_pdptes_and_bitmaps) {
  const capabilities caps = test::every_control();
  vmcs v;
  EXPECT_EQ(entry_work(v, caps).translations_invalidated, 1u);
  EXPECT_EQ(exit_work(v, {}, caps).translations_invalidated, 1u);
  EXPECT_EQ(failed_entry_work(v, caps).translations_invalidated, 1u);
  secondary_is(secondary::enable_vpid)(v);
  EXPECT_EQ(entry_work(v, caps).translations_invalidated, 0u);
  EXPECT_EQ(exit_work(v, {}, caps).translations_invalidated, 0u);

  EXPECT_EQ(entry_work(v, caps).events_injected, 0u);
  v.write(field::vm_entry_interruption_information, 0x8000'0030);
  EXPECT_EQ(entry_work(v, caps).events_injected, 1u);
  v.write(field::vm_entry_interruption_information, 0x8000'0700);
  EXPECT_EQ(entry_work(v, caps).events_injected, 0u) << "a pending MTF exit";

  v = {};
  v.write(field::guest_cr0, 0x8000'0001);
  v.write(field::guest_cr4, 0x20);
  EXPECT_EQ(entry_work(v, caps).pdptes_loaded, 4u);
  secondary_is(secondary::enable_ept)(v);
  EXPECT_EQ(entry_work(v, caps).pdptes_loaded, 0u) << "from the VMCS";

  EXPECT_EQ(exit_work(v, {}, caps).pdptes_loaded, 0u);
  v.write(field::host_cr0, 0x8000'0001);
  v.write(field::host_cr4, 0x20);
  EXPECT_EQ(exit_work(v, {}, caps).pdptes_loaded, 4u);
  v.write(field::primary_vm_exit_controls, vm_exit_control::host_address_space_size);
  EXPECT_EQ(exit_work(v, {}, caps).pdptes_loaded, 0u);

  v = {};
  EXPECT_EQ(bitmap_pages(v), 0u);
  v.write(field::primary_processor_based_controls, primary::use_io_bitmaps);
  EXPECT_EQ(bitmap_pages(v), 2u);
  v.write(field::primary_processor_based_controls, primary::use_io_bitmaps | primary::use_msr_bitmaps);
  EXPECT_EQ(bitmap_pages(v), 3u);
  secondary_is(secondary::vmcs_shadowing)(v);
  EXPECT_EQ(bitmap_pages(v), 5u);
}

// ---- micro-steps ---------------------------------------------------------------------------------------------------

TEST(vmx_exit_work, each_step_has_its_count) {
  transition_work w;
  w.control_fields_checked = 1;
  w.host_fields_checked = 2;
  w.guest_fields_checked = 3;
  w.guest_fields_loaded = 4;
  w.pdptes_loaded = 5;
  w.msrs_loaded = 6;
  w.translations_invalidated = 7;
  w.events_injected = 8;
  w.information_fields_written = 9;
  w.guest_fields_saved = 10;
  w.msrs_stored = 11;
  w.host_fields_loaded = 12;
  using step = transition_step;
  const std::pair<step, unsigned> expected[] = {
      {step::check_controls, 1},      {step::check_host_state, 2},   {step::check_guest_state, 3},
      {step::load_guest_state, 4},    {step::load_guest_pdptes, 5},  {step::load_guest_msrs, 6},
      {step::invalidate_at_entry, 7}, {step::inject_event, 8},       {step::record_information, 9},
      {step::save_guest_state, 10},   {step::store_guest_msrs, 11},  {step::load_host_state, 12},
      {step::load_host_pdptes, 5},    {step::invalidate_at_exit, 7}, {step::load_host_msrs, 6}};
  std::vector<std::string> rows;
  std::vector<testing_rows::row_test> tests;
  for (std::size_t i = 0; i < transition_step_count; ++i) {
    EXPECT_EQ(static_cast<std::size_t>(transition_step_table()[i].step), i);
    rows.push_back(std::to_string(i) + name_of(transition_step_table()[i].step));
  }
  for (const auto& [which, count] : expected) {
    EXPECT_EQ(work_of(which, w), count) << name_of(which);
    tests.push_back(
        {std::to_string(static_cast<unsigned>(which)) + name_of(which), "vmx_exit_work.each_step_has_its_count"});
  }
  testing_rows::expect_rows_tested(rows, tests);
}

TEST(vmx_exit_work, which_transition_has_which_steps) {
  const auto steps = [](bool transition_step_info::*at) {
    std::string marks;
    for (std::size_t i = 0; i < transition_step_count; ++i) marks += transition_step_table()[i].*at ? 'x' : '-';
    return marks;
  };
  EXPECT_EQ(steps(&transition_step_info::at_entry), "xxxxxxxx-------");
  EXPECT_EQ(steps(&transition_step_info::at_exit), "--------xxxxxxx");
  EXPECT_EQ(steps(&transition_step_info::at_failed_entry), "--------x--xxxx");
  // A transition's work is 0 in the steps it does not have.
  vmcs v;
  v.write(field::vm_exit_msr_store_count, 3);
  v.write(field::vm_exit_msr_load_count, 3);
  const capabilities caps = test::every_control();
  const transition_work at_exit = exit_work(v, {}, caps);
  EXPECT_EQ(at_exit.control_fields_checked + at_exit.host_fields_checked + at_exit.guest_fields_checked +
                at_exit.guest_fields_loaded + at_exit.events_injected,
            0u);
  const transition_work failed = failed_entry_work(v, caps);
  EXPECT_EQ(failed.guest_fields_saved + failed.msrs_stored, 0u);
  EXPECT_EQ(failed.information_fields_written, 2u);
  EXPECT_EQ(at_exit.information_fields_written, 10u);
}

}  // namespace
}  // namespace vmxsys::vmx
