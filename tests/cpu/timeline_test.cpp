#include <algorithm>
#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <stdexcept>
#include <tuple>

#include <vmxsys/cpu/time/timeline.hpp>

#include "rig.hpp"

namespace vmxsys::cpu::testing {
namespace {

using key = std::tuple<std::uint64_t, int, std::uint32_t>;  // cycle, phase, slot

/// The same contract, said the obvious way.
class sorted_timeline {
 public:
  slot add_slot(void* context, timeline::callback fire) {
    clients_.push_back({context, fire, {}});
    return slot{static_cast<std::uint32_t>(clients_.size() - 1)};
  }
  slot add_slot(void* context, timeline::callback fire, slot) { return add_slot(context, fire); }
  void arm(slot s, cycles at, phase in) { at_(s) = {at.count(), static_cast<int>(in)}; }
  void disarm(slot s) { at_(s).reset(); }
  bool armed(slot s) { return at_(s).has_value(); }
  cycles now() const { return now_; }
  phase now_phase() const { return phase_; }
  cycles next() {
    const auto n = first();
    return n ? cycles{std::get<0>(*n)} : cycles::never();
  }
  void end_no_later_than(cycles end) { end_ = std::min(end_, end.count()); }
  void stop() { stopped_ = true; }
  void run_until(cycles end) {
    stopped_ = false;
    end_ = end.count();
    for (auto n = first(); n && std::get<0>(*n) < end_; n = first()) {
      client& c = clients_[std::get<2>(*n)];
      now_ = cycles{std::get<0>(*n)};
      phase_ = static_cast<phase>(std::get<1>(*n));
      c.at.reset();
      c.fire(c.context, now_);
      if (stopped_) return;
    }
    if (cycles{end_} <= now_) return;
    now_ = cycles{end_};
    phase_ = phase::message;
  }

 private:
  struct client {
    void* context;
    timeline::callback fire;
    std::optional<std::pair<std::uint64_t, int>> at;
  };
  std::optional<std::pair<std::uint64_t, int>>& at_(slot s) { return clients_[static_cast<std::size_t>(s)].at; }
  std::optional<key> first() {
    std::optional<key> best;
    for (std::uint32_t i = 0; i < clients_.size(); ++i)
      if (clients_[i].at) {
        const key k{clients_[i].at->first, clients_[i].at->second, i};
        if (!best || k < *best) best = k;
      }
    return best;
  }
  std::vector<client> clients_;
  cycles now_{0};
  phase phase_ = phase::message;
  bool stopped_ = false;
  std::uint64_t end_ = 0;
};

/// Arms, disarms, stops and throws at random; whatever it is told goes into `seen`.
template <class Timeline>
class driver {
 public:
  explicit driver(std::uint64_t seed) : next_{seed} {
    const std::size_t slots = 1 + next_.below(next_.one_in(2) ? 4 : 37);
    contexts_.reserve(slots);
    for (std::size_t i = 0; i < slots; ++i) {
      contexts_.push_back({this, static_cast<std::uint32_t>(i)});
      const auto act = [](void* c, cycles now) {
        static_cast<context*>(c)->to->fire(static_cast<context*>(c)->index, now);
      };
      const bool beside = i != 0 && !next_.one_in(3);
      slots_.push_back(beside ? time_.add_slot(&contexts_[i], act, slots_.back()) : time_.add_slot(&contexts_[i], act));
    }
    horizon_ = next_.one_in(2) ? 3 : 40;
  }
  void run() {
    for (int round = 0; round < 40; ++round) {
      for (std::uint64_t n = next_.below(5); n > 0; --n) touch();
      const cycles end = time_.now() + cycles{next_.below(60)};
      try {
        time_.run_until(end);
      } catch (const std::runtime_error&) {
        note(-2);
      }
      note(-3);
    }
  }
  std::vector<std::uint64_t> seen;

