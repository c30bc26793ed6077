#include <string>

#include <vmxsys/models/kvm/timers/timer_backend.hpp>

#include "kvm_rig.hpp"

// Virtual local APIC timers: where each backend makes the guest exit, that it is never early, and how late it is.
namespace vmxsys::models::testing {
namespace {

using reason = vmx::exit_reason;

struct variant {
  std::string backend;
  std::string path = "injected";
  bool fast_paths = false;
  selection<timer_advance_entry> advance = timer_advances().select();
  std::string apic = "x2apic_physical";  ///< of the guest
};

std::string name_of(const variant& v) {
  return v.backend + ", " + v.path + ", " + v.apic + (v.fast_paths ? ", fast paths" : "");
}

std::vector<variant> all_variants() {
  return {{"preemption_timer"},
          {"hrtimer"},
          {"preemption_timer", "posted"},
          {"preemption_timer", "posted", true},
          {"hrtimer", "posted"},
          {"posted", "posted"},
          {"posted", "ipi_virtualized", true},
          {"apic_timer_virtualization", "posted"},
          {"apic_timer_virtualization", "ipi_virtualized"}};
}

selection<timer_advance_entry> fixed_at(std::uint32_t ns) {
  return timer_advances().select("fixed", {{"lead", duration::ns(ns)}});
}
const selection<timer_advance_entry> adaptive = timer_advances().select("adaptive");

kvm_setup setup_of(const variant& v, unsigned cpus, bool stepped = false) {
  kvm_setup s;
  s.cpus = cpus;
  s.stepped = stepped;
  s.change_hardware = [](cpu::machine_config& c) { c.capabilities = vmx::find_capability_row("apic_timer")->values; };
  s.change_kvm = [v, cpus](kvm_config& k) {
    const settings fast{{"exit_fast_paths", true}}, housekeeping{{"housekeeping_cpu", cpus - 1}};
    k.interrupt_path = interrupt_paths().select(v.path, v.fast_paths ? fast : settings{});
    k.timer_backend = timer_backends().select(v.backend, v.backend == "posted" ? housekeeping : settings{});
    k.timer_advance = v.advance;
  };
  return s;
}

class guest_timer final : public timer_event {
 public:
  explicit guest_timer(std::function<cpu::program()> then) : then_{std::move(then)} {}
  cpu::program expire() override { co_await then_(); }

