#include <gtest/gtest.h>

#include "sc_storm.hpp"

namespace vmxsys::cpu::testing {
namespace {

using sc_core::sc_report;
using sc_core::sc_time;
constexpr std::uint64_t one_ghz = 1'000'000;

program works(std::uint64_t& rounds) {
  for (;;) {
    co_await isa::compute(cycles{100});
    ++rounds;
  }
}
program ends() { co_await isa::compute(cycles{77}); }
program fails() {
  co_await isa::compute(cycles{55});
  throw std::runtime_error("the software gives up");
}

struct rig : boot_if {
  explicit rig(program p) { start(std::move(p)); }
  rig() { start(works(rounds)); }
  void start(program p) {
    on.start(std::move(p), storm_code);
    cpu.boot(boot_port);
  }
  strand& boot(logical_cpu&, physical_address) override { return on; }
  std::uint64_t rounds = 0;
  timeline_module timeline{"timeline", small_machine(1, false), one_ghz};
  physical_cpu cpu{"cpu", timeline, 0};
  boot_adapter boot_port{*this};
  strand on{timeline.hardware().names(), "cpu0"};
};

sc_time ns(double v) { return {v, sc_core::SC_NS}; }
void quantum(double v) { tlm::tlm_global_quantum::instance().set(ns(v)); }

TEST(sc_timeline_module, lock_step_goes_no_further_than_the_kernel) {
  rig r;
  sc_core::sc_start(ns(1000));
  EXPECT_EQ(r.rounds, 9u) << "an event at the end of a run is the next run's";
  sc_core::sc_start(ns(1));
  EXPECT_EQ(r.rounds, 10u);
}

TEST(sc_timeline_module, a_read_sees_the_events_of_its_own_cycle) {
  rig r;
  sc_core::sc_start(ns(1000));
  EXPECT_EQ(r.rounds, 9u);
  std::uint64_t value = 0;
  r.timeline.read(0x1000, &value, sizeof value);
  EXPECT_EQ(r.rounds, 10u);
}

TEST(sc_timeline_module, a_quantum_is_a_limit) {
  quantum(500);
  rig r;
  sc_core::sc_start(ns(1101));
  EXPECT_EQ(r.rounds, 15u);
}

TEST(sc_timeline_module, the_declared_end_is_a_limit_too) {
  quantum(1'000'000);
  rig r;
  r.timeline.horizon(ns(1000));
  sc_core::sc_start(ns(1000));
  EXPECT_EQ(r.rounds, 9u);
  sc_core::sc_start(ns(101));
  EXPECT_EQ(r.rounds, 11u) << "past a declared end: lock-step";
  r.timeline.run_for(ns(899.5));
  EXPECT_EQ(r.rounds, 20u);
  EXPECT_EQ(r.timeline.hardware().time().now(), cycles{2001});
  r.timeline.hardware().check_accounting();
}

TEST(sc_timeline_module, what_comes_between_two_runs_is_not_silently_late) {
  quantum(1'000'000);
  rig r;
  sc_core::sc_start(ns(1000));
  EXPECT_THROW(r.timeline.arrival(), sc_report);
}

TEST(sc_timeline_module, what_comes_between_two_declared_runs_is_in_time) {
  quantum(1'000'000);
  rig r;
  r.timeline.run_for(ns(1000.5));
  EXPECT_EQ(r.timeline.arrival(), cycles{1001});
}

TEST(sc_timeline_module, a_broken_invariant_is_fatal_and_says_when) {
  sc_core::sc_report_handler::set_actions(sc_core::SC_FATAL, sc_core::SC_THROW);
  rig r{ends()};
  try {
    sc_core::sc_start(ns(1000));
    FAIL();
  } catch (const sc_report& report) {
    EXPECT_STREQ(report.get_msg_type(), message::invariant);
    EXPECT_EQ(report.get_severity(), sc_core::SC_FATAL);
    EXPECT_NE(std::string{report.get_msg()}.find("cycle 77"), std::string::npos) << report.get_msg();
  }
  ASSERT_TRUE(r.timeline.failure());
  EXPECT_THROW(std::rethrow_exception(r.timeline.failure()), invariant_error);
}

program throws_a_number() {
  co_await isa::compute(cycles{33});
  throw 42;
}
TEST(sc_timeline_module, an_exception_of_any_type_is_an_error_of_the_software) {
  rig r{throws_a_number()};
  EXPECT_FALSE(r.timeline.failure());
  try {
    sc_core::sc_start(ns(1000));
    FAIL();
  } catch (const sc_report& report) {
    EXPECT_STREQ(report.get_msg_type(), message::software);
    EXPECT_NE(std::string{report.get_msg()}.find("cycle 33"), std::string::npos) << report.get_msg();
  }
  EXPECT_THROW(std::rethrow_exception(r.timeline.failure()), int);
}

TEST(sc_timeline_module, an_exception_of_the_software_is_an_error) {
  rig r{fails()};
  try {
    sc_core::sc_start(ns(1000));
    FAIL();
  } catch (const sc_report& report) {
    EXPECT_STREQ(report.get_msg_type(), message::software);
    EXPECT_NE(std::string{report.get_msg()}.find("gives up (cycle 55)"), std::string::npos) << report.get_msg();
  }
}

TEST(sc_timeline_module, one_module_per_cpu_that_exists) {
  rig r;
  EXPECT_THROW((physical_cpu{"again", r.timeline, 0}), sc_report);
  EXPECT_THROW((physical_cpu{"nobody", r.timeline, 1}), sc_report);
  EXPECT_STREQ(r.cpu.kind(), "vmxsys::cpu::physical_cpu");
}

TEST(sc_timeline_module, time_is_not_known_before_elaboration) {
  rig r;
  EXPECT_THROW(r.timeline.arrival(), sc_report);
}

TEST(sc_timeline_module, leaves_resolution_and_quantum_to_the_embedder) {
  sc_core::sc_set_time_resolution(1, sc_core::SC_NS);  // an error if a time had been made
  timeline_module timeline{"timeline", small_machine(1, false), tsc_khz};
  std::uint64_t rounds = 0;
  strand on{timeline.hardware().names(), "cpu0"};
  struct software final : boot_if {
    strand* s;
    strand& boot(logical_cpu&, physical_address) override { return *s; }
  } boot;
  boot.s = &on;
  on.start(works(rounds), storm_code);
  timeline.hardware().connect(boot);
  sc_core::sc_report_handler::set_actions(message::resolution, sc_core::SC_CACHE_REPORT);
  sc_core::sc_start(sc_time{1, sc_core::SC_US});
  EXPECT_EQ(rounds, 25u);  // 2594 cycles
  EXPECT_EQ(tlm::tlm_global_quantum::instance().get(), sc_core::SC_ZERO_TIME);
  EXPECT_EQ(sc_core::sc_report_handler::get_count(message::resolution), 1) << "a cycle is shorter than a tick";
}

}  // namespace
}  // namespace vmxsys::cpu::testing
