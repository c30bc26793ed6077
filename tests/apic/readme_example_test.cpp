// The examples of apic/README.md, word for word between the marks.
#include <gtest/gtest.h>
#include <sstream>
#include <string>

#include <vmxsys/apic/local/destination.hpp>
#include <vmxsys/apic/local/local_apic.hpp>
#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/apic/virtualization/x2apic_access.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>

#include "source_text.hpp"
#include "vmx/flat_memory.hpp"

namespace {

TEST(apic_readme, example) {
  // [example]
  using namespace vmxsys;
  apic::local_apic sender{0, true};
  apic::local_apic target{1, false, apic::timer_clock{100, 1}};  // 2.4 GHz TSC, 24 MHz crystal
  for (apic::local_apic* each : {&sender, &target}) {
    each->enter_x2apic();
    each->write_msr(apic::msr::svr, 0x1FF, cycles{0});  // software enable, spurious vector FFH
  }

  // A reschedule IPI to processor 1: the write hands out the command, the caller carries it.
  const auto sent = sender.write_msr(apic::msr::icr, 0x00000001'000040FD, cycles{1000});
  if (sent.ipi && apic::addresses(*sent.ipi, sender.id(), target.id())) {
    const apic::interrupt_message message = apic::message_of(*sent.ipi);
    target.accept(message.vector, message.level);
  }
  // The core of processor 1 takes it when RFLAGS.IF allows, and its handler ends it.
  int taken = -1;
  if (target.highest_request() >= 0) taken = target.acknowledge();
  target.write_msr(apic::msr::eoi, 0, cycles{1800});

  // A deadline: arm one event at next_timer_event() and call timer_fire() there.
  target.write_msr(apic::msr::lvt_timer, 0x400EC, cycles{2000});  // TSC-deadline mode, vector ECH
  target.write_msr(apic::msr::tsc_deadline, 5000, cycles{2001});
  const cycles due = target.next_timer_event();
  target.timer_fire(due);
  // [example]
  EXPECT_EQ(taken, 0xFD);
  EXPECT_TRUE(target.in_service().empty());
  EXPECT_EQ(due, cycles{5000});
  EXPECT_EQ(target.highest_request(), 0xEC);
}

TEST(apic_readme, example_in_xapic_mode) {
  // [xapic]
  using namespace vmxsys;
  apic::local_apic first{0, true};
  apic::local_apic second{1, false};
  for (apic::local_apic* each : {&first, &second}) {
    const std::uint32_t bit = 1U << each->id();
    each->write_page(apic::page::dfr, 4, 0xFFFFFFFF, cycles{0});  // flat model: one bit for each APIC
    each->write_page(apic::page::ldr, 4, bit << 24, cycles{0});
    each->write_page(apic::page::svr, 4, 0x1FF, cycles{0});
  }

  // Vector 40H to the logical destination 03H: the upper half first, then the lower half sends.
  first.write_page(apic::page::icr_high, 4, 0x03000000, cycles{100});
  const auto sent = first.write_page(apic::page::icr_low, 4, 0x00004840, cycles{101});
  for (apic::local_apic* each : {&first, &second})
    if (apic::addresses(*sent.ipi, first.id(), each->address())) each->accept(sent.ipi->vector);

  // A device holds LINT0 of the second one: level-triggered, so it asks again after each EOI until it lets go.
  second.write_page(apic::page::lvt_lint0, 4, 0x00008051, cycles{200});
  second.set_lint(0, true);
  const int device = second.acknowledge();
  second.set_lint(0, false);
  second.write_page(apic::page::eoi, 4, 0, cycles{300});
  // [xapic]
  EXPECT_EQ(first.highest_request(), 0x40);
  EXPECT_EQ(device, 0x51);
  EXPECT_EQ(second.highest_request(), 0x40) << "waited below the device";
}

TEST(apic_readme, virtual_interrupt_posted) {
  using vmxsys::vmx::field;
  vmxsys::vmx::vmcs vmcs;
  vmxsys::vmx::test::flat_memory memory;
  constexpr vmxsys::physical_address descriptor = 0x30040;
  namespace primary = vmxsys::vmx::primary;
  namespace secondary = vmxsys::vmx::secondary;
  vmcs.write(field::pin_based_controls, vmxsys::vmx::pin_based::process_posted_interrupts);
  vmcs.write(field::primary_processor_based_controls, primary::use_tpr_shadow | primary::activate_secondary_controls);
  vmcs.write(field::secondary_processor_based_controls,
             secondary::virtualize_x2apic_mode | secondary::virtual_interrupt_delivery);
  vmcs.write(field::virtual_apic_address, 0x10000);
  vmcs.write(field::posted_interrupt_descriptor_address, descriptor);
  vmcs.write(field::posted_interrupt_notification_vector, 0xF2);
  vmcs.write(field::eoi_exit_bitmap_0, std::uint64_t{1} << 0x3C);
  vmxsys::apic::write_descriptor_info(memory, descriptor, {false, false, 0xF2, 1});
  // [posted]
  using namespace vmxsys;
  apic::virtual_interrupt_state state;
  const apic::virtual_apic guest{vmcs, memory, state};
  apic::at_entry(guest);

  // A device posts vector 3CH. The notification is a physical interrupt; the processor that runs the guest takes it
  // and, instead of a VM exit, processes it.
  const auto sent = apic::post(memory, descriptor, 0x3C);
  apic::posted_processing processing;
  if (sent && processing.acknowledge(vmcs, sent->vector))
    while (processing.next != apic::posting_step::done) processing.step(guest);

  // Recognized, it is delivered at the next boundary with RFLAGS.IF = 1. The handler ends it with an EOI, which exits
  // here because the hypervisor wants to see it: exit 45, pending at the next boundary.
  const int taken = state.recognized ? apic::deliver(guest) : -1;
  const auto end = apic::write_x2apic(guest, apic::msr::eoi, 0);
  apic::at_exit(vmcs, state);
  // [posted]
  EXPECT_EQ(taken, 0x3C);
  ASSERT_TRUE(end.result.trap);
  EXPECT_EQ(end.result.trap->reason, vmx::exit_reason::virtualized_eoi);
  EXPECT_EQ(end.result.trap->qualification, 0x3Cu);
}

/// What stands between two marks, without the blanks that begin a line.
std::string between(const std::string& text, const std::string& from, const std::string& to) {
  const std::size_t begin = text.find(from) + from.size();
  std::istringstream lines{text.substr(begin, text.find(to, begin) - begin)};
  std::string result;
  for (std::string line; std::getline(lines, line);)
    if (const std::size_t first = line.find_first_not_of(' '); first != std::string::npos)
      result += line.substr(first) + '\n';
  return result;
}

TEST(apic_readme, shows_these_examples) {
  const std::string here = vmxsys::testing::source_text("tests/apic/readme_example_test.cpp");
  const std::string readme = vmxsys::testing::source_text("apic/README.md");
  struct example {
    const char* heading;
    std::string mark;
  };
  for (const example& e : {example{"## Example", "  // [example]\n"}, example{"### In xAPIC mode", "  // [xapic]\n"},
                           example{"### A virtual interrupt, posted", "  // [posted]\n"}}) {
    const std::size_t heading = readme.find(e.heading);
    ASSERT_NE(heading, std::string::npos) << e.heading;
    EXPECT_EQ(between(readme.substr(heading), "```cpp\n", "```"), between(here, e.mark, e.mark)) << e.heading;
  }
}

}  // namespace
