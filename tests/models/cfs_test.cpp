#include <cmath>
#include <deque>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <vmxsys/models/schedulers/cfs.hpp>

namespace vmxsys::models {
namespace {

constexpr nanoseconds ms = 1'000'000;
constexpr nanoseconds us = 1'000;

virtual_time at_ms(double v) { return static_cast<virtual_time>(std::llround(v * 1e6)); }

std::string label_of(const char* label) { return label; }

// A queue of a host with `cpus` CPUs, and entities that live as long as it does.
class bench {
 public:
  explicit bench(cfs_version version = cfs_version::v6_1, unsigned cpus = 8)
      : tunables(cfs_tunables::of(version, cpus)), queue(tunables) {}

  cfs_entity& make(int nice = 0) { return entities.emplace_back(static_cast<std::uint32_t>(entities.size()), nice); }

  cfs_entity& queued(virtual_time v, int nice = 0) {
    cfs_entity& e = make(nice);
    queue.enqueue(e, enqueue_reason::migrate, now);
    e.set_vruntime(v);
    return e;
  }

  // Makes one entity current. Call before anything else is queued.
  cfs_entity& running(virtual_time v, int nice = 0) {
    cfs_entity& e = queued(v, nice);
    EXPECT_EQ(queue.pick_next(now), &e);
    return e;
  }

