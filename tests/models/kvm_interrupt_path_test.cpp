#include <array>
#include <string>

#include <vmxsys/apic/remapping/interrupt_remapping.hpp>
#include <vmxsys/models/kvm/interrupts/interrupt_path.hpp>
#include <vmxsys/models/workloads/catalogue.hpp>

#include "kvm_rig.hpp"

// The ways interrupts take into a guest: what exits where, and that none is lost.
namespace vmxsys::models::testing {
namespace {

using reason = vmx::exit_reason;

cpu::machine_config& with_ipi_virtualization(cpu::machine_config& c) {
  c.capabilities = vmx::find_capability_row("sapphire_rapids")->values;
  return c;
}

struct variant {
  std::string path;
  std::string apic = "x2apic_physical";
  bool fast_paths = false;
};

std::string name_of(const variant& v) { return v.path + ", " + v.apic + (v.fast_paths ? ", fast paths" : ""); }

std::vector<variant> all_variants() {
  return {{"injected"},
          {"injected", "x2apic_cluster"},
          {"injected", "xapic"},
          {"direct"},
          {"posted"},
          {"posted", "x2apic_cluster"},
          {"posted", "xapic"},
          {"posted", "x2apic_physical", true},
          {"ipi_virtualized"},
          {"ipi_virtualized", "x2apic_cluster"},
          {"ipi_virtualized", "xapic"},
          {"ipi_virtualized", "x2apic_physical", true}};
}

kvm_setup setup_of(const variant& v, unsigned cpus, bool stepped = false) {
  kvm_setup s;
  s.cpus = cpus;
  s.stepped = stepped;
  s.change_hardware = [](cpu::machine_config& c) { with_ipi_virtualization(c); };
  s.change_kvm = [v](kvm_config& k) {
    const settings fast{{"exit_fast_paths", true}};
    k.interrupt_path = interrupt_paths().select(v.path, v.fast_paths ? fast : settings{});
  };
  return s;
}

vm_setup guest_of(const variant& v, unsigned vcpus, bool pinned) {
  vm_setup g;
  g.vcpus = vcpus;
  g.change_guest = [v](kernel_config& k) {
    k.apic = apic_drivers().select(v.apic);
    if (v.path == "direct") k.ipi_vector_shift = 0x20;
  };
  if (pinned)
    for (unsigned i = 0; i < vcpus; ++i) g.on.push_back({i});
  return g;
}

/// A guest that does what it is given, or nothing, on a machine with one vCPU on each CPU unless told otherwise.
struct bench {
  bench(const variant& v, unsigned cpus, unsigned vcpus, bool pinned = true, bool stepped = false, unsigned vms = 1)
      : r{setup_of(v, cpus, stepped), std::vector<vm_setup>(vms, guest_of(v, vcpus, pinned))} {}
  ~bench() {
    for (auto& vm : r.hypervisor().vms()) r.guest(vm->number()).abandon_threads();
  }

  kvm_rig r;
  std::vector<std::unique_ptr<workload>> loads;
};

constexpr std::uint64_t seed = 5;

std::unique_ptr<workload> add_cpu_bound(kernel& k) {
  return workloads().select("cpu_bound", {{"chunk", duration::us(100)}}).make(k, workload_environment{seed, 1'000'000});
}
std::unique_ptr<workload> add_tlb_shootdown(kernel& k, duration work) {
  return workloads()
      .select("tlb_shootdown",
              {{"work", distribution::exponential(work)}, {"unmap", distribution::fixed(duration::us(1))}})
      .make(k, workload_environment{seed, 1'000'000});
}

// -- bring-up and ordinary work ---------------------------------------------------------------------------------------

TEST(interrupt_path, every_virtual_cpu_comes_up_by_init_and_sipi_and_works) {
  for (const variant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    bench b{v, 4, 4};
    b.loads.push_back(add_cpu_bound(b.r.guest()));
    b.loads.push_back(add_tlb_shootdown(b.r.guest(), duration::us(100)));
    b.r.run_until(60 * ms);
    std::map<unsigned, unsigned> units;
    for (const auto& w : b.r.log.of<work_fact>()) ++units[w->pid];
    EXPECT_EQ(units.size(), 8u) << "threads that have done something";
    for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(b.r.exits(reason::cpuid, i).size(), 4u);
  }
}

// -- exits of an IPI --------------------------------------------------------------------------------------------------

/// vCPU 0 calls vCPU 1, which is in user mode, again and again.
struct calls {
  calls(const variant& v, unsigned vcpus, std::vector<unsigned> called, unsigned how_many = 100) : b{v, vcpus, vcpus} {
    for (unsigned i = 1; i < vcpus; ++i) b.r.hog(i);
    b.r.add("caller", {0}, [this, called, how_many](thread&) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
      cpu::cpu_set targets;
      for (const unsigned c : called) targets.set(c);
      co_await until(20 * ms);
      from = b.r.now();
      for (unsigned i = 0; i < how_many; ++i) {
        co_await b.r.guest().call_on(targets, [this]() -> cpu::program {
          ++done;
          co_return;
        });
        co_await isa::compute(5 * us);
      }
      to = b.r.now();
      co_await compute_for_ever();
    });
    b.r.run_until(60 * ms);
    EXPECT_NE(to, cycles{0}) << "all calls are over";
  }
  /// Exits of a vCPU while the calls lasted, but for its timer.
  std::map<reason, unsigned> exits(unsigned vcpu) const {
    std::map<reason, unsigned> found;
    for (const auto& x : b.r.exits(std::nullopt, vcpu, 0, {from, to})) ++found[x->reason];
    return found;
  }

