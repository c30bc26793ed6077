#include <algorithm>
#include <gtest/gtest.h>
#include <ostream>
#include <set>

#include "../row_tests.hpp"
#include "entry_bench.hpp"

// Every rule of the entry tables, from both sides. The pairs are in entry_*_cases_test.cpp.
namespace vmxsys::vmx::entry_testing {

void PrintTo(const entry_case& c, std::ostream* out) { *out << c.rule << " / " << c.label; }

namespace {

class vmx_entry_rule : public testing::TestWithParam<entry_case> {
 protected:
  static void expect_failure(const entry_result& result, const entry_case& c) {
    ASSERT_STREQ(result.check, c.rule.c_str());
    switch (c.how) {
      case ending::error_7:
        EXPECT_EQ(result.outcome, entry_outcome::fail_valid);
        EXPECT_EQ(static_cast<unsigned>(result.error), 7u);
        break;
      case ending::error_8:
        EXPECT_EQ(result.outcome, entry_outcome::fail_valid);
        EXPECT_EQ(static_cast<unsigned>(result.error), 8u);
        break;
      case ending::exit_33:
        EXPECT_EQ(result.outcome, entry_outcome::failed_entry);
        EXPECT_EQ(static_cast<unsigned>(result.reason), 33u);
        EXPECT_EQ(result.qualification, c.qualification);
        break;
    }
  }
};

TEST_P(vmx_entry_rule, holds_on_one_side_and_breaks_alone_on_the_other) {
  const entry_case& c = GetParam();
  entry_bench good;
  c.prepare(good);
  entry_bench bad = good;
  c.good(good);
  EXPECT_EQ(explain(good.check(), &good.v), "VM entry succeeds");
  c.bad(bad);
  std::vector<std::string> expected{c.rule};
  expected.insert(expected.end(), c.also.begin(), c.also.end());
  EXPECT_EQ(bad.broken(), expected);
  expect_failure(bad.check(), c);
}

// From the good side to the bad one, as a hypervisor would write it: having passed does not hide the failure.
TEST_P(vmx_entry_rule, having_passed_hides_nothing) {
  const entry_case& c = GetParam();
  entry_bench b;
  c.prepare(b);
  entry_bench bad = b;
  c.good(b);
  ASSERT_TRUE(b.check());
  c.bad(bad);
  for (const field_info& row : field_table) b.set(row.encoding, bad.of(row.encoding));
  b.caps = bad.caps;
  b.options = bad.options;
  b.features = bad.features;
  b.memory = bad.memory;
  b.long_mode = bad.long_mode;
  b.in_smm = bad.in_smm;
  b.tracing = bad.tracing;
  b.pae_paging = bad.pae_paging;
  b.cr3 = bad.cr3;
  expect_failure(b.check(), c);
}

INSTANTIATE_TEST_SUITE_P(rules, vmx_entry_rule, testing::ValuesIn(all_entry_cases()),
                         [](const auto& test) { return test.param.label + "_" + std::to_string(test.index); });

TEST(vmx_entry_rows, every_rule_has_a_pair) {
  std::vector<std::string> rows;
  for (const entry_check_group* group : entry_check_groups())
    for (const entry_check& row : *group) rows.emplace_back(row.name);
  std::vector<testing_rows::row_test> list;
  for (const entry_case& c : all_entry_cases())
    list.push_back({c.rule, "vmx_entry_rule.holds_on_one_side_and_breaks_alone_on_the_other"});
  testing_rows::expect_rows_tested(rows, list);
}

}  // namespace
}  // namespace vmxsys::vmx::entry_testing
