#include <algorithm>
#include <map>
#include <set>

#include <vmxsys/models/kvm/spin/ple_window.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>

#include "contention.hpp"

// PAUSE exits of small guests that fight for a lock: the window, spin policies, futile yields.
namespace vmxsys::models::testing {
namespace {

using reason = vmx::exit_reason;

/// Follows the rule of the window from the exits and switches, and compares with what each entry gave the hardware.
struct window_follower {
  std::uint32_t value;
  std::vector<std::uint32_t> written;
  std::size_t pauses = 0, switched_in = 0;
};

window_follower follow_window(kvm_rig& r, unsigned v, const ple_window_parameters& p) {
  window_follower f{p.window, {}};
  const std::uint32_t pid = r.vcpu(v).thread().pid;
  const std::uint64_t vmcs = r.vcpu(v).vmcs();
  r.log.replay<kvm_exit_fact, sched_switch_fact, cpu::vm_entry_fact>(
      overloaded{[&](const recorded<kvm_exit_fact>& x) {
                   if (x->vm != 0 || x->vcpu != v || x->reason != reason::pause) return;
                   f.value = grown_ple_window(ple_window_era::vmx, p, f.value);
                   ++f.pauses;
                 },
                 [&](const recorded<sched_switch_fact>& s) {
                   if (s->kernel != 0 || s->next_pid != pid) return;
                   f.value = shrunk_ple_window(ple_window_era::vmx, p, f.value);
                   ++f.switched_in;
                 },
                 [&](const recorded<cpu::vm_entry_fact>& e) {
                   if (e->vmcs != vmcs) return;
                   EXPECT_EQ(e->ple_window, f.value) << "entry " << f.written.size() << " of vCPU " << v;
                   f.written.push_back(static_cast<std::uint32_t>(e->ple_window));
                 }});
  return f;
}

TEST(kvm_pause, WIN_18_every_entry_has_the_window_that_exits_and_switches_made) {
  for (const ple_window_parameters& p :
       {ple_window_parameters{}, ple_window_parameters{.grow = 0}, ple_window_parameters{.grow = 1},
        ple_window_parameters{.grow = 2, .shrink = 2}, ple_window_parameters{.grow = 4096, .max = 16384}})
    for (const auto* vms : {&stacked_pair, &spread_pair}) {
      storm s{{.cpus = 2, .window = p}, *vms};
      s.r.run_until(60 * ms);
      std::size_t pauses = 0;
      std::set<std::uint32_t> values;
      for (unsigned v = 0; v < (*vms)[0].vcpus; ++v) {
        const window_follower f = follow_window(s.r, v, p);
        pauses += f.pauses;
        values.insert(f.written.begin(), f.written.end());
      }
      EXPECT_GT(pauses, 8u);
      if (p.grow > 1)
        EXPECT_TRUE(values.count(grown_ple_window(ple_window_era::vmx, p, p.window)) || vms == &stacked_pair);
      if (p.grow < 2) EXPECT_EQ(values, std::set<std::uint32_t>{4096});
    }
}

TEST(kvm_pause, WIN_20_no_window_fact_when_nothing_changes) {
  storm s{{.cpus = 2}, spread_pair};
  s.r.run_until(60 * ms);
  EXPECT_FALSE(s.r.log.of<ple_window_fact>().empty());
  for (const auto& w : s.r.log.of<ple_window_fact>()) EXPECT_NE(w->from, w->to);
}

// The guest slice is flat over consecutive PAUSE exits if and only if the vCPU was switched out and in between; else
// it doubles with the window.
TEST(kvm_pause, a_flat_slice_means_a_switch_and_a_doubled_one_means_none) {
  std::size_t flat = 0, doubled = 0;
  for (const auto* vms : {&stacked_pair, &spread_pair}) {
    storm s{{.cpus = 2}, *vms, 20 * us, 100 * us};
    s.r.run_until(120 * ms);
    for (unsigned v = 0; v < (*vms)[0].vcpus; ++v) {
      const std::uint32_t pid = s.r.vcpu(v).thread().pid;
      const std::uint64_t vmcs = s.r.vcpu(v).vmcs();
      std::optional<cycles> entered, slice;
      std::uint64_t window = 0;
      bool switched = false;
      const auto spun = [&](const recorded<cpu::vm_exit_fact>& exit) {
        const cycles now_slice = exit->began - *entered;
        EXPECT_GT(now_slice.count(), window);
        if (now_slice.count() > window + 1'000) return slice.reset();  // it did not spin from the entry on
        const auto length = static_cast<double>(now_slice.count());
        if (slice && switched) {
          EXPECT_NEAR(length, 4'096, 1'000) << exit.at().count();
          ++flat;
        } else if (slice) {
          EXPECT_NEAR(length, 2.0 * static_cast<double>(slice->count()), 2'100) << exit.at().count();
          ++doubled;
        }
        slice = now_slice;
      };
      s.r.log.replay<sched_switch_fact, cpu::vm_entry_fact, cpu::vm_exit_fact>(
          overloaded{[&](const recorded<sched_switch_fact>& f) {
                       if (f->kernel == 0 && f->next_pid == pid) switched = true;
                     },
                     [&](const recorded<cpu::vm_entry_fact>& f) {
                       if (f->vmcs != vmcs) return;
                       entered = f.at();
                       window = f->ple_window;
                     },
                     [&](const recorded<cpu::vm_exit_fact>& f) {
                       if (f->vmcs != vmcs) return;
                       if (f->reason == reason::pause && entered)
                         spun(f);
                       else
                         slice.reset();
                       switched = false;
                     }});
    }
  }
  EXPECT_GT(flat, 100u);
  EXPECT_GT(doubled, 20u);
}

TEST(kvm_pause, policy_none_and_a_gap_of_zero_turn_the_control_off) {
  for (const bool by_gap : {false, true}) {
    kvm_setup setup{.cpus = 2, .policy = by_gap ? "ipi_receivers" : "none"};
    if (by_gap) setup.ple_gap = 0;
    setup.window.shrink = 8192;  // would wrap (WIN-13): the window is left alone
    storm s{setup, spread_pair};
    s.r.run_until(60 * ms);
    for (unsigned v : {0u, 1u}) {
      EXPECT_EQ(s.r.vmcs(v)->read(vmx::field::secondary_processor_based_controls) & vmx::secondary::pause_loop_exiting,
                0u);
      EXPECT_EQ(s.r.exits(reason::pause, v).size(), 0u);
      EXPECT_EQ(s.r.vcpu(v).ple_window(), 4096u);
    }
    expect_none(s.r.log, fact<ple_window_fact>());
    EXPECT_GT(s.c.rounds[0] + s.c.rounds[1], 100u);
  }
}

TEST(kvm_pause, sleep_takes_the_spinner_off_its_cpu_for_100_us) {
  storm s{{.cpus = 2, .policy = "sleep"}, {{.vcpus = 2, .on = {{0}, {1}}}}, 20 * us, 500 * us};
  s.r.run_until(60 * ms);
  std::size_t slept = 0;
  for (unsigned v : {0u, 1u}) {
    const std::uint32_t pid = s.r.vcpu(v).thread().pid;
    const auto pauses = s.r.exits(reason::pause, v);
    ASSERT_GT(pauses.size(), 20u);
    for (const auto& x : pauses) {
      SCOPED_TRACE(x.at().count());
      cycles out{0}, in{0};
      for (const auto& w : s.r.facts<sched_switch_fact>({x.at(), x.at() + 200 * us})) {
        if (w->prev_pid == pid && out == cycles{0}) {
          out = w.at();
          EXPECT_EQ(w->prev_state, 'S');
        }
        if (w->next_pid == pid && in == cycles{0}) in = w.at();
      }
      if (in == cycles{0}) continue;
      ++slept;
      ASSERT_NE(out, cycles{0});
      EXPECT_LT(out - x.at(), 5 * us);
      EXPECT_LT(in - x.at(), 125 * us);
      const bool early = !s.r.injections(vector::local_timer, v, 0, {in, in + 10 * us}).empty();
      if (!early) EXPECT_GE(in - x.at(), 100 * us);
      expect_sequence({s.r.log, x.at(), x.at() + 200 * us},
                      {exit_of(v, reason::pause), switch_from(pid, 'S'), wakeup_of(pid), switch_to(pid)});
    }
  }
  EXPECT_GT(slept, 40u);
}

TEST(kvm_pause, an_interrupt_ends_the_sleep_early) {
  kvm_rig r{{.cpus = 3, .policy = "sleep"}, {{.vcpus = 3, .on = {{0}, {1}, {2}}}}};
  auto lock = spinlocks().select("ticket").make(r.guest().locks(), lock_user::kernel);
  r.add("holder", {0}, [&](thread&) -> cpu::program {
    auto here = co_await isa::in(kernel_text);
    co_await lock->acquire();
    co_await compute_for_ever();
  });
  r.add("spinner", {1}, [&](thread&) -> cpu::program {
    co_await until(5 * ms);
    auto here = co_await isa::in(kernel_text);
    co_await lock->acquire();
  });
  cycles called{0}, ran{0};
  r.add("caller", {2}, [&](thread&) -> cpu::program {
    co_await until(6 * ms);
    auto here = co_await isa::in(kernel_text);
    while (!r.vcpu(1).blocking()) co_await isa::compute(cycles{100});
    co_await isa::compute(10 * us);
    called = r.now();
    co_await r.guest().call_on(1, [&]() -> cpu::program {
      ran = r.now();
      co_return;
    });
    co_await compute_for_ever();
  });
  r.run_until(8 * ms);
  ASSERT_NE(ran, cycles{0});
  EXPECT_LT(ran - called, 40 * us);
  const std::uint32_t pid = r.vcpu(1).thread().pid;
  expect_sequence({r.log, called - 100 * us, ran},
                  {exit_of(1, reason::pause), switch_from(pid, 'S'), wakeup_of(pid), switch_to(pid),
                   injection_of(1, vector::call_function_single), entry_of(1)});
}

TEST(kvm_pause, a_sleep_that_an_interrupt_ended_leaves_no_timer_behind) {
  kvm_rig r{{.cpus = 3, .policy = "sleep"}, {{.vcpus = 3, .on = {{0}, {1}, {2}}}}};
  auto lock = spinlocks().select("ticket").make(r.guest().locks(), lock_user::kernel);
  cycles called{0}, got{0};
  r.add("holder", {0}, [&](thread&) -> cpu::program {
    auto here = co_await isa::in(kernel_text);
    co_await lock->acquire();
    while (called == cycles{0}) co_await isa::compute(cycles{100});
    co_await lock->release();
    co_await compute_for_ever();
  });
  r.add("spinner", {1}, [&](thread&) -> cpu::program {
    co_await until(5 * ms);
    auto here = co_await isa::in(kernel_text);
    co_await lock->acquire();
    got = r.now();
    co_await lock->release();
  });
  r.add("caller", {2}, [&](thread&) -> cpu::program {
    co_await until(6 * ms);
    auto here = co_await isa::in(kernel_text);
    // At the beginning of a sleep of 100 us: its timer would come when the vCPU has halted.
    while (r.vcpu(1).blocking()) co_await isa::compute(cycles{100});
    while (!r.vcpu(1).blocking()) co_await isa::compute(cycles{100});
    called = r.now();
    co_await r.guest().call_on(1, nothing);
    co_await compute_for_ever();
  });
  r.run_until(8 * ms);
  ASSERT_NE(got, cycles{0});
  EXPECT_LT(got - called, 40 * us);
  expect_sequence({r.log, got, got + 60 * us}, {exit_of(1, reason::hlt)});
  expect_none({r.log, got + 30 * us, got + 200 * us}, wakeup_of(r.vcpu(1).thread().pid));
}

// The yielder is 12 ms left of its target on one queue of a host with 8 CPUs (granularity 4 ms). It burns 8 ms in PAUSE
// exits whose yields are accepted and change nothing; the first pick at or after that takes the target.
struct mismatch {
  std::size_t futile = 0;
  cycles period{0};
  std::vector<std::uint32_t> windows;
};
mismatch run_mismatch(const ple_window_parameters& window) {
  mismatch m;
  kvm_rig r{{.cpus = 1, .window = window}, {{.vcpus = 2, .on = {{0}, {0}}}}};
  auto lock = spinlocks().select("ticket").make(r.guest().locks(), lock_user::kernel);
  r.add(
      "holder", {1},
      [&](thread&) -> cpu::program {
        auto here = co_await isa::in(kernel_text);
        co_await lock->acquire();
        co_await compute_for_ever();
      },
      kernel_text);
  r.add("spinner", {0}, [&](thread&) -> cpu::program {
    while (lock->holder() == nullptr) co_await isa::compute(50 * us);
    auto here = co_await isa::in(kernel_text);
    co_await lock->acquire();
  });
  thread& y = r.vcpu(0).thread();
  thread& t = r.vcpu(1).thread();
  r.run_until(50 * ms);
  while ((&r.host().current(0) != &y || !r.vcpu(0).in_guest_mode() || !r.vcpu(1).preempted()) && r.now() < 200 * ms)
    r.run_until(r.now() + cycles{700});
  EXPECT_LT(r.now(), 200 * ms);
  const cycles from = r.now();
  fair_entity(y).queue()->update_current(r.host().now_ns());
  fair_entity(t).set_vruntime(fair_entity(y).vruntime() + 12'000'000);
  r.run_until(from + 40 * ms);
  cycles left{0};
  for (const auto& s : r.facts<sched_switch_fact>({from, r.now()}))
    if (s->kernel == 0 && s->prev_pid == y.pid && left == cycles{0}) {
      left = s.at();
      EXPECT_EQ(s->next_pid, t.pid);
    }
  EXPECT_NE(left, cycles{0});
  for (const auto& p : r.spy->calls(spying_scheduler::call_kind::pick_next, 0)) {
    if (p.now < from.count() || p.now > left.count()) continue;
    // Virtual and wall time advance alike for nice 0; what was accounted before `from` is not burnt.
    EXPECT_EQ(p.entity == y.entity.get(), p.now < from.count() + 8'000'000) << p.now - from.count();
  }
  for (const auto& f : r.facts<yield_to_fact>({from, left}))
    if (f->pid == y.pid) {
      EXPECT_EQ(static_cast<yield_to_outcome>(f->outcome), yield_to_outcome::yielded);
      ++m.futile;
    }
  --m.futile;  // the last one was honoured
  const auto pauses = r.exits(reason::pause, 0, 0, {from, left});
  if (pauses.size() > 2) m.period = cycles{(pauses.back().at() - pauses.front().at()).count() / (pauses.size() - 1)};
  for (const auto& e : r.facts<cpu::vm_entry_fact>({from, left}))
    if (e->vmcs == r.vcpu(0).vmcs()) m.windows.push_back(static_cast<std::uint32_t>(e->ple_window));
  return m;
}

TEST(kvm_pause, S0_4_futile_yields_burn_the_lead_of_the_yielder) {
  const mismatch fixed = run_mismatch({.grow = 1});
  ASSERT_NE(fixed.period, cycles{0});
  const double expected = 8e6 / static_cast<double>(fixed.period.count());
  EXPECT_NEAR(static_cast<double>(fixed.futile), expected, 0.03 * expected);
  EXPECT_GT(fixed.futile, 300u);
  for (const std::uint32_t w : fixed.windows) EXPECT_EQ(w, 4096u);
}

TEST(kvm_pause, S0_4_with_a_doubling_window_a_futile_yield_leaves_it_doubled) {
  const mismatch doubling = run_mismatch({});
  EXPECT_LT(doubling.futile, 12u);
  ASSERT_FALSE(doubling.windows.empty());
  EXPECT_GT(*std::max_element(doubling.windows.begin(), doubling.windows.end()), 1'000'000u);
}

}  // namespace
}  // namespace vmxsys::models::testing
