#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/vmx/events/idt_vectoring.hpp>
#include <vmxsys/vmx/transition/guest_state.hpp>
#include <vmxsys/vmx/transition/host_state.hpp>
#include <vmxsys/vmx/transition/msr_list.hpp>
#include <vmxsys/vmx/transition/vm_exit.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>

#include "row_tests.hpp"

// Every row of every table of VM exits, and the test that proves it.
namespace vmxsys::vmx {
namespace {

using testing_rows::expect_rows_tested;
using testing_rows::row_test;

std::vector<std::string> names_of(const transfer_rule* rules, std::size_t count) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < count; ++i) names.emplace_back(rules[i].name);
  return names;
}

// A parameterized test over all reasons holds the manual's groups by number, so each reason has its own expectation;
// reasons with rules of their own name those tests too.
TEST(vmx_exit_rows, exit_reasons) {
  std::vector<std::string> rows;
  std::vector<row_test> tests;
  for (std::size_t i = 0; i < exit_reason_table_size(); ++i) {
    const std::string name = exit_reason_table()[i].name;
    rows.push_back(name);
    for (const char* test :
         {"vmx_exit_reason.has_the_class_of_the_manual",
          "vmx_exit_reason.records_a_qualification_only_where_the_manual_has_one",
          "vmx_exit_reason.records_a_length_only_for_instructions",
          "vmx_exit_reason.records_instruction_information_only_for_operands",
          "vmx_exit_reason.records_event_information_only_for_events", "vmx_exit_reason.says_what_happens_to_rf"})
      tests.push_back({name, test});
  }
  const auto own = [&tests](exit_reason reason, const char* test) { tests.push_back({name_of(reason), test}); };
  own(exit_reason::exception_or_nmi, "vmx_guest_saving.rf_of_exceptions_is_that_of_the_pushed_image");
  own(exit_reason::exception_or_nmi, "vmx_exit_record.software_exceptions_have_a_length_hardware_ones_not");
  own(exit_reason::external_interrupt, "vmx_guest_saving.rf_of_interrupts_and_nmis");
  own(exit_reason::triple_fault, "vmx_exit_vectoring.a_triple_fault_reports_nothing");
  own(exit_reason::task_switch, "vmx_exit_record.task_switches_have_a_length_unless_a_gate_of_the_idt_made_them");
  own(exit_reason::task_switch, "vmx_guest_saving.rf_of_task_switches");
  own(exit_reason::control_register_access, "vmx_exit_qualification.worked_values_of_control_register_accesses");
  own(exit_reason::mov_dr, "vmx_exit_qualification.worked_values_of_the_other_formats");
  own(exit_reason::io_instruction, "vmx_exit_qualification.worked_values_of_the_other_formats");
  own(exit_reason::entry_failure_guest_state, "vmx_exit_perform.a_failed_entry_records_two_fields_and_loads_the_host");
  own(exit_reason::entry_failure_msr_loading, "vmx_exit_perform.a_failed_entry_restores_nmi_blocking");
  own(exit_reason::entry_failure_machine_check, "vmx_exit_perform.a_failed_entry_can_abort_too");
  own(exit_reason::apic_access, "vmx_exit_qualification.which_apic_accesses_come_from_event_delivery");
  own(exit_reason::ept_violation, "vmx_exit_qualification.every_bit_of_an_ept_violation_has_its_place");
  own(exit_reason::preemption_timer, "vmx_guest_saving.preemption_timer");
  own(exit_reason::page_modification_log_full, "vmx_exit_record.nmi_unblocking_by_iret");
  for (const exit_reason trap : {exit_reason::monitor_trap_flag, exit_reason::tpr_below_threshold,
                                 exit_reason::virtualized_eoi, exit_reason::apic_write, exit_reason::bus_lock}) {
    own(trap, "vmx_guest_saving.rip_of_each_class");
    own(trap, "vmx_guest_saving.pending_debug_exceptions_are_dropped_by_most_exits");
  }
  expect_rows_tested(rows, tests);
}

