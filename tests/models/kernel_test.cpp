#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <set>

#include "kernel_rig.hpp"

// The kernel over the instruction set, on bare machines: bring-up, sharing a CPU, waking, timers, balancing, directed
// yields.
namespace vmxsys::models::testing {
namespace {

using kind = spying_scheduler::call_kind;
using outcome = yield_to_outcome;

constexpr unsigned init_mode = 5, startup_mode = 6;

// -- bring-up ---------------------------------------------------------------------------------------------------------

TEST(kernel_boot, every_cpu_comes_up_by_init_and_sipi_and_runs_what_is_bound_to_it) {
  for (const unsigned cpus : {1u, 2u, 3u, 4u, 6u, 8u}) {
    std::vector<int> ran_on(cpus, -1);
    kernel_rig r{cpus};
    for (unsigned i = 0; i < cpus; ++i)
      r.add("t" + std::to_string(i), {i}, [&, i](thread&) -> cpu::program {
        ran_on[i] = static_cast<int>(r.k().index_of(co_await isa::this_cpu()));
        co_await isa::compute(ms);
      });
    r.run_until(3 * ms);
    std::map<unsigned, unsigned> by_mode;
    for (const auto& s : r.log.of<cpu::ipi_sent_fact>()) ++by_mode[s->mode];
    EXPECT_EQ(by_mode[init_mode], cpus - 1);
    EXPECT_EQ(by_mode[startup_mode], cpus - 1);
    for (unsigned i = 0; i < cpus; ++i) {
      EXPECT_EQ(ran_on[i], static_cast<int>(i)) << cpus << " CPUs";
      EXPECT_TRUE(r.k().current(i).idle()) << "the thread has ended";
      EXPECT_TRUE(r.hw.cpu(i).halted());
    }
  }
}

TEST(kernel_boot, threads_without_affinity_spread_over_idle_cpus) {
  kernel_rig r{4};
  for (unsigned i = 0; i < 4; ++i) r.hog("t" + std::to_string(i), {});
  r.run_until(2 * ms);
  for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(r.k().nr_running(i), 1u);
}

TEST(kernel_boot, more_threads_than_cpus_all_run) {
  for (const unsigned cpus : {1u, 2u, 3u}) {
    kernel_rig r{cpus};
    std::vector<unsigned> rounds(7);
    for (unsigned i = 0; i < 7; ++i)
      r.add("t" + std::to_string(i), {}, [&rounds, i](thread&) -> cpu::program {
        for (;;) {
          co_await isa::compute(100 * us);
          ++rounds[i];
        }
      });
    r.run_until(200 * ms);
    EXPECT_GT(*std::min_element(rounds.begin(), rounds.end()), 100u) << cpus;
  }
}

// -- sharing a CPU ----------------------------------------------------------------------------------------------------

struct slice {
  nanoseconds picked, checked;  // picked, and looked at by the tick that ended it
};

/// Slices of a CPU that a tick has ended.
std::vector<slice> slices(const kernel_rig& r, unsigned cpu) {
  std::vector<slice> found;
  const sched_entity* running = nullptr;
  nanoseconds since = 0, last_tick = 0;
  bool ended = false;
  for (const auto& c : r.spy->calls()) {
    if (c.cpu != cpu) continue;
    if (c.kind == kind::tick) {
      last_tick = c.now;
      ended = c.answer;
    } else if (c.kind == kind::pick_next && c.entity != running) {
      if (running != nullptr && ended) found.push_back({since, last_tick});
      running = c.entity;
      since = c.now;
      ended = false;
    }
  }
  return found;
}

TEST(kernel_sharing, CFS_45_two_hogs_switch_at_the_first_tick_behind_their_slice) {
  kernel_rig r{1};
  thread& a = r.hog("a", {0});
  thread& b = r.hog("b", {0});
  r.run_until(400 * ms);
  constexpr nanoseconds ideal = 11'999'994;
  const auto found = slices(r, 0);
  ASSERT_GT(found.size(), 20u);
  for (const slice& s : found) {
    EXPECT_GT(s.checked - s.picked, ideal);
    // A thread is picked a little after the tick that made room for it, so 12 ms later its slice is not quite over.
    EXPECT_LE(s.checked - s.picked, ideal + 4'000'000);
    for (const auto& c : r.spy->calls(kind::tick, 0))
      if (c.now > s.picked && c.now < s.checked)
        EXPECT_LE(c.now - s.picked, ideal) << "an earlier tick would have done";
  }
  for (const auto& s : r.switches(0))
    if (s.from != 0) EXPECT_EQ(s.state, 'P') << s.at.count();
  const auto got = [](thread& t) { return fair_entity(t).sum_exec(); };
  EXPECT_LT(std::max(got(a), got(b)) - std::min(got(a), got(b)), 17'000'000u);
}

TEST(kernel_sharing, CFS_48_three_hogs_take_turns) {
  kernel_rig r{1};
  for (const char* name : {"a", "b", "c"}) r.hog(name, {0});
  r.run_until(300 * ms);
  std::vector<std::uint32_t> order;
  for (const auto& s : r.switches(0))
    if (s.to != 0) order.push_back(s.to);
  ASSERT_GT(order.size(), 20u);
  for (std::size_t i = 6; i < order.size(); ++i) EXPECT_EQ(order[i], order[i - 3]) << i;
  for (const slice& s : slices(r, 0)) EXPECT_GT(s.checked - s.picked, 7'999'994u);
}

// The tick looks some cycles after it came. With a quantum of just the time between the pick and a look, the quantum is
// over there; with one nanosecond more it lasts to the next tick.
TEST(kernel_sharing, a_quantum_ends_at_the_cycle_at_which_the_tick_looks) {
  const auto first_slice = [](nanoseconds quantum) {
    kernel_rig r{1, round_robin(quantum)};
    r.hog("a", {0});
    r.hog("b", {0});
    r.run_until(60 * ms);
    const auto found = slices(r, 0);
    return found.size() > 1 ? found[1] : slice{};
  };
  const slice reference = first_slice(10'000'000);
  const nanoseconds length = reference.checked - reference.picked;
  ASSERT_GT(length, 11'000'000u);
  ASSERT_LT(length, 13'000'000u);
  const auto until_third_look = [&](nanoseconds quantum) {
    const slice s = first_slice(quantum);
    return s.checked - s.picked;
  };
  EXPECT_EQ(until_third_look(length), length);
  EXPECT_NEAR(static_cast<double>(until_third_look(length + 1)), static_cast<double>(length + 4'000'000), 10.0);
}

TEST(kernel_sharing, round_robin_ignores_who_has_run_less) {
  kernel_rig r{1, round_robin(10'000'000)};
  for (const char* name : {"a", "b", "c", "d"}) r.hog(name, {0});
  r.run_until(500 * ms);
  std::vector<std::uint32_t> order;
  for (const auto& s : r.switches(0)) order.push_back(s.to);
  ASSERT_GT(order.size(), 30u);
  for (std::size_t i = 4; i < order.size(); ++i) EXPECT_EQ(order[i], order[i - 4]);
}

// -- preemption of user mode only -------------------------------------------------------------------------------------

TEST(kernel_preemption, a_tick_switches_away_from_user_mode_but_never_from_kernel_code) {
  struct section {
    cycles from, to;
  };
  std::vector<section> in_kernel;
  kernel_rig r{1};
  thread& worker = r.add("worker", {0}, [&](thread&) -> cpu::program {
    for (;;) {
      co_await isa::compute(5 * ms);
      auto here = co_await isa::in(kernel_text);
      const cycles from = r.now();
      co_await isa::compute(37 * ms);
      in_kernel.push_back({from, r.now()});
    }
  });
  r.hog("hog", {0});
  r.run_until(600 * ms);
  ASSERT_GT(in_kernel.size(), 5u);
  unsigned late = 0;
  for (const section& s : in_kernel) {
    EXPECT_LT(s.to - s.from, cycles{37'200'000}) << "nothing but ticks came in between";
    for (const auto& w : r.switches(0)) EXPECT_FALSE(w.at > s.from && w.at < s.to) << "switch at " << w.at.count();
    for (const auto& c : r.spy->calls(kind::tick, 0))
      late += c.answer && cycles{c.now} > s.from && cycles{c.now} < s.to;
  }
  EXPECT_GT(late, 0u) << "ticks wanted to";
  unsigned preempted = 0;
  for (const auto& w : r.switches(0)) preempted += w.from == worker.pid && w.state == 'P';
  EXPECT_GT(preempted, 5u);
}

// -- sleeping and waking ----------------------------------------------------------------------------------------------

/// A thread that sleeps until a flag is set, as often as the flag is.
struct sleeper {
  bool flag = false;
  unsigned wakes = 0;
  std::vector<cycles> woken_at;

