#include <algorithm>
#include <functional>
#include <gtest/gtest.h>
#include <set>
#include <string>
#include <vector>

#include <vmxsys/vmx/events/exception.hpp>
#include <vmxsys/vmx/instructions/instruction_table.hpp>
#include <vmxsys/vmx/transition/entry.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

#include "../row_tests.hpp"
#include "entry_bench.hpp"

// The attempt to enter as a whole: basic checks, order, results, log, messages, what is remembered.
namespace vmxsys::vmx::entry_testing {
namespace {

// ---- basic checks, SDM Vol. 3C §29.1; their rows are tested with the other VMX instructions ------------------------

struct attempt {
  entry_instruction instruction = entry_instruction::vmlaunch;
  vmcs v;
  vmx_state state;
  execution_mode mode;

  attempt() {
    state.mode = operation::root;
    state.current_vmcs = 0x8000;
    state.current = &v;
  }
  attempt(const attempt&) = delete;
  entry_result basics() { return check_entry_basics(instruction, state, mode); }
};

// What each basic check is broken by, in the order of the checks.
struct violation {
  const char* check;
  entry_outcome outcome;
  unsigned error;
  std::function<void(attempt&)> make;
};

const std::vector<violation>& violations() {
  static const std::vector<violation> list{
      {"in VMX operation", entry_outcome::fault_ud, 0, [](attempt& a) { a.state.mode = operation::off; }},
      {"CR0.PE is 1", entry_outcome::fault_ud, 0, [](attempt& a) { a.mode.cr0 &= ~u64{1}; }},
      {"not in virtual-8086 mode", entry_outcome::fault_ud, 0, [](attempt& a) { a.mode.virtual_8086 = true; }},
      {"not in compatibility mode", entry_outcome::fault_ud, 0, [](attempt& a) { a.mode.code_64_bit = false; }},
      {"not in non-root operation", entry_outcome::vm_exit, 0, [](attempt& a) { a.state.mode = operation::non_root; }},
      {"CPL is 0", entry_outcome::fault_gp, 0, [](attempt& a) { a.mode.cpl = 1; }},
      {"there is a current VMCS", entry_outcome::fail_invalid, 0,
       [](attempt& a) {
         a.state.current_vmcs = no_vmcs;
         a.state.current = nullptr;
       }},
      {"the current VMCS is not a shadow VMCS", entry_outcome::fail_invalid, 0,
       [](attempt& a) {
         a.v = vmcs{a.v.revision(), true};
       }},
      {"events are not blocked by MOV SS", entry_outcome::fail_valid, 26,
       [](attempt& a) { a.mode.mov_ss_blocking = true; }},
      {"the launch state is clear", entry_outcome::fail_valid, 4,
       [](attempt& a) { a.v.set_launch(launch_state::launched); }},
      {"the launch state is launched", entry_outcome::fail_valid, 5,
       [](attempt& a) { a.instruction = entry_instruction::vmresume; }},
      {"no VMXOFF since VMLAUNCH", entry_outcome::fail_valid, 6,
       [](attempt& a) {
         a.instruction = entry_instruction::vmresume;
         a.v.set_launch(launch_state::launched);
         a.v.note_vmxoff();
       }},
  };
  return list;
}

TEST(vmx_entry_basics, each_check_has_its_outcome) {
  attempt fine;
  EXPECT_TRUE(fine.basics());
  attempt resumed;
  resumed.instruction = entry_instruction::vmresume;
  resumed.v.set_launch(launch_state::launched);
  EXPECT_TRUE(resumed.basics());
  for (const violation& one : violations()) {
    attempt a;
    one.make(a);
    const entry_result result = a.basics();
    EXPECT_STREQ(result.check, one.check);
    EXPECT_EQ(result.outcome, one.outcome) << one.check;
    EXPECT_EQ(static_cast<unsigned>(result.error), one.error) << one.check;
    EXPECT_EQ(a.v.read(field::vm_instruction_error), one.error) << one.check;
  }
}

TEST(vmx_entry_basics, every_check_of_both_instructions_is_known_here) {
  std::vector<std::string> rows;
  for (const vmx_instruction which : {vmx_instruction::vmlaunch, vmx_instruction::vmresume})
    for (const instruction_check& row : info_of(which))
      if (std::find(rows.begin(), rows.end(), row.name) == rows.end()) rows.emplace_back(row.name);
  std::vector<testing_rows::row_test> list;
  for (const violation& one : violations()) list.push_back({one.check, "vmx_entry_basics.each_check_has_its_outcome"});
  testing_rows::expect_rows_tested(rows, list);
}

TEST(vmx_entry_basics, in_non_root_operation_the_reason_names_the_instruction) {
  attempt a;
  a.state.mode = operation::non_root;
  EXPECT_EQ(a.basics().reason, exit_reason::vmlaunch);
  a.instruction = entry_instruction::vmresume;
  EXPECT_EQ(a.basics().reason, exit_reason::vmresume);
}

TEST(vmx_entry_basics, no_field_is_looked_at_before_they_hold) {
  for (const violation& one : violations()) {
    entry_bench b;
    b.set(field::cr3_target_count, 5);
    attempt a;
    a.v = b.v;
    one.make(a);
    entry_context context = b.context();
    EXPECT_STREQ(check_entry(a.instruction, a.state, a.mode, context).check, one.check);
  }
}

// ---- order of areas, options, bounds -------------------------------------------------------------------------------

TEST(vmx_entry, minimal_vmcs_is_legal_on_every_processor) {
  for (std::size_t i = 0; i < capability_table_size(); ++i) {
    minimal_vmcs_options options;
    options.secondary = secondary::pause_loop_exiting;
    for (const auto& o : {minimal_vmcs_options{}, options}) {
      entry_bench b{capability_table()[i].values};
      b.v = make_minimal_vmcs(b.caps, o);
      EXPECT_EQ(explain(b.check(), &b.v), "VM entry succeeds") << capability_table()[i].name;
    }
  }
}

TEST(vmx_entry, minimal_vmcs_activates_the_words_it_is_asked_for) {
  minimal_vmcs_options options;
  options.tertiary = tertiary::loadiwkey_exiting;
  options.vm_exit_2 = vm_exit_control_2::prematurely_busy_shadow_stack;
  entry_bench b;
  b.v = make_minimal_vmcs(b.caps, options);
  EXPECT_EQ(tertiary_controls(b.v), tertiary::loadiwkey_exiting);
  EXPECT_TRUE(b.v.any(field::primary_vm_exit_controls, vm_exit_control::activate_secondary_controls));
  EXPECT_EQ(b.of(field::secondary_vm_exit_controls), vm_exit_control_2::prematurely_busy_shadow_stack);
  EXPECT_EQ(explain(b.check(), &b.v), "VM entry succeeds");
}

TEST(vmx_entry, controls_come_before_host_state_and_host_state_before_guest_state) {
  entry_bench b;
  b.set(field::guest_cr4, 0);
  EXPECT_EQ(b.check().outcome, entry_outcome::failed_entry);
  b.set(field::host_cr4, 0);
  EXPECT_EQ(b.check().error, instruction_error::entry_invalid_host_state);
  b.set(field::cr3_target_count, 5);
  EXPECT_EQ(b.check().error, instruction_error::entry_invalid_control_fields);
}

TEST(vmx_entry, disagreement_about_the_address_space_size_is_error_8_or_7_by_the_switch) {
  const change disagreements[] = {[](entry_bench& b) { b.long_mode = false; },
                                  all(exit_on(vm_exit_control::load_ia32_efer), set(f::host_ia32_efer, 0))};
  for (const change& disagree : disagreements) {
    entry_bench b;
    disagree(b);
    EXPECT_EQ(static_cast<unsigned>(b.check().error), 8u);
    b.options.address_space_size_is_control = true;
    EXPECT_EQ(static_cast<unsigned>(b.check().error), 7u);
  }
  entry_bench other;
  other.options.address_space_size_is_control = true;
  other.set(field::host_rip, canonical_end);
  EXPECT_EQ(static_cast<unsigned>(other.check().error), 8u) << "the switch is about the size alone";
}

TEST(vmx_entry, ple_values_offsets_and_bitmaps_are_not_looked_at) {
  entry_bench b;
  b.on(control_word::secondary, secondary::pause_loop_exiting);
  b.on(control_word::primary, primary::pause_exiting | primary::use_tsc_offsetting);
  for (const u64 value : {u64{0}, ~u64{0}})
    for (const field where : {field::ple_gap, field::ple_window, field::tsc_offset, field::exception_bitmap,
                              field::page_fault_error_code_mask, field::cr0_guest_host_mask, field::eoi_exit_bitmap_0,
                              field::guest_interrupt_status, field::vmx_preemption_timer_value, field::guest_rsp,
                              field::host_rsp, field::host_ia32_sysenter_cs, field::guest_smbase}) {
      b.set(where, value);
      EXPECT_EQ(explain(b.check_afresh(), &b.v), "VM entry succeeds") << name_of(where);
    }
}

struct bounded_field {
  const char* rule;
  field where;
  u64 alignment;
};

// The pairs of the rule tests use one processor; here is every width.
TEST(vmx_entry, physical_addresses_end_at_the_width_of_the_processor) {
  const change prepare = all(on(control_word::primary, primary::use_msr_bitmaps),
                             on(control_word::primary, primary::use_tpr_shadow), ept_on());
  const bounded_field fields[] = {{"MSR-bitmap address", f::msr_bitmap_address, 4096},
                                  {"virtual-APIC address", f::virtual_apic_address, 4096},
                                  {"EPT pointer", f::ept_pointer, 4096},
                                  {"host CR3", f::host_cr3, 1},
                                  {"guest CR3", f::guest_cr3, 1},
                                  {"VMCS link pointer: alignment and width", f::vmcs_link_pointer, 4096}};
  for (const unsigned width : {32u, 36u, 39u, 46u, 52u}) {
    for (const bounded_field& one : fields) {
      entry_bench b;
      b.caps.physical_address_width = width;
      prepare(b);
      const u64 low = one.where == f::ept_pointer ? legal_eptp & 0xFFF : 0;
      const u64 last = (u64{1} << width) - one.alignment;
      b.memory.write(last, b.caps.revision());
      b.memory.write(last + one.alignment, b.caps.revision());
      b.set(one.where, last | low);
      EXPECT_EQ(explain(b.check(), &b.v), "VM entry succeeds") << width;
      b.set(one.where, (last + one.alignment) | low);
      EXPECT_STREQ(b.check().check, one.rule) << width;
    }
  }
}

// IA32_VMX_BASIC bit 48: structures of VMX lie below 4 GBytes; CR3 and the EPT pointer do not care.
TEST(vmx_entry, structures_may_be_limited_to_32_bits) {
  entry_bench b;
  b.caps.basic |= u64{1} << 48;
  b.on(control_word::primary, primary::use_msr_bitmaps);
  ept_on()(b);
  b.set(field::host_cr3, u64{1} << 40);
  b.set(field::guest_cr3, u64{1} << 40);
  b.set(field::ept_pointer, u64{1} << 40 | 3 << 3 | 6);
  b.set(field::msr_bitmap_address, 0xFFFF'F000);
  EXPECT_EQ(explain(b.check(), &b.v), "VM entry succeeds");
  b.set(field::msr_bitmap_address, u64{1} << 32);
  EXPECT_STREQ(b.check().check, "MSR-bitmap address");
}

TEST(vmx_entry, linear_addresses_end_at_the_width_of_the_processor) {
  const std::pair<const char*, field> canonical[] = {{"host RIP", f::host_rip},
                                                     {"host FS, GS, TR, GDTR and IDTR bases", f::host_tr_base},
                                                     {"guest TR, FS and GS bases", f::guest_fs_base},
                                                     {"guest SYSENTER_EIP", f::guest_ia32_sysenter_eip}};
  for (const unsigned width : {48u, 57u}) {
    entry_bench b;
    b.caps.linear_address_width = width;
    for (const auto& [rule, where] : canonical) {
      const u64 edge = u64{1} << (width - 1);
      const u64 before = b.of(where);
      for (const u64 good : {edge - 1, 0 - edge}) {
        b.set(where, good);
        EXPECT_EQ(explain(b.check(), &b.v), "VM entry succeeds") << width;
      }
      for (const u64 bad : {edge, 0 - edge - 1}) {
        b.set(where, bad);
        EXPECT_STREQ(b.check().check, rule) << width;
      }
      b.set(where, before);
    }
    const u64 end = u64{1} << width;
    for (const u64 good : {end - 1, 0 - end}) {
      b.set(f::guest_rip, good);
      EXPECT_EQ(explain(b.check(), &b.v), "VM entry succeeds") << "RIP need not be canonical, " << width;
    }
    for (const u64 bad : {end, 0 - end - 1}) {
      b.set(f::guest_rip, bad);
      EXPECT_STREQ(b.check().check, "guest RIP") << width;
    }
  }
}

// ---- what is remembered --------------------------------------------------------------------------------------------

TEST(vmx_entry, earlier_checks_are_remembered_until_something_they_need_changes) {
  entry_bench b;
  const entry_context context = b.context();
  EXPECT_FALSE(b.v.checks_hold(context.digest()));
  ASSERT_TRUE(check_entry_fields(b.v, context));
  EXPECT_TRUE(b.v.checks_hold(context.digest()));
  for (const field hot : {field::guest_rip, field::guest_rsp, field::guest_rflags, field::ple_window,
                          field::vm_entry_interruption_information, field::vmx_preemption_timer_value,
                          field::exit_reason, field::exit_qualification})
    b.set(hot, b.of(hot) ^ 4);
  EXPECT_TRUE(b.v.checks_hold(context.digest()));
  b.set(field::host_cr3, b.of(field::host_cr3));
  EXPECT_TRUE(b.v.checks_hold(context.digest())) << "the same value again";
  b.set(field::host_cr3, 0x7000);
  EXPECT_FALSE(b.v.checks_hold(context.digest()));
}

TEST(vmx_entry, whatever_a_check_depends_on_is_in_the_digest) {
  const change changes[] = {
      [](entry_bench& b) { b.caps.misc ^= 1u << 30; },
      [](entry_bench& b) { b.caps.physical_address_width = 45; },
      [](entry_bench& b) { b.options.cp_has_error_code = true; },
      [](entry_bench& b) { b.options.sti_blocks_nmi_injection = false; },
      [](entry_bench& b) { b.options.sti_nmi_qualification = 0; },
      [](entry_bench& b) { b.options.address_space_size_is_control = true; },
      [](entry_bench& b) { b.options.bus_lock_in_pending_debug = true; },
      [](entry_bench& b) { b.features.perf_global_ctrl = 1; },
      [](entry_bench& b) { b.features.debugctl = 1; },
      [](entry_bench& b) { b.features.rtit_ctl = 1; },
      [](entry_bench& b) { b.features.lbr_ctl = 1; },
      [](entry_bench& b) { b.features.spec_ctrl = 1; },
      [](entry_bench& b) { b.features.rtm = false; },
      [](entry_bench& b) { b.features.sgx = false; },
      [](entry_bench& b) { b.long_mode = false; },
      [](entry_bench& b) { b.in_smm = true; },
      [](entry_bench& b) { b.tracing = true; },
  };
  std::set<u64> digests{entry_bench{}.context().digest()};
  for (const change& one : changes) {
    entry_bench b;
    one(b);
    EXPECT_TRUE(digests.insert(b.context().digest()).second);
    EXPECT_EQ(b.context().digest(), entry_bench{b}.context().digest());
  }
}

TEST(vmx_entry, segments_are_checked_again_when_only_rflags_vm_changes) {
  entry_bench b;
  guest_32()(b);
  ASSERT_TRUE(b.check());
  b.set(field::guest_rflags, b.of(field::guest_rflags) | rflags_bits::vm);
  EXPECT_STREQ(b.check().check, "virtual-8086 bases");
}

TEST(vmx_entry, the_context_looks_at_the_registers_of_the_host) {
  entry_bench b;
  entry_context context = b.context();
  processor_state host;
  host.efer = 0;
  host.rtit_ctl = 1;
  host.cr3 = 0x1234;
  context.look_at(host);
  EXPECT_FALSE(context.long_mode());
  EXPECT_TRUE(context.tracing());
  EXPECT_TRUE(context.pae_paging_with(0x1234));
  EXPECT_FALSE(context.pae_paging_with(0x1235));
  host.efer = 0x500;
  host.rtit_ctl = 0;
  context.look_at(host);
  EXPECT_TRUE(context.long_mode());
  EXPECT_FALSE(context.tracing());
  EXPECT_FALSE(context.pae_paging_with(0x1234)) << "4-level paging";
  host.efer = 0;
  host.cr4 = 0;
  context.look_at(host);
  EXPECT_FALSE(context.pae_paging_with(0x1234)) << "32-bit paging";
  host.cr4 = 0x20;
  host.cr0 = 1;
  context.look_at(host);
  EXPECT_FALSE(context.pae_paging_with(0x1234)) << "no paging";
}

TEST(vmx_entry, features_follow_the_capabilities) {
  EXPECT_FALSE(entry_features_of(find_capability_row("nehalem")->values).sgx);
  EXPECT_FALSE(entry_features_of(find_capability_row("skylake")->values).sgx) << "VMCS shadowing is not SGX";
  EXPECT_TRUE(entry_features_of(everything()).sgx);
  EXPECT_EQ(entry_features_of(find_capability_row("skylake")->values).debugctl & 4, 0u);
  EXPECT_EQ(entry_features_of(find_capability_row("sapphire_rapids")->values).debugctl & 4, 4u);
}

// ---- the log, messages, the whole sequence -------------------------------------------------------------------------

std::vector<std::string> rule_names() {
  std::vector<std::string> names;
  for (const entry_check_group* group : entry_check_groups())
    for (const entry_check& row : *group) names.emplace_back(row.name);
  return names;
}

TEST(vmx_entry, one_log_tells_the_whole_entry) {
  entry_bench b;
  attempt a;
  a.v = b.v;
  entry_context context = b.context();
  std::vector<check_record> log;
  ASSERT_TRUE(check_entry(a.instruction, a.state, a.mode, context, &log));
  ASSERT_TRUE(check_entry_msrs({2, 0, msr_entry_fault::none}, &log));

  std::vector<std::string> expected;
  for (const instruction_check& row : info_of(vmx_instruction::vmlaunch)) expected.emplace_back(row.name);
  for (const std::string& name : rule_names()) expected.push_back(name);
  expected.emplace_back("every entry of the VM-entry MSR-load list can be loaded");
  std::vector<std::string> told;
  for (const check_record& record : log) {
    told.emplace_back(record.check);
    EXPECT_TRUE(record.passed) << record.check;
    EXPECT_EQ(std::string{record.section}.rfind("SDM Vol. 3C §", 0), 0u) << record.check;
  }
  EXPECT_EQ(told, expected);
  EXPECT_EQ(std::set<std::string>(told.begin(), told.end()).size(), told.size()) << "a name twice";
}

TEST(vmx_entry, the_log_ends_with_the_check_that_fails) {
  entry_bench b;
  b.set(field::host_tr_selector, 0);
  std::vector<check_record> log;
  ASSERT_FALSE(check_entry_fields(b.v, b.context(), &log));
  ASSERT_FALSE(log.empty());
  for (std::size_t i = 0; i + 1 < log.size(); ++i) EXPECT_TRUE(log[i].passed) << log[i].check;
  EXPECT_FALSE(log.back().passed);
  EXPECT_STREQ(log.back().check, "host TR is not null");
  EXPECT_EQ(explain(log.back(), &b.v), "FAILED host TR is not null (SDM Vol. 3C §29.2.3): host_tr_selector = 0x0");
  EXPECT_EQ(explain(log.front(), nullptr), "passed pin-based controls: reserved bits (SDM Vol. 3C §29.2.1.1)");
}

TEST(vmx_entry, a_message_says_how_why_where_and_with_which_values) {
  entry_bench b;
  EXPECT_EQ(explain(b.check(), &b.v), "VM entry succeeds");
  b.set(field::guest_cr3, u64{1} << 52);
  EXPECT_EQ(explain(b.check(), &b.v),
            "VM entry fails, exit 33 (VM-entry failure due to invalid guest state), qualification 0x0: guest CR3 (SDM "
            "Vol. 3C §29.3.1.1): guest_cr3 = 0x10000000000000");
  b.on(control_word::secondary, secondary::enable_vpid);
  b.set(field::virtual_processor_identifier, 0);
  const std::string text = explain(b.check(), &b.v);
  EXPECT_EQ(
      text.rfind("VMfailValid 7 (VM entry with invalid control field(s)): VPID is not 0 (SDM Vol. 3C §29.2.1.1): ", 0),
      0u)
      << text;
  EXPECT_NE(text.find("virtual_processor_identifier = 0x0"), std::string::npos) << text;
  EXPECT_NE(text.find("primary_processor_based_controls = 0x"), std::string::npos) << text;

  const auto basics = [](const violation& one) {
    attempt a;
    one.make(a);
    return explain(check_entry_basics(a.instruction, a.state, a.mode), a.state.current);
  };
  EXPECT_EQ(basics(violations()[0]), "#UD: in VMX operation (SDM Vol. 3C §33.3)");
  EXPECT_EQ(basics(violations()[4]), "VM exit 20 (VMLAUNCH): not in non-root operation (SDM Vol. 3C §28.1.1)");
  EXPECT_EQ(basics(violations()[5]), "#GP(0): CPL is 0 (SDM Vol. 3C §33.3)");
  EXPECT_EQ(basics(violations()[6]), "VMfailInvalid: there is a current VMCS (SDM Vol. 3C §29.1)");
}

TEST(vmx_entry, a_bad_entry_of_the_msr_list_fails_with_its_number) {
  std::vector<check_record> log;
  const entry_result result = check_entry_msrs({6, 7, msr_entry_fault::x2apic}, &log);
  EXPECT_EQ(result.outcome, entry_outcome::failed_entry);
  EXPECT_EQ(static_cast<unsigned>(result.reason), 34u);
  EXPECT_EQ(result.qualification, 7u);
  ASSERT_EQ(log.size(), 1u);
  EXPECT_FALSE(log.back().passed);
  entry_bench b;
  b.set(field::vm_entry_msr_load_count, 8);
  EXPECT_EQ(explain(result, &b.v),
            "VM entry fails, exit 34 (VM-entry failure due to MSR loading), qualification 0x7: an x2APIC MSR (SDM Vol. "
            "3C §29.4): vm_entry_msr_load_count = 0x8, vm_entry_msr_load_address = 0x0");
  const exit_info exit = failed_entry_exit(result);
  EXPECT_TRUE(exit.entry_failure);
  EXPECT_EQ(static_cast<unsigned>(exit.reason), 34u);
  EXPECT_EQ(exit.qualification, 7u);
}

TEST(vmx_entry, failed_entry_has_its_own_exit_information) {
  entry_bench b;
  b.set(field::vmcs_link_pointer, 1);
  const exit_info exit = failed_entry_exit(b.check());
  EXPECT_TRUE(exit.entry_failure);
  EXPECT_EQ(exit.reason, exit_reason::entry_failure_guest_state);
  EXPECT_EQ(exit.qualification, 4u);
}

// A VM entry that ends with VMfail changes the error field and nothing else; one that fails later not even that.
TEST(vmx_entry, a_failure_changes_nothing_else) {
  const std::pair<change, unsigned> failures[] = {
      {set(f::cr3_target_count, 5), 7}, {set(f::host_tr_selector, 0), 8}, {set(f::guest_cr4, 0), 0}};
  for (const auto& [make, error] : failures) {
    entry_bench b;
    make(b);
    attempt a;
    a.v = b.v;
    entry_context context = b.context();
    EXPECT_FALSE(check_entry(a.instruction, a.state, a.mode, context));
    EXPECT_EQ(a.v.read(field::vm_instruction_error), error);
    a.v.write(field::vm_instruction_error, 0);
    for (const field_info& row : field_table) EXPECT_EQ(a.v.read(row.encoding), b.of(row.encoding)) << row.name;
    EXPECT_EQ(a.v.launch(), launch_state::clear);
    EXPECT_EQ(a.state.mode, operation::root);
  }
}

TEST(vmx_entry, completing_it_launches_and_leaves_root_operation) {
  attempt a;
  complete_entry(entry_instruction::vmlaunch, a.state);
  EXPECT_EQ(a.v.launch(), launch_state::launched);
  EXPECT_EQ(a.state.mode, operation::non_root);
}

}  // namespace
}  // namespace vmxsys::vmx::entry_testing