TEST(vmx_exit_rows, delivery_stops) {
  std::vector<std::string> rows;
  for (std::size_t i = 0; i < delivery_stop_count; ++i) {
    EXPECT_EQ(static_cast<std::size_t>(delivery_stop_table()[i].stop), i);
    rows.emplace_back(delivery_stop_table()[i].name);
  }
  constexpr const char* memory = "vmx_exit_vectoring.memory_and_task_gates_report_the_event";
  expect_rows_tested(rows, {{"the event itself", "vmx_exit_vectoring.the_event_that_exits_itself_is_not_reported"},
                            {"another exception", "vmx_exit_vectoring.an_exception_on_the_way_reports_the_event"},
                            {"double fault", "vmx_exit_vectoring.a_double_fault_hides_the_event_it_came_from"},
                            {"triple fault", "vmx_exit_vectoring.a_triple_fault_reports_nothing"},
                            {"task gate in the IDT", memory},
                            {"APIC access", memory},
                            {"EPT violation", memory},
                            {"EPT misconfiguration", memory},
                            {"page-modification log full", memory},
                            {"SPP-related event", memory},
                            {"after the delivery", "vmx_exit_vectoring.exits_at_a_boundary_report_nothing"}});
}

TEST(vmx_exit_rows, guest_saving) {
  constexpr const char* each = "vmx_guest_saving.every_field_is_saved_by_its_control_and_by_nothing_else";
  constexpr const char* loadable =
      "vmx_guest_saving.msrs_without_a_save_control_are_saved_where_the_processor_can_load_or_clear_them";
  expect_rows_tested(
      names_of(guest_saving_table(), guest_saving_table_size()),
      {{"CR0, CR3, CR4", each},
       {"SYSENTER MSRs", each},
       {"DR7 and IA32_DEBUGCTL", each},
       {"IA32_PAT", each},
       {"IA32_EFER", each},
       {"IA32_PERF_GLOBAL_CTRL", each},
       {"IA32_BNDCFGS", loadable},
       {"IA32_RTIT_CTL", loadable},
       {"IA32_LBR_CTL", loadable},
       {"IA32_PKRS", loadable},
       {"UINV", loadable},
       {"CET state", loadable},
       {"IA32_SPEC_CTRL", loadable},
       {"FRED MSRs", each},
       {"FRED MSRs", "vmx_guest_saving.secondary_exit_controls_count_only_when_activated"},
       {"CS, SS, DS, ES, FS, GS, LDTR, TR", each},
       {"GDTR and IDTR", each},
       {"RIP", "vmx_guest_saving.rip_of_each_class"},
       {"RIP", "vmx_guest_saving.rip_wraps_at_32_bits_outside_64_bit_mode"},
       {"RSP", each},
       {"RFLAGS", "vmx_guest_saving.rf_is_0_after_instruction_exits"},
       {"RFLAGS", "vmx_guest_saving.rf_of_memory_exits_is_1_unless_an_event_is_being_delivered"},
       {"RFLAGS", "vmx_guest_saving.rf_of_the_others_is_as_it_was"},
       {"activity state", "vmx_guest_saving.activity_state"},
       {"interruptibility state", "vmx_guest_saving.interruptibility_state"},
       {"pending debug exceptions", "vmx_guest_saving.pending_debug_exceptions_are_dropped_by_most_exits"},
       {"pending debug exceptions", "vmx_guest_saving.pending_debug_exceptions_are_kept_under_blocking_by_mov_ss"},
       {"pending debug exceptions", "vmx_guest_saving.single_step_is_pending_in_a_shadow_and_in_hlt"},
       {"pending debug exceptions", "vmx_guest_saving.a_debug_exit_in_a_shadow_does_not_save_the_step_unless_told"},
       {"VMX-preemption timer", "vmx_guest_saving.preemption_timer"},
       {"guest deadline", "vmx_guest_saving.guest_deadline"},
       {"PDPTEs", "vmx_guest_saving.pdptes_with_ept_and_pae_paging"},
       {"VM-entry control \"IA-32e mode guest\"",
        "vmx_guest_saving.ia_32e_mode_guest_follows_lma_where_the_processor_does_that"}});
}

