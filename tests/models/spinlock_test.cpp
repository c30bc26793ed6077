#include <algorithm>
#include <gtest/gtest.h>
#include <numeric>

#include "spinlock_fixture.hpp"

namespace vmxsys::models::testing {
namespace {

using cpu::word;

// -- random machines --------------------------------------------------------------------------------------------------

cpu::machine_config random_machine(random_numbers& r, bool stepped) {
  constexpr cpu::topology shapes[] = {{1, 2, 1}, {1, 3, 1}, {2, 1, 2}, {1, 5, 1}, {2, 3, 1}, {2, 2, 2}};
  cpu::machine_config c = bare(shapes[r.below(std::size(shapes))], stepped);
  c.costs.instruction.pause = cycles{r.between(5, 150)};
  c.costs.instruction.load = cycles{r.between(1, 6)};
  c.costs.instruction.branch = cycles{r.between(1, 3)};
  c.costs.instruction.locked = cycles{r.between(8, 30)};
  c.costs.transfer.same_core = cycles{r.between(10, 40)};
  c.costs.transfer.same_socket = cycles{r.between(50, 150)};
  c.costs.transfer.other_socket = cycles{r.between(200, 400)};
  return c;
}

/// Every CPU works, takes lock `outer`, holds it; every timer interrupt does the same with lock `inner`.
class crowd : public lock_rig {
 public:
  crowd(const std::string& kind, std::uint64_t seed, bool interrupts, bool stepped = false)
      : crowd{kind, random_numbers{seed}, seed, interrupts, stepped} {}

  cpu::program handler(unsigned cpu) override {
    nested = std::max(nested, locks_in_use ? locks.nodes_of(cpu).depth : 0U);
    co_await visit(*inner, inner_inside, inner_taken[cpu], random_[cpu]);
  }

  std::unique_ptr<spinlock> outer;
  std::unique_ptr<spinlock> inner;
  std::vector<std::uint64_t> outer_taken;
  std::vector<std::uint64_t> inner_taken;
  unsigned outer_inside = 0;
  unsigned inner_inside = 0;
  unsigned violations = 0;
  unsigned nested = 0;  // queue nodes in use when an interrupt came, at most
  bool locks_in_use = false;

 private:
  crowd(const std::string& kind, random_numbers r, std::uint64_t seed, bool interrupts, bool stepped)
      : lock_rig{random_machine(r, stepped)} {
    outer = make(kind);
    inner = make(kind);
    locks_in_use = kind == "queued";
    outer_taken.resize(hw.cpus());
    inner_taken.resize(hw.cpus());
    work_ = r.between(20, 3000);
    hold_ = r.between(20, 2000);
    for (unsigned i = 0; i < hw.cpus(); ++i) {
      random_.emplace_back(seed * 131 + i);
      run(i, worker(i, interrupts ? static_cast<std::uint32_t>(r.between(3'000, 6'000) * hw.cpus()) : 0));
    }
  }

  cpu::program worker(unsigned cpu, std::uint32_t period) {
    if (period != 0) {
      co_await accept_interrupts();
      co_await start_periodic_timer(period);
    }
    for (;;) {
      co_await isa::compute(cycles{random_[cpu].below(work_)});
      co_await visit(*outer, outer_inside, outer_taken[cpu], random_[cpu]);
    }
  }

  cpu::program visit(spinlock& lock, unsigned& inside, std::uint64_t& taken, random_numbers& r) {
    cpu::strand& me = co_await isa::this_strand();
    co_await lock.acquire();
    violations += inside++ != 0 || lock.holder() != &me || lock.subject().awaited() != &me;
    ++taken;
    co_await isa::compute(cycles{r.below(hold_)});
    violations += --inside != 0 || lock.holder() != &me;
    co_await lock.release();
    violations += lock.holder() == &me;
  }

