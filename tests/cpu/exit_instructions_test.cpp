#include <gtest/gtest.h>

#include <vmxsys/vmx/instructions/exit_bitmaps.hpp>

#include "exits.hpp"

// Instructions of a guest that exit, as a program on the CPU meets them.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;

struct instruction_case {
  const char* name;
  exit_reason reason;
  std::uint32_t length;
  std::function<program(std::uint64_t& result)> body;
  std::function<void(strand&)> check;    // the registers the handler finds
  std::function<void(strand&)> emulate;  // what it leaves there
  std::uint64_t result;
  std::uint32_t primary = 0;
};

std::vector<instruction_case> instruction_cases() {
  const auto pair = [](strand& s, std::uint64_t rdx, std::uint64_t rax) {
    s.reg(gpr::rdx) = rdx;
    s.reg(gpr::rax) = rax;
  };
  return {
      {"cpuid", exit_reason::cpuid, 2, [](std::uint64_t& r) -> program { r = (co_await isa::cpuid(7, 3)).edx; },
       [](strand& s) {
         EXPECT_EQ(s.reg(gpr::rax), 7u);
         EXPECT_EQ(s.reg(gpr::rcx), 3u);
       },
       [](strand& s) { s.reg(gpr::rdx) = 0xABCD; }, 0xABCD},
      {"hlt", exit_reason::hlt, 1,
       [](std::uint64_t& r) -> program {
         co_await isa::hlt();
         r = 1;
       },
       [](strand&) {}, [](strand&) {}, 1},
      {"vmcall", exit_reason::vmcall, 3, [](std::uint64_t& r) -> program { r = co_await isa::vmcall(12, 34); },
       [](strand& s) {
         EXPECT_EQ(s.reg(gpr::rax), 12u);
         EXPECT_EQ(s.reg(gpr::rbx), 34u);
       },
       [](strand& s) { s.reg(gpr::rax) = ~std::uint64_t{0} - 37; }, ~std::uint64_t{0} - 37},
      {"rdmsr", exit_reason::rdmsr, 2, [](std::uint64_t& r) -> program { r = co_await isa::rdmsr(0x1234); },
       [](strand& s) { EXPECT_EQ(s.reg(gpr::rcx), 0x1234u); },
       [pair](strand& s) { pair(s, 0x1111'1111, 0xFFFF'FFFF'2222'2222); }, 0x1111'1111'2222'2222},
      {"wrmsr", exit_reason::wrmsr, 2,
       [](std::uint64_t& r) -> program {
         co_await isa::wrmsr(0x830, 0x1'0000'00FD);
         r = 2;
       },
       [](strand& s) {
         EXPECT_EQ(s.reg(gpr::rcx), 0x830u);
         EXPECT_EQ(s.reg(gpr::rdx), 1u);
         EXPECT_EQ(s.reg(gpr::rax), 0xFDu);
       },
       [](strand&) {}, 2},
      {"rdtsc", exit_reason::rdtsc, 2, [](std::uint64_t& r) -> program { r = co_await isa::rdtsc(); }, [](strand&) {},
       [pair](strand& s) { pair(s, 5, 6); }, 0x5'0000'0006, vmx::primary::rdtsc_exiting},
      {"pause", exit_reason::pause, 2,
       [](std::uint64_t& r) -> program {
         co_await isa::pause();
         r = 3;
       },
       [](strand&) {}, [](strand&) {}, 3, vmx::primary::pause_exiting},
  };
}

TEST(exits, of_instructions_are_fault_like_and_are_completed_from_the_registers) {
  for (const instruction_case& c : instruction_cases()) {
    SCOPED_TRACE(c.name);
    vmx_rig r;
    std::uint64_t result = 0, before = 0, after = 0, left = 0, resumed = 0;
    r.setup.options.primary |= c.primary;
    r.run_guest([&]() -> program {
      co_await isa::compute(cycles{100});
      before = r.now().count();
      co_await c.body(result);
      after = r.now().count();
      co_await rig::sleep();
    });
    r.run_host([&]() -> program {
      const vmx::exit_info exit = co_await isa::vmlaunch();
      left = r.now().count();
      EXPECT_EQ(exit.reason, c.reason);
      EXPECT_EQ(exit.instruction_length, c.length);
      EXPECT_EQ(co_await isa::vmread(field::exit_reason), static_cast<std::uint64_t>(c.reason));
      EXPECT_EQ(co_await isa::vmread(field::vm_exit_instruction_length), c.length);
      EXPECT_EQ(co_await isa::vmread(field::vm_exit_interruption_information), 0u);
      const guest_state s = state_of(r);
      EXPECT_EQ(s.rip, test_guest.rip()) << "the instruction has not executed";
      EXPECT_EQ(s.rflags, interrupt_flag | vmx::rflags_bits::one);
      EXPECT_EQ(s.interruptibility, 0u);
      EXPECT_EQ(s.activity, activity::active);
      EXPECT_EQ(r.field(field::guest_rsp), r.guest->rsp());
      c.check(*r.guest);
      c.emulate(*r.guest);
      co_await skip(exit);
      resumed = r.now().count();
      co_await isa::vmresume();
      ADD_FAILURE();
    });
    r.hw.run_until(cycles{100'000});
    EXPECT_EQ(result, c.result);
    EXPECT_EQ(left, before + exit_cost) << "exits take their cycles, the instruction none";
    EXPECT_EQ(after, resumed + entry_cost);
    expect_exact_sequence(r.log, {exit_because(c.reason, cycles{before})});
    r.hw.check_accounting();
    const accounting& a = r.hw.cpu(0).account();
    EXPECT_EQ(a.total(vmx_operation::root, bucket::vm_exit), cycles{exit_cost});
    EXPECT_EQ(a.total(vmx_operation::root, bucket::vm_entry), cycles{2 * entry_cost});
    EXPECT_EQ(a.total(vmx_operation::non_root, bucket::kernel).count(), 100 + 100'000 - after);
  }
}

TEST(exits, of_an_instruction_whose_rip_stays_execute_it_again) {
  vmx_rig r;
  int exits = 0;
  std::uint64_t result = 0;
  r.run_guest([&]() -> program {
    result = co_await isa::vmcall(5, 6);
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    vmx::exit_info exit = co_await isa::vmlaunch();
    while (++exits < 4) {
      EXPECT_EQ(exit.reason, exit_reason::vmcall);
      EXPECT_EQ(r.guest->reg(gpr::rax), 5u);
      r.guest->reg(gpr::rax) = 99;  // not looked at: it executes anew
      exit = co_await isa::vmresume();
    }
    r.guest->reg(gpr::rax) = 7;
    co_await skip(exit);
    co_await isa::vmresume();
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_EQ(exits, 4);
  EXPECT_EQ(result, 7u);
}

TEST(exits, at_a_rip_that_names_no_place_are_an_error) {
  vmx_rig r;
  r.run_guest([]() -> program { co_await isa::cpuid(0); });
  r.run_host([&]() -> program {
    co_await isa::vmlaunch();
    co_await isa::vmwrite(field::guest_rip, 0x1234);
    co_await isa::vmresume();
  });
  EXPECT_THROW(r.hw.run_until(cycles{50'000}), invariant_error);
}

TEST(exits, vmx_instructions_of_a_guest_exit) {
  vmx_rig r;
  r.run_guest([]() -> program {
    co_await isa::vmxon(0x1000);
    co_await isa::vmclear(0x1000);
    co_await isa::vmptrld(0x1000);
    co_await isa::vmptrst();
    co_await isa::vmread(field::guest_rip);
    co_await isa::vmwrite(field::guest_rip, 0);
    co_await isa::vmlaunch();
    co_await isa::vmresume();
    co_await isa::vmxoff();
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    vmx::exit_info exit = co_await isa::vmlaunch();
    for (;;) {
      co_await skip(exit);
      exit = co_await isa::vmresume();
    }
  });
  r.hw.run_until(cycles{50'000});
  using e = exit_reason;
  expect_exact_sequence(r.log, {exit_because(e::vmxon), exit_because(e::vmclear), exit_because(e::vmptrld),
                                exit_because(e::vmptrst), exit_because(e::vmread), exit_because(e::vmwrite),
                                exit_because(e::vmlaunch), exit_because(e::vmresume), exit_because(e::vmxoff)});
}

TEST(exits, an_msr_in_the_bitmap_stays_in_the_guest) {
  vmx_rig r;
  r.setup.options.primary |= vmx::primary::use_msr_bitmaps;
  r.setup.more.emplace_back(field::msr_bitmap_address, 0x8000);
  const auto at = vmx::locate_in_msr_bitmap(0x808, vmx::msr_access::write);
  r.hw.physical().write<std::uint8_t>(0x8000 + at.byte, static_cast<std::uint8_t>(1u << at.bit));
  std::uint64_t id = 99;
  r.run_guest([&]() -> program {
    id = co_await isa::rdmsr(apic::msr::id);
    co_await isa::wrmsr(apic::msr::svr, 0x1FF);
    co_await isa::wrmsr(apic::msr::tpr, 0x20);  // exits
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::wrmsr);
    EXPECT_EQ(r.guest->reg(gpr::rcx), apic::msr::tpr);
    EXPECT_TRUE(r.hw.cpu(0).local_apic().software_enabled());
    EXPECT_EQ(r.hw.cpu(0).local_apic().task_priority(), 0);
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(id, 0u);
}

TEST(exits, the_guests_time_stamp_counter_is_offset) {
  vmx_rig r;
  r.setup.options.primary |= vmx::primary::use_tsc_offsetting;
  r.setup.more.emplace_back(field::tsc_offset, 1'000'000);
  std::uint64_t tsc = 0, at = 0;
  r.run_guest([&]() -> program {
    tsc = co_await isa::rdtsc();
    at = r.now().count();
    co_await rig::sleep();
  });
  r.run_host([]() -> program { co_await isa::vmlaunch(); });
  r.hw.run_until(cycles{50'000});
  EXPECT_EQ(tsc, at + 1'000'000);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
