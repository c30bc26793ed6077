#include <algorithm>
#include <gtest/gtest.h>

#include "spinlock_fixture.hpp"

// Whom a waiter really waits for, and how long in vain: the lock's own books against what the facts and the word say.
namespace vmxsys::models::testing {
namespace {

struct interval {
  cycles from;
  cycles to;
};

cycles overlap(interval a, interval b) {
  const cycles from = max(a.from, b.from);
  const cycles to = min(a.to, b.to);
  return from < to ? to - from : cycles{0};
}

/// When the strand was switched out, from the switches.
std::vector<interval> absences(const fact_log& log, std::uint32_t strand, cycles end) {
  std::vector<interval> all;
  for (const auto& s : log.of<cpu::switch_fact>()) {
    if (s.fact.from == strand) all.push_back({s.at(), end});
    if (s.fact.to == strand && !all.empty()) all.back().to = s.at();
  }
  return all;
}

/// Each worker now and then leaves its CPU while it holds the lock.
class absent_holders : public lock_rig {
 public:
  absent_holders(const std::string& kind, std::uint64_t seed)
      : lock_rig{bare({1, static_cast<unsigned>(2 + seed % 4), 1})} {
    lock = make(kind);
    for (unsigned i = 0; i < hw.cpus(); ++i) {
      random_.emplace_back(seed * 977 + i);
      idle_.push_back(nullptr);
      run(i, worker(i));
      idle_[i] = &add(away(i));
    }
  }
  std::unique_ptr<spinlock> lock;