 private:
  std::function<cpu::program()> then_;
};

/// One vCPU whose guest arms a timer again and again, and computes or halts until it expires.
struct armed {
  armed(const variant& v, bool halts, unsigned how_many = 60, bool stepped = false, unsigned cpus = 2)
      : r{setup_of(v, cpus, stepped), {{.vcpus = 1, .on = {{0}}, .hz = 10, .change_guest = [v](kernel_config& k) {
                                          k.apic = apic_drivers().select(v.apic);
                                        }}}} {
    waiter = &r.add("waiter", {0}, [this, halts, how_many](thread& self) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
      co_await until(20 * ms);
      from = r.now();
      for (unsigned i = 0; i < how_many; ++i) {
        co_await isa::cli();
        due.push_back(r.now() + 200 * us + cycles{std::uint64_t{i} * 1'237});
        co_await r.guest().arm(timer, due.back());
        if (halts) {
          while (fired.size() <= i) {
            r.guest().prepare_to_sleep(self);
            co_await r.guest().schedule();
          }
        }
        co_await isa::sti();
        while (fired.size() <= i) co_await isa::compute(10 * us);
      }
      to = r.now();
      co_await compute_for_ever();
    });
    r.run_until(60 * ms);
    EXPECT_EQ(fired.size(), how_many);
  }
  ~armed() {
    r.guest().abandon_threads();
    r.host().abandon_threads();
  }
  cycles latest() const {
    cycles most{0};
    for (std::size_t i = 0; i < fired.size(); ++i) most = max(most, fired[i] - due[i]);
    return most;
  }
  std::map<reason, unsigned> exits_per_timer() const {
    std::map<reason, unsigned> found, rounded;
    for (const auto& x : r.exits(std::nullopt, 0, 0, {from, to})) ++found[x->reason];
    const auto n = static_cast<unsigned>(fired.size());
    for (const auto& [why, count] : found)
      if ((count + n / 5) / n != 0) rounded[why] = (count + n / 5) / n;
    return rounded;
  }

  guest_timer timer{[this]() -> cpu::program {
    fired.push_back(r.now());
    if (waiter->state == thread_state::sleeping) co_await r.guest().wake_up(*waiter);
  }};
  thread* waiter = nullptr;
  std::vector<cycles> due, fired;
  cycles from{0}, to{0};
  kvm_rig r;
};

void never_early(const armed& a) {
  for (std::size_t i = 0; i < a.fired.size(); ++i) EXPECT_GE(a.fired[i], a.due[i]) << i;
}

TEST(timer_backend, arms_and_fires_with_the_exits_it_needs) {
  using exits = std::map<reason, unsigned>;
  // The guest writes its deadline twice for each timer: to arm it, and in the handler, for the next one.
  const std::vector<std::pair<variant, exits>> table{
      {{"preemption_timer"}, {{reason::preemption_timer, 1}, {reason::wrmsr, 3}}},
      {{"hrtimer"}, {{reason::external_interrupt, 1}, {reason::wrmsr, 3}}},
      {{"preemption_timer", "posted"}, {{reason::preemption_timer, 1}, {reason::wrmsr, 2}}},
      {{"preemption_timer", "posted", true}, {{reason::preemption_timer, 1}, {reason::wrmsr, 2}}},
      {{"hrtimer", "posted"}, {{reason::external_interrupt, 1}, {reason::wrmsr, 2}}},
      {{"posted", "posted"}, {{reason::wrmsr, 2}}},
      {{"posted", "ipi_virtualized", true}, {{reason::wrmsr, 2}}},
      {{"apic_timer_virtualization", "posted"}, {}},
      {{"apic_timer_virtualization", "ipi_virtualized"}, {}},
  };
  for (const auto& [v, expected] : table) {
    SCOPED_TRACE(name_of(v));
    armed a{v, false};
    EXPECT_EQ(a.exits_per_timer(), expected);
    never_early(a);
    EXPECT_LT(a.latest(), 10 * us);
  }
}

// start_hv_timer, apic_timer_expired: what is due already needs no timer where interrupts are posted.
TEST(timer_backend, a_deadline_in_the_past_is_posted_at_once) {
  for (const variant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    kvm_rig r{setup_of(v, 2), {{.vcpus = 1, .on = {{0}}, .hz = 10}}};
    unsigned fired = 0;
    guest_timer timer{[&]() -> cpu::program {
      ++fired;
      co_return;
    }};
    cycles from{0}, to{0};
    r.add("waiter", {0}, [&](thread&) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
      co_await until(20 * ms);
      from = r.now();
      for (unsigned i = 0; i < 20; ++i) {
        co_await isa::cli();
        co_await r.guest().arm(timer, r.now());
        co_await isa::sti();
        while (fired <= i) co_await isa::compute(us);
      }
      to = r.now();
      co_await compute_for_ever();
    });
    r.run_until(25 * ms);
    EXPECT_EQ(fired, 20u);
    EXPECT_EQ(r.exits(reason::external_interrupt, 0, 0, {from, to}).size(), 0u);
    EXPECT_EQ(r.exits(reason::preemption_timer, 0, 0, {from, to}).size(),
              v.path == "injected" && v.backend == "preemption_timer" ? 20u : 0u);
  }
}

TEST(timer_backend, wakes_a_halted_vcpu_at_its_time) {
  for (const variant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    armed a{v, true};
    never_early(a);
    EXPECT_LT(a.latest(), 40 * us);
    EXPECT_GE(a.r.facts<vcpu_block_fact>().size(), 60u);
  }
}

// The LVT entry that names the vector is in the register page then, and no MSR.
TEST(timer_backend, serves_guests_in_xapic_mode_in_each_way) {
  for (variant v : all_variants()) {
    v.apic = "xapic";
    for (const auto& advance : {timer_advances().select(), fixed_at(5000), adaptive})
      for (const bool halts : {false, true}) {
        v.advance = advance;
        SCOPED_TRACE(name_of(v) + (halts ? ", halts, " : ", computes, ") + advance.name());
        const armed a{v, halts};
        never_early(a);
        EXPECT_LT(a.latest(), halts ? 50 * us : 15 * us);
        const auto waits = a.r.facts<wait_lapic_expire_fact>({a.from, a.to});
        const bool advanced =
            advance.make(std::uint64_t{2'000'000}) != nullptr && v.backend != "apic_timer_virtualization";
        if (!halts && advanced) EXPECT_GE(waits.size(), 60u);
      }
  }
}

TEST(timer_backend, ticks_of_vcpus_that_wander_and_share_cpus_go_on) {
  for (const variant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    kvm_rig r{setup_of(v, 2), {{.vcpus = 2, .hz = 1000}, {.vcpus = 2, .hz = 1000}}};
    for (unsigned vm : {0u, 1u})
      for (unsigned i : {0u, 1u}) r.hog(i, user_text, vm);
    r.run_until(200 * ms);
    EXPECT_GT(r.entries(), 100u);
    unsigned timers = 0;
    for (const auto& i : r.facts<inject_fact>()) timers += i->vector == vector::local_timer;
    for (const auto& i : r.facts<cpu::virtual_interrupt_fact>()) timers += i->vector == vector::local_timer;
    EXPECT_GT(timers, 200u) << "four vCPUs on two CPUs for 200 ms, a tick each millisecond that they run";
  }
}

/// A vCPU is pulled from CPU 0 by CPU 1, which has become idle; its timer is due at `due`, somewhere in the move.
struct moved_vcpu {
  static constexpr cycles start = 21 * ms;
  moved_vcpu(const variant& v, cycles due) : r{setup_of(v, 2), {{.vcpus = 1, .hz = 10}}} {
    r.add("waiter", {0}, [this, due](thread&) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
      co_await until(start - 200 * us);
      co_await isa::cli();
      co_await r.guest().arm(timer, due);
      co_await isa::sti();
      co_await compute_for_ever();
    });
    busy = &r.add_to_host("busy", {0}, [this](thread& self) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
      co_await isa::cli();
      co_await r.host().arm(wake, start);
      r.host().prepare_to_sleep(self);
      co_await r.host().schedule();
      co_await isa::sti();
      co_await compute_for_ever();
    });
    r.add_to_host("until then", {1}, [this](thread& self) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
      co_await until(start + ms);  // the vCPU is not cache-hot any more: an idle CPU pulls it
      co_await isa::cli();
      r.host().prepare_to_sleep(self);
      co_await r.host().schedule();
    });
    r.run_until(start + 2 * ms);
    for (const auto& e : r.facts<kvm_entry_fact>({start, start + 2 * ms}))
      if (e->cpu == 1) moved = min(moved, e.at());
  }
  ~moved_vcpu() {
    r.guest().abandon_threads();
    r.host().abandon_threads();
  }
  cycles fired{0}, moved = cycles::never();
  thread* busy = nullptr;
  guest_timer timer{[this]() -> cpu::program {
    fired = r.now();
    co_return;
  }};
  guest_timer wake{[this]() -> cpu::program { co_await r.host().wake_up(*busy); }};
  kvm_rig r;
};

