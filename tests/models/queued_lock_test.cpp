#include <algorithm>
#include <gtest/gtest.h>

#include "spinlock_fixture.hpp"

// The queued spinlock, word by word.
namespace vmxsys::models::testing {
namespace {

using values = std::vector<std::uint64_t>;

TEST(queued_lock, QS_01_tail_codes) {
  EXPECT_EQ(queued_lock::encode_tail(0, 0), 0x00040000u);
  EXPECT_EQ(queued_lock::encode_tail(5, 1), 0x00190000u);
  EXPECT_EQ(queued_lock::encode_tail(16381, 3), 0xfffb0000u);
}

struct visit {
  unsigned cpu;
  std::uint64_t arrive;
  std::uint64_t hold;
};
struct outside_write {
  std::uint64_t at;
  std::uint32_t value;
};
/// Visitors, writes from outside, and every value the word takes.
struct row {
  const char* label;
  std::uint32_t initial;
  std::vector<visit> visits;
  std::vector<outside_write> writes;
  values expected;
  std::vector<std::pair<const cpu::code_location*, std::uint64_t>> spins;  // site, and PAUSEs if not 0, in order of end
};

const row rows[] = {
    {"QS_02_fast_path", 0, {{0, 100, 900}}, {}, {0x1, 0x0}, {}},
    {"QS_03_second_locker_is_pending",
     0,
     {{0, 100, 9000}, {1, 2000, 900}},
     {},
     {0x1, 0x101, 0x100, 0x1, 0x0},
     {{&queued_lock::pending_spin, 0}}},
    {"QS_03_pending_driven_from_outside",
     0x1,
     {{1, 2000, 900}},
     {{9000, 0x100}},
     {0x101, 0x100, 0x1, 0x0},
     {{&queued_lock::pending_spin, 0}}},
    {"QS_04_third_locker_queues_QS_05_alone_at_the_head",
     0x101,
     {{5, 2000, 900}},
     {{9000, 0x180000}},
     {0x180101, 0x180000, 0x1, 0x0},
     {{&queued_lock::head_spin, 0}}},
    {"QS_04_whole_life",
     0,
     {{0, 100, 9000}, {1, 2000, 5000}, {5, 4000, 700}},
     {},
     {0x1, 0x101, 0x180101, 0x180100, 0x180001, 0x180000, 0x1, 0x0},
     {{&queued_lock::pending_spin, 0}, {&queued_lock::head_spin, 0}}},
    {"QS_06_hands_over_to_the_next",
     0x101,
     {{5, 2000, 5000}, {6, 4000, 700}},
     {{9000, 0x1c0000}},
     {0x180101, 0x1c0101, 0x1c0000, 0x1c0001, 0x1c0000, 0x1, 0x0},
     {{&queued_lock::head_spin, 0},
      {&queued_lock::link_spin, 0},
      {&queued_lock::node_spin, 0},
      {&queued_lock::head_spin, 0}}},
    {"QS_07_pending_only_for_ever",
     0x100,
     {{5, 2000, 700}},
     {{100'000, 0x180000}},
     {0x180100, 0x180000, 0x1, 0x0},
     {{&queued_lock::transition_spin, 512}, {&queued_lock::head_spin, 0}}},
    {"QS_07_pending_only_becomes_locked",
     0x100,
     {{5, 2000, 700}},
     {{10'000, 0x1}, {20'000, 0x100}},
     {0x1, 0x101, 0x100, 0x1, 0x0},
     {{&queued_lock::transition_spin, 0}, {&queued_lock::pending_spin, 0}}},
    {"QS_07_pending_only_becomes_free",
     0x100,
     {{5, 2000, 700}},
     {{10'000, 0x0}},
     {0x0, 0x100, 0x1, 0x0},
     {{&queued_lock::transition_spin, 0}}},
    {"pending_and_locked_is_no_transition", 0x101, {{5, 2000, 700}}, {}, {0x180101}, {}},
};

std::ostream& operator<<(std::ostream& out, const row& r) { return out << r.label; }

class queued_word : public ::testing::TestWithParam<row> {};
INSTANTIATE_TEST_SUITE_P(queued_lock, queued_word, ::testing::ValuesIn(rows),
                         [](const auto& tested) { return std::string{tested.param.label}; });

TEST_P(queued_word, takes_these_values) {
  const row& r = GetParam();
  lock_rig rig{bare({1, 8, 1})};
  const auto lock = rig.make("queued");
  rig.hw.physical().word_at(lock->address()).initialise(r.initial);
  word_log log{rig.hw, lock->address()};
  for (const visit& v : r.visits) rig.run(v.cpu, rig.visitor(*lock, cycles{v.arrive}, cycles{v.hold}));
  for (const outside_write& w : r.writes) {
    rig.hw.run_until(cycles{w.at});
    rig.hw.physical().write<std::uint32_t>(lock->address(), w.value);
  }
  rig.hw.run_until(cycles{200'000});
  EXPECT_EQ(log.values(), r.expected);
  ASSERT_EQ(rig.log.of<cpu::spin_fact>().size(), r.spins.size());
  for (std::size_t i = 0; i < r.spins.size(); ++i) {
    EXPECT_EQ(rig.log.of<cpu::spin_fact>()[i].fact.rip, r.spins[i].first->rip()) << "spin " << i;
    if (r.spins[i].second != 0) {
      EXPECT_EQ(rig.log.of<cpu::spin_fact>()[i].fact.iterations, r.spins[i].second);
    }
  }
}

TEST(queued_lock, QS_06_makes_the_next_node_the_head) {
  lock_rig rig{bare({1, 8, 1})};
  const auto lock = rig.make("queued");
  rig.hw.physical().word_at(lock->address()).initialise(0x101);
  const queue_node& node = rig.locks.nodes_of(6).level[0];
  rig.run(5, rig.visitor(*lock, cycles{2000}, cycles{5000}));
  rig.run(6, rig.visitor(*lock, cycles{4000}, cycles{700}));
  rig.hw.run_until(cycles{9000});
  EXPECT_EQ(rig.locks.nodes_of(5).level[0].next->peek(), queued_lock::encode_tail(6, 0)) << "linked";
  EXPECT_EQ(node.locked->peek(), 0u);
  rig.hw.physical().write<std::uint16_t>(lock->address(), 0);
  rig.hw.run_until(cycles{11'000});
  EXPECT_EQ(node.locked->peek(), 1u);
  EXPECT_EQ(rig.locks.nodes_of(5).depth, 0u);
  EXPECT_EQ(rig.locks.nodes_of(6).depth, 1u);
}

TEST(queued_lock, QS_07_waits_512_pauses_and_not_one_more) {
  // 512 PAUSEs of 40 cycles and loads of 6 are over about 23,600 cycles after the fast path has failed.
  for (bool stepped : {false, true}) {
    lock_rig rig{bare({1, 2, 1}, stepped)};
    const auto lock = rig.make("queued");
    rig.hw.physical().word_at(lock->address()).initialise(0x100);
    rig.run(0, rig.visitor(*lock, cycles{0}, cycles{700}));
    rig.hw.run_until(cycles{100'000});
    ASSERT_EQ(rig.log.of<cpu::spin_fact>().size(), 1u);
    const cpu::spin_fact& spin = rig.log.of<cpu::spin_fact>()[0].fact;
    EXPECT_EQ(spin.iterations, 512u);
    EXPECT_EQ(rig.log.of<cpu::spin_fact>()[0].at() - spin.began, cycles{512 * 46 + 6});
  }
}

TEST(queued_lock, QS_08_fifth_level_spins_on_the_word) {
  lock_rig rig{bare({1, 8, 1})};
  const auto lock = rig.make("queued");
  rig.hw.physical().word_at(lock->address()).initialise(0x101);
  word_log log{rig.hw, lock->address()};
  rig.locks.nodes_of(5).depth = queue_nodes::levels;  // waits in four contexts
  rig.run(5, rig.visitor(*lock, cycles{2000}, cycles{700}));
  rig.hw.run_until(cycles{9000});
  EXPECT_TRUE(log.changes.empty()) << "no tail";
  EXPECT_EQ(rig.locks.nodes_of(5).depth, queue_nodes::levels + 1);
  rig.hw.physical().write<std::uint32_t>(lock->address(), 0x100);
  rig.hw.run_until(cycles{12'000});
  rig.hw.physical().write<std::uint32_t>(lock->address(), 0);
  rig.hw.run_until(cycles{50'000});
  EXPECT_EQ(log.values(), (values{0x100, 0x0, 0x1, 0x0}));
  ASSERT_EQ(rig.log.of<cpu::spin_fact>().size(), 1u);
  EXPECT_EQ(rig.log.of<cpu::spin_fact>()[0].fact.rip, queued_lock::no_node_spin.rip());
  EXPECT_EQ(rig.locks.nodes_of(5).depth, queue_nodes::levels);
}

TEST(queued_lock, fourth_level_still_has_a_node) {
  lock_rig rig{bare({1, 8, 1})};
  const auto lock = rig.make("queued");
  rig.hw.physical().word_at(lock->address()).initialise(0x101);
  rig.locks.nodes_of(5).depth = 3;
  rig.run(5, rig.visitor(*lock, cycles{2000}, cycles{700}));
  rig.hw.run_until(cycles{9000});
  EXPECT_EQ(lock->word().peek(), 0x101 | queued_lock::encode_tail(5, 3));
}

/// A kernel whose CPU numbers are not the machine's.
class guest_environment : public lock_environment {
 public:
  using lock_environment::lock_environment;
  unsigned this_cpu(const cpu::logical_cpu& cpu) const override { return 7 - cpu.number(); }
};

TEST(queued_lock, takes_its_cpu_numbers_from_the_kernel) {
  lock_rig rig{bare({1, 8, 1})};
  guest_environment guest{rig.hw, rig.region, 8, rig.locks.fact_source()};
  const auto lock = make_lock("queued", guest);
  rig.hw.physical().word_at(lock->address()).initialise(0x101);
  rig.run(2, rig.visitor(*lock, cycles{2000}, cycles{700}));
  rig.hw.run_until(cycles{9000});
  EXPECT_EQ(lock->word().peek(), 0x101 | queued_lock::encode_tail(5, 0));
}

TEST(queued_lock, nodes_have_lines_of_their_own) {
  lock_rig rig{bare({1, 4, 1})};
  const auto lock = rig.make("queued");
  std::vector<physical_address> lines{lock->address() / 64};
  for (unsigned c = 0; c < 4; ++c)
    for (unsigned level = 0; level < queue_nodes::levels; ++level) {
      const queue_node& n = rig.locks.node_of(c, level);
      EXPECT_EQ(n.next->address() / 64, n.locked->address() / 64);
      EXPECT_EQ(std::count(lines.begin(), lines.end(), n.next->address() / 64), 0);
      lines.push_back(n.next->address() / 64);
    }
}

}  // namespace
}  // namespace vmxsys::models::testing