  kernel_rig::body body(kernel_rig& r, cycles first = cycles{0}) {
    return [this, &r, first](thread& self) -> cpu::program {
      co_await until(first);
      for (;;) {
        co_await isa::cli();
        while (!flag) {
          r.k().prepare_to_sleep(self);
          if (flag) {
            r.k().cancel_sleep(self);
            break;
          }
          co_await r.k().schedule();
        }
        flag = false;
        ++wakes;
        woken_at.push_back(r.now());
        co_await isa::sti();
        co_await isa::compute(10 * us);
      }
    };
  }
};

/// Sets the flag and wakes the sleeper at a cycle.
kernel_rig::body waker(kernel_rig& r, sleeper& s, thread& t, std::vector<cycles> at,
                       std::vector<bool>* answers = nullptr) {
  return [&r, &s, &t, at, answers](thread&) -> cpu::program {
    for (const cycles when : at) {
      co_await until(when);
      s.flag = true;
      const bool woken = co_await r.k().wake_up(t);
      if (answers != nullptr) answers->push_back(woken);
    }
  };
}

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

// -- timers -----------------------------------------------------------------------------------------------------------

class test_timer final : public timer_event {
 public:
  explicit test_timer(kernel_rig& r, std::function<cpu::program()> then = nothing) : r_{r}, then_{std::move(then)} {}
  cpu::program expire() override {
    fired.push_back(r_.now());
    on.push_back(r_.k().index_of(co_await isa::this_cpu()));
    co_await then_();
  }
  std::vector<cycles> fired;
  std::vector<unsigned> on;