// KVM_REQ_MIGRATE_TIMER
TEST(timer_backend, a_timer_of_the_host_that_is_due_while_its_vcpu_moves_is_not_late) {
  for (const variant& v : {variant{"hrtimer"}, variant{"hrtimer", "posted"}}) {
    SCOPED_TRACE(name_of(v));
    const moved_vcpu quiet{v, moved_vcpu::start + 3 * ms};
    ASSERT_LT(quiet.moved, moved_vcpu::start + 2 * ms);
    for (cycles due = quiet.moved - 6 * us; due < quiet.moved + us; due = due + cycles{60}) {
      const moved_vcpu m{v, due};
      EXPECT_GE(m.fired, due);
      EXPECT_LT(m.fired, due + 20 * us) << "due " << (quiet.moved - due).count() << " before the entry";
    }
  }
}

/// Notes what its vCPU is doing whenever its timer's vector is posted by software.
class posting_watcher final : public cpu::fact_observer {
 public:
  explicit posting_watcher(kvm_rig& r) : r_{r} {}
  void observe(const cpu::fact_view& view) override {
    const auto* post = view.as<post_fact>();
    if (post == nullptr || post->vector != vector::local_timer) return;
    ++posts;
    while_preempted += r_.vcpu(post->vcpu).preempted();
  }
  unsigned posts = 0, while_preempted = 0;

 private:
  kvm_rig& r_;
};

// apic_timer_expired: the handler only notes the expiry; the vCPU's own entry takes it.
TEST(timer_backend, a_timer_that_expires_while_its_vcpu_waits_for_a_cpu_is_taken_by_its_next_entry) {
  for (const variant& v : {variant{"hrtimer", "posted"}, variant{"posted", "posted"}}) {
    SCOPED_TRACE(name_of(v));
    kvm_rig r{setup_of(v, 2), {{.vcpus = 1, .on = {{0}}, .hz = 1000}}};
    posting_watcher watcher{r};
    r.hw.facts().attach(watcher);
    r.hog(0);
    r.add_to_host("rival", {0}, [](thread&) { return compute_for_ever(); });
    r.run_until(200 * ms);
    EXPECT_GT(watcher.posts, 50u);
    EXPECT_EQ(watcher.while_preempted, 0u);
  }
}