TEST(vmx_exit_rows, guest_loading) {
  constexpr const char* each = "vmx_guest_loading.every_field_is_loaded_by_its_control_and_by_nothing_else";
  constexpr const char* unusable = "vmx_guest_loading.unusable_registers";
  constexpr const char* state = "vmx_guest_loading.non_register_state";
  constexpr const char* timers = "vmx_guest_loading.timers_by_their_controls";
  expect_rows_tested(names_of(guest_loading_table(), guest_loading_table_size()),
                     {{"CR0", "vmx_guest_loading.cr0_keeps_its_reserved_bits_and_cache_control"},
                      {"CR3 and CR4", each},
                      {"DR7 and IA32_DEBUGCTL", each},
                      {"DR7 and IA32_DEBUGCTL", "vmx_guest_loading.dr7_has_its_fixed_bits"},
                      {"SYSENTER MSRs", each},
                      {"IA32_EFER", each},
                      {"IA32_EFER.LMA and LME", "vmx_guest_loading.lma_and_lme_without_loading_efer"},
                      {"IA32_PERF_GLOBAL_CTRL", each},
                      {"IA32_PAT", each},
                      {"IA32_BNDCFGS", each},
                      {"IA32_RTIT_CTL", each},
                      {"UINV", each},
                      {"CET state", each},
                      {"IA32_LBR_CTL", each},
                      {"IA32_PKRS", each},
                      {"FRED MSRs", each},
                      {"IA32_SPEC_CTRL", each},
                      {"CS", each},
                      {"SS", each},
                      {"SS", unusable},
                      {"SS", "vmx_guest_loading.cpl_is_the_dpl_of_ss_even_if_unusable"},
                      {"DS and ES", unusable},
                      {"FS and GS", unusable},
                      {"LDTR", unusable},
                      {"TR", each},
                      {"GDTR and IDTR", each},
                      {"RSP, RIP, RFLAGS", each},
                      {"PDPTEs", "vmx_guest_loading.pdptes_from_the_vmcs_with_ept"},
                      {"PDPTEs", "vmx_guest_loading.pdptes_from_memory_without_ept"},
                      {"activity state", state},
                      {"interruptibility state", state},
                      {"pending debug exceptions", state},
                      {"VMX-preemption timer", timers},
                      {"guest deadline", timers},
                      {"address-range monitoring is cleared", state}});
}

TEST(vmx_exit_rows, host_loading) {
  constexpr const char* msrs = "vmx_host_loading.msrs_by_their_controls";
  constexpr const char* cleared = "vmx_host_loading.msrs_cleared_by_their_controls";
  constexpr const char* data = "vmx_host_loading.data_segments_are_flat_and_unusable_if_null";
  constexpr const char* system = "vmx_host_loading.system_segments_and_tables";
  constexpr const char* rest = "vmx_host_loading.non_register_state";
  expect_rows_tested(names_of(host_loading_table(), host_loading_table_size()),
                     {{"CR0", "vmx_host_loading.cr0_keeps_reserved_fixed_and_cache_bits"},
                      {"CR0", "vmx_host_loading.a_real_mode_guest_exits_to_a_paging_host"},
                      {"CR3", "vmx_host_loading.cr3"},
                      {"CR4", "vmx_host_loading.cr4_by_the_size_of_the_host"},
                      {"DR7 is 400H", "vmx_host_loading.debug_registers"},
                      {"IA32_DEBUGCTL is 0", "vmx_host_loading.debug_registers"},
                      {"SYSENTER MSRs", "vmx_host_loading.sysenter_msrs"},
                      {"IA32_EFER", "vmx_host_loading.efer"},
                      {"IA32_EFER.LMA and LME", "vmx_host_loading.efer"},
                      {"IA32_PERF_GLOBAL_CTRL", msrs},
                      {"IA32_PAT", msrs},
                      {"IA32_BNDCFGS is 0", cleared},
                      {"IA32_RTIT_CTL is 0", cleared},
                      {"IA32_LBR_CTL is 0", cleared},
                      {"UINV is 0", cleared},
                      {"CET state", msrs},
                      {"IA32_PKRS", msrs},
                      {"FRED MSRs", "vmx_host_loading.fred_msrs"},
                      {"IA32_SPEC_CTRL", msrs},
                      {"CS", "vmx_host_loading.cs"},
                      {"SS, DS, ES", data},
                      {"FS and GS", data},
                      {"FS and GS", "vmx_host_loading.bases_are_sign_extended"},
                      {"TR", system},
                      {"LDTR is unusable", system},
                      {"GDTR and IDTR", system},
                      {"GDTR and IDTR", "vmx_host_loading.bases_are_sign_extended"},
                      {"RIP and RSP", "vmx_host_loading.rip_rsp_rflags"},
                      {"RFLAGS is 2", "vmx_host_loading.rip_rsp_rflags"},
                      {"active, no blocking by STI or MOV SS", rest},
                      {"no pending debug exceptions", rest},
                      {"address-range monitoring is cleared", rest},
                      {"timers of the guest stop", rest}});
}

