#include "kvm_rig.hpp"

#include <vmxsys/models/guests/workload.hpp>
#include <vmxsys/models/hypervisor/interrupt_path.hpp>

#include <array>
#include <string>

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
    k.interrupt_path = v.path;
    k.fast_paths = v.fast_paths;
  };
  return s;
}

vm_setup guest_of(const variant& v, unsigned vcpus, bool pinned) {
  vm_setup g;
  g.vcpus = vcpus;
  g.change_guest = [v](kernel_config& k) {
    k.apic = v.apic;
    if (v.path == "direct") k.ipi_vector_shift = 0x20;
  };
  if (pinned)
    for (unsigned i = 0; i < vcpus; ++i) g.on.push_back({i});
  return g;
}

/// A guest that does what it is given, or nothing, on a machine with one vCPU on each CPU unless told otherwise.
struct bench {
  bench(const variant& v, unsigned cpus, unsigned vcpus, bool pinned = true, bool stepped = false, unsigned vms = 1)
      : r{setup_of(v, cpus, stepped), std::vector<vm_setup>(vms, guest_of(v, vcpus, pinned))} {
    r.hw.facts().attach(work);
  }
  ~bench() {
    for (auto& vm : r.hypervisor().vms()) r.guest(vm->number()).abandon_threads();
  }

  fact_record<work_fact> work;
  kvm_rig r;
  std::vector<std::unique_ptr<workload>> loads;
};

cpu::cpu_set set_of(std::initializer_list<unsigned> members) {
  cpu::cpu_set s;
  for (const unsigned m : members) s.set(m);
  return s;
}

duration_distribution fixed(cycles length) { return {.mean = length}; }
duration_distribution exponential(cycles mean) {
  return {.kind = duration_distribution::shape::exponential, .mean = mean};
}

constexpr std::uint64_t seed = 5;

// -- bring-up and ordinary work ---------------------------------------------------------------------------------------

TEST(interrupt_path, every_virtual_cpu_comes_up_by_init_and_sipi_and_works) {
  for (const variant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    bench b{v, 4, 4};
    b.loads.push_back(add_cpu_bound(b.r.guest(), {.chunk = 100 * us}));
    b.loads.push_back(add_tlb_shootdown(b.r.guest(), {.work = exponential(100 * us), .unmap = fixed(us)}, seed));
    b.r.run_until(60 * ms);
    std::map<unsigned, unsigned> units;
    for (const auto& w : b.work.of<work_fact>()) ++units[w->pid];
    EXPECT_EQ(units.size(), 8u) << "threads that have done something";
    for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(b.r.exits(reason::cpuid, i).size(), 4u);
  }
}

// -- exits of an IPI --------------------------------------------------------------------------------------------------

/// vCPU 0 calls vCPU 1, which is in user mode, again and again.
struct calls {
  calls(const variant& v, unsigned vcpus, cpu::cpu_set targets, unsigned how_many = 100) : b{v, vcpus, vcpus} {
    for (unsigned i = 1; i < vcpus; ++i) b.r.hog(i);
    b.r.add("caller", {0}, [this, targets, how_many](thread&) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
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
    calls c{e.v, 2, set_of({1})};
    EXPECT_EQ(c.done, 100u);
    EXPECT_EQ(rounded(c.exits(0), 100), e.sender);
    EXPECT_EQ(rounded(c.exits(1), 100), e.receiver);
  }
}

}  // namespace
}  // namespace vmxsys::models::testing