  bench b;
  unsigned done = 0;
  cycles from{0}, to{0};
};

struct expected_exits {
  variant v;
  std::map<reason, unsigned> sender, receiver;  ///< per call
};

std::map<reason, unsigned> rounded(const std::map<reason, unsigned>& found, unsigned of) {
  std::map<reason, unsigned> per_call;  // ticks and the like come on top, a few
  for (const auto& [why, n] : found)
    if ((n + of / 5) / of != 0) per_call[why] = (n + of / 5) / of;
  return per_call;
}

TEST(interrupt_path, a_unicast_ipi_exits_where_it_should) {
  const std::vector<expected_exits> table{
      {{"injected"}, {{reason::wrmsr, 1}}, {{reason::external_interrupt, 1}, {reason::wrmsr, 1}}},
      {{"injected", "x2apic_cluster"}, {{reason::wrmsr, 1}}, {{reason::external_interrupt, 1}, {reason::wrmsr, 1}}},
      // ICR read for idleness, both halves written
      {{"injected", "xapic"}, {{reason::apic_access, 3}}, {{reason::external_interrupt, 1}, {reason::apic_access, 1}}},
      {{"direct"}, {}, {{reason::external_interrupt, 1}, {reason::wrmsr, 1}}},
      {{"posted"}, {{reason::wrmsr, 1}}, {}},
      {{"posted", "x2apic_cluster"}, {{reason::wrmsr, 1}}, {}},
      {{"posted", "xapic"}, {{reason::apic_write, 1}}, {}},
      {{"posted", "x2apic_physical", true}, {{reason::wrmsr, 1}}, {}},
      {{"ipi_virtualized"}, {}, {}},
      {{"ipi_virtualized", "x2apic_cluster"}, {{reason::apic_write, 1}}, {}},  // a logical destination
      {{"ipi_virtualized", "xapic"}, {{reason::apic_write, 1}}, {}},           // flat: logical, too
  };
  for (const expected_exits& e : table) {
    SCOPED_TRACE(name_of(e.v));
    calls c{e.v, 2, {1}};
    EXPECT_EQ(c.done, 100u);
    EXPECT_EQ(rounded(c.exits(0), 100), e.sender);
    EXPECT_EQ(rounded(c.exits(1), 100), e.receiver);
  }
}

TEST(interrupt_path, a_multicast_ipi_costs_its_sender_an_exit_for_each_icr_write) {
  const std::vector<std::pair<variant, std::map<reason, unsigned>>> table{
      {{"injected"}, {{reason::wrmsr, 4}}},
      {{"injected", "x2apic_cluster"}, {{reason::wrmsr, 1}}},
      {{"injected", "xapic"}, {{reason::apic_access, 3}}},
      {{"direct"}, {}},
      {{"posted"}, {{reason::wrmsr, 4}}},
      {{"posted", "x2apic_cluster"}, {{reason::wrmsr, 1}}},
      {{"posted", "xapic"}, {{reason::apic_write, 1}}},
      {{"ipi_virtualized"}, {}},
      {{"ipi_virtualized", "x2apic_cluster"}, {{reason::apic_write, 1}}},
  };
  for (const auto& [v, sender] : table) {
    SCOPED_TRACE(name_of(v));
    calls c{v, 5, {1, 2, 3, 4}};
    EXPECT_EQ(c.done, 400u);
    EXPECT_EQ(rounded(c.exits(0), 100), sender);
  }
}

TEST(interrupt_path, physical_destinations_of_the_register_page_are_virtualized) {
  const variant v{"ipi_virtualized", "xapic"};
  calls c{v, 9, {8}};  // more than flat destinations have bits
  EXPECT_EQ(c.done, 100u);
  EXPECT_EQ(rounded(c.exits(0), 100), (std::map<reason, unsigned>{}));
  EXPECT_EQ(rounded(c.exits(8), 100), (std::map<reason, unsigned>{}));
  calls injected{{"injected", "xapic"}, 9, {7, 8}};
  EXPECT_EQ(injected.done, 200u);
  EXPECT_EQ(rounded(injected.exits(0), 100), (std::map<reason, unsigned>{{reason::apic_access, 6}})) << "one by one";
}

// -- who posts and what becomes of it ---------------------------------------------------------------------------------

TEST(interrupt_path, a_post_to_a_running_vcpu_sends_one_notification_which_is_processed_without_an_exit) {
  calls c{{"posted"}, 2, {1}};
  const kvm_rig::when during{c.from, c.to};
  unsigned notified = 0;
  for (const auto& p : c.b.r.facts<post_fact>(during)) {
    if (p->vector != vector::call_function_single) continue;
    EXPECT_EQ(p->vcpu, 1u);
    EXPECT_EQ(p->cpu, 0u);
    EXPECT_EQ(p->woken, 0u);
    notified += p->notified;
  }
  EXPECT_EQ(notified, 100u);
  unsigned sent = 0;
  for (const auto& s : c.b.r.facts<cpu::ipi_sent_fact>(during)) sent += s->vector == posting_vector::notification;
  EXPECT_EQ(sent, 100u);
  unsigned delivered = 0;
  for (const auto& d : c.b.r.facts<cpu::virtual_interrupt_fact>(during))
    delivered += d->vector == vector::call_function_single;
  EXPECT_EQ(delivered, 100u);
}

/// vCPU 0 calls others that halt in between. What keeps it is that nobody comes.
struct wakes {
  wakes(const variant& v, unsigned cpus, unsigned vcpus, bool pinned, unsigned vms = 1, bool stepped = false)
      : b{v, cpus, vcpus, pinned, stepped, vms} {
    for (unsigned vm = 0; vm < vms; ++vm)
      b.r.add(
          "caller", {0},
          [this, vm, vcpus](thread&) -> cpu::program {
            auto here = co_await isa::in(kernel_text);
            for (unsigned i = 0;; ++i) {
              const unsigned target = 1 + i % (vcpus - 1);
              co_await b.r.guest(vm).call_on(target, [this]() -> cpu::program {
                ++done;
                co_return;
              });
              // Now and then the target is about to halt, or on its way out of it.
              co_await isa::compute(cycles{1'000 + i * 3'701 % 40'000});
            }
          },
          user_text, vm);
  }
  bench b;
  unsigned done = 0;
};

TEST(interrupt_path, wakes_halted_vcpus_and_loses_none) {
  for (const variant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    wakes own{v, 3, 3, true};
    own.b.r.run_until(60 * ms);
    EXPECT_GT(own.done, 1000u);
    const unsigned before = own.done;
    own.b.r.run_until(70 * ms);
    EXPECT_GT(own.done, before + 100) << "still";
    if (v.path == "direct") continue;
    wakes shared{v, 2, 3, false, 2};
    shared.b.r.run_until(200 * ms);
    const unsigned half = shared.done;
    EXPECT_GT(half, 200u);
    shared.b.r.run_until(300 * ms);
    EXPECT_GT(shared.done, half + 50) << "still";
  }
}

TEST(interrupt_path, a_blocked_vcpu_is_notified_by_the_wake_up_vector_where_processors_post) {
  for (const bool by_hardware : {false, true}) {
    wakes w{{by_hardware ? "ipi_virtualized" : "posted"}, 3, 3, true};
    w.b.r.run_until(60 * ms);
    unsigned wakeups = 0, woken = 0;
    for (const auto& s : w.b.r.facts<cpu::ipi_sent_fact>()) wakeups += s->vector == posting_vector::wakeup;
    for (const auto& p : w.b.r.facts<post_fact>()) woken += p->woken;
    if (by_hardware) {
      EXPECT_GT(wakeups, 500u);
    } else {
      EXPECT_EQ(wakeups, 0u) << "the sender wakes";
      EXPECT_GT(woken, 500u);
    }
  }
}

// -- interrupts of devices
// ----------------------------------------------------------------------------------------------

/// A device of the test's own with one MSI, remapped, for vCPU 1: it computes, or halts all the time.
struct device {
  device(const variant& v, bool bypass, bool halts, unsigned host_cpu = 1) : b{v, 3, 2} {
    table.address = 0x20'0000;
    b.r.guest().on_vector = [this](unsigned cpu, std::uint8_t vec) -> cpu::program {
      EXPECT_EQ(vec, 0x41);
      EXPECT_EQ(cpu, 1u);
      ++heard;
      co_return;
    };
    if (!halts) b.r.hog(1);
    const apic::remapping_entry entry = b.r.hypervisor().vms()[0]->connect_device_interrupt(1, 0x41, bypass, host_cpu);
    EXPECT_EQ(entry.posted, bypass && v.path != "injected" && v.path != "direct");
    apic::write_entry(b.r.hw.physical(), table, 0, entry);
    b.r.run_until(20 * ms);
    for (unsigned i = 0; i < raised; ++i) {
      const apic::remapping_outcome outcome = apic::remap(table, b.r.hw.physical(), apic::remappable_msi(0), 0);
      if (const auto command = outcome.interrupt(true))
        b.r.hw.post(command->destination, b.r.now() + cycles{500}, 16, apic::message_of(*command));
      b.r.run_until(b.r.now() + 100 * us);
    }
    EXPECT_EQ(heard, raised);
  }
  std::map<reason, unsigned> exits() const {
    std::map<reason, unsigned> found;
    for (const auto& x : b.r.exits(std::nullopt, 1, 0, {20 * ms, 40 * ms})) ++found[x->reason];
    return rounded(found, raised);
  }

  static constexpr unsigned raised = 100;
  apic::remapping_table table;
  bench b;
  unsigned heard = 0;
};

TEST(interrupt_path, a_device_interrupts_by_an_exit_of_the_host_or_by_none) {
  using exits = std::map<reason, unsigned>;
  const exits two{{reason::external_interrupt, 1}, {reason::wrmsr, 1}};
  EXPECT_EQ((device{{"injected"}, true, false}.exits()), two);
  EXPECT_EQ((device{{"injected"}, true, false, 2}.exits()), two) << "the kick takes the place of the interrupt";
  EXPECT_EQ((device{{"direct"}, true, false}.exits()), two);
  for (const char* path : {"posted", "ipi_virtualized"}) {
    EXPECT_EQ((device{{path}, true, false}.exits()), exits{});
    EXPECT_EQ((device{{path}, false, false}.exits()), (exits{{reason::external_interrupt, 1}}));
    EXPECT_EQ((device{{path}, false, false, 2}.exits()), exits{}) << "another CPU takes it, and posts";
  }
}

TEST(interrupt_path, a_device_wakes_a_halted_vcpu) {
  for (const variant& v : all_variants())
    for (const bool bypass : {false, true})
      for (const unsigned host_cpu : {1u, 2u}) {
        SCOPED_TRACE(name_of(v) + (bypass ? ", bypass" : ""));
        const device d{v, bypass, true, host_cpu};
        unsigned wakeups = 0;
        for (const auto& a : d.b.r.facts<cpu::ipi_arrived_fact>()) wakeups += a->vector == posting_vector::wakeup;
        if (bypass && v.path != "injected" && v.path != "direct") EXPECT_GE(wakeups, device::raised);
      }
}

// -- the task priority
// -------------------------------------------------------------------------------------------------

TEST(interrupt_path, a_guest_that_has_lowered_its_task_priority_is_woken) {
  for (const variant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    bench b{v, 2, 2};
    unsigned done = 0;
    cycles lowered{0};
    b.r.add("halts", {1}, [&](thread&) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
      co_await until(20 * ms);
      co_await b.r.guest().apic().write(0x808, 0xF0);
      co_await isa::cpuid(0);  // an exit, at which the hypervisor may look
      co_await isa::cli();
      co_await b.r.guest().apic().write(0x808, 0);
      lowered = b.r.now();
      co_await isa::sti();
      for (;;) co_await isa::hlt();
    });
    b.r.add("caller", {0}, [&](thread&) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
      co_await until(20 * ms + 100 * us);
      co_await b.r.guest().call_on(1, [&]() -> cpu::program {
        ++done;
        co_return;
      });
      co_await compute_for_ever();
    });
    b.r.run_until(20 * ms + 500 * us);
    EXPECT_NE(lowered, cycles{0});
    EXPECT_LT(lowered, 20 * ms + 100 * us);
    EXPECT_EQ(done, 1u);
  }
}

// -- both ways of executing -------------------------------------------------------------------------------------------

TEST(interrupt_path, stepped_and_fast_runs_state_the_same_facts) {
  for (const variant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    std::uint64_t hash[2];
    for (const bool stepped : {false, true}) {
      const bool pinned = v.path == "direct";
      bench b{v, pinned ? 3u : 2u, 3, pinned, stepped, pinned ? 1u : 2u};
      for (auto& vm : b.r.hypervisor().vms())
        b.loads.push_back(add_tlb_shootdown(b.r.guest(vm->number()), duration::us(60)));
      b.r.run_until(40 * ms);
      hash[stepped] = b.r.hash.value();
    }
    EXPECT_EQ(hash[0], hash[1]);
  }
}

// -- what the guest reads ---------------------------------------------------------------------------------------------

TEST(interrupt_path, the_page_answers_reads_with_what_the_emulated_registers_hold) {
  for (const char* path : {"injected", "posted", "ipi_virtualized"}) {
    SCOPED_TRACE(path);
    bench b{{path}, 2, 2};
    std::map<std::uint32_t, std::uint64_t> seen;
    cycles from{0};
    b.r.add("reader", {1}, [&](thread&) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
      co_await until(30 * ms);
      from = b.r.now();
      for (const std::uint32_t msr : {0x802u, 0x803u, 0x80Du, 0x80Fu, 0x832u, 0x838u}) {
        const std::uint64_t value = co_await isa::rdmsr(msr);
        seen[msr] = value;
      }
      co_await compute_for_ever();
    });
    b.r.run_until(32 * ms);
    EXPECT_EQ(seen[0x802], 1u);
    EXPECT_EQ(seen[0x803] & 0xFF, 0x15u);
    EXPECT_EQ(seen[0x80D], 2u);
    EXPECT_EQ(seen[0x80F], 0x1FFu);
    EXPECT_EQ(seen[0x832], (2u << 17) + vector::local_timer);
    EXPECT_EQ(seen[0x838], 0u);
    EXPECT_EQ(b.r.exits(reason::rdmsr, 1, 0, {from, 32 * ms}).size(), std::string{path} == "injected" ? 6u : 0u);
  }
}

