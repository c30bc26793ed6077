#include <gtest/gtest.h>
#include <string>

#include <vmxsys/vmx/events/exception.hpp>

namespace vmxsys::vmx {
namespace {

using kind = exception_outcome::kind;

constexpr event_information event(std::uint8_t vector, event_type type, bool error_code = false) {
  return {vector, type, error_code, false, false, true};
}

TEST(exception_bitmap, a_bit_per_vector) {
  vmcs v{4};
  for (unsigned vector = 0; vector < 32; ++vector) {
    if (vector == 14) continue;
    v.write(field::exception_bitmap, 1ull << vector);
    for (unsigned other = 0; other < 32; ++other)
      if (other != 14) EXPECT_EQ(exception_exits(v, other, 0xFFFF), other == vector) << vector << ' ' << other;
  }
}

TEST(exception_bitmap, page_faults_match_or_invert) {
  vmcs v{4};
  for (const bool bit : {false, true})
    for (std::uint32_t mask = 0; mask < 8; ++mask)
      for (std::uint32_t match = 0; match < 8; ++match)
        for (std::uint32_t code = 0; code < 8; ++code) {
          v.write(field::exception_bitmap, bit ? 1u << 14 : 0);
          v.write(field::page_fault_error_code_mask, mask);
          v.write(field::page_fault_error_code_match, match);
          const bool equal = (code & mask) == match;
          EXPECT_EQ(exception_exits(v, 14, code), equal ? bit : !bit);
        }
}

TEST(exception_classes, of_all_vectors) {
  std::string classes;
  for (unsigned vector = 0; vector < 32; ++vector) classes += "bcpd"[static_cast<int>(class_of_exception(vector))];
  EXPECT_EQ(classes, "cbbbbbbbdbccccpbbbbbpcbbbbbbbbbb");
  EXPECT_EQ(class_of_event(event(13, event_type::hardware_exception)), exception_class::contributory);
  for (const event_type type : {event_type::external_interrupt, event_type::nmi, event_type::software_interrupt,
                                event_type::privileged_software_exception, event_type::software_exception})
    EXPECT_EQ(class_of_event(event(13, type)), exception_class::benign);
}

TEST(exception_classes, error_codes) {
  std::string with;
  for (unsigned vector = 0; vector < 34; ++vector)
    if (has_error_code(vector)) with += std::to_string(vector) + ' ';
  EXPECT_EQ(with, "8 10 11 12 13 14 17 21 ");
}

// Table 6-5 of Vol. 3A: rows first, columns second exception; s serial, d double fault, t triple fault.
TEST(escalation, of_every_pair) {
  const char* expected[] = {"sss", "sds", "sdd", "stt"};
  for (int first = 0; first < 4; ++first)
    for (int second = 0; second < 3; ++second) {
      const auto a = static_cast<exception_class>(first), b = static_cast<exception_class>(second);
      EXPECT_EQ("sdt"[static_cast<int>(escalate(a, b))], expected[first][second]) << first << second;
      const escalation_rule& row = escalation_table[static_cast<std::size_t>(first * 3 + second)];
      EXPECT_EQ(row.first, a);
      EXPECT_EQ(row.second, b);
      EXPECT_EQ(row.result, escalate(a, b));
    }
  EXPECT_EQ(escalate(exception_class::benign, exception_class::double_fault), escalation::serial);
  EXPECT_EQ(escalate(exception_class::double_fault, exception_class::double_fault), escalation::triple_fault);
}

TEST(raise, delivers_what_nobody_intercepts) {
  const exception_outcome o = raise_exception(vmcs{4}, {13, 0x18});
  EXPECT_EQ(o.what, kind::deliver);
  EXPECT_EQ(o.vector, 13);
  EXPECT_EQ(o.error_code, 0x18u);
  EXPECT_EQ(raise_exception(vmcs{4}, {6, 0x18}).error_code, 0u) << "#UD has none";
  guest_exception real{13, 0x18};
  real.real_mode = true;
  EXPECT_EQ(raise_exception(vmcs{4}, real).error_code, 0u);
}

TEST(raise, an_intercepted_exception_exits) {
  vmcs v{4};
  v.write(field::exception_bitmap, 1u << 14 | 1u << 3 | 1u << 6);
  guest_exception fault{14, 7};
  fault.qualification = 0x1234'5000;
  fault.instruction_length = 3;
  exception_outcome o = raise_exception(v, fault);
  EXPECT_EQ(o.what, kind::vm_exit);
  EXPECT_EQ(o.exit.reason, exit_reason::exception_or_nmi);
  EXPECT_EQ(o.exit.interruption_information, 0x8000'0B0Eu);
  EXPECT_EQ(o.exit.interruption_error_code, 7u);
  EXPECT_EQ(o.exit.qualification, 0x1234'5000u);
  EXPECT_EQ(o.exit.instruction_length, 0u) << "undefined for a fault";
  EXPECT_EQ(o.exit.idt_vectoring_information, 0u);
  fault.real_mode = true;
  EXPECT_EQ(raise_exception(v, fault).exit.interruption_information, 0x8000'030Eu);

  guest_exception int3{3, 0, event_type::software_exception};
  int3.instruction_length = 1;
  o = raise_exception(v, int3);
  EXPECT_EQ(o.exit.interruption_information, 0x8000'0603u);
  EXPECT_EQ(o.exit.instruction_length, 1u);
  EXPECT_EQ(raise_exception(v, {6}).exit.interruption_information, 0x8000'0306u);
}

TEST(raise, during_delivery_names_the_original_event) {
  vmcs v{4};
  v.write(field::exception_bitmap, 1u << 14);
  exception_outcome o = raise_exception(v, {14, 2}, {event(13, event_type::hardware_exception, true), 0x50});
  EXPECT_EQ(o.exit.interruption_information, 0x8000'0B0Eu) << "the exception itself, not the #DF it would make";
  EXPECT_EQ(o.exit.idt_vectoring_information, 0x8000'0B0Du);
  EXPECT_EQ(o.exit.idt_vectoring_error_code, 0x50u);
  EXPECT_EQ(o.exit.instruction_length, 0u);

  o = raise_exception(v, {14, 2}, {event(0x80, event_type::software_interrupt), 0x50}, 2);
  EXPECT_EQ(o.exit.idt_vectoring_information, 0x8000'0480u);
  EXPECT_EQ(o.exit.idt_vectoring_error_code, 0u) << "it has no error code";
  EXPECT_EQ(o.exit.instruction_length, 2u);

  event_information nothing = event(0x30, event_type::software_interrupt);
  nothing.valid = false;
  o = raise_exception(v, {14, 2}, {nothing, 0x50}, 2);
  EXPECT_EQ(o.exit.idt_vectoring_information, 0u) << "no event was being delivered";
  EXPECT_EQ(o.exit.instruction_length, 0u);

  o = raise_exception(v, {14, 2}, {event(14, event_type::hardware_exception, true), 4});
  EXPECT_EQ(o.exit.idt_vectoring_information, 0x8000'0B0Eu) << "a page fault while one is delivered";
  EXPECT_EQ(o.exit.idt_vectoring_error_code, 4u);

  event_information marked = event(0x30, event_type::external_interrupt);
  marked.bit_12 = true;
  EXPECT_EQ(raise_exception(v, {14, 2}, {marked}).exit.idt_vectoring_information, 0x8000'0030u);
}

TEST(raise, double_faults_are_asked_for_again) {
  vmcs v{4};
  exception_outcome o = raise_exception(v, {13, 0x18}, {event(11, event_type::hardware_exception, true), 4});
  EXPECT_EQ(o.what, kind::deliver);
  EXPECT_EQ(o.vector, 8);
  EXPECT_EQ(o.error_code, 0u);
  v.write(field::exception_bitmap, 1u << 8);
  o = raise_exception(v, {13, 0x18}, {event(11, event_type::hardware_exception, true), 4});
  EXPECT_EQ(o.what, kind::vm_exit);
  EXPECT_EQ(o.exit.interruption_information, 0x8000'0B08u);
  EXPECT_EQ(o.exit.interruption_error_code, 0u);
  EXPECT_EQ(o.exit.idt_vectoring_information, 0u) << "not during delivery";
  o = raise_exception(v, {13, 0x18}, {event(0x30, event_type::external_interrupt)});
  EXPECT_EQ(o.vector, 13) << "after a benign event";
}

TEST(raise, a_triple_fault_exits_whatever_the_bitmap_says) {
  const exception_outcome o = raise_exception(vmcs{4}, {13, 0}, {event(8, event_type::hardware_exception, true)});
  EXPECT_EQ(o.what, kind::vm_exit);
  EXPECT_EQ(o.exit.reason, exit_reason::triple_fault);
  EXPECT_EQ(o.exit.interruption_information, 0u);
  EXPECT_EQ(o.exit.idt_vectoring_information, 0u);
  vmcs v{4};
  v.write(field::exception_bitmap, 1u << 13);
  EXPECT_EQ(raise_exception(v, {13, 0}, {event(8, event_type::hardware_exception, true)}).exit.reason,
            exit_reason::exception_or_nmi)
      << "the intercepted exception comes first";
  EXPECT_EQ(raise_exception(vmcs{4}, {1, 0}, {event(8, event_type::hardware_exception, true)}).vector, 1);
}

TEST(debug_exceptions, qualification_of_pending_ones_is_all_but_the_enabled_bit) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    const bool told = bit < 4 || bit == 11 || bit == 14 || bit == 16;
    EXPECT_EQ(debug_qualification(1ull << bit), told ? 1ull << bit : 0) << bit;
  }
}

TEST(task_switches, always_exit) {
  using from = qualification::task_switch_source;
  exit_info exit = task_switch_exit({0x1238, from::jmp}, 7);
  EXPECT_EQ(exit.reason, exit_reason::task_switch);
  EXPECT_EQ(exit.qualification, 0x8000'1238u);
  EXPECT_EQ(exit.instruction_length, 7u);
  EXPECT_EQ(task_switch_exit({8, from::call}, 7).qualification, 8u);
  EXPECT_EQ(task_switch_exit({8, from::iret}, 1).qualification, 0x4000'0008u);
  exit = task_switch_exit({8, from::idt_gate}, 2, {event(0x30, event_type::external_interrupt)});
  EXPECT_EQ(exit.qualification, 0xC000'0008u);
  EXPECT_EQ(exit.instruction_length, 0u);
  EXPECT_EQ(exit.idt_vectoring_information, 0x8000'0030u);
  exit = task_switch_exit({8, from::idt_gate}, 2, {event(0x30, event_type::software_interrupt)});
  EXPECT_EQ(exit.instruction_length, 2u);
  exit = task_switch_exit({8, from::idt_gate}, 2, {event(8, event_type::hardware_exception, true), 0});
  EXPECT_EQ(exit.idt_vectoring_information, 0x8000'0B08u);
}

}  // namespace
}  // namespace vmxsys::vmx
