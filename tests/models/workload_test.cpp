#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include <vmxsys/models/kernel/locks/test_and_set_lock.hpp>
#include <vmxsys/models/kernel/locks/ticket_lock.hpp>
#include <vmxsys/models/workloads/bench_facts.hpp>
#include <vmxsys/models/workloads/catalogue.hpp>

#include "kvm_rig.hpp"

// What workloads do to their kernel, with every length stated, on bare machines and in a virtual one.
namespace vmxsys::models::testing {
namespace {

duration lasting(cycles length) { return duration::from_cycles(length.count()); }
distribution fixed(cycles length) { return distribution::fixed(lasting(length)); }
distribution exponential(cycles mean) { return distribution::exponential(lasting(mean)); }

constexpr std::uint64_t seed = 11;
constexpr std::uint64_t user_half = std::uint64_t{1} << 63;  // addresses below are a program's

std::unique_ptr<workload> add(kernel& k, const char* name, const settings& options) {
  return workloads().select(name, options).make(k, workload_environment{seed, 1'000'000});
}

using workload_maker = std::function<std::unique_ptr<workload>(kernel&)>;

/// A workload on a bare machine, taken down before its kernel.
struct bare_run {
  bare_run(unsigned cpus, const workload_maker& make, std::function<void(kernel_config&)> change = {},
           bool stepped = false)
      : r{cpus, fair(), std::move(change), stepped} {
    load = make(r.k());
  }
  ~bare_run() { r.k().abandon_threads(); }

  std::size_t units() const { return r.log.of<work_fact>().size(); }
  /// Finished spins at one place.
  std::vector<recorded<cpu::spin_fact>> spins(const cpu::code_location& at) const {
    std::vector<recorded<cpu::spin_fact>> found;
    for (const auto& s : r.log.of<cpu::spin_fact>())
      if (s->rip == at.rip()) found.push_back(s);
    return found;
  }