 private:
  struct context {
    driver* to;
    std::uint32_t index;
  };
  void note(int what) {
    for (std::uint64_t v : {static_cast<std::uint64_t>(what), time_.now().count(),
                            static_cast<std::uint64_t>(time_.now_phase()), time_.next().count()})
      seen.push_back(v);
    for (slot s : slots_) seen.push_back(time_.armed(s));
  }
  void fire(std::uint32_t index, cycles now) {
    EXPECT_EQ(now, time_.now());
    note(static_cast<int>(index));
    for (std::uint64_t n = next_.below(4); n > 0; --n) touch();
    note(-1);
    if (next_.one_in(30)) time_.stop();
    if (next_.one_in(30)) time_.end_no_later_than(now + cycles{next_.between(1, 30)});
    if (next_.one_in(40)) throw std::runtime_error{"callback"};
  }
  void touch() {
    const slot s = next_.pick(slots_);
    if (next_.one_in(4)) {
      time_.disarm(s);
      return;
    }
    const std::uint64_t ahead = next_.below(horizon_);
    const int least = ahead == 0 ? static_cast<int>(time_.now_phase()) : 0;
    time_.arm(s, time_.now() + cycles{ahead},
              static_cast<phase>(least + static_cast<int>(next_.below(static_cast<std::uint64_t>(4 - least)))));
  }
  random_numbers next_;
  Timeline time_;
  std::vector<context> contexts_;
  std::vector<slot> slots_;
  std::uint64_t horizon_;
};

TEST(timeline, order_is_cycle_phase_slot_whatever_happens) {
  std::size_t events = 0;
  for (std::uint64_t seed = 1; seed <= 1500; ++seed) {
    driver<timeline> fast{seed};
    driver<sorted_timeline> obvious{seed};
    fast.run();
    obvious.run();
    ASSERT_EQ(fast.seen, obvious.seen) << "seed " << seed;
    events += fast.seen.size();
  }
  EXPECT_GT(events, 100'000u);
}

struct recorder {
  timeline time;
  std::vector<key> fired;
  std::deque<std::pair<recorder*, std::uint32_t>> contexts;
  std::function<void(std::uint32_t)> also;

  slot add(std::optional<slot> beside = {}) {
    contexts.emplace_back(this, static_cast<std::uint32_t>(contexts.size()));
    const auto act = [](void* c, cycles now) {
      auto& [self, index] = *static_cast<std::pair<recorder*, std::uint32_t>*>(c);
      self->fired.emplace_back(now.count(), static_cast<int>(self->time.now_phase()), index);
      if (self->also) self->also(index);
    };
    return beside ? time.add_slot(&contexts.back(), act, *beside) : time.add_slot(&contexts.back(), act);
  }
};

TEST(timeline, phases_of_one_cycle_come_in_their_declared_order) {
  recorder r;
  const slot a = r.add(), b = r.add(), c = r.add(), d = r.add();
  r.time.arm(a, cycles{5}, phase::read);
  r.time.arm(b, cycles{5}, phase::effect);
  r.time.arm(c, cycles{5}, phase::timer);
  r.time.arm(d, cycles{5}, phase::message);
  r.time.run_until(cycles{6});
  EXPECT_EQ(r.fired, (std::vector<key>{{5, 0, 3}, {5, 1, 2}, {5, 2, 1}, {5, 3, 0}}));
}

TEST(timeline, arming_order_does_not_matter_within_a_phase) {
  recorder r;
  const slot a = r.add(), b = r.add(), c = r.add();
  for (slot s : {c, a, b}) r.time.arm(s, cycles{7}, phase::read);
  r.time.run_until(cycles{8});
  EXPECT_EQ(r.fired, (std::vector<key>{{7, 3, 0}, {7, 3, 1}, {7, 3, 2}}));
}

TEST(timeline, runs_what_lies_strictly_before_the_end) {
  recorder r;
  const slot a = r.add();
  r.time.arm(a, cycles{100}, phase::message);
  r.time.run_until(cycles{100});
  EXPECT_TRUE(r.fired.empty());
  EXPECT_EQ(r.time.now(), cycles{100});
  EXPECT_EQ(r.time.now_phase(), phase::message);
  r.time.run_until(cycles{101});
  EXPECT_EQ(r.fired.size(), 1u);
  EXPECT_EQ(r.time.now(), cycles{101});
}

TEST(timeline, an_end_in_the_past_changes_nothing) {
  recorder r;
  const slot a = r.add();
  r.time.run_until(cycles{50});
  r.time.arm(a, cycles{50}, phase::message);
  r.time.run_until(cycles{20});
  EXPECT_EQ(r.time.now(), cycles{50});
  EXPECT_TRUE(r.fired.empty());
}

TEST(timeline, stop_ends_after_the_callback_and_the_rest_of_the_cycle_is_still_to_come) {
  recorder r;
  const slot a = r.add(), b = r.add();
  r.time.arm(a, cycles{5}, phase::effect);
  r.time.arm(b, cycles{5}, phase::effect);
  r.also = [&](std::uint32_t which) {
    if (which == 0) r.time.stop();
  };
  r.time.run_until(cycles{50});
  EXPECT_EQ(r.fired.size(), 1u);
  EXPECT_TRUE(r.time.stopped());
  EXPECT_EQ(r.time.now(), cycles{5});
  EXPECT_EQ(r.time.now_phase(), phase::effect);
  r.time.run_until(cycles{50});
  EXPECT_EQ(r.fired.back(), (key{5, 2, 1}));
  EXPECT_EQ(r.time.now(), cycles{50});
}

TEST(timeline, next_within_a_callback_leaves_the_firing_slot_out) {
  recorder r;
  const slot a = r.add(), b = r.add();
  std::vector<cycles> next;
  r.also = [&](std::uint32_t) { next.push_back(r.time.next()); };
  r.time.arm(a, cycles{5}, phase::timer);
  r.time.arm(b, cycles{9}, phase::timer);
  r.time.run_until(cycles{50});
  EXPECT_EQ(next, (std::vector<cycles>{cycles{9}, cycles::never()}));
}

TEST(timeline, a_callback_that_throws_leaves_a_timeline_that_works) {
  recorder r;
  const slot a = r.add(), b = r.add();
  r.time.arm(a, cycles{5}, phase::timer);
  r.time.arm(b, cycles{6}, phase::timer);
  r.also = [&](std::uint32_t which) {
    if (which == 0) throw std::runtime_error{"no"};
  };
  EXPECT_THROW(r.time.run_until(cycles{50}), std::runtime_error);
  EXPECT_EQ(r.time.now(), cycles{5});
  EXPECT_FALSE(r.time.armed(a));
  r.time.run_until(cycles{50});
  EXPECT_EQ(r.fired.back(), (key{6, 1, 1}));
}

// A group stays the one that runs up to, not beyond, the next event of the others; what it arms for them counts.
TEST(timeline, a_group_gives_way_where_another_is_earlier) {
  recorder r;
  const slot left = r.add(), a = r.add();
  const slot b = r.add(a), right = r.add();
  r.time.arm(a, cycles{5}, phase::timer);
  r.time.arm(b, cycles{6}, phase::timer);
  r.time.arm(left, cycles{8}, phase::timer);
  r.time.arm(right, cycles{9}, phase::timer);
  r.also = [&](std::uint32_t which) {
    if (which == 2 && r.time.now() == cycles{6}) {  // ties: the left group first, the right one last
      r.time.arm(a, cycles{8}, phase::timer);
      r.time.arm(b, cycles{9}, phase::timer);
    }
    if (which == 1 && r.time.now() == cycles{8}) r.time.arm(left, cycles{9}, phase::message);
  };
  r.time.run_until(cycles{20});
  EXPECT_EQ(r.fired, (std::vector<key>{{5, 1, 1}, {6, 1, 2}, {8, 1, 0}, {8, 1, 1}, {9, 0, 0}, {9, 1, 2}, {9, 1, 3}}));
}

TEST(timeline, a_slot_joins_the_last_group_only) {
  recorder r;
  const slot a = r.add();
  r.add(a);
  r.add();
  EXPECT_THROW(r.add(a), std::logic_error);
}

TEST(timeline, slots_are_added_before_time_runs) {
  recorder r;
  r.time.arm(r.add(), cycles{1}, phase::timer);
  r.time.run_until(cycles{5});
  EXPECT_THROW(r.add(), std::logic_error);
  EXPECT_EQ(r.time.events(), 1u);
}

TEST(timeline, without_slots_time_passes) {
  timeline t;
  EXPECT_EQ(t.next(), cycles::never());
  t.run_until(cycles{7});
  EXPECT_EQ(t.now(), cycles{7});
}

}  // namespace
}  // namespace vmxsys::cpu::testing
