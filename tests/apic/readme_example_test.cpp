// The examples of apic/README.md, word for word between the marks.
#include <vmxsys/apic/destination.hpp>
#include <vmxsys/apic/local_apic.hpp>

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

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

std::string text_of(const std::filesystem::path& file) {
  std::ostringstream text;
  text << std::ifstream{file}.rdbuf();
  return text.str();
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
  const std::filesystem::path here{__FILE__};
  const std::filesystem::path readme = here.parent_path() / "../../apic/README.md";
  if (!std::filesystem::exists(readme)) GTEST_SKIP() << "sources are not where they were compiled";
  struct example { const char* heading; std::string mark; };
  for (const example& e : {example{"## Example", "  // [example]\n"}, example{"### In xAPIC mode", "  // [xapic]\n"}}) {
    const std::string text = text_of(readme);
    const std::size_t heading = text.find(e.heading);
    ASSERT_NE(heading, std::string::npos) << e.heading;
    EXPECT_EQ(between(text.substr(heading), "```cpp\n", "```"), between(text_of(here), e.mark, e.mark)) << e.heading;
  }
}

}  // namespace