  kernel_rig r;
  std::unique_ptr<workload> load;
};

// -- by name ----------------------------------------------------------------------------------------------------------

TEST(workloads, the_first_needs_no_options_and_all_make_threads) {
  EXPECT_STREQ(workloads().first().name, "cpu_bound");
  for (const std::string& name : workloads().names()) {
    bare_run w{2, [&](kernel& k) { return add(k, name.c_str(), {}); }};
    EXPECT_FALSE(w.r.k().threads().empty()) << name;
    w.r.run_until(20 * ms);
    EXPECT_GT(w.units(), 5u) << name;
  }
  EXPECT_THROW(workloads().select("sleeping"), catalogue_error);
}

TEST(workloads, chunks_are_as_long_as_said) {
  for (const std::uint64_t chunk : {100u, 200u}) {
    bare_run w{1, [&](kernel& k) { return add(k, "cpu_bound", {{"chunk", duration::us(chunk)}}); }};
    w.r.run_until(40 * ms);
    EXPECT_NEAR(static_cast<double>(w.units()), 40'000.0 / static_cast<double>(chunk), 10);
  }
}

TEST(workloads, a_program_takes_only_locks_that_are_for_programs) {
  EXPECT_THROW(workloads().select("user_spin", {{"lock", "queued"}}), catalogue_error);
  EXPECT_NO_THROW(workloads().select("user_spin", {{"lock", "ticket"}}));
  const auto chosen = workloads().select("user_spin");
  EXPECT_EQ(chosen.option(*chosen.entry().parameters.find("lock")), parameter_value{"test_and_set"});
}

TEST(workloads, ipi_needs_as_many_cpus_as_it_sends_to) {
  const auto faults = [](unsigned targets, unsigned cpus) {
    const auto chosen = workloads().select("ipi", {{"targets", targets}});
    std::vector<option_fault> found;
    chosen.entry().check_vm(chosen.options(), cpus, found);
    return found.size();
  };
  EXPECT_EQ(faults(3, 4), 0u);
  EXPECT_EQ(faults(4, 4), 1u);
  EXPECT_EQ(faults(0, 2), 0u);
  EXPECT_EQ(faults(0, 1), 1u);
}

// -- lock_bound -------------------------------------------------------------------------------------------------------

std::unique_ptr<workload> locked(kernel& k, const distribution& hold, unsigned threads = 0) {
  return add(k, "lock_bound", {{"threads", threads}, {"work", exponential(20 * us)}, {"hold", hold}});
}

// A holder that the host can preempt is expressed by the length of its critical section: far shorter than the work
// around it, or longer than that.
TEST(lock_bound, threads_share_as_many_locks_as_said) {
  for (const std::uint64_t locks : {1u, 3u}) {
    bare_run w{4, [&](kernel& k) {
                 return add(k, "lock_bound", {{"locks", locks}, {"work", fixed(5 * us)}, {"hold", fixed(20 * us)}});
               }};
    w.r.run_until(20 * ms);
    std::set<std::uint64_t> waited_for;
    for (const auto& f : w.r.log.of<lock_wait_fact>())
      if (f->waited > 10 * us) waited_for.insert(f->lock);
    EXPECT_EQ(waited_for.size(), locks);
  }
}

TEST(lock_bound, holds_are_as_short_or_as_long_as_stated) {
  const auto mean_wait = [](const distribution& hold) {
    bare_run w{4, [&](kernel& k) { return locked(k, hold); }};
    w.r.run_until(50 * ms);
    EXPECT_GT(w.units(), 200u);
    cycles sum{0};
    for (const auto& f : w.r.log.of<lock_wait_fact>()) sum += f->waited;
    return static_cast<double>(sum.count()) / static_cast<double>(w.units());
  };
  const double brief = mean_wait(distribution::uniform(lasting(cycles{200}), lasting(cycles{600})));
  const double long_ones = mean_wait(exponential(100 * us));
  EXPECT_LT(brief, 200);
  EXPECT_GT(long_ones, 200'000) << "three others hold it for 100 us each";
}

// -- tlb_shootdown ----------------------------------------------------------------------------------------------------

std::unique_ptr<workload> unmapping(kernel& k, unsigned threads = 0) {
  return add(k, "tlb_shootdown", {{"threads", threads}, {"work", exponential(40 * us)}, {"unmap", fixed(cycles{800})}});
}

TEST(tlb_shootdown, every_unit_waits_for_all_other_cpus) {
  for (const unsigned cpus : {1u, 2u, 3u, 5u}) {
    bare_run w{cpus, [](kernel& k) { return unmapping(k); }};
    w.r.run_until(40 * ms);
    EXPECT_GT(w.units(), 700u * cpus);
    // The last rounds of every CPU may be under way.
    EXPECT_NEAR(static_cast<double>(w.spins(code::csd_lock_wait_many).size()),
                static_cast<double>(w.units() * (cpus - 1)), cpus * cpus);
    const std::uint8_t used = cpus == 2 ? vector::call_function_single : vector::call_function;
    const std::size_t sent = w.r.sent(vector::call_function) + w.r.sent(vector::call_function_single);
    EXPECT_LE(sent, (w.units() + cpus) * (cpus - 1));
    if (cpus > 1) EXPECT_GT(w.r.sent(used), sent * 9 / 10);
    std::set<std::uint32_t> pids;
    for (const auto& f : w.r.log.of<work_fact>()) {
      pids.insert(f->pid);
      EXPECT_EQ(f->units, 1u);
    }
    EXPECT_EQ(pids.size(), cpus);
  }
}

TEST(tlb_shootdown, the_other_cpus_compute_in_user_mode_when_the_interrupt_comes) {
  bare_run w{3, [](kernel& k) { return unmapping(k); }};
  w.r.run_until(40 * ms);
  for (unsigned i = 0; i < 3; ++i) {
    const auto part = [&](cpu::bucket b) {
      return static_cast<double>(w.r.hw.cpu(i).account().total(cpu::vmx_operation::root, b).count()) / 40e6;
    };
    EXPECT_GT(part(cpu::bucket::user), 0.7);
    EXPECT_GT(part(cpu::bucket::interrupt), 0.02) << "with the invalidations of two others";
    EXPECT_GT(part(cpu::bucket::spin), 0.01);
    EXPECT_EQ(part(cpu::bucket::spin_futile), 0);
  }
}

TEST(tlb_shootdown, cpus_without_a_thread_are_left_alone) {
  bare_run w{4, [](kernel& k) { return unmapping(k, 2); }};
  w.r.run_until(40 * ms);
  std::set<std::uint32_t> interrupted;
  for (const auto& s : w.r.log.of<cpu::ipi_sent_fact>())
    if (s->vector == vector::call_function_single) interrupted.insert(s->destination);
  EXPECT_EQ(interrupted.size(), 2u);
  EXPECT_EQ(w.r.sent(vector::call_function), 0u);
}

// -- user_spin --------------------------------------------------------------------------------------------------------

workload_maker spinning(const std::string& kind, unsigned threads = 0, cycles hold = 5 * us) {
  return [=](kernel& k) {
    return add(k, "user_spin",
               {{"threads", threads}, {"lock", kind}, {"work", exponential(20 * us)}, {"hold", fixed(hold)}});
  };
}

std::vector<std::string> program_locks() {
  std::vector<std::string> names;
  for (const lock_entry* e : spinlocks())
    if (e->for_programs) names.emplace_back(e->name);
  return names;
}
/// How the facts of a lock show which it is.
std::uint8_t fact_kind_of(const std::string& lock) {
  return lock == "ticket" ? ticket_lock::fact_kind : test_and_set_lock::fact_kind;
}

class every_user_lock : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(user_spin, every_user_lock, ::testing::ValuesIn(program_locks()),
                         [](const auto& row) { return row.param; });

TEST_P(every_user_lock, spins_in_the_program_and_never_enters_the_kernel_for_it) {
  bare_run w{4, spinning(GetParam())};
  w.r.run_until(40 * ms);
  EXPECT_GT(w.units(), 4'000u);
  EXPECT_LT(w.units(), 8'000u) << "one holder at a time, 5 us each";
  std::size_t in_user = 0;
  for (const auto& s : w.r.log.of<cpu::spin_fact>()) in_user += s->rip < user_half;
  EXPECT_GT(in_user, 1'000u);
  ASSERT_FALSE(w.r.log.of<lock_wait_fact>().empty());
  std::size_t of_the_program = 0;
  for (const auto& f : w.r.log.of<lock_wait_fact>())
    if (f->kind == fact_kind_of(GetParam())) {  // run queues have queued locks
      ++of_the_program;
      EXPECT_EQ(f->futile, cycles{0}) << "everybody has a CPU of his own";
    }
  EXPECT_GT(of_the_program, 1'000u);
  for (unsigned i = 0; i < 4; ++i)
    EXPECT_LT(w.r.hw.cpu(i).account().total(cpu::vmx_operation::root, cpu::bucket::kernel), 200 * us) << "booting";
}

struct interval {
  cycles from;
  cycles to;
};
std::vector<interval> absences(const kernel_rig& r, std::uint32_t strand) {
  std::vector<interval> all;
  for (const auto& s : r.log.of<cpu::switch_fact>()) {
    if (s->from == strand) all.push_back({s.at(), cycles::never()});
    if (s->to == strand && !all.empty()) all.back().to = s.at();
  }
  return all;
}

// Worker 0 shares its CPU with a thread that only computes; worker 1 has its own. So worker 1 waits in vain exactly
// while worker 0 is preempted in its critical section, or, with tickets, as next owner.
TEST_P(every_user_lock, a_wait_is_futile_while_the_holder_is_preempted) {
  const std::string& kind = GetParam();
  bare_run w{2, spinning(kind, 0, 200 * us), [](kernel_config& c) { c.hz = 1000; }};
  w.r.hog("hog", {0});
  w.r.run_until(400 * ms);
  const std::uint32_t sharing = w.r.k().threads()[0]->strand.id();
  const std::uint32_t alone = w.r.k().threads()[1]->strand.id();
  const std::vector<interval> away = absences(w.r, sharing);
  unsigned futile = 0;
  for (const auto& f : w.r.log.of<lock_wait_fact>()) {
    if (f->kind != fact_kind_of(kind) || f->waiter != alone) continue;
    cycles expected{0};
    bool at_the_end = false;  // preempted behind its release, while the lock is changing hands
    for (const interval& a : away) {
      at_the_end = at_the_end || (a.from + cycles{400} > f.at() && a.from < f.at());
      const cycles from = max(a.from, f->began);
      const cycles to = min(a.to, f.at());
      if (from < to) expected += to - from;
    }
    if (at_the_end) continue;
    EXPECT_EQ(f->futile, expected) << f.at().count();
    futile += expected > cycles{0};
  }
  EXPECT_GT(futile, 3u);
  EXPECT_TRUE(absences(w.r, alone).empty() || absences(w.r, alone).size() < 3) << "it has its CPU for itself";
}

// On one CPU a waiter must lose it to the holder: a kernel's waiter never would.
TEST_P(every_user_lock, a_waiter_is_preempted_like_any_user_code) {
  bare_run w{1, spinning(GetParam(), 3, 2 * ms), [](kernel_config& c) { c.hz = 1000; }};
  w.r.run_until(400 * ms);
  EXPECT_GT(w.units(), 15u);
  std::set<std::uint32_t> pids;
  for (const auto& f : w.r.log.of<work_fact>()) pids.insert(f->pid);
  if (GetParam() == "ticket") EXPECT_EQ(pids.size(), 3u) << "strict turns; the other lock starves";
  EXPECT_GT(w.r.hw.cpu(0).account().total(cpu::vmx_operation::root, cpu::bucket::spin_futile), 50 * ms);
}

// -- in a virtual machine ---------------------------------------------------------------------------------------------

/// Two vCPUs of one VM on each CPU of the host, and a workload in the guest.
struct guest_run {
  guest_run(const workload_maker& make, bool stepped = false)
      : r{{.cpus = 2, .stepped = stepped}, {{.vcpus = 4, .on = {{0}, {0}, {1}, {1}}}}} {
    load = make(r.guest());
  }
  ~guest_run() {
    r.guest().abandon_threads();
    r.host().abandon_threads();
  }
  std::size_t count(vmx::exit_reason why) const {
    std::size_t n = 0;
    for (unsigned v = 0; v < 4; ++v) n += r.exits(why, v).size();
    return n;
  }
  cycles booked(cpu::bucket b) {
    cycles sum{0};
    for (unsigned i = 0; i < 2; ++i) sum += r.hw.cpu(i).account().total(cpu::vmx_operation::non_root, b);
    return sum;
  }

  kvm_rig r;
  std::unique_ptr<workload> load;
};

TEST(tlb_shootdown, changes_page_tables_before_it_flushes) {
  const auto units = [](cycles unmap) {
    bare_run w{1, [&](kernel& k) {
                 return add(k, "tlb_shootdown", {{"work", fixed(10 * us)}, {"unmap", fixed(unmap)}});
               }};
    w.r.run_until(20 * ms);
    return w.units();
  };
  const std::size_t quick = units(cycles{0}), slow = units(10 * us);
  EXPECT_GT(slow, 500u);
  EXPECT_LT(3 * slow, 2 * quick) << "a unit takes twice as long";
}

// The loop that waits for the others runs at CPL 0: it exits. Most of it is in vain, since half of the vCPUs are always
// off their CPU.
TEST(tlb_shootdown, in_an_overcommitted_guest_spins_in_vain_and_exits) {
  guest_run g{[](kernel& k) { return unmapping(k); }};
  g.r.run_until(200 * ms);
  EXPECT_GT(g.r.log.of<work_fact>().size(), 50u);
  EXPECT_GT(g.booked(cpu::bucket::spin_futile), g.booked(cpu::bucket::spin));
  std::size_t there = 0;
  for (unsigned v = 0; v < 4; ++v)
    for (const auto& x : g.r.exits(vmx::exit_reason::pause, v)) there += x->rip == code::csd_lock_wait_many.rip();
  EXPECT_GT(there, 50u);
}

// The program's loop runs at CPL 3: PAUSE-loop exiting does not see it, in vain or not.
TEST(user_spin, in_an_overcommitted_guest_spins_in_vain_and_does_not_exit) {
  guest_run g{spinning("ticket", 0, 20 * us)};
  g.r.run_until(200 * ms);
  EXPECT_GT(g.r.log.of<work_fact>().size(), 50u);
  EXPECT_GT(g.booked(cpu::bucket::spin_futile), 20 * ms);
  for (unsigned v = 0; v < 4; ++v)
    for (const auto& x : g.r.exits(vmx::exit_reason::pause, v)) EXPECT_GT(x->rip, user_half);
}

// -- ipi, timer -------------------------------------------------------------------------------------------------------

std::unique_ptr<workload> sending(kernel& k, const char* how, unsigned targets, bool halted = false) {
  return add(k, "ipi", {{"send", how}, {"targets", targets}, {"work", exponential(20 * us)}, {"halted", halted}});
}
std::unique_ptr<workload> arming(kernel& k, bool halted) {
  return add(k, "timer", {{"ahead", lasting(cycles{5'000})}, {"work", exponential(4 * us)}, {"halted", halted}});
}

// A loop of a program that takes no time would never end.
TEST(workload, what_would_take_no_time_is_refused) {
  const auto make = [](const char* name, const settings& options) {
    bare_run w{2, [&](kernel& k) { return add(k, name, options); }};
  };
  const auto ipi = [&](const distribution& work) { make("ipi", {{"work", work}}); };
  const duration none = lasting(cycles{0}), one = lasting(cycles{1});
  EXPECT_THROW(ipi(distribution::fixed(none)), std::invalid_argument);
  EXPECT_NO_THROW(ipi(distribution::fixed(one)));
  EXPECT_THROW(ipi(distribution::uniform(none, none)), std::invalid_argument);
  EXPECT_NO_THROW(ipi(distribution::uniform(none, one)));
  distribution random = distribution::exponential(none);
  EXPECT_THROW(ipi(random), std::invalid_argument);
  random.min = one;
  EXPECT_NO_THROW(ipi(random));
  random = distribution::exponential(one);
  random.max = none;
  EXPECT_THROW(ipi(random), std::invalid_argument);
  // Less than a cycle of this machine, in real time.
  EXPECT_THROW(make("timer", {{"ahead", duration::from_picoseconds(999)}}), std::invalid_argument);
  EXPECT_NO_THROW(make("timer", {{"ahead", duration::ns(1)}}));
}

TEST(ipi, every_round_reaches_each_target_once_in_order) {
  for (const std::string how : {"interrupt", "shorthand", "call"}) {
    for (const unsigned targets : {1u, 2u, 3u}) {
      for (const bool halted : {false, true}) {
        bare_run w{4, [&](kernel& k) { return sending(k, how.c_str(), targets, halted); }};
        w.r.run_until(5 * ms);
        const unsigned reached = how == "shorthand" ? 3 : targets;
        std::map<std::uint64_t, std::map<std::pair<ipi_step, unsigned>, unsigned>> rounds;
        std::map<std::uint64_t, std::pair<cycles, cycles>> issued;  // and the last handled
        for (const auto& f : w.r.log.of<ipi_bench_fact>()) {
          ++rounds[f->round][{f->step, f->cpu}];
          EXPECT_EQ(f->on, f->cpu) << "on bare metal";
          if (f->step == ipi_step::issued) issued[f->round].first = f.at();
          if (f->step == ipi_step::handled) issued[f->round].second = f.at();
        }
        ASSERT_GT(rounds.size(), 50u);
        rounds.erase(std::prev(rounds.end()));  // not over yet
        for (auto& [round, counts] : rounds) {
          EXPECT_EQ((counts[{ipi_step::issued, 0}]), 1u) << round;
          EXPECT_EQ((counts[{ipi_step::left, 0}]), 1u) << round;
          EXPECT_EQ((counts[{ipi_step::answered, 0}]), how == "call" ? 1u : 0u) << round;
          for (unsigned t = 1; t < 4; ++t) {
            EXPECT_EQ((counts[{ipi_step::entered, t}]), t <= reached ? 1u : 0u) << round << ' ' << t;
            EXPECT_EQ((counts[{ipi_step::handled, t}]), t <= reached ? 1u : 0u) << round << ' ' << t;
          }
          if (issued.count(round + 1) != 0) EXPECT_GT(issued[round + 1].first, issued[round].second) << round;
        }
      }
    }
  }
  EXPECT_THROW(bare_run(1, [](kernel& k) { return sending(k, "call", 1); }), std::invalid_argument);
}

TEST(timer, a_tick_of_the_kernel_is_not_its_timer) {
  bare_run w{1, [](kernel& k) {
               return add(k, "timer", {{"ahead", lasting(10 * ms)}, {"work", fixed(4 * us)}, {"halted", false}});
             }};
  w.r.run_until(60 * ms);
  unsigned entered = 0;
  for (const auto& f : w.r.log.of<timer_bench_fact>()) {
    if (f->step != timer_step::entered) continue;
    ++entered;
    EXPECT_GE(f.at(), f->due);
  }
  EXPECT_EQ(entered, w.units());
}

TEST(timer, never_fires_early_and_fires_once_a_round) {
  for (const bool halted : {false, true}) {
    bare_run w{2, [&](kernel& k) { return arming(k, halted); }};
    w.r.run_until(5 * ms);
    std::map<std::uint64_t, std::map<timer_step, unsigned>> rounds;
    for (const auto& f : w.r.log.of<timer_bench_fact>()) {
      ++rounds[f->round][f->step];
      if (f->step == timer_step::entered || f->step == timer_step::expired) EXPECT_GE(f.at(), f->due);
      if (f->step == timer_step::arming) EXPECT_EQ(f.at() + cycles{5'000}, f->due);
    }
    ASSERT_GT(rounds.size(), 100u);
    rounds.erase(std::prev(rounds.end()));
    for (auto& [round, counts] : rounds)
      for (const timer_step s : {timer_step::arming, timer_step::armed, timer_step::entered, timer_step::expired})
        EXPECT_EQ(counts[s], 1u) << round;
  }
}

// -- fast and stepped -------------------------------------------------------------------------------------------------

struct named_workload {
  const char* name;
  workload_maker make;
};
const named_workload all_workloads[] = {
    {"tlb_shootdown", [](kernel& k) { return unmapping(k); }},
    {"tlb_shootdown_by_more_threads_than_cpus", [](kernel& k) { return unmapping(k, 7); }},
    {"user_test_and_set", spinning("test_and_set")},
    {"user_ticket", spinning("ticket")},
    {"user_ticket_of_more_threads_than_cpus", spinning("ticket", 7)},
    {"ipi", [](kernel& k) { return sending(k, "interrupt", 2); }},
    {"ipi_by_shorthand_to_halted_cpus", [](kernel& k) { return sending(k, "shorthand", 0, true); }},
    {"ipi_by_call", [](kernel& k) { return sending(k, "call", 2); }},
    {"timer", [](kernel& k) { return arming(k, false); }},
    {"timer_while_halted", [](kernel& k) { return arming(k, true); }},
};
class every_workload : public ::testing::TestWithParam<named_workload> {};
INSTANTIATE_TEST_SUITE_P(workload, every_workload, ::testing::ValuesIn(all_workloads),
                         [](const auto& row) { return std::string{row.param.name}; });

TEST_P(every_workload, states_the_same_facts_fast_and_stepped_on_a_bare_machine) {
  const auto run = [](bool stepped) {
    bare_run w{3, GetParam().make, {}, stepped};
    for (cycles to = ms; to < 30 * ms; to += cycles{777'777}) {
      w.r.run_until(to);
      w.r.hw.materialise();
    }
    return std::pair{w.r.hash.value(), w.r.hash.count()};
  };
  const auto fast = run(false);
  EXPECT_GT(fast.second, 2'000u);
  EXPECT_EQ(run(true), fast);
}

TEST_P(every_workload, states_the_same_facts_fast_and_stepped_in_a_guest) {
  const auto run = [](bool stepped) {
    guest_run g{GetParam().make, stepped};
    for (cycles to = 10 * ms; to < 60 * ms; to += cycles{1'777'777}) {
      g.r.run_until(to);
      g.r.hw.materialise();
    }
    return std::pair{g.r.hash.value(), g.r.hash.count()};
  };
  const auto fast = run(false);
  EXPECT_GT(fast.second, 2'000u);
  EXPECT_EQ(run(true), fast);
}

}  // namespace
}  // namespace vmxsys::models::testing
