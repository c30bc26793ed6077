#include <algorithm>
#include <set>

#include <vmxsys/models/kvm/spin/directed_yield.hpp>

#include "kvm_rig.hpp"

// What policies and services from outside can see and do: contexts of spin policies, halt policies and PV services, and
// vCPU affinity.
namespace vmxsys::models::testing {
namespace {

using reason = vmx::exit_reason;

/// A program that a test gives an entry as its options.
template <class Context>
using handler = std::function<cpu::program(Context&)>;

class spin_by_test final : public spin_policy {
 public:
  explicit spin_by_test(const handler<spin_context>& h) : handler_{h} {}
  cpu::program on_spin(spin_context& c) override { return handler_(c); }
  std::unique_ptr<spin_vm_state> make_vm_state(unsigned vcpus) const override {
    return std::make_unique<directed_yield_state>(vcpus);
  }

 private:
  handler<spin_context> handler_;
};
const spin_policy_entry spin_by_test_entry = entry_without<spin_policy_entry>(
    "by_test", "a handler of a test", "", [](const void* h) -> std::unique_ptr<spin_policy> {
      return std::make_unique<spin_by_test>(*static_cast<const handler<spin_context>*>(h));
    });

class halt_by_test final : public halt_policy {
 public:
  explicit halt_by_test(const handler<halt_context>& h) : handler_{h} {}
  cpu::program on_halt(halt_context& c) override { return handler_(c); }

 private:
  handler<halt_context> handler_;
};
const halt_policy_entry halt_by_test_entry = entry_without<halt_policy_entry>(
    "by_test", "a handler of a test", [](const void* h) -> std::unique_ptr<halt_policy> {
      return std::make_unique<halt_by_test>(*static_cast<const handler<halt_context>*>(h));
    });

// -- spin context -----------------------------------------------------------------------------------------------------

/// Two VMs stacked on one CPU; vCPU 0 of the first waits for a lock that its sibling holds.
struct storm {
  explicit storm(handler<spin_context> on_spin) {
    kvm_setup s{.cpus = 2, .window = {4096, 0, 0, 4096}, .host_scheduler = round_robin(10'000'000)};
    s.change_kvm = [on_spin](kvm_config& k) {
      k.spin_policy = {spin_by_test_entry, std::make_shared<const handler<spin_context>>(on_spin)};
    };
    r = std::make_unique<kvm_rig>(
        s, std::vector<vm_setup>{{.vcpus = 2, .on = {{0}, {0}}}, {.vcpus = 2, .on = {{0}, {1}}}});
    lock = spinlocks().select("ticket").make(r->guest().locks(), lock_user::kernel);
    r->add("holder", {1}, [this](thread&) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
      co_await lock->acquire();
      co_await compute_for_ever();
    });
    r->add("spinner", {0}, [this](thread&) -> cpu::program {
      co_await until(100 * ms);
      auto here = co_await isa::in(kernel_text);
      co_await lock->acquire();
    });
    r->hog(1, user_text, 1);
  }
  std::unique_ptr<kvm_rig> r;
  std::unique_ptr<spinlock> lock;
};

TEST(spin_context, tells_what_a_hypervisor_knows) {
  unsigned asked = 0;
  std::set<const spin_vm_state*> states;
  kvm_rig* rig = nullptr;
  storm s{[&](spin_context& c) -> cpu::program {
    states.insert(&c.state());
    if (c.now() < 100 * ms) co_return;
    ++asked;
    EXPECT_EQ(c.vm(), 0u);
    EXPECT_EQ(c.me(), 0u);
    EXPECT_EQ(c.now(), rig->now());
    EXPECT_EQ(c.host_cpu(0), 0u);
    EXPECT_EQ(c.host_cpu(1), 0u);
    EXPECT_EQ(c.running_on(0), (vcpu_id{0, 0}));
    EXPECT_EQ(c.running_on(1), (vcpu_id{1, 1}));
    EXPECT_EQ(c.vcpu_of(*rig->vcpu(1).thread().entity), (vcpu_id{0, 1}));
    EXPECT_EQ(c.vcpu_of(*rig->vcpu(0, 1).thread().entity), (vcpu_id{1, 0}));
    co_return;
  }};
  rig = s.r.get();
  s.r->run_until(150 * ms);
  EXPECT_GT(asked, 10u);
  EXPECT_EQ(states.size(), 1u);
}

TEST(spin_context, a_yield_lets_the_scheduler_decide) {
  std::size_t with = 0, without = 0;
  for (const bool yields : {false, true}) {
    storm s{[yields](spin_context& c) -> cpu::program {
      if (yields) co_await c.yield();
    }};
    s.r->run_until(200 * ms);
    (yields ? with : without) = s.r->exits(reason::pause, 0, 0, {100 * ms, 200 * ms}).size();
  }
  EXPECT_GE(with, 5u) << "one a round";
  EXPECT_GT(without, 100 * with);
}

// Only what exits is known: a guest whose IPIs are delivered by its processor leaves no trace.
TEST(spin_context, the_last_ipis_are_those_that_kvm_has_emulated) {
  for (const char* path : {"injected", "posted", "ipi_virtualized"}) {
    kvm_setup s{.cpus = 3};
    s.change_hardware = [](cpu::machine_config& c) { c.capabilities = vmx::find_capability_row("apic_timer")->values; };
    s.change_kvm = [path](kvm_config& k) { k.interrupt_path = interrupt_paths().select(path); };
    kvm_rig r{s, {{.vcpus = 3, .on = {{0}, {1}, {2}}}}};
    cycles sent{0};
    for (const unsigned i : {1u, 2u}) r.hog(i);
    r.add("caller", {0}, [&](thread&) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
      co_await until(20 * ms);
      sent = r.now();
      co_await r.guest().call_on(2, []() -> cpu::program { co_return; });
      co_await compute_for_ever();
    });
    r.run_until(20 * ms);
    const ipi_history none;
    EXPECT_EQ(r.vcpu(1).ipis().receiver, none.receiver) << path;
    r.run_until(21 * ms);
    ASSERT_NE(sent, cycles{0});
    if (std::string{path} == "ipi_virtualized") {
      EXPECT_LT(r.vcpu(2).ipis().received, sent);
      continue;
    }
    EXPECT_EQ(r.vcpu(0).ipis().receiver, 2u) << path;
    EXPECT_EQ(r.vcpu(2).ipis().sender, 0u) << path;
    EXPECT_GT(r.vcpu(0).ipis().sent, sent) << path;
    EXPECT_EQ(r.vcpu(0).ipis().sent, r.vcpu(2).ipis().received) << path;
  }
}

