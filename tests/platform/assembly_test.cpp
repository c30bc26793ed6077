#include <gtest/gtest.h>
#include <stdexcept>
#include <string>
#include <vector>

#include <vmxsys/models/kvm/interrupts/interrupt_path.hpp>
#include <vmxsys/platform/observe/run_statistics.hpp>

#include "execution_fixture.hpp"

// A machine out of a configuration: who runs where, whose lock it is, and names that nothing stands for.
namespace vmxsys::platform::testing {
namespace {

run_config machine_of(unsigned vms, unsigned vcpus, unsigned cpus, const std::string& affinity) {
  run_config c;
  c.until = duration::ms(6);
  c.measure_from = duration::ms(2);
  c.machine.cores = cpus;
  c.host.vcpu_affinity = affinity;
  for (unsigned i = 0; i < vms; ++i) {
    c.vms.emplace_back();
    c.vms.back().name = "vm" + std::to_string(i);
    c.vms.back().vcpus = vcpus;
  }
  return c;
}

TEST(vcpu_affinity, spread_goes_on_where_the_last_vm_ended) {
  using cpus = std::vector<unsigned>;
  const auto of = [](const char* rule, unsigned machine_cpus, unsigned before, unsigned vcpu) {
    return models::vcpu_affinities().select(rule).make()->cpus_of({machine_cpus, 1, vcpu, before});
  };
  EXPECT_EQ(of("spread", 16, 0, 0), cpus{0});
  EXPECT_EQ(of("spread", 16, 8, 0), cpus{8});
  EXPECT_EQ(of("spread", 16, 8, 7), cpus{15});
  EXPECT_EQ(of("spread", 16, 16, 0), cpus{0});
  EXPECT_EQ(of("spread", 8, 8, 3), cpus{3}) << "VMs as large as the machine lie on each other";
  for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(of("spread", 8, 0, i), cpus{i});
  EXPECT_EQ(of("stacked", 8, 8, 3), cpus{5});
  EXPECT_EQ(of("free", 8, 8, 3), cpus{});
}

TEST(vcpu_affinity, a_spread_machine_has_no_idle_half) {
  EXPECT_LT(run_bare(machine_of(4, 8, 16, "spread")).idle_share, 0.01);
  EXPECT_LT(run_bare(machine_of(2, 3, 6, "spread")).idle_share, 0.01);
}

TEST(run_statistics, a_lock_is_the_hosts_where_the_hosts_kernel_says_so) {
  simulation s{machine_of(2, 1, 2, "free")};
  run_statistics statistics{s};
  cpu::fact_bus& facts = s.hardware().facts();
  facts.attach(statistics);
  statistics.begin();
  // The address says nothing: a lock of a guest below, one of the host above what VMs have today.
  const auto wait = [&](models::kernel& of, std::uint64_t address, std::uint64_t waited) {
    models::lock_wait_fact f{};
    f.lock = address;
    f.waited = cycles{waited * 2500};  // of a TSC of 2.5 GHz
    facts.record(of.locks().fact_source(), cycles{0}, f);
  };
  wait(s.guest(0), 0x1000, 1);
  wait(s.guest(1), 0x7000'0000, 3);
  wait(s.host(), 0x7000'0000, 20);
  const run_result r = statistics.finish();
  EXPECT_EQ(r.locks.waits.count, 2u);
  EXPECT_EQ(r.locks.waits.max_ns, 3000u);
  EXPECT_EQ(r.locks.host_waits.count, 1u);
  EXPECT_EQ(r.locks.host_waits.min_ns, 20'000u);
}

/// What is said of a configuration whose check was left out.
std::string refusal(const run_config& c) {
  try {
    simulation s{c};
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "";
}

TEST(simulation, a_name_that_nothing_stands_for_is_refused) {
  const run_config good = machine_of(1, 2, 2, "free");
  ASSERT_EQ(refusal(good), "");
  const auto with = [&](auto change) {
    run_config c = good;
    change(c);
    return refusal(c);
  };
  const auto names_it = [](const std::string& text) { return text.find("nonesuch") != std::string::npos; };
  constexpr const char* n = "nonesuch";
  const std::vector<std::string> refusals{
      with([&](run_config& c) { c.host.scheduler.name = n; }),
      with([&](run_config& c) { c.host.scheduler.set("profile", n); }),
      with([&](run_config& c) { c.vms[0].guest.scheduler.name = n; }),
      with([&](run_config& c) { c.vms[0].workload.name = n; }),
      with([&](run_config& c) { c.host.vcpu_affinity = n; }),
      with([&](run_config& c) { c.host.apic = n; }),
      with([&](run_config& c) { c.host.interrupt_path = n; }),
      with([&](run_config& c) { c.host.timer_backend = n; }),
      with([&](run_config& c) { c.host.timer_advance = n; }),
      with([&](run_config& c) { c.host.spin_policy.name = n; }),
      with([&](run_config& c) { c.machine.preset = n; }),
      with([&](run_config& c) { c.machine.detector.name = n; }),
      with([&](run_config& c) { c.machine.observers = {{n}}; }),
      with([&](run_config& c) { c.vms[0].guest.lock = n; }),
      with([&](run_config& c) { c.vms[0].guest.apic = n; }),
      with([&](run_config& c) {
        c.vms[0].workload = {"lock_bound", {{"work", n}}};
      }),
      with([&](run_config& c) {
        c.vms[0].workload = {"user_spin", {{"lock", n}}};
      }),
      with([&](run_config& c) {
        c.vms[0].workload = {"ipi", {{"send", n}}};
      }),
  };
  for (std::size_t i = 0; i < refusals.size(); ++i) EXPECT_TRUE(names_it(refusals[i])) << i << ": " << refusals[i];
}

}  // namespace
}  // namespace vmxsys::platform::testing
