#include <gtest/gtest.h>

#include <vmxsys/apic/local/destination.hpp>
#include <vmxsys/cpu/program/system_instruction.hpp>

#include "rig.hpp"

// The way of interrupts between local APICs in any mode, and of EOIs to the I/O APICs.
namespace vmxsys::cpu::testing {
namespace {

constexpr physical_address page = 0xFEE0'0000;
constexpr std::uint64_t mmio_cost = 100;
constexpr std::uint64_t tpr = 0x80, eoi = 0xB0, ldr = 0xD0, dfr = 0xE0, svr = 0xF0, icr_low = 0x300, icr_high = 0x310;

machine_config xapic_config(unsigned cpus) {
  machine_config c = bare_config(cpus);
  c.boot_apic = apic::apic_mode::xapic;
  return c;
}

program write(std::uint64_t offset, std::uint32_t value) { co_await isa::mmio_write(page + offset, value, 4); }

/// Notes what each CPU takes; handlers end interrupts by a store to their page.
struct xapic_rig : rig {
  explicit xapic_rig(machine_config c) : rig{std::move(c)} {
    handler = [this](logical_cpu& cpu, std::uint8_t vector) {
      taken.push_back({cpu.number(), vector, now().count()});
      return end_of_interrupt();
    };
  }
  static program end_of_interrupt() { co_await write(eoi, 0); }
  /// A CPU that enables its APIC with logical ID `logical`, and waits.
  void receiver(unsigned cpu, std::uint8_t logical) {
    run(cpu, [logical]() -> program {
      co_await write(svr, 0x1FF);
      co_await write(ldr, std::uint32_t{logical} << 24);
      co_await isa::sti();
      co_await rig::sleep();
    });
  }
  struct arrival {
    unsigned cpu;
    std::uint8_t vector;
    std::uint64_t at;
  };
  std::vector<unsigned> cpus() const {
    std::vector<unsigned> all;
    for (const arrival& a : taken) all.push_back(a.cpu);
    std::sort(all.begin(), all.end());
    return all;
  }
  std::vector<arrival> taken;
};

TEST(xapic_page, answers_the_cpus_own_loads_and_stores) {
  xapic_rig r{xapic_config(2)};
  std::uint64_t before = 0, stored = 0, loaded = 0, value = 0, id = 0, half = 0;
  r.run(0, rig::sleep);
  r.run(1, [&]() -> program {
    before = r.now().count();
    co_await write(tpr, 0x35);
    stored = r.now().count();
    value = co_await isa::mmio_read(page + tpr, 4);
    loaded = r.now().count();
    id = co_await isa::mmio_read(page + 0x20, 4);
    half = co_await isa::mmio_read(page + tpr, 2);
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{10'000});
  EXPECT_EQ(stored, before + mmio_cost);
  EXPECT_EQ(loaded, stored + mmio_cost);
  EXPECT_EQ(value, 0x35u);
  EXPECT_EQ(r.hw.cpu(1).local_apic().task_priority(), 0x35);
  EXPECT_EQ(r.hw.cpu(0).local_apic().task_priority(), 0) << "everybody has a page of his own at the same address";
  EXPECT_EQ(id, 1u << 24);
  EXPECT_EQ(half, 0u) << "undefined accesses do nothing";
  r.hw.check_accounting();
}

TEST(xapic_page, sends_an_ipi_when_the_low_half_of_the_icr_is_written) {
  xapic_rig r{xapic_config(2)};
  std::uint64_t sent = 0;
  r.receiver(1, 2);
  r.run(0, [&]() -> program {
    co_await isa::compute(cycles{5000});
    co_await write(icr_high, 1u << 24);
    co_await write(icr_low, 0x4041);
    sent = r.now().count();
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{20'000});
  ASSERT_EQ(r.taken.size(), 1u);
  EXPECT_EQ(r.taken[0].cpu, 1u);
  EXPECT_EQ(r.taken[0].vector, 0x41);
  EXPECT_EQ(r.taken[0].at, sent + 480);
  EXPECT_TRUE(r.hw.cpu(1).local_apic().in_service().empty()) << "a store of the EOI register ends it";
}

struct destination_case {
  const char* name;
  std::uint32_t high, low;
  std::vector<unsigned> to;
  std::uint32_t dfr = 0xFFFFFFFF;
};

TEST(fabric, asks_every_xapic_for_its_address) {
  constexpr std::uint32_t logical = 1u << 11;
  const destination_case cases[] = {
      {"physical", 2u << 24, 0x4050, {2}},
      {"physical broadcast", 0xFFu << 24, 0x4050, {0, 1, 2, 3}},
      {"flat: two bits", 0x0Au << 24, 0x4050 | logical, {1, 3}},
      {"flat: nobody's bit", 0xF0u << 24, 0x4050 | logical, {}},
      {"cluster 0, two members", 0x06u << 24, 0x4050 | logical, {1, 2}, 0x0FFFFFFF},
      {"another cluster", 0x16u << 24, 0x4050 | logical, {}, 0x0FFFFFFF},
      {"all but the sender", 0, 0x4050 | 3u << 18, {1, 2, 3}},
      {"all with the sender", 0, 0x4050 | 2u << 18, {0, 1, 2, 3}},
      {"the sender", 0, 0x4050 | 1u << 18, {0}},
  };
  for (const destination_case& c : cases) {
    SCOPED_TRACE(c.name);
    xapic_rig r{xapic_config(4)};
    for (unsigned i = 0; i < 4; ++i)
      r.run(i, [&r, &c, i]() -> program {
        co_await write(svr, 0x1FF);
        co_await write(dfr, c.dfr);
        co_await write(ldr, 1u << (24 + i));
        co_await isa::sti();
        co_await isa::compute(cycles{5000 - r.now().count()});
        if (i == 0) {
          co_await write(icr_high, c.high);
          co_await write(icr_low, c.low);
        }
        co_await rig::sleep();
      });
    r.hw.run_until(cycles{20'000});
    EXPECT_EQ(r.cpus(), c.to);
  }
}

// A machine that changes over CPU by CPU: each APIC reads destinations in its own mode.
TEST(fabric, mixes_modes_while_software_changes_over_to_x2apic) {
  xapic_rig r{xapic_config(3)};
  r.handler = [&r](logical_cpu& cpu, std::uint8_t vector) {
    r.taken.push_back({cpu.number(), vector, r.now().count()});
    return cpu.number() == 1 ? xapic_rig::end_of_interrupt() : rig::acknowledge();
  };
  std::uint64_t gone = 0;
  const auto change_over = [&](unsigned cpu) -> program {
    const std::uint64_t base = co_await isa::rdmsr(apic::msr::apic_base);
    EXPECT_EQ(base & ~std::uint64_t{apic::apic_base::bootstrap}, page | apic::apic_base::enable);
    co_await isa::wrmsr(apic::msr::apic_base, base | apic::apic_base::x2apic);
    co_await isa::wrmsr(apic::msr::svr, 0x1FF);
    co_await isa::sti();
    if (cpu == 0) {
      gone = co_await isa::mmio_read(page + tpr, 4);
      co_await isa::compute(cycles{5000 - r.now().count()});
      co_await isa::wrmsr(apic::msr::icr, std::uint64_t{1} << 32 | 0x51);  // to an APIC in xAPIC mode
      co_await isa::compute(cycles{2000});
      co_await isa::wrmsr(apic::msr::icr, std::uint64_t{2} << 32 | 0x52);
      co_await isa::compute(cycles{2000});
      co_await isa::wrmsr(apic::msr::icr, std::uint64_t{0xFFFF'FFFF} << 32 | 0x53);
    }
    co_await rig::sleep();
  };
  r.run(0, [&]() -> program { return change_over(0); });
  r.receiver(1, 0x80);
  r.run(2, [&]() -> program { return change_over(2); });
  r.hw.run_until(cycles{20'000});
  EXPECT_EQ(gone, 0xFFFF'FFFFu) << "outside xAPIC mode the page belongs to the bus";
  ASSERT_EQ(r.taken.size(), 5u);
  EXPECT_EQ(r.taken[0].cpu, 1u);
  EXPECT_EQ(r.taken[1].cpu, 2u);
  EXPECT_EQ(r.cpus(), (std::vector<unsigned>{0, 1, 1, 2, 2}));
}

TEST(fabric, x2apic_is_not_entered_from_disabled_mode_and_a_disabled_apic_hears_nothing) {
  xapic_rig r{bare_config(2)};
  bool refused = false;
  std::uint64_t cr8 = 0;
  r.run(1, [&]() -> program {
    co_await rig::accept_interrupts();
    const std::uint64_t base = co_await isa::rdmsr(apic::msr::apic_base);
    co_await isa::wrmsr(apic::msr::apic_base, base & ~std::uint64_t{apic::apic_base::enable | apic::apic_base::x2apic});
    try {
      co_await isa::wrmsr(apic::msr::apic_base, base);
    } catch (const fault& f) {
      refused = f.what_fault() == instruction_fault::general_protection;
    }
    co_await isa::mov_to_cr(8, 7);
    cr8 = co_await isa::mov_from_cr(8);
    co_await rig::sleep();
  });
  r.run(0, [&]() -> program {
    co_await isa::compute(cycles{5000});
    co_await isa::wrmsr(apic::msr::icr, std::uint64_t{1} << 32 | 0x51);
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{20'000});
  EXPECT_TRUE(refused);
  EXPECT_TRUE(r.taken.empty());
  EXPECT_EQ(cr8, 7u) << "CR8 is a register of its own then";
}

TEST(fabric, an_apic_that_software_takes_back_to_xapic_mode_is_asked_for_its_address_there) {
  xapic_rig r{bare_config(2)};
  r.run(1, [&]() -> program {
    const std::uint64_t base = co_await isa::rdmsr(apic::msr::apic_base);
    co_await isa::wrmsr(apic::msr::apic_base, base & ~std::uint64_t{apic::apic_base::enable | apic::apic_base::x2apic});
    co_await isa::wrmsr(apic::msr::apic_base, base & ~std::uint64_t{apic::apic_base::x2apic});
    co_await write(svr, 0x1FF);
    co_await isa::sti();
    co_await rig::sleep();
  });
  r.run(0, [&]() -> program {
    co_await isa::compute(cycles{5000});
    co_await isa::wrmsr(apic::msr::icr, std::uint64_t{2} << 32 | 1u << 11 | 0x51);  // its logical ID in x2APIC mode
    co_await isa::compute(cycles{5000});
    co_await isa::wrmsr(apic::msr::icr, std::uint64_t{1} << 32 | 0x52);
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{20'000});
  ASSERT_EQ(r.taken.size(), 1u);
  EXPECT_EQ(r.taken[0].vector, 0x52);
}

TEST(fabric, a_lowest_priority_interrupt_goes_to_one_cpu_by_the_rule_of_the_machine) {
  for (const apic::arbitration_rule rule :
       {apic::arbitration_rule::round_robin, apic::arbitration_rule::lowest_priority}) {
    machine_config c = bare_config(3);
    c.arbitration = rule;
    rig r{c};
    std::vector<unsigned> winners;
    r.handler = [&](logical_cpu& cpu, std::uint8_t) {
      winners.push_back(cpu.number());
      return rig::acknowledge();
    };
    for (unsigned i = 1; i < 3; ++i)
      r.run(i, [i]() -> program {
        co_await rig::accept_interrupts();
        co_await isa::wrmsr(apic::msr::tpr, i == 1 ? 0x20 : 0x10);
        co_await rig::sleep();
      });
    r.run(0, [&]() -> program {
      co_await isa::compute(cycles{5000});
      for (int n = 0; n < 4; ++n) {
        co_await isa::wrmsr(apic::msr::icr, 0x6ull << 32 | 1u << 11 | 1u << 8 | 0x51);  // logical: CPUs 1 and 2
        co_await isa::compute(cycles{3000});
      }
      co_await rig::sleep();
    });
    r.hw.run_until(cycles{40'000});
    const std::vector<unsigned> turns{1, 2, 1, 2}, least{2, 2, 2, 2};
    EXPECT_EQ(winners, rule == apic::arbitration_rule::round_robin ? turns : least);
  }
}

TEST(fabric, a_lowest_priority_interrupt_goes_to_nobody_who_would_not_accept_it) {
  for (const apic::arbitration_rule rule :
       {apic::arbitration_rule::round_robin, apic::arbitration_rule::lowest_priority}) {
    machine_config c = bare_config(4);
    c.arbitration = rule;
    rig r{c};
    std::vector<unsigned> winners;
    r.handler = [&](logical_cpu& cpu, std::uint8_t) {
      winners.push_back(cpu.number());
      return rig::acknowledge();
    };
    // CPU 1 never enables its APIC, CPU 2 disables it again, CPU 3 has the highest priority of them.
    r.run(1, rig::sleep);
    r.run(2, []() -> program {
      co_await rig::accept_interrupts();
      co_await isa::compute(cycles{20'000});
      co_await isa::wrmsr(apic::msr::svr, 0xFF);
      co_await rig::sleep();
    });
    r.run(3, []() -> program {
      co_await rig::accept_interrupts();
      co_await isa::wrmsr(apic::msr::tpr, 0x20);
      co_await isa::compute(cycles{40'000});
      co_await isa::wrmsr(apic::msr::svr, 0xFF);
      co_await rig::sleep();
    });
    r.run(0, [&]() -> program {
      co_await isa::compute(cycles{5000});
      for (int n = 0; n < 6; ++n) {
        co_await isa::wrmsr(apic::msr::icr, 0xEull << 32 | 1u << 11 | 1u << 8 | 0x51);  // logical: CPUs 1, 2 and 3
        co_await isa::compute(cycles{10'000});
      }
      co_await rig::sleep();
    });
    r.hw.run_until(cycles{80'000});
    const std::vector<unsigned> turns{2, 3, 3, 3}, least{2, 2, 3, 3};
    EXPECT_EQ(winners, rule == apic::arbitration_rule::round_robin ? turns : least);
    std::size_t arrived = 0;
    for (const auto& a : r.log.of<ipi_arrived_fact>()) arrived += a->vector == 0x51;
    EXPECT_EQ(arrived, 4u) << "the last two are nobody's";
  }
}

TEST(fabric, flights_are_those_of_the_distance) {
  machine_config c = bare_config(1);
  c.shape = {2, 2, 2};
  c.costs.interrupt.flight_same_core = cycles{200};
  rig r{c};
  std::vector<std::uint64_t> sent(8), taken(8);
  r.handler = [&](logical_cpu& cpu, std::uint8_t) {
    taken[cpu.number()] = r.now().count();
    return rig::acknowledge();
  };
  for (unsigned i = 1; i < 8; ++i)
    r.run(i, []() -> program {
      co_await rig::accept_interrupts();
      co_await rig::sleep();
    });
  r.run(0, [&]() -> program {
    co_await rig::accept_interrupts();
    co_await isa::compute(cycles{5000});
    for (unsigned to = 0; to < 8; ++to) {
      co_await isa::cli();
      co_await isa::wrmsr(apic::msr::icr, std::uint64_t{to} << 32 | 0x51);
      sent[to] = r.now().count();
      co_await isa::sti();
      co_await isa::compute(cycles{3000});
    }
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{60'000});
  const std::uint64_t flights[] = {60, 200, 480, 480, 900, 900, 900, 900};
  for (unsigned to = 0; to < 8; ++to) EXPECT_EQ(taken[to] - sent[to], flights[to]) << "CPU " << to;
}

TEST(local_sources, interrupt_by_their_lvt_entries) {
  xapic_rig r{xapic_config(1)};
  r.run(0, [&]() -> program {
    co_await write(svr, 0x1FF);
    co_await write(0x350, 0x61);   // LINT0: fixed, edge
    co_await write(0x360, 0x400);  // LINT1: NMI
    co_await write(0x330, 0x62);   // thermal
    co_await isa::sti();
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{5000});
  r.hw.cpu(0).drive_lint(0, true);
  r.hw.run_until(cycles{7000});
  r.hw.cpu(0).drive_lint(0, false);
  r.hw.cpu(0).drive_lint(1, true);
  r.hw.run_until(cycles{9000});
  r.hw.cpu(0).raise_local(apic::msr::lvt_thermal);
  r.hw.run_until(cycles{11'000});
  ASSERT_EQ(r.taken.size(), 3u);
  EXPECT_EQ(r.taken[0].vector, 0x61);
  EXPECT_EQ(r.taken[0].at, 5000u);
  EXPECT_EQ(r.taken[1].vector, 2);
  EXPECT_EQ(r.taken[1].at, 7000u);
  EXPECT_EQ(r.taken[2].vector, 0x62);
  EXPECT_EQ(r.taken[2].at, 9000u);
}

TEST(local_sources, that_the_machine_has_nobody_for_state_that_they_are_lost) {
  xapic_rig r{xapic_config(2)};
  r.run(0, [&]() -> program {
    co_await write(svr, 0x1FF);
    co_await write(0x350, 0x700);  // LINT0: ExtINT
    co_await write(0x330, 0x200);  // thermal: SMI
    co_await isa::sti();
    co_await rig::sleep();
  });
  r.run(1, [&]() -> program {
    co_await write(svr, 0x1FF);
    co_await isa::compute(cycles{14'000 - r.now().count() - 2 * mmio_cost});
    co_await write(icr_high, 0);
    co_await write(icr_low, 0x4200);  // SMI
    co_await rig::sleep();
  });
  r.interrupt(0, cycles{4000}, 0, apic::delivery_mode::nmi);
  r.hw.run_until(cycles{5000});
  r.hw.cpu(0).drive_lint(0, true);
  r.hw.run_until(cycles{7000});
  r.hw.cpu(0).raise_local(apic::msr::lvt_thermal);
  r.interrupt(0, cycles{11'000}, 0x61, apic::delivery_mode::ext_int);
  r.hw.run_until(cycles{20'000});
  const auto lost = r.log.of<interrupt_lost_fact>();
  ASSERT_EQ(lost.size(), 4u);
  const std::uint64_t when[] = {5000, 7000, 11'000, 14'480};
  const unsigned modes[] = {7, 2, 7, 2}, vectors[] = {0, 0, 0x61, 0};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(lost[i].at().count(), when[i]);
    EXPECT_EQ(lost[i]->mode, modes[i]);
    EXPECT_EQ(lost[i]->vector, vectors[i]);
    EXPECT_EQ(lost[i].header.id.source, 0u);
  }
  const auto arrived = r.log.of<ipi_arrived_fact>();
  ASSERT_EQ(arrived.size(), 4u) << "the start of CPU 1, and three";
  EXPECT_EQ(lost[0].header.cause, fact_id{});
  EXPECT_EQ(lost[1].header.cause, fact_id{});
  EXPECT_EQ(lost[2].header.cause, arrived[2].header.id);
  EXPECT_EQ(lost[3].header.cause, arrived[3].header.id);
  ASSERT_EQ(r.taken.size(), 1u);
  EXPECT_EQ(r.taken[0].vector, 2);
}

struct listener final : eoi_listener {
  struct heard {
    std::uint8_t vector;
    unsigned cpu;
    std::uint64_t at;
  };
  void eoi(std::uint8_t vector, unsigned cpu, cycles now) override { all.push_back({vector, cpu, now.count()}); }
  std::vector<heard> all;
};

TEST(eoi_broadcasts, reach_listeners_after_their_flight_and_only_of_level_triggered_interrupts) {
  for (const std::uint64_t flight : {0, 1, 480}) {
    machine_config c = bare_config(2);
    c.costs.interrupt.eoi_broadcast = cycles{flight};
    rig r{c};
    listener first, second;
    r.hw.attach(first);
    r.hw.attach(second);
    std::vector<std::uint64_t> ended;
    r.handler = [&](logical_cpu&, std::uint8_t) -> program {
      return [](rig& of, std::vector<std::uint64_t>& to) -> program {
        co_await isa::wrmsr(apic::msr::eoi, 0);
        to.push_back(of.now().count());
      }(r, ended);
    };
    for (unsigned i = 0; i < 2; ++i)
      r.run(i, []() -> program {
        co_await rig::accept_interrupts();
        co_await rig::sleep();
      });
    r.hw.post(0, cycles{5000}, 2, {apic::delivery_mode::fixed, 0x40, false});
    r.hw.post(0, cycles{6000}, 2, {apic::delivery_mode::fixed, 0x41, true});
    r.hw.post(1, cycles{6000}, 2, {apic::delivery_mode::fixed, 0x42, true});  // the same cycle: the lower CPU first
    r.hw.run_until(cycles{20'000});
    for (const listener* l : {&first, &second}) {
      ASSERT_EQ(l->all.size(), 2u);
      EXPECT_EQ(l->all[0].vector, 0x41);
      EXPECT_EQ(l->all[0].cpu, 0u);
      EXPECT_EQ(l->all[1].vector, 0x42);
      EXPECT_EQ(l->all[1].cpu, 1u);
      EXPECT_EQ(l->all[0].at, ended[1] + std::max<std::uint64_t>(flight, 1));
      EXPECT_EQ(l->all[1].at, ended[2] + std::max<std::uint64_t>(flight, 1));
    }
    EXPECT_EQ(r.log.of<eoi_broadcast_fact>().size(), 2u);
  }
}

TEST(eoi_broadcasts, are_suppressed_by_the_spurious_vector_register) {
  rig r{bare_config(1)};
  listener l;
  r.hw.attach(l);
  r.run(0, []() -> program {
    co_await isa::wrmsr(apic::msr::svr, 0x11FF);
    co_await isa::sti();
    co_await rig::sleep();
  });
  r.hw.post(0, cycles{5000}, 1, {apic::delivery_mode::fixed, 0x41, true});
  r.hw.run_until(cycles{20'000});
  EXPECT_TRUE(l.all.empty());
}

}  // namespace
}  // namespace vmxsys::cpu::testing