// kvm_vcpu_check_block, vcpu_block: the sleep ends and the halt does not.
TEST(timer_backend, a_timer_whose_interrupt_cannot_be_taken_does_not_end_a_halt) {
  for (variant v : all_variants())
    for (const char* driver : {"x2apic_physical", "xapic"})
      for (const bool masks : {false, true}) {  // by RFLAGS.IF, or by the TPR
        v.apic = driver;
        SCOPED_TRACE(name_of(v) + (masks ? ", TPR" : ", IF"));
        kvm_rig r{setup_of(v, 2), {{.vcpus = 1, .on = {{0}}, .hz = 10, .change_guest = [v](kernel_config& k) {
                                      k.apic = apic_drivers().select(v.apic);
                                    }}}};
        bool went_on = false;
        guest_timer timer{[]() -> cpu::program { co_return; }};
        r.add("halts", {0}, [&](thread&) -> cpu::program {
          auto here = co_await isa::in(kernel_text);
          co_await until(20 * ms);
          co_await isa::cli();
          co_await r.guest().arm(timer, r.now() + 100 * us);
          if (masks) {
            co_await r.guest().apic().write(0x808, 0xF0);
            co_await isa::sti();
          }
          co_await isa::hlt();
          went_on = true;
          co_await compute_for_ever();
        });
        r.run_until(40 * ms);
        EXPECT_FALSE(went_on);
        EXPECT_TRUE(r.vcpu(0).blocking());
      }
}

TEST(timer_backend, stepped_and_fast_runs_state_the_same_facts) {
  for (const variant& v : all_variants()) {
    SCOPED_TRACE(name_of(v));
    const armed fast{v, true, 20};
    const armed stepped{v, true, 20, true};
    EXPECT_EQ(fast.r.hash.value(), stepped.r.hash.value());
  }
}

// -- advance ----------------------------------------------------------------------------------------------------------

TEST(timer_backend, an_advance_takes_the_way_into_the_guest_out_of_the_latency) {
  for (const variant& v : {variant{"preemption_timer"}, variant{"hrtimer"}, variant{"preemption_timer", "posted"},
                           variant{"hrtimer", "posted"}}) {
    SCOPED_TRACE(name_of(v));
    const armed as_it_is{v, false};
    variant advanced = v;
    advanced.advance = fixed_at(5000);
    const armed early{advanced, false};
    never_early(early);
    EXPECT_LT(early.latest(), as_it_is.latest());
    const auto waits = early.r.facts<wait_lapic_expire_fact>({early.from, early.to});
    EXPECT_GE(waits.size(), 60u);
    for (const auto& w : waits) EXPECT_LT(w->delta, 0) << "5 us are more than the way";
  }
}

// apic_timer_expired: there is no entry that could wait, so whoever posts does, on its own CPU.
TEST(timer_backend, an_advanced_timer_that_posts_waits_before_it_posts) {
  variant v{"posted", "posted"};
  const armed as_it_is{v, false};
  v.advance = fixed_at(10'000);  // more than an idle CPU takes to wake up and post
  armed early{v, false};
  never_early(early);
  EXPECT_LT(early.latest(), as_it_is.latest());
  EXPECT_EQ(early.exits_per_timer(), (std::map<reason, unsigned>{{reason::wrmsr, 2}}));
  const auto waits = early.r.facts<wait_lapic_expire_fact>({early.from, early.to});
  EXPECT_GE(waits.size(), 60u);
  for (const auto& w : waits) EXPECT_LT(w->delta, 0);
}

TEST(timer_backend, an_adaptive_advance_settles_where_the_entry_is_in_time) {
  variant v{"preemption_timer"};
  v.advance = adaptive;
  armed a{v, false};
  never_early(a);
  const auto waits = a.r.facts<wait_lapic_expire_fact>({a.from, a.to});
  ASSERT_GE(waits.size(), 60u);
  const auto late = [](std::int64_t delta) { return delta < 0 ? -delta : delta; };
  EXPECT_LT(late(waits.back()->delta), 150);
  EXPECT_NE(a.r.vcpu(0).timer().advance_ns(), 1000u) << "it has been adjusted";
}

TEST(timer_backend, says_what_it_needs) {
  const auto refusal = [](const variant& v, const char* row) -> std::string {
    kvm_setup s = setup_of(v, 2);
    s.change_hardware = [row](cpu::machine_config& c) { c.capabilities = vmx::find_capability_row(row)->values; };
    try {
      kvm_rig r{s, {{.vcpus = 1}}};
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(refusal({"hrtimer"}, "core2"), "");
  EXPECT_NE(refusal({"preemption_timer"}, "core2").find("activate VMX-preemption timer"), std::string::npos);
  EXPECT_NE(refusal({"posted"}, "cascade_lake_sp").find("a path that posts"), 0u);
  EXPECT_NE(refusal({"posted"}, "cascade_lake_sp"), "");
  EXPECT_EQ(refusal({"posted", "posted"}, "cascade_lake_sp"), "");
  EXPECT_NE(refusal({"apic_timer_virtualization", "posted"}, "sapphire_rapids").find("APIC-timer virtualization"),
            std::string::npos);
  EXPECT_NE(refusal({"hourglass"}, "cascade_lake_sp").find("hourglass"), std::string::npos);
}

}  // namespace
}  // namespace vmxsys::models::testing
