#include <gtest/gtest.h>
#include <memory>
#include <vector>

#include <vmxsys/models/schedulers/round_robin.hpp>

namespace vmxsys::models {
namespace {

constexpr nanoseconds ms = 1'000'000;

class round_robin : public testing::Test {
 protected:
  sched_entity& queued(unsigned cpu = 0) {
    entities.push_back(s.make_entity(static_cast<std::uint32_t>(entities.size()), 0));
    s.enqueue(cpu, *entities.back(), enqueue_reason::fork, 0);
    return *entities.back();
  }

  round_robin_scheduler s{2};
  std::vector<std::unique_ptr<sched_entity>> entities;
};

TEST_F(round_robin, runs_in_turn_at_the_end_of_each_quantum) {
  sched_entity& a = queued();
  sched_entity& b = queued();
  sched_entity& c = queued();
  EXPECT_EQ(s.pick_next(0, 0), &a);
  EXPECT_FALSE(s.tick(0, 10 * ms - 1));
  EXPECT_EQ(s.pick_next(0, 10 * ms - 1), &a) << "without a reason to give way it goes on";
  EXPECT_TRUE(s.tick(0, 10 * ms));
  EXPECT_EQ(s.pick_next(0, 10 * ms), &b);
  EXPECT_FALSE(s.tick(0, 19 * ms));
  EXPECT_TRUE(s.tick(0, 20 * ms));
  EXPECT_EQ(s.pick_next(0, 20 * ms), &c);
  EXPECT_TRUE(s.tick(0, 30 * ms));
  EXPECT_EQ(s.pick_next(0, 30 * ms), &a);
  EXPECT_EQ(s.nr_running(0), 3u);
}

TEST_F(round_robin, a_lone_task_is_not_disturbed) {
  sched_entity& a = queued();
  s.pick_next(0, 0);
  EXPECT_FALSE(s.tick(0, 1000 * ms));
  s.yield(0, 1000 * ms);
  EXPECT_EQ(s.pick_next(0, 1000 * ms), &a);
}

TEST_F(round_robin, wakees_wait) {
  sched_entity& a = queued();
  EXPECT_TRUE(s.check_preempt(0, a, 0)) << "idle CPU";
  s.pick_next(0, 0);
  sched_entity& b = queued();
  EXPECT_FALSE(s.check_preempt(0, b, 0));
  s.dequeue(0, a, dequeue_reason::sleep, 1);
  EXPECT_EQ(s.current(0), nullptr);
  EXPECT_EQ(s.pick_next(0, 1), &b);
  s.dequeue(0, b, dequeue_reason::sleep, 2);
  EXPECT_EQ(s.pick_next(0, 2), nullptr);
}

TEST_F(round_robin, directed_yield_puts_the_target_first) {
  sched_entity& a = queued();
  queued();
  sched_entity& c = queued();
  s.pick_next(0, 0);
  EXPECT_FALSE(s.yield_to(0, a, 0)) << "to itself";
  EXPECT_TRUE(s.yield_to(0, c, 0));
  EXPECT_EQ(s.pick_next(0, 0), &c);
}

TEST_F(round_robin, a_task_is_cache_hot_where_it_ran_and_nowhere_else) {
  sched_entity& a = queued();
  queued();
  s.pick_next(0, 0);
  EXPECT_TRUE(s.tick(0, 10 * ms));
  s.pick_next(0, 10 * ms);
  EXPECT_EQ(s.detach_candidate(0, 1, 10 * ms + ms / 2 - 1, cache_heat::respect), nullptr);
  EXPECT_EQ(s.detach_candidate(0, 1, 10 * ms + ms / 2, cache_heat::respect), &a);
  s.dequeue(0, a, dequeue_reason::migrate, 10 * ms);
  s.enqueue(1, a, enqueue_reason::migrate, 10 * ms);
  EXPECT_EQ(s.detach_candidate(1, 0, 10 * ms + 1, cache_heat::respect), &a) << "it has not run there";
}

TEST_F(round_robin, directed_yield_across_cpus) {
  sched_entity& a = queued(0);
  sched_entity& b = queued(0);
  s.pick_next(0, 0);
  sched_entity& remote = queued(1);
  s.pick_next(1, 0);
  sched_entity& waiting = queued(1);
  sched_entity& target = queued(1);
  EXPECT_TRUE(s.yield_to(0, target, 0));
  EXPECT_EQ(s.pick_next(0, 0), &b) << "the yielder gives way on its own queue";
  EXPECT_EQ(s.pick_next(1, 0), &remote) << "the remote current is not taken off";
  EXPECT_TRUE(s.tick(1, 10 * ms));
  EXPECT_EQ(s.pick_next(1, 10 * ms), &target);
  EXPECT_TRUE(a.on_rq && waiting.on_rq);
}

}  // namespace
}  // namespace vmxsys::models
