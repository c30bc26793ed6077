#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <vmxsys/cpu/facts/cpu_facts.hpp>

#include "fact_expectations.hpp"

// The record of facts that timing tests read, and their vocabulary: each expectation holds and fails.
namespace vmxsys::cpu::testing {
namespace {

using namespace vmxsys::testing;
using vmx::exit_reason;

/// Stated by a test only, with a member of every kind that a fact may have.
struct odd_fact {
  static constexpr const char* fact_name = "odd";
  std::int32_t negative;
  bool flag;
  char letter;
  exit_reason reason;
  cycles when;
  std::uint64_t wide;
};
BOOST_DESCRIBE_STRUCT(odd_fact, (), (negative, flag, letter, reason, when, wide))

class fact_log_test : public ::testing::Test {
 protected:
  fact_log_test() {
    bus.attach(log);
    for (int i = 0; i < 2; ++i) bus.add_source();
    vm_entry_fact enters{};
    enters.rip = 0x400000;
    enters.duration = cycles{248};
    vm_exit_fact leaves{};
    leaves.reason = exit_reason::pause;
    leaves.began = cycles{152};
    const fact_id first = bus.record(0, cycles{100}, enters);
    bus.record(1, cycles{120}, interrupt_fact{0x51, 1});
    bus.record(0, cycles{400}, leaves, first);
    bus.record(0, cycles{500}, enters);
    leaves.reason = exit_reason::hlt;
    leaves.began = cycles{652};
    bus.record(0, cycles{900}, leaves);
  }
  const expected_fact pause = fact<vm_exit_fact>(&vm_exit_fact::reason, exit_reason::pause);
  const expected_fact halt = fact<vm_exit_fact>(&vm_exit_fact::reason, exit_reason::hlt);
  const expected_fact entry = fact<vm_entry_fact>();
  fact_bus bus;
  fact_log log;
};

TEST_F(fact_log_test, gives_back_facts_of_any_type_as_they_were) {
  const auto& odd = log.of<odd_fact>();
  EXPECT_TRUE(odd.empty());
  const odd_fact stated{-5, true, 'S', exit_reason::wrmsr, cycles::never(), ~std::uint64_t{0} - 1};
  bus.record(1, cycles{1000}, stated, {0, 3});
  ASSERT_EQ(log.of<odd_fact>().size(), 1u);
  ASSERT_EQ(odd.size(), 1u) << "the same list has grown";
  EXPECT_EQ(odd[0]->negative, -5);
  EXPECT_TRUE(odd[0]->flag);
  EXPECT_EQ(odd[0]->letter, 'S');
  EXPECT_EQ(odd[0]->reason, exit_reason::wrmsr);
  EXPECT_EQ(odd[0]->when, cycles::never());
  EXPECT_EQ(odd[0]->wide, ~std::uint64_t{0} - 1);
  EXPECT_EQ(odd[0].at(), cycles{1000});
  EXPECT_EQ(odd[0].header.id, (fact_id{1, 2}));
  EXPECT_EQ(odd[0].header.cause, (fact_id{0, 3}));
  EXPECT_EQ(odd[0].order, 5u);
  EXPECT_EQ(log.of<vm_exit_fact>()[1]->began, cycles{652});
  EXPECT_EQ(log.size(), 6u);
}

TEST_F(fact_log_test, shows_several_types_in_order) {
  std::vector<std::uint64_t> seen;
  log.replay<vm_exit_fact, interrupt_fact>(
      overloaded{[&](const recorded<vm_exit_fact>& x) { seen.push_back(x->began.count()); },
                 [&](const recorded<interrupt_fact>& i) { seen.push_back(i->vector); }});
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{0x51, 152, 652}));
}

TEST_F(fact_log_test, prints_cycle_source_type_and_members) {
  EXPECT_EQ(log.text(log.entries()[2]),
            "400 [0] vm_exit vmcs=0 reason=40 qualification=0 interruption_information=0 rip=0 cpl=0 began=152 <- 0:1");
  EXPECT_EQ(log.text(log.entries()[0]),
            "100 [0] vm_entry vmcs=0 rip=0x400000 interruption_information=0 ple_window=0 duration=248 <- 0:0");
}

TEST_F(fact_log_test, a_sequence_may_have_others_between) {
  expect_sequence(log, {entry, pause, halt});
  expect_sequence(log, {entry.at(cycles{500}), halt.on(0)});
  expect_sequence({log, cycles{101}, cycles{500}}, {pause});
  EXPECT_NONFATAL_FAILURE(expect_sequence(log, {halt, pause}), "> * [*] vm_exit reason=");
  EXPECT_NONFATAL_FAILURE(expect_sequence(log, {entry, entry, entry}), "the sequence ends here");
  EXPECT_NONFATAL_FAILURE(expect_sequence(log, {halt.on(1)}), "[1] vm_exit");
  EXPECT_NONFATAL_FAILURE(expect_sequence({log, cycles{101}, cycles{500}}, {entry}), "none");
}

TEST_F(fact_log_test, an_exact_sequence_may_have_others_of_other_types_only) {
  expect_exact_sequence(log, {entry, pause, entry, halt});
  expect_exact_sequence(log, {pause, halt});
  EXPECT_NONFATAL_FAILURE(expect_exact_sequence(log, {entry, pause}), "another fact: 500 [0] vm_entry");
  EXPECT_NONFATAL_FAILURE(expect_exact_sequence(log, {pause}), "another fact: 900 [0] vm_exit");
  EXPECT_NONFATAL_FAILURE(expect_exact_sequence(log, {pause, halt, halt}), "the sequence ends here");
}

TEST_F(fact_log_test, a_gap_is_exact) {
  expect_gap(log, entry, pause, cycles{300});
  expect_gap(log, pause, entry, cycles{100});
  expect_gap(cycles{100}, cycles{400}, cycles{300});
  EXPECT_NONFATAL_FAILURE(expect_gap(log, entry, pause, cycles{299}), "300 cycles instead of 299");
  EXPECT_NONFATAL_FAILURE(expect_gap(log, entry, pause, cycles{301}), "300 cycles instead of 301");
  EXPECT_NONFATAL_FAILURE(expect_gap(log, halt, pause, cycles{1}), "no such pair");
  EXPECT_NONFATAL_FAILURE(expect_gap(cycles{100}, cycles{400}, cycles{301}), "there are not 301");
}

TEST_F(fact_log_test, a_boundary_holds_before_and_fires_at) {
  expect_first_at(log, pause, cycles{400});
  EXPECT_NONFATAL_FAILURE(expect_first_at(log, pause, cycles{399}), "not first at 399");
  EXPECT_NONFATAL_FAILURE(expect_first_at(log, pause, cycles{401}), "not first at 401");
  EXPECT_NONFATAL_FAILURE(expect_first_at(log, pause.on(1), cycles{400}), "never stated");
  const auto from_400 = [](cycles at) { return at >= cycles{400}; };
  expect_first_at(from_400, cycles{400});
  EXPECT_NONFATAL_FAILURE(expect_first_at(from_400, cycles{399}), "does not fire at 399");
  EXPECT_NONFATAL_FAILURE(expect_first_at(from_400, cycles{401}), "fires already at 400");
}

TEST_F(fact_log_test, none_means_none) {
  expect_none(log, pause.on(1));
  expect_none({log, cycles{401}}, pause);
  EXPECT_NONFATAL_FAILURE(expect_none(log, pause), "stated: 400 [0] vm_exit");
}

}  // namespace
}  // namespace vmxsys::cpu::testing
