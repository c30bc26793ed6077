#include <gtest/gtest.h>

#include <vmxsys/cpu/program/system_instruction.hpp>

#include "guest_apic_rig.hpp"

// A guest's accesses to its local APIC: the APIC-access page, and the MSRs of x2APIC mode.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;

constexpr std::uint64_t entry_cost = 248, mmio_length = 3;

/// A guest in xAPIC mode.
struct page_rig : guest_apic_rig {
  page_rig() {
    setup.options.secondary &= ~std::uint64_t{vmx::secondary::virtualize_x2apic_mode};
    setup.options.secondary |= vmx::secondary::virtualize_apic_accesses;
  }
  static auto load(std::uint64_t offset, unsigned bytes = 4) { return isa::mmio_read(access_page + offset, bytes); }
  static auto store(std::uint64_t offset, std::uint64_t value, unsigned bytes = 4) {
    return isa::mmio_write(access_page + offset, value, bytes);
  }
};

TEST(apic_access_page, is_answered_by_the_virtual_apic_page) {
  page_rig r;
  r.page().write_32(apic::vapic::id, 5u << 24);
  std::uint64_t start = 0, read = 0, written = 0, id = 0, tpr = 0;
  r.run_guest([&]() -> program {
    start = r.now().count();
    id = co_await page_rig::load(0x20);
    read = r.now().count();
    co_await page_rig::store(0x80, 0x35);
    written = r.now().count();
    tpr = co_await page_rig::load(0x80);
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{30'000});
  EXPECT_TRUE(r.exits().empty());
  EXPECT_EQ(id, 5u << 24);
  EXPECT_EQ(tpr, 0x35u);
  EXPECT_EQ(read, start + 40);
  EXPECT_EQ(written, read + 50 + 20);
  EXPECT_EQ(r.count<virtual_apic_access_fact>(), 3u);
  EXPECT_EQ(r.hw.cpu(0).local_apic().task_priority(), 0) << "not the physical one";
}

TEST(apic_access_page, sends_itself_an_interrupt_and_ends_it) {
  page_rig r;
  std::uint64_t sent = 0;
  r.handler = [&](logical_cpu&, std::uint8_t vector) -> program {
    r.in_guest.push_back({r.now().count(), vector});
    return []() -> program { co_await page_rig::store(0xB0, 0); }();
  };
  r.run_guest([&]() -> program {
    sent = r.now().count();
    co_await page_rig::store(0x300, 1u << 18 | 0x51);
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{30'000});
  EXPECT_TRUE(r.exits().empty());
  EXPECT_EQ(r.in_guest, (std::vector<guest_apic_rig::seen>{{sent + 50 + 30, 0x51}}));
  EXPECT_FALSE(r.page().in_service(0x51));
}

TEST(apic_access_page, exits_before_an_access_that_is_not_virtualized) {
  struct access {
    const char* name;
    std::uint64_t offset;
    unsigned bytes;
    bool write;
  };
  for (const access& a :
       {access{"PPR", 0xA0, 4, false}, access{"current count", 0x390, 4, false}, access{"8 bytes", 0x80, 8, false},
        access{"across a register", 0x82, 4, false}, access{"ISR", 0x100, 4, true}, access{"version", 0x30, 4, true}}) {
    SCOPED_TRACE(a.name);
    page_rig r;
    std::uint64_t result = 0, before = 0, after = 0;
    r.at_exit = [&](const vmx::exit_info& exit) -> program {
      EXPECT_EQ(exit.reason, exit_reason::apic_access);
      const auto q = vmx::qualification::decode_apic_access(exit.qualification);
      EXPECT_EQ(q.offset, a.offset);
      EXPECT_EQ(q.type, a.write ? vmx::qualification::apic_access_type::linear_write
                                : vmx::qualification::apic_access_type::linear_read);
      if (a.write) EXPECT_EQ(r.guest->reg(gpr::rax), 0x1234u);
      r.guest->reg(gpr::rax) = 0xFFFF'FFFF'8765'4321;
      const std::uint64_t rip = co_await isa::vmread(field::guest_rip);
      EXPECT_EQ(rip, test_guest.rip()) << "the access has not executed";
      co_await isa::vmwrite(field::guest_rip, rip + mmio_length);
    };
    r.run_guest([&]() -> program {
      before = r.now().count();
      if (a.write)
        co_await page_rig::store(a.offset, 0x1234, a.bytes);
      else
        result = co_await page_rig::load(a.offset, a.bytes);
      after = r.now().count();
      co_await rig::sleep();
    });
    r.start();
    r.hw.run_until(cycles{30'000});
    ASSERT_EQ(r.exits().size(), 1u);
    EXPECT_EQ(r.exits()[0]->began.count(), before);
    EXPECT_EQ(after, r.log.of<vm_entry_fact>().at(1).at().count());
    if (!a.write) EXPECT_EQ(result, a.bytes == 8 ? 0xFFFF'FFFF'8765'4321 : 0x8765'4321);
    EXPECT_EQ(r.count<virtual_apic_access_fact>(), 0u);
  }
}

TEST(apic_access_page, without_the_tpr_shadow_always_exits) {
  page_rig r;
  r.setup.options.primary = 0;
  r.setup.options.secondary = vmx::secondary::virtualize_apic_accesses;
  r.setup.options.pin &= ~std::uint64_t{vmx::pin_based::process_posted_interrupts};
  r.at_exit = [&](const vmx::exit_info& exit) -> program {
    EXPECT_EQ(exit.reason, exit_reason::apic_access);
    co_await isa::vmwrite(field::guest_rip, co_await isa::vmread(field::guest_rip) + mmio_length);
  };
  r.run_guest([]() -> program {
    co_await page_rig::store(0x80, 0x10);
    co_await page_rig::load(0x80);
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{30'000});
  EXPECT_EQ(r.exits().size(), 2u);
}

TEST(apic_access_page, exits_behind_a_write_that_has_to_be_emulated) {
  page_rig r;
  std::uint64_t issued = 0, after = 0;
  r.at_exit = [&](const vmx::exit_info& exit) -> program {
    EXPECT_EQ(exit.reason, exit_reason::apic_write);
    EXPECT_EQ(exit.qualification, 0x320u);
    EXPECT_EQ(r.page().read_32(0x320), 0x400ECu) << "the data are there";
    co_return;
  };
  r.run_guest([&]() -> program {
    co_await isa::cli();
    issued = r.now().count();
    co_await page_rig::store(0x320, 0x400EC);
    after = r.now().count();
    co_await rig::sleep();
  });
  r.start();
  r.interrupt(0, cycles{1}, 0x33);
  r.hw.run_until(cycles{30'000});
  ASSERT_GE(r.exits().size(), 1u);
  std::size_t n = 0;
  while (r.exits()[n]->reason != exit_reason::apic_write) ++n;
  EXPECT_EQ(r.exits()[n]->began.count(), issued + 50);
  EXPECT_EQ(after, r.exits()[n].at().count() + 30 + 30 + entry_cost) << "VMREAD, VMWRITE, VMRESUME: it is behind";
}

TEST(apic_access_page, elsewhere_the_own_xapic_page_answers_a_guest) {
  machine_config c = guest_apic_config();
  c.boot_apic = apic::apic_mode::xapic;
  vmx_rig r{c};
  std::uint64_t tpr = 0;
  r.run_guest([&]() -> program {
    co_await isa::mmio_write(0xFEE0'0080, 0x40, 4);
    tpr = co_await isa::mmio_read(0xFEE0'0080, 4);
    co_await rig::sleep();
  });
  r.run_host([&]() -> program {
    co_await isa::vmlaunch();
    ADD_FAILURE();
  });
  r.hw.run_until(cycles{30'000});
  EXPECT_EQ(tpr, 0x40u);
  EXPECT_EQ(r.hw.cpu(0).local_apic().task_priority(), 0x40) << "a guest with the APIC to itself";
}

// -- MSRs -------------------------------------------------------------------------------------------------------------

TEST(x2apic_msrs, are_read_from_the_page_with_register_virtualization_and_natively_without) {
  for (const bool virtualized : {true, false}) {
    guest_apic_rig r;
    if (!virtualized) r.setup.options.secondary &= ~std::uint64_t{vmx::secondary::apic_register_virtualization};
    r.page().write_64(apic::vapic::id, 0x77);
    r.page().write_64(apic::vapic::tpr, 0x20);
    std::uint64_t id = 0, tpr = 0, odd = 0, start = 0, end = 0;
    bool fault_of_odd = false;
    r.run_guest([&]() -> program {
      start = r.now().count();
      id = co_await isa::rdmsr(apic::msr::id);
      end = r.now().count();
      tpr = co_await isa::rdmsr(apic::msr::tpr);
      try {
        odd = co_await isa::rdmsr(0x8FE);
      } catch (const fault&) {
        fault_of_odd = true;
      }
      co_await rig::sleep();
    });
    r.start();
    r.hw.run_until(cycles{30'000});
    EXPECT_TRUE(r.exits().empty());
    EXPECT_EQ(id, virtualized ? 0x77u : 0u) << "CPU 0 has ID 0";
    EXPECT_EQ(end - start, virtualized ? 44u : 64u);
    EXPECT_EQ(tpr, 0x20u) << "always the page";
    EXPECT_EQ(fault_of_odd, !virtualized);
    EXPECT_EQ(odd, 0u);
  }
}

TEST(x2apic_msrs, fault_on_bits_that_must_be_zero_and_change_nothing) {
  struct write {
    std::uint32_t msr;
    std::uint64_t value;
    bool faults;
  };
  for (const write& w : {write{0x808, 0xFF, false}, write{0x808, 0x100, true}, write{0x80B, 0, false},
                         write{0x80B, 1, true}, write{0x83F, 0x30, false}, write{0x83F, 0x130, true}}) {
    guest_apic_rig r;
    bool faulted = false;
    r.run_guest([&]() -> program {
      co_await isa::cli();
      try {
        co_await isa::wrmsr(w.msr, w.value);
      } catch (const fault& f) {
        faulted = f.what_fault() == instruction_fault::general_protection;
      }
      co_await rig::sleep();
    });
    r.start();
    r.hw.run_until(cycles{30'000});
    EXPECT_EQ(faulted, w.faults) << std::hex << w.msr << " := " << w.value;
    EXPECT_EQ(r.count<virtual_apic_access_fact>(), w.faults ? 0u : 1u);
    EXPECT_TRUE(r.exits().empty());
  }
}

TEST(x2apic_msrs, a_self_ipi_with_an_illegal_vector_exits_behind_the_write) {
  for (const std::uint64_t vector : {15, 16}) {
    guest_apic_rig r;
    r.at_exit = [&](const vmx::exit_info& exit) -> program {
      EXPECT_EQ(exit.reason, exit_reason::apic_write);
      EXPECT_EQ(exit.qualification, 0x3F0u);
      co_return;
    };
    r.run_guest([&]() -> program {
      co_await isa::wrmsr(apic::msr::self_ipi, vector);
      co_await rig::sleep();
    });
    r.start();
    r.hw.run_until(cycles{30'000});
    EXPECT_EQ(r.exits().size(), vector == 15 ? 1u : 0u);
    EXPECT_EQ(r.in_guest.size(), vector == 15 ? 0u : 1u);
  }
}

TEST(x2apic_msrs, the_bitmap_comes_first) {
  guest_apic_rig r;
  r.hw.physical().write<std::uint8_t>(guest_apic_rig::msr_bitmap + 0x800 + 0x83F / 8, 1u << (0x83F % 8));
  r.at_exit = [&](const vmx::exit_info& exit) -> program {
    EXPECT_EQ(exit.reason, exit_reason::wrmsr);
    EXPECT_EQ(r.guest->reg(gpr::rax), 0x51u);
    co_return;
  };
  r.run_guest([&]() -> program {
    co_await isa::wrmsr(apic::msr::self_ipi, 0x51);
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{30'000});
  EXPECT_EQ(r.exits().size(), 1u);
  EXPECT_TRUE(r.in_guest.empty());
}

TEST(x2apic_msrs, an_ipi_without_ipi_virtualization_uses_the_physical_icr) {
  guest_apic_rig r{guest_apic_config(2)};
  r.run_guest([&]() -> program {
    co_await isa::compute(cycles{10'000});
    co_await isa::wrmsr(apic::msr::icr, std::uint64_t{1} << 32 | 0x41);
    co_await rig::sleep();
  });
  r.start();
  r.run(1, []() -> program {
    co_await rig::accept_interrupts();
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{30'000});
  EXPECT_TRUE(r.exits().empty());
  ASSERT_EQ(r.in_host.size(), 1u) << "a guest that owns the ICR interrupts whom it likes";
  EXPECT_EQ(r.in_host[0].vector, 0x41);
}

TEST(cr8, of_a_guest_without_the_shadow_is_the_physical_one) {
  guest_apic_rig r;
  r.setup.options.primary = 0;
  r.setup.options.secondary = 0;
  r.setup.options.pin &= ~std::uint64_t{vmx::pin_based::process_posted_interrupts};
  r.run_guest([]() -> program {
    co_await isa::mov_to_cr(8, 9);
    co_await rig::sleep();
  });
  r.start();
  r.hw.run_until(cycles{30'000});
  EXPECT_TRUE(r.exits().empty());
  EXPECT_EQ(r.hw.cpu(0).local_apic().task_priority(), 0x90);
  EXPECT_EQ(r.page().vtpr(), 0);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
