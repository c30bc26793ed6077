#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/apic/virtualization/apic_access.hpp>
#include <vmxsys/apic/virtualization/guest_timer.hpp>
#include <vmxsys/apic/virtualization/ipi_virtualization.hpp>
#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/apic/virtualization/x2apic_access.hpp>

#include "row_tests.hpp"
#include "virtual_apic_bench.hpp"

// Every row of every table of APIC virtualization, and the tests that show both sides of it.
namespace vmxsys::apic {
namespace {

using apic_testing::virtual_apic_bench;
using testing_rows::expect_rows_tested;
using testing_rows::row_test;

template <class Table>
std::vector<std::string> names_of(const Table& table) {
  std::vector<std::string> names;
  for (const auto& row : table) names.emplace_back(row.name);
  return names;
}

TEST(virtual_apic_rows, registers_of_the_page) {
  std::vector<row_test> tests;
  for (const apic_page_rule& rule : apic_page_table) {
    tests.push_back({rule.name, "apic_page.every_offset_width_direction_and_control"});
    const char* follows = "apic_write.nothing_follows_where_nothing_can_be_written";
    switch (rule.emulation) {
      case write_emulation::none:
        break;
      case write_emulation::tpr:
        follows = "apic_write.tpr_loses_its_upper_bytes_and_is_virtualized";
        break;
      case write_emulation::eoi:
        follows = "apic_write.eoi_is_virtualized_with_delivery_and_exits_without";
        break;
      case write_emulation::icr_low:
        follows = "icr_write.without_the_controls_exits";
        break;
      case write_emulation::clear_destination_bits:
        follows = "apic_write.icr_high_keeps_its_destination_only";
        break;
      case write_emulation::exit:
        follows = "apic_write.the_rest_exits_with_the_value_in_the_page";
        break;
    }
    tests.push_back({rule.name, follows});
  }
  expect_rows_tested(names_of(apic_page_table), tests);
}

TEST(virtual_apic_rows, reasons_of_apic_access_exits) {
  std::vector<row_test> tests{
      {"physical access", "apic_page.guest_physical_accesses_exit_and_physical_ones_by_a_switch"},
      {"guest-physical access", "apic_page.guest_physical_accesses_exit_and_physical_ones_by_a_switch"},
      {"\"use TPR shadow\" is 0", "apic_page.without_the_tpr_shadow_everything_exits"},
      {"instruction fetch", "apic_page.fetches_exit"},
      {"wider than 32 bits", "apic_page.an_access_lies_in_the_low_four_bytes_of_a_register"},
      {"not inside the low 4 bytes of a register", "apic_page.an_access_lies_in_the_low_four_bytes_of_a_register"},
      {"read after a virtualized write of the same operation",
       "apic_page.a_read_after_a_virtualized_write_of_the_operation_exits"},
      {"second write of the same operation elsewhere or of another size",
       "apic_page.a_second_write_must_be_the_same_place_and_size"},
      {"operand that is not a general-purpose register", "apic_page.other_operands_exit_by_a_switch"},
      {"register not virtualized in this direction", "apic_page.every_offset_width_direction_and_control"}};
  for (std::size_t i = 1; i < apic_access_reason_table.size(); ++i)
    tests.push_back({apic_access_reason_table[i].name, "apic_page.reasons_in_their_order"});
  expect_rows_tested(names_of(apic_access_reason_table), tests);
}

TEST(virtual_apic_rows, ends_of_operations) {
  const std::string test = "apic_write.emulation_is_lost_only_with_an_exit";
  expect_rows_tested(names_of(operation_end_table), {{"the operation completes", test},
                                                     {"it faults, and the fault is delivered to the guest", test},
                                                     {"it exits, by a fault or otherwise", test}});
}

TEST(virtual_apic_rows, x2apic_msrs) {
  std::vector<row_test> tests{{"WRMSR TPR", "virtual_x2apic.tpr_write_is_tpr_virtualization"},
                              {"WRMSR EOI", "virtual_x2apic.eoi_write_is_eoi_virtualization"},
                              {"WRMSR SELF IPI", "virtual_x2apic.self_ipi_is_pended_from_vector_16_and_exits_below"},
                              {"WRMSR ICR", "virtual_x2apic.icr_is_virtualized_for_one_plain_fixed_ipi_only"},
                              {"WRMSR ICR", "virtual_x2apic.self_shorthand_in_the_icr_is_not_virtualized"},
                              {"WRMSR ICR", "virtual_x2apic.the_destination_has_32_bits_and_none_is_a_broadcast"},
                              {"WRMSR, else", "virtual_x2apic.self_shorthand_in_the_icr_is_not_virtualized"}};
  for (const x2apic_rule& rule : x2apic_table) {
    tests.push_back({rule.name, "virtual_x2apic.every_msr_direction_and_control"});
    tests.push_back({rule.name, "virtual_x2apic.every_row_is_the_first_that_fits_somewhere"});
    if (rule.must_be_zero != 0)
      tests.push_back({rule.name, "virtual_x2apic.every_reserved_bit_faults_and_changes_nothing"});
  }
  expect_rows_tested(names_of(x2apic_table), tests);
}

TEST(virtual_apic_rows, routes_of_a_command) {
  std::vector<row_test> tests{
      {"self-IPI virtualization", "icr_write.self_shorthand_is_a_self_ipi_from_vector_16"},
      {"IPI virtualization", "icr_write.sends_to_the_destination_in_the_high_half"},
      {"APIC-write exit", "icr_route.every_reserved_bit_by_itself_exits"},
  };
  for (const icr_route_rule& rule : icr_route_table) {
    tests.push_back({rule.name, "icr_route.of_every_low_half_without_bits_31_to_20"});
    tests.push_back({rule.name, "icr_route.of_any_low_half"});
  }
  expect_rows_tested(names_of(icr_route_table), tests);
}

TEST(virtual_apic_rows, obstacles_to_ipi_virtualization) {
  expect_rows_tested(names_of(ipi_obstacle_table),
                     {{"vector below 16", "ipi_target.vectors_from_16"},
                      {"vector below 16", "ipi_target.obstacles_in_their_order"},
                      {"destination above the last PID-pointer index", "ipi_target.destinations_up_to_the_last_index"},
                      {"destination above the last PID-pointer index", "ipi_target.has_no_broadcast"},
                      {"PID-pointer entry not valid", "ipi_target.every_bit_of_an_entry"},
                      {"PID-pointer entry not valid", "ipi_target.addresses_within_the_processors_width"}});
}

TEST(virtual_apic_rows, steps_of_posted_interrupt_processing) {
  std::vector<row_test> tests{{"acknowledge", "posted_processing.only_of_the_notification_vector_and_with_the_control"},
                              {"clear ON", "posted_processing.clears_on_and_leaves_every_other_bit"},
                              {"merge PIR", "merge_pir.moves_every_vector_and_reports_the_highest"},
                              {"raise RVI", "posted_processing.rvi_is_raised_by_new_bits_only"},
                              {"raise RVI", "posted_processing.a_lower_vector_does_not_lower_rvi"},
                              {"evaluate", "posted_processing.with_nothing_posted_leaves_rvi_and_evaluates"}};
  for (const posting_step_info& row : posting_step_table)
    for (const char* test :
         {"posted_processing.every_step_does_its_own_part", "posted_processing.the_table_has_the_steps_in_their_order"})
      tests.push_back({row.name, test});
  expect_rows_tested(names_of(posting_step_table), tests);
}

TEST(virtual_apic_rows, waiting) {
  const std::string test = "guest_wait.hlt_goes_on_and_a_monitored_wait_ends";
  expect_rows_tested(names_of(wait_table), {{"active", test},
                                            {"HLT", test},
                                            {"HLT", "posted_sequence.to_a_halted_processor"},
                                            {"MWAIT, TPAUSE or UMWAIT", test}});
}

// Each operation, carried out where PPR virtualization and an evaluation would both show.
TEST(virtual_operation, ends_as_its_row_says) {
  for (const virtual_operation_rule& rule : virtual_operation_table) {
    for (const bool pending : {false, true}) {
      virtual_apic_bench b;
      b.posting();
      // VPPR in memory is stale: PPR virtualization would make 30H of it, and let 50H through.
      b.page().write_32(vapic::tpr, 0x30);
      b.page().write_32(vapic::ppr, 0x3F);
      b.page().set_requested(0x50);
      b.state = {static_cast<std::uint8_t>(pending ? 0x50 : 0), 0, !pending};
      b.v.write(vmx::field::guest_interrupt_status, b.state.rvi);
      std::uint64_t deadline = 1;
      b.v.write(vmx::field::virtual_timer_vector, 0x12);
      switch (rule.operation) {
        case virtual_operation::vm_entry:
          at_entry(b.a);
          break;
        case virtual_operation::tpr_virtualization:
          tpr_virtualization(b.a);
          break;
        case virtual_operation::eoi_with_exit:
          b.eoi_exit(0);
          [[fallthrough]];
        case virtual_operation::eoi_virtualization:
          eoi_virtualization(b.a);
          break;
        case virtual_operation::self_ipi_virtualization:
          self_ipi_virtualization(b.a, 0x12);
          break;
        case virtual_operation::posted_processing: {
          posted_processing p;
          p.acknowledge(b.v, b.notification_vector);
          while (p.next != posting_step::done) p.step(b.a);
          break;
        }
        case virtual_operation::guest_timer:
          guest_timer_event(b.a, deadline);
          break;
        case virtual_operation::delivery:
          // Delivery sets VPPR by itself and leaves recognition off, though 50H stays pending above 41H.
          b.state = {0x41, 0, true};
          deliver(b.a);
          EXPECT_EQ(b.page().read_32(vapic::ppr), 0x40u);
          EXPECT_EQ(b.state, (virtual_interrupt_state{0x50, 0x41, false}));
          continue;
      }
      EXPECT_EQ(b.page().read_32(vapic::ppr), rule.virtualizes_ppr ? 0x30u : 0x3Fu) << rule.name;
      EXPECT_EQ(b.state.recognized, rule.evaluates ? pending : !pending) << rule.name;
    }
    EXPECT_EQ(&rule - virtual_operation_table.data(), static_cast<std::ptrdiff_t>(rule.operation));
  }
}

TEST(virtual_apic_rows, operations) {
  std::vector<row_test> tests{
      {"VM entry", "entry.loads_the_status_virtualizes_ppr_and_evaluates"},
      {"VM entry", "entry.does_not_look_at_virr"},
      {"TPR virtualization", "tpr_virtualization.with_delivery_virtualizes_ppr_and_evaluates_and_never_exits"},
      {"EOI virtualization", "eoi_virtualization.without_an_exit_evaluates_at_once"},
      {"EOI virtualization that exits", "eoi_virtualization.with_an_exit_evaluates_only_at_the_next_entry"},
      {"self-IPI virtualization", "self_ipi_virtualization.below_the_processor_priority_stays_pending"},
      {"posted-interrupt processing", "posted_processing.with_nothing_posted_leaves_rvi_and_evaluates"},
      {"guest-timer event", "guest_timer_event.does_not_lower_rvi_and_heeds_priority"},
      {"virtual-interrupt delivery", "deliver.moves_the_vector_from_request_to_service"}};
  for (const virtual_operation_rule& rule : virtual_operation_table) {
    EXPECT_STRNE(rule.section, "");
    tests.push_back({rule.name, "virtual_operation.ends_as_its_row_says"});
    tests.push_back({rule.name, "virtual_apic_random.follows_a_second_telling_and_keeps_its_invariants"});
  }
  expect_rows_tested(names_of(virtual_operation_table), tests);
}

}  // namespace
}  // namespace vmxsys::apic
