// Random operation streams on the fair scheduler and on an independent, naive restatement of its rules: a vector that
// is sorted whenever somebody looks at it, wide integers instead of shifted factors, no shared code but the weights.

#include <algorithm>
#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <vmxsys/models/schedulers/cfs.hpp>

namespace vmxsys::models {
namespace {

__extension__ typedef unsigned __int128 wide;

// --- the naive restatement

struct naive_task {
  int nice;
  std::uint64_t v = 0;
  std::uint64_t started = 0;  // accounted up to here
  std::uint64_t ran = 0;      // since it was picked
  std::uint64_t arrival = 0;  // order among equals
  int home = -1;              // queue its v belongs to
  bool runnable = false;
  bool relative = false;
};

struct naive_queue {
  std::vector<naive_task*> waiting;
  naive_task* current = nullptr;
  naive_task* next = nullptr;
  naive_task* last = nullptr;
  naive_task* skip = nullptr;
  std::uint64_t floor = 0;
};

std::int64_t distance(std::uint64_t a, std::uint64_t b) { return static_cast<std::int64_t>(a - b); }

class naive_cfs {
 public:
  naive_cfs(unsigned cpus, cfs_version version) : queues(cpus), version_(version), t_(cfs_tunables::of(version, 8)) {}

  std::vector<naive_queue> queues;

  static std::uint64_t weight(const naive_task& t) { return weight_of_nice(t.nice); }

  std::uint64_t running_count(const naive_queue& q) const { return q.waiting.size() + (q.current ? 1 : 0); }

  std::uint64_t scaled(std::uint64_t d, std::uint64_t numerator, std::uint64_t inverse) const {
    if (version_ == cfs_version::v3_4) {
      const wide t = wide{d} * numerator;
      if (t <= wide{1} << 32) return static_cast<std::uint64_t>((t * inverse + (wide{1} << 31)) >> 32);
      const wide half = (t + (1 << 15)) >> 16;
      return static_cast<std::uint64_t>((half * inverse + (1 << 15)) >> 16);
    }
    // Weights here are far below 2^32, so only the product with the inverse can need narrowing.
    wide factor = wide{numerator} * inverse;
    int shift = 32;
    for (; factor >> 32 != 0; --shift) factor >>= 1;
    return static_cast<std::uint64_t>(wide{d} * factor >> shift);
  }

  std::uint64_t virtual_of(std::uint64_t d, const naive_task& t) const {
    return t.nice == 0 ? d : scaled(d, 1024, inverse_weight_of_nice(t.nice));
  }

  std::uint64_t slice(const naive_queue& q, const naive_task& t) const {
    std::uint64_t n = running_count(q);
    std::uint64_t sum = q.current ? weight(*q.current) : 0;
    for (const naive_task* w : q.waiting) sum += weight(*w);
    if (!t.runnable) {
      ++n;
      sum += weight(t);
    }
    const std::uint64_t period = n > 8 ? n * t_.min_granularity : t_.latency;
    const std::uint64_t one = version_ == cfs_version::v3_4 ? 4294967296 : 4294967295;
    const std::uint64_t s = scaled(period, weight(t), one / sum);
    return version_ == cfs_version::v6_1 && s < t_.min_granularity ? t_.min_granularity : s;
  }

  void sort(naive_queue& q) const {
    std::sort(q.waiting.begin(), q.waiting.end(), [](const naive_task* a, const naive_task* b) {
      return a->v != b->v ? distance(a->v, b->v) < 0 : a->arrival < b->arrival;
    });
  }

  void raise_floor(naive_queue& q) {
    sort(q);
    std::vector<std::uint64_t> candidates;
    if (q.current) candidates.push_back(q.current->v);
    if (!q.waiting.empty()) candidates.push_back(q.waiting.front()->v);
    if (candidates.empty()) return;
    std::uint64_t least = candidates.front();
    if (candidates.size() > 1 && distance(candidates[1], least) < 0) least = candidates[1];
    if (distance(least, q.floor) > 0) q.floor = least;
  }

