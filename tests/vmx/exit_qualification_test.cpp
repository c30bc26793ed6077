#include <gtest/gtest.h>

#include <vmxsys/vmx/instructions/instruction_information.hpp>
#include <vmxsys/vmx/vmcs/event.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/exit_qualification.hpp>

#include "random_numbers.hpp"

namespace vmxsys::vmx {
namespace {

using namespace qualification;
using reg = general_register;

TEST(vmx_exit_qualification, worked_values_of_control_register_accesses) {
  EXPECT_EQ(encode(cr_access{3, cr_access_type::mov_to_cr, false, reg::rax, 0}), 0x3u);
  EXPECT_EQ(encode(cr_access{3, cr_access_type::mov_from_cr, false, reg::rax, 0}), 0x13u);
  EXPECT_EQ(encode(cr_access{8, cr_access_type::mov_to_cr, false, reg::rax, 0}), 0x8u);
  EXPECT_EQ(encode(cr_access{8, cr_access_type::mov_from_cr, false, reg::rax, 0}), 0x18u);
  EXPECT_EQ(encode(cr_access{0, cr_access_type::mov_to_cr, false, reg::rsi, 0}), 0x600u);
  EXPECT_EQ(encode(cr_access{4, cr_access_type::mov_to_cr, false, reg::rsi, 0}), 0x604u);
  EXPECT_EQ(encode(cr_access{0, cr_access_type::clts, false, reg::rax, 0}), 0x20u);
  EXPECT_EQ(encode(cr_access{0, cr_access_type::lmsw, true, reg::rax, 0xABCD}), 0xABCD'0070u);
}

TEST(vmx_exit_qualification, worked_values_of_the_other_formats) {
  EXPECT_EQ(encode(dr_access{7, false, reg::r15}), 0xF07u);
  EXPECT_EQ(encode(dr_access{6, true, reg::rax}), 0x16u);
  EXPECT_EQ(encode(io_access{1, false, false, false, true, 0x80}), 0x80'0040u);
  EXPECT_EQ(encode(io_access{4, true, true, true, false, 0xCF8}), 0xCF8'003Bu);
  EXPECT_EQ(encode(io_access{2, true, false, false, false, 0xFFFF}), 0xFFFF'0009u);
  EXPECT_EQ(encode(qualification::task_switch{0x28, task_switch_source::call}), 0x28u);
  EXPECT_EQ(encode(qualification::task_switch{0x28, task_switch_source::idt_gate}), 0xC000'0028u);
  EXPECT_EQ(encode(debug_conditions{5, false, false, false, false}), 5u);
  EXPECT_EQ(encode(debug_conditions{0, true, true, true, true}), 0x1'6800u);
  EXPECT_EQ(encode(qualification::apic_access{0x300, apic_access_type::linear_write, false}), 0x1300u);
  EXPECT_EQ(encode(qualification::apic_access{0, apic_access_type::guest_physical_asynchronous, true}), 0x1'B000u);
  EXPECT_EQ(encode(qualification::apic_access{0, apic_access_type::guest_physical_instruction, false}), 0xF000u);
  EXPECT_EQ(encode_mwait(true), 1u);
  EXPECT_EQ(encode_mwait(false), 0u);
  EXPECT_TRUE(decode_mwait(0xFF01) && !decode_mwait(2));
}

TEST(vmx_exit_qualification, every_bit_of_an_ept_violation_has_its_place) {
  qualification::ept_violation all[17];
  bool qualification::ept_violation::*const members[] = {&qualification::ept_violation::read,
                                                         &qualification::ept_violation::write,
                                                         &qualification::ept_violation::fetch,
                                                         &qualification::ept_violation::readable,
                                                         &qualification::ept_violation::writable,
                                                         &qualification::ept_violation::executable,
                                                         &qualification::ept_violation::user_executable,
                                                         &qualification::ept_violation::linear_address_valid,
                                                         &qualification::ept_violation::final_translation,
                                                         &qualification::ept_violation::user_page,
                                                         &qualification::ept_violation::writable_page,
                                                         &qualification::ept_violation::execute_disable_page,
                                                         &qualification::ept_violation::nmi_unblocking,
                                                         &qualification::ept_violation::shadow_stack,
                                                         &qualification::ept_violation::supervisor_shadow_stack,
                                                         &qualification::ept_violation::guest_paging_verification,
                                                         &qualification::ept_violation::asynchronous};
  for (unsigned bit = 0; bit < 17; ++bit) {
    all[bit].*members[bit] = true;
    EXPECT_EQ(encode(all[bit]), std::uint64_t{1} << bit) << bit;
    EXPECT_TRUE(decode_ept_violation(std::uint64_t{1} << bit).*members[bit]) << bit;
  }
  EXPECT_EQ(nmi_unblocking_bit, 1u << 12);
}

// Encoding what was decoded gives the defined bits and drops the others.
TEST(vmx_exit_qualification, decoding_and_encoding_are_inverse_on_defined_bits) {
  testing::random_numbers random{1};
  for (int i = 0; i < 10000; ++i) {
    const std::uint64_t q = random();
    EXPECT_EQ(encode(decode_cr_access(q)), q & 0xFFFF'0F7Fu);
    EXPECT_EQ(encode(decode_dr_access(q)), q & 0xF17u);
    EXPECT_EQ(encode(decode_io(q)), q & 0xFFFF'007Fu);
    EXPECT_EQ(encode(decode_task_switch(q)), q & 0xC000'FFFFu);
    EXPECT_EQ(encode(decode_debug(q)), q & 0x1'680Fu);
    EXPECT_EQ(encode(decode_apic_access(q)), q & 0x1'FFFFu);
    EXPECT_EQ(encode(decode_ept_violation(q)), q & 0x1'FFFFu);
  }
}

TEST(vmx_exit_qualification, which_apic_accesses_come_from_event_delivery) {
  for (unsigned type = 0; type < 16; ++type)
    EXPECT_EQ(is_event_delivery(static_cast<apic_access_type>(type)), type == 3 || type == 10) << type;
}

TEST(vmx_exit_qualification, constant_expressions) {
  static_assert(decode_cr_access(0x604).gpr == general_register::rsi);
  static_assert(decode_io(0xCF8'003B).bytes == 4);
  static_assert(decode_task_switch(0x8000'0010).source == task_switch_source::jmp);
  static_assert(decode_apic_access(0x1'B000).asynchronous);
  EXPECT_STREQ(name_of(general_register::rbx), "RBX") << "3, not 1";
}

// ---- instruction information ---------------------------------------------------------------------------------------

TEST(vmx_exit_instruction_information, worked_values) {
  instruction_information i;
  // VMREAD [RBX + 8*RCX], RDX; 64-bit addresses, DS.
  i.scaling = 3;
  i.segment = 3;
  i.index = reg::rcx;
  i.base = reg::rbx;
  i.reg2 = reg::rdx;
  EXPECT_EQ(encode(i, information_kind::vmread_vmwrite), 0x2185'8103u) << "1:0 3, 9:7 2, 17:15 3";
  // VMREAD RSI, RDX.
  instruction_information in_register;
  in_register.in_register = true;
  in_register.reg1 = reg::rsi;
  in_register.reg2 = reg::rdx;
  EXPECT_EQ(encode(in_register, information_kind::vmread_vmwrite), 0x2000'0530u);
  // RDRAND R9, 64 bits.
  instruction_information random;
  random.reg1 = reg::r9;
  random.operand_size = 2;
  EXPECT_EQ(encode(random, information_kind::sized_register), 0x1048u);
  // LIDT [RAX].
  instruction_information lidt;
  lidt.identity = 3;
  lidt.no_index = true;
  lidt.segment = 3;
  EXPECT_EQ(encode(lidt, information_kind::descriptor_table), 0x3041'8100u);
  EXPECT_EQ(decode_information(0x3041'8100, information_kind::descriptor_table).identity, 3);
  EXPECT_EQ(decode_information(0x3041'8100, information_kind::invalidation).reg2, reg::rbx);
}

TEST(vmx_exit_instruction_information, decoding_and_encoding_are_inverse_on_defined_bits) {
  testing::random_numbers random{2};
  for (unsigned k = 0; k <= static_cast<unsigned>(information_kind::one_register); ++k) {
    const auto kind = static_cast<information_kind>(k);
    for (int n = 0; n < 1000; ++n) {
      const auto word = static_cast<std::uint32_t>(random());
      EXPECT_EQ(encode(decode_information(word, kind), kind), word & defined_bits(kind)) << k;
    }
  }
  EXPECT_EQ(defined_bits(information_kind::none), 0u);
  EXPECT_EQ(defined_bits(information_kind::memory), 0x0FFF'8383u);
  EXPECT_EQ(defined_bits(information_kind::string_io), 0x0003'8380u);
  EXPECT_EQ(defined_bits(information_kind::one_register), 0x78u);
}

// ---- in words ------------------------------------------------------------------------------------------------------

exit_info of(exit_reason reason, std::uint64_t qualification = 0) {
  exit_info exit;
  exit.reason = reason;
  exit.qualification = qualification;
  return exit;
}

exit_info exception(std::uint8_t vector, event_type type, bool error_code = false) {
  exit_info exit;
  exit.interruption_information = encode({vector, type, error_code, false, false, true});
  return exit;
}

TEST(vmx_exit_describe, instructions) {
  EXPECT_EQ(describe(of(exit_reason::control_register_access, 0x3)), "MOV to CR3 from RAX");
  EXPECT_EQ(describe(of(exit_reason::control_register_access, 0x718)), "MOV from CR8 to RDI");
  EXPECT_EQ(describe(of(exit_reason::control_register_access, 0x20)), "CLTS");
  EXPECT_EQ(describe(of(exit_reason::control_register_access, 0x9'0070)), "LMSW of 9H from memory");
  EXPECT_EQ(describe(of(exit_reason::mov_dr, 0x217)), "MOV from DR7 to RDX");
  EXPECT_EQ(describe(of(exit_reason::io_instruction, 0x3F8'0000)), "OUT to port 3F8H, 1 byte");
  EXPECT_EQ(describe(of(exit_reason::io_instruction, 0xCF8'003B)), "REP INS from port CF8H, 4 bytes");
  EXPECT_EQ(describe(of(exit_reason::mwait, 1)), "MWAIT, monitor armed");
  EXPECT_EQ(describe(of(exit_reason::wrmsr, 1)), "WRMSRNS");
  EXPECT_EQ(describe(of(exit_reason::wbinvd, 1)), "WBNOINVD");
  EXPECT_EQ(describe(of(exit_reason::invlpg, 0x1000)), "INVLPG of 1000H");
  EXPECT_EQ(describe(of(exit_reason::rdmsr_immediate, 0x830)), "RDMSR, immediate form, MSR 830H");
  EXPECT_EQ(describe(of(exit_reason::pause)), "PAUSE");
}

TEST(vmx_exit_describe, events) {
  exit_info fault = exception(14, event_type::hardware_exception, true);
  fault.qualification = 0xDEAD'B000;
  fault.interruption_error_code = 6;
  EXPECT_EQ(describe(fault), "#PF, error code 6H, address DEADB000H");
  exit_info debug = exception(1, event_type::hardware_exception);
  debug.qualification = 0x4001;
  EXPECT_EQ(describe(debug), "#DB, single step, breakpoints 1H");
  EXPECT_EQ(describe(exception(2, event_type::nmi)), "NMI");
  EXPECT_EQ(describe(exception(4, event_type::software_exception)), "INTO");
  EXPECT_EQ(describe(of(exit_reason::external_interrupt)), "External interrupt, not acknowledged");
  exit_info interrupt = of(exit_reason::external_interrupt);
  interrupt.interruption_information = 0x8000'00EC;
  EXPECT_EQ(describe(interrupt), "External interrupt, vector ECH");
  EXPECT_EQ(describe(of(exit_reason::startup_ipi, 0x9A)), "Start-up IPI (SIPI), vector 9AH");
  EXPECT_EQ(describe(of(exit_reason::task_switch, 0x4000'0018)), "Task switch to 18H by IRET");
}

TEST(vmx_exit_describe, memory) {
  EXPECT_EQ(describe(of(exit_reason::apic_access, 0x1300)), "APIC write at offset 300H");
  EXPECT_EQ(describe(of(exit_reason::apic_access, 0xA000)), "APIC guest-physical access by event delivery");
  EXPECT_EQ(describe(of(exit_reason::apic_write, 0xB0)), "APIC write at offset B0H");
  exit_info violation = of(exit_reason::ept_violation, 0x82);
  violation.guest_physical_address = 0x1234'5000;
  violation.guest_linear_address = 0x7000;
  violation.idt_vectoring_information = 0x8000'0030;
  EXPECT_EQ(describe(violation),
            "EPT violation: write of guest-physical 12345000H, linear 7000H (page walk), while external interrupt 30H "
            "was being delivered");
}

TEST(vmx_exit_describe, failed_entries) {
  EXPECT_EQ(describe(of(exit_reason::entry_failure_guest_state, 4)),
            "VM-entry failure due to invalid guest state: VMCS link pointer");
  EXPECT_EQ(describe(of(exit_reason::entry_failure_msr_loading, 3)), "VM-entry failure due to MSR loading, entry 3");
  EXPECT_EQ(describe(of(static_cast<exit_reason>(35))), "Reserved exit reason 35");
}

TEST(vmx_exit_describe, every_reason_gives_one_line) {
  for (std::size_t i = 0; i < exit_reason_table_size(); ++i) {
    const std::string text = describe(of(exit_reason_table()[i].reason));
    EXPECT_FALSE(text.empty());
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace vmxsys::vmx
