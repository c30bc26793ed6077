// main() of the plain test executables. It is an object file of each of them on purpose: the SystemC library brings a
// main() of its own that would otherwise win, run no test and report success.
#include <gtest/gtest.h>

// The SystemC library calls sc_main; an executable that merely links it needs one too.
extern "C" int sc_main(int, char**) { return 1; }

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const int status = RUN_ALL_TESTS();
  if (!testing::GTEST_FLAG(list_tests) && testing::UnitTest::GetInstance()->test_to_run_count() == 0) {
    std::fprintf(stderr, "no test ran\n");
    return 1;
  }
  return status;
}
