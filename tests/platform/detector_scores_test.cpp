#include <gtest/gtest.h>

#include <vmxsys/platform/experiments/detail/study_detectors.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/platform/observe/detector_scores.hpp>

// Scores are counted wait by wait; a wait is one decision.
namespace vmxsys::platform {
namespace {

struct fixture {
  fixture()
      : config{load_config_text(R"({"machine": {"preset": "flat", "observers": ["pause_loop_exiting", "pause_filter"]},
                                    "vms": [{"vcpus": 1}]})")
                   .config},
        machine{config},
        scores{machine} {
    scores.begin(cycles{1000});
  }
  void answer(unsigned detector, std::uint64_t episode, std::uint64_t at, bool futile) {
    scores.on_detection({detector, 0x1000, 0x2000, episode, 0, futile}, cycles{at});
  }
  void wait(std::uint64_t episode, std::uint64_t began, cycles futile_since, bool non_root = true) {
    scores.on_spin({0x1000, 0x2000, 100, cycles{began}, cycles{0}, non_root, episode, futile_since});
  }

  run_config config;
  simulation machine;
  detector_scores scores;
};

TEST(detector_scores, one_wait_one_decision) {
  fixture f;
  f.answer(0, 1, 3000, true);
  f.answer(0, 1, 4000, true);
  f.wait(1, 2000, cycles{2600});  // in vain, answered by the first
  f.answer(0, 2, 6000, false);
  f.wait(2, 5000, cycles::never());  // useful, a false alarm of the first
  f.wait(3, 7000, cycles{7500});     // in vain, missed by both
  f.wait(4, 8000, cycles::never());  // useful, rightly passed over
  const auto rows = f.scores.rows();
  EXPECT_EQ(f.scores.waits(), 4u);
  EXPECT_EQ(f.scores.futile_waits(), 2u);
  EXPECT_EQ(rows[0].true_positives, 1u);
  EXPECT_EQ(rows[0].false_positives, 1u);
  EXPECT_EQ(rows[0].false_negatives, 1u);
  EXPECT_EQ(rows[0].true_negatives, 1u);
  EXPECT_EQ(rows[0].answers, 3u);
  EXPECT_EQ(rows[0].precision, 0.5);
  EXPECT_EQ(rows[0].recall, 0.5);
  EXPECT_EQ(rows[0].latency_median_ns, 200u) << "400 cycles at 2 GHz";
  EXPECT_EQ(rows[1].false_negatives, 2u);
  EXPECT_EQ(rows[1].true_negatives, 2u);
  EXPECT_FALSE(rows[1].precision) << "it has not answered at all";
  EXPECT_EQ(rows[1].recall, 0.0);
}

TEST(detector_scores, an_early_answer_counts_but_has_no_latency) {
  fixture f;
  f.answer(0, 1, 2500, false);
  f.wait(1, 2000, cycles{2600});
  f.answer(0, 2, 3100, false);
  f.answer(0, 2, 3900, true);
  f.wait(2, 3000, cycles{3500});
  const detector_row row = f.scores.rows()[0];
  EXPECT_EQ(row.true_positives, 2u);
  EXPECT_EQ(row.early, 2u);
  EXPECT_EQ(row.answered_in_vain, 1u);
  EXPECT_EQ(row.latency_max_ns, 200u);
}

TEST(detector_scores, an_answer_after_one_in_vain_is_not_early) {
  fixture f;
  f.answer(0, 1, 2700, true);
  f.answer(0, 1, 2900, false);  // the holder is back
  f.wait(1, 2000, cycles{2600});
  EXPECT_EQ(f.scores.rows()[0].true_positives, 1u);
  EXPECT_EQ(f.scores.rows()[0].early, 0u);
}

TEST(detector_scores, leaves_out_the_warm_up_the_host_and_pauses_outside_loops) {
  fixture f;
  f.answer(0, 1, 1500, true);
  f.wait(1, 999, cycles{1400});
  f.answer(0, 0, 1600, true);
  f.answer(0, 2, 1700, false);
  f.wait(2, 1650, cycles::never(), false);
  EXPECT_EQ(f.scores.waits(), 0u);
  EXPECT_EQ(f.scores.rows()[0].answers, 0u);
  f.wait(3, 1000, cycles::never());
  EXPECT_EQ(f.scores.waits(), 1u) << "begins with the measurement";
}

TEST(detector_scores, pool_by_adding) {
  detector_row a, b;
  a.true_positives = 3;
  a.false_positives = 1;
  b.false_negatives = 1;
  b.true_negatives = 5;
  const detector_row all = pooled({a, b});
  EXPECT_EQ(all.precision, 0.75);
  EXPECT_EQ(all.recall, 0.75);
  EXPECT_FALSE(pooled({detector_row{}}).recall);
}

}  // namespace
}  // namespace vmxsys::platform