 private:
  cpu::program worker(unsigned i) {
    for (;;) {
      co_await isa::compute(cycles{random_[i].between(1, 4000)});
      co_await lock->acquire();
      co_await isa::compute(cycles{random_[i].between(1, 1000)});
      if (random_[i].below(3) == 0) co_await isa::switch_to(*idle_[i]);
      co_await isa::compute(cycles{random_[i].between(1, 1000)});
      co_await lock->release();
    }
  }
  cpu::program away(unsigned i) {
    for (;;) {
      co_await isa::compute(cycles{random_[i].between(1, 8000)});
      co_await isa::switch_to(strand(i));
    }
  }
  std::vector<random_numbers> random_;
  std::vector<cpu::strand*> idle_;
};

class every_truth : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(spinlock_truth, every_truth, ::testing::ValuesIn(spinlocks().names()),
                         [](const auto& row) { return row.param; });

// Nobody but a holder is ever switched out, so waiting is in vain exactly while anybody is.
TEST_P(every_truth, futile_cycles_are_those_in_which_a_holder_was_switched_out) {
  cycles futile{0};
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    absent_holders rig{GetParam(), seed};
    const cycles end{200'000};
    rig.hw.run_until(end);
    std::vector<interval> away;
    for (unsigned i = 0; i < rig.hw.cpus(); ++i)
      for (const interval& a : absences(rig.log, rig.strand(i).id(), end)) away.push_back(a);
    const auto expected = [&](cycles from, cycles to) {
      cycles sum{0};
      for (const interval& a : away) sum += overlap(a, {from, to});
      return sum;
    };
    ASSERT_FALSE(rig.log.of<lock_wait_fact>().empty());
    for (const auto& w : rig.log.of<lock_wait_fact>()) {
      ASSERT_EQ(w.at(), w.fact.began + w.fact.waited) << "the programs run with interrupts disabled";
      ASSERT_EQ(w.fact.futile, expected(w.fact.began, w.at())) << "seed " << seed << ", wait until " << w.at().count();
      futile += w.fact.futile;
    }
    for (const auto& s : rig.log.of<cpu::spin_fact>())
      if (s.fact.rip != queued_lock::link_spin.rip()) {
        ASSERT_EQ(s.fact.futile, expected(s.fact.began, s.at()))
            << "seed " << seed << ", spin until " << s.at().count();
      }
  }
  EXPECT_GT(futile, cycles{100'000});
}

/// A CPU whose interrupt handler preempts its strand for `absence` cycles.
class preempted_rig : public lock_rig {
 public:
  preempted_rig(const std::string& kind, unsigned cpus, unsigned preempted, cycles absence)
      : lock_rig{bare({1, cpus, 1})}, lock{make(kind)}, preempted_{preempted}, absence_{absence} {}

  void put(unsigned cpu, std::uint64_t arrive, std::uint64_t hold) {
    run(cpu, interruptible_visitor(cycles{arrive}, cycles{hold}));
    if (cpu == preempted_) other_ = &add(other());
  }
  cpu::program handler(unsigned cpu) override {
    if (cpu == preempted_) co_await isa::switch_to(*other_);
  }
  std::unique_ptr<spinlock> lock;

 private:
  cpu::program interruptible_visitor(cycles arrive, cycles hold) {
    co_await accept_interrupts();
    co_await visitor(*lock, arrive, hold);
  }
  cpu::program other() {
    for (;;) {
      co_await isa::compute(absence_);
      co_await isa::switch_to(strand(preempted_));
    }
  }
  unsigned preempted_;
  cycles absence_;
  cpu::strand* other_ = nullptr;
};

// CPU 1 takes the lock some time after cycle 1000; CPU 0 comes soon after. CPU 1 is preempted at every cycle around the
// one in which it takes the lock: the boundary after the instruction that takes it is one of them.
TEST_P(every_truth, is_exact_when_the_holder_is_preempted_before_it_resumes) {
  unsigned preempted_as_holder = 0;
  unsigned preempted_at_once = 0;
  for (std::uint64_t at = 900; at < 1800; at += 3) {
    preempted_rig rig{GetParam(), 2, 1, cycles{20'000}};
    rig.put(0, 1600, 500);
    rig.put(1, 1000, 3000);
    word_log word{rig.hw, rig.lock->address()};
    rig.interrupt(1, cycles{at});
    const cycles end{60'000};
    rig.hw.run_until(end);

    const std::vector<interval> away = absences(rig.log, rig.strand(1).id(), end);
    ASSERT_EQ(away.size(), 1u);
    ASSERT_GE(word.changes.size(), 2u);
    if (rig.log.of<lock_wait_fact>().empty()) continue;  // preempted before it took the lock: CPU 0 came and went
    ASSERT_EQ(rig.log.of<lock_wait_fact>().size(), 1u);
    const lock_wait_fact& wait = rig.log.of<lock_wait_fact>()[0].fact;
    if (wait.waiter != rig.strand(0).id()) continue;
    ASSERT_EQ(wait.holder, rig.strand(1).id());
    ASSERT_EQ(wait.futile, overlap(away[0], {wait.began, wait.began + wait.waited})) << "interrupt at " << at;
    preempted_as_holder += wait.futile > cycles{15'000};
    preempted_at_once += away[0].from - word.changes[0].at < cycles{400};
  }
  EXPECT_GT(preempted_as_holder, 10u);
  EXPECT_GT(preempted_at_once, 2u);
}

// The next owner is preempted while it waits. A lock with an order lets nobody past it.
TEST_P(every_truth, a_preempted_next_owner_is_awaited_where_there_is_one) {
  preempted_rig rig{GetParam(), 3, 1, cycles{40'000}};
  rig.put(0, 500, 10'000);
  rig.put(1, 3000, 500);
  rig.put(2, 5000, 500);
  word_log word{rig.hw, rig.lock->address()};
  rig.interrupt(1, cycles{8000});
  const cycles end{100'000};
  rig.hw.run_until(end);
  ASSERT_EQ(rig.log.of<lock_wait_fact>().size(), 2u);
  const auto second = std::find_if(rig.log.of<lock_wait_fact>().begin(), rig.log.of<lock_wait_fact>().end(),
                                   [&](const auto& w) { return w.fact.waiter == rig.strand(2).id(); });
  ASSERT_NE(second, rig.log.of<lock_wait_fact>().end());
  if (GetParam() == "test_and_set") {
    EXPECT_EQ(second->fact.futile, cycles{0});
    EXPECT_LT((*second).at(), cycles{14'000});
    return;
  }
  const auto released =
      std::find_if(word.changes.begin(), word.changes.end(), [](const auto& c) { return c.at > cycles{9000}; });
  const cycles back = absences(rig.log, rig.strand(1).id(), end).at(0).to;
  EXPECT_EQ(second->fact.futile, back - released->at);
  EXPECT_GT(second->fact.futile, cycles{30'000});
  EXPECT_GT((*second).at(), back);
}

// In the queue of three: the holder releases, the head of the queue is off its CPU.
TEST(spinlock_truth, a_preempted_head_of_the_queue_is_awaited) {
  preempted_rig rig{"queued", 4, 2, cycles{40'000}};
  rig.put(0, 500, 10'000);  // holder
  rig.put(1, 2500, 500);    // pending
  rig.put(2, 4000, 500);    // queued, preempted
  rig.put(3, 6000, 500);    // queued behind it
  word_log word{rig.hw, rig.lock->address()};
  rig.interrupt(2, cycles{8000});
  const cycles end{100'000};
  rig.hw.run_until(end);
  ASSERT_EQ(rig.log.of<lock_wait_fact>().size(), 3u);
  const lock_wait_fact& last = rig.log.of<lock_wait_fact>()[2].fact;
  ASSERT_EQ(last.waiter, rig.strand(3).id());
  // From the release by CPU 1, the second owner, until CPU 2 is back.
  const auto released = std::find_if(word.changes.begin(), word.changes.end(), [](const auto& c) {
    return c.at > cycles{11'000} && (c.value & queued_lock::locked_mask) == 0;
  });
  EXPECT_EQ(last.futile, absences(rig.log, rig.strand(2).id(), end).at(0).to - released->at);
}

// CPU 3 has put itself at the tail and is preempted before it links itself: CPU 2 owns the lock and cannot pass it on.
TEST(spinlock_truth, a_successor_preempted_before_it_links_itself_is_awaited) {
  unsigned met = 0;
  for (std::uint64_t at = 5900; at < 6700; at += 4) {
    preempted_rig rig{"queued", 4, 3, cycles{40'000}};
    rig.put(0, 500, 10'000);
    rig.put(1, 2500, 500);
    rig.put(2, 4000, 500);
    rig.put(3, 5500, 500);
    rig.interrupt(3, cycles{at});
    const cycles end{100'000};
    rig.hw.run_until(end);
    const std::vector<interval> away = absences(rig.log, rig.strand(3).id(), end);
    ASSERT_EQ(away.size(), 1u);
    for (const auto& s : rig.log.of<cpu::spin_fact>()) {
      if (s.fact.rip != queued_lock::link_spin.rip()) continue;
      ASSERT_EQ(s.fact.futile, overlap(away[0], {s.fact.began, s.at()})) << "interrupt at " << at;
      met += s.fact.futile > cycles{20'000};
    }
  }
  EXPECT_GT(met, 2u);
}

cpu::program hands_over(spinlock& lock, cpu::strand& next) {
  co_await isa::compute(cycles{500});
  co_await lock.acquire();
  cpu::logical_cpu& cpu = co_await isa::this_cpu();
  lock.hand_over(next, cpu.now());  // under the lock, before the switch, as a scheduler does
  co_await isa::switch_to(next);
}
cpu::program releases(spinlock& lock, bool& held) {
  held = lock.holder() == &co_await isa::this_strand();
  co_await isa::compute(cycles{5000});
  co_await lock.release();
  co_await lock_rig::sleep();
}

TEST_P(every_truth, changes_hands_at_a_strand_switch) {
  lock_rig rig{bare({1, 2, 1})};
  const auto lock = rig.make(GetParam());
  bool held = false;
  cpu::strand& next = rig.add(releases(*lock, held));
  rig.run(0, hands_over(*lock, next));
  rig.run(1, rig.visitor(*lock, cycles{2000}, cycles{100}));
  rig.hw.run_until(cycles{50'000});
  EXPECT_TRUE(held);
  ASSERT_EQ(rig.log.of<lock_wait_fact>().size(), 1u);
  EXPECT_EQ(rig.log.of<lock_wait_fact>()[0].fact.holder, next.id());
  EXPECT_EQ(rig.log.of<lock_wait_fact>()[0].fact.futile, cycles{0})
      << "the first strand is gone, the lock's holder is not";
  EXPECT_EQ(lock->holder(), nullptr);
}

}  // namespace
}  // namespace vmxsys::models::testing
