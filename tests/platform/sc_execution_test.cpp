#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <stdexcept>
#include <systemc>
#include <tlm>

#include <vmxsys/cpu/facts/accounting.hpp>
#include <vmxsys/cpu/systemc/sc_messages.hpp>
#include <vmxsys/models/kvm/spin/spin_policy.hpp>
#include <vmxsys/platform/machine/driver.hpp>
#include <vmxsys/platform/run/options.hpp>
#include <vmxsys/platform/run/workers.hpp>

#include "execution_fixture.hpp"

// The same runs under a SystemC kernel. A process elaborates once, so each test makes one such run.
namespace vmxsys::platform::testing {
namespace {

run_result under_systemc(const run_config& config, const sc_core::sc_time& quantum) {
  if (quantum != sc_core::SC_ZERO_TIME) tlm::tlm_global_quantum::instance().set(quantum);
  return execute(config);
}

TEST(sc_execution, the_front_end_runs_under_systemc) {
  simulation s{short_study()};
  EXPECT_STREQ(make_driver(s)->name(), "SystemC");
}

TEST(sc_execution, the_study_is_the_same_with_the_default_quantum) {
  const run_config config = short_study();
  EXPECT_EQ(document(under_systemc(config, sc_core::SC_ZERO_TIME)), document(run_bare(config)));
}

TEST(sc_execution, the_study_is_the_same_with_a_quantum_of_1_us) {
  const run_config config = short_study();
  EXPECT_EQ(document(under_systemc(config, {1, sc_core::SC_US})), document(run_bare(config)));
}

TEST(sc_execution, the_study_is_the_same_with_a_quantum_of_1_ms) {
  const run_config config = short_study();
  EXPECT_EQ(document(under_systemc(config, {1, sc_core::SC_MS})), document(run_bare(config)));
}

// A quantum shorter than a cycle: the kernel is told of every event, as in lock-step.
TEST(sc_execution, the_study_is_the_same_in_lock_step) {
  const run_config config = short_study({"until=40ms"});
  EXPECT_EQ(document(under_systemc(config, {1, sc_core::SC_PS})), document(run_bare(config)));
}

TEST(sc_execution, stepped_is_the_same) {
  const run_config config = short_study({"until=30ms"});
  EXPECT_EQ(document(under_systemc(short_study({"until=30ms", "machine.stepped=true"}), sc_core::SC_ZERO_TIME)),
            document(run_bare(config)));
}

TEST(sc_execution, a_run_that_ends_between_two_cycles_of_the_kernel) {
  const run_config config = short_study({"until=98765432cycles", "measure_from=12345678cycles"});
  EXPECT_EQ(document(under_systemc(config, {77'777, sc_core::SC_NS})), document(run_bare(config)));
}

TEST(sc_execution, an_interrupted_run_leaves_nothing_behind) {
  const run_config config = short_study();
  execution_options how;
  unsigned asked = 0;
  how.stop = [&] { return ++asked > 23; };
  const run_result part = execute(config, how);
  EXPECT_EQ(asked, 24u);
  EXPECT_TRUE(part.partial);
  const std::string once = document(run_bare(config));
  how.bare = true;
  asked = 0;
  EXPECT_EQ(document(execute(config, how)), document(part));
  EXPECT_EQ(document(run_bare(config)), once);
}

// -- what goes wrong inside a run -------------------------------------------------------------------------------------

/// A spin policy that does what it should not.
class faulty final : public models::spin_policy {
 public:
  explicit faulty(std::function<void(models::spin_context&)> act) : act_{std::move(act)} {}
  cpu::program on_spin(models::spin_context& ctx) override {
    act_(ctx);
    co_return;
  }

 private:
  std::function<void(models::spin_context&)> act_;
};

/// What the next policy does.
std::function<void(models::spin_context&)> act_of_the_next;
constexpr models::spin_policy_entry faulty_entry = entry_without<models::spin_policy_entry>(
    "faulty", "does what it should not", "",
    [](const void*) -> std::unique_ptr<models::spin_policy> { return std::make_unique<faulty>(act_of_the_next); });

run_config faulty_study() {
  run_config config = short_study();
  config.host.spin_policy = faulty_entry.name;
  return config;
}

execution_options with_policy(std::function<void(models::spin_context&)> act) {
  act_of_the_next = std::move(act);
  execution_options how;
  how.names.spin_policies.add(faulty_entry);
  return how;
}

/// How the process ends in which a run under SystemC goes wrong, and what it says.
worker_error end_of(const execution_options& how, const run_config& config = faulty_study()) {
  try {
    run_in_workers(1, 1, [&](std::size_t) { return document(execute(config, how)); });
  } catch (const worker_error& e) {
    return e;
  }
  return {exit_ok, ""};
}

TEST(sc_execution, a_broken_invariant_is_thrown_as_it_is) {
  const execution_options how =
      with_policy([](models::spin_context& ctx) { static_cast<void>(ctx.host_cpu(ctx.vcpus())); });
  try {
    execute(faulty_study(), how);
    FAIL();
  } catch (const cpu::invariant_error& e) {
    EXPECT_NE(std::string{e.what()}.find("vCPU 8"), std::string::npos) << e.what();
    EXPECT_EQ(std::string{e.what()}.find("Fatal"), std::string::npos) << e.what();
    EXPECT_GT(e.at().count(), 0u);
  }
  EXPECT_NE(sc_core::sc_report_handler::set_actions(cpu::message::invariant, sc_core::SC_FATAL, sc_core::SC_ABORT),
            sc_core::SC_CACHE_REPORT | sc_core::SC_THROW)
      << "a timeline module outside the machine has its own reaction";
}

TEST(sc_execution, whatever_goes_wrong_ends_the_process_with_status_4_and_a_message) {
  const worker_error invariant =
      end_of(with_policy([](models::spin_context& ctx) { static_cast<void>(ctx.host_cpu(99)); }));
  EXPECT_EQ(invariant.status(), exit_invariant);
  EXPECT_NE(std::string{invariant.what()}.find("'faulty' names vCPU 99"), std::string::npos) << invariant.what();

  const worker_error software =
      end_of(with_policy([](models::spin_context&) { throw std::runtime_error("gives up"); }));
  EXPECT_EQ(software.status(), exit_invariant);
  EXPECT_STREQ(software.what(), "gives up");

  const worker_error odd = end_of(with_policy([](models::spin_context&) { throw 42; }));
  EXPECT_EQ(odd.status(), exit_invariant);
  EXPECT_STREQ(odd.what(), "an exception that is no std::exception");

  struct watcher final : cpu::fact_observer {
    void observe(const cpu::fact_view& fact) override {
      if (fact.header().at.count() > 1'000'000) throw std::length_error("full");
    }
  } seen;
  execution_options watched;
  watched.observer = &seen;
  const worker_error observer = end_of(watched, short_study());
  EXPECT_EQ(observer.status(), exit_invariant);
  EXPECT_STREQ(observer.what(), "full");
}

}  // namespace
}  // namespace vmxsys::platform::testing