  void account(naive_queue& q, std::uint64_t now) {
    if (!q.current || now <= q.current->started) return;
    const std::uint64_t d = now - q.current->started;
    q.current->started = now;
    q.current->ran += d;
    q.current->v += virtual_of(d, *q.current);
    raise_floor(q);
  }

  void wait(naive_queue& q, naive_task& t) {
    t.arrival = ++arrivals_;
    q.waiting.push_back(&t);
  }

  void enqueue(unsigned cpu, naive_task& t, enqueue_reason why, std::uint64_t now) {
    naive_queue& q = queues[cpu];
    account(q, now);
    if (t.relative) {
      t.v += q.floor;
      t.started = 0;
    } else if (t.home >= 0 && t.home != static_cast<int>(cpu)) {
      t.v = t.v - queues[static_cast<unsigned>(t.home)].floor + q.floor;
      t.started = 0;
    }
    t.relative = false;
    t.home = static_cast<int>(cpu);
    if (why == enqueue_reason::fork) {
      if (q.current) t.v = q.current->v;
      const std::uint64_t start = q.floor + virtual_of(slice(q, t), t);
      if (distance(start, t.v) > 0) t.v = start;
    } else if (why == enqueue_reason::wakeup) {
      const std::uint64_t start = q.floor - t_.latency / 2;
      if (distance(start, t.v) > 0) t.v = start;
    }
    t.runnable = true;
    wait(q, t);
  }

  void dequeue(unsigned cpu, naive_task& t, dequeue_reason why, std::uint64_t now) {
    naive_queue& q = queues[cpu];
    account(q, now);
    forget(q, t);
    if (q.current == &t)
      q.current = nullptr;
    else
      std::erase(q.waiting, &t);
    t.runnable = false;
    if (why == dequeue_reason::migrate) {
      t.v -= q.floor;
      t.relative = true;
    }
    raise_floor(q);
  }

  void forget(naive_queue& q, const naive_task& t) {
    if (q.next == &t) q.next = nullptr;
    if (q.last == &t) q.last = nullptr;
    if (q.skip == &t) q.skip = nullptr;
  }

  // All runnable tasks in the order of the time line; the running one stands behind its equals.
  std::vector<naive_task*> line(const naive_queue& q) const {
    naive_queue copy = q;
    sort(copy);
    std::vector<naive_task*> all = copy.waiting;
    if (q.current) {
      auto at = all.begin();
      while (at != all.end() && distance((*at)->v, q.current->v) <= 0) ++at;
      all.insert(at, q.current);
    }
    return all;
  }

  bool too_far(const naive_task& t, const naive_task& left) const {
    const std::int64_t d = distance(t.v, left.v);
    return d > 0 && d > static_cast<std::int64_t>(virtual_of(t_.wakeup_granularity, left));
  }

  naive_task* choose(const naive_queue& q) const {
    const std::vector<naive_task*> all = line(q);
    if (all.empty()) return nullptr;
    naive_task* best = all[0];
    if (q.skip == best && all.size() > 1 && !too_far(*all[1], *all[0])) best = all[1];
    if (q.last && !too_far(*q.last, *all[0])) best = q.last;
    if (q.next && !too_far(*q.next, *all[0])) best = q.next;
    return best;
  }

  naive_task* pick(unsigned cpu, std::uint64_t now) {
    naive_queue& q = queues[cpu];
    account(q, now);
    naive_task* best = choose(q);
    if (best == q.current) {
      if (best && version_ != cfs_version::v6_1) forget(q, *best);
      if (best && version_ == cfs_version::v3_4) best->ran = 0;
      return best;
    }
    if (q.current) wait(q, *q.current);
    q.current = best;
    forget(q, *best);
    std::erase(q.waiting, best);
    best->started = now;
    best->ran = 0;
    return best;
  }

