#include <gtest/gtest.h>
#include <set>
#include <vector>

#include <vmxsys/vmx/vmcs/event.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/exit_qualification.hpp>

namespace vmxsys::vmx {
namespace {

using numbers = std::set<unsigned>;

unsigned number(const exit_reason_info& row) { return static_cast<unsigned>(row.reason); }

// By property, as the manual's text groups them; the table itself goes by reason.
const numbers traps{37, 43, 45, 56, 74};
const numbers entry_failures{33, 34, 41};
const numbers events{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 52, 75};
const numbers without_qualification{1,  2,  3,  7,  8,  10, 11, 12, 13, 15, 16, 17, 18, 20, 24, 26, 31, 37,
                                    39, 40, 41, 43, 49, 51, 52, 55, 57, 59, 60, 61, 65, 67, 68, 69, 70, 74};
const numbers with_displacement{19, 21, 22, 23, 25, 27, 46, 47, 50, 53, 58, 63, 64};
const numbers from_memory_access{44, 48, 49, 62, 66};  // RF rule; no instruction length of their own
const numbers with_instruction_information{19, 21, 22, 23, 25, 27, 30, 46, 47, 50, 53, 57,
                                           58, 61, 63, 64, 67, 68, 69, 80, 81, 84, 85};

exit_info with_everything(exit_reason reason) {
  exit_info exit;
  exit.reason = reason;
  exit.qualification = 0x1234'5678'9ABC'DEF0;
  exit.interruption_information = encode({14, event_type::hardware_exception, true, false, false, true});
  exit.interruption_error_code = 0x11;
  exit.instruction_length = 7;
  exit.guest_linear_address = 0xAAAA'0000;
  exit.guest_physical_address = 0xBBBB'0000;
  exit.instruction_information = 0xCCCC'CCCC;
  return exit;
}

class vmx_exit_reason : public testing::TestWithParam<unsigned> {
 protected:
  const exit_reason_info& row() const { return *find_exit_reason(GetParam()); }
};

std::vector<unsigned> all_reasons() {
  std::vector<unsigned> all;
  for (std::size_t i = 0; i < exit_reason_table_size(); ++i) all.push_back(number(exit_reason_table()[i]));
  return all;
}
INSTANTIATE_TEST_SUITE_P(all, vmx_exit_reason, testing::ValuesIn(all_reasons()));

TEST_P(vmx_exit_reason, has_the_class_of_the_manual) {
  const unsigned n = GetParam();
  const exit_class expected = traps.count(n) != 0            ? exit_class::trap
                              : entry_failures.count(n) != 0 ? exit_class::entry_failure
                              : events.count(n) != 0         ? exit_class::event
                                                             : exit_class::fault;
  EXPECT_EQ(row().kind, expected);
  EXPECT_EQ(class_of(row().reason), expected);
  EXPECT_NE(std::string{row().condition}, "");
}

TEST_P(vmx_exit_reason, records_a_qualification_only_where_the_manual_has_one) {
  const unsigned n = GetParam();
  EXPECT_EQ(row().qualification == qualification_kind::none, without_qualification.count(n) != 0);
  EXPECT_EQ(row().qualification == qualification_kind::displacement, with_displacement.count(n) != 0);
  vmcs v;
  v.write(field::exit_qualification, 0x5555);
  record_exit(v, with_everything(row().reason));
  EXPECT_EQ(v.read(field::exit_qualification), without_qualification.count(n) != 0 ? 0 : 0x1234'5678'9ABC'DEF0);
}

TEST_P(vmx_exit_reason, records_a_length_only_for_instructions) {
  const unsigned n = GetParam();
  const bool instruction = row().kind == exit_class::fault && from_memory_access.count(n) == 0;
  exit_info exit = with_everything(row().reason);
  exit.qualification |= 3u << 30;  // a task switch through a gate of the IDT
  vmcs v;
  v.write(field::vm_exit_instruction_length, 12);
  record_exit(v, exit);
  EXPECT_EQ(v.read(field::vm_exit_instruction_length), instruction ? 7u : 0u);
  // Any exit during the delivery of a software event gives that instruction's length.
  exit.idt_vectoring_information = encode({0x80, event_type::software_interrupt, false, false, false, true});
  record_exit(v, exit);
  EXPECT_EQ(v.read(field::vm_exit_instruction_length), 7u);
}

TEST_P(vmx_exit_reason, records_instruction_information_only_for_operands) {
  vmcs v;
  v.write(field::vm_exit_instruction_information, 0x5555);
  record_exit(v, with_everything(row().reason));
  const bool expected = with_instruction_information.count(GetParam()) != 0;
  EXPECT_EQ(row().information != information_kind::none, expected);
  EXPECT_EQ(v.read(field::vm_exit_instruction_information), expected ? 0xCCCC'CCCC : 0);
}

TEST_P(vmx_exit_reason, records_event_information_only_for_events) {
  vmcs v;
  v.write(field::vm_exit_interruption_information, 0x8000'0001);
  v.write(field::vm_exit_interruption_error_code, 0x5555);
  record_exit(v, with_everything(row().reason));
  const bool expected = GetParam() <= 1;
  EXPECT_EQ(v.read(field::vm_exit_interruption_information), expected ? 0x8000'0B0E : 0);
  EXPECT_EQ(v.read(field::vm_exit_interruption_error_code), expected ? 0x11 : 0);
}

TEST_P(vmx_exit_reason, says_what_happens_to_rf) {
  const unsigned n = GetParam();
  const bool instruction = row().kind == exit_class::fault && from_memory_access.count(n) == 0;
  const resume_flag_rule expected = instruction                        ? resume_flag_rule::clear
                                    : from_memory_access.count(n) != 0 ? resume_flag_rule::memory
                                    : n <= 1                           ? resume_flag_rule::image
                                    : n == 9                           ? resume_flag_rule::task_switch
                                                                       : resume_flag_rule::unchanged;
  EXPECT_EQ(row().resume_flag, expected);
}

TEST(vmx_exit_record, debug_exceptions_and_page_faults_have_a_qualification_other_exceptions_none) {
  for (unsigned vector = 0; vector < 32; ++vector) {
    exit_info exit;
    exit.qualification = 0x4001;
    exit.interruption_information =
        encode({static_cast<std::uint8_t>(vector), event_type::hardware_exception, false, false, false, true});
    EXPECT_EQ(recorded(exit).qualification, vector == 1 || vector == 14 ? 0x4001u : 0u) << vector;
  }
  exit_info icebp;
  icebp.qualification = 0x4001;
  icebp.interruption_information = encode({1, event_type::privileged_software_exception, false, false, false, true});
  EXPECT_EQ(recorded(icebp).qualification, 0u) << "INT1 has met no breakpoint";
}

TEST(vmx_exit_record, software_exceptions_have_a_length_hardware_ones_not) {
  exit_info exit;
  exit.instruction_length = 1;
  const auto length = [&exit](event_type type) {
    exit.interruption_information = encode({3, type, false, false, false, true});
    return recorded(exit).instruction_length;
  };
  EXPECT_EQ(length(event_type::software_exception), 1u);
  EXPECT_EQ(length(event_type::privileged_software_exception), 1u);
  EXPECT_EQ(length(event_type::hardware_exception), 0u);
  EXPECT_EQ(length(event_type::nmi), 0u);
}

TEST(vmx_exit_record, task_switches_have_a_length_unless_a_gate_of_the_idt_made_them) {
  using source = qualification::task_switch_source;
  exit_info exit;
  exit.reason = exit_reason::task_switch;
  exit.instruction_length = 5;
  for (const source by : {source::call, source::iret, source::jmp}) {
    exit.qualification = encode(qualification::task_switch{0x28, by});
    EXPECT_EQ(recorded(exit).instruction_length, 5u);
  }
  exit.qualification = encode(qualification::task_switch{0x28, source::idt_gate});
  EXPECT_EQ(recorded(exit).instruction_length, 0u);
  exit.idt_vectoring_information = encode({0x80, event_type::software_interrupt, false, false, false, true});
  EXPECT_EQ(recorded(exit).instruction_length, 5u) << "INT n through a task gate";
  exit.idt_vectoring_information = encode({0x80, event_type::external_interrupt, false, false, false, true});
  EXPECT_EQ(recorded(exit).instruction_length, 0u);
}

TEST(vmx_exit_record, error_codes_need_their_valid_bits) {
  exit_info exit = with_everything(exit_reason::exception_or_nmi);
  exit.interruption_information &= ~event_bits::error_code;
  exit.idt_vectoring_error_code = 9;
  exit.idt_vectoring_information = encode({13, event_type::hardware_exception, true, false, false, false});
  EXPECT_EQ(recorded(exit).interruption_error_code, 0u);
  EXPECT_EQ(recorded(exit).idt_vectoring_information, 0u) << "not valid";
  EXPECT_EQ(recorded(exit).idt_vectoring_error_code, 0u);
  exit.idt_vectoring_information |= event_bits::valid;
  EXPECT_EQ(recorded(exit).idt_vectoring_information, 0x8000'0B0Du);
  EXPECT_EQ(recorded(exit).idt_vectoring_error_code, 9u);
  exit.idt_vectoring_information &= ~event_bits::error_code;
  EXPECT_EQ(recorded(exit).idt_vectoring_error_code, 0u);
}

TEST(vmx_exit_record, addresses_where_they_are_defined) {
  struct row {
    exit_reason reason;
    std::uint64_t qualification;
    bool linear, physical;
  };
  using namespace qualification;
  const auto lmsw = [](bool memory) { return encode(cr_access{0, cr_access_type::lmsw, memory, {}, 1}); };
  const auto io = [](bool string) { return encode(io_access{1, false, string, false, false, 0x60}); };
  for (const row& r :
       {row{exit_reason::control_register_access, lmsw(true), true, false},
        row{exit_reason::control_register_access, lmsw(false), false, false},
        row{exit_reason::io_instruction, io(true), true, false},
        row{exit_reason::io_instruction, io(false), false, false}, row{exit_reason::ept_violation, 1u << 7, true, true},
        row{exit_reason::ept_violation, 1u << 8, false, true},
        row{exit_reason::ept_misconfiguration, 1u << 7, false, true}, row{exit_reason::spp_event, 0, true, true},
        row{exit_reason::page_modification_log_full, 0, false, false},
        row{exit_reason::apic_access, 1u << 7, false, false}, row{exit_reason::pause, 1u << 7, false, false}}) {
    exit_info exit = with_everything(r.reason);
    exit.qualification = r.qualification;
    vmcs v;
    record_exit(v, exit);
    EXPECT_EQ(v.read(field::guest_linear_address), r.linear ? 0xAAAA'0000u : 0u) << name_of(r.reason);
    EXPECT_EQ(v.read(field::guest_physical_address), r.physical ? 0xBBBB'0000u : 0u) << name_of(r.reason);
  }
}

TEST(vmx_exit_record, flags_of_the_exit_reason) {
  vmcs v;
  exit_info exit;
  exit.reason = exit_reason::pause;
  exit.flags = ~0u;
  record_exit(v, exit);
  EXPECT_EQ(v.read(field::exit_reason), 0x3E00'0028u) << "bits 29:25; bit 31 is for failed entries, the others are 0";
  EXPECT_EQ(read_exit(v).flags, 0x3E00'0000u);
  EXPECT_EQ(read_exit(v).reason, exit_reason::pause);
}

TEST(vmx_exit_record, a_reserved_reason_records_nothing_but_itself) {
  vmcs v;
  record_exit(v, with_everything(static_cast<exit_reason>(35)));
  EXPECT_EQ(v.read(field::exit_reason), 35u);
  EXPECT_EQ(v.read(field::exit_qualification), 0u);
  EXPECT_EQ(v.read(field::vm_exit_instruction_length), 0u);
}

TEST(vmx_exit_record, writes_as_many_fields_as_it_says) {
  for (const bool failure : {false, true}) {
    exit_info exit = with_everything(failure ? exit_reason::entry_failure_guest_state : exit_reason::vmclear);
    exit.entry_failure = failure;
    vmcs v;
    for (const field_info& f : field_table)
      if (f.type == field_type::exit_information) v.write(f.encoding, 0x7777);
    v.write(field::vm_entry_interruption_information, 0x8000'0020);
    record_exit(v, exit);
    unsigned changed = 0;
    for (const field_info& f : field_table)
      if (f.type == field_type::exit_information && v.read(f.encoding) != 0x7777) ++changed;
    EXPECT_EQ(changed, recorded_fields(exit));
    EXPECT_EQ(v.read(field::vm_entry_interruption_information), failure ? 0x8000'0020u : 0x20u);
  }
}

TEST(vmx_exit_record, reads_back_what_was_recorded) {
  vmcs v;
  const exit_info exit = recorded(with_everything(exit_reason::vmclear));
  record_exit(v, exit);
  const exit_info back = read_exit(v);
  EXPECT_EQ(back.reason, exit_reason::vmclear);
  EXPECT_EQ(back.qualification, exit.qualification);
  EXPECT_EQ(back.instruction_length, 7u);
  EXPECT_EQ(back.instruction_information, 0xCCCC'CCCCu);
}

TEST(vmx_exit_record, nmi_unblocking_by_iret) {
  const auto bit_12 = [](exit_info exit) {
    note_nmi_unblocking(exit);
    return std::pair{(exit.interruption_information & 1u << 12) != 0, (exit.qualification & 1u << 12) != 0};
  };
  const auto exception = [](std::uint8_t vector, event_type type) {
    exit_info exit;
    exit.interruption_information = encode({vector, type, false, false, false, true});
    return exit;
  };
  const auto of = [](exit_reason reason) {
    exit_info exit;
    exit.reason = reason;
    return exit;
  };
  using p = std::pair<bool, bool>;
  EXPECT_EQ(bit_12(exception(13, event_type::hardware_exception)), (p{true, false}));
  EXPECT_EQ(bit_12(exception(8, event_type::hardware_exception)), (p{false, false})) << "#DF";
  EXPECT_EQ(bit_12(exception(2, event_type::nmi)), (p{false, false}));
  EXPECT_EQ(bit_12(of(exit_reason::ept_violation)), (p{false, true}));
  EXPECT_EQ(bit_12(of(exit_reason::page_modification_log_full)), (p{false, true}));
  EXPECT_EQ(bit_12(of(exit_reason::spp_event)), (p{false, true}));
  EXPECT_EQ(bit_12(of(exit_reason::ept_misconfiguration)), (p{false, false}));
  exit_info delivering = of(exit_reason::ept_violation);
  delivering.idt_vectoring_information = 0x8000'0020;
  EXPECT_EQ(bit_12(delivering), (p{false, false})) << "undefined during event delivery";
}

}  // namespace
}  // namespace vmxsys::vmx
