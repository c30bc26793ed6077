#include <string>

#include <vmxsys/apic/local/register_map.hpp>

#include "kvm_rig.hpp"

// What an interrupt between vCPUs costs those who take part: lines of the target that move between CPUs, exits and
// their handlers, and one kick at most.
namespace vmxsys::models::testing {
namespace {

struct variant {
  std::string path;
  std::string apic = "x2apic_physical";
  /// For `direct` and `ipi_virtualized`.
  std::string capabilities = "sapphire_rapids";
};
std::string name_of(const variant& v) { return v.path + ", " + v.apic; }

using kvm_change = std::function<void(kvm_config&)>;

/// A guest with each vCPU on its own CPU, in which they compute unless told otherwise.
struct bench {
  static constexpr std::uint8_t vec = 0x51;

  bench(const variant& v, unsigned vcpus, const kvm_change& change = {}, cycles transfer = cycles{100})
      : r{setup_of(v, vcpus, change, transfer), {guest_of(v, vcpus)}} {
    r.guest().on_vector = [this](unsigned cpu, std::uint8_t) -> cpu::program {
      heard.push_back({cpu, r.now()});
      co_return;
    };
  }
  static kvm_setup setup_of(const variant& v, unsigned vcpus, const kvm_change& change, cycles transfer) {
    kvm_setup s;
    s.cpus = vcpus + 1;  // one for the host
    s.change_hardware = [v, transfer](cpu::machine_config& c) {
      c.capabilities = vmx::find_capability_row(v.capabilities)->values;
      c.costs.transfer = {transfer, transfer, transfer};
    };
    s.change_kvm = [v, change](kvm_config& k) {
      k.interrupt_path = interrupt_paths().select(v.path);
      if (change) change(k);
    };
    return s;
  }
  static vm_setup guest_of(const variant& v, unsigned vcpus) {
    vm_setup g{.vcpus = vcpus, .hz = 10};
    for (unsigned i = 0; i < vcpus; ++i) g.on.push_back({i});
    g.change_guest = [v](kernel_config& k) {
      k.apic = apic_drivers().select(v.apic);
      if (v.path == "direct") k.ipi_vector_shift = 0x20;
    };
    return g;
  }
  /// `what` in the guest's kernel on vCPU `on`, from 20 ms on.
  void run(unsigned on, std::function<cpu::program()> what) {
    r.add("test", {on}, [what = std::move(what)](thread&) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
      co_await until(20 * ms);
      co_await what();
      co_await compute_for_ever();
    });
  }
  /// Physical interrupts that CPUs have sent with a vector since the test began.
  unsigned sent(std::uint8_t vector) const {
    unsigned n = 0;
    for (const auto& s : r.facts<cpu::ipi_sent_fact>({20 * ms, cycles::never()})) n += s->vector == vector;
    return n;
  }