  bool tick(unsigned cpu, std::uint64_t now) {
    naive_queue& q = queues[cpu];
    account(q, now);
    if (!q.current || q.waiting.empty()) return false;
    const std::uint64_t ideal = slice(q, *q.current);
    if (q.current->ran > ideal) {
      forget(q, *q.current);
      return true;
    }
    if (q.current->ran < t_.min_granularity) return false;
    sort(q);
    return distance(q.current->v, q.waiting.front()->v) > static_cast<std::int64_t>(ideal);
  }

  bool check_preempt(unsigned cpu, naive_task& woken, std::uint64_t now) {
    naive_queue& q = queues[cpu];
    if (!q.current) return true;
    account(q, now);
    if (!too_far(*q.current, woken)) return false;
    q.next = &woken;
    if (running_count(q) >= 8) q.last = q.current;
    return true;
  }

  void yield(unsigned cpu, std::uint64_t now) {
    naive_queue& q = queues[cpu];
    if (!q.current || running_count(q) == 1) return;
    forget(q, *q.current);
    account(q, now);
    q.skip = q.current;
  }

  bool yield_to(unsigned cpu, naive_task& target, std::uint64_t now) {
    if (!target.runnable) return false;
    queues[static_cast<unsigned>(target.home)].next = &target;
    yield(cpu, now);
    return true;
  }

 private:
  cfs_version version_;
  cfs_tunables t_;
  std::uint64_t arrivals_ = 0;
};

// --- both side by side

class side_by_side {
 public:
  side_by_side(cfs_version version, unsigned cpus, unsigned tasks, std::uint64_t seed)
      : cpus_(cpus), random_(seed), real_(cpus, cfs_tunables::of(version, 8)), naive_(cpus, version) {
    constexpr int nices[] = {0, 0, 0, 0, 5, -5, 19, -20, 1, 10};
    for (unsigned i = 0; i < tasks; ++i) {
      const int nice = nices[below(10)];
      entities_.push_back(real_.make_entity(i, nice));
      twins_.push_back(std::make_unique<naive_task>(naive_task{nice}));
    }
  }

  void run(unsigned operations) {
    for (unsigned i = 0; i < operations && !testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE("operation " + std::to_string(i));
      step();
      compare();
    }
  }

 private:
  std::uint64_t below(std::uint64_t n) { return random_() % n; }

  cfs_entity& real(unsigned i) { return static_cast<cfs_entity&>(*entities_[i]); }

  void pick(unsigned cpu) {
    const sched_entity* chosen = real_.pick_next(cpu, now_);
    const naive_task* twin = naive_.pick(cpu, now_);
    ASSERT_EQ(index_of(chosen), index_of(twin));
  }

  int index_of(const sched_entity* e) const { return e ? static_cast<int>(e->id) : -1; }
  int index_of(const naive_task* t) const {
    for (unsigned i = 0; i < twins_.size(); ++i)
      if (twins_[i].get() == t) return static_cast<int>(i);
    return -1;
  }

  void wake(unsigned i, unsigned cpu) {
    const bool first = twins_[i]->home < 0;
    const enqueue_reason why = first ? enqueue_reason::fork : enqueue_reason::wakeup;
    real_.enqueue(cpu, real(i), why, now_);
    naive_.enqueue(cpu, *twins_[i], why, now_);
    const bool preempts = real_.check_preempt(cpu, real(i), now_);
    ASSERT_EQ(preempts, naive_.check_preempt(cpu, *twins_[i], now_));
    if (preempts) pick(cpu);
  }

  void sleep(unsigned i) {
    const unsigned cpu = real(i).cpu;
    const bool was_current = real_.current(cpu) == &real(i);
    real_.dequeue(cpu, real(i), dequeue_reason::sleep, now_);
    naive_.dequeue(cpu, *twins_[i], dequeue_reason::sleep, now_);
    if (was_current) pick(cpu);
  }

  void migrate(unsigned i, unsigned to) {
    const unsigned from = real(i).cpu;
    if (from == to || real_.current(from) == &real(i)) return;
    real_.dequeue(from, real(i), dequeue_reason::migrate, now_);
    naive_.dequeue(from, *twins_[i], dequeue_reason::migrate, now_);
    real_.enqueue(to, real(i), enqueue_reason::migrate, now_);
    naive_.enqueue(to, *twins_[i], enqueue_reason::migrate, now_);
    if (!real_.current(to)) pick(to);
  }

