#include <array>
#include <memory>
#include <stdexcept>

#include <vmxsys/models/kernel/code.hpp>
#include <vmxsys/models/kernel/kernel_facts.hpp>

#include "bench_facts.hpp"
#include "catalogue.hpp"
#include "random_stream.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

struct timer_options {
  duration ahead = duration::us(10);
  distribution work = distribution::exponential(duration::us(10));
  bool halted = false;
};
constexpr std::array rows{row<&timer_options::ahead>("ahead", duration::from_picoseconds(1), duration::s(10),
                                                     "how far ahead of the present a timer is armed")
                              .at_least_one_cycle(),
                          row<&timer_options::work>("work", "computing between two rounds").at_least_one_cycle(),
                          row<&timer_options::halted>("halted", "the CPU idles while it waits; otherwise it computes")};

constexpr auto bench_text = code::kernel_text("timer_bench", 0x23000, cpu::bucket::kernel);

/// A kernel thread on CPU 0 arms a timer of its kernel, waits for it, computing or asleep, and records each step
/// (`timer_bench_fact`).
class timer_bench final : public workload {
 public:
  timer_bench(kernel& on, const timer_options& o, const workload_environment& e)
      : on_{on},
        ahead_{o.ahead.to_cycles(e.tsc_khz)},
        work_{duration_distribution::of(o.work, e.tsc_khz)},
        halted_{o.halted},
        random_{e.seed, on.config().name + "/timer"} {
    if (ahead_ == cycles{0}) throw std::invalid_argument("the workload timer needs a deadline ahead");
    on.on_interrupt = [this](const cpu::logical_cpu& c, unsigned cpu, std::uint8_t vec) { entered(c, cpu, vec); };
    self_ = &on.add_thread("timer/0", [this](thread& self) { return run(self); }, bench_text, {0});
  }

 private:
  class event final : public timer_event {
   public:
    explicit event(timer_bench& of) : of_{of} {}
    cpu::program expire() override {
      of_.record(co_await isa::this_cpu(), timer_step::expired);
      of_.waiting_ = false;
      if (of_.halted_) co_await of_.on_.wake_up(*of_.self_);
    }

   private:
    timer_bench& of_;
  };

  cpu::program run(thread& self) {
    for (;;) {
      co_await isa::compute(work_.draw(random_));
      ++round_;
      waiting_ = true;
      co_await isa::cli();
      const cpu::logical_cpu& here = co_await isa::this_cpu();
      due_ = on_.hardware().time().now() + ahead_;
      record(here, timer_step::arming);
      co_await on_.arm(event_, due_);
      record(here, timer_step::armed);
      if (halted_) {
        while (waiting_) {
          on_.prepare_to_sleep(self);
          co_await on_.schedule();
        }
      }
      co_await isa::sti();
      while (waiting_) co_await isa::compute(ahead_);
      on_.record(0, work_fact{on_.id(), 0, self.pid, 1});
    }
  }

  void entered(const cpu::logical_cpu& here, unsigned cpu, std::uint8_t vec) {
    if (cpu == 0 && vec == vector::local_timer && waiting_ && here.now() >= due_) record(here, timer_step::entered);
  }
  void record(const cpu::logical_cpu& here, timer_step step) {
    on_.record(0, timer_bench_fact{on_.id(), 0, static_cast<std::uint16_t>(here.number()), step, round_, due_},
               here.last_cause());
  }

  kernel& on_;
  cycles ahead_;
  duration_distribution work_;
  bool halted_;
  random_stream random_;
  event event_{*this};
  thread* self_ = nullptr;
  cycles due_{0};
  std::uint64_t round_ = 0;
  bool waiting_ = false;
};

}  // namespace

extern const workload_entry timer_entry = entry_with<workload_entry, timer_options, rows>(
    "timer", "a microbenchmark: CPU 0 arms a timer and waits for it, round after round",
    [](const void* given, kernel& on, const workload_environment& e) -> std::unique_ptr<workload> {
      return std::make_unique<timer_bench>(on, options_as<timer_options>(given), e);
    },
    nullptr);

}  // namespace vmxsys::models
