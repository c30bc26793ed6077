#include <algorithm>

#include "kvm_rig.hpp"
#include "random_numbers.hpp"

// Calls between the CPUs of a kernel: who runs what, when, by which interrupt; and for whom the caller waits in vain.
namespace vmxsys::models::testing {
namespace {

using vmxsys::testing::random_numbers;

template <class... N>
cpu::cpu_set set_of(N... cpus) {
  cpu::cpu_set s;
  (s.set(cpus), ...);
  return s;
}

/// One run of a called function.
struct visit {
  unsigned cpu;
  cycles at;
  bool interrupts;
};

/// Notes where and when it runs, and takes a while.
std::function<cpu::program()> visitor(kernel& k, std::vector<visit>& visits, cycles length = cycles{200}) {
  return [&k, &visits, length]() -> cpu::program {
    const cpu::logical_cpu& c = co_await isa::this_cpu();
    visits.push_back({k.index_of(c), c.now(), c.interrupts_enabled()});
    co_await isa::compute(length);
  };
}

std::vector<unsigned> cpus_of(const std::vector<visit>& visits) {
  std::vector<unsigned> all;
  for (const visit& v : visits) all.push_back(v.cpu);
  std::sort(all.begin(), all.end());
  return all;
}

// -- one other CPU ----------------------------------------------------------------------------------------------------

TEST(smp_call_single, two_cpus_may_call_each_other_at_any_cycle) {
  for (std::uint64_t offset = 0; offset < 1'200; offset += 3) {
    kernel_rig r{2};
    unsigned done[2] = {};
    std::vector<visit> visits;
    for (unsigned i : {0u, 1u})
      r.add("caller", {i}, [&, i](thread&) -> cpu::program {
        co_await until(2 * ms + cycles{i == 0 ? 0 : offset});
        auto here = co_await isa::in(kernel_text);
        for (int n = 0; n < 3; ++n) {
          co_await r.k().call_on(1 - i, visitor(r.k(), visits));
          ++done[i];
        }
      });
    r.run_until(2 * ms + 60 * us);
    ASSERT_EQ(done[0], 3u) << offset;
    ASSERT_EQ(done[1], 3u) << offset;
    ASSERT_EQ(cpus_of(visits), (std::vector<unsigned>{0, 0, 0, 1, 1, 1})) << offset;
    for (const visit& v : visits) ASSERT_FALSE(v.interrupts) << "interrupt context";
  }
}

TEST(smp_call_single, several_callers_of_one_cpu_are_all_served) {
  kernel_rig r{4};
  std::vector<unsigned> done(4);
  for (unsigned i : {1u, 2u, 3u})
    r.add("caller", {i}, [&, i](thread&) -> cpu::program {
      co_await until(2 * ms);
      auto here = co_await isa::in(kernel_text);
      for (int n = 0; n < 50; ++n) {
        co_await r.k().call_on(0, [&]() -> cpu::program { co_await isa::compute(cycles{300}); });
        ++done[i];
      }
    });
  r.hog("hog", {0});
  r.run_until(4 * ms);
  EXPECT_EQ(done, (std::vector<unsigned>{0, 50, 50, 50}));
  EXPECT_GE(r.sent(vector::call_function_single), 50u);
  EXPECT_LE(r.sent(vector::call_function_single), 150u);
}

// Both kinds of call, at the caller's own CPU.
TEST(smp_call_self, runs_once_without_an_interrupt_and_leaves_the_flag_as_it_was) {
  for (const bool enabled : {true, false})
    for (const bool many : {true, false}) {
      kernel_rig r{2};
      std::vector<visit> visits;
      bool after = !enabled;
      r.add("caller", {0}, [&](thread&) -> cpu::program {
        co_await until(2 * ms);
        auto here = co_await isa::in(kernel_text);
        if (!enabled) co_await isa::cli();
        if (many)
          co_await r.k().call_on(set_of(0u), visitor(r.k(), visits));
        else
          co_await r.k().call_on(0u, visitor(r.k(), visits));
        after = (co_await isa::this_cpu()).interrupts_enabled();
        co_await isa::sti();
      });
      r.run_until(3 * ms);
      ASSERT_EQ(visits.size(), 1u);
      EXPECT_EQ(visits[0].cpu, 0u);
      EXPECT_FALSE(visits[0].interrupts);
      EXPECT_EQ(after, enabled);
      EXPECT_EQ(r.sent(vector::call_function) + r.sent(vector::call_function_single), 0u);
    }
}

TEST(smp_call, a_cpu_that_is_not_up_is_left_out) {
  kernel_rig r{3};
  std::vector<visit> single, many, none;
  r.k().on_cpu_up = [&](unsigned cpu) -> cpu::program {
    if (cpu == 0) {
      co_await r.k().call_on(2u, visitor(r.k(), single));
      co_await r.k().call_on(set_of(0u, 1u, 2u), visitor(r.k(), many));
    }
  };
  r.add("caller", {0}, [&](thread&) -> cpu::program {
    auto here = co_await isa::in(kernel_text);
    co_await r.k().call_on(3u, visitor(r.k(), none));
    co_await r.k().call_on(set_of(3u, 77u), visitor(r.k(), none));
    co_await r.k().call_on(cpu::cpu_set{}, visitor(r.k(), none));
  });
  r.run_until(3 * ms);
  EXPECT_TRUE(single.empty());
  EXPECT_EQ(cpus_of(many), std::vector<unsigned>{0});
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(r.sent(vector::call_function) + r.sent(vector::call_function_single), 0u);
  EXPECT_TRUE(r.k().current(0).idle()) << "the caller has come to its end";
}

TEST(smp_call, with_interrupts_off_is_a_defect) {
  for (const bool many : {true, false}) {
    kernel_rig r{2};
    r.add("caller", {0}, [&](thread&) -> cpu::program {
      co_await until(2 * ms);
      auto here = co_await isa::in(kernel_text);
      co_await isa::cli();
      if (many)
        co_await r.k().call_on(set_of(0u, 1u), nothing);
      else
        co_await r.k().call_on(1u, nothing);
    });
    EXPECT_THROW(r.run_until(3 * ms), cpu::invariant_error);
  }
}

// -- several ----------------------------------------------------------------------------------------------------------

TEST(smp_call_many, every_cpu_of_the_set_runs_it_once_before_the_caller_goes_on) {
  for (const bool itself : {true, false}) {
    kernel_rig r{5};
    std::vector<visit> visits;
    cycles began{0}, ended{0};
    r.hog("hog", {3});
    r.add("caller", {1}, [&](thread&) -> cpu::program {
      co_await until(2 * ms);
      began = r.now();
      cpu::cpu_set called = set_of(0u, 3u, 4u);
      if (itself) called.set(1);
      co_await r.k().call_on(called, visitor(r.k(), visits, 50 * us));
      ended = r.now();
    });
    r.run_until(3 * ms);
    EXPECT_EQ(cpus_of(visits), itself ? (std::vector<unsigned>{0, 1, 3, 4}) : (std::vector<unsigned>{0, 3, 4}));
    std::vector<std::uint32_t> to;
    cycles last_sent{0};
    for (const auto& s : r.log.of<cpu::ipi_sent_fact>())
      if (s->vector == vector::call_function) {
        to.push_back(s->destination);
        last_sent = s.at();
        EXPECT_GT(s.at(), began);
      }
    EXPECT_EQ(to, (std::vector<std::uint32_t>{0, 3, 4}));
    EXPECT_EQ(r.sent(vector::call_function_single), 0u);
    for (const visit& v : visits) {
      EXPECT_FALSE(v.interrupts);
      EXPECT_LE(v.at + 50 * us, ended);
      if (v.cpu == 1) EXPECT_GE(v.at, last_sent) << "the others run it at the same time";
    }
    // One wait for each of the others, in the order of their numbers, on a line for each.
    std::vector<std::uint64_t> words;
    for (const auto& s : r.log.of<cpu::spin_fact>())
      if (s->rip == code::csd_lock_wait_many.rip()) {
        words.push_back(s->word);
        EXPECT_EQ(s->futile, cycles{0}) << "these CPUs are always there";
        EXPECT_LE(s.at(), ended);
      }
    ASSERT_EQ(words.size(), 3u);
    EXPECT_NE(words[0] / 64, words[1] / 64);
    EXPECT_NE(words[1] / 64, words[2] / 64);
    EXPECT_LT(ended - began, 65 * us) << "not one after the other";
  }
}

TEST(smp_call_many, one_other_cpu_gets_the_vector_for_one) {
  kernel_rig r{3};
  std::vector<visit> visits;
  r.add("caller", {0}, [&](thread&) -> cpu::program {
    co_await until(2 * ms);
    co_await r.k().call_on(set_of(0u, 2u), visitor(r.k(), visits));
  });
  r.run_until(3 * ms);
  EXPECT_EQ(cpus_of(visits), (std::vector<unsigned>{0, 2}));
  EXPECT_EQ(r.sent(vector::call_function_single), 1u);
  EXPECT_EQ(r.sent(vector::call_function), 0u);
}

TEST(smp_call_many, all_cpus_may_call_all_at_any_cycle) {
  for (std::uint64_t offset = 0; offset < 900; offset += 7) {
    kernel_rig r{3};
    std::vector<visit> visits;
    unsigned done = 0;
    for (unsigned i : {0u, 1u, 2u})
      r.add("caller", {i}, [&, i](thread&) -> cpu::program {
        co_await until(2 * ms + cycles{i * offset});
        auto here = co_await isa::in(kernel_text);
        for (int n = 0; n < 2; ++n) {
          co_await r.k().call_on(set_of(0u, 1u, 2u), visitor(r.k(), visits));
          ++done;
        }
      });
    r.run_until(2 * ms + 100 * us);
    ASSERT_EQ(done, 6u) << offset;
    std::vector<unsigned> expected;
    for (unsigned i : {0u, 1u, 2u}) expected.insert(expected.end(), 6, i);
    ASSERT_EQ(cpus_of(visits), expected) << offset;
    for (const visit& v : visits) ASSERT_FALSE(v.interrupts);
  }
}

// -- interrupts off at the target -------------------------------------------------------------------------------------

// What is queued behind something that is queued already sends no interrupt; all of it runs in the order it came.
TEST(smp_call_queue, one_interrupt_brings_all_that_is_queued) {
  kernel_rig r{4};
  cycles enabled{0};
  std::vector<unsigned> order;
  std::vector<cycles> returned;
  r.add("deaf", {0}, [&](thread&) -> cpu::program {
    co_await until(2 * ms);
    auto here = co_await isa::in(kernel_text);
    co_await isa::cli();
    co_await isa::compute(100 * us);
    enabled = r.now();
    co_await isa::sti();
    co_await compute_for_ever();
  });
  for (unsigned i : {1u, 2u, 3u})
    r.add("caller", {i}, [&, i](thread&) -> cpu::program {
      co_await until(2 * ms + (40 - 10 * i) * us);
      auto here = co_await isa::in(kernel_text);
      co_await r.k().call_on(0u, [&order, i]() -> cpu::program {
        order.push_back(i);
        co_await isa::compute(cycles{100});
      });
      returned.push_back(r.now());
    });
  r.run_until(3 * ms);
  EXPECT_EQ(order, (std::vector<unsigned>{3, 2, 1}));
  EXPECT_EQ(r.sent(vector::call_function_single), 1u);
  ASSERT_EQ(returned.size(), 3u);
  for (const cycles at : returned) {
    EXPECT_GT(at, enabled);
    EXPECT_LT(at, enabled + 3 * us);
  }
}

// A call to several CPUs interrupts only those on which nothing is queued yet.
TEST(smp_call_queue, a_call_to_many_interrupts_none_that_will_look_anyway) {
  kernel_rig r{4};
  std::vector<visit> visits;
  r.add("deaf", {0}, [&](thread&) -> cpu::program {
    co_await until(2 * ms);
    auto here = co_await isa::in(kernel_text);
    co_await isa::cli();
    co_await isa::compute(100 * us);
    co_await isa::sti();
    co_await compute_for_ever();
  });
  r.hog("hog", {1});
  r.add("calls one", {2}, [&](thread&) -> cpu::program {
    co_await until(2 * ms + 10 * us);
    auto here = co_await isa::in(kernel_text);
    co_await r.k().call_on(0u, visitor(r.k(), visits));
  });
  r.add("calls two", {3}, [&](thread&) -> cpu::program {
    co_await until(2 * ms + 20 * us);
    auto here = co_await isa::in(kernel_text);
    co_await r.k().call_on(set_of(0u, 1u), visitor(r.k(), visits));
  });
  r.run_until(3 * ms);
  EXPECT_EQ(cpus_of(visits), (std::vector<unsigned>{0, 0, 1}));
  const auto to = [](unsigned cpu, std::uint8_t vector) {
    return fact<cpu::ipi_sent_fact>(&cpu::ipi_sent_fact::destination, cpu, &cpu::ipi_sent_fact::vector, vector);
  };
  expect_exact_sequence({r.log, 2 * ms, 2 * ms + 90 * us},
                        {to(0, vector::call_function_single).on(2), to(1, vector::call_function_single).on(3)});
}

// The handler takes what is there when it starts; a call that comes while it runs brings an interrupt of its own.
TEST(smp_call_queue, what_comes_while_the_handler_runs_interrupts_again) {
  kernel_rig r{3};
  std::vector<visit> visits;
  std::size_t handled = 0;
  for (unsigned i : {1u, 2u})
    r.add("caller", {i}, [&, i](thread&) -> cpu::program {
      co_await until(2 * ms + i * 5 * us);
      auto here = co_await isa::in(kernel_text);
      co_await r.k().call_on(0u, visitor(r.k(), visits, 20 * us));
    });
  r.hog("hog", {0});
  r.run_until(3 * ms);
  for (const auto& f : r.log.of<cpu::interrupt_fact>()) handled += f->vector == vector::call_function_single;
  ASSERT_EQ(visits.size(), 2u);
  EXPECT_EQ(r.sent(vector::call_function_single), 2u);
  EXPECT_EQ(handled, 2u);
  EXPECT_GT(visits[1].at - visits[0].at, 20 * us);
  EXPECT_LT(visits[1].at - visits[0].at, 23 * us);
}

// -- TLB flushes ------------------------------------------------------------------------------------------------------

struct flush_run {
  cycles took{0};
  std::vector<std::uint32_t> interrupted;  ///< CPUs, in order
};

/// CPU 0 flushes space 1; `spaces` are those of the threads that compute on the CPUs from 1 on, 0 for no thread.
flush_run flush(const std::vector<std::uint32_t>& spaces, cycles cost) {
  flush_run result;
  kernel_rig r{static_cast<unsigned>(spaces.size()) + 1, fair(), [&](kernel_config& c) { c.costs.tlb_flush = cost; }};
  thread& caller = r.add("caller", {0}, [&](thread& self) -> cpu::program {
    co_await until(2 * ms);
    const cycles began = r.now();
    co_await r.k().flush_tlb(self.address_space);
    result.took = r.now() - began;
  });
  caller.address_space = 1;
  for (unsigned i = 0; i < spaces.size(); ++i)
    if (spaces[i] != 0) r.hog("hog", {i + 1}).address_space = spaces[i];
  r.run_until(3 * ms);
  for (const auto& s : r.log.of<cpu::ipi_sent_fact>())
    if (s->vector == vector::call_function || s->vector == vector::call_function_single)
      result.interrupted.push_back(s->destination);
  return result;
}

TEST(tlb_flush, reaches_the_cpus_that_run_a_thread_of_the_space) {
  EXPECT_EQ(flush({1, 1, 1}, cycles{500}).interrupted, (std::vector<std::uint32_t>{1, 2, 3}));
  EXPECT_EQ(flush({1, 0, 1}, cycles{500}).interrupted, (std::vector<std::uint32_t>{1, 3})) << "CPU 2 idles";
  EXPECT_EQ(flush({2, 1, 0}, cycles{500}).interrupted, (std::vector<std::uint32_t>{2})) << "CPU 1 runs another process";
  EXPECT_TRUE(flush({0, 2}, cycles{500}).interrupted.empty());
}

TEST(tlb_flush, costs_every_cpu_concerned_its_invalidation_at_the_same_time) {
  for (const std::vector<std::uint32_t>& spaces : {std::vector<std::uint32_t>{0}, {1}, {1, 1, 1}}) {
    const cycles without = flush(spaces, cycles{0}).took;
    const cycles with = flush(spaces, 20 * us).took;
    EXPECT_GE(with - without, 19 * us) << spaces.size();
    EXPECT_LE(with - without, 20 * us) << "the others do it while the caller does it";
  }
}

// The target has switched to another process before it hears of the flush: nothing to invalidate there.
TEST(tlb_flush, a_cpu_that_has_left_the_space_meanwhile_does_not_pay) {
  cycles took[2];
  for (const bool leaves : {false, true}) {
    kernel_rig r{2, fair(), [](kernel_config& c) { c.costs.tlb_flush = 50 * us; }};
    thread* other = nullptr;
    bool flag = false;
    r.add("deaf", {1}, [&](thread& self) -> cpu::program {
       co_await until(2 * ms);
       auto here = co_await isa::in(kernel_text);
       co_await isa::cli();
       co_await isa::compute(100 * us);
       flag = true;
       if (leaves) {
         r.k().prepare_to_sleep(self);
         co_await r.k().wake_up(*other);
         co_await r.k().schedule();
       }
       co_await isa::sti();
       co_await compute_for_ever();
     }).address_space = 1;
    other = &r.add("other", {1}, [&](thread& self) -> cpu::program {
      co_await isa::cli();
      while (!flag) {
        r.k().prepare_to_sleep(self);
        co_await r.k().schedule();
      }
      co_await isa::sti();
      co_await compute_for_ever();
    });
    other->address_space = 2;
    r.add("caller", {0}, [&](thread& self) -> cpu::program {
       co_await until(2 * ms + 50 * us);
       co_await r.k().flush_tlb(self.address_space);
       took[leaves] = r.now() - 2 * ms - 50 * us;
     }).address_space = 1;
    r.run_until(3 * ms);
    ASSERT_NE(took[leaves], cycles{0});
  }
  EXPECT_GT(took[0], 100 * us);
  EXPECT_LT(took[1], 60 * us) << "50 us until interrupts are on, and no 50 us for the flush";
}

// -- the truth beside the wait ----------------------------------------------------------------------------------------

struct interval {
  cycles from;
  cycles to;
};

/// vCPU 0 calls vCPU 1, whose physical CPU another thread of the host takes away again and again. Nothing disturbs the
/// caller: it has its CPU for itself, and PAUSEs do not exit.
class waits_for_a_vcpu {
 public:
  explicit waits_for_a_vcpu(std::uint64_t seed, bool stepped = false)
      : r{{.cpus = 3, .ple_gap = 0, .change_host = [](kernel_config& c) { c.hz = 10; }, .stepped = stepped},
          {{.vcpus = 2, .on = {{0}, {1}}, .hz = 10}}},
        random_{seed} {
    r.add(
        "caller", {0}, [this](thread&) { return call(); }, kernel_text);
    urgent_ = &r.add_to_host("urgent", {1}, [this](thread& self) { return take_the_cpu(self); });
    r.add_to_host("waker", {2}, [this](thread&) { return wake_urgent(); });
  }

