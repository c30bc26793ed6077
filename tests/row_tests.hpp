#pragma once
#include <gtest/gtest.h>
#include <set>
#include <string>
#include <vector>

namespace vmxsys::testing_rows {

/// Which test proves a row of a rule table: "suite.name" of a test in the same executable; of a parameterized test
/// without the instance ("suite.name" for "prefix/suite.name/3").
struct row_test {
  std::string row;
  std::string test;
};

inline std::set<std::string> registered_tests() {
  const auto bare = [](std::string suite, std::string name) {
    if (const auto slash = suite.find('/'); slash != std::string::npos) suite.erase(0, slash + 1);
    if (const auto slash = name.find('/'); slash != std::string::npos) name.erase(slash);
    return suite + '.' + name;
  };
  std::set<std::string> all;
  const ::testing::UnitTest& unit = *::testing::UnitTest::GetInstance();
  for (int s = 0; s < unit.total_test_suite_count(); ++s) {
    const ::testing::TestSuite& suite = *unit.GetTestSuite(s);
    for (int t = 0; t < suite.total_test_count(); ++t) {
      const std::string name = suite.GetTestInfo(t)->name();
      if (name.rfind("DISABLED_", 0) != 0) all.insert(bare(suite.name(), name));
    }
  }
  return all;
}

/// Fails unless every row of a table has a test, every entry names a row of it, and every test named exists.
inline void expect_rows_tested(const std::vector<std::string>& rows, const std::vector<row_test>& list) {
  const std::set<std::string> tests = registered_tests();
  std::set<std::string> known(rows.begin(), rows.end()), covered;
  EXPECT_EQ(known.size(), rows.size()) << "two rows have one name";
  for (const row_test& entry : list) {
    EXPECT_TRUE(known.count(entry.row) != 0) << "no row '" << entry.row << "' (test " << entry.test << ")";
    EXPECT_TRUE(tests.count(entry.test) != 0) << "no test '" << entry.test << "' (row '" << entry.row << "')";
    covered.insert(entry.row);
  }
  for (const std::string& row : rows) EXPECT_TRUE(covered.count(row) != 0) << "row '" << row << "' has no test";
}

}  // namespace vmxsys::testing_rows
