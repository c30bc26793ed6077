#include <gtest/gtest.h>

#include <vmxsys/vmx/events/preemption_timer.hpp>
#include <vmxsys/vmx/instructions/exit_bitmaps.hpp>

#include "rig.hpp"

// VM exits and entries as a program on the CPU meets them.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;

constexpr std::uint64_t exit_cost = 40 + 110 + 90 + 8;
constexpr std::uint64_t entry_cost = 50 + 40 + 50 + 100 + 8;
constexpr std::uint64_t inject_cost = 60;
constexpr std::uint64_t wake_latency = 4600;
constexpr std::uint64_t interrupt_flag = vmx::rflags_bits::interrupt_flag;

program skip(const vmx::exit_info& exit) {
  const std::uint64_t rip = co_await isa::vmread(field::guest_rip);
  co_await isa::vmwrite(field::guest_rip, rip + exit.instruction_length);
}

struct guest_state {
  std::uint64_t rip, rflags, interruptibility, activity;
};
guest_state state_of(vmx_rig& r) {
  return {r.field(field::guest_rip), r.field(field::guest_rflags), r.field(field::guest_interruptibility_state),
          r.field(field::guest_activity_state)};
}

// -- instructions that exit -------------------------------------------------------------------------------------------

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
      EXPECT_EQ(s.activity, 0u);
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
    ASSERT_EQ(r.exits().size(), 1u);
    EXPECT_EQ(r.exits()[0]->began.count(), before);
    EXPECT_EQ(r.exits()[0]->reason, c.reason);
    r.hw.check_accounting();
    const accounting& a = r.hw.cpu(0).account();
    EXPECT_EQ(a.total(world::root, bucket::vm_exit), cycles{exit_cost});
    EXPECT_EQ(a.total(world::root, bucket::vm_entry), cycles{2 * entry_cost});
    EXPECT_EQ(a.total(world::non_root, bucket::kernel).count(), 100 + 100'000 - after);
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
  std::vector<int> reasons;
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
      reasons.push_back(static_cast<int>(exit.reason));
      co_await skip(exit);
      exit = co_await isa::vmresume();
    }
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_EQ(reasons, (std::vector<int>{27, 19, 21, 22, 23, 25, 20, 24, 26}));
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

// -- what changes hands -----------------------------------------------------------------------------------------------

TEST(transitions, swap_gs_idtr_and_the_interrupt_flag) {
  vmx_rig r;
  r.setup.more.emplace_back(field::guest_gs_base, 0x1111);
  r.setup.more.emplace_back(field::host_gs_base, 0x2222);
  struct table : interrupt_table {
    program entry(logical_cpu&, std::uint8_t) override { return rig::acknowledge(); }
  } other;
  const std::uint64_t guest_idtr = r.hw.names().add(other);
  r.setup.more.emplace_back(field::guest_idtr_base, guest_idtr);
  int checks = 0;
  r.run_guest([&]() -> program {
    logical_cpu& cpu = co_await isa::this_cpu();
    EXPECT_EQ(cpu.gs_base(), 0x1111u);
    EXPECT_EQ(cpu.idtr_base(), guest_idtr);
    EXPECT_TRUE(cpu.interrupts_enabled());
    EXPECT_EQ(cpu.current_world(), world::non_root);
    EXPECT_EQ(cpu.active(), r.guest);
    cpu.set_gs_base(0x3333);
    co_await isa::cli();
    co_await isa::cpuid(0);
    EXPECT_FALSE(cpu.interrupts_enabled());
    EXPECT_EQ(cpu.gs_base(), 0x3333u);
    ++checks;
    co_await isa::cpuid(0);
    EXPECT_TRUE(cpu.interrupts_enabled()) << "the hypervisor changed RFLAGS";
    ++checks;
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    logical_cpu& cpu = co_await isa::this_cpu();
    co_await isa::sti();
    vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(cpu.gs_base(), 0x2222u);
    EXPECT_EQ(cpu.idtr_base(), r.idtr);
    EXPECT_FALSE(cpu.interrupts_enabled()) << "RFLAGS is 2 after an exit";
    EXPECT_EQ(r.field(field::guest_gs_base), 0x3333u);
    EXPECT_EQ(r.field(field::guest_rflags) & interrupt_flag, 0u);
    co_await skip(exit);
    exit = co_await isa::vmresume();
    co_await skip(exit);
    co_await isa::vmwrite(field::guest_rflags, 0x202);
    ++checks;
    co_await isa::vmresume();
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_EQ(checks, 3);
}

TEST(transitions, state_their_micro_steps_and_the_privilege_level) {
  vmx_rig r;
  r.run_guest([]() -> program {
    auto here = co_await isa::in(user_code);
    co_await isa::cpuid(0);
  });
  r.run_host([&]() -> program { co_await isa::vmlaunch(); });
  // The guest is in user mode from its first instruction; its VMCS says so only after the exit.
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  std::vector<vmx::transition_step> steps;
  std::uint64_t total = 0, done = r.log.of<vm_entry_fact>().at(0).at().count() - entry_cost;
  for (const auto& f : r.log.of<micro_step_fact>()) {
    if (f->step == vmx::transition_step::record_information) done = r.exits().at(0)->began.count();
    steps.push_back(f->step);
    total += f->duration.count();
    EXPECT_EQ(f->done.count(), done += f->duration.count()) << "one step follows another";
  }
  EXPECT_EQ(done, r.exits().at(0).at().count());
  using s = vmx::transition_step;
  EXPECT_EQ(steps, (std::vector<s>{s::check_controls, s::check_host_state, s::check_guest_state, s::load_guest_state,
                                   s::invalidate_at_entry, s::record_information, s::save_guest_state,
                                   s::load_host_state, s::invalidate_at_exit}));
  EXPECT_EQ(total, entry_cost + exit_cost);
  EXPECT_EQ(r.exits().at(0)->cpl, 3);
  EXPECT_EQ(r.field(field::guest_ss_access_rights) >> 5 & 3, 3u);
  EXPECT_EQ(r.field(field::guest_cs_selector) & 3, 3u);
  const auto entries = r.log.of<vm_entry_fact>();
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0]->duration, cycles{entry_cost});
  EXPECT_EQ(entries[0]->rip, test_guest.rip());
  EXPECT_EQ(entries[0]->vmcs, vmx_rig::region);
}

