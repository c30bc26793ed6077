#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/vmx/events/boundary.hpp>

#include "row_tests.hpp"

namespace vmxsys::vmx {
namespace {

TEST(boundary_rows, every_row_names_its_tests) {
  std::vector<std::string> rows;
  for (const boundary_rule& rule : boundary_table) {
    rows.emplace_back(rule.name);
    EXPECT_STRNE(rule.section, "");
    EXPECT_STRNE(rule.held_by, "");
    EXPECT_STRNE(rule.outcome, "");
  }
  const std::vector<std::pair<std::string, std::string>> own = {
      {"machine check", "boundary_blocking.machine_checks_traps_init_and_timers_by_nothing"},
      {"trap-like APIC and bus-lock exits", "boundary_blocking.machine_checks_traps_init_and_timers_by_nothing"},
      {"SMI", "boundary_blocking.smi_by_blocking_by_smi"},
      {"INIT", "boundary_blocking.machine_checks_traps_init_and_timers_by_nothing"},
      {"start-up IPI", "boundary_blocking.sipi_only_by_the_activity_state"},
      {"monitor trap flag", "boundary_blocking.machine_checks_traps_init_and_timers_by_nothing"},
      {"debug trap on the previous instruction", "boundary_blocking.debug_traps_by_mov_ss"},
      {"VMX-preemption timer", "boundary_blocking.timer_that_expires_in_wait_for_sipi_stays_pending"},
      {"NMI window", "boundary_blocking.nmi_window_by_virtual_nmi_blocking_and_the_shadows"},
      {"NMI", "boundary_blocking.nmi_by_the_shadows_and_by_blocking_that_is_not_virtual"},
      {"guest timer", "guest_timer.stands_where_the_switch_puts_it"},
      {"interrupt window", "boundary_blocking.interrupt_window_by_if_and_the_shadows"},
      {"virtual interrupt", "boundary_blocking.virtual_interrupts_by_if_the_shadows_and_the_window"},
      {"external interrupt", "boundary_blocking.external_interrupts_by_if_only_without_exiting"},
      {"user interrupt", "boundary_blocking.machine_checks_traps_init_and_timers_by_nothing"},
  };
  std::vector<testing_rows::row_test> tests;
  for (const auto& [row, test] : own) {
    tests.push_back({row, test});
    tests.push_back({row, "boundary_row.who_wakes_whom"});
    tests.push_back({row, "boundary_row.outcome"});
    tests.push_back({row, "boundary_table.priority_is_the_order_of_the_rows"});
    tests.push_back({row, "boundary.agrees_with_a_naive_list_on_random_states"});
  }
  testing_rows::expect_rows_tested(rows, tests);
}

}  // namespace
}  // namespace vmxsys::vmx
