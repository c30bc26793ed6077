#include <gtest/gtest.h>

#include "rig.hpp"

// Interrupts, timers and idling of one logical processor outside VMX operation.
namespace vmxsys::cpu::testing {
namespace {

constexpr std::uint64_t entry_cost = 200, iret_cost = 80, sti_cost = 4, hlt_cost = 10, wrmsr_x2apic = 80;
constexpr std::uint64_t wake_latency = 4600;
constexpr std::uint8_t timer_vector = 0xE0;
constexpr std::uint64_t lvt_periodic = 1u << 17 | timer_vector, lvt_tsc_deadline = 2u << 17 | timer_vector;
constexpr std::uint64_t divide_by_1 = 0xB;
// Commands for the interrupt-command register: level assert, then delivery mode and vector.
constexpr std::uint64_t icr_init = 0x4500, icr_startup = 0x4600;
constexpr std::uint64_t icr_self = 1u << 18;

struct handled {
  std::uint64_t at;
  std::uint8_t vector;
  friend bool operator==(const handled&, const handled&) = default;
};
std::ostream& operator<<(std::ostream& o, const handled& h) { return o << "vector " << +h.vector << " at " << h.at; }

/// Notes when interrupts are recognised; the handler acknowledges.
struct noting_rig : rig {
  explicit noting_rig(machine_config c = bare_config(1)) : rig{std::move(c)} {
    handler = [this](logical_cpu&, std::uint8_t vector) {
      seen.push_back({now().count(), vector});
      return body();
    };
  }
  static program body() {
    co_await isa::compute(cycles{50});
    co_await isa::wrmsr(apic::msr::eoi, 0);
  }
  std::vector<handled> seen;  // the cycle in which the interrupt was recognised
};

TEST(interrupts, a_compute_interrupted_at_any_cycle_resumes_with_exactly_what_is_left) {
  constexpr std::uint64_t start = 1000, length = 40;
  const std::uint64_t detour = entry_cost + 50 + wrmsr_x2apic + iret_cost;
  for (std::uint64_t at = start - 3; at <= start + length + 3; ++at) {
    noting_rig r;
    std::uint64_t end = 0, begin = 0;
    r.run(0, [&]() -> program {
      co_await rig::accept_interrupts();
      co_await isa::compute(cycles{start - r.now().count()});
      begin = r.now().count();
      co_await isa::compute(cycles{length});
      end = r.now().count();
      co_await rig::sleep();
    });
    r.interrupt(0, cycles{at}, 0x50);
    r.hw.run_until(cycles{10'000});
    ASSERT_EQ(r.seen.size(), 1u);
    EXPECT_EQ(r.seen[0].at, at) << "a compute is interrupted at once";
    // A message of the cycle in which a compute ends comes before the end of the compute.
    EXPECT_EQ(begin, at <= start ? start + detour : start) << at;
    EXPECT_EQ(end, at <= start + length ? start + length + detour : start + length) << at;
    r.hw.check_accounting();
    EXPECT_EQ(r.hw.cpu(0).account().total(vmx_operation::root, bucket::interrupt), cycles{detour});
  }
}

TEST(interrupts, a_compute_interrupted_many_times_loses_nothing) {
  noting_rig r;
  std::uint64_t begin = 0, end = 0;
  r.run(0, [&]() -> program {
    co_await rig::accept_interrupts();
    begin = r.now().count();
    co_await isa::compute(cycles{50'000});
    end = r.now().count();
    co_await rig::sleep();
  });
  for (std::uint64_t at = 300; at < 40'000; at += 1009) r.interrupt(0, cycles{at}, 0x50);
  r.hw.run_until(cycles{100'000});
  EXPECT_EQ(end - begin, 50'000 + r.seen.size() * (entry_cost + 50 + wrmsr_x2apic + iret_cost));
  EXPECT_GT(r.seen.size(), 35u);
}

TEST(interrupts, other_instructions_are_not_interrupted_in_the_middle) {
  for (std::uint64_t shift = 0; shift < 130; ++shift) {
    noting_rig r;
    word& w = r.hw.physical().word_at(0x20'0000);
    std::uint64_t loaded = 0;
    r.run(0, [&]() -> program {
      co_await rig::accept_interrupts();
      co_await isa::compute(cycles{1000 - r.now().count()});
      co_await isa::load(w);  // a miss: 110 cycles
      loaded = r.now().count();
      co_await rig::sleep();
    });
    r.interrupt(0, cycles{995 + shift}, 0x50);
    r.hw.run_until(cycles{10'000});
    const std::uint64_t at = 995 + shift;
    if (at <= 1000)
      ASSERT_EQ(r.seen.at(0).at, at);
    else if (at <= 1110)
      ASSERT_EQ(r.seen.at(0).at, 1110u);
    else
      ASSERT_EQ(r.seen.at(0).at, at);
    if (at > 1000) ASSERT_EQ(loaded, at <= 1110 ? 1110 + entry_cost + 50 + wrmsr_x2apic + iret_cost : 1110) << at;
  }
}

TEST(interrupts, cli_holds_them_and_sti_lets_them_in_after_one_more_instruction) {
  noting_rig r;
  std::vector<std::uint64_t> marks;
  r.run(0, [&]() -> program {
    co_await rig::accept_interrupts();
    co_await isa::cli();
    co_await isa::compute(cycles{1000 - r.now().count()});
    co_await isa::sti();  // 1004: shadow
    marks.push_back(r.now().count());
    co_await isa::pause();  // 1044: the window is open
    marks.push_back(r.now().count());
    co_await rig::sleep();
  });
  r.interrupt(0, cycles{500}, 0x50);
  r.hw.run_until(cycles{10'000});
  ASSERT_EQ(r.seen.size(), 1u);
  EXPECT_EQ(marks[0], 1004u);
  EXPECT_EQ(r.seen[0].at, 1044u);
  EXPECT_GT(marks[1], 1044u + entry_cost);
}

TEST(interrupts, the_shadow_of_sti_covers_one_instruction_of_a_compute_too) {
  for (const std::uint64_t length : {1, 2, 500}) {
    noting_rig r;
    r.run(0, [&]() -> program {
      co_await rig::accept_interrupts();
      co_await isa::cli();
      co_await isa::compute(cycles{1000 - r.now().count()});
      co_await isa::sti();
      co_await isa::compute(cycles{length});
      co_await rig::sleep();
    });
    r.interrupt(0, cycles{500}, 0x50);
    r.hw.run_until(cycles{10'000});
    ASSERT_EQ(r.seen.size(), 1u);
    EXPECT_EQ(r.seen[0].at, 1000 + sti_cost + 1) << length;
  }
}

TEST(interrupts, an_nmi_waits_for_the_iret_of_the_one_before) {
  noting_rig r;
  r.run(0, rig::sleep);
  for (std::uint64_t at : {1000, 1100, 1200}) r.interrupt(0, cycles{at}, 0, apic::delivery_mode::nmi);
  r.hw.run_until(cycles{10'000});
  const std::uint64_t handler = entry_cost + 50 + wrmsr_x2apic + iret_cost;
  EXPECT_EQ(r.seen, (std::vector<handled>{{1000, 2}, {1000 + handler, 2}})) << "one is remembered, not two";
}

TEST(interrupts, sti_with_interrupts_enabled_casts_no_shadow) {
  noting_rig r;
  r.run(0, [&]() -> program {
    co_await rig::accept_interrupts();
    co_await isa::compute(cycles{1000 - r.now().count()});
    co_await isa::sti();
    co_await isa::pause();
    co_await rig::sleep();
  });
  r.interrupt(0, cycles{1001}, 0x50);
  r.hw.run_until(cycles{10'000});
  EXPECT_EQ(r.seen.at(0).at, 1004u);
}

TEST(interrupts, sti_hlt_never_loses_a_wake_up) {
  // One interrupt at every cycle around cli; sti; hlt.
  for (std::uint64_t at = 980; at < 1060; ++at) {
    noting_rig r;
    std::uint64_t awake = 0;
    r.run(0, [&]() -> program {
      co_await rig::accept_interrupts();
      co_await isa::cli();
      co_await isa::compute(cycles{1000 - r.now().count()});
      co_await isa::sti();
      co_await isa::hlt();
      awake = r.now().count();
      co_await rig::sleep();
    });
    r.interrupt(0, cycles{at}, 0x50);
    r.hw.run_until(cycles{20'000});
    ASSERT_EQ(r.seen.size(), 1u);
    ASSERT_GT(awake, 0u) << "lost at " << at;
    const std::uint64_t halted = 1000 + sti_cost + hlt_cost;
    // Until the cycle in which the CPU would halt it does not sleep at all, later it wakes with the state's latency.
    EXPECT_EQ(r.seen[0].at, at <= halted ? halted : at + wake_latency) << at;
    EXPECT_EQ(r.log.of<halt_fact>().size(), at <= halted ? 0u : 1u);
    EXPECT_EQ(awake, r.seen[0].at + entry_cost + 50 + wrmsr_x2apic + iret_cost);
  }
}

TEST(interrupts, halted_with_interrupts_disabled_only_an_nmi_wakes) {
  noting_rig r;
  std::uint64_t awake = 0;
  r.run(0, [&]() -> program {
    co_await rig::enable_apic();
    co_await isa::hlt();
    awake = r.now().count();
    co_await rig::sleep();
  });
  r.interrupt(0, cycles{5000}, 0x50);
  r.hw.run_until(cycles{20'000});
  EXPECT_TRUE(r.hw.cpu(0).halted());
  EXPECT_EQ(awake, 0u);
  r.interrupt(0, cycles{30'000}, 0, apic::delivery_mode::nmi);
  r.hw.run_until(cycles{50'000});
  ASSERT_EQ(r.seen.size(), 1u);
  EXPECT_EQ(r.seen[0], (handled{30'000 + wake_latency, 2}));
  EXPECT_GT(awake, 30'000 + wake_latency);
  expect_exact_sequence(r.log, {fact<halt_fact>(&halt_fact::began, cycles{wrmsr_x2apic + hlt_cost}),
                                interrupt_of(2).at(cycles{30'000 + wake_latency})});
  r.hw.check_accounting();
  EXPECT_EQ(r.hw.cpu(0).account().total(vmx_operation::root, bucket::idle),
            cycles{30'000 + wake_latency - wrmsr_x2apic - hlt_cost});
}

TEST(interrupts, an_interrupt_on_the_way_out_of_idle_waits_for_the_wake_up) {
  noting_rig r;
  r.run(0, [&]() -> program {
    co_await rig::enable_apic();
    co_await isa::sti();
    co_await isa::hlt();
    co_await rig::sleep();
  });
  r.interrupt(0, cycles{5000}, 0x50);
  r.interrupt(0, cycles{6000}, 0x90);
  r.hw.run_until(cycles{20'000});
  ASSERT_EQ(r.seen.size(), 2u);
  EXPECT_EQ(r.seen[0], (handled{5000 + wake_latency, 0x90})) << "the higher priority first";
  EXPECT_EQ(r.seen[1].vector, 0x50);
}

TEST(interrupts, handlers_nest_by_priority_class_when_they_enable_interrupts) {
  rig r{bare_config(1)};
  std::vector<std::string> seen;
  r.handler = [&](logical_cpu& cpu, std::uint8_t vector) -> program {
    seen.push_back("+" + std::to_string(vector) + " depth " + std::to_string(cpu.active()->depth()));
    EXPECT_FALSE(cpu.interrupts_enabled());
    co_await isa::sti();
    co_await isa::compute(cycles{1000});
    co_await isa::cli();
    if (vector != 2) co_await isa::wrmsr(apic::msr::eoi, 0);
    seen.push_back("-" + std::to_string(vector));
  };
  strand& s = r.run(0, []() -> program {
    co_await rig::accept_interrupts();
    co_await rig::sleep();
  });
  r.interrupt(0, cycles{5000}, 0x50);
  r.interrupt(0, cycles{5400}, 0x5F);  // same class: after
  r.interrupt(0, cycles{5500}, 0x60);  // higher class: nested
  r.interrupt(0, cycles{5600}, 0x40);  // lower class: last
  r.interrupt(0, cycles{6000}, 0, apic::delivery_mode::nmi);
  r.hw.run_until(cycles{30'000});
  EXPECT_EQ(seen, (std::vector<std::string>{"+80 depth 2", "+96 depth 3", "+2 depth 4", "-2", "-96", "-80",
                                            "+95 depth 2", "-95", "+64 depth 2", "-64"}));
  EXPECT_EQ(s.depth(), 1u);
  EXPECT_TRUE(r.hw.cpu(0).interrupts_enabled());
  r.hw.check_accounting();
}

TEST(interrupts, the_task_priority_holds_classes_up_to_its_own_back) {
  noting_rig r;
  r.run(0, [&]() -> program {
    co_await rig::accept_interrupts();
    co_await isa::wrmsr(apic::msr::tpr, 0x50);
    co_await isa::compute(cycles{5000 - r.now().count()});
    co_await isa::wrmsr(apic::msr::tpr, 0x40);
    co_await rig::sleep();
  });
  r.interrupt(0, cycles{1000}, 0x5F);
  r.interrupt(0, cycles{2000}, 0x60);
  r.hw.run_until(cycles{20'000});
  ASSERT_EQ(r.seen.size(), 2u);
  EXPECT_EQ(r.seen[0], (handled{2000, 0x60}));
  EXPECT_EQ(r.seen[1].vector, 0x5F);
  EXPECT_GE(r.seen[1].at, 5000u + wrmsr_x2apic);
}

TEST(interrupts, a_spin_is_left_at_its_next_boundary_and_goes_on_where_it_was) {
  for (bool stepped : {false, true}) {
    for (std::uint64_t at = 2000; at < 2046; ++at) {
      noting_rig r{bare_config(1, stepped)};
      word& w = r.hw.physical().word_at(0x20'0000);
      std::uint64_t first_poll = 0;
      r.run(0, [&]() -> program {
        co_await rig::accept_interrupts();
        co_await isa::load(w);
        first_poll = r.now().count() + 6;
        co_await isa::spin_while(w, spin_predicate::while_equal(0), test_spin, nullptr, 100);
        co_await rig::sleep();
      });
      r.interrupt(0, cycles{at}, 0x50);
      r.hw.run_until(cycles{20'000});
      std::uint64_t boundary = first_poll;  // PAUSE issued here; the load 40 on
      bool at_pause = true;
      while (boundary < at) {
        boundary += at_pause ? 40 : 6;
        at_pause = !at_pause;
      }
      ASSERT_EQ(r.seen.at(0).at, boundary) << at;
      const auto spins = r.log.of<spin_fact>();
      ASSERT_EQ(spins.size(), 1u);
      EXPECT_EQ(spins[0]->iterations, 100u);
      EXPECT_EQ(spins[0].at(), cycles{first_poll + 100 * 46 + entry_cost + 50 + wrmsr_x2apic + iret_cost});
    }
  }
}

// -- timers -----------------------------------------------------------------------------------------------------------

TEST(timers, a_deadline_is_recognised_in_its_cycle) {
  for (std::uint64_t deadline : {5000, 5001, 7777}) {
    noting_rig r;
    r.run(0, [&]() -> program {
      co_await rig::accept_interrupts();
      co_await isa::wrmsr(apic::msr::lvt_timer, lvt_tsc_deadline);
      co_await isa::wrmsr(apic::msr::tsc_deadline, deadline);
      co_await rig::sleep();
    });
    r.hw.run_until(cycles{20'000});
    EXPECT_EQ(r.seen, (std::vector<handled>{{deadline, timer_vector}}));
    const auto fired = fact<timer_fired_fact>(&timer_fired_fact::preemption_timer, 0);
    expect_first_at(r.log, fired, cycles{deadline});
    expect_exact_sequence(r.log, {fired, interrupt_of(timer_vector).at(cycles{deadline})});
    EXPECT_EQ(r.log.of<interrupt_fact>().at(0).header.cause, r.log.of<timer_fired_fact>()[0].header.id);
  }
}

TEST(timers, a_deadline_in_the_past_fires_in_the_next_cycle) {
  noting_rig r;
  std::uint64_t written = 0;
  r.run(0, [&]() -> program {
    co_await rig::accept_interrupts();
    co_await isa::wrmsr(apic::msr::lvt_timer, lvt_tsc_deadline);
    co_await isa::wrmsr(apic::msr::tsc_deadline, 1);
    written = r.now().count();
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{20'000});
  EXPECT_EQ(r.seen, (std::vector<handled>{{written + 1, timer_vector}}));
}

TEST(timers, a_rewritten_deadline_forgets_the_first_and_zero_disarms) {
  noting_rig r;
  r.run(0, [&]() -> program {
    co_await rig::accept_interrupts();
    co_await isa::wrmsr(apic::msr::lvt_timer, lvt_tsc_deadline);
    co_await isa::wrmsr(apic::msr::tsc_deadline, 5000);
    co_await isa::wrmsr(apic::msr::tsc_deadline, 8000);
    co_await isa::compute(cycles{9000});
    co_await isa::wrmsr(apic::msr::tsc_deadline, 20'000);
    co_await isa::wrmsr(apic::msr::tsc_deadline, 0);
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{50'000});
  EXPECT_EQ(r.seen, (std::vector<handled>{{8000, timer_vector}}));
}

TEST(timers, a_periodic_timer_does_not_drift) {
  noting_rig r;
  std::uint64_t start = 0;
  r.run(0, [&]() -> program {
    co_await rig::accept_interrupts();
    co_await isa::wrmsr(apic::msr::divide_configuration, divide_by_1);
    co_await isa::wrmsr(apic::msr::lvt_timer, lvt_periodic);
    co_await isa::wrmsr(apic::msr::initial_count, 1000);
    start = r.now().count();
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{12'000});
  ASSERT_GE(r.seen.size(), 11u);
  for (std::size_t i = 0; i < r.seen.size(); ++i) EXPECT_EQ(r.seen[i].at, start + 1000 * (i + 1));
}

// -- interprocessor interrupts ----------------------------------------------------------------------------------------

TEST(ipi, flies_as_long_as_the_topology_says) {
  machine_config c = bare_config(1);
  c.shape = {2, 2, 1};
  for (unsigned target = 0; target < 4; ++target) {
    noting_rig r{c};
    std::uint64_t sent = 0;
    r.run(0, [&]() -> program {
      co_await rig::accept_interrupts();
      co_await isa::compute(cycles{5000 - r.now().count()});
      co_await isa::wrmsr(apic::msr::icr, std::uint64_t{target} << 32 | 0xD0);
      sent = r.now().count();
      co_await rig::sleep();
    });
    for (unsigned i = 1; i < 4; ++i)
      r.run(i, []() -> program {
        co_await rig::accept_interrupts();
        co_await rig::sleep();
      });
    r.hw.run_until(cycles{20'000});
    const std::uint64_t flight = target == 0 ? 60 : target == 1 ? 480 : 900;
    EXPECT_EQ(r.seen, (std::vector<handled>{{sent + flight, 0xD0}})) << target;
    const expected_fact leaves = fact<ipi_sent_fact>(&ipi_sent_fact::destination, target).on(0);
    const expected_fact arrives = arrival(0xD0).on(target);
    expect_sequence(r.log, {leaves, arrives, interrupt_of(0xD0).on(target)});
    expect_gap(r.log, leaves, arrives, cycles{flight});
    const auto& left = r.log.of<ipi_sent_fact>();
    const auto& came = r.log.of<ipi_arrived_fact>();
    ASSERT_EQ(left.size(), 1u);
    EXPECT_EQ(came.back().header.cause, left[0].header.id) << "an arrival names what was sent";
    EXPECT_EQ(r.log.of<interrupt_fact>().at(0).header.cause, came.back().header.id);
  }
}

TEST(ipi, messages_of_one_cycle_arrive_in_the_order_of_their_senders) {
  noting_rig r{bare_config(1)};
  r.run(0, []() -> program {
    co_await rig::accept_interrupts();
    co_await rig::sleep();
  });
  r.hw.post(0, cycles{5000}, 7, {apic::delivery_mode::fixed, 0x91, false});
  r.hw.post(0, cycles{5000}, 3, {apic::delivery_mode::fixed, 0x31, false});
  r.hw.post(0, cycles{5000}, 3, {apic::delivery_mode::fixed, 0x71, false});
  r.hw.post(0, cycles{4000}, 9, {apic::delivery_mode::fixed, 0x21, false});
  r.hw.run_until(cycles{20'000});
  expect_exact_sequence(r.log, {arrival(0x21), arrival(0x31), arrival(0x71), arrival(0x91)});
  // All of a cycle arrive before its boundary.
  expect_exact_sequence(r.log, {interrupt_of(0x21), interrupt_of(0x91), interrupt_of(0x71), interrupt_of(0x31)});
}

TEST(ipi, of_two_senders_in_one_cycle_the_lower_number_comes_first_whoever_sent_first) {
  machine_config c = bare_config(1);
  c.shape = {2, 2, 1};
  noting_rig r{c};
  for (unsigned i = 0; i < 4; ++i)
    r.run(i, [&, i]() -> program {
      co_await rig::accept_interrupts();
      // CPU 3 is on the other socket and sends 420 cycles before CPU 1 does.
      co_await isa::compute(cycles{(i == 3 ? 5000 : 5420) - r.now().count()});
      if (i == 3 || i == 1) co_await isa::wrmsr(apic::msr::icr, 0x40 + i);
      co_await rig::sleep();
    });
  r.hw.run_until(cycles{20'000});
  std::vector<std::pair<std::uint64_t, int>> arrived;
  for (const auto& f : r.log.of<ipi_arrived_fact>())
    if (f.header.id.source == 0) arrived.emplace_back(f.at().count(), f->vector);
  EXPECT_EQ(arrived, (std::vector<std::pair<std::uint64_t, int>>{{5980, 0x41}, {5980, 0x43}}));
}

TEST(ipi, without_flight_is_an_error) {
  rig r{bare_config(1)};
  r.run(0, rig::sleep);
  r.hw.run_until(cycles{100});
  EXPECT_THROW(r.interrupt(0, cycles{100}, 0x40), invariant_error);
  r.interrupt(0, cycles{101}, 0x40);
  machine_config c = bare_config(1);
  c.costs.interrupt.flight_self = cycles{0};
  rig s{c};
  s.run(0, []() -> program {
    co_await rig::enable_apic();
    co_await isa::wrmsr(apic::msr::icr, icr_self | 0xD0);
    co_await rig::sleep();
  });
  EXPECT_THROW(s.hw.run_until(cycles{1000}), invariant_error);
}

TEST(interrupts, without_a_table_are_an_error) {
  rig r{bare_config(1)};
  r.run(0, []() -> program {
    (co_await isa::this_cpu()).set_idtr_base(0);
    co_await rig::accept_interrupts();
    co_await rig::sleep();
  });
  r.interrupt(0, cycles{500}, 0x40);
  EXPECT_THROW(r.hw.run_until(cycles{1000}), invariant_error);
}

// -- INIT and SIPI ----------------------------------------------------------------------------------------------------

TEST(startup, application_processors_wait_for_a_sipi_and_start_where_it_says) {
  rig r{bare_config(3)};
  std::uint64_t started = 0, sent = 0;
  r.run(0, [&]() -> program {
    co_await isa::compute(cycles{1000});
    co_await isa::wrmsr(apic::msr::svr, 0x1FF);
    co_await isa::wrmsr(apic::msr::icr, std::uint64_t{2} << 32 | icr_init);  // INIT: it waits already
    co_await isa::compute(cycles{1000});
    co_await isa::wrmsr(apic::msr::icr, std::uint64_t{2} << 32 | icr_startup | 0x9A);
    sent = r.now().count();
    co_await isa::compute(cycles{1000});
    co_await isa::wrmsr(apic::msr::icr, std::uint64_t{2} << 32 | icr_startup | 0x33);  // the second is dropped
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{3000});
  EXPECT_EQ(r.boots.back().cpu, 2u);
  started = r.boots.back().when.count();
  EXPECT_EQ(r.boots.back().at, 0x9A000u);
  EXPECT_EQ(started, sent + 480);
  r.hw.run_until(cycles{10'000});
  EXPECT_EQ(r.boots.size(), 2u);
  EXPECT_EQ(r.boots[0].at, 0xFFFFFFF0u);
  EXPECT_EQ(r.boots[0].when, cycles{0});
  r.hw.check_accounting();
  EXPECT_EQ(r.hw.cpu(1).account().total(vmx_operation::root, bucket::wait_for_sipi), cycles{10'000});
  EXPECT_EQ(r.hw.cpu(2).account().total(vmx_operation::root, bucket::wait_for_sipi), cycles{started});
}

TEST(startup, init_stops_whatever_a_processor_does) {
  enum { computing, spinning, halted, waking, handling, loading, count };
  for (int what = 0; what < count; ++what)
    for (bool stepped : {false, true}) {
      rig r{bare_config(2, stepped)};
      word& w = r.hw.physical().word_at(0x20'0000);
      int rounds = 0;
      r.run(0, rig::sleep);
      strand& victim = r.run(1, [&]() -> program {
        ++rounds;
        co_await rig::accept_interrupts();
        co_await isa::wrmsr(apic::msr::lvt_timer, lvt_tsc_deadline);
        co_await isa::wrmsr(apic::msr::tsc_deadline, 50'000);
        co_await isa::compute(cycles{1900 - r.now().count()});
        switch (what) {
          case spinning:
            co_await isa::spin_while(w, spin_predicate::while_equal(0), test_spin);
            break;
          case halted:
          case waking:
            co_await isa::hlt();
            break;
          case loading:
            co_await isa::compute(cycles{50});
            co_await isa::load(w);
            break;
          default:
            break;
        }
        co_await rig::sleep();
      });
      if (what == waking) r.interrupt(1, cycles{1990}, 0x40);
      if (what == handling) r.interrupt(1, cycles{1900}, 0x40);
      r.interrupt(1, cycles{2000}, 0, apic::delivery_mode::init);
      r.hw.run_until(cycles{100'000});
      EXPECT_EQ(r.hw.cpu(1).active(), nullptr);
      EXPECT_EQ(victim.on_cpu(), nullptr);
      EXPECT_TRUE(r.log.of<timer_fired_fact>().empty()) << "INIT resets the local APIC's timer";
      EXPECT_EQ(r.hw.cpu(1).local_apic().software_enabled(), false);
      r.hw.check_accounting();
      EXPECT_EQ(r.hw.cpu(1).account().total(vmx_operation::root, bucket::wait_for_sipi), cycles{98'000 + 2});
      EXPECT_EQ(rounds, 1);
    }
}

TEST(startup, init_sends_the_bootstrap_processor_to_the_reset_vector) {
  rig r{bare_config(1)};
  r.run(0, rig::sleep);
  r.interrupt(0, cycles{1000}, 0, apic::delivery_mode::init);
  r.interrupt(0, cycles{2000}, 0x12, apic::delivery_mode::startup);
  r.hw.run_until(cycles{5000});
  ASSERT_EQ(r.boots.size(), 2u);
  EXPECT_EQ(r.boots[1].at, 0xFFFFFFF0u);
  EXPECT_EQ(r.boots[1].when, cycles{1001});
  r.hw.check_accounting();
}

TEST(startup, init_waits_while_the_processor_is_in_vmx_root_operation) {
  rig r{bare_config(2)};
  cycles off{0};
  r.run(0, rig::sleep);
  r.run(1, [&]() -> program {
    co_await enter_root_operation(r.hw);
    co_await isa::compute(cycles{5000 - r.now().count()});
    co_await isa::vmxoff();
    off = r.now();
    ADD_FAILURE() << "the INIT is taken by VMXOFF";
    co_await rig::sleep();
  });
  r.interrupt(1, cycles{2000}, 0, apic::delivery_mode::init);
  r.hw.run_until(cycles{4000});
  EXPECT_NE(r.hw.cpu(1).active(), nullptr);
  r.hw.run_until(cycles{10'000});
  EXPECT_EQ(r.hw.cpu(1).active(), nullptr);
  r.hw.check_accounting();
  EXPECT_EQ(r.hw.cpu(1).account().total(vmx_operation::root, bucket::wait_for_sipi), cycles{10'000 - 5200 + 2});
}

TEST(startup, a_cpu_without_software_is_an_error) {
  machine m{bare_config(1)};
  m.run_until(cycles{10});  // nobody is connected: nothing starts
  m.post(0, cycles{20}, 1, {apic::delivery_mode::init, 0, false});
  m.run_until(cycles{100});
  EXPECT_EQ(m.cpu(0).active(), nullptr);
  machine_config none = bare_config(1);
  none.shape = {0, 1, 1};
  EXPECT_THROW(machine{none}, std::invalid_argument);
}

// -- time-stamp counter -----------------------------------------------------------------------------------------------

TEST(time_stamp, is_the_cycle_in_which_it_is_read) {
  rig r{bare_config(1)};
  std::uint64_t tsc = 0, msr = 0, at = 0, at_msr = 0;
  r.run(0, [&]() -> program {
    co_await isa::compute(cycles{1234});
    tsc = co_await isa::rdtsc();
    at = r.now().count();
    msr = co_await isa::rdmsr(0x10);
    at_msr = r.now().count();
    EXPECT_NE(co_await isa::rdmsr(0x480), 0u);
    EXPECT_EQ(co_await isa::rdmsr(0x3A), 5u);
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{2000});
  EXPECT_EQ(tsc, at);
  EXPECT_EQ(at, 1234u + 25u);
  EXPECT_EQ(msr, at_msr);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