 private:
  kernel_rig& r_;
  std::function<cpu::program()> then_;
};

std::vector<cycles> timer_interrupts(const kernel_rig& r, unsigned cpu, cycles since) {
  std::vector<cycles> found;
  for (const auto& f : r.log.of<cpu::timer_fired_fact>())
    if (f.header.id.source == cpu && f.at() >= since) found.push_back(f.at());
  return found;
}

TEST(kernel_timer, interrupts_at_its_cycle_and_not_before) {
  for (const std::uint64_t extra : {0u, 1u, 31u, 32u, 33u}) {
    kernel_rig r{1};
    test_timer t{r};
    const cycles due = 3 * ms + cycles{extra};
    r.add("armer", {0}, [&](thread&) -> cpu::program {
      co_await until(2 * ms);
      co_await isa::cli();
      co_await r.k().arm(t, due);
      co_await isa::sti();
    });
    r.run_until(due);
    EXPECT_TRUE(timer_interrupts(r, 0, 2 * ms).empty()) << extra;
    EXPECT_TRUE(t.armed());
    EXPECT_EQ(t.due(), due);
    r.run_until(due + cycles{1});
    EXPECT_EQ(timer_interrupts(r, 0, 2 * ms), std::vector<cycles>{due}) << extra;
    r.run_until(due + 20 * us);
    ASSERT_EQ(t.fired.size(), 1u);
    EXPECT_FALSE(t.armed());
    EXPECT_LT(t.fired[0] - due, 10 * us) << "out of an idle state";
  }
}

TEST(kernel_timer, the_earliest_of_several_is_programmed) {
  kernel_rig r{1};
  test_timer a{r}, b{r}, c{r};
  r.add("armer", {0}, [&](thread&) -> cpu::program {
    co_await until(2 * ms);
    co_await isa::cli();
    co_await r.k().arm(a, 3 * ms);
    co_await r.k().arm(b, 2 * ms + 500 * us);
    co_await r.k().arm(c, 3 * ms);
    co_await isa::sti();
  });
  r.run_until(3 * ms + 100 * us);
  ASSERT_EQ(a.fired.size(), 1u);
  ASSERT_EQ(b.fired.size(), 1u);
  ASSERT_EQ(c.fired.size(), 1u);
  EXPECT_LT(b.fired[0], 2 * ms + 510 * us);
  EXPECT_GE(a.fired[0], 3 * ms);
  EXPECT_LT(c.fired[0], 3 * ms + 10 * us) << "in the same interrupt";
  EXPECT_EQ(timer_interrupts(r, 0, 2 * ms), (std::vector<cycles>{2 * ms + 500 * us, 3 * ms}));
}

TEST(kernel_timer, moves_when_armed_again_and_fires_at_once_when_its_time_is_past) {
  kernel_rig r{1};
  test_timer moved{r}, past{r};
  r.add("armer", {0}, [&](thread&) -> cpu::program {
    co_await until(2 * ms);
    co_await isa::cli();
    co_await r.k().arm(moved, 3 * ms);
    co_await r.k().arm(moved, 5 * ms);
    co_await r.k().arm(past, ms);
    co_await isa::sti();
  });
  r.run_until(4 * ms - us);
  EXPECT_TRUE(moved.fired.empty());
  ASSERT_EQ(past.fired.size(), 1u);
  EXPECT_LT(past.fired[0], 2 * ms + 5 * us);
  r.run_until(6 * ms);
  ASSERT_EQ(moved.fired.size(), 1u);
  EXPECT_GE(moved.fired[0], 5 * ms);
}

// Cancelled from another CPU at every cycle around its due time: up to some cycle it never fires, from then on always.
TEST(kernel_timer, can_be_cancelled_up_to_the_cycle_at_which_its_handler_takes_it) {
  const cycles due = 3 * ms;
  std::uint64_t first_too_late = 0;
  for (std::uint64_t offset = 0; offset < 1'200; offset += 1) {
    kernel_rig r{2};
    test_timer t{r};
    r.add("armer", {0}, [&](thread&) -> cpu::program {
      co_await until(2 * ms);
      co_await isa::cli();
      co_await r.k().arm(t, due);
      co_await isa::sti();
      co_await isa::compute(2 * ms);
    });
    r.add("canceller", {1}, [&](thread&) -> cpu::program {
      co_await until(due - cycles{100} + cycles{offset});
      r.k().cancel(t);
    });
    r.run_until(due + 10 * us);
    if (t.fired.empty()) {
      ASSERT_EQ(first_too_late, 0u) << "not monotone at " << offset;
    } else if (first_too_late == 0) {
      first_too_late = offset;
      EXPECT_GT(due - cycles{100} + cycles{offset}, due);
      EXPECT_LE(due - cycles{100} + cycles{offset}, t.fired[0]);
    }
  }
  EXPECT_GT(first_too_late, 100u);
}

TEST(kernel_timer, belongs_to_the_cpu_that_armed_it) {
  kernel_rig r{2};
  test_timer t{r};
  r.add("armer", {1}, [&](thread&) -> cpu::program {
    co_await until(2 * ms);
    co_await isa::cli();
    co_await r.k().arm(t, 3 * ms);
    co_await isa::sti();
  });
  r.run_until(4 * ms);
  EXPECT_EQ(t.on, std::vector<unsigned>{1});
}

TEST(kernel_timer, a_handler_may_wake_the_thread_that_sleeps_for_it) {
  kernel_rig r{1};
  sleeper s;
  thread* sleeping = nullptr;
  test_timer t{r, [&]() -> cpu::program {
                 s.flag = true;
                 co_await r.k().wake_up(*sleeping);
               }};
  sleeping = &r.add("sleeper", {0}, [&](thread& self) -> cpu::program {
    for (int i = 0; i < 3; ++i) {
      co_await isa::cli();
      co_await r.k().arm(t, r.now() + 300 * us);
      while (!s.flag) {
        r.k().prepare_to_sleep(self);
        co_await r.k().schedule();
      }
      s.flag = false;
      s.woken_at.push_back(r.now());
      co_await isa::sti();
    }
  });
  r.run_until(3 * ms);
  ASSERT_EQ(s.woken_at.size(), 3u);
  EXPECT_GT(s.woken_at[2] - s.woken_at[0], 600 * us);
  EXPECT_LT(s.woken_at[2] - s.woken_at[0], 620 * us);
}

// -- ticks ------------------------------------------------------------------------------------------------------------

TEST(kernel_tick, comes_every_period_on_every_busy_cpu_at_its_own_offset) {
  for (const unsigned hz : {100u, 250u, 1000u}) {
    kernel_rig r{4, fair(), [&](kernel_config& c) { c.hz = hz; }};
    for (unsigned i = 0; i < 4; ++i) r.hog("hog", {i});
    r.run_until(100 * ms);
    const std::uint64_t period = 1'000'000'000 / hz;
    const std::uint64_t phase = timer_interrupts(r, 0, cycles{0}).at(0).count();  // of this kernel
    for (unsigned i = 0; i < 4; ++i) {
      const auto at = timer_interrupts(r, i, cycles{0});
      EXPECT_NEAR(static_cast<double>(at.size()), 0.1 * hz, 1.01);
      for (const cycles c : at) EXPECT_EQ(c.count() % period, (phase + period / 4 * i) % period) << "CPU " << i;
    }
  }
}

TEST(kernel_tick, stops_on_an_idle_cpu_and_starts_with_the_next_thread) {
  sleeper s;
  kernel_rig r{2};
  thread& t = r.add("sleeper", {1}, s.body(r));
  r.add("waker", {0}, waker(r, s, t, {100 * ms}));
  r.run_until(99 * ms);
  EXPECT_TRUE(timer_interrupts(r, 1, 3 * ms).empty());
  EXPECT_EQ(timer_interrupts(r, 0, 3 * ms).size(), 24u) << "the waker computes";
  r.run_until(300 * ms);
  EXPECT_EQ(s.wakes, 1u);
  EXPECT_TRUE(timer_interrupts(r, 1, 105 * ms).empty());
  EXPECT_TRUE(timer_interrupts(r, 0, 105 * ms).empty());
}

TEST(kernel_idle, every_cycle_of_an_idle_cpu_is_booked_as_idle) {
  kernel_rig r{3};
  r.hog("hog", {1});
  r.run_until(10 * ms);
  const auto idle = [&](unsigned cpu) { return r.hw.cpu(cpu).account().total(cpu::world::root, cpu::bucket::idle); };
  const auto user = [&](unsigned cpu) { return r.hw.cpu(cpu).account().total(cpu::world::root, cpu::bucket::user); };
  const cycles idle0 = idle(0), idle1 = idle(1), idle2 = idle(2), user1 = user(1);
  const cycles before = r.now();
  r.run_until(60 * ms);
  const cycles span = r.now() - before;
  EXPECT_EQ(idle(0) - idle0, span);
  EXPECT_EQ(idle(2) - idle2, span);
  EXPECT_EQ(idle(1) - idle1, cycles{0});
  EXPECT_GT(user(1) - user1, span - 100 * us);
  EXPECT_LT(user(1) - user1, span) << "ticks";
}

// -- balancing and affinity -------------------------------------------------------------------------------------------

TEST(kernel_balance, a_cpu_that_runs_dry_pulls_from_a_longer_queue) {
  kernel_rig r{2};
  r.add("brief", {1}, [](thread&) { return until(10 * ms); });
  for (const char* name : {"a", "b"}) r.hog(name, {0, 1});
  r.run_until(9 * ms);
  EXPECT_EQ(r.k().nr_running(0), 2u);
  EXPECT_TRUE(r.log.of<sched_migrate_fact>().empty()) << "2 against 1 is no imbalance";
  r.run_until(100 * ms);
  ASSERT_GE(r.log.of<sched_migrate_fact>().size(), 1u);
  const auto& m = r.log.of<sched_migrate_fact>()[0];
  EXPECT_EQ(m->from, 0u);
  EXPECT_EQ(m->to, 1u);
  EXPECT_LT(m.at() - 10 * ms, 20 * us);
  EXPECT_EQ(r.k().nr_running(0), 1u);
  EXPECT_EQ(r.k().nr_running(1), 1u);
}

TEST(kernel_balance, a_busy_cpu_pulls_in_its_periodic_balance) {
  kernel_rig r{2};
  r.hog("own", {1});
  for (const char* name : {"a", "b", "c", "d"}) r.hog(name, {0, 1});
  r.run_until(300 * ms);
  EXPECT_EQ(r.log.of<sched_migrate_fact>().size(), 1u) << "then 3 against 2 is no imbalance";
  EXPECT_EQ(r.k().nr_running(0), 3u);
  EXPECT_EQ(r.k().nr_running(1), 2u);
}

TEST(kernel_balance, respects_affinity) {
  kernel_rig r{2};
  r.add("brief", {1}, [](thread&) { return until(10 * ms); });
  for (const char* name : {"a", "b", "c"}) r.hog(name, {0});
  r.run_until(300 * ms);
  EXPECT_TRUE(r.log.of<sched_migrate_fact>().empty());
  EXPECT_EQ(r.k().nr_running(0), 3u);
  EXPECT_TRUE(r.k().current(1).idle());
}

// -- directed yield ---------------------------------------------------------------------------------------------------

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
  EXPECT_EQ(yield_on_one_queue(6, 2).next, "z") << "the yielder skips, somebody else is close";
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

// -- the run queue's lock ---------------------------------------------------------------------------------------------

// From the pick that changes the thread until the stacks are switched nobody else may touch the queue: its lock is held
// across the switch.
TEST(kernel_queue_lock, is_held_across_the_switch) {
  kernel_rig r{3};
  std::vector<sleeper> s(4);
  std::vector<thread*> t;
  for (unsigned i = 0; i < 4; ++i) t.push_back(&r.add("sleeper", {0}, s[i].body(r)));
  for (unsigned w : {1u, 2u})
    r.add("waker", {w}, [&, w](thread&) -> cpu::program {
      for (std::uint64_t n = 0;; ++n) {
        co_await isa::compute(cycles{40'701 + n * 37 % 977 + w * 13});
        const std::size_t i = n * 5 % 4;
        s[i].flag = true;
        co_await r.k().wake_up(*t[i]);
      }
    });
  std::vector<const sched_entity*> running(3);
  std::vector<bool> switching(3);
  std::size_t seen = 0, violations = 0, switches = 0;
  const auto catch_up = [&] {
    const auto& all = r.log.of<cpu::switch_fact>();
    for (; seen < all.size(); ++seen) switching[all[seen].header.id.source] = false;
  };
  r.spy->on_call = [&](const spying_scheduler::call& c) {
    catch_up();
    violations += switching[c.cpu];
    if (c.kind == kind::pick_next && c.entity != running[c.cpu]) {
      running[c.cpu] = c.entity;
      switching[c.cpu] = true;
      ++switches;
    }
  };
  r.run_until(40 * ms);
  EXPECT_EQ(violations, 0u);
  EXPECT_GT(switches, 500u);
  for (const sleeper& one : s) EXPECT_GT(one.wakes, 100u);
}

// -- fast and stepped -------------------------------------------------------------------------------------------------

TEST(kernel_equality, fast_and_stepped_state_the_same_facts) {
  const auto run = [](bool stepped) {
    kernel_rig r{3, fair(), {}, stepped};
    std::vector<sleeper> s(3);
    std::vector<thread*> t;
    for (unsigned i = 0; i < 3; ++i) t.push_back(&r.add("sleeper", {}, s[i].body(r)));
    for (unsigned w : {0u, 1u, 2u})
      r.add("waker", {}, [&, w](thread&) -> cpu::program {
        for (std::uint64_t n = 0;; ++n) {
          co_await isa::compute(cycles{1'701 + n * 37 % 977 + w * 13});
          const std::size_t i = (n + w) % 3;
          s[i].flag = true;
          co_await r.k().wake_up(*t[i]);
          if (n % 7 == 0) {
            auto here = co_await isa::in(kernel_text);
            const unsigned me = r.k().index_of(co_await isa::this_cpu());
            co_await r.k().call_on((me + 1) % 3, [&]() -> cpu::program { co_await isa::compute(cycles{100}); });
          }
          if (n % 5 == 0) co_await r.k().yield_to(*t[i], true);
        }
      });
    for (cycles to = 500 * us; to <= 15 * ms; to += 377 * us) {
      r.run_until(to);
      r.hw.materialise();
    }
    return std::pair{r.hash.value(), r.hash.count()};
  };
  const auto fast = run(false);
  EXPECT_GT(fast.second, 10'000u);
  EXPECT_EQ(run(true), fast);
}

}  // namespace
}  // namespace vmxsys::models::testing
