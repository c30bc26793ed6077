#include <algorithm>
#include <gtest/gtest.h>

#include "sleeper.hpp"

// Directed yields of the kernel on bare machines.
namespace vmxsys::models::testing {
namespace {

using kind = spying_scheduler::call_kind;
using outcome = yield_to_outcome;

struct yield_case {
  std::vector<int> results;
  std::vector<outcome> outcomes(const kernel_rig& r) const {
    std::vector<outcome> all;
    for (const auto& y : r.log.of<yield_to_fact>()) all.push_back(static_cast<outcome>(y->outcome));
    return all;
  }
};

kernel_rig::body yielder(kernel_rig& r, thread*& target, cycles at, yield_case& c, unsigned times = 1,
                         yield_to_rules rules = {}) {
  return [&r, &target, at, &c, times, rules](thread&) -> cpu::program {
    co_await until(at);
    for (unsigned i = 0; i < times; ++i) c.results.push_back(co_await r.k().yield_to(*target, true, rules));
    co_await compute_for_ever();
  };
}

TEST(kernel_yield_to, ESRCH_when_both_queues_hold_one_thread) {
  yield_case c;
  thread* target = nullptr;
  kernel_rig r{2};
  r.add("y", {0}, yielder(r, target, 2 * ms, c));
  target = &r.hog("t", {1});
  r.run_until(3 * ms);
  EXPECT_EQ(c.results, std::vector<int>{-3});
  EXPECT_EQ(c.outcomes(r), std::vector<outcome>{outcome::nobody_to_switch});
  EXPECT_EQ(r.sent(vector::reschedule, ms), 0u);
  EXPECT_TRUE(r.spy->calls(kind::yield_to, 0).empty()) << "no buddy is touched";
}

TEST(kernel_yield_to, without_the_test_a_running_target_refuses) {
  yield_case c;
  thread* target = nullptr;
  kernel_rig r{2};
  r.add("y", {0}, yielder(r, target, 2 * ms, c, 1, {.esrch_test = false}));
  target = &r.hog("t", {1});
  r.run_until(3 * ms);
  EXPECT_EQ(c.results, std::vector<int>{0});
  EXPECT_EQ(c.outcomes(r), std::vector<outcome>{outcome::target_running});
}

TEST(kernel_yield_to, a_running_target_refuses) {
  yield_case c;
  thread* target = nullptr;
  kernel_rig r{2};
  r.add("y", {0}, yielder(r, target, 2 * ms, c));
  r.hog("company", {0});
  target = &r.hog("t", {1});
  r.run_until(60 * ms);
  EXPECT_EQ(c.outcomes(r), std::vector<outcome>{outcome::target_running});
}

TEST(kernel_yield_to, a_sleeping_target_refuses) {
  yield_case c;
  sleeper s;
  thread* target = nullptr;
  kernel_rig r{2};
  r.add("y", {0}, yielder(r, target, 40 * ms, c));
  r.hog("company", {0});
  target = &r.add("t", {1}, s.body(r));
  r.run_until(100 * ms);
  EXPECT_EQ(c.results, std::vector<int>{0});
  EXPECT_EQ(c.outcomes(r), std::vector<outcome>{outcome::target_not_runnable});
}

// Three threads on one queue; the virtual times are set so that the yielder, the target and the third are in a known
// order. The target is honoured when it is at most the wakeup granularity behind the leftmost.
struct same_queue {
  outcome what{};
  std::string next;
};
same_queue yield_on_one_queue(double target_ms, double other_ms) {
  yield_case c;
  thread* target = nullptr;
  kernel_rig r{1};
  thread& y = r.add("y", {0}, [&](thread& self) -> cpu::program {
    co_await until(50 * ms);
    fair_entity(self).queue()->update_current(r.k().now_ns());
    const virtual_time base = fair_entity(self).vruntime();
    fair_entity(*target).set_vruntime(base + static_cast<virtual_time>(target_ms * 1e6));
    for (auto& t : r.k().threads())
      if (t->name() == "z") fair_entity(*t).set_vruntime(base + static_cast<virtual_time>(other_ms * 1e6));
    c.results.push_back(co_await r.k().yield_to(*target, true));
    co_await compute_for_ever();
  });
  target = &r.hog("t", {0});
  r.hog("z", {0});
  while (c.results.empty() && r.now() < 300 * ms && r.log.of<yield_to_fact>().empty()) r.run_until(r.now() + 100 * us);
  r.run_until(r.now() + 50 * us);
  same_queue result;
  if (r.log.of<yield_to_fact>().empty()) return result;
  result.what = static_cast<outcome>(r.log.of<yield_to_fact>()[0]->outcome);
  result.next = "y";
  const cycles at = r.log.of<yield_to_fact>()[0].at();
  for (const auto& w : r.switches(0))
    if (w.from == y.pid && w.at >= at && w.at < at + 20 * us) {
      for (auto& t : r.k().threads())
        if (t->pid == w.to) result.next = t->name();
      EXPECT_EQ(w.state, 'R') << "yielded, not preempted";
    }
  return result;
}

TEST(kernel_yield_to, on_the_same_queue_the_target_runs_next_if_it_is_close_enough) {
  EXPECT_EQ(yield_on_one_queue(0, 20).next, "t");
  EXPECT_EQ(yield_on_one_queue(-3, 20).next, "t");
  EXPECT_EQ(yield_on_one_queue(3.9, 20).next, "t");
  EXPECT_EQ(yield_on_one_queue(6, 20).next, "y") << "the hint is accepted and ignored";
  EXPECT_EQ(yield_on_one_queue(6, 20).what, outcome::yielded);
  EXPECT_EQ(yield_on_one_queue(6, 2).next, "z") << "the yielder skips, another thread is close";
  EXPECT_EQ(yield_on_one_queue(2, -3.5).next, "z") << "further than the granularity behind the leftmost";
  EXPECT_EQ(yield_on_one_queue(0, -3.5).next, "t");
}

TEST(kernel_yield_to, on_another_queue_the_target_replaces_what_runs_there) {
  yield_case c;
  thread* target = nullptr;
  kernel_rig r{2};
  r.add("y", {0}, yielder(r, target, 51 * ms, c));
  r.hog("company", {0});
  thread& hog = r.hog("hog", {1});
  target = &r.hog("t", {1});
  while (r.log.of<yield_to_fact>().empty() && r.now() < 300 * ms) r.run_until(r.now() + 10 * us);
  ASSERT_EQ(r.log.of<yield_to_fact>().size(), 1u);
  r.run_until(r.now() + 50 * us);
  const auto& y = r.log.of<yield_to_fact>()[0];
  const auto first = static_cast<outcome>(y->outcome);
  if (first == outcome::target_running) GTEST_SKIP() << "the target was on its CPU just then";
  EXPECT_EQ(first, outcome::yielded);
  EXPECT_EQ(r.sent(vector::reschedule, y.at() - 2 * us), 1u);
  bool replaced = false;
  for (const auto& w : r.switches(1))
    replaced = replaced || (w.at > y.at() && w.from == hog.pid && w.to == target->pid);
  EXPECT_TRUE(replaced);
}

// A yielder far to the left of its target burns its lead: every yield is accepted, and the next pick is the yielder
// again, until the target is no more than 4 ms behind. 12 ms of lead, 25 us a round: 8 ms, some 319 rounds in vain.
TEST(kernel_yield_to, S0_4_a_lead_beyond_the_granularity_is_burnt_in_futile_yields) {
  constexpr cycles round{25'000};
  thread *target = nullptr, *third = nullptr;
  bool stop = false;
  kernel_rig r{1};
  thread& y = r.add(
      "y", {0},
      [&](thread& self) -> cpu::program {
        auto here = co_await isa::in(kernel_text);
        co_await until(40 * ms);
        fair_entity(self).queue()->update_current(r.k().now_ns());
        fair_entity(*target).set_vruntime(fair_entity(self).vruntime() + 12'000'000);
        fair_entity(*third).set_vruntime(fair_entity(self).vruntime() + 40'000'000);
        cycles next = r.now();
        while (!stop) {
          next += round;
          co_await until(next);
          co_await r.k().yield_to(*target, true);
        }
        co_await compute_for_ever();
      },
      kernel_text);
  target = &r.add("t", {0}, [&](thread&) -> cpu::program {
    co_await until(41 * ms);
    stop = true;
    co_await compute_for_ever();
  });
  third = &r.hog("z", {0});
  r.run_until(40 * ms);
  ASSERT_EQ(&r.k().current(0), &y) << "it is in kernel code and was not preempted";
  r.run_until(80 * ms);
  const auto& yields = r.log.of<yield_to_fact>();
  cycles left{0};
  for (const auto& w : r.switches(0))
    if (w.from == y.pid && w.at > 40 * ms && left == cycles{0}) left = w.at;
  ASSERT_NE(left, cycles{0});
  std::size_t before = 0;
  for (const auto& f : yields) before += f.at() < left;
  EXPECT_GE(before, 316u);
  EXPECT_LE(before, 321u);
  for (const auto& f : yields)
    if (f.at() < left) EXPECT_EQ(static_cast<outcome>(f->outcome), outcome::yielded);
}

}  // namespace
}  // namespace vmxsys::models::testing
