#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/vmx/events/exception.hpp>
#include <vmxsys/vmx/events/interrupt_shadow.hpp>
#include <vmxsys/vmx/events/monitor_trap_flag.hpp>
#include <vmxsys/vmx/events/nmi.hpp>
#include <vmxsys/vmx/events/tsc.hpp>
#include <vmxsys/vmx/instructions/fault_gate.hpp>
#include <vmxsys/vmx/instructions/instruction_exit.hpp>

#include "row_tests.hpp"

namespace vmxsys::vmx {
namespace {

using testing_rows::expect_rows_tested;
using testing_rows::row_test;

template <class Table>
std::vector<std::string> names_of(const Table& table) {
  std::vector<std::string> names;
  for (const auto& row : table) names.emplace_back(row.name);
  return names;
}

// The instruction rows: every one by the five row tests, some by tests of their own besides.
TEST(non_root_rows, instructions) {
  std::vector<std::string> rows;
  for (std::size_t i = 0; i < mnemonic_count; ++i) rows.emplace_back(instruction_table()[i].name);
  const std::vector<std::string> all = {"CPUID",
                                        "GETSEC",
                                        "INVD",
                                        "XSETBV",
                                        "INVEPT",
                                        "INVVPID",
                                        "VMCALL",
                                        "VMCLEAR",
                                        "VMLAUNCH",
                                        "VMPTRLD",
                                        "VMPTRST",
                                        "VMRESUME",
                                        "VMXOFF",
                                        "VMXON",
                                        "SEAMCALL",
                                        "TDCALL",
                                        "HLT",
                                        "PAUSE",
                                        "MWAIT",
                                        "MONITOR",
                                        "RDTSC",
                                        "RDTSCP",
                                        "RDPID",
                                        "RDPMC",
                                        "INVLPG",
                                        "INVPCID",
                                        "MOV to CR0",
                                        "MOV to CR3",
                                        "MOV to CR4",
                                        "MOV to CR8",
                                        "MOV from CR0",
                                        "MOV from CR3",
                                        "MOV from CR4",
                                        "MOV from CR8",
                                        "CLTS",
                                        "LMSW",
                                        "SMSW",
                                        "MOV to DR",
                                        "MOV from DR",
                                        "IN",
                                        "OUT",
                                        "INS",
                                        "OUTS",
                                        "RDMSR",
                                        "WRMSR",
                                        "WRMSRNS",
                                        "RDMSR, immediate form",
                                        "WRMSRNS, immediate form",
                                        "RDMSRLIST, one element",
                                        "WRMSRLIST, one element",
                                        "URDMSR",
                                        "UWRMSR",
                                        "LGDT",
                                        "LIDT",
                                        "SGDT",
                                        "SIDT",
                                        "LLDT",
                                        "LTR",
                                        "SLDT",
                                        "STR",
                                        "WBINVD",
                                        "WBNOINVD",
                                        "RDRAND",
                                        "RDSEED",
                                        "XSAVES",
                                        "XRSTORS",
                                        "TPAUSE",
                                        "UMWAIT",
                                        "UMONITOR",
                                        "VMREAD",
                                        "VMWRITE",
                                        "VMFUNC",
                                        "ENCLS",
                                        "ENCLV",
                                        "PCONFIG",
                                        "PBNDKB",
                                        "LOADIWKEY",
                                        "ENQCMD",
                                        "ENQCMDS",
                                        "RSM"};
  std::vector<row_test> tests = {
      {"PAUSE", "pause.exits_by_either_control"},
      {"MWAIT", "mwait.qualification_says_whether_monitoring_is_armed"},
      {"MWAIT", "mwait.without_exit_may_not_sleep"},
      {"MWAIT", "mwait.sleeps_unless_it_would_break_at_once"},
      {"RDTSC", "time_stamp_counter.is_delivered_in_the_guests_time"},
      {"RDTSCP", "time_stamp_counter.is_delivered_in_the_guests_time"},
      {"INVLPG", "invlpg.address_has_32_bits_outside_64_bit_mode"},
      {"MOV to CR0", "mov_cr.loads_what_the_host_does_not_own"},
      {"MOV to CR0", "mov_cr.an_unmasked_bit_that_vmx_fixes_faults"},
      {"MOV to CR0", "cr_mask.agrees_with_a_bitwise_restatement_on_random_values"},
      {"MOV to CR4", "mov_cr.loads_what_the_host_does_not_own"},
      {"MOV to CR4", "mov_cr.an_unmasked_bit_that_vmx_fixes_faults"},
      {"MOV to CR3", "mov_cr3.cr3_targets_do_not_exit"},
      {"MOV to CR3", "cr3_targets.only_the_first_n_count"},
      {"MOV to CR8", "mov_cr8.works_on_the_tpr_shadow"},
      {"MOV from CR8", "mov_cr8.works_on_the_tpr_shadow"},
      {"MOV from CR0", "mov_cr.from_a_masked_register_and_smsw_merge_the_shadow"},
      {"MOV from CR4", "mov_cr.from_a_masked_register_and_smsw_merge_the_shadow"},
      {"SMSW", "mov_cr.from_a_masked_register_and_smsw_merge_the_shadow"},
      {"CLTS", "clts.clears_ignores_or_exits"},
      {"CLTS", "clts.by_mask_and_shadow"},
      {"LMSW", "lmsw.loads_the_low_bits_and_faults_on_fixed_ones"},
      {"LMSW", "lmsw.every_combination"},
      {"MOV to DR", "mov_dr.exits_before_its_faults_which_come_otherwise"},
      {"MOV from DR", "mov_dr.exits_before_its_faults_which_come_otherwise"},
      {"IN", "io.qualification_of_every_form"},
      {"OUT", "io.qualification_of_every_form"},
      {"INS", "io.qualification_of_every_form"},
      {"OUTS", "io.qualification_of_every_form"},
      {"IN", "vmx_exit_bitmaps.io_bitmap_edges"},
      {"RDMSR", "msr.a_bogus_register_exits_rather_than_faults"},
      {"RDMSR", "msr.seams_to_virtualized_registers"},
      {"RDMSR", "vmx_exit_bitmaps.msr_ranges_end_where_the_bitmap_does"},
      {"WRMSR", "msr.microcode_update_does_nothing_or_exits"},
      {"WRMSRNS", "msr.microcode_update_does_nothing_or_exits"},
      {"URDMSR", "msr.user_forms_reach_3fff"},
      {"UWRMSR", "msr.user_forms_reach_3fff"},
      {"XSAVES", "xsaves_xrstors.exit_on_the_conjunction_of_three"},
      {"XRSTORS", "xsaves_xrstors.exit_on_the_conjunction_of_three"},
      {"TPAUSE", "user_wait_instructions.wait_in_the_guests_time"},
      {"UMWAIT", "user_wait_instructions.wait_in_the_guests_time"},
      {"VMREAD", "vmcs_shadowing.decides_before_the_privilege_level"},
      {"VMWRITE", "vmcs_shadowing.decides_before_the_privilege_level"},
      {"VMFUNC", "vmfunc.exits_for_a_disabled_function_and_a_bad_list_index"},
      {"ENCLS", "leaf_bitmaps.bit_63_stands_for_all_higher_leaves"},
      {"ENCLV", "leaf_bitmaps.bit_63_stands_for_all_higher_leaves"},
      {"PCONFIG", "leaf_bitmaps.bit_63_stands_for_all_higher_leaves"},
      {"ENQCMD", "enqcmd.exits_only_if_the_translation_fails"},
      {"ENQCMDS", "enqcmd.exits_only_if_the_translation_fails"},
  };
  for (const std::string& row : all)
    for (const char* test :
         {"says_what_the_manual_says", "exits_with_its_reason_and_only_when_asked",
          "faults_that_beat_the_exit_and_no_others", "invalid_opcode_comes_before_the_privilege_fault",
          "needs_its_enabling_control_before_anything_else"})
      tests.push_back({row, std::string{"instruction_row."} + test});
  expect_rows_tested(rows, tests);
}

TEST(non_root_rows, faults_that_beat_exits) {
  const std::string row_test_name = "instruction_row.faults_that_beat_the_exit_and_no_others";
  std::vector<std::string> rows;
  for (const fault_gate_rule& rule : fault_gate_table)
    if (rule.gate != fault_gate::none)
      rows.emplace_back(std::string{rule.fault == gate_fault::ud ? "#UD: " : "#GP: "} + rule.name);
  expect_rows_tested(
      rows,
      {{"#UD: CR0.PE = 0, RFLAGS.VM = 1 or compatibility mode", row_test_name},
       {"#UD: CR0.PE = 0 or RFLAGS.VM = 1", row_test_name},
       {"#UD: not in 64-bit mode", row_test_name},
       {"#UD: CR4.SMXE = 0", row_test_name},
       {"#UD: CR4.OSXSAVE = 0", row_test_name},
       {"#UD: CR4.KL = 0", row_test_name},
       {"#UD: INVEPT not supported", row_test_name},
       {"#UD: INVVPID not supported", row_test_name},
       {"#UD: not in system-management mode", row_test_name},
       {"#UD: IA32_USER_MSR_CTL bit 0 = 0", row_test_name},
       {"#UD: EAX > 63", "vmfunc.exits_for_a_disabled_function_and_a_bad_list_index"},
       {"#UD: DR4 or DR5 with CR4.DE = 1", "mov_dr.exits_before_its_faults_which_come_otherwise"},
       {"#UD: CPL > 0", row_test_name},
       {"#GP: CPL > 0", row_test_name},
       {"#GP: CR4.TSD = 1 and CPL > 0", row_test_name},
       {"#GP: CR4.PCE = 0 and CPL > 0", row_test_name},
       {"#GP: CR4.UMIP = 1 and CPL > 0", row_test_name},
       {"#GP: CPL > IOPL or RFLAGS.VM = 1, and the TSS forbids the port", "io.permission_is_asked_only_above_iopl"},
       {"#GP: the MSR is above 3FFFH or its user bitmap forbids it", "msr.user_forms_reach_3fff"}});
}

TEST(non_root_rows, nmis) {
  expect_rows_tested(
      names_of(nmi_table),
      {{"NMIs delivered to the guest", "nmi_rule.delivered_to_the_guest_and_unblocked_by_iret"},
       {"NMIs delivered to the guest", "nmi_state.injection_blocks_before_the_delivery"},
       {"NMIs exit", "nmi_rule.exiting_leaves_blocking_to_the_host"},
       {"NMIs exit", "nmi_state.only_an_nmi_that_exits_blocks_the_host"},
       {"NMIs exit, virtual NMIs", "nmi_rule.virtual_nmis_never_hold_a_physical_one_back"},
       {"NMIs exit, virtual NMIs", "boundary_blocking.nmi_by_the_shadows_and_by_blocking_that_is_not_virtual"}});
}

TEST(non_root_rows, escalation) {
  const std::string test = "escalation.of_every_pair";
  expect_rows_tested(names_of(escalation_table),
                     {{"benign after benign", test},
                      {"contributory after benign", test},
                      {"page fault after benign", test},
                      {"benign after contributory", test},
                      {"contributory after contributory", test},
                      {"contributory after contributory", "raise.double_faults_are_asked_for_again"},
                      {"page fault after contributory", test},
                      {"benign after page fault", test},
                      {"contributory after page fault", test},
                      {"page fault after page fault", test},
                      {"benign after double fault", test},
                      {"contributory after double fault", test},
                      {"contributory after double fault", "raise.a_triple_fault_exits_whatever_the_bitmap_says"},
                      {"page fault after double fault", test}});
}

TEST(non_root_rows, time_stamp_counter) {
  const std::string test = "tsc_access.who_sees_whose_time";
  expect_rows_tested(names_of(tsc_table), {{"RDTSC", test},
                                           {"RDTSCP", test},
                                           {"RDMSR 10H", test},
                                           {"WRMSR 10H", test},
                                           {"RDMSR 6E0H", test},
                                           {"WRMSR 6E0H", test},
                                           {"TPAUSE and UMWAIT deadline", test},
                                           {"VM-exit MSR-store of 10H", test},
                                           {"VMX-preemption timer", test},
                                           {"APIC timer in TSC-deadline mode", test}});
}

TEST(non_root_rows, monitor_trap_flag) {
  const std::string test = "monitor_trap_flag.where_the_exit_is_pending";
  expect_rows_tested(names_of(mtf_table), {{"entry injects a vectored event", test},
                                           {"entry injects a pending MTF exit", test},
                                           {"entry injects a pending MTF exit",
                                            "monitor_trap_flag.without_the_control_only_an_injected_exit_is_pending"},
                                           {"pending event delivered before the first instruction", test},
                                           {"REP string instruction, first iteration completes", test},
                                           {"REP string instruction, first iteration faults", test},
                                           {"XBEGIN", test},
                                           {"other instruction faults", test},
                                           {"other instruction retires", test}});
}

TEST(non_root_rows, shadows) {
  const std::string test = "shadow.what_each_step_makes_of_it";
  expect_rows_tested(names_of(interrupt_shadow_table),
                     {{"STI that sets IF", test},
                      {"STI with IF already 1", test},
                      {"MOV SS or POP SS", test},
                      {"MOV SS directly after MOV SS", "shadow.only_the_first_of_several_mov_ss_blocks"},
                      {"HLT and the waiting instructions", test},
                      {"any other instruction", test},
                      {"delivery of an event", test},
                      {"instruction that exits", test}});
}

}  // namespace
}  // namespace vmxsys::vmx
