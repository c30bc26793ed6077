#include <algorithm>
#include <gtest/gtest.h>
#include <set>

#include <vmxsys/models/schedulers/balancer.hpp>

#include "sleeper.hpp"

// The kernel over the instruction set, on bare machines: bring-up, sharing a CPU, ticks, balancing, its queue lock.
namespace vmxsys::models::testing {
namespace {

using kind = spying_scheduler::call_kind;

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

// -- the address space ------------------------------------------------------------------------------------------------

// Kernel threads have none of their own (0) and borrow the one that is loaded.
TEST(kernel_switch, pays_for_another_address_space_only) {
  struct row {
    std::uint32_t a, b;
    bool into_b_pays, into_a_pays;
  };
  for (const row& c :
       {row{1, 1, false, false}, row{1, 2, true, true}, row{1, 0, false, true}, row{0, 0, false, false}}) {
    SCOPED_TRACE(std::to_string(c.a) + " and " + std::to_string(c.b));
    kernel_rig r{1, round_robin(4'000'000)};
    thread& a = r.hog("a", {0});
    thread& b = r.hog("b", {0});
    a.address_space = c.a;
    b.address_space = c.b;
    r.run_until(60 * ms);
    const kernel_costs& costs = r.k().costs();
    const cycles stacks = costs.switch_to + r.hw.config().costs.instruction.stack_switch;
    const fact_range both_run{r.log, 20 * ms};
    const auto switched = fact<cpu::switch_fact>();
    expect_gap(both_run, switch_to(b.pid), switched, stacks + (c.into_b_pays ? costs.switch_mm : cycles{0}));
    expect_gap(both_run, switch_to(a.pid), switched, stacks + (c.into_a_pays ? costs.switch_mm : cycles{0}));
  }
}

// -- ticks ------------------------------------------------------------------------------------------------------------

TEST(kernel_tick, comes_every_period_on_every_busy_cpu_at_its_own_offset) {
  for (const unsigned hz : {100u, 250u, 1000u}) {
    kernel_rig r{4, fair(), [&](kernel_config& c) { c.hz = hz; }};
    for (unsigned i = 0; i < 4; ++i) r.hog("hog", {i});
    r.run_until(100 * ms);
    const std::uint64_t period = 1'000'000'000 / hz;
    const std::uint64_t phase = r.timer_interrupts(0, cycles{0}).at(0).count();  // of this kernel
    for (unsigned i = 0; i < 4; ++i) {
      const auto at = r.timer_interrupts(i, cycles{0});
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
  EXPECT_TRUE(r.timer_interrupts(1, 3 * ms).empty());
  EXPECT_EQ(r.timer_interrupts(0, 3 * ms).size(), 24u) << "the waker computes";
  r.run_until(300 * ms);
  EXPECT_EQ(s.wakes, 1u);
  EXPECT_TRUE(r.timer_interrupts(1, 105 * ms).empty());
  EXPECT_TRUE(r.timer_interrupts(0, 105 * ms).empty());
}

TEST(kernel_idle, every_cycle_of_an_idle_cpu_is_booked_as_idle) {
  kernel_rig r{3};
  r.hog("hog", {1});
  r.run_until(10 * ms);
  const auto idle = [&](unsigned cpu) {
    return r.hw.cpu(cpu).account().total(cpu::vmx_operation::root, cpu::bucket::idle);
  };
  const auto user = [&](unsigned cpu) {
    return r.hw.cpu(cpu).account().total(cpu::vmx_operation::root, cpu::bucket::user);
  };
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

// A vCPU that such a pull takes off its CPU was preempted, which kvm_sched_out asks.
TEST(kernel_balance, a_pulled_thread_that_preempts_leaves_the_other_preempted) {
  kernel_rig r{2};
  r.spy->always_preempts = true;
  r.hog("own", {1});
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) r.hog(name, {0, 1});
  while (r.log.of<sched_migrate_fact>().size() < 2 && r.now() < 300 * ms) r.run_until(r.now() + ms);
  r.run_until(r.now() + ms);
  const auto& moves = r.log.of<sched_migrate_fact>();
  ASSERT_EQ(moves.size(), 2u) << "the first is at the start, when nothing runs yet";
  const cycles moved = moves[1].at();
  expect_sequence({r.log, moved, moved + 20 * us}, {switch_from(moves[0]->pid, 'P')});
}

// For this policy every thread is cache-hot. The third attempt no longer asks, because two have failed; what it pulls
// makes the count and the interval begin anew.
TEST(kernel_balance, counts_each_failed_pull_once) {
  const auto always_hot = [](unsigned cpus) {
    cfs_tunables t = cfs_tunables::of(cfs_version::v6_1, 8);
    t.migration_cost = 1'000'000'000;
    return std::make_unique<cfs_scheduler>(cpus, t);
  };
  kernel_rig r{2, always_hot};
  r.hog("own", {1});
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) r.hog(name, {0, 1});
  r.run_until(400 * ms);
  const auto& moves = r.log.of<sched_migrate_fact>();
  ASSERT_EQ(moves.size(), 2u) << "then 4 against 3 is no imbalance";
  const auto ticks = r.spy->calls(kind::tick, 1);
  const auto until_move = [&](std::size_t i) {
    return static_cast<unsigned>(
        std::count_if(ticks.begin(), ticks.end(), [&](const auto& t) { return cycles{t.now} <= moves[i].at(); }));
  };
  const auto interval = [](unsigned ms) { return balance_interval_jiffies(ms, true, 2, {.hz = 250}); };
  // In milliseconds: the number of CPUs, and twice that where nothing was pulled.
  const unsigned soon = interval(2), later = interval(4);
  EXPECT_EQ(until_move(0), 1 + 2 * later) << "the first tick balances";
  EXPECT_EQ(until_move(1), 1 + 2 * later + soon + 2 * later);
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