TEST(vmx_exit_rows, msr_entry_faults) {
  std::vector<std::string> rows;
  for (std::size_t i = 0; i < msr_entry_table_size(); ++i) rows.emplace_back(msr_entry_table()[i].name);
  expect_rows_tested(rows, {{"the list is longer than recommended",
                             "vmx_msr_list.a_list_longer_than_recommended_fails_at_the_first_entry_too_many"},
                            {"bits 63:32 of the entry are not 0", "vmx_msr_list.reserved_bits"},
                            {"an x2APIC MSR", "vmx_msr_list.x2apic_msrs"},
                            {"FS_BASE or GS_BASE", "vmx_msr_list.fs_and_gs_base_are_not_loaded"},
                            {"an MSR of system-management mode", "vmx_msr_list.msrs_of_system_management_mode"},
                            {"an MSR excluded for model-specific reasons", "vmx_msr_list.microcode_msrs_are_a_switch"},
                            {"RDMSR or WRMSR would cause #GP", "vmx_msr_list.accesses_that_would_fault"}});
}

TEST(vmx_exit_rows, vmx_aborts) {
  std::vector<std::string> rows;
  std::vector<row_test> tests;
  const char* proofs[] = {"vmx_exit_perform.abort_1_saving_guest_msrs",
                          "vmx_exit_perform.abort_2_host_pdptes",
                          "vmx_exit_perform.abort_3_corrupted_vmcs",
                          "vmx_exit_perform.abort_4_loading_host_msrs",
                          "vmx_exit_perform.abort_5_machine_check_during_the_exit",
                          "vmx_exit_perform.abort_6_leaving_ia_32e_mode"};
  for (std::size_t i = 0; i < vmx_abort_count; ++i) {
    rows.emplace_back(vmx_abort_table()[i].name);
    tests.push_back({vmx_abort_table()[i].name, proofs[i]});
  }
  expect_rows_tested(rows, tests);
}

// What the tables say to a reader: a section for every row, a condition where there is one.
TEST(vmx_exit_rows, every_row_cites_the_manual) {
  const auto expect_sections = [](const transfer_rule* rules, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
      EXPECT_EQ(std::string{rules[i].section}.rfind("SDM Vol. 3C §", 0), 0u) << rules[i].name;
  };
  expect_sections(guest_saving_table(), guest_saving_table_size());
  expect_sections(guest_loading_table(), guest_loading_table_size());
  expect_sections(host_loading_table(), host_loading_table_size());
  for (std::size_t i = 0; i < transition_step_count; ++i)
    EXPECT_EQ(std::string{transition_step_table()[i].section}.rfind("SDM Vol. 3C §", 0), 0u);
}

}  // namespace
}  // namespace vmxsys::vmx