// -- halts ------------------------------------------------------------------------------------------------------------

/// vCPU 1 halts, and vCPU 0 calls it every millisecond: how often its thread was woken.
std::size_t wakeups(const char* path, bool stepped, handler<halt_context> on_halt, std::uint64_t* hash = nullptr) {
  kvm_setup s{.cpus = 2, .stepped = stepped};
  s.change_hardware = [](cpu::machine_config& c) { c.capabilities = vmx::find_capability_row("apic_timer")->values; };
  s.change_kvm = [&](kvm_config& k) {
    k.interrupt_path = interrupt_paths().select(path);
    if (on_halt) k.halt_policy = {halt_by_test_entry, std::make_shared<const handler<halt_context>>(on_halt)};
  };
  kvm_rig r{s, {{.vcpus = 2, .on = {{0}, {1}}, .hz = 10}}};
  unsigned called = 0;
  r.add("caller", {0}, [&](thread&) -> cpu::program {
    auto here = co_await isa::in(kernel_text);
    for (unsigned i = 0; i < 10; ++i) {
      co_await until(20 * ms + i * ms);
      co_await r.guest().call_on(1, [&]() -> cpu::program {
        ++called;
        co_return;
      });
    }
    co_await compute_for_ever();
  });
  r.run_until(31 * ms);
  EXPECT_EQ(called, 10u);
  if (hash != nullptr) *hash = r.hash.value();
  const auto all = r.facts<sched_wakeup_fact>({20 * ms - 10 * us, 31 * ms});
  return static_cast<std::size_t>(std::count_if(all.begin(), all.end(), [&](const auto& w) {
    return w->kernel == r.host().id() && w->pid == r.vcpu(1).thread().pid;
  }));
}

handler<halt_context> polling(cycles limit) {
  return [limit](halt_context& c) -> cpu::program {
    const bool found = co_await c.poll(c.now() + limit);
    if (!found) co_await c.block();
  };
}

TEST(halt_policy, the_first_sleeps_at_once) {
  EXPECT_STREQ(halt_policies().first().name, "trap");
  for (const char* path : {"injected", "posted", "ipi_virtualized"}) EXPECT_EQ(wakeups(path, false, {}), 10u) << path;
}

TEST(halt_policy, one_that_polls_long_enough_never_sleeps) {
  for (const char* path : {"injected", "posted"}) {
    EXPECT_LE(wakeups(path, false, polling(2 * ms)), 1u) << path;
    EXPECT_EQ(wakeups(path, false, polling(100 * us)), 10u) << path;
  }
}

