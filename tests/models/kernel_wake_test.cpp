#include <algorithm>
#include <gtest/gtest.h>
#include <map>

#include "sleeper.hpp"

// Sleeping and waking on bare machines: what a wake-up sends, whom it preempts, and that none is lost.
namespace vmxsys::models::testing {
namespace {

using kind = spying_scheduler::call_kind;

TEST(kernel_wake, a_thread_on_an_idle_cpu_takes_one_reschedule_interrupt) {
  sleeper s;
  std::vector<bool> answers;
  kernel_rig r{2};
  thread& t = r.add("sleeper", {1}, s.body(r));
  r.add("waker", {0}, waker(r, s, t, {3 * ms, 5 * ms}, &answers));
  r.run_until(2 * ms);
  EXPECT_TRUE(r.hw.cpu(1).halted());
  r.run_until(8 * ms);
  EXPECT_EQ(s.wakes, 2u);
  EXPECT_EQ(answers, (std::vector<bool>{true, true}));
  EXPECT_EQ(r.sent(vector::reschedule, 2 * ms), 2u);
  EXPECT_LT(s.woken_at[0] - 3 * ms, 10 * us);
  ASSERT_EQ(r.log.of<sched_wakeup_fact>().size(), 2u);
  EXPECT_EQ(r.log.of<sched_wakeup_fact>()[0]->target_cpu, 1u);
}

TEST(kernel_wake, one_that_is_awake_is_not_woken) {
  std::vector<bool> answers;
  sleeper s;
  kernel_rig r{2};
  thread& hog = r.hog("hog", {1});
  r.add("waker", {0}, waker(r, s, hog, {3 * ms, 4 * ms}, &answers));
  r.run_until(8 * ms);
  EXPECT_EQ(answers, (std::vector<bool>{false, false}));
  EXPECT_EQ(r.sent(vector::reschedule, 2 * ms), 0u);
  EXPECT_TRUE(r.log.of<sched_wakeup_fact>().empty());
}

// A run queue's lock is held with interrupts off: who waits for one waits for a CPU that works on it, also while that
// CPU switches from one thread to another.
TEST(kernel_wake, no_wait_for_a_run_queue_is_in_vain) {
  sleeper s;  // whose flag stays as it is: woken for nothing, it sleeps again
  kernel_rig r{2, round_robin(10'000'000)};
  thread& t = r.add("sleeper", {1}, s.body(r));
  for (const char* name : {"a", "b"})
    r.add(name, {1}, [&r](thread&) -> cpu::program {
      for (;;) {
        co_await isa::compute(cycles{300});
        co_await r.k().yield();
      }
    });
  r.add("waker", {0}, [&](thread&) -> cpu::program {
    co_await until(3 * ms);
    for (;;) {
      co_await isa::compute(cycles{777});
      co_await r.k().wake_up(t);
    }
  });
  r.run_until(10 * ms);
  const auto waits = r.log.of<lock_wait_fact>();
  EXPECT_GT(waits.size(), 50u);
  for (const auto& w : waits) EXPECT_EQ(w->futile, cycles{0}) << w.at().count();
}

TEST(kernel_wake, a_thread_that_does_not_preempt_sends_no_interrupt) {
  sleeper s;
  kernel_rig r{2, round_robin(10'000'000)};  // a wakee never preempts
  thread& t = r.add("sleeper", {1}, s.body(r));
  r.hog("hog", {1});
  r.add("waker", {0}, waker(r, s, t, {31 * ms}));
  r.run_until(30 * ms);
  const std::size_t before = s.wakes;
  r.run_until(80 * ms);
  EXPECT_EQ(s.wakes, before + 1);
  EXPECT_EQ(r.sent(vector::reschedule, 30 * ms), 0u);
  EXPECT_GT(s.woken_at.back(), 32 * ms) << "at a tick";
}

TEST(kernel_wake, CFS_55_a_sleeper_with_credit_preempts_user_mode_at_once) {
  sleeper s;
  kernel_rig r{2};
  thread& t = r.add("sleeper", {1}, s.body(r));
  thread& hog = r.hog("hog", {1});
  r.add("waker", {0}, waker(r, s, t, {101 * ms}));
  r.run_until(120 * ms);
  ASSERT_EQ(s.wakes, 1u);
  EXPECT_LT(s.woken_at[0] - 101 * ms, 10 * us);
  EXPECT_EQ(r.sent(vector::reschedule, 100 * ms), 1u);
  const auto all = r.switches(1);
  const auto to = std::find_if(all.begin(), all.end(), [&](const auto& w) { return w.at > 100 * ms; });
  ASSERT_NE(to, all.end());
  EXPECT_EQ(to->from, hog.pid);
  EXPECT_EQ(to->to, t.pid);
  EXPECT_EQ(to->state, 'P');
}

TEST(kernel_wake, KK_07_no_second_interrupt_while_a_reschedule_is_pending) {
  sleeper first, second;
  kernel_rig r{2};
  thread& a = r.add("a", {1}, first.body(r));
  thread& b = r.add("b", {1}, second.body(r));
  r.add("stubborn", {1}, [](thread&) -> cpu::program {  // interrupts off, so the first one is not taken yet
    co_await until(29 * ms);
    auto here = co_await isa::in(kernel_text);
    co_await isa::cli();
    co_await isa::compute(2 * ms);
    co_await isa::sti();
  });
  r.add("waker", {0}, [&](thread&) -> cpu::program {
    co_await until(30 * ms);
    first.flag = second.flag = true;
    co_await r.k().wake_up(a);
    co_await r.k().wake_up(b);
  });
  r.run_until(40 * ms);
  EXPECT_EQ(first.wakes, 1u);
  EXPECT_EQ(second.wakes, 1u);
  EXPECT_EQ(r.sent(vector::reschedule, 28 * ms), 1u);
}

// The sleeper begins to go to sleep at a fixed cycle; the waker comes at every cycle around it: before the mark,
// between mark and queue lock, while the CPU looks for something else, in the switch, in idle. None may be lost.
struct race_counts {
  std::map<unsigned, unsigned> wakes;  // how many runs had this many wakes
  unsigned switched = 0, kept = 0;     // the sleeper left its CPU, or was caught before
  unsigned taken_back = 0;             // of these: it had the mark already, and was still queued
};

constexpr cycles goes_to_sleep{2'300'000};  // no tick is near

race_counts sweep(cycles from, cycles to, cycles schedule_cost) {
  race_counts counts;
  for (cycles at = from; at < to; at += cycles{1}) {
    sleeper s;
    std::vector<bool> answers;
    kernel_rig r{2, fair(), [&](kernel_config& c) { c.costs.schedule = schedule_cost; }};
    thread& t = r.add("sleeper", {1}, s.body(r, goes_to_sleep));
    r.add("waker", {0}, waker(r, s, t, {at}, &answers));
    r.run_until(goes_to_sleep + cycles{60'000});
    ++counts.wakes[s.wakes];
    bool left = false;
    for (const auto& w : r.switches(1)) left = left || (w.from == t.pid && w.at < s.woken_at.at(0) && w.state == 'S');
    ++(left ? counts.switched : counts.kept);
    counts.taken_back += !left && answers.at(0);
    if (s.wakes != 1) ADD_FAILURE() << "woken at " << at.count() << ": " << s.wakes << " wakes";
  }
  return counts;
}

TEST(kernel_wake, is_never_lost_on_the_way_to_sleep) {
  for (const cycles schedule_cost : {cycles{250}, cycles{1'500}}) {  // quicker and slower than the waker
    const race_counts c = sweep(goes_to_sleep - cycles{1'500}, goes_to_sleep + cycles{2'500}, schedule_cost);
    EXPECT_EQ(c.wakes.size(), 1u);
    EXPECT_GT(c.switched, 500u);
    EXPECT_GT(c.kept, 500u);
    if (schedule_cost > cycles{1'000}) EXPECT_GT(c.taken_back, 500u);
  }
}

TEST(kernel_wake, is_never_lost_while_switching_to_another_thread) {
  // The hog is in kernel code, so the sleeper waits behind it if it does not catch the CPU on its way out.
  unsigned kept = 0, queued = 0;
  for (cycles at = goes_to_sleep - cycles{1'500}; at < goes_to_sleep + cycles{2'500}; at += cycles{3}) {
    sleeper s;
    kernel_rig r{2};
    thread& t = r.add("sleeper", {1}, s.body(r, goes_to_sleep));
    r.add(
        "brief", {1},
        [](thread&) -> cpu::program {
          for (int i = 0; i < 20; ++i) co_await isa::compute(cycles{100'000});
        },
        kernel_text);
    r.add("waker", {0}, waker(r, s, t, {at}));
    r.run_until(14 * ms);
    EXPECT_EQ(s.wakes, 1u) << at.count();
    EXPECT_NE(t.state == thread_state::sleeping, t.entity->on_rq) << at.count();
    bool left = false;
    for (const auto& w : r.switches(1)) left = left || (w.from == t.pid && w.at < s.woken_at.at(0) && w.state == 'S');
    ++(left ? queued : kept);
  }
  EXPECT_GT(kept, 100u);
  EXPECT_GT(queued, 100u);
}

class slow_leaver final : public switch_notifier {
 public:
  cpu::program sched_out(thread&) override { co_await isa::compute(30 * us); }
  cpu::program sched_in(thread&) override { co_return; }
};

TEST(kernel_wake, is_never_lost_when_the_thread_wakes_up_on_another_cpu) {
  // The thread takes long to leave CPU 1: CPU 2 could have it before. A strand is never on two CPUs.
  unsigned stayed = 0, moved = 0;
  for (cycles at = goes_to_sleep - cycles{1'500}; at < goes_to_sleep + cycles{2'500}; at += cycles{7}) {
    sleeper s;
    slow_leaver slow;
    kernel_rig r{3};
    r.hog("hog", {1});  // behind the sleeper, which starts further left
    thread& t = r.add("sleeper", {1, 2}, s.body(r, goes_to_sleep));
    t.notifier = &slow;
    r.add("waker", {0}, waker(r, s, t, {at}));
    r.run_until(goes_to_sleep + 300 * us);
    ASSERT_EQ(s.wakes, 1u) << at.count();
    ++(t.entity->cpu == 2 ? moved : stayed);
  }
  EXPECT_GT(stayed, 50u);
  EXPECT_GT(moved, 100u);
}

TEST(kernel_wake, two_wakers_wake_once) {
  for (std::uint64_t offset = 0; offset < 1'500; offset += 7) {
    sleeper s;
    std::vector<bool> answers;
    kernel_rig r{3};
    thread& t = r.add("sleeper", {1}, s.body(r));
    for (unsigned i : {0u, 2u}) r.add("waker", {i}, waker(r, s, t, {2 * ms + cycles{i == 0 ? 0 : offset}}, &answers));
    r.run_until(2 * ms + 8 * us);
    EXPECT_EQ(s.wakes, 1u) << offset;
    EXPECT_EQ(std::count(answers.begin(), answers.end(), true), 1) << offset;
    EXPECT_EQ(r.log.of<sched_wakeup_fact>().size(), 1u) << offset;
  }
}

TEST(kernel_wake, a_thread_without_affinity_goes_where_it_is_idle) {
  sleeper s;
  kernel_rig r{3};
  r.hog("hog0", {0});
  thread& t = r.add("sleeper", {}, s.body(r));
  r.run_until(2 * ms);
  const unsigned home = t.entity->cpu;
  ASSERT_NE(home, 0u);
  r.run_until(3 * ms);
  kernel_rig busy{3};
  sleeper s2;
  thread& t2 = busy.add("sleeper", {0, 1, 2}, s2.body(busy));  // starts on CPU 0
  busy.hog("hog0", {0});
  busy.hog("hog1", {1});
  busy.add("waker", {1}, waker(busy, s2, t2, {60 * ms}));
  busy.run_until(100 * ms);
  ASSERT_EQ(s2.wakes, 1u);
  EXPECT_EQ(t2.entity->cpu, 2u);
  ASSERT_EQ(busy.log.of<sched_migrate_fact>().size(), 1u);
  EXPECT_EQ(busy.log.of<sched_migrate_fact>()[0]->from, 0u);
  EXPECT_EQ(busy.log.of<sched_migrate_fact>()[0]->to, 2u);
}

}  // namespace
}  // namespace vmxsys::models::testing
