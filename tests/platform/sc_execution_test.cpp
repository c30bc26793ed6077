#include <gtest/gtest.h>
#include <systemc>
#include <tlm>

#include <vmxsys/platform/machine/driver.hpp>

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
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "an exception after SystemC has switched stacks: the sanitizer no longer knows where they are";
#endif
  const run_config config = short_study();
  execution_options how;
  unsigned asked = 0;
  how.stop = [&] { return ++asked > 3; };
  EXPECT_THROW(execute(config, how), execution_interrupted);
  EXPECT_EQ(asked, 4u);
  const std::string once = document(run_bare(config));
  how.bare = true;
  EXPECT_THROW(execute(config, how), execution_interrupted);
  EXPECT_EQ(document(run_bare(config)), once);
}

}  // namespace
}  // namespace vmxsys::platform::testing