TEST(transitions, book_host_and_guest_apart) {
  vmx_rig r;
  r.run_guest([]() -> program {
    for (;;) {
      co_await isa::compute(cycles{500});
      co_await isa::cpuid(0);
    }
  });
  r.run_host([&]() -> program {
    vmx::exit_info exit = co_await isa::vmlaunch();
    for (int i = 0; i < 9; ++i) {
      co_await isa::compute(cycles{70});
      co_await skip(exit);
      exit = co_await isa::vmresume();
    }
  });
  r.hw.run_until(cycles{50'000});
  r.hw.check_accounting();
  const accounting& a = r.hw.cpu(0).account();
  EXPECT_EQ(a.total(world::non_root, bucket::kernel), cycles{10 * 500});
  EXPECT_EQ(a.total(world::root, bucket::vm_exit), cycles{10 * exit_cost});
  EXPECT_EQ(a.total(world::root, bucket::vm_entry), cycles{10 * entry_cost});
}

// -- external interrupts ----------------------------------------------------------------------------------------------

class interrupt_exits : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(acknowledge, interrupt_exits, ::testing::Bool());

TEST_P(interrupt_exits, acknowledge_or_leave_it_pending) {
  const bool acknowledge = GetParam();
  vmx_rig r;
  if (!acknowledge) r.setup.options.vm_exit &= ~std::uint64_t{vmx::vm_exit_control::acknowledge_interrupt_on_exit};
  std::vector<std::uint64_t> handled;
  r.handler = [&](logical_cpu&, std::uint8_t vector) {
    handled.push_back(vector);
    return rig::acknowledge();
  };
  r.run_guest([]() -> program {
    co_await isa::cli();  // external-interrupt exiting does not look at IF
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::external_interrupt);
    EXPECT_EQ(exit.interruption_information, acknowledge ? 0x8000'0051u : 0u);
    EXPECT_EQ(r.field(field::vm_exit_interruption_information), exit.interruption_information);
    EXPECT_EQ(exit.instruction_length, 0u);
    EXPECT_EQ(r.field(field::guest_rflags), vmx::rflags_bits::one);
    EXPECT_EQ(r.field(field::guest_rip), test_guest.rip());
    const apic::local_apic& apic = r.hw.cpu(0).local_apic();
    EXPECT_EQ(apic.in_service().test(0x51), acknowledge);
    EXPECT_EQ(apic.requests().test(0x51), !acknowledge);
    co_await isa::compute(cycles{100});
    EXPECT_TRUE(handled.empty()) << "interrupts are disabled after an exit";
    if (acknowledge) co_await isa::wrmsr(apic::msr::eoi, 0);
    co_await isa::sti();
    co_await isa::compute(cycles{100});
  });
  r.hw.run_until(cycles{10'000});
  r.interrupt(0, cycles{20'000}, 0x51);
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(handled, acknowledge ? std::vector<std::uint64_t>{} : std::vector<std::uint64_t>{0x51});
  ASSERT_EQ(r.exits().size(), 1u);
  EXPECT_EQ(r.exits()[0]->began, cycles{20'000}) << "a compute is left at once";
  EXPECT_EQ(r.exits()[0].header.cause, r.log.of<ipi_arrived_fact>().at(0).header.id);
}

TEST(external_interrupts, that_leave_a_compute_let_it_go_on_with_what_is_left) {
  for (std::uint64_t shift = 0; shift <= 31; ++shift) {
    vmx_rig r;
    std::uint64_t begin = 0, end = 0;
    r.run_guest([&]() -> program {
      co_await isa::compute(cycles{20'000 - r.now().count()});
      begin = r.now().count();
      co_await isa::compute(cycles{30});
      end = r.now().count();
      co_await rig::sleep();
    });
    std::uint64_t away = 0;
    r.run_host([&]() -> program {
      co_await rig::enable_apic();
      (void)co_await isa::vmlaunch();
      away = r.now().count() - exit_cost;
      co_await isa::wrmsr(apic::msr::eoi, 0);
      (void)co_await isa::vmresume();
    });
    r.interrupt(0, cycles{20'000 + shift}, 0x51);
    r.hw.run_until(cycles{50'000});
    ASSERT_EQ(away, 20'000 + shift);
    const std::uint64_t detour = exit_cost + 80 + entry_cost;
    EXPECT_EQ(begin, shift == 0 ? 20'000 + detour : 20'000u);
    EXPECT_EQ(end, shift <= 30 ? 20'030 + detour : 20'030u);
  }
}

TEST(external_interrupts, without_exiting_go_through_the_guests_table) {
  vmx_rig r;
  r.setup.options.pin = vmx::pin_based::nmi_exiting;
  r.setup.options.primary |= vmx::primary::use_msr_bitmaps;
  r.setup.more.emplace_back(field::msr_bitmap_address, 0x8000);
  std::vector<std::uint64_t> handled;
  r.handler = [&](logical_cpu& cpu, std::uint8_t vector) {
    handled.push_back(vector);
    EXPECT_EQ(cpu.current_world(), world::non_root);
    return rig::acknowledge();
  };
  std::uint64_t open = 0;
  r.run_guest([&]() -> program {
    co_await isa::cli();
    co_await isa::compute(cycles{20'000});
    co_await isa::sti();
    co_await isa::pause();
    open = r.log.of<interrupt_fact>().at(0).at().count();
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    co_await isa::vmlaunch();
  });
  r.interrupt(0, cycles{15'000}, 0x51);
  r.hw.run_until(cycles{90'000});
  EXPECT_EQ(handled, std::vector<std::uint64_t>{0x51});
  EXPECT_TRUE(r.exits().empty());
  EXPECT_EQ(r.log.of<interrupt_fact>().at(0)->non_root, 1);
  EXPECT_GT(open, 20'000u);
}

TEST(external_interrupts, wait_for_the_instruction_behind_sti_and_the_shadow_is_saved_with_an_exit_in_it) {
  vmx_rig r;
  std::vector<guest_state> states;
  std::vector<exit_reason> reasons;
  r.setup.options.guest_rflags = 2;
  r.run_guest([]() -> program {
    co_await isa::compute(cycles{20'000});
    co_await isa::sti();
    co_await isa::cpuid(0);
    co_await isa::sti();
    co_await isa::cpuid(0);
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    vmx::exit_info exit = co_await isa::vmlaunch();
    for (;;) {
      reasons.push_back(exit.reason);
      states.push_back(state_of(r));
      if (exit.reason == exit_reason::external_interrupt) {
        co_await isa::wrmsr(apic::msr::eoi, 0);
      } else {
        co_await skip(exit);
        co_await isa::vmwrite(field::guest_interruptibility_state, 0);
      }
      exit = co_await isa::vmresume();
    }
  });
  r.hw.run_until(cycles{90'000});
  ASSERT_EQ(reasons, (std::vector<exit_reason>{exit_reason::cpuid, exit_reason::cpuid}));
  EXPECT_EQ(states[0].interruptibility, vmx::interruptibility::sti);
  EXPECT_EQ(states[0].rflags & interrupt_flag, interrupt_flag);
  EXPECT_EQ(states[1].interruptibility, 0u) << "STI with IF = 1 casts none";
  const std::uint64_t sti_done = r.exits().at(0)->began.count();

  vmx_rig again;
  again.setup.options.guest_rflags = 2;
  again.run_guest([]() -> program {
    co_await isa::compute(cycles{20'000});
    co_await isa::sti();
    co_await isa::pause();
    co_await rig::sleep();
  });
  again.run_host([&]() -> program {
    co_await rig::enable_apic();
    co_await isa::vmlaunch();
  });
  again.interrupt(0, cycles{sti_done - 1}, 0x51);
  again.hw.run_until(cycles{90'000});
  EXPECT_EQ(again.exits().at(0)->began.count(), sti_done + 40) << "behind the PAUSE";
  EXPECT_EQ(again.field(field::guest_interruptibility_state), 0u);
}

TEST(external_interrupts, a_shadow_in_the_vmcs_holds_them_for_one_instruction) {
  for (const bool shadow : {false, true}) {
    vmx_rig r;
    r.run_guest([]() -> program {
      for (;;) co_await isa::pause();
    });
    std::uint64_t entered = 0;
    r.run_host([&]() -> program {
      co_await rig::enable_apic();
      if (shadow) co_await isa::vmwrite(field::guest_interruptibility_state, vmx::interruptibility::sti);
      r.interrupt(0, r.now() + cycles{20}, 0x51);  // during the entry
      entered = r.now().count() + entry_cost;
      co_await isa::vmlaunch();
    });
    r.hw.run_until(cycles{50'000});
    EXPECT_EQ(r.exits().at(0)->began.count(), entered + (shadow ? 40 : 0));
  }
}

// -- injection and the interrupt window -------------------------------------------------------------------------------

TEST(injection, goes_through_the_guests_table_before_its_first_instruction) {
  vmx_rig r;
  std::vector<std::string> order;
  r.handler = [&](logical_cpu& cpu, std::uint8_t vector) -> program {
    order.push_back("handler " + std::to_string(vector) + (cpu.interrupts_enabled() ? " open" : " closed"));
    co_await isa::compute(cycles{10});
  };
  std::uint64_t entered = 0;
  r.run_guest([&]() -> program {
    order.emplace_back("guest");
    co_await isa::cpuid(0);
    order.emplace_back("guest again");
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    co_await isa::vmwrite(field::vm_entry_interruption_information, 0x8000'0061);
    entered = r.now().count() + entry_cost + inject_cost;
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(r.field(field::vm_entry_interruption_information), 0x61u) << "valid is cleared by the exit";
    co_await skip(exit);
    co_await isa::vmresume();
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_EQ(order, (std::vector<std::string>{"handler 97 closed", "guest", "guest again"}));
  const auto delivered = r.log.of<interrupt_fact>();
  ASSERT_EQ(delivered.size(), 1u);
  EXPECT_EQ(delivered[0].at().count(), entered);
  EXPECT_EQ(r.log.of<vm_entry_fact>().at(0)->interruption_information, 0x8000'0061u);
  EXPECT_EQ(r.log.of<vm_entry_fact>()[0]->duration, cycles{entry_cost + inject_cost});
  EXPECT_EQ(r.exits().at(0)->began.count(), entered + 10 + 80);
}

TEST(injection, an_event_pending_at_entry_exits_from_the_handlers_first_instruction) {
  vmx_rig r;
  r.run_guest(rig::sleep);
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    co_await isa::vmwrite(field::vm_entry_interruption_information, 0x8000'0061);
    r.interrupt(0, r.now() + cycles{20}, 0x51);
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::external_interrupt);
    EXPECT_NE(r.field(field::guest_rip), test_guest.rip());
    EXPECT_EQ(r.field(field::guest_rip), r.guest->location().rip());
    EXPECT_EQ(r.field(field::guest_rflags) & interrupt_flag, 0u);
    EXPECT_EQ(r.guest->depth(), 2u);
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
}

TEST(injection, ends_the_shadow_that_the_entry_loaded) {
  vmx_rig r;
  std::uint64_t entered = 0;
  r.run_guest(rig::sleep);
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    co_await isa::vmwrite(field::guest_interruptibility_state, vmx::interruptibility::sti);
    co_await isa::vmwrite(field::vm_entry_interruption_information, 0x8000'0306);  // #UD
    r.interrupt(0, r.now() + cycles{20}, 0x51);
    entered = r.now().count() + entry_cost + inject_cost;
    EXPECT_EQ((co_await isa::vmlaunch()).reason, exit_reason::external_interrupt);
    EXPECT_EQ(state_of(r).interruptibility, 0u);
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(r.exits().at(0)->began.count(), entered) << "no instruction of the handler comes first";
}

TEST(interrupt_window, exits_before_any_instruction_where_it_is_open) {
  vmx_rig r;
  r.setup.options.primary |= vmx::primary::interrupt_window_exiting;
  std::uint64_t entered = 0;
  r.run_guest([]() -> program {
    ADD_FAILURE();
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    entered = r.now().count() + entry_cost;
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::interrupt_window);
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(r.exits().at(0)->began.count(), entered);
}

TEST(interrupt_window, opens_behind_the_instruction_after_sti_and_after_iret) {
  vmx_rig r;
  r.setup.options.guest_rflags = 2;
  r.setup.options.primary |= vmx::primary::interrupt_window_exiting;
  std::uint64_t sti = 0, iret = 0;
  r.run_guest([&]() -> program {
    co_await isa::compute(cycles{500});
    co_await isa::sti();
    sti = r.now().count();
    co_await isa::pause();
    co_await rig::sleep();
  });
  r.handler = [&](logical_cpu&, std::uint8_t) -> program {
    co_await isa::compute(cycles{77});
    iret = r.now().count() + 80;
  };
  r.run_host([&]() -> program {
    vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::interrupt_window);
    EXPECT_EQ(r.exits().back()->began.count(), sti + 40);
    EXPECT_EQ(state_of(r).interruptibility, 0u);
    co_await isa::vmwrite(field::vm_entry_interruption_information, 0x8000'0061);
    exit = co_await isa::vmresume();
    EXPECT_EQ(exit.reason, exit_reason::interrupt_window);
    EXPECT_EQ(r.exits().back()->began.count(), iret);
    EXPECT_EQ(r.guest->depth(), 1u);
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
}

// -- halting in the guest ---------------------------------------------------------------------------------------------

/// The guest's own EOI would exit: an injected interrupt needs none.
program guest_handler() { co_await isa::compute(cycles{10}); }

struct halting_rig : vmx_rig {
  halting_rig() {
    setup.options.primary = 0;
    handler = [](logical_cpu&, std::uint8_t) { return guest_handler(); };
  }
  std::uint64_t halted = 0, awake = 0;
  void go() {
    run_guest([this]() -> program {
      co_await isa::compute(cycles{100});
      halted = now().count() + 10;
      co_await isa::hlt();
      awake = now().count();
      co_await isa::cpuid(0);
      co_await sleep();
    });
  }
};

TEST(halted_guest, woken_by_an_interrupt_exit_enters_the_halted_state_again_and_again) {
  halting_rig r;
  r.go();
  int exits = 0;
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    vmx::exit_info exit = co_await isa::vmlaunch();
    for (exits = 1; exits <= 3; ++exits) {
      EXPECT_EQ(exit.reason, exit_reason::external_interrupt);
      EXPECT_EQ(r.exits().back()->began.count(), 20'000u * static_cast<unsigned>(exits) + wake_latency);
      const guest_state s = state_of(r);
      EXPECT_EQ(s.activity, 1u) << "HLT";
      EXPECT_EQ(s.rip, test_guest.rip() + 1) << "HLT has executed";
      co_await isa::wrmsr(apic::msr::eoi, 0);
      if (exits == 3) break;
      exit = co_await isa::vmresume();
    }
    EXPECT_EQ(r.awake, 0u);
    co_await isa::vmwrite(field::vm_entry_interruption_information, 0x8000'0061);
    exit = co_await isa::vmresume();
    EXPECT_EQ(exit.reason, exit_reason::cpuid);
  });
  for (unsigned i = 1; i <= 3; ++i) r.interrupt(0, cycles{20'000 * i}, 0x51);
  r.hw.run_until(cycles{100'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(exits, 3);
  EXPECT_GT(r.awake, 60'000u);
  EXPECT_EQ(r.log.of<halt_fact>().size(), 3u);
  EXPECT_EQ(r.log.of<halt_fact>()[0]->began.count(), r.halted);
  r.hw.check_accounting();
  EXPECT_GT(r.hw.cpu(0).account().total(world::non_root, bucket::idle), cycles{50'000});
}

TEST(halted_guest, made_active_by_the_hypervisor_goes_on_behind_the_hlt) {
  for (const bool inject : {false, true}) {
    halting_rig r;
    r.go();
    r.run_host([&]() -> program {
      co_await rig::enable_apic();
      co_await isa::vmlaunch();
      co_await isa::wrmsr(apic::msr::eoi, 0);
      co_await isa::vmwrite(field::guest_activity_state, 0);
      if (inject) co_await isa::vmwrite(field::vm_entry_interruption_information, 0x8000'0061);
      const vmx::exit_info exit = co_await isa::vmresume();
      EXPECT_EQ(exit.reason, exit_reason::cpuid);
    });
    r.interrupt(0, cycles{20'000}, 0x51);
    r.hw.run_until(cycles{100'000});
    EXPECT_TRUE(r.done);
    EXPECT_GT(r.awake, 20'000u);
  }
}

TEST(halted_guest, whose_rip_is_moved_back_halts_again) {
  halting_rig r;
  r.go();
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    co_await isa::vmlaunch();
    co_await isa::wrmsr(apic::msr::eoi, 0);
    co_await isa::vmwrite(field::guest_activity_state, 0);
    co_await isa::vmwrite(field::guest_rip, test_guest.rip());
    co_await isa::vmresume();
    EXPECT_EQ(state_of(r).activity, 1u);
  });
  r.interrupt(0, cycles{20'000}, 0x51);
  r.interrupt(0, cycles{40'000}, 0x51);
  r.hw.run_until(cycles{100'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(r.awake, 0u);
}

TEST(halted_guest, entered_halted_without_having_executed_hlt) {
  vmx_rig r;
  std::uint64_t started = 0;
  r.setup.more.emplace_back(field::guest_activity_state, 1);
  r.handler = [](logical_cpu&, std::uint8_t) { return guest_handler(); };
  r.run_guest([&]() -> program {
    started = r.now().count();
    co_await isa::cpuid(0);
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::external_interrupt);
    EXPECT_EQ(state_of(r).activity, 1u);
    EXPECT_EQ(started, 0u);
    co_await isa::wrmsr(apic::msr::eoi, 0);
    co_await isa::vmwrite(field::vm_entry_interruption_information, 0x8000'0061);
    exit = co_await isa::vmresume();
    EXPECT_EQ(exit.reason, exit_reason::cpuid);
  });
  r.interrupt(0, cycles{20'000}, 0x51);
  r.hw.run_until(cycles{100'000});
  EXPECT_TRUE(r.done);
  EXPECT_GT(started, 20'000u);
}

TEST(halted_guest, is_woken_through_its_own_table_where_interrupts_do_not_exit) {
  for (std::uint64_t shift = 0; shift < 24; ++shift) {
    halting_rig r;
    r.setup.options.pin = vmx::pin_based::nmi_exiting;
    r.setup.options.primary |= vmx::primary::use_msr_bitmaps;
    r.setup.more.emplace_back(field::msr_bitmap_address, 0x8000);
    r.setup.options.guest_rflags = 2;
    std::uint64_t awake = 0, sti_at = 0;
    r.run_guest([&]() -> program {
      co_await isa::compute(cycles{20'000 - r.now().count()});
      sti_at = r.now().count();
      co_await isa::sti();
      co_await isa::hlt();
      awake = r.now().count();
      co_await rig::sleep();
    });
    r.run_host([&]() -> program {
      co_await rig::enable_apic();
      co_await isa::vmlaunch();
    });
    r.interrupt(0, cycles{19'998 + shift}, 0x51);
    r.hw.run_until(cycles{50'000});
    ASSERT_EQ(sti_at, 20'000u);
    const std::uint64_t halted = 20'014, at = 19'998 + shift;
    EXPECT_EQ(r.log.of<interrupt_fact>().at(0).at().count(), at <= halted ? halted : at + wake_latency);
    EXPECT_GT(awake, 0u) << "lost at " << at;
  }
}

TEST(halted_guest, with_an_open_window_does_not_halt) {
  halting_rig r;
  r.setup.options.primary = vmx::primary::interrupt_window_exiting;
  r.setup.options.guest_rflags = 2;
  std::uint64_t sti = 0;
  r.run_guest([&]() -> program {
    co_await isa::sti();
    sti = r.now().count();
    co_await isa::hlt();
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::interrupt_window);
    EXPECT_EQ(state_of(r).activity, 1u);
    EXPECT_EQ(r.exits().back()->began.count(), sti + 10);
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  EXPECT_TRUE(r.log.of<halt_fact>().empty());
}

// -- waiting for SIPI, and shutdown -----------------------------------------------------------------------------------

TEST(inactive_guest, waiting_for_sipi_exits_with_the_start_up_vector_and_with_nothing_else) {
  vmx_rig r;
  std::uint64_t started = 0;
  r.setup.more.emplace_back(field::guest_activity_state, 3);
  r.setup.options.pin |= vmx::pin_based::activate_vmx_preemption_timer;
  r.setup.more.emplace_back(field::vmx_preemption_timer_value, 1);
  r.run_guest([&]() -> program {
    started = r.now().count();
    co_await isa::cpuid(0);
  });
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::startup_ipi);
    EXPECT_EQ(exit.qualification, 0x9Au);
    EXPECT_EQ(r.exits().back()->qualification, 0x9Au);
    EXPECT_EQ(r.exits().back()->began.count(), 30'000 + wake_latency);
    EXPECT_EQ(state_of(r).activity, 3u) << "active only after the exit";
    EXPECT_EQ(r.field(field::guest_rip), test_guest.rip());
    EXPECT_TRUE(r.hw.cpu(0).local_apic().requests().test(0x51)) << "held back, not lost";
    EXPECT_EQ(started, 0u);
    co_await isa::wrmsr(apic::msr::svr, 0xFF);
    co_await isa::vmwrite(field::guest_activity_state, 0);
    co_await isa::vmwrite(field::pin_based_controls, r.field(field::pin_based_controls) &
                                                         ~std::uint64_t{vmx::pin_based::activate_vmx_preemption_timer |
                                                                        vmx::pin_based::external_interrupt_exiting});
    co_await isa::vmwrite(field::guest_rflags, 2);
    exit = co_await isa::vmresume();
    EXPECT_EQ(exit.reason, exit_reason::cpuid);
  });
  r.interrupt(0, cycles{20'000}, 0x51);
  r.interrupt(0, cycles{30'000}, 0x9A, apic::delivery_mode::startup);
  r.interrupt(0, cycles{30'010}, 0x9B, apic::delivery_mode::startup);
  r.hw.run_until(cycles{100'000});
  EXPECT_TRUE(r.done);
  EXPECT_GT(started, 30'000u);
  r.hw.check_accounting();
}

TEST(inactive_guest, in_shutdown_ignores_interrupts_and_exits_with_an_nmi) {
  vmx_rig r;
  r.setup.more.emplace_back(field::guest_activity_state, 2);
  r.run_guest(rig::sleep);
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::exception_or_nmi);
    EXPECT_EQ(state_of(r).activity, 2u);
    EXPECT_EQ(r.exits().back()->began.count(), 30'000 + wake_latency);
  });
  r.interrupt(0, cycles{20'000}, 0x51);
  r.interrupt(0, cycles{30'000}, 0, apic::delivery_mode::nmi);
  r.hw.run_until(cycles{100'000});
  EXPECT_TRUE(r.done);
}

// -- the preemption timer ---------------------------------------------------------------------------------------------

TEST(preemption_timer, expires_at_a_multiple_of_its_tick_in_the_cycle_the_rule_gives) {
  for (std::uint64_t delay = 0; delay < 40; delay += 3)
    for (const std::uint32_t value : {1u, 2u, 100u}) {
      vmx_rig r;
      const unsigned shift = r.hw.config().capabilities.preemption_timer_shift();
      r.setup.options.pin |= vmx::pin_based::activate_vmx_preemption_timer;
      r.setup.options.vm_exit |= vmx::vm_exit_control::save_vmx_preemption_timer_value;
      r.setup.more.emplace_back(field::vmx_preemption_timer_value, value);
      std::uint64_t entered = 0;
      r.run_guest(rig::sleep);
      r.run_host([&]() -> program {
        co_await isa::compute(cycles{1 + delay});
        entered = r.now().count() + entry_cost;
        const vmx::exit_info exit = co_await isa::vmlaunch();
        EXPECT_EQ(exit.reason, exit_reason::preemption_timer);
        EXPECT_EQ(r.field(field::vmx_preemption_timer_value), 0u);
      });
      r.hw.run_until(cycles{50'000});
      ASSERT_TRUE(r.done);
      EXPECT_EQ(r.exits().at(0)->began.count(), ((entered >> shift) + value) << shift);
      EXPECT_EQ(r.exits()[0].header.cause, r.log.of<timer_fired_fact>().at(0).header.id);
      EXPECT_EQ(r.log.of<timer_fired_fact>()[0]->preemption_timer, 1);
    }
}

TEST(preemption_timer, of_value_zero_exits_before_any_instruction) {
  vmx_rig r;
  r.setup.options.pin |= vmx::pin_based::activate_vmx_preemption_timer;
  std::uint64_t entered = 0;
  r.run_guest([]() -> program {
    ADD_FAILURE();
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    entered = r.now().count() + entry_cost;
    EXPECT_EQ((co_await isa::vmlaunch()).reason, exit_reason::preemption_timer);
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(r.exits().at(0)->began.count(), entered);
}

TEST(preemption_timer, lets_an_instruction_of_the_cycle_before_complete_and_stops_one_of_its_cycle) {
  int completed = 0, stopped = 0;
  for (std::uint64_t length = 3060; length < 3210; ++length) {
    vmx_rig r;
    const unsigned shift = r.hw.config().capabilities.preemption_timer_shift();
    r.setup.options.pin |= vmx::pin_based::activate_vmx_preemption_timer;
    r.setup.more.emplace_back(field::vmx_preemption_timer_value, 3200 >> shift);
    std::uint64_t at = 0, entered = 0;
    r.run_guest([&]() -> program {
      entered = r.now().count();
      co_await isa::compute(cycles{length});
      at = r.now().count();
      co_await isa::cpuid(0);
    });
    exit_reason first{};
    r.run_host([&]() -> program { first = (co_await isa::vmlaunch()).reason; });
    r.hw.run_until(cycles{50'000});
    const std::uint64_t expiry = ((entered >> shift) + (3200 >> shift)) << shift;
    if (entered + length < expiry) {
      EXPECT_EQ(first, exit_reason::cpuid);
      EXPECT_EQ(at, entered + length);
      ++completed;
    } else {
      EXPECT_EQ(first, exit_reason::preemption_timer) << "also in its very cycle";
      EXPECT_EQ(at, 0u);
      ++stopped;
    }
  }
  EXPECT_GT(completed, 5);
  EXPECT_GT(stopped, 5);
}

TEST(preemption_timer, saves_what_is_left_where_asked_and_wakes_a_halted_guest) {
  for (const bool save : {false, true}) {
    vmx_rig r;
    const unsigned shift = r.hw.config().capabilities.preemption_timer_shift();
    r.setup.options.primary = 0;
    r.setup.options.pin |= vmx::pin_based::activate_vmx_preemption_timer;
    if (save) r.setup.options.vm_exit |= vmx::vm_exit_control::save_vmx_preemption_timer_value;
    r.setup.more.emplace_back(field::vmx_preemption_timer_value, 1000);
    std::uint64_t entered = 0, left = 0, again = 0;
    r.run_guest([&]() -> program {
      entered = r.now().count();
      co_await isa::compute(cycles{5000});
      left = r.now().count();
      co_await isa::cpuid(0);
      again = r.now().count();
      co_await isa::hlt();
    });
    r.run_host([&]() -> program {
      const vmx::exit_info exit = co_await isa::vmlaunch();
      const std::uint64_t rest = 1000 - ((left >> shift) - (entered >> shift));
      EXPECT_EQ(r.field(field::vmx_preemption_timer_value), save ? rest : 1000u);
      co_await skip(exit);
      EXPECT_EQ((co_await isa::vmresume()).reason, exit_reason::preemption_timer);
      EXPECT_EQ(state_of(r).activity, 1u);
      EXPECT_EQ(r.exits().back()->began.count(), (((again >> shift) + (save ? rest : 1000)) << shift) + wake_latency);
    });
    r.hw.run_until(cycles{400'000});
    EXPECT_TRUE(r.done);
  }
}

// -- NMI, INIT, priorities --------------------------------------------------------------------------------------------

TEST(exits, of_nmi_and_init) {
  vmx_rig r;
  r.run_guest(rig::sleep);
  r.run_host([&]() -> program {
    vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::exception_or_nmi);
    EXPECT_EQ(exit.interruption_information, 0x8000'0202u);
    exit = co_await isa::vmresume();
    EXPECT_EQ(exit.reason, exit_reason::init_signal);
    EXPECT_EQ(exit.interruption_information, 0u);
    EXPECT_EQ(r.exits().back()->began.count(), 30'000u);
  });
  r.interrupt(0, cycles{20'000}, 0, apic::delivery_mode::nmi);
  r.interrupt(0, cycles{30'000}, 0, apic::delivery_mode::init);
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  EXPECT_NE(r.hw.cpu(0).active(), nullptr) << "the INIT is spent";
}

TEST(exits, because_of_an_nmi_block_further_ones_in_the_host_until_iret) {
  vmx_rig r;
  std::vector<std::uint64_t> handled;
  r.handler = [&](logical_cpu&, std::uint8_t vector) {
    handled.push_back(vector * 100'000 + r.now().count());
    return rig::acknowledge();
  };
  std::uint64_t opened = 0;
  r.run_guest(rig::sleep);
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    EXPECT_EQ((co_await isa::vmlaunch()).reason, exit_reason::exception_or_nmi);
    EXPECT_EQ(r.field(field::guest_interruptibility_state), 0u) << "the guest's blocking was none";
    co_await isa::compute(cycles{5000});
    EXPECT_TRUE(handled.empty());
    r.interrupt(0, r.now() + cycles{100}, 0x51);
    co_await isa::compute(cycles{200});
    opened = r.now().count() + 4;
    co_await isa::sti();
    co_await isa::pause();
  });
  r.interrupt(0, cycles{20'000}, 0, apic::delivery_mode::nmi);
  r.interrupt(0, cycles{22'000}, 0, apic::delivery_mode::nmi);
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  ASSERT_EQ(handled.size(), 2u);
  EXPECT_EQ(handled[0], 0x51 * 100'000 + opened + 40);
  EXPECT_EQ(handled[1], 2 * 100'000 + opened + 40 + 200 + 80 + 80) << "the IRET of any handler unblocks";
}

TEST(exits, an_init_in_root_operation_or_during_a_transition_waits_for_the_guest) {
  // Sweep it over an exit, the host and an entry: it is never lost, never resets, and exits from the guest.
  for (std::uint64_t at = 19'990; at < 20'000 + exit_cost + 100 + entry_cost + 10; at += 7) {
    vmx_rig r;
    r.run_guest([&]() -> program {
      co_await isa::compute(cycles{20'000 - r.now().count()});
      co_await isa::cpuid(0);
      co_await rig::sleep();
    });
    std::vector<exit_reason> reasons;
    r.run_host([&]() -> program {
      vmx::exit_info exit = co_await isa::vmlaunch();
      for (int i = 0; i < 2; ++i) {
        reasons.push_back(exit.reason);
        if (exit.reason == exit_reason::cpuid) co_await skip(exit);
        exit = co_await isa::vmresume();
      }
    });
    r.interrupt(0, cycles{at}, 0, apic::delivery_mode::init);
    r.hw.run_until(cycles{50'000});
    ASSERT_NE(r.hw.cpu(0).active(), nullptr) << at;
    ASSERT_EQ(r.boots.size(), 1u);
    ASSERT_EQ(reasons, (at <= 20'000 ? std::vector<exit_reason>{exit_reason::init_signal, exit_reason::cpuid}
                                     : std::vector<exit_reason>{exit_reason::cpuid, exit_reason::init_signal}))
        << at;
  }
}

TEST(exits, a_start_up_ipi_is_dropped_by_a_running_guest) {
  vmx_rig r;
  r.run_guest(rig::sleep);
  r.run_host([]() -> program { co_await isa::vmlaunch(); });
  r.interrupt(0, cycles{20'000}, 1, apic::delivery_mode::startup);
  r.hw.run_until(cycles{50'000});
  EXPECT_FALSE(r.done);
  EXPECT_TRUE(r.exits().empty());
}

TEST(exits, of_one_boundary_come_in_the_order_of_their_priority) {
  // All of them during one uninterruptible instruction; each exit leaves those behind it pending. An NMI that the first
  // exit leaves pending is the host's.
  using reasons_list = std::vector<exit_reason>;
  for (const int urgent : {2, 1, 0}) {
    vmx_rig r;
    const unsigned shift = r.hw.config().capabilities.preemption_timer_shift();
    r.setup.options.pin |= vmx::pin_based::activate_vmx_preemption_timer;
    r.setup.options.vm_exit |= vmx::vm_exit_control::save_vmx_preemption_timer_value;
    r.setup.options.primary |= vmx::primary::interrupt_window_exiting;
    r.setup.options.guest_rflags = 2;
    word& w = r.hw.physical().word_at(0x20'0000);
    r.run_guest([&]() -> program {
      co_await isa::compute(cycles{20'000 - 4 - r.now().count()});
      co_await isa::sti();
      co_await isa::load(w);  // 110 cycles, in the shadow
      co_await rig::sleep();
    });
    reasons_list reasons;
    r.run_host([&]() -> program {
      co_await rig::enable_apic();
      const std::uint64_t expiry = urgent >= 1 ? 20'096 : 80'000;
      co_await isa::vmwrite(field::vmx_preemption_timer_value,
                            (expiry >> shift) - ((r.now().count() + 30 + entry_cost) >> shift));
      vmx::exit_info exit = co_await isa::vmlaunch();
      for (int i = 0; i < 5; ++i) {
        reasons.push_back(exit.reason);
        EXPECT_EQ(r.field(field::guest_rip), test_guest.rip());
        if (exit.reason == exit_reason::preemption_timer)
          co_await isa::vmwrite(field::vmx_preemption_timer_value, 0xFFFF'FFFF);
        if (exit.reason == exit_reason::interrupt_window)
          co_await isa::vmwrite(field::primary_processor_based_controls,
                                r.field(field::primary_processor_based_controls) &
                                    ~std::uint64_t{vmx::primary::interrupt_window_exiting});
        exit = co_await isa::vmresume();
      }
    });
    r.interrupt(0, cycles{20'010}, 0x51);
    r.interrupt(0, cycles{20'020}, 0, apic::delivery_mode::nmi);
    if (urgent >= 2) r.interrupt(0, cycles{20'030}, 0, apic::delivery_mode::init);
    r.hw.run_until(cycles{50'000});
    using e = exit_reason;
    reasons_list expected{e::interrupt_window, e::external_interrupt};
    if (urgent == 0) expected.insert(expected.begin(), e::exception_or_nmi);
    if (urgent >= 1) expected.insert(expected.begin(), e::preemption_timer);
    if (urgent >= 2) expected.insert(expected.begin(), e::init_signal);
    EXPECT_EQ(reasons, expected) << urgent;
    EXPECT_EQ(r.exits().at(0)->began, cycles{20'110});
    EXPECT_EQ(r.log.of<interrupt_fact>().size(), urgent == 0 ? 0u : 1u);
  }
}

// -- PAUSE-loop exiting -----------------------------------------------------------------------------------------------

class ple : public ::testing::TestWithParam<bool> {
 protected:
  static constexpr std::uint64_t window = 1000, period = 46;
  static constexpr std::uint64_t pauses = window / period + 2;  // the one that exits, counted from 1
  vmx_rig r{bare_config(1, GetParam())};
  word& w = r.hw.physical().word_at(0x20'0000);
  std::uint64_t first_pause = 0;
  spin_result result{};

  void go(std::uint64_t limit = 0) {
    r.setup.options.secondary = vmx::secondary::pause_loop_exiting;
    r.setup.options.ple_gap = 128;
    r.setup.options.ple_window = window;
    r.run_guest([this, limit]() -> program {
      co_await isa::load(w);
      first_pause = r.now().count() + 6;
      result = co_await isa::spin_while(w, spin_predicate::while_equal(0), test_spin, nullptr, limit);
      co_await isa::cpuid(0);
      co_await rig::sleep();
    });
  }
};
INSTANTIATE_TEST_SUITE_P(fast_and_stepped, ple, ::testing::Bool());

TEST_P(ple, exits_on_the_pause_beyond_the_window_and_leaves_rip_on_it) {
  go();
  r.run_host([&]() -> program {
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::pause);
    EXPECT_EQ(exit.instruction_length, 2u);
    EXPECT_EQ(r.field(field::guest_rip), test_spin.rip());
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(r.exits().at(0)->began.count(), first_pause + (pauses - 1) * period);
  EXPECT_EQ(static_cast<const spin_instruction*>(r.guest->in_flight())->iterations, pauses - 1);
}

TEST_P(ple, the_same_rip_executes_the_pause_again_and_the_next_skips_it) {
  for (const bool skips : {false, true}) {
    vmx_rig s{bare_config(1, GetParam())};
    word& held = s.hw.physical().word_at(0x20'0000);
    s.setup.options.secondary = vmx::secondary::pause_loop_exiting;
    s.setup.options.ple_window = window;
    spin_result got{};
    s.run_guest([&]() -> program {
      got = co_await isa::spin_while(held, spin_predicate::while_equal(0), test_spin, nullptr, 500);
      co_await isa::cpuid(0);
    });
    std::uint64_t exits = 0;
    std::vector<std::uint64_t> entered, left;
    s.run_host([&]() -> program {
      vmx::exit_info exit = co_await isa::vmlaunch();
      for (; exit.reason == exit_reason::pause; ++exits) {
        left.push_back(s.exits().back()->began.count());
        if (skips) co_await skip(exit);
        entered.push_back(s.now().count() + entry_cost);
        exit = co_await isa::vmresume();
      }
    });
    s.hw.run_until(cycles{200'000});
    ASSERT_TRUE(s.done);
    EXPECT_EQ(got.iterations, 500u) << "a skipped PAUSE counts: the loop has gone round";
    EXPECT_TRUE(got.limit_reached);
    // Retried, each entry gives pauses - 1 PAUSEs; skipped, one more is passed over before them.
    const std::uint64_t per_entry = pauses - 1 + (skips ? 1 : 0);
    EXPECT_EQ(exits, skips ? 500 / per_entry : (500 - 1) / (pauses - 1));
    ASSERT_GE(entered.size(), 2u);
    // The window starts anew with the first PAUSE after the entry: at once, or after the load behind the skipped one.
    EXPECT_EQ(left[1] - entered[0], (pauses - 1) * period + (skips ? 6 : 0));
  }
}

TEST_P(ple, an_external_interrupt_of_the_same_boundary_wins) {
  for (int shift = -2; shift <= 2; ++shift) {
    vmx_rig s{bare_config(1, GetParam())};
    word& held = s.hw.physical().word_at(0x20'0000);
    s.setup.options.secondary = vmx::secondary::pause_loop_exiting;
    s.setup.options.ple_window = window;
    std::uint64_t pause = 0;
    s.run_guest([&]() -> program {
      co_await isa::load(held);
      pause = s.now().count() + 6;
      co_await isa::spin_while(held, spin_predicate::while_equal(0), test_spin);
    });
    std::vector<exit_reason> reasons;
    std::vector<std::uint64_t> rip;
    s.run_host([&]() -> program {
      co_await rig::enable_apic();
      reasons.push_back((co_await isa::vmlaunch()).reason);
      rip.push_back(s.field(field::guest_rip));
      co_await isa::wrmsr(apic::msr::eoi, 0);
      reasons.push_back((co_await isa::vmresume()).reason);
      rip.push_back(s.field(field::guest_rip));
    });
    s.hw.run_until(cycles{1});
    // The set-up takes the same time in every run: measured once.
    static std::uint64_t exit_at[2] = {0, 0};
    std::uint64_t& at = exit_at[GetParam()];
    if (at == 0) {
      s.hw.run_until(cycles{10'000});
      at = s.exits().at(0)->began.count();
      EXPECT_EQ(at, pause + (pauses - 1) * period);
      --shift;
      continue;
    }
    s.interrupt(0, cycles{static_cast<std::uint64_t>(static_cast<std::int64_t>(at) + shift)}, 0x51);
    s.hw.run_until(cycles{20'000});
    ASSERT_EQ(reasons.size(), 2u);
    if (shift <= 0) {
      EXPECT_EQ(reasons[0], exit_reason::external_interrupt) << shift;
      EXPECT_EQ(s.exits()[0]->began.count(), at) << "the boundary is before that PAUSE";
      EXPECT_EQ(rip[0], test_spin.rip()) << "and the PAUSE is still pending";
      EXPECT_EQ(reasons[1], exit_reason::pause);
      EXPECT_GT(s.exits()[1]->began.count(), at + window);
    } else {
      EXPECT_EQ(reasons[0], exit_reason::pause) << shift;
    }
  }
}

TEST_P(ple, an_exit_between_pauses_points_at_the_load) {
  go();
  r.run_host([&]() -> program {
    co_await rig::enable_apic();
    EXPECT_EQ((co_await isa::vmlaunch()).reason, exit_reason::external_interrupt);
    EXPECT_EQ(r.field(field::guest_rip), test_spin.rip() + 2);
    co_await isa::wrmsr(apic::msr::eoi, 0);
    EXPECT_EQ((co_await isa::vmresume()).reason, exit_reason::pause);
    co_await isa::vmwrite(field::guest_rip, test_spin.rip() + 4);
    co_await isa::vmresume();
  });
  r.hw.run_until(cycles{2000});
  while (r.now() <= cycles{first_pause} || first_pause == 0) r.hw.run_until(r.now() + cycles{1});
  r.interrupt(0, cycles{first_pause + 20}, 0x51);
  EXPECT_THROW(r.hw.run_until(cycles{50'000}), invariant_error) << "no instruction begins four bytes on";
  EXPECT_EQ(r.exits().at(0)->began.count(), first_pause + 40);
  EXPECT_EQ(r.exits().size(), 2u);
}

TEST_P(ple, user_mode_is_not_watched_and_root_mode_neither) {
  static constexpr code_location user_spin{"user_spin", 0x500000, 0, 3, bucket::spin};
  r.setup.options.secondary = vmx::secondary::pause_loop_exiting;
  r.setup.options.ple_window = window;
  spin_result user{}, root{};
  r.run_guest([&]() -> program {
    user = co_await isa::spin_while(w, spin_predicate::while_equal(0), user_spin, nullptr, 400);
    co_await isa::cpuid(0);
  });
  r.run_host([&]() -> program {
    root = co_await isa::spin_while(w, spin_predicate::while_equal(0), test_spin, nullptr, 400);
    EXPECT_EQ((co_await isa::vmlaunch()).reason, exit_reason::cpuid);
  });
  r.hw.run_until(cycles{100'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(user.iterations, 400u);
  EXPECT_EQ(root.iterations, 400u);
  const auto spins = r.log.of<spin_fact>();
  ASSERT_EQ(spins.size(), 2u);
  EXPECT_EQ(spins[0]->non_root, 0);
  EXPECT_EQ(spins[1]->non_root, 1);
}

// -- entries that fail ------------------------------------------------------------------------------------------------

TEST(entries, with_bad_controls_or_host_state_fail_with_their_numbers) {
  vmx_rig r;
  r.run_guest(rig::sleep);
  std::vector<std::uint32_t> numbers;
  r.run_host([&]() -> program {
    const auto attempt = [&](bool launch) -> program {
      try {
        if (launch)
          co_await isa::vmlaunch();
        else
          co_await isa::vmresume();
      } catch (const vm_fail& f) {
        numbers.push_back(f.number());
        EXPECT_EQ(r.field(field::vm_instruction_error), f.number());
      }
    };
    co_await attempt(false);  // not launched
    const std::uint64_t pin = r.field(field::pin_based_controls);
    co_await isa::vmwrite(field::pin_based_controls, 0xFFFF'FFFF);
    co_await attempt(true);
    co_await isa::vmwrite(field::pin_based_controls, pin);
    const std::uint64_t cr0 = r.field(field::host_cr0);
    co_await isa::vmwrite(field::host_cr0, 0);
    co_await attempt(true);
    co_await isa::vmwrite(field::host_cr0, cr0);
    r.interrupt(0, r.now() + cycles{1000}, 0, apic::delivery_mode::nmi);
    co_await isa::vmlaunch();
    co_await attempt(true);  // launched already
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  EXPECT_EQ(numbers, (std::vector<std::uint32_t>{5, 7, 8, 4}));
}

TEST(entries, with_bad_guest_state_end_as_exit_33_that_loads_the_host_state) {
  vmx_rig r;
  r.setup.more.emplace_back(field::host_gs_base, 0x2222);
  r.run_guest([]() -> program {
    ADD_FAILURE();
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    logical_cpu& cpu = co_await isa::this_cpu();
    cpu.set_gs_base(0x9999);
    co_await isa::sti();
    co_await isa::vmwrite(field::guest_rflags, 0);  // bit 1 must be 1
    co_await isa::vmwrite(field::vm_entry_interruption_information, 0x8000'0306);
    const cycles before = r.now();
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::entry_failure_guest_state);
    EXPECT_TRUE(exit.entry_failure);
    EXPECT_EQ(r.now() - before, cycles{50 + 40 + 50 + 40 + 90 + 8});
    EXPECT_EQ(r.field(field::exit_reason), 0x8000'0021u);
    EXPECT_EQ(r.field(field::vm_entry_interruption_information), 0x8000'0306u) << "valid stays";
    EXPECT_FALSE(cpu.interrupts_enabled());
    EXPECT_EQ(cpu.gs_base(), 0x2222u);
    co_await isa::vmwrite(field::guest_rflags, 2);
    co_await isa::vmwrite(field::vm_entry_interruption_information, 0);
    try {
      co_await isa::vmresume();
      ADD_FAILURE();
    } catch (const vm_fail& f) {
      EXPECT_EQ(f.number(), 5u) << "it was never launched";
    }
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_TRUE(r.done);
  EXPECT_TRUE(r.log.of<vm_entry_fact>().empty());
  r.hw.check_accounting();
}

TEST(entries, to_something_that_is_no_strand_are_errors) {
  for (const int what : {0, 1, 2}) {
    vmx_rig r;
    r.run_guest(rig::sleep);
    strand fresh{r.hw.names(), "not started"};
    strand* host = nullptr;
    host = &r.run_host([&]() -> program {
      if (what == 0) co_await isa::vmwrite(field::guest_rsp, 0x5000);
      if (what == 1) co_await isa::vmwrite(field::guest_rsp, fresh.rsp());
      if (what == 2) co_await isa::vmwrite(field::guest_rsp, host->rsp());
      co_await isa::vmlaunch();
    });
    EXPECT_THROW(r.hw.run_until(cycles{50'000}), invariant_error) << what;
  }
}

// -- who is on a CPU --------------------------------------------------------------------------------------------------

// CPU 0 runs two guests in turn and an idle host strand; CPU 1 waits for the first guest.
TEST(ground_truth, a_guest_strand_is_on_a_cpu_while_its_carrier_is_and_carries_it) {
  for (const bool stepped : {false, true}) {
    rig r{bare_config(2, stepped)};
    word& w = r.hw.physical().word_at(0x20'0000);
    spin_subject subject;
    strand* guests[2];
    for (strand*& g : guests)
      g = &r.make(
          "guest",
          []() -> program {
            for (;;) {
              co_await isa::compute(cycles{3000});
              co_await isa::cpuid(0);
            }
          },
          test_guest);
    vmcs_setup setups[2];
    strand* host = nullptr;
    strand& idle = r.make("idle", [&]() -> program {
      for (;;) {
        co_await isa::compute(cycles{1700});
        co_await isa::switch_to(*host);
      }
    });
    host = &r.run(0, [&]() -> program {
      co_await enter_root_operation(r.hw);
      co_await make_vmcs(r.hw, *guests[0], 0x3000, setups[0]);
      co_await make_vmcs(r.hw, *guests[1], 0x4000, setups[1]);
      bool launched[2] = {false, false};
      for (unsigned turn = 0;; ++turn) {
        const unsigned which = turn % 3 == 2 ? 1 : 0;
        co_await isa::vmptrld(which == 0 ? 0x3000 : 0x4000);
        if (launched[which])
          co_await isa::vmresume();
        else
          co_await isa::vmlaunch();
        launched[which] = true;
        co_await isa::vmwrite(field::guest_rip, test_guest.rip() + 2);
        if (turn % 4 == 1) co_await isa::switch_to(idle);
      }
    });
    r.run(1, [&]() -> program {
      co_await isa::compute(cycles{9000 - r.now().count()});
      subject.await(guests[0], r.now());
      co_await isa::spin_while(w, spin_predicate::while_equal(0), test_spin, &subject);
      co_await rig::sleep();
    });
    // An observer that only looks at the strands, cycle by cycle.
    std::uint64_t futile = 0, changes = 0;
    bool was = false;
    r.hw.run_until(cycles{9001});
    for (std::uint64_t c = 9001; c <= 60'000; ++c) {
      r.hw.run_until(cycles{c});
      const bool on = guests[0]->on_cpu() != nullptr;
      const strand* active = r.hw.cpu(0).active();
      ASSERT_EQ(on, active == guests[0] || (active == host && host->passenger() == guests[0])) << c;
      if (c % 1000 == 0) r.hw.check_accounting();
      changes += on != was;
      was = on;
      futile += c < 60'000 && !on;
    }
    EXPECT_GT(changes, 10u);
    r.hw.check_accounting();
    // The interval [c, c + 1) counts as the strand stood after cycle c; the spin began in cycle 9000.
    const accounting& a = r.hw.cpu(1).account();
    const std::uint64_t booked = a.total(world::root, bucket::spin_futile).count();
    const std::uint64_t useful = a.total(world::root, bucket::spin).count();
    EXPECT_EQ(booked + useful, 60'000u - 9000u);
    EXPECT_NEAR(static_cast<double>(booked), static_cast<double>(futile), 2.0);
    EXPECT_GT(futile, 5000u);
    // And the loop's own account of it.
    r.hw.physical().write<std::uint64_t>(0x20'0000, 1);
    r.hw.run_until(cycles{61'000});
    r.hw.check_accounting();
    EXPECT_EQ(r.log.of<spin_fact>().at(0)->futile, r.hw.cpu(1).account().total(world::root, bucket::spin_futile));
  }
}

TEST(ground_truth, a_subject_without_a_name_counts_as_useful) {
  rig r{bare_config(1)};
  strand& other = r.make("other", rig::sleep);
  spin_subject s;
  EXPECT_EQ(s.running(cycles{100}), cycles{100});
  s.await(&other, cycles{100});
  EXPECT_EQ(s.running(cycles{150}), cycles{100});
  s.await(nullptr, cycles{200});
  EXPECT_EQ(s.running(cycles{250}), cycles{150});
  EXPECT_EQ(s.awaited(), nullptr);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
