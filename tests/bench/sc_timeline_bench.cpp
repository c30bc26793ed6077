#include <systemc>

#include <vmxsys/cpu/time/timeline.hpp>

#include "ratio.hpp"

// 256 timers that re-arm themselves with random delays and do nothing else: the machine's timeline against the kernel's
// own timed events.
namespace vmxsys::bench {
namespace {

constexpr unsigned timers = 256;
constexpr std::uint64_t longest_delay = 1024;

/// xorshift64*: cheap enough not to be what is measured.
struct delays {
  std::uint64_t state = 0x9e3779b97f4a7c15;
  std::uint64_t next() {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return 1 + (state * 0x2545f4914f6cdd1d >> 40) % longest_delay;
  }
};

struct timeline_timers {
  struct timer {
    timeline_timers* all;
    cpu::slot which;
  };
  timeline_timers() {
    own.resize(timers);
    for (timer& t : own) t = {this, line.add_slot(&t, fire)};
    for (timer& t : own) line.arm(t.which, cycles{random.next()}, cpu::phase::timer);
  }
  static void fire(void* self, cycles now) {
    timer& t = *static_cast<timer*>(self);
    t.all->line.arm(t.which, now + cycles{t.all->random.next()}, cpu::phase::timer);
  }
  cpu::timeline line;
  delays random;
  std::vector<timer> own;
};

struct kernel_timer : sc_core::sc_module {
  kernel_timer(const sc_core::sc_module_name& name, delays& shared, std::uint64_t& count)
      : sc_module{name}, random{shared}, fired{count} {
#if IEEE_1666_SYSTEMC < 202301L
    typedef kernel_timer SC_CURRENT_USER_MODULE;
#endif
    SC_METHOD(fire);
  }
  void fire() {
    ++fired;
    next_trigger(sc_core::sc_time::from_value(random.next()));
  }
  delays& random;
  std::uint64_t& fired;
};

void timers_on_the_timeline_against_next_trigger(benchmark::State& state) {
  for (auto _ : state) {
    delays random;
    std::uint64_t fired = 0;
    std::vector<std::unique_ptr<kernel_timer>> modules;
    for (unsigned i = 0; i < timers; ++i)
      modules.push_back(std::make_unique<kernel_timer>(("timer_" + std::to_string(i)).c_str(), random, fired));
    sc_core::sc_start(sc_core::sc_time::from_value(longest_delay));
    timeline_timers own;
    std::uint64_t end = 0;
    const double ratio = median_ratio(
        9,
        [&] {
          const std::uint64_t before = fired;
          const double time = seconds([] { sc_core::sc_start(sc_core::sc_time::from_value(1'000'000)); });
          return time / static_cast<double>(fired - before);
        },
        [&] {
          const std::uint64_t before = own.line.events();
          end += 1'000'000;
          const double time = seconds([&] { own.line.run_until(cycles{end}); });
          const double per_event = time / static_cast<double>(own.line.events() - before);
          state.counters["ns_per_event"] = per_event * 1e9;
          return per_event;
        });
    at_least(state, ratio, 3);
  }
}
BENCHMARK(timers_on_the_timeline_against_next_trigger)->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace vmxsys::bench
