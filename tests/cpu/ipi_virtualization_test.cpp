#include <gtest/gtest.h>

#include <vmxsys/cpu/program/system_instruction.hpp>

#include "guest_apic_rig.hpp"

// IPIs between guests without an exit of either: IPI virtualization at the sender, posting at the receiver.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;

constexpr std::uint64_t write_cost = 4 + 50, table_cost = 50, pir_cost = 80, announce_cost = 80, send_cost = 40;
constexpr std::uint64_t flight = 480, self_cost = 30;

/// CPU 0 runs the sender; CPU 1 takes notifications in root operation.
struct sender_rig : guest_apic_rig {
  explicit sender_rig(machine_config c = guest_apic_config(2)) : guest_apic_rig{std::move(c)} {
    setup.options.tertiary = vmx::tertiary::ipi_virtualization;
    run(1, []() -> program {
      co_await rig::accept_interrupts();
      co_await rig::sleep();
    });
  }
  static std::uint64_t command(std::uint64_t to, std::uint64_t low) { return to << 32 | low; }
  /// A guest that sends once, at cycle 20'000.
  void send(std::uint64_t icr) {
    run_guest([this, icr]() -> program {
      co_await isa::compute(cycles{20'000 - now().count()});
      co_await isa::wrmsr(apic::msr::icr, icr);
      finished = now().count();
      co_await rig::sleep();
    });
    start();
  }
  std::uint64_t finished = 0;
};

TEST(ipi_virtualization, posts_and_notifies_step_by_step) {
  sender_rig r;
  r.send(sender_rig::command(1, 0x41));
  r.hw.run_until(cycles{40'000});
  EXPECT_TRUE(r.exits().empty());
  std::uint64_t at = 20'000;
  const auto step = [&](std::uint64_t cost, ipi_step which, unsigned value) {
    return fact<ipi_step_fact>(&ipi_step_fact::step, which, &ipi_step_fact::value, value, &ipi_step_fact::descriptor,
                               guest_apic_rig::descriptor_of(1))
        .at(cycles{at += cost});
  };
  constexpr std::uint8_t notification = guest_apic_rig::notification_vector;
  expect_exact_sequence(r.log,
                        {step(write_cost + table_cost, ipi_step::look_up, 0x41), step(pir_cost, ipi_step::set_pir, 1),
                         step(announce_cost, ipi_step::announce, 1), step(send_cost, ipi_step::notify, notification),
                         fact<ipi_sent_fact>(&ipi_sent_fact::destination, 1, &ipi_sent_fact::vector, notification)});
  expect_gap(r.log, fact<ipi_sent_fact>(), arrival(notification).on(1), cycles{flight});
  EXPECT_EQ(r.finished, at);
  EXPECT_EQ(r.log.of<ipi_sent_fact>()[0].header.cause, r.log.of<ipi_step_fact>()[3].header.id);
  ASSERT_EQ(r.in_host.size(), 1u);
  EXPECT_EQ(r.in_host[0], (guest_apic_rig::seen{at + flight, guest_apic_rig::notification_vector}));
  EXPECT_TRUE(apic::is_posted(r.hw.physical(), guest_apic_rig::descriptor_of(1), 0x41));
  EXPECT_TRUE(apic::read_descriptor_info(r.hw.physical(), guest_apic_rig::descriptor_of(1)).outstanding);
  EXPECT_EQ(r.page().read_64(apic::vapic::icr_low), sender_rig::command(1, 0x41));
  r.hw.check_accounting();
}

TEST(ipi_virtualization, notifies_nobody_who_has_been_or_does_not_want_to_be) {
  for (const bool outstanding : {true, false}) {
    sender_rig r;
    apic::write_descriptor_info(r.hw.physical(), guest_apic_rig::descriptor_of(1),
                                {outstanding, !outstanding, guest_apic_rig::notification_vector, 1});
    r.send(sender_rig::command(1, 0x41));
    r.hw.run_until(cycles{40'000});
    EXPECT_TRUE(r.exits().empty());
    EXPECT_EQ(r.count<ipi_step_fact>(), 3u);
    EXPECT_EQ(r.count<ipi_sent_fact>(), 0u);
    EXPECT_EQ(r.finished, 20'000 + write_cost + table_cost + pir_cost + announce_cost);
    EXPECT_TRUE(apic::is_posted(r.hw.physical(), guest_apic_rig::descriptor_of(1), 0x41));
  }
}

TEST(ipi_virtualization, exits_behind_the_write_where_the_command_or_the_table_does_not_allow_it) {
  struct obstacle {
    const char* name;
    std::uint64_t icr;
    bool exits;
  };
  for (const obstacle& o :
       {obstacle{"the last index", sender_rig::command(3, 0x41), false},
        obstacle{"beyond it", sender_rig::command(4, 0x41), true},
        obstacle{"broadcast", sender_rig::command(0xFFFF'FFFF, 0x41), true},
        obstacle{"vector 15", sender_rig::command(1, 15), true},
        obstacle{"vector 16", sender_rig::command(1, 16), false},
        obstacle{"lowest priority", sender_rig::command(1, 0x141), true},
        obstacle{"NMI", sender_rig::command(1, 0x400), true}, obstacle{"logical", sender_rig::command(1, 0x841), true},
        obstacle{"level", sender_rig::command(1, 0x8041), true},
        obstacle{"self", sender_rig::command(0, 0x4'0041), true},
        obstacle{"all but self", sender_rig::command(0, 0xC'0041), true}}) {
    SCOPED_TRACE(o.name);
    sender_rig r;
    r.at_exit = [&](const vmx::exit_info& exit) -> program {
      EXPECT_EQ(exit.reason, exit_reason::apic_write);
      EXPECT_EQ(exit.qualification, 0x300u);
      EXPECT_EQ(r.page().read_64(apic::vapic::icr_low), o.icr);
      co_return;
    };
    r.send(o.icr);
    r.hw.run_until(cycles{40'000});
    EXPECT_EQ(r.exits().size(), o.exits ? 1u : 0u);
    if (o.exits) EXPECT_EQ(r.exits()[0]->began.count(), 20'000 + write_cost);
    EXPECT_EQ(r.count<ipi_step_fact>(), o.exits ? 0u : 4u);
    EXPECT_NE(r.finished, 0u) << "the write is behind, not repeated";
  }
}

TEST(ipi_virtualization, faults_on_reserved_bits) {
  for (const std::uint64_t bit : {1u << 13, 1u << 16, 1u << 20, 1u << 31}) {
    sender_rig r;
    bool faulted = false;
    r.run_guest([&]() -> program {
      try {
        co_await isa::wrmsr(apic::msr::icr, sender_rig::command(1, 0x41) | bit);
      } catch (const fault&) {
        faulted = true;
      }
      co_await rig::sleep();
    });
    r.start();
    r.hw.run_until(cycles{40'000});
    EXPECT_TRUE(faulted);
    EXPECT_EQ(r.count<ipi_step_fact>(), 0u);
    EXPECT_TRUE(r.exits().empty());
  }
}

TEST(ipi_virtualization, works_from_the_xapic_page) {
  sender_rig r;
  r.setup.options.secondary &= ~std::uint64_t{vmx::secondary::virtualize_x2apic_mode};
  r.setup.options.secondary |= vmx::secondary::virtualize_apic_accesses;
  std::uint64_t finished = 0;
  r.run_guest([&]() -> program {
    co_await isa::compute(cycles{19'950 - r.now().count()});
    co_await isa::mmio_write(guest_apic_rig::access_page + 0x310, 1u << 24, 4);  // 50 cycles
    co_await isa::mmio_write(guest_apic_rig::access_page + 0x300, 0x41, 4);
    finished = r.now().count();
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{40'000});
  EXPECT_TRUE(r.exits().empty());
  EXPECT_EQ(r.count<ipi_step_fact>(), 4u);
  EXPECT_EQ(finished, 20'000 + 50 + table_cost + pir_cost + announce_cost + send_cost);
  EXPECT_EQ(r.in_host.size(), 1u);
}

// What counts is the command that lies in the page when the store is done.
TEST(ipi_virtualization, follows_a_store_of_any_part_of_the_command) {
  struct part {
    std::uint32_t before;
    std::uint64_t offset, value;
    unsigned bytes;
    std::uint32_t after;
    apic::icr_route becomes;
  };
  using route = apic::icr_route;
  for (const part& p :
       {part{0, 0x300, 0x41, 4, 0x41, route::ipi}, part{0, 0x300, 0x41, 2, 0x41, route::ipi},
        part{0, 0x300, 0x41, 1, 0x41, route::ipi}, part{0, 0x300, 0x0F, 1, 0x0F, route::exit},
        part{0, 0x300, 0x10, 1, 0x10, route::ipi}, part{0x100, 0x300, 0x41, 1, 0x141, route::exit},
        part{0x100, 0x300, 0x41, 2, 0x41, route::ipi}, part{0x142, 0x301, 0, 1, 0x42, route::ipi},
        part{0x42, 0x301, 0x40, 1, 0x4042, route::ipi}, part{0x42, 0x301, 0x01, 1, 0x142, route::exit},
        part{0x43, 0x301, 0, 2, 0x43, route::ipi}, part{0x8'0043, 0x302, 0, 1, 0x43, route::ipi},
        part{0x43, 0x302, 0, 2, 0x43, route::ipi}, part{0x43, 0x303, 0, 1, 0x43, route::ipi},
        part{0x43, 0x303, 1, 1, 0x100'0043, route::exit}, part{0x44, 0x302, 4, 1, 0x4'0044, route::self_ipi},
        part{0x4'0000, 0x300, 0x44, 1, 0x4'0044, route::self_ipi},
        part{0x4'0000, 0x300, 0x0F, 1, 0x4'000F, route::exit}}) {
    SCOPED_TRACE(::testing::Message() << p.bytes << " bytes to " << std::hex << p.offset << " over " << p.before);
    sender_rig r;
    r.setup.options.secondary &= ~std::uint64_t{vmx::secondary::virtualize_x2apic_mode};
    r.setup.options.secondary |= vmx::secondary::virtualize_apic_accesses;
    r.page().write_32(apic::vapic::icr_high, 1u << 24);
    r.page().write_32(apic::vapic::icr_low, p.before);
    std::uint64_t finished = 0;
    r.handler = [&](logical_cpu& cpu, std::uint8_t vector) -> program {
      (cpu.number() == 0 ? r.in_guest : r.in_host).push_back({r.now().count(), vector});
      return rig::sleep();
    };
    r.run_guest([&]() -> program {
      co_await isa::compute(cycles{20'000 - r.now().count()});
      co_await isa::mmio_write(guest_apic_rig::access_page + p.offset, p.value, p.bytes);
      finished = r.now().count();
      co_await rig::sleep();
    });
    r.at_exit = [&](const vmx::exit_info& exit) -> program {
      EXPECT_EQ(exit.reason, exit_reason::apic_write);
      co_return;
    };
    r.start();
    r.hw.run_until(cycles{40'000});
    EXPECT_EQ(r.page().read_32(apic::vapic::icr_low), p.after);
    EXPECT_EQ(r.page().read_32(apic::vapic::icr_high), 1u << 24);
    EXPECT_EQ(r.exits().size(), p.becomes == route::exit ? 1u : 0u);
    EXPECT_EQ(r.count<ipi_step_fact>(), p.becomes == route::ipi ? 4u : 0u);
    EXPECT_EQ(r.count<ipi_sent_fact>(), p.becomes == route::ipi ? 1u : 0u);
    EXPECT_EQ(r.in_host.size(), p.becomes == route::ipi ? 1u : 0u);
    EXPECT_EQ(apic::is_posted(r.hw.physical(), guest_apic_rig::descriptor_of(1), static_cast<std::uint8_t>(p.after)),
              p.becomes == route::ipi);
    const auto accesses = r.log.of<virtual_apic_access_fact>();
    ASSERT_EQ(accesses.size(), 1u);
    EXPECT_EQ(accesses[0]->offset, p.offset);
    EXPECT_EQ(accesses[0]->value, p.value);
    if (p.becomes == route::ipi) EXPECT_EQ(finished, 20'000 + 50 + table_cost + pir_cost + announce_cost + send_cost);
    ASSERT_EQ(r.in_guest.size(), p.becomes == route::self_ipi ? 1u : 0u);
    if (p.becomes == route::self_ipi) EXPECT_EQ(r.in_guest[0].at, 20'000 + 50 + self_cost);
  }
}

// The notification is an IPI of the physical local APIC, and NDST is read in its mode.
TEST(ipi_virtualization, notifies_in_the_mode_of_the_physical_apic) {
  for (const std::uint32_t ndst : {1u << 8, 1u}) {
    machine_config c = guest_apic_config(2);
    c.boot_apic = apic::apic_mode::xapic;
    guest_apic_rig r{c};
    constexpr physical_address page = 0xFEE0'0000;
    r.setup.options.tertiary = vmx::tertiary::ipi_virtualization;
    apic::write_descriptor_info(r.hw.physical(), guest_apic_rig::descriptor_of(1),
                                {false, false, guest_apic_rig::notification_vector, ndst});
    r.handler = [&](logical_cpu& cpu, std::uint8_t vector) -> program {
      r.in_host.push_back({cpu.number(), vector});
      return []() -> program { co_await isa::mmio_write(page + 0xB0, 0, 4); }();
    };
    r.run(1, []() -> program {
      co_await isa::mmio_write(page + 0xF0, 0x1FF, 4);
      co_await isa::sti();
      co_await rig::sleep();
    });
    r.run_guest([]() -> program {
      co_await isa::compute(cycles{20'000});
      co_await isa::wrmsr(apic::msr::icr, std::uint64_t{1} << 32 | 0x41);  // virtual x2APIC mode all the same
      co_await rig::sleep();
    });
    r.run_host([]() -> program {
      co_await isa::mmio_write(page + 0xF0, 0x1FF, 4);
      co_await isa::vmlaunch();
    });
    r.hw.run_until(cycles{60'000});
    EXPECT_EQ(r.count<ipi_step_fact>(), 4u);
    EXPECT_EQ(r.in_host.size(), ndst == 1 ? 0u : 1u) << "in xAPIC mode the destination is in bits 15:8";
  }
}

TEST(ipi_virtualization, is_interrupted_by_nothing) {
  const std::uint64_t all = write_cost + table_cost + pir_cost + announce_cost + send_cost;
  for (const std::uint64_t shift : {std::uint64_t{1}, write_cost, write_cost + table_cost, all - 1, all}) {
    sender_rig r;
    r.at_exit = [&](const vmx::exit_info& exit) -> program {
      EXPECT_EQ(exit.reason, exit_reason::exception_or_nmi);
      co_return;
    };
    r.send(sender_rig::command(1, 0x41));
    r.interrupt(0, cycles{20'000 + shift}, 0, apic::delivery_mode::nmi);
    r.hw.run_until(cycles{60'000});
    ASSERT_EQ(r.exits().size(), 1u);
    EXPECT_EQ(r.exits()[0]->began.count(), 20'000 + all);
    EXPECT_EQ(r.count<ipi_step_fact>(), 4u);
  }
}

// Two guests on two CPUs: the whole way, and what it costs.
TEST(ipi_virtualization, reaches_a_running_guest_with_no_exit_on_either_side) {
  guest_apic_rig r{guest_apic_config(2)};
  r.setup.options.tertiary = vmx::tertiary::ipi_virtualization;
  for (int w = 0; w < 5; ++w) r.hw.physical().word_at(guest_apic_rig::descriptor_of(1) + 8 * static_cast<unsigned>(w));
  r.run_guest([&]() -> program {
    co_await isa::compute(cycles{20'000 - r.now().count()});
    co_await isa::wrmsr(apic::msr::icr, std::uint64_t{1} << 32 | 0x41);
    co_await rig::sleep();
  });
  r.start();
  strand& receiver = r.make(
      "receiver", []() -> program { co_await rig::sleep(); }, test_guest);
  vmcs_setup setup = r.setup;
  setup.more.emplace_back(field::virtual_apic_address, 0x4'1000);
  setup.more.emplace_back(field::posted_interrupt_descriptor_address, guest_apic_rig::descriptor_of(1));
  r.run(1, [&]() -> program {
    co_await rig::enable_apic();
    co_await enter_root_operation(r.hw, 0x1'1000);
    co_await make_vmcs(r.hw, receiver, 0x1'3000, setup);
    co_await isa::vmlaunch();
    ADD_FAILURE();
  });
  r.hw.run_until(cycles{60'000});
  EXPECT_TRUE(r.exits().empty());
  ASSERT_EQ(r.in_guest.size(), 1u);
  EXPECT_EQ(r.in_guest[0].vector, 0x41);
  const auto sending = r.log.of<ipi_step_fact>();
  const auto receiving = r.log.of<posting_step_fact>();
  ASSERT_EQ(sending.size(), 4u);
  ASSERT_EQ(receiving.size(), 6u);
  EXPECT_EQ((sending[1].at() - sending[0].at()).count(), pir_cost + 110) << "from memory";
  EXPECT_EQ((sending[2].at() - sending[1].at()).count(), announce_cost);
  EXPECT_EQ((receiving[0].at() - sending[3].at()).count(), flight);
  EXPECT_EQ((receiving[1].at() - receiving[0].at()).count(), 120u + 200 + 110) << "from the sender's cache";
  r.hw.check_accounting();
}

}  // namespace
}  // namespace vmxsys::cpu::testing
