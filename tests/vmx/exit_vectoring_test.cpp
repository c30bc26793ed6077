#include <gtest/gtest.h>

#include <vmxsys/vmx/events/idt_vectoring.hpp>

namespace vmxsys::vmx {
namespace {

event_in_delivery delivering(std::uint8_t vector, event_type type, bool error_code = false, std::uint32_t code = 0) {
  return {{vector, type, error_code, false, false, true}, code};
}
const event_in_delivery interrupt = delivering(0x30, event_type::external_interrupt);

exit_info of(exit_reason reason) {
  exit_info exit;
  exit.reason = reason;
  return exit;
}
exit_info exception(std::uint8_t vector, event_type type = event_type::hardware_exception) {
  exit_info exit;
  exit.interruption_information = encode({vector, type, false, false, false, true});
  return exit;
}

TEST(vmx_exit_vectoring, an_exception_on_the_way_reports_the_event) {
  EXPECT_EQ(classify(interrupt, exception(14)), delivery_stop::exception);
  EXPECT_EQ(vectoring_information(interrupt, exception(14)).information, 0x8000'0030u);
  EXPECT_EQ(vectoring_information(interrupt, exception(18)).information, 0x8000'0030u) << "machine check";
  // #UD met while INT 6 is delivered is another event.
  EXPECT_EQ(classify(delivering(6, event_type::software_interrupt), exception(6)), delivery_stop::exception);
}

TEST(vmx_exit_vectoring, the_event_that_exits_itself_is_not_reported) {
  EXPECT_EQ(classify(delivering(14, event_type::hardware_exception), exception(14)), delivery_stop::same_event);
  EXPECT_EQ(vectoring_information(delivering(14, event_type::hardware_exception), exception(14)).information, 0u);
  EXPECT_EQ(vectoring_information(delivering(2, event_type::nmi), exception(2, event_type::nmi)).information, 0u);
  exit_info external = of(exit_reason::external_interrupt);
  EXPECT_EQ(vectoring_information(interrupt, external).information, 0u) << "not acknowledged";
  external.interruption_information = 0x8000'0030;
  EXPECT_EQ(vectoring_information(interrupt, external).information, 0u);
}

TEST(vmx_exit_vectoring, a_double_fault_hides_the_event_it_came_from) {
  EXPECT_EQ(classify(interrupt, exception(8)), delivery_stop::double_fault);
  EXPECT_EQ(vectoring_information(delivering(14, event_type::hardware_exception, true, 2), exception(8)).information,
            0u);
  // But a #DF in delivery that meets an EPT violation is reported.
  const vectoring v =
      vectoring_information(delivering(8, event_type::hardware_exception, true, 0), of(exit_reason::ept_violation));
  EXPECT_EQ(v.information, 0x8000'0B08u);
}

TEST(vmx_exit_vectoring, a_triple_fault_reports_nothing) {
  EXPECT_EQ(classify(interrupt, of(exit_reason::triple_fault)), delivery_stop::triple_fault);
  EXPECT_EQ(vectoring_information(interrupt, of(exit_reason::triple_fault)).information, 0u);
}

TEST(vmx_exit_vectoring, memory_and_task_gates_report_the_event) {
  for (const exit_reason reason :
       {exit_reason::task_switch, exit_reason::apic_access, exit_reason::ept_violation,
        exit_reason::ept_misconfiguration, exit_reason::page_modification_log_full, exit_reason::spp_event})
    EXPECT_EQ(vectoring_information(interrupt, of(reason)).information, 0x8000'0030u) << name_of(reason);
}

TEST(vmx_exit_vectoring, exits_at_a_boundary_report_nothing) {
  for (const exit_reason reason : {exit_reason::pause, exit_reason::preemption_timer, exit_reason::monitor_trap_flag,
                                   exit_reason::tpr_below_threshold, exit_reason::interrupt_window}) {
    EXPECT_EQ(classify(interrupt, of(reason)), delivery_stop::after_delivery);
    EXPECT_EQ(vectoring_information(interrupt, of(reason)).information, 0u) << name_of(reason);
  }
  EXPECT_EQ(classify(interrupt, exception(2, event_type::nmi)), delivery_stop::after_delivery);
  EXPECT_EQ(vectoring_information(interrupt, delivery_stop::after_delivery).information, 0u)
      << "an EPT violation on the handler's first fetch";
}

TEST(vmx_exit_vectoring, no_event_in_delivery) {
  EXPECT_EQ(vectoring_information({}, of(exit_reason::ept_violation)).information, 0u);
}

TEST(vmx_exit_vectoring, error_code_and_undefined_bits) {
  event_in_delivery fault = delivering(13, event_type::hardware_exception, true, 0x10);
  fault.event.bit_12 = true;
  const vectoring v = vectoring_information(fault, of(exit_reason::ept_violation));
  EXPECT_EQ(v.information, 0x8000'0B0Du) << "bit 12 is 0: software copies the word into 4016H";
  EXPECT_EQ(v.error_code, 0x10u);
  fault.event.error_code = false;
  EXPECT_EQ(vectoring_information(fault, of(exit_reason::ept_violation)).error_code, 0u);

  exit_info exit = of(exit_reason::ept_violation);
  note_vectoring(exit, delivering(13, event_type::hardware_exception, true, 0x10));
  EXPECT_EQ(exit.idt_vectoring_information, 0x8000'0B0Du);
  EXPECT_EQ(exit.idt_vectoring_error_code, 0x10u);
}

}  // namespace
}  // namespace vmxsys::vmx