// -- what cannot be ---------------------------------------------------------------------------------------------------

std::string refusal(const kvm_setup& setup, const vm_setup& guest) {
  try {
    kvm_rig r{setup, {guest}};
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "";
}

TEST(interrupt_path, says_what_it_needs) {
  const auto with = [](const std::string& path, const char* row) {
    kvm_setup s;
    s.cpus = 2;
    s.change_hardware = [row](cpu::machine_config& c) { c.capabilities = vmx::find_capability_row(row)->values; };
    s.change_kvm = [path](kvm_config& k) { k.interrupt_path = interrupt_paths().select(path); };
    return s;
  };
  const vm_setup two{.vcpus = 2};
  const auto says = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  EXPECT_EQ(refusal(with("posted", "cascade_lake_sp"), two), "");
  says(refusal(with("posted", "haswell"), two), "needs \"APIC-register virtualization\"");
  says(refusal(with("ipi_virtualized", "cascade_lake_sp"), two), "needs \"IPI virtualization\"");
  says(refusal(with("telepathy", "cascade_lake_sp"), two), "telepathy");
  says(refusal(with("direct", "cascade_lake_sp"), two), "bound to CPU 0");
  EXPECT_EQ(refusal(with("direct", "cascade_lake_sp"), {.vcpus = 2, .on = {{0}, {1}}}), "");
  says(refusal(with("direct", "cascade_lake_sp"), {.vcpus = 2, .on = {{1}, {0}}}), "bound to CPU 0");
  vm_setup xapic{.vcpus = 2, .on = {{0}, {1}}};
  xapic.change_guest = [](kernel_config& k) { k.apic = apic_drivers().select("xapic"); };
  says(refusal(with("direct", "cascade_lake_sp"), xapic), "guests in x2APIC mode");
  kvm_setup host_in_xapic = with("direct", "cascade_lake_sp");
  host_in_xapic.change_host = [](kernel_config& k) { k.apic = apic_drivers().select("xapic"); };
  says(refusal(host_in_xapic, {.vcpus = 2, .on = {{0}, {1}}}), "a host in x2APIC mode");
}

}  // namespace
}  // namespace vmxsys::models::testing
