#include <stdexcept>

#include <vmxsys/models/kernel/code.hpp>
#include <vmxsys/models/kernel/kernel_facts.hpp>

#include "bench_facts.hpp"
#include "workload.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

constexpr auto bench_text = code::kernel_text("timer_bench", 0x23000, cpu::bucket::kernel);

class timer_bench final : public workload {
 public:
  timer_bench(kernel& on, const timer_parameters& parameters, std::uint64_t seed)
      : on_{on}, parameters_{parameters}, random_{seed, on.config().name + "/timer"} {
    if (parameters.ahead == cycles{0}) throw std::invalid_argument("the workload timer needs a deadline ahead");
    on.on_interrupt = [this](const cpu::logical_cpu& c, unsigned cpu, std::uint8_t vec) { entered(c, cpu, vec); };
    self_ = &on.add_thread("timer/0", [this](thread& self) { return run(self); }, bench_text, {0});
  }
  const char* name() const noexcept override { return "timer"; }

 private:
  class event final : public timer_event {
   public:
    explicit event(timer_bench& of) : of_{of} {}
    cpu::program expire() override {
      of_.state(co_await isa::this_cpu(), timer_step::expired);
      of_.waiting_ = false;
      if (of_.parameters_.halted) co_await of_.on_.wake_up(*of_.self_);
    }

   private:
    timer_bench& of_;
  };

  cpu::program run(thread& self) {
    for (;;) {
      co_await isa::compute(parameters_.work.draw(random_));
      ++round_;
      waiting_ = true;
      co_await isa::cli();
      const cpu::logical_cpu& here = co_await isa::this_cpu();
      due_ = on_.hardware().time().now() + parameters_.ahead;
      state(here, timer_step::arming);
      co_await on_.arm(event_, due_);
      state(here, timer_step::armed);
      if (parameters_.halted) {
        while (waiting_) {
          on_.prepare_to_sleep(self);
          co_await on_.schedule();
        }
      }
      co_await isa::sti();
      while (waiting_) co_await isa::compute(parameters_.ahead);
      on_.state(0, work_fact{on_.id(), 0, self.pid, 1});
    }
  }

  void entered(const cpu::logical_cpu& here, unsigned cpu, std::uint8_t vec) {
    if (cpu == 0 && vec == vector::local_timer && waiting_ && here.now() >= due_) state(here, timer_step::entered);
  }
  void state(const cpu::logical_cpu& here, timer_step step) {
    on_.state(0, timer_bench_fact{on_.id(), 0, static_cast<std::uint16_t>(here.number()), step, round_, due_},
              here.last_cause());
  }

  kernel& on_;
  timer_parameters parameters_;
  random_stream random_;
  event event_{*this};
  thread* self_ = nullptr;
  cycles due_{0};
  std::uint64_t round_ = 0;
  bool waiting_ = false;
};

}  // namespace

std::unique_ptr<workload> add_timer(kernel& on, const timer_parameters& parameters, std::uint64_t seed) {
  return std::make_unique<timer_bench>(on, parameters, seed);
}

}  // namespace vmxsys::models
