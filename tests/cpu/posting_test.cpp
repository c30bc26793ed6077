#include <gtest/gtest.h>

#include <vmxsys/cpu/program/system_instruction.hpp>

#include "guest_apic_rig.hpp"

// Posted-interrupt processing by a CPU that runs a guest: its steps, each at its cycle, and whatever can come between.
namespace vmxsys::cpu::testing {
namespace {

using apic::posting_step;
using vmx::exit_reason;

constexpr std::uint64_t acknowledge_cost = 120, clear_cost = 200, eoi_cost = 120, merge_cost = 260, raise_cost = 32,
                        evaluate_cost = 80, deliver_cost = 200, idt_cost = 200;
constexpr std::uint64_t posting_cost =
    acknowledge_cost + clear_cost + eoi_cost + merge_cost + raise_cost + evaluate_cost;
constexpr std::uint64_t wake_latency = 4600;

expected_fact step(posting_step which) { return fact<posting_step_fact>(&posting_step_fact::step, which); }
expected_fact step(posting_step which, unsigned value) {
  return fact<posting_step_fact>(&posting_step_fact::step, which, &posting_step_fact::value, value);
}
/// All the steps, one after the other, and no other.
void expect_processed_at(const guest_apic_rig& r, cycles began) {
  using s = posting_step;
  expect_exact_sequence(r.log, {step(s::acknowledge).at(began), step(s::clear_on), step(s::write_eoi),
                                step(s::merge_pir), step(s::raise_rvi), step(s::evaluate)});
}

TEST(posting, brings_an_interrupt_into_a_computing_guest_without_an_exit) {
  guest_apic_rig r;
  r.run_guest([]() -> program { co_await rig::sleep(); });
  r.start();
  r.post_at(cycles{20'000}, 0x41);
  r.notify_at(cycles{20'100});
  r.hw.run_until(cycles{40'000});

  EXPECT_TRUE(r.exits().empty());
  ASSERT_EQ(r.in_guest.size(), 1u);
  EXPECT_EQ(r.in_guest[0], (guest_apic_rig::seen{20'100 + posting_cost, 0x41}));
  EXPECT_TRUE(r.in_host.empty());

  std::uint64_t at = 20'100;
  const auto after = [&](std::uint64_t cost, const expected_fact& f) { return f.at(cycles{at += cost}); };
  using s = posting_step;
  expect_exact_sequence(
      r.log, {arrival(guest_apic_rig::notification_vector).at(cycles{at}),
              after(0, step(s::acknowledge, guest_apic_rig::notification_vector)),
              after(acknowledge_cost + clear_cost, step(s::clear_on, 1)), after(eoi_cost, step(s::write_eoi, 0)),
              after(merge_cost, step(s::merge_pir, 0x41)), after(raise_cost, step(s::raise_rvi, 0x41)),
              after(evaluate_cost, step(s::evaluate, 1)),
              fact<virtual_interrupt_fact>(&virtual_interrupt_fact::vector, 0x41, &virtual_interrupt_fact::rvi, 0),
              interrupt_of(0x41, vmx_operation::non_root)});
  const auto& steps = r.log.of<posting_step_fact>();
  ASSERT_EQ(steps.size(), 6u);
  for (std::size_t i = 1; i < 6; ++i) EXPECT_EQ(steps[i].header.cause, steps[i - 1].header.id);
  EXPECT_EQ(steps[0].header.cause, r.log.of<ipi_arrived_fact>().back().header.id);
  const auto delivered = r.log.of<virtual_interrupt_fact>();
  ASSERT_EQ(delivered.size(), 1u);
  EXPECT_EQ(delivered[0].header.cause, steps[5].header.id);
  EXPECT_EQ(r.log.of<interrupt_fact>().back().header.cause, delivered[0].header.id);

  EXPECT_TRUE(r.hw.cpu(0).local_apic().in_service().empty()) << "the physical interrupt is over";
  EXPECT_FALSE(apic::read_descriptor_info(r.hw.physical(), guest_apic_rig::descriptor).outstanding);
  EXPECT_FALSE(apic::any_posted(r.hw.physical(), guest_apic_rig::descriptor));
  EXPECT_FALSE(r.page().in_service(0x41)) << "the handler's EOI has ended it";
  r.hw.check_accounting();
  const accounting& a = r.hw.cpu(0).account();
  EXPECT_EQ(a.total(vmx_operation::non_root, bucket::interrupt).count(),
            posting_cost + deliver_cost + idt_cost + 4 + 50 + 40 + 80)
      << "the EOI is a virtualized WRMSR, then IRET";
}

TEST(posting, starts_at_the_boundary_at_which_an_exit_would) {
  // Around the end of an instruction that nothing interrupts, and in the middle of one that anything does.
  for (std::uint64_t at = 19'995; at <= 20'120; ++at) {
    guest_apic_rig r;
    word& w = r.hw.physical().word_at(0x20'0000);
    std::uint64_t loaded = 0;
    r.run_guest([&]() -> program {
      co_await isa::compute(cycles{20'000 - r.now().count()});
      co_await isa::load(w);  // a miss: 110 cycles
      loaded = r.now().count();
      co_await rig::sleep();
    });
    r.start();
    r.notify_at(cycles{at});
    r.hw.run_until(cycles{40'000});
    SCOPED_TRACE(at);
    expect_processed_at(r, cycles{at <= 20'000 ? at : std::max<std::uint64_t>(at, 20'110)});
    ASSERT_EQ(loaded, at <= 20'110 ? 20'110 + posting_cost : 20'110);
    expect_none(r.log, step(posting_step::evaluate, 1));  // nothing was posted
    EXPECT_TRUE(r.exits().empty());
  }
}

TEST(posting, around_an_entry_is_processed_at_the_first_boundary_of_the_guest) {
  std::uint64_t entered = 0;
  {
    guest_apic_rig probe;
    probe.run_guest([]() -> program { co_await rig::sleep(); });
    probe.start();
    probe.hw.run_until(cycles{20'000});
    entered = probe.log.of<vm_entry_fact>().at(0).at().count();
  }
  for (std::uint64_t at = entered - 247; at <= entered + 2; ++at) {
    guest_apic_rig r;
    r.run_guest([]() -> program { co_await rig::sleep(); });
    r.start();
    r.post_at(cycles{1}, 0x41);
    r.notify_at(cycles{at});
    r.hw.run_until(cycles{40'000});
    expect_processed_at(r, cycles{std::max(at, entered)});  // in flight, it waits in the local APIC
    EXPECT_EQ(r.in_guest.size(), 1u);
    EXPECT_TRUE(r.exits().empty());
  }
}

TEST(posting, once_an_exit_has_begun_belongs_to_the_next_entry) {
  for (const int offset : {-1, 0, 1, 100, 247, 248, 249}) {
    guest_apic_rig r;
    std::uint64_t called = 0;
    r.run_guest([&]() -> program {
      co_await isa::compute(cycles{20'000 - r.now().count()});
      co_await isa::vmcall(1);
      called = r.now().count();
      co_await rig::sleep();
    });
    r.start();
    r.post_at(cycles{1}, 0x41);
    r.notify_at(cycles{static_cast<std::uint64_t>(20'000 + offset)});
    r.hw.run_until(cycles{60'000});
    ASSERT_EQ(r.exits().size(), 1u);
    const auto steps = r.log.of<posting_step_fact>();
    ASSERT_EQ(steps.size(), 6u);
    if (offset <= 0) {  // a message of the cycle in which the VMCALL is issued comes before it
      EXPECT_EQ(steps[0].at().count(), 20'000u + static_cast<std::uint64_t>(offset + 1) - 1);
      EXPECT_GT(r.exits()[0]->began.count(), 20'000u + posting_cost);
    } else {
      EXPECT_EQ(r.exits()[0]->began.count(), 20'000u);
      EXPECT_EQ(steps[0].at(), r.log.of<vm_entry_fact>().at(1).at());
    }
    EXPECT_EQ(r.in_guest.size(), 1u);
    EXPECT_TRUE(r.in_host.empty());
    EXPECT_NE(called, 0u);
  }
}

TEST(posting, in_root_operation_is_an_ordinary_interrupt) {
  guest_apic_rig r;
  r.at_exit = [&](const vmx::exit_info&) -> program {
    co_await isa::sti();
    co_await isa::compute(cycles{5000});
    co_await isa::cli();
  };
  r.run_guest([&]() -> program {
    co_await isa::compute(cycles{20'000 - r.now().count()});
    co_await isa::vmcall(1);
    co_await rig::sleep();
  });
  r.start();
  r.post_at(cycles{19'000}, 0x41);
  r.notify_at(cycles{22'000});
  r.hw.run_until(cycles{60'000});
  EXPECT_EQ(r.in_host, (std::vector<guest_apic_rig::seen>{{22'000, guest_apic_rig::notification_vector}}));
  EXPECT_TRUE(r.in_guest.empty()) << "software must look at the descriptor before it enters";
  EXPECT_EQ(r.count<posting_step_fact>(), 0u);
}

TEST(posting, takes_the_notification_vector_only) {
  for (const int off : {-1, 0, 1}) {
    guest_apic_rig r;
    r.at_exit = [&](const vmx::exit_info& exit) -> program {
      EXPECT_EQ(exit.reason, exit_reason::external_interrupt);
      EXPECT_EQ(exit.interruption_information & 0xFF, guest_apic_rig::notification_vector + off);
      co_await isa::wrmsr(apic::msr::eoi, 0);
    };
    r.run_guest([]() -> program { co_await rig::sleep(); });
    r.start();
    r.notify_at(cycles{20'000}, static_cast<std::uint8_t>(guest_apic_rig::notification_vector + off));
    r.hw.run_until(cycles{40'000});
    EXPECT_EQ(r.exits().size(), off == 0 ? 0u : 1u);
    EXPECT_EQ(r.count<posting_step_fact>(), off == 0 ? 6u : 0u);
  }
}

TEST(posting, does_not_ask_for_if_but_the_virtual_interrupt_does) {
  guest_apic_rig r;
  std::uint64_t opened = 0;
  r.run_guest([&]() -> program {
    co_await isa::cli();
    co_await isa::compute(cycles{30'000 - r.now().count()});
    co_await isa::sti();
    opened = r.now().count();
    co_await isa::pause();
    co_await rig::sleep();
  });
  r.start();
  r.post_at(cycles{20'000}, 0x41);
  r.notify_at(cycles{20'100});
  r.hw.run_until(cycles{60'000});
  expect_processed_at(r, cycles{20'100});
  EXPECT_EQ(r.in_guest, (std::vector<guest_apic_rig::seen>{{opened + 40, 0x41}}));
  EXPECT_EQ(opened, 30'000 + posting_cost + 4) << "the compute lost exactly the processing";
}

TEST(posting, waits_for_the_shadow_of_an_sti) {
  guest_apic_rig r;
  r.run_guest([&]() -> program {
    co_await isa::cli();
    co_await isa::compute(cycles{20'000 - r.now().count()});
    co_await isa::sti();    // 20'004
    co_await isa::pause();  // 20'044
    co_await rig::sleep();
  });
  r.start();
  r.notify_at(cycles{20'002});
  r.hw.run_until(cycles{40'000});
  expect_processed_at(r, cycles{20'044});
}

TEST(posting, is_interrupted_by_nothing) {
  for (std::uint64_t shift = 0; shift <= posting_cost + 2; shift += shift < 4 || shift > posting_cost - 3 ? 1 : 53) {
    guest_apic_rig r;
    std::vector<std::uint64_t> began;
    r.at_exit = [&](const vmx::exit_info& exit) -> program {
      EXPECT_EQ(exit.reason, exit_reason::exception_or_nmi);
      co_return;
    };
    r.run_guest([]() -> program { co_await rig::sleep(); });
    r.start();
    r.notify_at(cycles{20'000});
    r.interrupt(0, cycles{20'000 + shift}, 0, apic::delivery_mode::nmi);
    r.hw.run_until(cycles{60'000});
    ASSERT_EQ(r.exits().size(), 1u);
    const std::uint64_t done = 20'000 + posting_cost;
    if (shift == 0)  // an NMI comes first
      EXPECT_EQ(r.exits()[0]->began.count(), 20'000u);
    else
      EXPECT_EQ(r.exits()[0]->began.count(), std::max(20'000 + shift, done)) << shift;
    EXPECT_EQ(r.count<posting_step_fact>(), 6u);
  }
}

// A second vector posted at every cycle of the processing of the first: none is lost, and its notification is sent
// again once ON is clear.
TEST(posting, loses_no_vector_that_comes_in_between) {
  for (std::uint64_t shift = 1; shift <= posting_cost + 3; ++shift) {
    guest_apic_rig r;
    r.run_guest([]() -> program { co_await rig::sleep(); });
    r.start();
    r.post_at(cycles{19'990}, 0x41);
    r.notify_at(cycles{20'000});
    // An outside write of cycle c comes before the events of c.
    r.hw.run_until(cycles{20'000 + shift});
    apic::set_pir(r.hw.physical(), guest_apic_rig::descriptor, 0x42);
    const bool notifies = apic::announce(r.hw.physical(), guest_apic_rig::descriptor).has_value();
    if (notifies) r.notify_at(cycles{20'000 + shift + 10});
    r.hw.run_until(cycles{60'000});
    std::uint64_t cleared = acknowledge_cost + clear_cost;
    EXPECT_EQ(notifies, shift > cleared) << shift;
    EXPECT_EQ(r.count<posting_step_fact>(), notifies ? 12u : 6u);
    ASSERT_EQ(r.in_guest.size(), 2u) << shift;
    const std::uint64_t merged = cleared + eoi_cost + merge_cost;
    EXPECT_EQ(r.in_guest[0].vector, shift <= merged ? 0x42 : 0x41) << shift;
    EXPECT_TRUE(r.exits().empty());
  }
}

TEST(posting, wakes_a_halted_guest_only_for_an_interrupt_that_is_recognized) {
  for (const bool posted : {false, true}) {
    for (const bool open : {true, false}) {
      guest_apic_rig r;
      std::uint64_t woken = 0;
      r.run_guest([&]() -> program {
        if (!open) co_await isa::cli();
        co_await isa::compute(cycles{20'000 - r.now().count()});
        co_await isa::hlt();
        woken = r.now().count();
        co_await rig::sleep();
      });
      r.start();
      if (posted) r.post_at(cycles{29'000}, 0x41);
      r.notify_at(cycles{30'000});
      r.hw.run_until(cycles{80'000});
      EXPECT_TRUE(r.exits().empty());
      expect_processed_at(r, cycles{30'000 + wake_latency});  // the core leaves its idle state for it
      expect_sequence(r.log, {step(posting_step::evaluate, posted)});
      EXPECT_EQ(woken != 0, posted && open);
      EXPECT_EQ(r.in_guest.size(), posted && open ? 1u : 0u);
      EXPECT_EQ(r.hw.cpu(0).halted(), !(posted && open));
      r.hw.check_accounting();
    }
  }
}

TEST(posting, leaves_a_guest_halted_that_was_entered_so) {
  guest_apic_rig r;
  std::uint64_t ran = 0;
  r.setup.more.emplace_back(vmx::field::guest_activity_state, 1);
  r.run_guest([&]() -> program {
    co_await isa::compute(cycles{10});
    ran = r.now().count();
    co_await rig::sleep();
  });
  r.start();
  r.notify_at(cycles{30'000});
  r.hw.run_until(cycles{50'000});
  EXPECT_EQ(r.count<posting_step_fact>(), 6u);
  EXPECT_TRUE(r.hw.cpu(0).halted());
  EXPECT_EQ(ran, 0u);
  r.post_at(cycles{50'000}, 0x41);
  r.notify_at(cycles{50'100});
  r.hw.run_until(cycles{80'000});
  EXPECT_NE(ran, 0u);
  r.hw.check_accounting();
}

// The notification arrives while HLT is issued, when it has executed, and when the CPU sleeps.
TEST(posting, around_a_halt_is_never_lost) {
  for (std::uint64_t at = 19'998; at <= 20'014; ++at) {
    guest_apic_rig r;
    std::uint64_t woken = 0;
    r.run_guest([&]() -> program {
      co_await isa::cli();
      co_await isa::compute(cycles{20'000 - 4 - r.now().count()});
      co_await isa::sti();  // 20'000; HLT executes until 20'010
      co_await isa::hlt();
      woken = r.now().count();
      co_await rig::sleep();
    });
    r.start();
    r.post_at(cycles{19'000}, 0x41);
    r.notify_at(cycles{at});
    r.hw.run_until(cycles{80'000});
    EXPECT_NE(woken, 0u) << at;
    EXPECT_EQ(r.in_guest.size(), 1u);
    const std::uint64_t began = r.log.of<posting_step_fact>().at(0).at().count();
    if (at <= 19'996)
      EXPECT_EQ(began, at);
    else
      EXPECT_EQ(began, at <= 20'010 ? 20'010 : at + wake_latency) << at;
  }
}

TEST(posting, ends_mwait_and_tpause_though_nothing_is_recognized) {
  for (const bool tpause : {false, true}) {
    guest_apic_rig r;
    word& w = r.hw.physical().word_at(0x20'0000);
    std::uint64_t woken = 0;
    if (tpause) r.setup.options.secondary |= vmx::secondary::enable_user_wait_and_pause;
    r.run_guest([&]() -> program {
      co_await isa::compute(cycles{20'000 - r.now().count()});
      if (tpause) {
        co_await isa::tpause(1'000'000);
      } else {
        co_await isa::monitor(w);
        co_await isa::mwait();
      }
      woken = r.now().count();
      co_await rig::sleep();
    });
    r.start();
    r.notify_at(cycles{30'000});
    r.hw.run_until(cycles{80'000});
    EXPECT_TRUE(r.exits().empty());
    EXPECT_EQ(woken, 30'000 + (tpause ? 1 : wake_latency) + posting_cost);
    EXPECT_TRUE(r.in_guest.empty());
  }
}

TEST(posting, leaves_a_spin_loop_where_it_was) {
  for (const bool stepped : {false, true}) {
    guest_apic_rig r{guest_apic_config(2, stepped)};
    word& w = r.hw.physical().word_at(0x20'0000);
    std::uint64_t iterations = 0;
    r.run_guest([&]() -> program {
      iterations = (co_await isa::spin_while(w, spin_predicate::while_equal(0), test_spin)).iterations;
      co_await rig::sleep();
    });
    r.start();
    r.run(1, [&]() -> program {
      co_await isa::compute(cycles{40'000});
      co_await isa::store(w, 1);
      co_await rig::sleep();
    });
    r.post_at(cycles{20'000}, 0x41);
    r.notify_at(cycles{20'077});
    r.hw.run_until(cycles{80'000});
    EXPECT_TRUE(r.exits().empty());
    ASSERT_EQ(r.in_guest.size(), 1u);
    static std::uint64_t first = iterations;
    EXPECT_EQ(iterations, first);
    EXPECT_GT(iterations, 500u);
    r.hw.check_accounting();
  }
}

// The monitor trap flag counts instructions and deliveries; the processing is neither.
TEST(posting, is_no_instruction_to_the_monitor_trap_flag) {
  for (const bool posted : {false, true}) {
    guest_apic_rig r;
    r.setup.options.primary |= vmx::primary::monitor_trap_flag;
    std::uint64_t first = 0;
    r.at_exit = [&](const vmx::exit_info& exit) -> program {
      EXPECT_EQ(exit.reason, exit_reason::monitor_trap_flag);
      const std::uint64_t controls = co_await isa::vmread(vmx::field::primary_processor_based_controls);
      co_await isa::vmwrite(vmx::field::primary_processor_based_controls,
                            controls & ~std::uint64_t{vmx::primary::monitor_trap_flag});
    };
    r.run_guest([&]() -> program {
      co_await isa::pause();
      if (first == 0) first = r.now().count();
      co_await rig::sleep();
    });
    r.start();
    if (posted) r.post_at(cycles{1}, 0x41);
    r.hw.post(0, cycles{2500}, 2, {apic::delivery_mode::fixed, guest_apic_rig::notification_vector, false});
    r.hw.run_until(cycles{40'000});
    ASSERT_EQ(r.exits().size(), 1u);
    const std::uint64_t done = r.log.of<posting_step_fact>().at(5).at().count();
    const std::uint64_t began = r.exits()[0]->began.count();
    if (posted)
      EXPECT_EQ(began, done + deliver_cost + idt_cost) << "behind the delivery, before the handler";
    else
      EXPECT_EQ(began, done + 40) << "behind the PAUSE";
  }
}

// A poster on another CPU and the receiver want the same cache line.
TEST(posting, pays_for_the_descriptors_line_where_others_share_it) {
  guest_apic_rig r{guest_apic_config(2)};
  word& request = r.hw.physical().word_at(pid::pir_word_of(guest_apic_rig::descriptor, 0x41));
  word& information = r.hw.physical().word_at(guest_apic_rig::descriptor + pid::information);
  r.run_guest([]() -> program { co_await rig::sleep(); });
  r.start();
  r.run(1, [&]() -> program {
    co_await isa::compute(cycles{20'000 - r.now().count()});
    co_await isa::fetch_or(request, pid::pir_bit_of(0x41));
    EXPECT_EQ(co_await isa::fetch_or(information, pid::on) & pid::on, 0u);
    co_await isa::wrmsr(apic::msr::icr, guest_apic_rig::notification_vector);
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{60'000});
  EXPECT_TRUE(r.exits().empty());
  ASSERT_EQ(r.in_guest.size(), 1u);
  constexpr std::uint64_t transfer = 110;
  using s = posting_step;
  expect_gap(r.log, step(s::acknowledge), step(s::clear_on), cycles{acknowledge_cost + clear_cost + transfer});
  expect_gap(r.log, step(s::write_eoi), step(s::merge_pir), cycles{merge_cost});  // it has the line now
  expect_gap(r.log, step(s::acknowledge), step(s::evaluate), cycles{posting_cost + transfer});
  EXPECT_EQ(request.peek(), 0u);
  EXPECT_EQ(information.peek() & pid::on, 0u);
}

TEST(posting, makes_the_poster_wait_for_the_line_in_turn) {
  // The second post is issued while the receiver has asked for the line to merge.
  for (const std::uint64_t shift : {0, 5, 100, 200, 259, 260, 261}) {
    guest_apic_rig r{guest_apic_config(2)};
    word& request = r.hw.physical().word_at(pid::pir_word_of(guest_apic_rig::descriptor, 0x41));
    r.run_guest([]() -> program { co_await rig::sleep(); });
    r.start();
    const std::uint64_t merging = 20'000 + acknowledge_cost + 110 + clear_cost + eoi_cost;  // issued then
    std::uint64_t done = 0;
    r.run(1, [&]() -> program {
      co_await isa::fetch_or(request, 0);
      co_await isa::compute(cycles{merging + 1 + shift - r.now().count()});
      co_await isa::fetch_or(request, pid::pir_bit_of(0x42));
      done = r.now().count();
      co_await rig::sleep();
    });
    r.notify_at(cycles{20'000});
    r.hw.run_until(cycles{60'000});
    const auto steps = r.log.of<posting_step_fact>();
    ASSERT_EQ(steps.size(), 6u);
    EXPECT_EQ(steps[3].at().count(), merging + merge_cost);
    const std::uint64_t issued = merging + 1 + shift;
    EXPECT_EQ(done, std::max(issued, merging + merge_cost) + 20 + 110) << "behind the merge in the line's queue";
    EXPECT_EQ(steps[3]->value, 0) << "the bit comes too late";
    EXPECT_TRUE(apic::is_posted(r.hw.physical(), guest_apic_rig::descriptor, 0x42));
  }
}

}  // namespace
}  // namespace vmxsys::cpu::testing
