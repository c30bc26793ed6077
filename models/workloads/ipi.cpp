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

enum class ipi_send : std::uint8_t { interrupt, shorthand, call };
constexpr std::array send_names{
    named{"interrupt", "one interrupt for each target, as the kernel's APIC driver sends it; the sender goes on"},
    named{"shorthand", "one write of the ICR for all others; the sender goes on"},
    named{"call", "a function call on all targets, for which the sender waits (smp_call_function)"}};

struct ipi_options {
  ipi_send send = ipi_send::interrupt;
  unsigned targets = 1;
  distribution work = distribution::exponential(duration::us(10));
  bool halted = false;
};
constexpr std::array rows{
    row<&ipi_options::send>("send", names<send_names>, "how CPU 0 interrupts its targets"),
    row<&ipi_options::targets>("targets", "CPUs", 0, 1023, "CPUs 1 to this one are interrupted; 0 is all others"),
    row<&ipi_options::work>("work", "computing of the sender between two rounds").at_least_one_cycle(),
    row<&ipi_options::halted>("halted", "targets idle between rounds; otherwise they compute in user mode")};

constexpr std::uint8_t bench_vector = 0xf7;  // X86_PLATFORM_IPI_VECTOR: no other use of a kernel's
constexpr cycles handler_work{50};

constexpr auto sender_text = code::kernel_text("ipi_bench", 0x22000, cpu::bucket::kernel);
constexpr auto handler_text = code::kernel_text("ipi_bench_handler", 0x22800, cpu::bucket::interrupt);

/// A kernel thread on CPU 0 sends rounds to CPUs 1 .. `targets`; each target records when its handler begins and when
/// it has run (`ipi_bench_fact`). A round begins when the one before it is over everywhere.
class ipi_bench final : public workload {
 public:
  ipi_bench(kernel& on, const ipi_options& o, const workload_environment& e)
      : on_{on},
        send_{o.send},
        targets_{o.targets},
        work_{duration_distribution::of(o.work, e.tsc_khz)},
        random_{e.seed, on.config().name + "/ipi"} {
    const unsigned others = on.config().cpus - 1;
    if (others == 0) throw std::invalid_argument("the workload ipi needs a CPU to send to");
    if (work_.always_zero()) throw std::invalid_argument("the workload ipi needs work between two rounds");
    if (send_ == ipi_send::shorthand || targets_ == 0 || targets_ > others) targets_ = others;
    for (unsigned t = 1; t <= targets_; ++t) {
      target_set_.set(t);
      target_list_.push_back(t);
    }
    on.on_interrupt = [this](const cpu::logical_cpu& c, unsigned cpu, std::uint8_t vec) { entered(c, cpu, vec); };
    on.on_vector = [this](unsigned cpu, std::uint8_t vec) { return handler(cpu, vec); };
    on.add_thread("ipi/0", [this](thread& self) { return sender(self); }, sender_text, {0});
    if (o.halted) return;
    for (unsigned t = 1; t <= targets_; ++t)
      on.add_thread("ipi/" + std::to_string(t), [](thread&) { return busy(); }, code::user_main, {t});
  }

 private:
  static cpu::program busy() {
    for (;;) co_await isa::compute(cycles{1'000'000'000});
  }

  cpu::program sender(thread& self) {
    for (;;) {
      co_await isa::compute(work_.draw(random_));
      if (waited_for_ != 0) continue;  // the last round is still on its way
      ++round_;
      waited_for_ = targets_;
      const cpu::logical_cpu& here = co_await isa::this_cpu();
      record(here, 0, ipi_step::issued);
      co_await send();
      record(here, 0, ipi_step::left);
      if (send_ == ipi_send::call) record(here, 0, ipi_step::answered);
      on_.record(0, work_fact{on_.id(), 0, self.pid, 1});
    }
  }

  cpu::program send() {
    switch (send_) {
      case ipi_send::interrupt:
        if (targets_ == 1)
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
        if (targets_ == 1)
          co_await on_.call_on(1u, call);
        else
          co_await on_.call_on(target_set_, call);
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
    if (vec == bench_vector || vec == on_.ipi(vector::call_function) || vec == on_.ipi(vector::call_function_single))
      record(here, cpu, ipi_step::entered);
  }
  void handled(const cpu::logical_cpu& here, unsigned cpu) {
    --waited_for_;
    record(here, cpu, ipi_step::handled);
  }
  void record(const cpu::logical_cpu& here, unsigned cpu, ipi_step step) {
    on_.record(cpu,
               ipi_bench_fact{on_.id(), static_cast<std::uint16_t>(cpu), static_cast<std::uint16_t>(here.number()),
                              step, round_},
               here.last_cause());
  }

  kernel& on_;
  ipi_send send_;
  unsigned targets_;
  duration_distribution work_;
  random_stream random_;
  cpu::cpu_set target_set_;
  std::vector<unsigned> target_list_;
  std::uint64_t round_ = 0;
  unsigned waited_for_ = 0;  // targets that have not handled this round yet
};

void check(const void* given, unsigned vcpus, std::vector<option_fault>& faults) {
  const unsigned targets = options_as<ipi_options>(given).targets;
  if (vcpus < 2)
    faults.push_back({"targets", "there is no other CPU to send to", ""});
  else if (targets >= vcpus)
    faults.push_back({"targets", "more CPUs than the " + std::to_string(vcpus - 1) + " others of the VM", ""});
}

}  // namespace

extern const workload_entry ipi_entry = entry_with<workload_entry, ipi_options, rows>(
    "ipi", "a microbenchmark: CPU 0 interrupts others, round after round, and they note when it reached them",
    [](const void* given, kernel& on, const workload_environment& e) -> std::unique_ptr<workload> {
      return std::make_unique<ipi_bench>(on, options_as<ipi_options>(given), e);
    },
    check);

}  // namespace vmxsys::models