  /// When the vCPU was on no CPU, from the switches of the host.
  std::vector<interval> absences(unsigned v, cycles end) {
    const std::uint32_t strand = r.vcpu(v).thread().strand.id();
    std::vector<interval> all;
    for (const auto& s : r.log.of<cpu::switch_fact>()) {
      if (s->from == strand) all.push_back({s.at(), end});
      if (s->to == strand && !all.empty()) all.back().to = s.at();
    }
    return all;
  }

  struct verdict {
    unsigned waits = 0;
    unsigned partly_futile = 0;
  };
  /// Every undisturbed wait was futile exactly while the awaited vCPU was away.
  verdict expect_exact() {
    const std::vector<interval> away = absences(1, r.now());
    std::vector<interval> exits;
    for (const auto& x : r.log.of<cpu::vm_exit_fact>())
      if (x->vmcs == r.vcpu(0).vmcs()) exits.push_back({x->began, x.at()});
    verdict found;
    for (const auto& s : r.log.of<cpu::spin_fact>()) {
      if (s->rip != code::csd_lock_wait_single.rip() && s->rip != code::csd_lock_wait_many.rip()) continue;
      if (s->non_root == 0) continue;
      const auto inside = [&](const interval& i) { return i.from >= s->began && i.from < s.at(); };
      if (std::any_of(exits.begin(), exits.end(), inside)) continue;
      cycles expected{0};
      for (const interval& i : away) {
        const cycles from = max(i.from, s->began);
        const cycles to = min(i.to, s.at());
        if (from < to) expected += to - from;
      }
      EXPECT_EQ(s->futile, expected) << "wait from " << s->began.count() << " to " << s.at().count();
      ++found.waits;
      found.partly_futile += expected > cycles{0} && expected < s.at() - s->began;
    }
    return found;
  }

