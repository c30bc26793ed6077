#include <gtest/gtest.h>

#include "exits.hpp"

// What VM entries and exits exchange, how long they take, and entries that fail.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;

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
    EXPECT_EQ(cpu.current_operation(), vmx_operation::non_root);
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
    co_await isa::vmwrite(field::guest_rflags, interrupts_on);
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
  std::uint64_t total = 0, done = r.log.of<vm_entry_fact>().at(0).at().count() - entry_cost;
  for (const auto& f : r.log.of<micro_step_fact>()) {
    if (f->step == vmx::transition_step::record_information) done = r.exits().at(0)->began.count();
    total += f->duration.count();
    EXPECT_EQ(f->done.count(), done += f->duration.count()) << "one step follows another";
  }
  EXPECT_EQ(done, r.exits().at(0).at().count());
  const auto step = [](vmx::transition_step s) { return fact<micro_step_fact>(&micro_step_fact::step, s); };
  using s = vmx::transition_step;
  expect_exact_sequence(r.log, {step(s::check_controls), step(s::check_host_state), step(s::check_guest_state),
                                step(s::load_guest_state), step(s::invalidate_at_entry), fact<vm_entry_fact>(),
                                step(s::record_information), step(s::save_guest_state), step(s::load_host_state),
                                step(s::invalidate_at_exit), exit_because(exit_reason::cpuid)});
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
  EXPECT_EQ(a.total(vmx_operation::non_root, bucket::kernel), cycles{10 * 500});
  EXPECT_EQ(a.total(vmx_operation::root, bucket::vm_exit), cycles{10 * exit_cost});
  EXPECT_EQ(a.total(vmx_operation::root, bucket::vm_entry), cycles{10 * entry_cost});
}

// -- entries that fail ------------------------------------------------------------------------------------------------

TEST(entries, with_bad_controls_or_host_state_fail_with_their_numbers) {
  vmx_rig r;
  r.run_guest(rig::sleep);
  using vmx::instruction_error;
  std::vector<instruction_error> errors;
  r.run_host([&]() -> program {
    const auto attempt = [&](bool launch) -> program {
      try {
        if (launch)
          co_await isa::vmlaunch();
        else
          co_await isa::vmresume();
      } catch (const vm_fail& f) {
        errors.push_back(static_cast<instruction_error>(f.number()));
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
  EXPECT_EQ(errors, (std::vector<instruction_error>{
                        instruction_error::vmresume_not_launched, instruction_error::entry_invalid_control_fields,
                        instruction_error::entry_invalid_host_state, instruction_error::vmlaunch_not_clear}));
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
    co_await isa::vmwrite(field::vm_entry_interruption_information, injected_ud);
    const cycles before = r.now();
    const vmx::exit_info exit = co_await isa::vmlaunch();
    EXPECT_EQ(exit.reason, exit_reason::entry_failure_guest_state);
    EXPECT_TRUE(exit.entry_failure);
    EXPECT_EQ(r.now() - before, cycles{50 + 40 + 50 + 40 + 90 + 8});
    EXPECT_EQ(r.field(field::exit_reason), vmx::exit_reason_flag::entry_failure |
                                               static_cast<std::uint64_t>(exit_reason::entry_failure_guest_state));
    EXPECT_EQ(r.field(field::vm_entry_interruption_information), injected_ud) << "valid stays";
    EXPECT_FALSE(cpu.interrupts_enabled());
    EXPECT_EQ(cpu.gs_base(), 0x2222u);
    co_await isa::vmwrite(field::guest_rflags, interrupts_off);
    co_await isa::vmwrite(field::vm_entry_interruption_information, 0);
    try {
      co_await isa::vmresume();
      ADD_FAILURE();
    } catch (const vm_fail& f) {
      EXPECT_EQ(static_cast<vmx::instruction_error>(f.number()), vmx::instruction_error::vmresume_not_launched);
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

}  // namespace
}  // namespace vmxsys::cpu::testing
