#include <string>

#include <vmxsys/models/kernel/apic_drivers/catalogue.hpp>

#include "kernel_rig.hpp"

// How kernels drive their local APICs, on bare machines: bring-up, unicast, multicast, broadcast.
namespace vmxsys::models::testing {
namespace {

struct rig {
  rig(const std::string& driver, unsigned cpus, bool shorthands = false, bool stepped = false)
      : hw{hardware_of(driver, cpus, stepped)} {
    hw.facts().attach(log);
    hw.facts().attach(hash);
    kernel_config c = kernel_settings(cpus, fair());
    c.apic = apic_drivers().select(driver);
    c.ipi_shorthands = shorthands;
    k = std::make_unique<kernel>(hw, std::move(c));
    hw.connect(*k);
  }
  ~rig() { k->abandon_threads(); }
  static cpu::machine_config hardware_of(const std::string& driver, unsigned cpus, bool stepped) {
    cpu::machine_config c = bare_hardware(cpus, stepped);
    c.boot_apic = apic_drivers().find(driver)->mode;
    return c;
  }
  /// CPU 0 calls a set of others, ten times.
  void call(const std::vector<unsigned>& targets) {
    k->add_thread("caller",
                  [this, targets](thread&) -> cpu::program {
                    auto here = co_await isa::in(kernel_text);
                    cpu::cpu_set set;
                    for (const unsigned t : targets) set.set(t);
                    co_await until(20 * ms);
                    from = hw.time().now();
                    for (unsigned i = 0; i < 10; ++i)
                      co_await k->call_on(set, [this]() -> cpu::program {
                        ++done;
                        co_return;
                      });
                    to = hw.time().now();
                  },
                  kernel_text, {0});
    hw.run_until(40 * ms);
    hw.check_accounting();
  }
  /// Interrupts that CPU 0 sent for each call: one for each write of the ICR.
  double sent() const {
    unsigned n = 0;
    for (const auto& s : log.of<cpu::ipi_sent_fact>()) n += s.at() >= from && s.at() < to;
    return n / 10.0;
  }

  fact_log log;
  cpu::fact_hash hash;
  cpu::machine hw;
  std::unique_ptr<kernel> k;
  unsigned done = 0;
  cycles from{0}, to{0};
};

TEST(apic_driver, the_first_is_the_default_and_has_a_limit) {
  EXPECT_EQ(kernel_config{}.apic.name(), apic_drivers().first().name);
  EXPECT_THROW(apic_drivers().select("8259"), catalogue_error);
  cpu::machine hw{bare_hardware(1)};
  kernel_config c = kernel_settings(1, fair());
  c.apic = apic_drivers().select("xapic");
  c.cpus = 256;
  EXPECT_THROW((kernel{hw, c}), std::invalid_argument) << "255 is the destination of all";
}

TEST(apic_driver, every_cpu_comes_up_and_hears) {
  for (const apic_driver_entry* e : apic_drivers())
    for (const unsigned cpus : {1u, 2u, 8u, 9u, 20u}) {
      SCOPED_TRACE(std::string{e->name} + ", " + std::to_string(cpus));
      rig r{e->name, cpus};
      std::vector<unsigned> all;
      for (unsigned i = 0; i < cpus; ++i) all.push_back(i);
      r.call(all);
      EXPECT_EQ(r.done, 10 * cpus);
    }
}

TEST(apic_driver, several_targets_take_as_many_icr_writes_as_the_mode_needs) {
  struct row {
    const char* driver;
    unsigned cpus;
    std::vector<unsigned> targets;
    double writes;
  };
  for (const row& e : std::vector<row>{
           {"x2apic_physical", 20, {1, 2, 3, 17, 18}, 5},
           {"x2apic_cluster", 20, {1, 2, 3, 17, 18}, 2},
           {"x2apic_cluster", 20, {17}, 1},
           {"xapic", 8, {1, 2, 3, 6, 7}, 1},
           {"xapic", 9, {1, 2, 3, 6, 7}, 5},
       }) {
    SCOPED_TRACE(std::string{e.driver} + ", " + std::to_string(e.cpus));
    rig r{e.driver, e.cpus};
    r.call(e.targets);
    EXPECT_EQ(r.done, 10 * e.targets.size());
    EXPECT_EQ(r.sent(), e.writes);
  }
}

TEST(apic_driver, all_others_are_one_shorthand_if_that_is_used) {
  for (const apic_driver_entry* e : apic_drivers()) {
    SCOPED_TRACE(e->name);
    for (const bool shorthands : {false, true}) {
      rig r{e->name, 20, shorthands};
      std::vector<unsigned> others;
      for (unsigned i = 1; i < 20; ++i) others.push_back(i);
      r.call(others);
      EXPECT_EQ(r.done, 190u);
      const double plain = std::string{e->name} == "x2apic_cluster" ? 2 : 19;
      EXPECT_EQ(r.sent(), shorthands ? 1 : plain);
    }
  }
}

TEST(apic_driver, stepped_and_fast_runs_state_the_same_facts) {
  for (const apic_driver_entry* e : apic_drivers()) {
    SCOPED_TRACE(e->name);
    rig fast{e->name, 9}, stepped{e->name, 9, false, true};
    fast.call({1, 5, 8});
    stepped.call({1, 5, 8});
    EXPECT_EQ(fast.hash.value(), stepped.hash.value());
  }
}

}  // namespace
}  // namespace vmxsys::models::testing
