#include <stdexcept>

#include <vmxsys/models/kernel/code.hpp>
#include <vmxsys/models/kernel/kernel_facts.hpp>

#include "bench_facts.hpp"
#include "workload.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

constexpr std::uint8_t bench_vector = 0xf7;  // X86_PLATFORM_IPI_VECTOR: no other use of a kernel's
constexpr cycles handler_work{50};

constexpr auto sender_text = code::kernel_text("ipi_bench", 0x22000, cpu::bucket::kernel);
constexpr auto handler_text = code::kernel_text("ipi_bench_handler", 0x22800, cpu::bucket::interrupt);

class ipi_bench final : public workload {
 public:
  ipi_bench(kernel& on, const ipi_parameters& parameters, std::uint64_t seed)
      : on_{on}, parameters_{parameters}, random_{seed, on.config().name + "/ipi"} {
    const unsigned others = on.config().cpus - 1;
    if (others == 0) throw std::invalid_argument("the workload ipi needs a CPU to send to");
    if (parameters.work.always_zero()) throw std::invalid_argument("the workload ipi needs work between two rounds");
    if (parameters.send == ipi_send::shorthand || parameters.targets == 0 || parameters.targets > others)
      parameters_.targets = others;
    for (unsigned t = 1; t <= parameters_.targets; ++t) {
      targets_.set(t);
      target_list_.push_back(t);
    }
    on.on_interrupt = [this](const cpu::logical_cpu& c, unsigned cpu, std::uint8_t vec) { entered(c, cpu, vec); };
    on.on_vector = [this](unsigned cpu, std::uint8_t vec) { return handler(cpu, vec); };
    on.add_thread("ipi/0", [this](thread& self) { return sender(self); }, sender_text, {0});
    if (parameters.halted_targets) return;
    for (unsigned t = 1; t <= parameters_.targets; ++t)
      on.add_thread("ipi/" + std::to_string(t), [](thread&) { return busy(); }, code::user_main, {t});
  }
  const char* name() const noexcept override { return "ipi"; }

 private:
  static cpu::program busy() {
    for (;;) co_await isa::compute(cycles{1'000'000'000});
  }

  cpu::program sender(thread& self) {
    for (;;) {
      co_await isa::compute(parameters_.work.draw(random_));
      if (waited_for_ != 0) continue;  // the last round is still on its way
      ++round_;
      waited_for_ = parameters_.targets;
      const cpu::logical_cpu& here = co_await isa::this_cpu();
      state(here, 0, ipi_step::issued);
      co_await send();
      state(here, 0, ipi_step::left);
      if (parameters_.send == ipi_send::call) state(here, 0, ipi_step::answered);
      on_.state(0, work_fact{on_.id(), 0, self.pid, 1});
    }
  }

  cpu::program send() {
    switch (parameters_.send) {
      case ipi_send::interrupt:
        if (parameters_.targets == 1)
          co_await on_.apic().send(1u, bench_vector);
        else
          co_await on_.apic().send(target_list_, bench_vector);
        break;
      case ipi_send::shorthand:
        co_await on_.apic().send_to_others(bench_vector);
        break;
      case ipi_send::call: {
        const auto call = [this]() -> cpu::program {
          const cpu::logical_cpu& here = co_await isa::this_cpu();
          co_await isa::compute_at(handler_text, handler_work);
          handled(here, on_.index_of(here));
        };
        if (parameters_.targets == 1)
          co_await on_.call_on(1u, call);
        else
          co_await on_.call_on(targets_, call);
        break;
      }
    }
  }

  cpu::program handler(unsigned cpu, std::uint8_t vec) {
    if (vec != bench_vector) co_return;
    const cpu::logical_cpu& here = co_await isa::this_cpu();
    co_await isa::compute_at(handler_text, handler_work);
    handled(here, cpu);
  }

  void entered(const cpu::logical_cpu& here, unsigned cpu, std::uint8_t vec) {
    if (cpu == 0) return;
    if (vec == bench_vector || vec == vector::call_function || vec == vector::call_function_single)
      state(here, cpu, ipi_step::entered);
  }
  void handled(const cpu::logical_cpu& here, unsigned cpu) {
    --waited_for_;
    state(here, cpu, ipi_step::handled);
  }
  void state(const cpu::logical_cpu& here, unsigned cpu, ipi_step step) {
    on_.state(cpu,
              ipi_bench_fact{on_.id(), static_cast<std::uint16_t>(cpu), static_cast<std::uint16_t>(here.number()), step,
                             round_},
              here.last_cause());
  }

  kernel& on_;
  ipi_parameters parameters_;
  random_stream random_;
  cpu::cpu_set targets_;
  std::vector<unsigned> target_list_;
  std::uint64_t round_ = 0;
  unsigned waited_for_ = 0;  // targets that have not handled this round yet
};

}  // namespace

std::unique_ptr<workload> add_ipi(kernel& on, const ipi_parameters& parameters, std::uint64_t seed) {
  return std::make_unique<ipi_bench>(on, parameters, seed);
}

}  // namespace vmxsys::models