  nanoseconds now = ms;
  cfs_tunables tunables;
  std::deque<cfs_entity> entities;
  cfs_queue queue;
};

// --- slices

struct slice_case {
  const char* label;
  cfs_version version;
  int nice;  // of the entity asked about
  std::vector<int> others;
  nanoseconds expected;
};
class cfs_slice : public testing::TestWithParam<slice_case> {};

TEST_P(cfs_slice, is_the_kernels) {
  const slice_case& c = GetParam();
  bench b(c.version);
  const cfs_entity& e = b.queued(0, c.nice);
  for (const int nice : c.others) b.queued(0, nice);
  EXPECT_EQ(b.queue.slice(e), c.expected);
}

std::vector<slice_case> slice_cases() {
  struct row {
    const char *new_label, *middle_label, *old_label;
    std::size_t n;
    nanoseconds v6_1, v5_10, v3_4;
  };
  const row rows[] = {
      {"CFS_12_v6_1", "CFS_12_v5_10", "CFS_12_v3_4", 1, 23'999'994, 23'999'994, 24'000'000},
      {"CFS_13_v6_1", "CFS_13_v5_10", "CFS_13_v3_4", 2, 11'999'994, 11'999'994, 12'000'000},
      {"CFS_14_v6_1", "CFS_14_v5_10", "CFS_14_v3_4", 3, 7'999'998, 7'999'998, 7'999'998},
      {"CFS_15_v6_1", "CFS_15_v5_10", "CFS_15_v3_4", 4, 5'999'994, 5'999'994, 6'000'000},
      {"CFS_16_v6_1", "CFS_16_v5_10", "CFS_16_v3_4", 8, 3'000'000, 2'999'994, 3'000'000},
      {"CFS_17_v6_1", "CFS_17_v5_10", "CFS_17_v3_4", 9, 3'000'000, 2'999'994, 2'999'995},
      {"CFS_18_v6_1", "CFS_18_v5_10", "CFS_18_v3_4", 12, 3'000'000, 2'999'997, 2'999'997},
  };
  std::vector<slice_case> cases;
  for (const row& r : rows) {
    const std::vector<int> others(r.n - 1, 0);
    cases.push_back({r.new_label, cfs_version::v6_1, 0, others, r.v6_1});
    cases.push_back({r.middle_label, cfs_version::v5_10, 0, others, r.v5_10});
    cases.push_back({r.old_label, cfs_version::v3_4, 0, others, r.v3_4});
  }
  cases.push_back({"CFS_20_nice_0", cfs_version::v6_1, 0, {-5}, 5'929'069});
  cases.push_back({"CFS_20_nice_minus_5", cfs_version::v6_1, -5, {0}, 18'070'923});
  cases.push_back({"CFS_21_v6_1", cfs_version::v6_1, 19, {0}, 3'000'000});
  cases.push_back({"CFS_21_v5_10", cfs_version::v5_10, 19, {0}, 346'487});
  return cases;
}
INSTANTIATE_TEST_SUITE_P(golden, cfs_slice, testing::ValuesIn(slice_cases()),
                         [](const auto& test) { return label_of(test.param.label); });

TEST(cfs_period, CFS_19_grows_beyond_eight_entities) {
  const bench b;
  EXPECT_EQ(b.queue.period(8), 24 * ms);
  EXPECT_EQ(b.queue.period(9), 27 * ms);
}

TEST(cfs_period, as_many_as_nr_latency_share_the_latency_where_it_is_no_multiple_too) {
  bench b;
  b.tunables.latency = 10 * ms;
  b.tunables.min_granularity = 3 * ms;
  b.tunables.nr_latency = 4;
  EXPECT_EQ(b.queue.period(4), 10 * ms);
  EXPECT_EQ(b.queue.period(5), 15 * ms);
}

TEST(cfs_slice, CFS_24_of_an_entity_that_is_not_queued_counts_it_in) {
  bench b;
  b.queued(0);
  EXPECT_EQ(b.queue.vslice(b.make()), 11'999'994u);
}

TEST(cfs_slice, of_an_idle_policy_task_beside_others_has_its_own_floor) {
  bench b;
  cfs_entity& lazy = b.make();
  lazy.set_policy(fair_policy::idle);
  b.queue.enqueue(lazy, enqueue_reason::migrate, b.now);
  EXPECT_EQ(b.queue.slice(lazy), 23'999'999u) << "alone";
  b.queued(0);
  EXPECT_EQ(b.queue.slice(lazy), 750 * us);
}

// --- placement

struct placement_case {
  const char* label;
  unsigned cpus;
  bool gentle;
  fair_policy policy;
  double own_ms;
  virtual_time expected;
};
class cfs_placement : public testing::TestWithParam<placement_case> {};

TEST_P(cfs_placement, gives_a_sleeper_bounded_credit) {
  const placement_case& c = GetParam();
  bench b(cfs_version::v6_1, c.cpus);
  b.tunables.gentle_fair_sleepers = c.gentle;
  cfs_entity& e = b.make();
  e.set_policy(c.policy);
  e.set_vruntime(at_ms(c.own_ms));
  b.queue.set_min_vruntime(100 * ms);
  b.queue.enqueue(e, enqueue_reason::wakeup, b.now);
  EXPECT_EQ(e.vruntime(), c.expected);
}
INSTANTIATE_TEST_SUITE_P(golden, cfs_placement,
                         testing::Values(placement_case{"CFS_25", 8, true, fair_policy::normal, 10, 88'000'000},
                                         placement_case{"CFS_26", 8, true, fair_policy::normal, 97, 97'000'000},
                                         placement_case{"CFS_27", 8, true, fair_policy::normal, 130, 130'000'000},
                                         placement_case{"CFS_28", 8, true, fair_policy::idle, 0, 98'500'000},
                                         placement_case{"CFS_29", 1, true, fair_policy::normal, 0, 97'000'000},
                                         placement_case{"CFS_30", 8, false, fair_policy::normal, 0, 76'000'000}),
                         [](const auto& test) { return label_of(test.param.label); });

TEST(cfs_placement, CFS_31_a_child_starts_one_slice_late) {
  bench b;
  b.queue.set_min_vruntime(100 * ms);
  b.queued(100 * ms);
  cfs_entity& child = b.make();
  child.set_vruntime(100 * ms);
  b.queue.enqueue(child, enqueue_reason::fork, b.now);
  EXPECT_EQ(child.vruntime(), 111'999'994u);
}

TEST(cfs_placement, a_child_starts_where_its_parent_is) {
  bench b;
  b.queue.set_min_vruntime(100 * ms);
  b.running(150 * ms);
  cfs_entity& child = b.make();
  b.queue.enqueue(child, enqueue_reason::fork, b.now);
  EXPECT_EQ(child.vruntime(), 150 * ms);
}

TEST(cfs_placement, a_sleep_of_months_forgets_the_old_time) {
  bench b;
  cfs_entity& e = b.running(500 * ms);
  b.queue.dequeue(e, dequeue_reason::sleep, b.now);
  b.queue.pick_next(b.now);
  b.queue.set_min_vruntime(100 * ms);
  const nanoseconds limit = b.now + (nanoseconds{1} << 53);
  EXPECT_EQ(b.queue.place_entity(e, false, limit), 500 * ms);
  EXPECT_EQ(b.queue.place_entity(e, false, limit + 1), 88 * ms);
}

TEST(cfs_placement, migration_keeps_the_distance_from_the_floor) {
  const cfs_tunables tunables = cfs_tunables::of(cfs_version::v6_1, 8);
  cfs_scheduler s(2, tunables);
  const auto entity = s.make_entity(1, 0);
  auto& e = static_cast<cfs_entity&>(*entity);
  s.queue(0).set_min_vruntime(100 * ms);
  s.queue(1).set_min_vruntime(700 * ms);
  s.enqueue(0, e, enqueue_reason::wakeup, 0);
  EXPECT_EQ(e.vruntime(), 88 * ms);
  s.dequeue(0, e, dequeue_reason::migrate, 0);
  s.enqueue(1, e, enqueue_reason::migrate, 0);
  EXPECT_EQ(e.vruntime(), 688 * ms);
  EXPECT_EQ(e.cpu, 1u);

  // The floor does not follow an entity that leaves it behind; asleep, the entity is moved with today's floors.
  s.dequeue(1, e, dequeue_reason::sleep, 0);
  s.queue(1).set_min_vruntime(690 * ms);
  s.enqueue(0, e, enqueue_reason::wakeup, 0);
  EXPECT_EQ(e.vruntime(), 98 * ms);
}

// --- tick

struct tick_case {
  const char* label;
  nanoseconds ran;
  std::int64_t lead;
  tick_verdict expected;
};
class cfs_tick : public testing::TestWithParam<tick_case> {};

TEST_P(cfs_tick, compares_strictly) {
  bench b;
  const cfs_entity& e = b.queued(0);
  b.queued(0);
  EXPECT_EQ(check_preempt_tick(b.queue.slice(e), GetParam().ran, GetParam().lead, b.tunables.min_granularity),
            GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(golden, cfs_tick,
                         testing::Values(tick_case{"CFS_36", 4'000'000, 4'000'000, tick_verdict::keep},
                                         tick_case{"CFS_37", 12'000'000, 12'000'000, tick_verdict::slice_over},
                                         tick_case{"CFS_38", 11'999'994, 5'000'000, tick_verdict::keep},
                                         tick_case{"CFS_39", 11'999'995, 5'000'000, tick_verdict::slice_over},
                                         tick_case{"CFS_40", 2'999'999, 30'000'000, tick_verdict::keep},
                                         tick_case{"CFS_41", 3'000'000, 30'000'000, tick_verdict::too_far_ahead},
                                         tick_case{"CFS_42", 8'000'000, -1'000'000, tick_verdict::keep},
                                         tick_case{"CFS_43", 3'000'000, 11'999'994, tick_verdict::keep},
                                         tick_case{"CFS_44", 3'000'000, 11'999'995, tick_verdict::too_far_ahead}),
                         [](const auto& test) { return label_of(test.param.label); });

TEST(cfs_tick, CFS_37_CFS_39_the_end_of_a_slice_drops_ones_own_marks_and_no_others) {
  bench b;
  cfs_entity& hog = b.running(0);
  cfs_entity& other = b.queued(0);
  b.queue.set_mark(cfs_mark::next, hog);
  b.queue.set_mark(cfs_mark::last, other);
  EXPECT_FALSE(b.queue.tick(b.now + 11'999'994));
  EXPECT_EQ(b.queue.marked(cfs_mark::next), &hog);
  EXPECT_TRUE(b.queue.tick(b.now + 11'999'995));
  EXPECT_EQ(b.queue.marked(cfs_mark::next), nullptr);
  EXPECT_EQ(b.queue.marked(cfs_mark::last), &other);
}

TEST(cfs_tick, leaves_a_lone_task_alone) {
  bench b;
  b.running(0);
  EXPECT_FALSE(b.queue.tick(b.now + 1000 * ms));
}

struct hog_case {
  const char* label;
  cfs_version version;
  unsigned hogs;
  unsigned hz;
  std::vector<std::pair<nanoseconds, char>> switches;
};
class cfs_hogs : public testing::TestWithParam<hog_case> {};

TEST_P(cfs_hogs, alternate_at_ticks) {
  const hog_case& c = GetParam();
  cfs_scheduler s(1, cfs_tunables::of(c.version, 8));
  std::vector<std::unique_ptr<sched_entity>> hogs;
  for (unsigned i = 0; i < c.hogs; ++i) {
    hogs.push_back(s.make_entity('A' + i, 0));
    s.enqueue(0, *hogs.back(), enqueue_reason::fork, 0);
    static_cast<cfs_entity&>(*hogs.back()).set_vruntime(0);
  }
  ASSERT_EQ(s.pick_next(0, 0), hogs[0].get());
  std::vector<std::pair<nanoseconds, char>> switches;
  const nanoseconds period = 1'000'000'000 / c.hz;
  for (nanoseconds now = period; switches.size() < c.switches.size() && now < 200 * ms; now += period) {
    if (!s.tick(0, now)) continue;
    const sched_entity* before = s.current(0);
    const sched_entity* after = s.pick_next(0, now);
    if (after != before) switches.emplace_back(now / ms, static_cast<char>(after->id));
  }
  EXPECT_EQ(switches, c.switches);
}
INSTANTIATE_TEST_SUITE_P(
    golden, cfs_hogs,
    testing::Values(hog_case{"CFS_45", cfs_version::v6_1, 2, 250, {{12, 'B'}, {24, 'A'}, {36, 'B'}, {48, 'A'}}},
                    hog_case{"CFS_46", cfs_version::v3_4, 2, 250, {{16, 'B'}, {32, 'A'}, {48, 'B'}}},
                    hog_case{"CFS_47", cfs_version::v6_1, 2, 1000, {{12, 'B'}, {24, 'A'}, {36, 'B'}}},
                    hog_case{
                        "CFS_48", cfs_version::v6_1, 3, 250, {{8, 'B'}, {16, 'C'}, {24, 'A'}, {32, 'B'}, {40, 'C'}}}),
    [](const auto& test) { return label_of(test.param.label); });

// --- wakeup preemption

struct order_case {
  const char* label;
  double current_ms;
  virtual_time candidate;
  int nice;
  int expected;
};
class cfs_preempt_order : public testing::TestWithParam<order_case> {};

TEST_P(cfs_preempt_order, is_signed_and_strict) {
  const order_case& c = GetParam();
  bench b;
  const cfs_entity& current = b.queued(at_ms(c.current_ms));
  const cfs_entity& candidate = b.queued(c.candidate, c.nice);
  EXPECT_EQ(b.queue.preempt_order(current, candidate), c.expected);
}
INSTANTIATE_TEST_SUITE_P(golden, cfs_preempt_order,
                         testing::Values(order_case{"CFS_49", 0, 0, 0, -1}, order_case{"CFS_50", 10, 6'000'000, 0, 0},
                                         order_case{"CFS_51", 10, 5'999'999, 0, 1},
                                         order_case{"CFS_52", 10, 12'000'000, 0, -1}, order_case{"CFS_53", 10, 0, 5, 0},
                                         order_case{"CFS_54", 2, 0, -5, 1}),
                         [](const auto& test) { return label_of(test.param.label); });

TEST(cfs_preempt_order, CFS_53_CFS_54_granularity_is_in_the_candidates_time) {
  bench b;
  EXPECT_EQ(b.queue.wakeup_granularity(b.make(5)), 12'226'865u);
  EXPECT_EQ(b.queue.wakeup_granularity(b.make(-5)), 1'312'399u);
}

struct wakeup_case {
  const char* label;
  double own_ms;  // virtual time of the wakee before it is placed
  unsigned nr_running;
  bool preempts, next, last;
};
class cfs_wakeup : public testing::TestWithParam<wakeup_case> {};

TEST_P(cfs_wakeup, preempts_and_marks) {
  const wakeup_case& c = GetParam();
  bench b;
  cfs_entity& current = b.running(103 * ms);
  for (unsigned i = 2; i < c.nr_running; ++i) b.queued(120 * ms);
  b.queue.set_min_vruntime(100 * ms);
  cfs_entity& wakee = b.make();
  wakee.set_vruntime(at_ms(c.own_ms));
  b.queue.enqueue(wakee, enqueue_reason::wakeup, b.now);
  ASSERT_EQ(b.queue.nr_running(), c.nr_running);
  EXPECT_EQ(b.queue.check_preempt(wakee, b.now), c.preempts);
  EXPECT_EQ(b.queue.marked(cfs_mark::next), c.next ? &wakee : nullptr);
  EXPECT_EQ(b.queue.marked(cfs_mark::last), c.last ? &current : nullptr);
  EXPECT_EQ(b.queue.marked(cfs_mark::skip), nullptr);
}
INSTANTIATE_TEST_SUITE_P(golden, cfs_wakeup,
                         testing::Values(wakeup_case{"CFS_55", 0, 2, true, true, false},
                                         wakeup_case{"CFS_55_seven", 0, 7, true, true, false},
                                         wakeup_case{"CFS_56", 0, 8, true, true, true},
                                         wakeup_case{"CFS_57", 99, 2, false, false, false}),
                         [](const auto& test) { return label_of(test.param.label); });

TEST(cfs_wakeup, policies) {
  bench b;
  cfs_entity& current = b.make();
  current.set_policy(fair_policy::idle);
  b.queue.enqueue(current, enqueue_reason::migrate, b.now);
  b.queue.pick_next(b.now);
  cfs_entity& normal = b.queued(500 * ms);
  EXPECT_TRUE(b.queue.check_preempt(normal, b.now)) << "anything preempts the idle policy";
  EXPECT_EQ(b.queue.marked(cfs_mark::next), nullptr);

  bench c;
  c.running(500 * ms);
  cfs_entity& batch = c.make();
  batch.set_policy(fair_policy::batch);
  c.queue.enqueue(batch, enqueue_reason::migrate, c.now);
  EXPECT_FALSE(c.queue.check_preempt(batch, c.now)) << "batch never preempts";
}

TEST(cfs_wakeup, an_idle_cpu_is_always_preempted) {
  bench b;
  EXPECT_TRUE(b.queue.check_preempt(b.queued(0), b.now));
}

// --- picking

struct tree_entity {
  char name;
  double ms;
  int nice = 0;
};
struct pick_case {
  const char* label;
  std::optional<tree_entity> current;
  std::vector<tree_entity> tree;
  char next, last, skip;  // names, 0: no mark
  char expected;
};
class cfs_pick : public testing::TestWithParam<pick_case> {};

TEST_P(cfs_pick, follows_order_and_marks) {
  const pick_case& c = GetParam();
  for (const cfs_version version : {cfs_version::v3_4, cfs_version::v5_10, cfs_version::v6_1}) {
    bench b(version);
    std::vector<std::pair<char, cfs_entity*>> named;
    const auto mark = [&](cfs_mark which, char name) {
      for (const auto& [n, e] : named)
        if (n == name) b.queue.set_mark(which, *e);
    };
    if (c.current) named.emplace_back(c.current->name, &b.running(at_ms(c.current->ms), c.current->nice));
    for (const tree_entity& t : c.tree) named.emplace_back(t.name, &b.queued(at_ms(t.ms), t.nice));
    mark(cfs_mark::next, c.next);
    mark(cfs_mark::last, c.last);
    mark(cfs_mark::skip, c.skip);

    const cfs_entity* chosen = b.queue.choose();
    EXPECT_EQ(b.queue.pick_next(b.now), chosen) << "choosing and picking agree";
    char name = '-';
    for (const auto& [n, e] : named)
      if (e == chosen) name = n;
    EXPECT_EQ(name, c.expected) << "version " << static_cast<int>(version);
  }
}
INSTANTIATE_TEST_SUITE_P(
    golden, cfs_pick,
    testing::Values(pick_case{"CFS_58", {}, {{'A', 10}, {'B', 12}}, 0, 0, 0, 'A'},
                    pick_case{"CFS_59", {}, {{'A', 10}, {'B', 10}}, 0, 0, 0, 'A'},
                    pick_case{"CFS_60", tree_entity{'C', 9}, {{'A', 10}}, 0, 0, 0, 'C'},
                    pick_case{"CFS_61", tree_entity{'C', 10}, {{'A', 10}}, 0, 0, 0, 'A'},
                    pick_case{"CFS_62", tree_entity{'Y', 10}, {{'T', 14}}, 0, 0, 'Y', 'T'},
                    pick_case{"CFS_63", tree_entity{'Y', 10}, {{'T', 14.000001}}, 0, 0, 'Y', 'Y'},
                    pick_case{"CFS_64", tree_entity{'Y', 10}, {{'A', 11}, {'T', 13}}, 'T', 0, 'Y', 'T'},
                    pick_case{"CFS_65", tree_entity{'Y', 10}, {{'A', 11}, {'T', 15}}, 'T', 0, 'Y', 'A'},
                    pick_case{"CFS_66", tree_entity{'Y', 10}, {{'A', 11}, {'T', 15}}, 'T', 0, 0, 'Y'},
                    pick_case{"CFS_67", {}, {{'A', 10}, {'L', 12}, {'N', 13}}, 'N', 'L', 0, 'N'},
                    pick_case{"CFS_68", {}, {{'A', 10}, {'L', 12}, {'N', 15}}, 'N', 'L', 0, 'L'},
                    pick_case{"CFS_69", tree_entity{'C', 11}, {{'A', 10}, {'B', 12}}, 0, 0, 'A', 'C'},
                    pick_case{"CFS_70", tree_entity{'G', 10}, {{'A', 11}}, 'G', 0, 'G', 'G'},
                    pick_case{"CFS_71", {}, {{'A', 10, 5}, {'T', 20}}, 'T', 0, 0, 'T'},
                    pick_case{"lone_task_that_yielded", tree_entity{'Y', 10}, {}, 0, 0, 'Y', 'Y'},
                    pick_case{"empty", {}, {}, 0, 0, 0, '-'}),
    [](const auto& test) { return label_of(test.param.label); });

// --- yield and directed yield

class cfs_two_cpus : public testing::Test {
 protected:
  cfs_entity& make() {
    entities.push_back(s.make_entity(static_cast<std::uint32_t>(entities.size()), 0));
    return static_cast<cfs_entity&>(*entities.back());
  }
  cfs_entity& queued(unsigned cpu, virtual_time v) {
    cfs_entity& e = make();
    s.enqueue(cpu, e, enqueue_reason::migrate, 0);
    e.set_vruntime(v);
    return e;
  }

  cfs_scheduler s{2, cfs_tunables::of(cfs_version::v6_1, 8)};
  std::vector<std::unique_ptr<sched_entity>> entities;
};

TEST_F(cfs_two_cpus, CFS_72_skip_outlives_the_pick_of_the_target) {
  cfs_entity& y = queued(0, 10 * ms);
  s.pick_next(0, 0);
  cfs_entity& t = queued(0, 11 * ms);
  ASSERT_TRUE(s.yield_to(0, t, 0));
  EXPECT_EQ(s.pick_next(0, 0), &t);
  EXPECT_EQ(s.queue(0).marked(cfs_mark::next), nullptr);
  EXPECT_EQ(s.queue(0).marked(cfs_mark::skip), &y);
  EXPECT_EQ(s.pick_next(0, 0), &t) << "the stale mark steers the next pick too: t, though y is left of it";

  s.yield(0, 0);
  EXPECT_EQ(s.queue(0).marked(cfs_mark::skip), &t) << "another task's yield takes the mark";
  EXPECT_EQ(s.pick_next(0, 0), &y);
  s.yield(0, 0);
  ASSERT_EQ(s.queue(0).marked(cfs_mark::skip), &y);
  s.dequeue(0, y, dequeue_reason::sleep, 0);
  EXPECT_EQ(s.queue(0).marked(cfs_mark::skip), nullptr) << "gone with a dequeue";
}

TEST_F(cfs_two_cpus, skip_goes_when_its_entity_is_switched_to) {
  cfs_entity& y = queued(0, 10 * ms);
  s.pick_next(0, 0);
  cfs_entity& t = queued(0, 11 * ms);
  s.yield_to(0, t, 0);
  s.pick_next(0, 0);
  t.set_vruntime(20 * ms);
  EXPECT_EQ(s.pick_next(0, 0), &y);
  EXPECT_EQ(s.queue(0).marked(cfs_mark::skip), nullptr);
}

TEST(cfs_repick, CFS_72_who_is_picked_again_keeps_marks_and_slice_since_v6_1) {
  for (const cfs_version version : {cfs_version::v3_4, cfs_version::v5_10, cfs_version::v6_1}) {
    bench b(version);
    cfs_entity& y = b.running(0);
    b.queued(30 * ms);
    b.queue.yield(b.now + 2 * ms);
    EXPECT_EQ(b.queue.pick_next(b.now + 2 * ms), &y) << "too far behind";
    EXPECT_EQ(b.queue.marked(cfs_mark::skip), version == cfs_version::v6_1 ? &y : nullptr);
    EXPECT_EQ(y.ran_since_pick(), version == cfs_version::v3_4 ? 0 : 2 * ms);
  }
}

TEST_F(cfs_two_cpus, CFS_75_a_lone_yielder_gets_no_skip) {
  queued(0, 0);
  s.pick_next(0, 0);
  cfs_entity& remote = queued(1, 0);
  s.pick_next(1, 0);
  cfs_entity& target = queued(1, 0);
  EXPECT_TRUE(s.yield_to(0, target, 0));
  EXPECT_EQ(s.queue(1).marked(cfs_mark::next), &target);
  EXPECT_EQ(s.queue(0).marked(cfs_mark::skip), nullptr);
  EXPECT_EQ(s.queue(1).marked(cfs_mark::skip), nullptr) << "the remote current is not skipped";
  EXPECT_EQ(s.pick_next(1, 0), &target);
  EXPECT_TRUE(remote.on_rq);
}

TEST_F(cfs_two_cpus, CFS_76_same_queue) {
  cfs_entity& y = queued(0, 0);
  s.pick_next(0, 0);
  cfs_entity& target = queued(0, 4 * ms);
  EXPECT_TRUE(s.yield_to(0, target, 0));
  EXPECT_EQ(s.queue(0).marked(cfs_mark::next), &target);
  EXPECT_EQ(s.queue(0).marked(cfs_mark::skip), &y);
  EXPECT_EQ(s.pick_next(0, 0), &target);
}

TEST_F(cfs_two_cpus, CFS_79_a_target_on_no_queue_is_refused) {
  queued(0, 0);
  s.pick_next(0, 0);
  cfs_entity& asleep = make();
  EXPECT_FALSE(s.yield_to(0, asleep, 0));
  EXPECT_EQ(s.queue(0).marked(cfs_mark::skip), nullptr);
}

struct mismatch_case {
  const char* label;
  unsigned cpus;
  double credit_ms;
  nanoseconds exit_cost;
  unsigned switches_at;
};
class cfs_mismatch : public testing::TestWithParam<mismatch_case> {};

// A vCPU that has just been woken spins for a lock whose holder is queued behind it: its directed yields are ignored
// until it has burnt its sleeper credit down to the wakeup granularity.
TEST_P(cfs_mismatch, yields_are_futile_until_the_credit_is_burnt) {
  const mismatch_case& c = GetParam();
  cfs_scheduler s(1, cfs_tunables::of(cfs_version::v6_1, c.cpus));
  const auto holder = s.make_entity(0, 0);
  const auto spinner = s.make_entity(1, 0);
  s.enqueue(0, *holder, enqueue_reason::migrate, 0);
  s.pick_next(0, 0);
  static_cast<cfs_entity&>(*spinner).set_vruntime(0 - 1000 * ms);
  s.enqueue(0, *spinner, enqueue_reason::wakeup, 0);
  EXPECT_EQ(static_cast<cfs_entity&>(*spinner).vruntime(), at_ms(-c.credit_ms));
  ASSERT_TRUE(s.check_preempt(0, *spinner, 0));
  ASSERT_EQ(s.pick_next(0, 0), spinner.get());

  unsigned exits = 0;
  for (nanoseconds now = c.exit_cost; exits < 10'000; now += c.exit_cost) {
    ++exits;
    ASSERT_TRUE(s.yield_to(0, *holder, now));
    if (s.pick_next(0, now) == holder.get()) break;
  }
  EXPECT_EQ(exits, c.switches_at);
  EXPECT_EQ(static_cast<cfs_entity&>(*spinner).vruntime(), at_ms(-c.credit_ms) + exits * c.exit_cost);
}
INSTANTIATE_TEST_SUITE_P(golden, cfs_mismatch,
                         testing::Values(mismatch_case{"CFS_89", 8, 12, 25 * us, 320},
                                         mismatch_case{"CFS_90", 1, 3, 25 * us, 80},
                                         mismatch_case{"CFS_91", 4, 9, 25 * us, 240},
                                         mismatch_case{"CFS_92", 8, 12, 50 * us, 160}),
                         [](const auto& test) { return label_of(test.param.label); });

// --- life on queues

TEST_F(cfs_two_cpus, current_leaves_and_comes_back_before_the_switch) {
  cfs_entity& e = queued(0, 0);
  ASSERT_EQ(s.pick_next(0, 0), &e);
  s.dequeue(0, e, dequeue_reason::sleep, 5);
  EXPECT_EQ(s.current(0), nullptr);
  EXPECT_EQ(s.nr_running(0), 0u);
  s.enqueue(0, e, enqueue_reason::wakeup, 6);
  EXPECT_EQ(s.nr_running(0), 1u);
  EXPECT_EQ(s.pick_next(0, 7), &e);
  s.dequeue(0, e, dequeue_reason::sleep, 8);
  EXPECT_EQ(s.pick_next(0, 8), nullptr);
}

TEST_F(cfs_two_cpus, pull_takes_the_coldest_allowed_entity) {
  queued(0, 0);
  s.pick_next(0, 0);
  cfs_entity& a = queued(0, 1 * ms);
  cfs_entity& b = queued(0, 2 * ms);
  EXPECT_EQ(s.detach_candidate(0, 1, ms, cache_heat::ignore), &a) << "longest since it was queued or picked";
  a.affinity = {true, false};
  EXPECT_EQ(s.detach_candidate(0, 1, ms), &b);
  b.affinity = {true};
  EXPECT_EQ(s.detach_candidate(0, 1, ms), nullptr) << "the current one is never pulled";
}

TEST_F(cfs_two_cpus, pull_respects_cache_heat) {
  cfs_entity& a = queued(0, 0);
  ASSERT_EQ(s.pick_next(0, 10 * ms), &a);
  cfs_entity& b = queued(0, 1 * ms);
  ASSERT_EQ(s.pick_next(0, 12 * ms), &b) << "a has run for 2 ms";
  EXPECT_EQ(s.detach_candidate(0, 1, 12 * ms + 499'999), nullptr);
  EXPECT_EQ(s.detach_candidate(0, 1, 12 * ms + 499'999, cache_heat::ignore), &a);
  EXPECT_EQ(s.detach_candidate(0, 1, 12 * ms + 500'000), &a);
  s.queue(0).set_mark(cfs_mark::next, a);
  EXPECT_EQ(s.detach_candidate(0, 1, 12 * ms + 500'000), &a) << "marks hold it only if the other CPU is busy";
  queued(1, 0);
  EXPECT_EQ(s.detach_candidate(0, 1, 12 * ms + 500'000), nullptr);
}

}  // namespace
}  // namespace vmxsys::models
