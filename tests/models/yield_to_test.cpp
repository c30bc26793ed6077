#include <gtest/gtest.h>

#include <vmxsys/models/schedulers/yield_to.hpp>

namespace vmxsys::models {
namespace {

constexpr yield_to_target queued_target{};

TEST(yield_to_rule, CFS_73_nobody_to_switch_to) {
  const yield_to_verdict verdict = yield_to_before_locks(1, 1);
  EXPECT_FALSE(verdict.go_on);
  EXPECT_EQ(verdict.outcome, yield_to_outcome::nobody_to_switch);
  EXPECT_EQ(kernel_result(verdict.outcome), -3);
  EXPECT_TRUE(yield_to_before_locks(2, 1).go_on);
  EXPECT_TRUE(yield_to_before_locks(0, 1).go_on) << "the comparison is with exactly one";
}

TEST(yield_to_rule, CFS_74_old_kernels_do_not_look) { EXPECT_TRUE(yield_to_before_locks(1, 1, {false}).go_on); }

TEST(yield_to_rule, CFS_75_another_queue_is_rescheduled) {
  EXPECT_TRUE(yield_to_before_locks(1, 2).go_on);
  EXPECT_TRUE(yield_to_under_locks(queued_target).go_on);
  const yield_to_completion done = yield_to_after_policy(true, true, false);
  EXPECT_EQ(kernel_result(done.outcome), 1);
  EXPECT_TRUE(done.reschedule_target_cpu);
  EXPECT_TRUE(done.schedule_self);
  EXPECT_FALSE(yield_to_after_policy(true, false, false).reschedule_target_cpu);
}

TEST(yield_to_rule, CFS_76_the_own_queue_needs_no_interrupt) {
  const yield_to_completion done = yield_to_after_policy(true, true, true);
  EXPECT_EQ(done.outcome, yield_to_outcome::yielded);
  EXPECT_FALSE(done.reschedule_target_cpu);
  EXPECT_TRUE(done.schedule_self);
}

struct refusal_case {
  const char* label;
  yield_to_target target;
  yield_to_outcome expected;
};
class yield_to_refusal : public testing::TestWithParam<refusal_case> {};

TEST_P(yield_to_refusal, returns_zero) {
  const yield_to_verdict verdict = yield_to_under_locks(GetParam().target);
  EXPECT_FALSE(verdict.go_on);
  EXPECT_EQ(verdict.outcome, GetParam().expected);
  EXPECT_EQ(kernel_result(verdict.outcome), 0);
}
INSTANTIATE_TEST_SUITE_P(
    golden, yield_to_refusal,
    testing::Values(refusal_case{"CFS_77", {true, true, true, true}, yield_to_outcome::target_running},
                    refusal_case{"CFS_78", {true, true, false, false}, yield_to_outcome::target_not_runnable},
                    refusal_case{"CFS_80", {true, false, false, true}, yield_to_outcome::class_refuses},
                    refusal_case{"CFS_81", {false, true, false, true}, yield_to_outcome::class_refuses}),
    [](const auto& test) { return std::string(test.param.label); });

TEST(yield_to_rule, CFS_79_the_policy_may_refuse) {
  const yield_to_completion done = yield_to_after_policy(false, true, false);
  EXPECT_EQ(done.outcome, yield_to_outcome::policy_refuses);
  EXPECT_EQ(kernel_result(done.outcome), 0);
  EXPECT_FALSE(done.reschedule_target_cpu);
  EXPECT_FALSE(done.schedule_self);
}

}  // namespace
}  // namespace vmxsys::models
