#include <gtest/gtest.h>
#include <string>

#include <vmxsys/vmx/base/nearest.hpp>

// What a misspelled name is told.
namespace vmxsys {
namespace {

TEST(nearest, distance_counts_letters_put_in_left_out_changed_and_swapped) {
  struct row {
    const char *a, *b;
    std::size_t distance;
  };
  const row rows[] = {{"pause", "pause", 0}, {"pause", "PAUSE", 0},  {"pause", "pausr", 1},
                      {"pause", "pase", 1},  {"pause", "pauuse", 1}, {"pause", "puase", 1},
                      {"", "abc", 3},        {"cat", "dog", 3},      {"ple_gap", "plegap", 1}};
  for (const row& r : rows) {
    EXPECT_EQ(edit_distance(r.a, r.b), r.distance) << r.a << ' ' << r.b;
    EXPECT_EQ(edit_distance(r.b, r.a), r.distance) << r.b << ' ' << r.a;
  }
}

TEST(nearest, texts_of_any_length_end) { EXPECT_LT(edit_distance(std::string(100000, 'a'), "b"), 100u); }

TEST(nearest, name_within_two_letters_or_a_third) {
  EXPECT_EQ(nearest("cfz", {"eevdf", "cfs"}), "cfs");
  EXPECT_EQ(nearest("slap", {"slug"}), "slug");
  EXPECT_EQ(nearest("slap", {"plug"}), "") << "three letters of four";
  EXPECT_EQ(nearest("cfs", {"eevdf", "ule"}), "");
  EXPECT_EQ(nearest("pause_loop_exitng", {"pause_exiting", "pause_loop_exiting"}), "pause_loop_exiting");
  EXPECT_EQ(nearest("xy", {"ab"}), "") << "no letter in common";
  EXPECT_EQ(did_you_mean("cfz", {"cfs"}), " (did you mean \"cfs\"?)");
  EXPECT_EQ(did_you_mean("nothing_like_it", {"cfs"}), "");
}

}  // namespace
}  // namespace vmxsys
