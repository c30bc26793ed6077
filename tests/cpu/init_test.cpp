#include <gtest/gtest.h>

#include <vmxsys/cpu/program/system_instruction.hpp>

#include "guest_apic_rig.hpp"

// INIT signals of a guest that another exit comes before, and processors that start again after one.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;

constexpr std::uint64_t issued = 20'000;  // the instruction that ends in an exit

struct ending {
  exit_reason reason;
  void (*set_up)(guest_apic_rig&);
  program (*instruction)();
};

const ending endings[] = {
    {exit_reason::tpr_below_threshold,
     [](guest_apic_rig& r) {
       r.setup.options.secondary = 0;
       r.setup.options.pin &= ~std::uint64_t{vmx::pin_based::process_posted_interrupts};
       r.setup.more.emplace_back(field::tpr_threshold, 4);
       r.page().write_32(apic::vapic::tpr, 0x60);
     },
     []() -> program { co_await isa::mov_to_cr(8, 3); }},
    {exit_reason::virtualized_eoi,
     [](guest_apic_rig& r) {
       r.setup.more.emplace_back(field::eoi_exit_bitmap_1, std::uint64_t{1} << (0x51 - 64));
       r.setup.more.emplace_back(field::guest_interrupt_status, 0x5100);
       r.page().set_in_service(0x51);
     },
     []() -> program { co_await isa::wrmsr(apic::msr::eoi, 0); }},
    {exit_reason::apic_write, [](guest_apic_rig&) {},
     []() -> program { co_await isa::wrmsr(apic::msr::self_ipi, 15); }},
    {exit_reason::exception_or_nmi,
     [](guest_apic_rig& r) { r.setup.more.emplace_back(field::exception_bitmap, 1u << 13); },
     []() -> program { co_await isa::wrmsr(apic::msr::eoi, 1); }},
};

// Swept over the instruction: an INIT of its first cycle exits before it, one of any later cycle behind the exit that
// ends it. SDM Vol. 3C §28.2, §29.7.7.
TEST(init_of_a_guest, waits_in_root_operation_where_another_exit_comes_first) {
  for (const ending& e : endings)
    for (std::uint64_t at = issued - 1; at < issued + 90; ++at) {
      guest_apic_rig r;
      e.set_up(r);
      std::vector<exit_reason> reasons;
      r.at_exit = [&](const vmx::exit_info& exit) -> program {
        reasons.push_back(exit.reason);
        if (exit.reason == exit_reason::tpr_below_threshold) co_await isa::vmwrite(field::tpr_threshold, 0);
        if (exit.reason == exit_reason::exception_or_nmi)
          co_await isa::vmwrite(field::guest_rip, co_await isa::vmread(field::guest_rip) + 2);
      };
      r.run_guest([&]() -> program {
        co_await isa::compute(cycles{issued - r.now().count()});
        co_await e.instruction();
        co_await rig::sleep();
      });
      r.start();
      r.interrupt(0, cycles{at}, 0, apic::delivery_mode::init);
      r.hw.run_until(cycles{60'000});
      ASSERT_NE(r.hw.cpu(0).active(), nullptr) << name_of(e.reason) << at;
      ASSERT_EQ(reasons, (at <= issued ? std::vector{exit_reason::init_signal, e.reason}
                                       : std::vector{e.reason, exit_reason::init_signal}))
          << at;
    }
}

TEST(init_of_a_guest, that_waits_for_a_start_up_ipi_is_taken_when_the_wait_is_over) {
  for (const bool init : {true, false}) {
    vmx_rig r;
    std::vector<exit_reason> reasons;
    r.setup.more.emplace_back(field::guest_activity_state, 3);
    r.run_guest(rig::sleep);
    r.run_host([&]() -> program {
      vmx::exit_info exit = co_await isa::vmlaunch();
      reasons.push_back(exit.reason);
      co_await isa::vmwrite(field::guest_activity_state, 0);
      exit = co_await isa::vmresume();
      reasons.push_back(exit.reason);
    });
    if (init) r.interrupt(0, cycles{20'000}, 0, apic::delivery_mode::init);
    r.interrupt(0, cycles{30'000}, 0x9A, apic::delivery_mode::startup);
    r.hw.run_until(cycles{60'000});
    std::vector expected{exit_reason::startup_ipi};
    if (init) expected.push_back(exit_reason::init_signal);
    EXPECT_EQ(reasons, expected);
    EXPECT_EQ(r.done, init);
  }
}

// A hypervisor that does not enter again.
TEST(init_of_a_guest, that_no_guest_takes_resets_the_processor_at_vmxoff) {
  for (const std::uint64_t at : {issued, issued + 1}) {
    guest_apic_rig r;
    std::uint64_t off = 0;
    r.at_exit = [&](const vmx::exit_info& exit) -> program {
      EXPECT_EQ(exit.reason, at == issued ? exit_reason::init_signal : exit_reason::apic_write);
      co_await isa::compute(cycles{1000});
      EXPECT_EQ(r.boots.size(), 1u);
      EXPECT_EQ(r.hw.cpu(0).vmx_state().latched_init, at != issued);
      off = r.now().count() + 200;
      co_await isa::vmxoff();
      co_await rig::sleep();
    };
    r.run_guest([&]() -> program {
      co_await isa::compute(cycles{issued - r.now().count()});
      co_await isa::wrmsr(apic::msr::self_ipi, 15);
      co_await rig::sleep();
    });
    r.start();
    r.interrupt(0, cycles{at}, 0, apic::delivery_mode::init);
    r.hw.run_until(cycles{60'000});
    EXPECT_FALSE(r.hw.cpu(0).vmx_state().latched_init);
    ASSERT_EQ(r.boots.size(), at == issued ? 1u : 2u) << "the first INIT is spent";
    if (at != issued) EXPECT_EQ(r.boots[1].when.count(), off + 1);
  }
}

/// CPU 1 runs another strand when it starts for the second time.
struct restarting_rig : vmx_rig {
  restarting_rig() : vmx_rig{bare_config(2)} {}
  strand& boot(logical_cpu& cpu, physical_address at) override {
    strand& first = rig::boot(cpu, at);
    return cpu.number() == 1 && std::exchange(started, true) ? *again : first;
  }
  bool started = false;
  strand* again = nullptr;
};

TEST(startup, after_an_init_is_as_good_as_the_first_one) {
  restarting_rig r;
  std::uint64_t task = 0, task_again = 0;
  vmx::exit_info exit{};
  r.run(0, rig::sleep);
  r.run(1, [&]() -> program {
    task = co_await isa::execute(vmx::mnemonic::str);
    co_await rig::sleep();
  });
  r.run_guest([]() -> program {
    co_await isa::cpuid(0);
    co_await rig::sleep();
  });
  r.again = &r.make("again", [&]() -> program {
    task_again = co_await isa::execute(vmx::mnemonic::str);
    co_await enter_root_operation(r.hw);
    co_await make_vmcs(r.hw, *r.guest, vmx_rig::region, r.setup);
    exit = co_await isa::vmlaunch();
    co_await rig::sleep();
  });
  r.interrupt(1, cycles{2000}, 0, apic::delivery_mode::init);
  r.interrupt(1, cycles{4000}, 0x10, apic::delivery_mode::startup);
  r.hw.run_until(cycles{40'000});
  EXPECT_EQ(r.boots.back().when, cycles{4000});
  EXPECT_NE(task, 0u);
  EXPECT_EQ(task_again, task);
  EXPECT_EQ(exit.reason, exit_reason::cpuid);
  r.hw.check_accounting();
}

}  // namespace
}  // namespace vmxsys::cpu::testing