  struct arrival {
    unsigned cpu;
    cycles at;
  };
  std::vector<arrival> heard;
  kvm_rig r;
};

struct times {
  std::uint64_t sender;   ///< until it goes on
  std::uint64_t latency;  ///< until the target's handler runs
};

/// Of an interrupt of vCPU 0 to vCPU 1, which computes, when the ones before have put every line where it is then.
times of_an_ipi(const variant& v, const kvm_change& change = {}, cycles transfer = cycles{100}) {
  bench b{v, 2, change, transfer};
  b.r.hog(1);
  cycles from{0}, to{0};
  b.run(0, [&]() -> cpu::program {
    for (int i = 0; i < 5; ++i) {
      co_await isa::compute(200 * us);
      from = b.r.now();
      co_await b.r.guest().apic().send(1u, bench::vec);
      to = b.r.now();
    }
  });
  b.r.run_until(22 * ms);
  EXPECT_EQ(b.heard.size(), 5u);
  return {(to - from).count(), (b.heard.back().at - from).count()};
}

// __apic_accept_irq, kvm_vcpu_kick, vcpu_enter_guest (v5.6). Of the target: IRR, irr_pending, and the line of requests
// and mode. The target takes that line at its exit, and reads the other two before it writes them. A sender that posts
// moves the descriptor's line; the mode stays in its cache, as the target does not leave its guest.
TEST(interrupt_costs, lines_of_the_target_move_to_the_sender_and_back) {
  struct row {
    variant v;
    unsigned sender, latency;
  };
  const row rows[] = {
      {{"injected"}, 3, 3 + 5},        {{"injected", "xapic"}, 3, 3 + 5}, {{"posted"}, 1, 1 + 1},
      {{"posted", "xapic"}, 1, 1 + 1}, {{"ipi_virtualized"}, 1, 1 + 1},   {{"direct"}, 0, 0},
  };
  for (const row& r : rows) {
    SCOPED_TRACE(name_of(r.v));
    const times near = of_an_ipi(r.v, {}, cycles{100}), far = of_an_ipi(r.v, {}, cycles{1100});
    EXPECT_EQ(far.sender - near.sender, 1000u * r.sender);
    EXPECT_EQ(far.latency - near.latency, 1000u * r.latency);
  }
}

TEST(interrupt_costs, each_path_has_steps_of_its_own) {
  struct row {
    const char* name;
    cycles kvm_costs::*cost;
    unsigned injected, injected_xapic, posted, posted_xapic;  ///< times a send
  };
  const row rows[] = {
      {"emulate_msr", &kvm_costs::emulate_msr, 1, 0, 1, 0},
      {"emulate_mmio", &kvm_costs::emulate_mmio, 0, 3, 0, 0},  // ICR read for idleness, both halves written
      {"apic_write", &kvm_costs::apic_write, 0, 0, 0, 1},
      {"apic_eoi", &kvm_costs::apic_eoi, 0, 0, 0, 0},
      {"eoi_induced", &kvm_costs::eoi_induced, 0, 0, 0, 0},
      {"apic_send", &kvm_costs::apic_send, 1, 1, 1, 1},
      {"apic_accept", &kvm_costs::apic_accept, 1, 1, 0, 0},
      {"post", &kvm_costs::post, 0, 0, 1, 1},
  };
  for (const row& r : rows) {
    const auto more = [&](const variant& v) {
      return of_an_ipi(v, [&](kvm_config& k) { k.costs.*r.cost += cycles{1000}; }).sender - of_an_ipi(v).sender;
    };
    SCOPED_TRACE(r.name);
    EXPECT_EQ(more({"injected"}), 1000u * r.injected);
    EXPECT_EQ(more({"injected", "xapic"}), 1000u * r.injected_xapic);
    EXPECT_EQ(more({"posted"}), 1000u * r.posted);
    EXPECT_EQ(more({"posted", "xapic"}), 1000u * r.posted_xapic);
  }
}

TEST(interrupt_costs, an_eoi_that_exits_is_not_emulated) {
  const auto time = [](const variant& v, const kvm_change& change) {
    bench b{v, 1, change};
    cycles from{0}, to{0};
    b.run(0, [&]() -> cpu::program {
      from = b.r.now();
      co_await b.r.guest().apic().write(apic::msr::eoi, 0);
      to = b.r.now();
    });
    b.r.run_until(21 * ms);
    return (to - from).count();
  };
  struct row {
    variant v;
    unsigned emulate_msr, emulate_mmio, apic_eoi, apic_write;
  };
  const row rows[] = {{{"injected"}, 1, 0, 0, 0},
                      {{"injected", "xapic"}, 0, 0, 1, 0},
                      {{"posted"}, 0, 0, 0, 0},
                      {{"posted", "xapic"}, 0, 0, 0, 0}};
  for (const row& r : rows) {
    SCOPED_TRACE(name_of(r.v));
    const std::uint64_t usual = time(r.v, {});
    const auto more = [&](cycles kvm_costs::*cost) {
      return time(r.v, [cost](kvm_config& k) { k.costs.*cost += cycles{1000}; }) - usual;
    };
    EXPECT_EQ(more(&kvm_costs::emulate_msr), 1000u * r.emulate_msr);
    EXPECT_EQ(more(&kvm_costs::emulate_mmio), 1000u * r.emulate_mmio);
    EXPECT_EQ(more(&kvm_costs::apic_eoi), 1000u * r.apic_eoi);
    EXPECT_EQ(more(&kvm_costs::apic_write), 1000u * r.apic_write);
  }
}

TEST(interrupt_costs, an_eoi_of_a_level_triggered_interrupt_exits_by_itself_where_interrupts_are_posted) {
  const auto time = [](const kvm_change& change) {
    bench b{{"posted"}, 2, change};
    cycles from{0}, to{0};
    b.r.hypervisor().vms()[0]->on_eoi = [&](unsigned, std::uint8_t) -> cpu::program {
      to = b.r.now();
      co_return;
    };
    b.r.hog(1);
    b.r.add_to_host("device", {2}, [&](thread&) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
      co_await until(20 * ms);
      from = b.r.now();
      co_await b.r.hypervisor().vms()[0]->raise_level_triggered(1, bench::vec);
      co_await compute_for_ever();
    });
    b.r.run_until(21 * ms);
    EXPECT_NE(to, cycles{0});
    return (to - from).count();
  };
  const std::uint64_t usual = time({});
  EXPECT_EQ(time([](kvm_config& k) { k.costs.eoi_induced += cycles{1000}; }), usual + 1000);
  EXPECT_EQ(time([](kvm_config& k) { k.costs.apic_write += cycles{1000}; }), usual);
}

// -- who is interrupted -----------------------------------------------------------------------------------------------

struct notified_path {
  variant v;
  std::uint8_t vector;  ///< by which the hypervisor interrupts the CPU of a target
};
const notified_path both_paths[] = {{{"injected"}, vector::reschedule}, {{"posted"}, posting_vector::notification}};

TEST(interrupt_costs, senders_of_one_moment_interrupt_the_targets_cpu_once) {
  for (const notified_path& p : both_paths) {
    SCOPED_TRACE(name_of(p.v));
    bench b{p.v, 3};
    b.r.hog(1);
    for (const unsigned from : {0u, 2u})
      b.run(from, [&b, from]() -> cpu::program {
        co_await b.r.guest().apic().send(1u, static_cast<std::uint8_t>(bench::vec + from));
      });
    b.r.run_until(21 * ms);
    EXPECT_EQ(b.heard.size(), 2u);
    EXPECT_EQ(b.sent(p.vector), 1u);
  }
}

TEST(interrupt_costs, a_target_outside_its_guest_is_not_interrupted) {
  for (const notified_path& p : both_paths) {
    SCOPED_TRACE(name_of(p.v));
    const auto handling = [](kvm_config& k) { k.costs.emulate_cpuid = 100 * us; };
    bench b{p.v, 2, handling};
    cycles over{0};
    b.run(1, [&]() -> cpu::program {
      co_await isa::cpuid(0);
      over = b.r.now();
    });
    b.run(0, [&]() -> cpu::program {
      co_await isa::compute(50 * us);
      co_await b.r.guest().apic().send(1u, bench::vec);
    });
    b.r.run_until(21 * ms);
    EXPECT_EQ(b.heard.size(), 1u);
    EXPECT_EQ(b.sent(p.vector), 0u);
    EXPECT_LT(b.heard.at(0).at, over) << "delivered by the entry that comes anyway";
  }
}

}  // namespace
}  // namespace vmxsys::models::testing