TEST(halt_policy, polling_is_the_same_in_both_modes) {
  for (const char* path : {"injected", "posted"}) {
    std::uint64_t fast = 0, stepped = 1;
    wakeups(path, false, polling(2 * ms), &fast);
    wakeups(path, true, polling(2 * ms), &stepped);
    EXPECT_EQ(fast, stepped) << path;
  }
}

// -- PV services ------------------------------------------------------------------------------------------------------

class echo final : public pv_service {
 public:
  bool answers(std::uint64_t number) const override { return number == 5 || number == 6; }
  cpu::task<std::uint64_t> on_hypercall(pv_context& c, const hypercall& call) override {
    if (call.number == 6) {
      co_await c.unhalt(static_cast<unsigned>(call.arguments[0]));
      co_return 0;
    }
    co_return 100 * c.vcpus() + 10 * c.me() + call.arguments[0];
  }
  void set_up_guest(kernel& guest) override { guest.boot_cpuids = 7; }
};
const pv_service_entry echo_entry = entry_without<pv_service_entry>(
    "echo", "answers", [](const void*) -> std::unique_ptr<pv_service> { return std::make_unique<echo>(); });

TEST(pv_service, hypercalls_go_to_the_service_that_answers_them) {
  for (const bool served : {false, true}) {
    kvm_rig r{{.cpus = 2}, {}};
    kernel_config g = kernel_settings(2, fair());
    g.memory_base = 0x4000'0000;
    kernel guest{r.hw, std::move(g)};
    guest.boot_cpuids = 4;
    virtual_machine_config v;
    v.name = "vm";
    v.vcpus = 2;
    v.boot = [&guest](unsigned i) -> cpu::strand& { return guest.boot_cpu(i); };
    v.affinity = {{0}, {1}};
    if (served) v.pv.push_back({echo_entry, nullptr});
    v.guest = &guest;
    r.hypervisor().add(std::move(v));
    EXPECT_EQ(guest.boot_cpuids, served ? 7u : 4u);
    std::vector<std::uint64_t> answers;
    guest.add_thread("caller",
                     [&](thread&) -> cpu::program {
                       co_await until(20 * ms);
                       auto here = co_await isa::in(kernel_text);
                       for (const std::uint64_t number : {4u, 5u}) {
                         const std::uint64_t answer = co_await isa::vmcall(number, 3);
                         answers.push_back(answer);
                       }
                       co_await isa::vmcall(6, 1);  // vCPU 1, which is halted
                       co_await compute_for_ever();
                     },
                     kernel_text, {0});
    r.run_until(20 * ms);
    const auto halts = r.exits(reason::hlt, 1).size();
    r.run_until(21 * ms);
    const std::uint64_t unknown = static_cast<std::uint64_t>(-1000);
    EXPECT_EQ(answers, (std::vector<std::uint64_t>{unknown, served ? 203 : unknown}));
    EXPECT_EQ(r.exits(reason::hlt, 1).size(), halts + served) << "it went on, and halted again";
    guest.abandon_threads();
    r.host().abandon_threads();
  }
}

// -- vCPU affinity ----------------------------------------------------------------------------------------------------

std::vector<std::vector<unsigned>> places(const char* name, unsigned cpus, const std::vector<unsigned>& vms) {
  kvm_setup s{.cpus = cpus};
  s.change_kvm = [name](kvm_config& k) { k.vcpu_affinity = vcpu_affinities().select(name); };
  std::vector<vm_setup> all;
  for (const unsigned n : vms) all.push_back({.vcpus = n});
  kvm_rig r{s, all};
  std::vector<std::vector<unsigned>> found;
  for (unsigned vm = 0; vm < vms.size(); ++vm) {
    found.emplace_back();
    for (unsigned i = 0; i < vms[vm]; ++i) {
      const std::vector<bool>& allowed = r.vcpu(i, vm).thread().entity->affinity;
      for (unsigned c = 0; c < allowed.size(); ++c)
        if (allowed[c]) found.back().push_back(c);
    }
  }
  return found;
}

TEST(vcpu_affinity, places_vcpus) {
  using list = std::vector<std::vector<unsigned>>;
  EXPECT_STREQ(vcpu_affinities().first().name, "free");
  EXPECT_EQ(places("free", 4, {2, 2}), (list{{}, {}}));
  EXPECT_EQ(places("spread", 4, {3, 3}), (list{{0, 1, 2}, {3, 0, 1}})) << "the next VM goes on";
  EXPECT_EQ(places("stacked", 4, {3, 4}), (list{{0, 0, 1}, {1, 2, 2, 3}}));
}

}  // namespace
}  // namespace vmxsys::models::testing
