#include <gtest/gtest.h>
#include <memory>
#include <vector>

#include <vmxsys/models/schedulers/balancer.hpp>
#include <vmxsys/models/schedulers/cfs.hpp>
#include <vmxsys/models/schedulers/round_robin.hpp>

#include "machine_double.hpp"

namespace vmxsys::models {
namespace {

constexpr nanoseconds ms = 1'000'000;

TEST(balance_interval, WK_28_of_a_busy_cpu) { EXPECT_EQ(balance_interval_jiffies(8, true, 8), 31u); }

TEST(balance_interval, limits) {
  EXPECT_EQ(balance_interval_jiffies(8, false, 8), 2u);
  EXPECT_EQ(balance_interval_jiffies(1, false, 8), 1u) << "jiffies round up";
  EXPECT_EQ(balance_interval_jiffies(5, false, 8, {.hz = 250}), 2u) << "1.25";
  EXPECT_EQ(balance_interval_jiffies(64, true, 8), 200u) << "hz * cpus / 10";
  EXPECT_EQ(balance_interval_jiffies(8, true, 64, {32, 1, 1000}), 255u);
  EXPECT_EQ(balance_interval_jiffies(0, true, 8), 1u);
}

TEST(balance_state, backs_off_and_comes_back) {
  balance_state state(8);
  EXPECT_EQ(state.interval_ms(), 8u);
  state.nothing_to_pull();
  EXPECT_EQ(state.interval_ms(), 16u);
  state.nothing_to_pull();
  EXPECT_EQ(state.interval_ms(), 16u);
  state.pulled();
  EXPECT_EQ(state.interval_ms(), 8u);
}

TEST(balance_state, insists_after_failures) {
  balance_state state(8);
  state.failed(balance_reason::periodic);
  EXPECT_EQ(state.heat({}), cache_heat::respect);
  state.failed(balance_reason::newly_idle);
  EXPECT_EQ(state.failures(), 1u);
  state.failed(balance_reason::periodic);
  EXPECT_EQ(state.heat({}), cache_heat::ignore) << "more than cache_nice_tries";
  state.pulled();
  EXPECT_EQ(state.heat({}), cache_heat::respect);
}

TEST(idle_estimate, follows_slowly_and_is_capped) {
  idle_estimate estimate(500'000);
  EXPECT_EQ(estimate.average(), 1'000'000u);
  estimate.idled_for(200'000);
  EXPECT_EQ(estimate.average(), 900'000u);
  estimate.idled_for(100 * ms);
  EXPECT_EQ(estimate.average(), 1'000'000u);
  EXPECT_TRUE(estimate.worth(1'000'000));
  EXPECT_FALSE(estimate.worth(1'000'001));
}

TEST(busiest_cpu, needs_two_more_than_it_gets) {
  machine_double m(4, 4);
  m.running = {0, 1, 1, 1};
  EXPECT_EQ(busiest_cpu(m, 0, balance_level::machine), std::nullopt);
  m.running = {0, 2, 3, 1};
  EXPECT_EQ(busiest_cpu(m, 0, balance_level::machine), 2u);
  m.running = {1, 2, 2, 2};
  EXPECT_EQ(busiest_cpu(m, 0, balance_level::machine), std::nullopt);
  m.running = {1, 2, 3, 3};
  EXPECT_EQ(busiest_cpu(m, 0, balance_level::machine), 2u);
  m.loads[3] = 5000;
  EXPECT_EQ(busiest_cpu(m, 0, balance_level::machine), 3u);
}

TEST(busiest_cpu, ties_go_round_and_not_to_the_low_numbers) {
  machine_double m(4, 4);
  m.running = {2, 2, 0, 2};
  EXPECT_EQ(busiest_cpu(m, 2, balance_level::machine), 3u);
}

template <class Scheduler>
std::unique_ptr<scheduler> make_scheduler();
template <>
std::unique_ptr<scheduler> make_scheduler<cfs_scheduler>() {
  return std::make_unique<cfs_scheduler>(4, cfs_tunables::of(cfs_version::v6_1, 4));
}
template <>
std::unique_ptr<scheduler> make_scheduler<round_robin_scheduler>() {
  return std::make_unique<round_robin_scheduler>(4);
}

template <class Scheduler>
class pulling : public testing::Test {
 protected:
  // Queues n tasks on a CPU; the first one runs.
  void fill(unsigned cpu, unsigned n) {
    for (unsigned i = 0; i < n; ++i) {
      entities.push_back(policy->make_entity(static_cast<std::uint32_t>(entities.size()), 0));
      policy->enqueue(cpu, *entities.back(), enqueue_reason::fork, 0);
    }
    policy->pick_next(cpu, 0);
    for (unsigned c = 0; c < 4; ++c) machine.running[c] = policy->nr_running(c);
  }

  machine_double machine{4, 2};
  std::unique_ptr<scheduler> policy = make_scheduler<Scheduler>();
  std::vector<std::unique_ptr<sched_entity>> entities;
};
using policies = testing::Types<cfs_scheduler, round_robin_scheduler>;
TYPED_TEST_SUITE(pulling, policies);

TYPED_TEST(pulling, goes_to_the_nearest_level_that_has_something) {
  this->fill(1, 2);
  this->fill(3, 4);
  const auto found = find_pull(*this->policy, this->machine, 0, ms);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->from, 1u);
  EXPECT_EQ(found->level, balance_level::cache);
  ASSERT_NE(found->entity, nullptr);
  EXPECT_NE(found->entity, this->policy->current(1));

  this->policy->dequeue(1, *found->entity, dequeue_reason::migrate, ms);
  this->policy->enqueue(0, *found->entity, enqueue_reason::migrate, ms);
  EXPECT_EQ(this->policy->pick_next(0, ms), found->entity);
  EXPECT_EQ(found->entity->cpu, 0u);
}

TYPED_TEST(pulling, says_so_when_nothing_there_may_move) {
  this->fill(3, 2);
  for (const auto& e : this->entities) e->affinity = {false, false, false, true};
  const auto found = find_pull(*this->policy, this->machine, 0, ms);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->from, 3u);
  EXPECT_EQ(found->entity, nullptr);
}

TYPED_TEST(pulling, leaves_cache_hot_tasks_until_it_insists) {
  this->fill(1, 2);
  scheduler& s = *this->policy;
  s.yield(1, 40 * ms);
  sched_entity* ran = s.current(1);
  ASSERT_NE(s.pick_next(1, 40 * ms), ran);
  EXPECT_EQ(find_pull(s, this->machine, 0, 40 * ms + 499'999)->entity, nullptr);
  EXPECT_EQ(find_pull(s, this->machine, 0, 40 * ms + 499'999, cache_heat::ignore)->entity, ran);
  EXPECT_EQ(find_pull(s, this->machine, 0, 40 * ms + 500'000)->entity, ran);
}

TYPED_TEST(pulling, balanced_machines_stay) {
  for (unsigned cpu = 0; cpu < 4; ++cpu) this->fill(cpu, 1 + cpu % 2);
  EXPECT_FALSE(find_pull(*this->policy, this->machine, 0, ms));
}

}  // namespace
}  // namespace vmxsys::models
