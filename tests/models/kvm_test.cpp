#include <algorithm>
#include <set>

#include <vmxsys/models/kvm/spin/ple_window.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>

#include "contention.hpp"

// KVM with small guests: bring-up, the virtual timer, interrupts, halts, migration.
namespace vmxsys::models::testing {
namespace {

using reason = vmx::exit_reason;

std::size_t count(const std::vector<recorded<kvm_exit_fact>>& all) { return all.size(); }

// -- bring-up ---------------------------------------------------------------------------------------------------------

TEST(kvm_boot, every_virtual_cpu_comes_up_by_emulated_init_and_sipi) {
  for (const unsigned vcpus : {1u, 2u, 3u, 4u})
    for (const unsigned cpus : {1u, 2u, 4u}) {
      kvm_rig r{{.cpus = cpus}, {{.vcpus = vcpus}}};
      std::vector<int> ran_on(vcpus, -1);
      for (unsigned i = 0; i < vcpus; ++i)
        r.add("t", {i}, [&, i](thread&) -> cpu::program {
          ran_on[i] = static_cast<int>(r.guest().index_of(co_await isa::this_cpu()));
          co_await isa::compute(100 * us);
        });
      r.run_until(40 * ms + (vcpus > cpus ? vcpus * 60 * ms : cycles{0}));
      for (unsigned i = 0; i < vcpus; ++i) {
        EXPECT_EQ(ran_on[i], static_cast<int>(i)) << vcpus << " vCPUs on " << cpus;
        EXPECT_EQ(count(r.exits(reason::cpuid, i)), 4u);
        EXPECT_TRUE(r.vcpu(i).blocking()) << "its guest is idle";
      }
      std::size_t to_other = 0;
      for (const auto& s : r.facts<cpu::ipi_sent_fact>()) to_other += s->mode != 0;
      EXPECT_EQ(to_other, 2 * (cpus - 1)) << "real INITs and SIPIs are the host's";
    }
}

// -- the virtual timer ------------------------------------------------------------------------------------------------

TEST(kvm_timer, ticks_of_a_running_guest_come_by_the_preemption_timer) {
  for (const unsigned hz : {100u, 250u, 1000u}) {
    kvm_rig r{{.cpus = 2}, {{.vcpus = 2, .on = {{0}, {1}}, .hz = hz}}};
    r.hog(0);
    r.hog(1);
    r.run_until(10 * ms);
    r.run_until(110 * ms);
    const kvm_rig::when last{10 * ms, 110 * ms};
    for (unsigned i : {0u, 1u}) {
      const double expected = hz / 10.0;
      EXPECT_NEAR(static_cast<double>(r.injections(vector::local_timer, i, 0, last).size()), expected, 1.01) << hz;
      EXPECT_NEAR(static_cast<double>(count(r.exits(reason::preemption_timer, i, 0, last))), expected, 1.01) << hz;
      const std::uint64_t period = 1'000'000'000 / hz;
      const auto ticks = r.injections(vector::local_timer, i, 0, last);
      for (const cycles at : ticks) {
        const std::uint64_t late = ((at - ticks[0]).count() + 20'000) % period;
        EXPECT_LT(late, 40'000u) << "tick at " << at.count();
      }
    }
  }
}

TEST(kvm_timer, a_preempted_vcpu_gets_its_tick_when_it_runs_again) {
  kvm_rig r{{.cpus = 1}, {{.vcpus = 1, .hz = 1000}, {.vcpus = 1}}};
  r.hog(0);
  r.hog(0, user_text, 1);
  r.run_until(200 * ms);
  const thread& t = r.vcpu(0).thread();
  cycles in{0};
  std::size_t waits = 0;
  cycles out{0};
  for (const auto& s : r.facts<sched_switch_fact>({20 * ms, 190 * ms})) {
    if (s->prev_pid == t.pid) out = s.at();
    if (s->next_pid != t.pid || out == cycles{0}) continue;
    in = s.at();
    if (in - out < 2 * ms) continue;
    ++waits;
    EXPECT_EQ(r.injections(vector::local_timer, 0, 0, {out, in}).size(), 0u);
    const std::size_t at_once = r.injections(vector::local_timer, 0, 0, {in, in + 100 * us}).size();
    EXPECT_GE(at_once, 1u);
    EXPECT_LE(at_once, 2u) << "one for all that are due, and perhaps the next";
  }
  EXPECT_GT(waits, 3u);
}

class guest_timer final : public timer_event {
 public:
  explicit guest_timer(std::function<cpu::program()> then) : then_{std::move(then)} {}
  cpu::program expire() override { co_await then_(); }

 private:
  std::function<cpu::program()> then_;
};

TEST(kvm_timer, wakes_a_halted_vcpu_at_its_time) {
  kvm_rig r{{.cpus = 1}, {{.vcpus = 1}}};
  std::vector<cycles> due, fired;
  thread* sleeping = nullptr;
  bool flag = false;
  guest_timer t{[&]() -> cpu::program {
    flag = true;
    fired.push_back(r.now());
    co_await r.guest().wake_up(*sleeping);
  }};
  sleeping = &r.add("sleeper", {0}, [&](thread& self) -> cpu::program {
    auto here = co_await isa::in(kernel_text);
    for (int i = 0; i < 10; ++i) {
      co_await isa::cli();
      due.push_back(r.now() + ms + cycles{static_cast<std::uint64_t>(i) * 12'345});
      co_await r.guest().arm(t, due.back());
      while (!flag) {
        r.guest().prepare_to_sleep(self);
        co_await r.guest().schedule();
      }
      flag = false;
      co_await isa::sti();
    }
  });
  r.run_until(30 * ms);
  ASSERT_EQ(fired.size(), 10u);
  for (std::size_t i = 0; i < fired.size(); ++i) {
    EXPECT_GE(fired[i], due[i]);
    EXPECT_LT(fired[i] - due[i], 40 * us);
  }
  EXPECT_EQ(r.facts<vcpu_block_fact>().size(), 10u) << "and once more, which has not ended";
  EXPECT_GE(count(r.exits(reason::hlt, 0)), 11u);
}

// -- HLT --------------------------------------------------------------------------------------------------------------

TEST(kvm_halt, blocks_the_thread_and_the_cpu_idles) {
  kvm_rig r{{.cpus = 1}, {{.vcpus = 1}}};
  r.add("t", {0}, [](thread&) { return until(5 * ms); });
  r.run_until(10 * ms);
  EXPECT_TRUE(r.vcpu(0).blocking());
  EXPECT_FALSE(r.vcpu(0).preempted());
  EXPECT_FALSE(r.vcpu(0).in_guest_mode());
  EXPECT_TRUE(r.host().current(0).idle());
  EXPECT_TRUE(r.hw.cpu(0).halted());
  const cycles idle = r.hw.cpu(0).account().total(cpu::vmx_operation::root, cpu::bucket::idle);
  const std::uint64_t entries = r.entries();
  r.run_until(110 * ms);
  EXPECT_EQ(r.hw.cpu(0).account().total(cpu::vmx_operation::root, cpu::bucket::idle) - idle, 100 * ms);
  EXPECT_EQ(r.entries(), entries) << "an idle guest costs nothing";
  bool slept = false;
  for (const auto& s : r.facts<sched_switch_fact>({5 * ms, 6 * ms}))
    slept = slept || (s->prev_pid == r.vcpu(0).thread().pid && s->prev_state == 'S' && s->next_pid == 0);
  EXPECT_TRUE(slept);
}

// -- interrupts between vCPUs -----------------------------------------------------------------------------------------

/// A guest thread that sleeps until it is woken.
struct guest_sleeper {
  bool flag = false;
  std::vector<cycles> woken_at;
  kvm_rig::body body(kvm_rig& r) {
    return [this, &r](thread& self) -> cpu::program {
      for (;;) {
        co_await isa::cli();
        while (!flag) {
          r.guest().prepare_to_sleep(self);
          co_await r.guest().schedule();
        }
        flag = false;
        woken_at.push_back(r.now());
        co_await isa::sti();
      }
    };
  }
};

TEST(kvm_ipi, KK_01_wakes_a_halted_vcpu) {
  kvm_rig r{{.cpus = 2}, {{.vcpus = 2, .on = {{0}, {1}}}}};
  guest_sleeper s;
  thread& t = r.add("sleeper", {1}, s.body(r));
  cycles sent{0};
  r.add("waker", {0}, [&](thread&) -> cpu::program {
    co_await until(5 * ms);
    s.flag = true;
    sent = r.now();
    co_await r.guest().wake_up(t);
    co_await compute_for_ever();
  });
  r.run_until(5 * ms - us);
  EXPECT_TRUE(r.vcpu(1).blocking());
  r.run_until(6 * ms);
  ASSERT_EQ(s.woken_at.size(), 1u);
  EXPECT_LT(s.woken_at[0] - sent, 40 * us);
  EXPECT_EQ(r.injections(vector::reschedule, 1, 0, {5 * ms, 6 * ms}).size(), 1u);
  EXPECT_GE(count(r.exits(reason::wrmsr, 0, 0, {5 * ms, 6 * ms})), 1u) << "the ICR write";
  ASSERT_EQ(r.facts<sched_wakeup_fact>({5 * ms, 6 * ms}).size(), 2u) << "the guest's thread, and the host's";
  EXPECT_EQ(count(r.exits(reason::external_interrupt, 1, 0, {5 * ms, 6 * ms})), 0u)
      << "no kick of one that is not in the guest";
}

TEST(kvm_ipi, KK_02_interrupts_a_running_vcpu) {
  kvm_rig r{{.cpus = 2}, {{.vcpus = 2, .on = {{0}, {1}}}}};
  r.hog(1);
  std::vector<cycles> sent, ran;
  r.add("caller", {0}, [&](thread&) -> cpu::program {
    co_await until(5 * ms);
    auto here = co_await isa::in(kernel_text);
    for (int i = 0; i < 20; ++i) {
      sent.push_back(r.now());
      co_await r.guest().call_on(1, [&]() -> cpu::program {
        ran.push_back(r.now());
        co_return;
      });
      co_await isa::compute(20 * us);
    }
    co_await compute_for_ever();
  });
  r.run_until(7 * ms);
  ASSERT_EQ(ran.size(), 20u);
  for (std::size_t i = 0; i < ran.size(); ++i) EXPECT_LT(ran[i] - sent[i], 30 * us);
  const kvm_rig::when window{5 * ms, 7 * ms};
  EXPECT_EQ(r.injections(vector::call_function_single, 1, 0, window).size(), 20u);
  std::size_t kicked = 0;
  for (const auto& x : r.exits(reason::external_interrupt, 1, 0, window))
    kicked += (x->interruption_information & 0xFF) == vector::reschedule;
  EXPECT_EQ(kicked, 20u);
  // The sender exits for its ICR write, the receiver for its EOI, nothing else of the twenty calls exits.
  EXPECT_NEAR(static_cast<double>(count(r.exits(reason::wrmsr, 0, 0, window))), 20, 4);
  EXPECT_NEAR(static_cast<double>(count(r.exits(reason::wrmsr, 1, 0, window))), 20, 4);
}

TEST(kvm_ipi, KK_04_a_preempted_vcpu_is_not_kicked_and_finds_it_at_its_next_entry) {
  kvm_rig r{{.cpus = 2}, {{.vcpus = 2, .on = {{0}, {1}}}, {.vcpus = 1, .on = {{1}}}}};
  r.hog(1);
  r.hog(0, user_text, 1);
  bool done = false, go = false;
  r.add("caller", {0}, [&](thread&) -> cpu::program {
    while (!go) co_await isa::compute(cycles{500});
    auto here = co_await isa::in(kernel_text);
    co_await r.guest().call_on(1, []() -> cpu::program { co_return; });
    done = true;
    co_await compute_for_ever();
  });
  r.run_until(30 * ms);
  const thread& t = r.vcpu(1).thread();
  while (!r.vcpu(1).preempted()) r.run_until(r.now() + 10 * us);
  EXPECT_TRUE(r.vcpu(1).ready());
  EXPECT_FALSE(r.vcpu(1).preempted_in_kernel()) << "its guest computes in user mode";
  go = true;
  const cycles at = r.now();
  r.run_until(at + ms);
  EXPECT_FALSE(done);
  std::size_t kicks = 0;
  for (const auto& s : r.facts<cpu::ipi_sent_fact>({at, at + ms})) kicks += s->vector == vector::reschedule;
  EXPECT_EQ(kicks, 0u);
  while (!done && r.now() < at + 60 * ms) r.run_until(r.now() + 10 * us);
  ASSERT_TRUE(done);
  cycles in{0};
  for (const auto& s : r.facts<sched_switch_fact>({at, r.now()}))
    if (s->next_pid == t.pid && in == cycles{0}) in = s.at();
  EXPECT_EQ(r.injections(vector::call_function_single, 1, 0, {in, in + 20 * us}).size(), 1u);
}

TEST(kvm_ipi, an_interrupt_for_a_guest_with_interrupts_off_waits_for_its_window) {
  kvm_rig r{{.cpus = 2}, {{.vcpus = 2, .on = {{0}, {1}}}}};
  cycles enabled{0};
  r.add("deaf", {1}, [&](thread&) -> cpu::program {
    co_await until(6 * ms + 200 * us);  // behind its tick
    auto here = co_await isa::in(kernel_text);
    co_await isa::cli();
    co_await until(7 * ms);
    enabled = r.now();
    co_await isa::sti();
    co_await compute_for_ever();
  });
  bool done = false;
  r.add("caller", {0}, [&](thread&) -> cpu::program {
    co_await until(6 * ms + 500 * us);
    auto here = co_await isa::in(kernel_text);
    co_await r.guest().call_on(1, []() -> cpu::program { co_return; });
    done = true;
    co_await compute_for_ever();
  });
  r.run_until(6 * ms + 900 * us);
  EXPECT_FALSE(done);
  EXPECT_EQ(count(r.exits(reason::external_interrupt, 1, 0, {6 * ms + 400 * us, 7 * ms})), 1u)
      << "the kick goes in, IF or not";
  EXPECT_EQ(count(r.exits(reason::interrupt_window, 1)), 0u);
  EXPECT_NE(r.vmcs(1)->read(vmx::field::primary_processor_based_controls) & vmx::primary::interrupt_window_exiting, 0u);
  r.run_until(8 * ms);
  EXPECT_TRUE(done);
  const auto window = r.exits(reason::interrupt_window, 1);
  ASSERT_EQ(window.size(), 1u);
  EXPECT_GE(window[0].at(), enabled);
  EXPECT_LT(window[0].at() - enabled, 4 * us);
  EXPECT_EQ(r.injections(vector::call_function_single, 1, 0, {enabled, enabled + 10 * us}).size(), 1u);
  EXPECT_EQ(r.vmcs(1)->read(vmx::field::primary_processor_based_controls) & vmx::primary::interrupt_window_exiting, 0u);
}

TEST(kvm_apic, each_interrupt_costs_one_exit_for_its_EOI) {
  kvm_rig r{{.cpus = 1}, {{.vcpus = 1, .hz = 1000}}};
  r.hog(0);
  r.run_until(105 * ms);
  const kvm_rig::when last{5 * ms, 105 * ms};
  const auto ticks = r.injections(vector::local_timer, 0, 0, last).size();
  EXPECT_NEAR(static_cast<double>(ticks), 100, 1.01);
  EXPECT_NEAR(static_cast<double>(count(r.exits(reason::wrmsr, 0, 0, last))), 2.0 * static_cast<double>(ticks), 4)
      << "EOI and the next deadline";
}

// A vector that was put into the entry and not entered with, because the host wanted its CPU back, must not be replaced
// by one that arrives while the vCPU is off its CPU: it is in service already. The checker sees every injection.
struct called_off_run {
  std::vector<cycles> ticks;  ///< injected into vCPU 0
  bool met = false;           ///< the vCPU was switched out between the injection and the entry
};

/// vCPU 0 computes; `urgent` of the host takes its CPU when it is woken; vCPU 1 calls vCPU 0 while that is off.
called_off_run run_called_off(cycles wake, cycles call) {
  kvm_rig r{{.cpus = 3}, {{.vcpus = 2, .on = {{0}, {1}}}}};
  r.hog(0);
  bool go = false;
  r.add("caller", {1}, [&](thread&) -> cpu::program {
    co_await until(call - 100 * us);
    auto here = co_await isa::in(kernel_text);
    co_await until(call);
    for (int i = 0; i < 4; ++i) {
      co_await r.guest().call_on(0, []() -> cpu::program { co_return; });
      co_await isa::compute(5 * us);
    }
    co_await compute_for_ever();
  });
  thread& urgent = r.add_to_host("urgent", {0}, [&](thread& self) -> cpu::program {
    for (;;) {
      co_await isa::cli();
      while (!go) {
        r.host().prepare_to_sleep(self);
        co_await r.host().schedule();
      }
      go = false;
      co_await isa::sti();
      co_await isa::compute(40 * us);
    }
  });
  r.add_to_host("waker", {2}, [&](thread&) -> cpu::program {
    co_await until(wake);
    go = true;
    co_await r.host().wake_up(urgent);
  });
  r.run_until(call + 30 * ms);
  called_off_run result;
  result.ticks = r.injections(vector::local_timer, 0, 0, {call - 2 * ms, call + 30 * ms});
  const std::uint32_t me = r.vcpu(0).thread().pid;
  for (const auto& s : r.facts<sched_switch_fact>({call - 2 * ms, call + ms}))
    if (s->prev_pid == me && s->next_pid == urgent.pid && !result.ticks.empty() && s.at() > result.ticks[0]) {
      result.met = true;
      for (const auto& e : r.facts<kvm_entry_fact>({result.ticks[0], s.at()})) result.met = result.met && e->vcpu != 0;
    }
  return result;
}

// A vector that was put into the entry and not entered with, because the host wanted its CPU back, must not be replaced
// by one that arrives while the vCPU is off its CPU: it is in service already. The checker sees every injection.
TEST(kvm_inject, is_not_lost_when_the_entry_is_called_off) {
  const called_off_run quiet = run_called_off(200 * ms, 15 * ms);
  ASSERT_GE(quiet.ticks.size(), 6u);
  const cycles tick = quiet.ticks[1];
  unsigned met = 0;
  for (std::uint64_t before = 0; before < 1'500 && met < 4; before += 10) {
    const called_off_run r = run_called_off(tick - cycles{before}, tick + 10 * us);
    met += r.met;
    ASSERT_GE(r.ticks.size(), 7u) << "ticks go on; woken " << before << " cycles before the injection";
  }
  EXPECT_GE(met, 4u) << "too few runs met the case";
}

// A preempted vCPU in a shadow is sent an interrupt, which waits for the window behind one instruction.
TEST(kvm_inject, nothing_in_the_shadow_of_sti_or_mov_ss) {
  for (const std::uint64_t shadow :
       {std::uint64_t{vmx::interruptibility::sti}, std::uint64_t{vmx::interruptibility::mov_ss}}) {
    kvm_rig r{{.cpus = 2}, {{.vcpus = 2, .on = {{0}, {1}}, .hz = 10}}};
    r.hog(0);
    r.add_to_host("rival", {0}, [](thread&) { return compute_for_ever(); });
    bool go = false;
    r.add("caller", {1}, [&](thread&) -> cpu::program {
      while (!go) co_await isa::compute(10 * us);
      auto here = co_await isa::in(kernel_text);
      co_await r.guest().call_on(0, []() -> cpu::program { co_return; });
      co_await compute_for_ever();
    });
    const auto off = [&] {  // and no tick is near: its exit would come first
      return r.vcpu(0).preempted() && !r.vcpu(0).thread().on_cpu && r.vcpu(0).timer().deadline() > r.now() + 40 * ms;
    };
    r.run_until(50 * ms);
    while (!off() && r.now() < 400 * ms) r.run_until(r.now() + 100 * us);
    ASSERT_TRUE(off());
    vmx::vmcs& fields = *r.hw.active_vmcs().find(r.vcpu(0).vmcs());
    ASSERT_NE(fields.read(vmx::field::guest_rflags) & vmx::rflags_bits::interrupt_flag, 0u);
    fields.write(vmx::field::guest_interruptibility_state, shadow);
    go = true;
    const cycles from = r.now();
    r.run_until(from + 30 * ms);

    const expected_fact window = exit_of(0, reason::interrupt_window);
    const expected_fact injection = injection_of(0, vector::call_function_single);
    expect_sequence({r.log, from}, {entry_of(0), window, injection, entry_of(0)});
    const auto windows = r.exits(reason::interrupt_window, 0, 0, {from, r.now()});
    ASSERT_FALSE(windows.empty());
    expect_none({r.log, from, windows[0].at()}, injection);
  }
}

// -- what spin handlers see -------------------------------------------------------------------------------------------

/// Looks at every vCPU at many instants.
void expect_flags(kvm_rig& r) {
  for (auto& vm : r.hypervisor().vms())
    for (unsigned i = 0; i < vm->vcpus(); ++i) {
      models::vcpu& v = vm->cpu(i);
      const thread& t = v.thread();
      const std::string who = "vCPU " + std::to_string(i) + " at " + std::to_string(r.now().count());
      if (t.on_cpu && v.in_guest_mode()) {
        EXPECT_FALSE(v.preempted()) << who;
        EXPECT_FALSE(v.blocking()) << who;
      }
      if (!t.on_cpu && t.state == thread_state::runnable && t.entity->on_rq && !v.blocking()) {
        EXPECT_TRUE(v.preempted()) << who;
        EXPECT_TRUE(v.ready()) << who;
      }
      if (t.state == thread_state::sleeping && !t.on_cpu) {
        EXPECT_TRUE(v.blocking()) << who;
        EXPECT_FALSE(v.preempted()) << who;
      }
    }
}

TEST(kvm_flags, preempted_ready_and_blocking_follow_the_thread) {
  kvm_rig r{{.cpus = 2}, {{.vcpus = 3, .on = {{0}, {0}, {1}}}, {.vcpus = 1, .on = {{1}}}}};
  guest_sleeper s;
  r.hog(0);
  r.hog(1, kernel_text);
  thread& t = r.add("sleeper", {2}, s.body(r));
  r.add("waker", {0}, [&](thread&) -> cpu::program {
    for (;;) {
      co_await isa::compute(700 * us);
      s.flag = true;
      co_await r.guest().wake_up(t);
    }
  });
  r.hog(0, user_text, 1);
  std::set<std::pair<bool, bool>> in_kernel;  // vCPU, preempted in kernel mode
  for (cycles to = 60 * ms; to < 200 * ms; to += cycles{37'777}) {
    r.run_until(to);
    expect_flags(r);
    for (unsigned i : {0u, 1u})
      if (r.vcpu(i).preempted()) in_kernel.emplace(i == 1, r.vcpu(i).preempted_in_kernel());
  }
  EXPECT_GT(s.woken_at.size(), 10u);
  EXPECT_TRUE(in_kernel.count({true, true}));
  EXPECT_TRUE(in_kernel.count({false, false}));
  EXPECT_FALSE(in_kernel.count({true, false})) << "its guest is always in kernel mode";
}

TEST(kvm_flags, a_vcpu_woken_from_its_halt_is_ready_and_blocking_until_it_runs) {
  kvm_rig r{{.cpus = 2, .host_scheduler = round_robin(10'000'000)},
            {{.vcpus = 2, .on = {{0}, {1}}}, {.vcpus = 1, .on = {{1}}}}};
  guest_sleeper s;
  thread& t = r.add("sleeper", {1}, s.body(r));
  r.hog(0, user_text, 1);  // on the CPU of the sleeper's vCPU
  r.add("waker", {0}, [&](thread&) -> cpu::program {
    co_await until(61 * ms);
    s.flag = true;
    co_await r.guest().wake_up(t);
    co_await compute_for_ever();
  });
  r.run_until(61 * ms - us);
  ASSERT_TRUE(r.vcpu(1).blocking());
  EXPECT_FALSE(r.vcpu(1).ready());
  r.run_until(61 * ms + 100 * us);
  EXPECT_TRUE(r.vcpu(1).ready());
  EXPECT_TRUE(r.vcpu(1).blocking());
  EXPECT_FALSE(r.vcpu(1).preempted());
  r.run_until(90 * ms);
  EXPECT_EQ(s.woken_at.size(), 1u);
}

// -- migration --------------------------------------------------------------------------------------------------------

// Guests that sleep and compute: their vCPUs halt, and are woken wherever a CPU idles.
TEST(kvm_migration, a_vmcs_is_cleared_where_it_was_before_it_is_loaded_elsewhere) {
  kvm_rig r{{.cpus = 3}, {{.vcpus = 3}, {.vcpus = 2}}};
  struct napper {
    thread* self = nullptr;
    bool due = false;
    unsigned naps = 0;
    std::unique_ptr<guest_timer> timer;
  };
  std::vector<napper> nappers(5);
  for (unsigned i = 0; i < 5; ++i) {
    const unsigned vm = i < 3 ? 0 : 1;
    napper& n = nappers[i];
    n.timer = std::make_unique<guest_timer>([&r, &n, vm]() -> cpu::program {
      n.due = true;
      co_await r.guest(vm).wake_up(*n.self);
    });
    n.self = &r.add(
        "napper", {i - 3 * vm},
        [&r, &n, vm, i](thread& self) -> cpu::program {
          auto here = co_await isa::in(kernel_text);
          for (;;) {
            co_await isa::compute(cycles{300'000 + i * 77'000});
            co_await isa::cli();
            co_await r.guest(vm).arm(*n.timer, r.now() + cycles{200'000 + i * 31'000});
            while (!n.due) {
              r.guest(vm).prepare_to_sleep(self);
              co_await r.guest(vm).schedule();
            }
            n.due = false;
            ++n.naps;
            co_await isa::sti();
          }
        },
        user_text, vm);
  }
  r.run_until(100 * ms);
  std::size_t migrations = 0;
  std::map<std::pair<unsigned, unsigned>, unsigned> last;
  for (const auto& e : r.facts<kvm_entry_fact>()) {
    const auto [at, first] = last.try_emplace({e->vm, e->vcpu}, e->cpu);
    migrations += !first && at->second != e->cpu;
    at->second = e->cpu;
  }
  EXPECT_GT(migrations, 20u);
  EXPECT_EQ(r.hw.active_vmcs().violations(), 0u);
  for (const napper& n : nappers) EXPECT_GT(n.naps, 50u);
}

// -- everything at once -----------------------------------------------------------------------------------------------

TEST(kvm_equality, fast_and_stepped_state_the_same_facts) {
  for (const char* policy : {"none", "sleep", "directed", "ipi_receivers", "single_scan"}) {
    const auto run = [&](bool stepped) {
      storm s{{.cpus = 2, .policy = policy, .stepped = stepped}, {{.vcpus = 3}, {.vcpus = 2, .on = {{0}, {1}}}}};
      guest_sleeper g;
      thread& t = s.r.add("sleeper", {2}, g.body(s.r));
      s.r.add("waker", {0}, [&](thread&) -> cpu::program {
        for (;;) {
          co_await isa::compute(333 * us);
          g.flag = true;
          co_await s.r.guest().wake_up(t);
        }
      });
      for (cycles to = ms; to < 70 * ms; to += cycles{1'234'567}) {
        s.r.run_until(to);
        s.r.hw.materialise();
      }
      return std::pair{s.r.hash.value(), s.r.hash.count()};
    };
    const auto fast = run(false);
    EXPECT_GT(fast.second, 2'000u);
    EXPECT_EQ(run(true), fast) << policy;
  }
}

}  // namespace
}  // namespace vmxsys::models::testing
