#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <set>

#include "rig.hpp"

namespace vmxsys::cpu::testing {
namespace {

constexpr unsigned nobody = ~0u;

/// Two sockets of two cores of two threads, with distances that cannot be mistaken for one another.
struct bench {
  bench() {
    costs.transfer = {cycles{17}, cycles{110}, cycles{310}};
    costs.instruction.load = cycles{4};
    costs.instruction.store = cycles{5};
    costs.instruction.locked = cycles{20};
  }
  timeline time;
  topology shape{2, 2, 2};
  hardware_costs costs;
  memory m{time, shape, costs};
};

constexpr physical_address base = 0x20'0000;

std::uint64_t load(bench& b, word& w, unsigned cpu, std::uint64_t now) {
  const cycles done = b.m.issue_load(w, cpu, cycles{now});
  b.m.complete_load(w, cpu);
  return (done - cycles{now}).count();
}
std::uint64_t store(bench& b, word& w, unsigned cpu, std::uint64_t now) {
  const cycles done = b.m.issue_store(w, cpu, cycles{now});
  b.m.complete_store(w, cpu, done, w.peek() + 1);
  return (done - cycles{now}).count();
}

TEST(memory, a_load_hits_its_own_copy_and_a_miss_costs_the_distance_of_the_last_owner) {
  bench b;
  word& w = b.m.word_at(base);
  EXPECT_EQ(load(b, w, 0, 1000), 110u);  // nobody had it
  EXPECT_TRUE(b.m.load_hits(w, 0));
  EXPECT_EQ(load(b, w, 0, 2000), 4u);
  EXPECT_EQ(store(b, w, 0, 3000), 5u + 110u);  // nobody owned it
  EXPECT_EQ(store(b, w, 0, 4000), 5u);         // now exclusive
  EXPECT_EQ(load(b, w, 1, 5000), 17u);         // hyper-thread
  EXPECT_EQ(load(b, w, 2, 6000), 110u);        // core of the socket
  EXPECT_EQ(load(b, w, 4, 7000), 310u);        // other socket
  EXPECT_EQ(load(b, w, 4, 8000), 4u);
}

TEST(memory, an_upgrade_costs_the_farthest_copy_it_takes_away) {
  bench b;
  word& w = b.m.word_at(base);
  store(b, w, 0, 0);
  load(b, w, 1, 1000);
  EXPECT_EQ(store(b, w, 0, 2000), 5u + 17u);
  EXPECT_FALSE(b.m.load_hits(w, 1));
  load(b, w, 1, 3000);
  load(b, w, 2, 4000);
  EXPECT_EQ(store(b, w, 0, 5000), 5u + 110u);
  load(b, w, 1, 6000);
  load(b, w, 7, 7000);
  EXPECT_EQ(store(b, w, 0, 8000), 5u + 310u);
  EXPECT_EQ(store(b, w, 3, 9000), 5u + 110u);  // from the owner
  EXPECT_FALSE(b.m.load_hits(w, 0));
  const cycles done = b.m.issue_locked(w, 3, cycles{10'000});
  EXPECT_EQ(done, cycles{10'020});
}

TEST(memory, requests_of_one_line_are_served_one_after_another) {
  bench b;
  word& w = b.m.word_at(base);
  store(b, w, 0, 0);
  EXPECT_EQ(b.m.issue_locked(w, 2, cycles{1000}), cycles{1130});
  EXPECT_EQ(b.m.issue_locked(w, 4, cycles{1000}), cycles{1130 + 330});
  EXPECT_EQ(b.m.issue_load(w, 6, cycles{1001}), cycles{1460 + 110});
  EXPECT_EQ(b.m.issue_load(w, 0, cycles{1002}), cycles{1006}) << "its copy is valid until a store takes effect";
  EXPECT_EQ(b.m.issue_store(w, 3, cycles{5000}), cycles{5000 + 5 + 310}) << "an idle line makes nobody wait";
}

TEST(memory, false_sharing_is_sharing_and_neighbouring_lines_are_not) {
  bench b;
  word& a = b.m.word_at(base);
  word& same = b.m.word_at(base + 56);
  word& next = b.m.word_at(base + 64);
  store(b, a, 0, 0);
  store(b, next, 0, 0);
  EXPECT_EQ(store(b, same, 2, 1000), 5u + 110u);
  EXPECT_FALSE(b.m.load_hits(a, 0));
  EXPECT_TRUE(b.m.load_hits(next, 0));
  EXPECT_EQ(store(b, next, 0, 1000), 5u);
}

/// The rules again, naively: a line is a list of facts about it.
struct naive_line {
  std::uint64_t free_at = 0;
  unsigned owner = nobody;
  std::set<unsigned> holders;
};

class naive_memory {
 public:
  explicit naive_memory(const topology& t) : t_{t} {}
  std::uint64_t distance(unsigned a, unsigned b) const {
    if (a / t_.threads == b / t_.threads) return 17;
    return a / (t_.cores * t_.threads) == b / (t_.cores * t_.threads) ? 110 : 310;
  }
  std::uint64_t load(physical_address at, unsigned cpu, std::uint64_t now) {
    naive_line& l = lines[at / 64];
    if (l.holders.count(cpu)) return now + 4;
    l.free_at = std::max(now, l.free_at) + (l.owner == nobody ? 110 : distance(l.owner, cpu));
    return l.free_at;
  }
  std::uint64_t exclusive(physical_address at, unsigned cpu, std::uint64_t now, std::uint64_t hit) {
    naive_line& l = lines[at / 64];
    std::uint64_t transfer = 0;
    const bool alone = l.owner == cpu && l.holders == std::set<unsigned>{cpu};
    if (l.owner == nobody) {
      transfer = 110;
    } else if (!alone) {
      transfer = distance(l.owner, cpu);
      for (unsigned h : l.holders)
        if (h != cpu) transfer = std::max(transfer, distance(h, cpu));
    }
    l.owner = cpu;
    l.free_at = std::max(now, l.free_at) + hit + transfer;
    return l.free_at;
  }
  std::map<std::uint64_t, naive_line> lines;

 private:
  topology t_;
};

TEST(memory, random_streams_against_a_naive_restatement) {
  struct pending {
    std::uint64_t at;
    int kind;  // 0 load, 1 store, 2 locked
    physical_address where;
    std::uint64_t value;
  };
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    random_numbers next{seed};
    bench b;
    b.shape = {static_cast<unsigned>(next.between(1, 2)), static_cast<unsigned>(next.between(1, 2)),
               static_cast<unsigned>(next.between(1, 2))};
    memory m{b.time, b.shape, b.costs};
    naive_memory naive{b.shape};
    std::map<physical_address, std::uint64_t> values;
    std::vector<physical_address> words;
    for (int i = 0; i < 4; ++i) words.push_back(base + 8 * next.below(20));
    for (physical_address w : words) m.word_at(w), values[w] = 0;
    std::vector<std::optional<pending>> in_flight(b.shape.cpus());
    for (std::uint64_t now = 1; now < 6000; ++now) {
      for (unsigned cpu = 0; cpu < b.shape.cpus(); ++cpu) {  // effects before reads
        auto& p = in_flight[cpu];
        if (!p || p->at != now || p->kind == 0) continue;
        m.complete_store(m.word_at(p->where), cpu, cycles{now}, p->value);
        values[p->where] = p->value;
        naive.lines[p->where / 64].holders = {cpu};
        p.reset();
      }
      if (next.one_in(500)) {  // a device writes
        const physical_address at = next.pick(words);
        b.time.run_until(cycles{now});
        m.write<std::uint64_t>(at, now);
        values[at] = now;
        naive.lines[at / 64].owner = nobody;
        naive.lines[at / 64].holders.clear();
      }
      for (unsigned cpu = 0; cpu < b.shape.cpus(); ++cpu) {
        auto& p = in_flight[cpu];
        if (p && p->at == now) {
          ASSERT_EQ(m.complete_load(m.word_at(p->where), cpu), values[p->where]) << seed << " at " << now;
          naive.lines[p->where / 64].holders.insert(cpu);
          p.reset();
        }
        if (p || !next.one_in(6)) continue;
        const physical_address at = next.pick(words);
        word& w = m.word_at(at);
        ASSERT_EQ(m.load_hits(w, cpu), naive.lines[at / 64].holders.count(cpu) == 1) << seed << " at " << now;
        const int kind = static_cast<int>(next.below(3));
        const cycles done = kind == 0   ? m.issue_load(w, cpu, cycles{now})
                            : kind == 1 ? m.issue_store(w, cpu, cycles{now})
                                        : m.issue_locked(w, cpu, cycles{now});
        const std::uint64_t expected =
            kind == 0 ? naive.load(at, cpu, now) : naive.exclusive(at, cpu, now, kind == 1 ? 5 : 20);
        ASSERT_EQ(done.count(), expected) << "seed " << seed << ", cycle " << now << ", kind " << kind;
        p = pending{expected, kind, at, next()};
      }
    }
    for (const auto& [at, value] : values) {
      EXPECT_EQ(m.word_at(at).peek(), value);
      EXPECT_EQ(m.read<std::uint64_t>(at), value);
    }
  }
}

struct watcher final : line_watcher {
  std::vector<cycles> told;
  memory* m = nullptr;
  word* w = nullptr;
  void line_changed(cycles now) override {
    told.push_back(now);
    if (m != nullptr) m->unwatch(*w, *this);
  }
};

TEST(memory, stores_and_outside_writes_wake_the_watchers_of_the_whole_line) {
  bench b;
  word& a = b.m.word_at(base);
  word& c = b.m.word_at(base + 8);
  word& far = b.m.word_at(base + 64);
  watcher x, y, z, other;
  x.m = &b.m;  // x and z stop watching while they are told
  x.w = &a;
  z.m = &b.m;
  z.w = &c;
  b.m.watch(a, x);
  b.m.watch(a, y);
  b.m.watch(c, z);
  b.m.watch(far, other);
  b.m.complete_store(a, 0, cycles{50}, 1);
  EXPECT_EQ(x.told, std::vector<cycles>{cycles{50}});
  EXPECT_EQ(y.told, std::vector<cycles>{cycles{50}});
  EXPECT_EQ(z.told, std::vector<cycles>{cycles{50}});
  b.time.run_until(cycles{70});
  b.m.write<std::uint8_t>(base + 17, 3);  // a byte of the line that is no word
  EXPECT_EQ(y.told, (std::vector<cycles>{cycles{50}, cycles{70}}));
  EXPECT_EQ(x.told.size(), 1u);
  EXPECT_TRUE(other.told.empty());
  b.m.write<std::uint64_t>(base + 60, 0);  // across two lines
  EXPECT_EQ(y.told.size(), 3u);
  EXPECT_EQ(other.told.size(), 1u);
}

TEST(memory, an_outside_write_takes_every_copy) {
  bench b;
  word& w = b.m.word_at(base);
  store(b, w, 0, 0);
  load(b, w, 2, 1000);
  b.m.write<std::uint64_t>(base, 77);
  EXPECT_FALSE(b.m.load_hits(w, 0));
  EXPECT_FALSE(b.m.load_hits(w, 2));
  EXPECT_EQ(w.peek(), 77u);
  EXPECT_EQ(store(b, w, 0, 2000), 5u + 110u);
}

struct page_listener final : watched_page_listener {
  std::vector<physical_address> pages;
  void page_became_watched(physical_address page) override { pages.push_back(page); }
};

TEST(memory, pages_are_sparse_and_know_whether_they_hold_shared_words) {
  bench b;
  page_listener listener;
  b.m.attach(listener);
  EXPECT_EQ(b.m.read<std::uint64_t>(0x7FFF'FFFC), 0u);
  EXPECT_EQ(b.m.pages(), 0u);
  std::vector<unsigned char> bytes(9000), back(9000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(i * 7);
  b.m.write(0x4F00, bytes.data(), bytes.size());
  b.m.read(0x4F00, back.data(), back.size());
  EXPECT_EQ(bytes, back);
  EXPECT_EQ(b.m.pages(), 4u);
  EXPECT_FALSE(b.m.page_is_watched(0x5000));
  word& w = b.m.word_at(0x5010);
  EXPECT_EQ(&b.m.word_at(0x5010), &w);
  EXPECT_EQ(w.peek(), b.m.read<std::uint64_t>(0x5010));
  b.m.word_at(0x5018);
  EXPECT_TRUE(b.m.page_is_watched(0x5FFF));
  EXPECT_FALSE(b.m.page_is_watched(0x6000));
  EXPECT_EQ(listener.pages, std::vector<physical_address>{0x5000});
  b.m.detach(listener);
  b.m.word_at(0x9000);
  EXPECT_EQ(listener.pages.size(), 1u);
  EXPECT_THROW(b.m.word_at(0x5014), std::invalid_argument);
  b.m.direct_page(0x5010)[0x10] = 0xAA;
  EXPECT_EQ(w.peek() & 0xFF, 0xAAu);
}

TEST(memory, a_region_hands_out_aligned_blocks_until_it_is_full) {
  region_allocator r{0x1008, 0x100};
  EXPECT_EQ(r.take(8, 8), 0x1008u);
  EXPECT_EQ(r.take(64, 64), 0x1040u);
  EXPECT_EQ(r.take(0x88, 8), 0x1080u);
  EXPECT_THROW(r.take(8, 8), std::length_error);
}

// -- on a machine -----------------------------------------------------------------------------------------------------

class memory_modes : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(fast_and_stepped, memory_modes, ::testing::Bool());

TEST_P(memory_modes,
       a_load_issued_in_the_cycle_of_a_stores_effect_fetches_it_and_one_cycle_earlier_it_hits_the_old_copy) {
  constexpr std::uint64_t effect = 2000 + 4 + 110;
  for (std::uint64_t issue = effect - 10; issue < effect + 10; ++issue) {
    rig r{bare_config(2, GetParam())};
    word& w = r.hw.physical().word_at(base);
    std::uint64_t stored = 0, read_at = 0, value = 99;
    r.run(0, [&]() -> program {
      co_await isa::compute(cycles{2000});
      co_await isa::store(w, 1);
      stored = r.now().count();
      co_await rig::sleep();
    });
    r.run(1, [&]() -> program {
      co_await isa::load(w);
      co_await isa::compute(cycles{issue - r.now().count()});
      value = co_await isa::load(w);
      read_at = r.now().count();
      co_await rig::sleep();
    });
    r.hw.run_until(cycles{10'000});
    ASSERT_EQ(stored, effect);
    EXPECT_EQ(value, issue >= effect ? 1u : 0u) << "issued at " << issue;
    EXPECT_EQ(read_at, issue + (issue >= effect ? 110 : 4));
  }
}

TEST_P(memory_modes, the_lower_slot_does_not_read_before_the_higher_slots_store_of_the_same_cycle) {
  // The reader is CPU 0, the writer CPU 1: only the phases can bring them into this order.
  constexpr std::uint64_t effect = 2114;
  rig r{bare_config(2, GetParam())};
  word& w = r.hw.physical().word_at(base);
  std::uint64_t value = 99, read_at = 0, stored = 0;
  r.run(0, [&]() -> program {
    co_await isa::load(w);
    co_await isa::compute(cycles{effect - r.now().count()});
    value = co_await isa::load(w);
    read_at = r.now().count();
    co_await rig::sleep();
  });
  r.run(1, [&]() -> program {
    co_await isa::compute(cycles{2000 - r.now().count()});
    co_await isa::store(w, 1);
    stored = r.now().count();
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{10'000});
  EXPECT_EQ(stored, effect);
  EXPECT_EQ(value, 1u);
  EXPECT_EQ(read_at, effect + 110) << "its copy is gone already";
}

TEST_P(memory_modes, a_spin_ends_with_the_first_poll_that_is_issued_at_or_after_the_store) {
  constexpr std::uint64_t period = 46;
  std::set<std::uint64_t> lags;
  for (std::uint64_t shift = 0; shift < period; ++shift) {
    rig r{bare_config(2, GetParam())};
    word& w = r.hw.physical().word_at(base);
    std::uint64_t effect = 0, ended = 0, first_poll = 0;
    r.run(0, [&]() -> program {
      co_await isa::compute(cycles{20'000 + shift});
      co_await isa::store(w, 1);
      effect = r.now().count();
      co_await rig::sleep();
    });
    r.run(1, [&]() -> program {
      co_await isa::load(w);
      first_poll = r.now().count();
      co_await isa::spin_while(w, spin_predicate::while_equal(0), test_spin);
      ended = r.now().count();
      co_await rig::sleep();
    });
    r.hw.run_until(cycles{100'000});
    // Polls are issued at first_poll + k * period; one before the effect has read its copy, one from then on finds the
    // copy gone and fetches the line.
    std::uint64_t poll = first_poll;
    while (poll < effect) poll += period;
    ASSERT_EQ(ended, poll + 110 + 2) << "shift " << shift;
    lags.insert(poll - effect);
    ASSERT_EQ(r.log.of<spin_fact>().at(0)->iterations, (poll - first_poll) / period);
  }
  EXPECT_TRUE(lags.count(0)) << "some poll of the sweep is issued in the very cycle of the effect";
  EXPECT_EQ(lags.size(), period);
}

TEST_P(memory_modes, partial_stores_leave_the_other_bits_as_they_are_at_the_effect) {
  rig r{bare_config(2, GetParam())};
  word& w = r.hw.physical().word_at(base);
  w.initialise(0x1111'2222'3333'4444);
  std::uint64_t old = 0;
  r.run(0, [&]() -> program {
    co_await isa::store_part(w, 0xFF, 0xFFFF'FFAA);
    old = co_await isa::exchange_part(w, 0xFFFF'0000, 0x5555'6666'7777'8888);
    co_await rig::sleep();
  });
  r.run(1, [&]() -> program {
    co_await isa::store_part(w, 0xFFull << 56, 0xBBull << 56);
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{10'000});
  EXPECT_EQ(w.peek(), 0xBB11'2222'7777'44AAu);
  EXPECT_EQ(old, 0x3333'0000u);
}

TEST_P(memory_modes, read_modify_writes_return_the_old_value_and_lose_nothing) {
  rig r{bare_config(3, GetParam())};
  word& sum = r.hw.physical().word_at(base);
  word& bits = r.hw.physical().word_at(base + 64);
  std::vector<std::uint64_t> seen;
  for (unsigned cpu = 0; cpu < 3; ++cpu)
    r.run(cpu, [&, cpu]() -> program {
      for (int i = 0; i < 20; ++i) seen.push_back(co_await isa::fetch_add(sum, 3));
      co_await isa::fetch_or(bits, std::uint64_t{1} << cpu);
      while (co_await isa::load(bits) != 7) co_await isa::pause();
      co_await isa::fetch_and(bits, ~(std::uint64_t{0x100} << cpu));
      if (cpu == 2) {
        EXPECT_EQ(co_await isa::cmpxchg(bits, 6, 9), 7u);
        EXPECT_EQ(co_await isa::cmpxchg(bits, 7, 9), 7u);
        EXPECT_EQ(co_await isa::exchange(bits, 5), 9u);
      }
      co_await rig::sleep();
    });
  r.hw.run_until(cycles{100'000});
  std::sort(seen.begin(), seen.end());
  ASSERT_EQ(seen.size(), 60u);
  for (std::uint64_t i = 0; i < 60; ++i) EXPECT_EQ(seen[i], 3 * i);
  EXPECT_EQ(bits.peek(), 5u);
}

TEST_P(memory_modes, an_outside_write_ends_a_spin) {
  for (std::uint64_t at = 5000; at < 5060; ++at) {
    rig r{bare_config(1, GetParam())};
    word& w = r.hw.physical().word_at(base);
    std::uint64_t ended = 0;
    r.run(0, [&]() -> program {
      co_await isa::spin_while(w, spin_predicate::while_equal(0), test_spin);
      ended = r.now().count();
      co_await rig::sleep();
    });
    r.hw.run_until(cycles{at});
    r.hw.physical().write<std::uint64_t>(base, 1);
    r.hw.run_until(cycles{10'000});
    // First poll: a miss of 110 and 2. Then PAUSE 40, poll 6. The write is there before anything else of its cycle.
    std::uint64_t poll = 152;
    while (poll < at) poll += 46;
    ASSERT_EQ(ended, poll + 112) << "written at " << at;
  }
}

TEST_P(memory_modes, a_write_in_the_cycle_in_which_the_jump_began_is_not_missed) {
  rig r{bare_config(1, GetParam())};
  word& w = r.hw.physical().word_at(base);
  std::uint64_t ended = 0;
  struct writer {
    rig& r;
    slot s;
  } other{r, {}};
  // A slot behind the CPU's, in the phase in which the CPU jumps, at the cycle of the first PAUSE.
  other.s = r.hw.time().add_slot(
      &other, [](void* self, cycles) { static_cast<writer*>(self)->r.hw.physical().write<std::uint64_t>(base, 1); });
  r.hw.time().arm(other.s, cycles{112}, phase::read);
  r.run(0, [&]() -> program {
    co_await isa::spin_while(w, spin_predicate::while_equal(0), test_spin);
    ended = r.now().count();
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{10'000});
  EXPECT_EQ(ended, 112u + 40 + 112);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