  kvm_rig r;
  bool many = false;  ///< calls a set instead of one CPU

 private:
  cpu::program call() {
    co_await until(20 * ms);
    for (;;) {
      co_await isa::compute(cycles{random_.between(1'000, 60'000)});
      if (many)
        co_await r.guest().call_on(set_of(0u, 1u), nothing);
      else
        co_await r.guest().call_on(1u, nothing);
    }
  }
  cpu::program take_the_cpu(thread& self) {
    for (;;) {
      co_await isa::cli();
      while (!go_) {
        r.host().prepare_to_sleep(self);
        co_await r.host().schedule();
      }
      go_ = false;
      co_await isa::sti();
      co_await isa::compute(cycles{random_.between(3'000, 40'000)});
    }
  }
  cpu::program wake_urgent() {
    co_await until(20 * ms);
    for (;;) {
      co_await isa::compute(cycles{random_.between(20'000, 90'000)});
      go_ = true;
      co_await r.host().wake_up(*urgent_);
    }
  }

  random_numbers random_;
  thread* urgent_ = nullptr;
  bool go_ = false;
};

TEST(smp_call_truth, a_wait_is_futile_while_the_called_vcpu_is_off_its_cpu) {
  for (const bool many : {false, true}) {
    waits_for_a_vcpu w{1};
    w.many = many;
    w.r.hog(1);
    w.r.run_until(70 * ms);
    const auto found = w.expect_exact();
    EXPECT_GT(found.waits, 500u);
    EXPECT_GT(found.partly_futile, 100u);
  }
}

// A halted vCPU is on no CPU until the host has woken it.
TEST(smp_call_truth, a_wait_for_a_halted_vcpu_is_futile_until_it_is_back) {
  waits_for_a_vcpu w{2};
  w.r.run_until(70 * ms);
  const auto found = w.expect_exact();
  EXPECT_GT(found.waits, 500u);
  EXPECT_GT(found.partly_futile, found.waits / 2);
}

// The called CPU of the guest switches threads with interrupts off, so that it does so while it is waited for, and its
// vCPU is preempted at any cycle of that.
TEST(smp_call_truth, follows_the_threads_of_the_called_cpu) {
  for (std::uint64_t seed = 3; seed < 7; ++seed) {
    waits_for_a_vcpu w{seed};
    w.many = seed % 2 == 0;
    struct partner {
      thread* self = nullptr;
      bool awake = false;
    };
    partner pair[2];
    random_numbers random{seed};
    for (const unsigned i : {0u, 1u})
      pair[i].self = &w.r.add("partner", {1}, [&, i](thread& self) -> cpu::program {
        auto here = co_await isa::in(kernel_text);
        for (;;) {
          co_await isa::cli();
          co_await isa::compute(cycles{random.between(10, 4'000)});
          pair[1 - i].awake = true;
          pair[i].awake = false;
          co_await w.r.guest().wake_up(*pair[1 - i].self);
          while (!pair[i].awake) {
            w.r.guest().prepare_to_sleep(self);
            co_await w.r.guest().schedule();
          }
          co_await isa::sti();
          co_await isa::compute(cycles{random.between(10, 400)});
        }
      });
    w.r.run_until(50 * ms);
    const auto found = w.expect_exact();
    EXPECT_GT(found.waits, 300u);
    EXPECT_GT(found.partly_futile, 50u);
    // Waits during which the guest switched threads, while the vCPU was there and while it was waited for.
    unsigned during = 0;
    for (const auto& s : w.r.log.of<cpu::spin_fact>())
      if (s->non_root != 0)
        for (const auto& x : w.r.log.of<cpu::switch_fact>())
          during += x->non_root != 0 && x.at() > s->began && x.at() < s.at();
    EXPECT_GT(during, 50u);
  }
}

TEST(smp_call_truth, fast_and_stepped_state_the_same_facts) {
  const auto run = [](bool stepped) {
    waits_for_a_vcpu w{8, stepped};
    w.r.hog(1);
    for (cycles to = 20 * ms; to < 32 * ms; to += cycles{987'654}) {
      w.r.run_until(to);
      w.r.hw.materialise();
    }
    return std::pair{w.r.hash.value(), w.r.hash.count()};
  };
  const auto fast = run(false);
  EXPECT_GT(fast.second, 2'000u);
  EXPECT_EQ(run(true), fast);
}

}  // namespace
}  // namespace vmxsys::models::testing