  void tick(unsigned cpu) {
    const bool resched = real_.tick(cpu, now_);
    ASSERT_EQ(resched, naive_.tick(cpu, now_));
    if (resched) pick(cpu);
  }

  void yield_to(unsigned cpu, unsigned target) {
    if (!real_.current(cpu) || real_.current(cpu) == &real(target)) return;
    const bool done = real_.yield_to(cpu, real(target), now_);
    ASSERT_EQ(done, naive_.yield_to(cpu, *twins_[target], now_));
    if (!done) return;
    pick(cpu);
    if (real(target).cpu != cpu) pick(real(target).cpu);
  }

  void step() {
    constexpr std::uint64_t pauses[] = {0, 0, 25'000, 400'000, 4'000'000, 13'000'000};
    if (below(2) == 0) now_ += pauses[below(6)] + below(3);
    const auto task = static_cast<unsigned>(below(twins_.size()));
    const auto cpu = static_cast<unsigned>(below(cpus_));
    switch (below(10)) {
      case 0:
      case 1:
      case 2:
        if (!real(task).on_rq) wake(task, cpu);
        break;
      case 3:
        if (real(task).on_rq) sleep(task);
        break;
      case 4:
        if (real(task).on_rq) migrate(task, cpu);
        break;
      case 5:
      case 6:
        tick(cpu);
        break;
      case 7:
        real_.yield(cpu, now_);
        naive_.yield(cpu, now_);
        if (real_.current(cpu)) pick(cpu);
        break;
      default:
        yield_to(cpu, task);
    }
  }

  void compare() {
    for (unsigned cpu = 0; cpu < cpus_; ++cpu) {
      SCOPED_TRACE("cpu " + std::to_string(cpu));
      const cfs_queue& queue = real_.queue(cpu);
      const naive_queue& twin = naive_.queues[cpu];
      ASSERT_EQ(queue.nr_running(), naive_.running_count(twin));
      ASSERT_EQ(index_of(queue.current()), index_of(twin.current));
      ASSERT_EQ(queue.min_vruntime(), twin.floor);
      ASSERT_EQ(index_of(queue.marked(cfs_mark::next)), index_of(twin.next));
      ASSERT_EQ(index_of(queue.marked(cfs_mark::last)), index_of(twin.last));
      ASSERT_EQ(index_of(queue.marked(cfs_mark::skip)), index_of(twin.skip));
      ASSERT_EQ(index_of(queue.choose()), index_of(naive_.choose(twin)));
    }
    for (unsigned i = 0; i < twins_.size(); ++i) {
      ASSERT_EQ(real(i).vruntime(), twins_[i]->v) << "task " << i;
      ASSERT_EQ(real(i).on_rq, twins_[i]->runnable) << "task " << i;
    }
  }

  unsigned cpus_;
  std::uint64_t now_ = 1'000'000;
  std::mt19937_64 random_;
  cfs_scheduler real_;
  naive_cfs naive_;
  std::vector<std::unique_ptr<sched_entity>> entities_;
  std::vector<std::unique_ptr<naive_task>> twins_;
};

class cfs_property : public testing::TestWithParam<cfs_version> {};

TEST_P(cfs_property, equals_the_naive_restatement_on_one_crowded_cpu) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    side_by_side(GetParam(), 1, 12, seed).run(2000);
  }
}

TEST_P(cfs_property, equals_the_naive_restatement_across_cpus) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    side_by_side(GetParam(), 3, 14, seed).run(2000);
  }
}

constexpr const char* version_names[] = {"v3_4", "v5_10", "v6_1"};

INSTANTIATE_TEST_SUITE_P(versions, cfs_property,
                         testing::Values(cfs_version::v3_4, cfs_version::v5_10, cfs_version::v6_1),
                         [](const auto& test) { return version_names[static_cast<std::size_t>(test.param)]; });

}  // namespace
}  // namespace vmxsys::models