  std::uint64_t work_ = 0;
  std::uint64_t hold_ = 0;
  std::vector<random_numbers> random_;
};

class every_spinlock : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(spinlock, every_spinlock, ::testing::ValuesIn(spinlocks().names()),
                         [](const auto& row) { return row.param; });

TEST_P(every_spinlock, excludes_and_makes_progress_on_random_machines) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    crowd c{GetParam(), seed, false};
    c.hw.run_until(cycles{300'000});
    c.hw.check_accounting();
    ASSERT_EQ(c.violations, 0u) << "seed " << seed;
    const auto all = std::accumulate(c.outer_taken.begin(), c.outer_taken.end(), std::uint64_t{0});
    ASSERT_GT(all, 60u) << "seed " << seed;
    if (GetParam() == "test_and_set") continue;  // may starve a CPU
    ASSERT_GT(*std::min_element(c.outer_taken.begin(), c.outer_taken.end()), 5u) << "seed " << seed;
  }
}

TEST_P(every_spinlock, excludes_and_makes_progress_with_interrupts_that_take_another_lock) {
  unsigned nested = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    crowd c{GetParam(), seed, true};
    c.hw.run_until(cycles{600'000});
    c.hw.check_accounting();
    ASSERT_EQ(c.violations, 0u) << "seed " << seed;
    ASSERT_GT(std::accumulate(c.outer_taken.begin(), c.outer_taken.end(), std::uint64_t{0}), 20u) << "seed " << seed;
    ASSERT_GT(std::accumulate(c.inner_taken.begin(), c.inner_taken.end(), std::uint64_t{0}), 20u) << "seed " << seed;
    nested = std::max(nested, c.nested);
  }
  if (GetParam() == "queued") {
    EXPECT_EQ(nested, 1u) << "no interrupt met a CPU that was waiting in a queue";
  }
}

TEST_P(every_spinlock, fast_and_stepped_machines_state_the_same_facts) {
  std::uint64_t waits = 0;
  for (std::uint64_t seed = 100; seed < 160; ++seed) {
    crowd fast{GetParam(), seed, seed % 2 == 0};
    crowd stepped{GetParam(), seed, seed % 2 == 0, true};
    random_numbers r{seed};
    for (std::uint64_t end = 1000; end < 150'000; end += r.between(1, 20'000)) {
      fast.hw.run_until(cycles{end});
      stepped.hw.run_until(cycles{end});
      fast.hw.check_accounting();
      stepped.hw.check_accounting();
      ASSERT_EQ(fast.hash.value(), stepped.hash.value()) << "seed " << seed << " until cycle " << end;
      if (r.below(2) == 0) fast.hw.materialise();
    }
    waits += fast.log.of<lock_wait_fact>().size();
  }
  EXPECT_GT(waits, 2000u);
}

TEST_P(every_spinlock, two_runs_of_one_seed_are_the_same) {
  crowd a{GetParam(), 7, true};
  crowd b{GetParam(), 7, true};
  a.hw.run_until(cycles{200'000});
  b.hw.run_until(cycles{200'000});
  EXPECT_EQ(a.hash.value(), b.hash.value());
  EXPECT_GT(a.hash.count(), 100u);
}

// -- order ------------------------------------------------------------------------------------------------------------

/// CPU 0 holds the lock while the others come in random order, far enough apart to say who was first.
std::vector<unsigned> order_of_acquires(const std::string& kind, std::uint64_t seed, std::vector<unsigned>& arrivals) {
  random_numbers r{seed};
  lock_rig rig{bare({1, 8, 1})};
  const auto lock = rig.make(kind);
  arrivals = {1, 2, 3, 4, 5, 6, 7};
  for (std::size_t i = arrivals.size() - 1; i > 0; --i) std::swap(arrivals[i], arrivals[r.below(i + 1)]);
  rig.run(0, rig.visitor(*lock, cycles{100}, cycles{40'000}));
  std::uint64_t at = 1000;
  for (unsigned cpu : arrivals) {
    rig.run(cpu, rig.visitor(*lock, cycles{at}, cycles{r.between(1, 3000)}));
    at += r.between(1500, 4000);
  }
  rig.hw.run_until(cycles{200'000});
  EXPECT_EQ(rig.log.of<lock_wait_fact>().size(), 7u);
  auto waits = rig.log.of<lock_wait_fact>();
  // A fact is stated when the waiter goes on, which is the order in which it was let in.
  std::sort(waits.begin(), waits.end(), [](const auto& a, const auto& b) { return a.at() < b.at(); });
  std::vector<unsigned> order;
  for (const auto& w : waits)
    for (unsigned cpu : arrivals)
      if (rig.strand(cpu).id() == w.fact.waiter) order.push_back(cpu);
  return order;
}

TEST(spinlock, ticket_and_queued_are_first_come_first_served) {
  for (const std::string kind : {"ticket", "queued"})
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
      std::vector<unsigned> arrivals;
      const std::vector<unsigned> order = order_of_acquires(kind, seed, arrivals);
      ASSERT_EQ(order, arrivals) << kind << ", seed " << seed;
    }
}

TEST(spinlock, test_and_set_is_not) {
  unsigned in_order = 0;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    std::vector<unsigned> arrivals;
    in_order += order_of_acquires("test_and_set", seed, arrivals) == arrivals;
  }
  EXPECT_LT(in_order, 5u);
}

// -- what it costs ----------------------------------------------------------------------------------------------------

cpu::program acquire_and_release(spinlock& lock, std::vector<cycles>& times) {
  cpu::logical_cpu& cpu = co_await isa::this_cpu();
  for (int i = 0; i < 2; ++i) {
    times.push_back(cpu.now());
    co_await lock.acquire();
    times.push_back(cpu.now());
    co_await lock.release();
    times.push_back(cpu.now());
  }
  co_await lock_rig::sleep();
}

TEST_P(every_spinlock, uncontended_is_one_locked_instruction_and_one_store) {
  lock_rig rig{bare({1, 1, 1})};
  const auto lock = rig.make(GetParam());
  std::vector<cycles> times;
  rig.run(0, acquire_and_release(*lock, times));
  rig.hw.run_until(cycles{10'000});
  const auto& cost = rig.hw.costs();
  ASSERT_EQ(times.size(), 6u);
  EXPECT_EQ(times[1] - times[0], cost.instruction.locked + cost.transfer.same_socket) << "the line comes from memory";
  EXPECT_EQ(times[4] - times[3], cost.instruction.locked);
  EXPECT_EQ(times[5] - times[4], cost.instruction.store);
  EXPECT_EQ(rig.hw.time().events(), 5u) << "the start, and two times two instructions";
  EXPECT_TRUE(rig.log.of<lock_wait_fact>().empty());
  EXPECT_TRUE(rig.log.of<cpu::spin_fact>().empty());
  EXPECT_EQ(lock->subject().awaited(), nullptr);
}

TEST_P(every_spinlock, has_a_line_of_its_own) {
  lock_rig rig{bare({1, 2, 1})};
  const auto a = rig.make(GetParam());
  const auto b = rig.make(GetParam());
  EXPECT_EQ(a->address() % 64, 0u);
  EXPECT_NE(a->address() / 64, b->address() / 64);
}

TEST(spinlock, the_catalogue) {
  lock_rig rig{bare({1, 2, 1})};
  const auto first = spinlocks().select().make(rig.locks, lock_user::kernel);
  EXPECT_NE(dynamic_cast<queued_lock*>(first.get()), nullptr) << "the default";
  EXPECT_THROW(spinlocks().select("mcs"), catalogue_error);
  for (const lock_entry* e : spinlocks()) EXPECT_EQ(e->for_programs, std::string{e->name} != "queued") << e->name;
}

// -- the word ---------------------------------------------------------------------------------------------------------

TEST(spinlock, ticket_word_counts_head_and_tail) {
  lock_rig rig{bare({1, 3, 1})};
  const auto lock = rig.make("ticket");
  rig.hw.physical().word_at(lock->address()).initialise(0xFFFFFFFF'FFFFFFFF);
  word_log log{rig.hw, lock->address()};
  for (unsigned i = 0; i < 3; ++i) rig.run(i, rig.visitor(*lock, cycles{1000 * (i + 1)}, cycles{5000}));
  rig.hw.run_until(cycles{50'000});
  EXPECT_EQ(log.values(), (std::vector<std::uint64_t>{0x00000000'FFFFFFFF, 0x00000001'FFFFFFFF, 0x00000002'FFFFFFFF,
                                                      0x00000002'00000000, 0x00000002'00000001, 0x00000002'00000002}));
}

TEST(spinlock, test_and_set_word_is_0_or_1) {
  lock_rig rig{bare({1, 3, 1})};
  const auto lock = rig.make("test_and_set");
  word_log log{rig.hw, lock->address()};
  for (unsigned i = 0; i < 3; ++i) rig.run(i, rig.visitor(*lock, cycles{1000 * (i + 1)}, cycles{5000}));
  rig.hw.run_until(cycles{50'000});
  EXPECT_EQ(log.values(), (std::vector<std::uint64_t>{1, 0, 1, 0, 1, 0}));
}

// -- partial stores ---------------------------------------------------------------------------------------------------

cpu::program partial(word& w, std::vector<std::uint64_t>& seen) {
  co_await isa::store_part(w, 0xFF00, 0xABCDEF);
  seen.push_back(w.peek());
  seen.push_back(co_await isa::exchange_part(w, 0xFFFF0000, 0x77778888));
  seen.push_back(w.peek());
  seen.push_back(co_await isa::exchange(w, 5));
  co_await isa::store(w, 6);
  seen.push_back(w.peek());
  co_await lock_rig::sleep();
}

TEST(instruction, partial_stores_leave_the_rest) {
  lock_rig rig{bare({1, 1, 1})};
  word& w = rig.hw.physical().word_at(0x300000);
  w.initialise(0x1111'2222'3333'4444);
  std::vector<std::uint64_t> seen;
  rig.run(0, partial(w, seen));
  rig.hw.run_until(cycles{10'000});
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{0x1111'2222'3333'CD44, 0x3333'0000, 0x1111'2222'7777'CD44,
                                              0x1111'2222'7777'CD44, 6}));
}

}  // namespace
}  // namespace vmxsys::models::testing
