#include "kernel.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "code.hpp"
#include "kernel_facts.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {
constexpr std::uint32_t apic_software_enable = 0x1FF;
constexpr std::uint32_t lvt_tsc_deadline = 2u << 17;
constexpr std::uint32_t icr_init = 0x4500;
constexpr std::uint32_t icr_startup = 0x4600;
constexpr std::uint8_t trampoline_page = 0x99;
constexpr cycles bring_up_work{20'000};
constexpr cycles bring_up_poll{2'000};

std::unique_ptr<apic_driver> make_driver(const selection<apic_driver_entry>& chosen, unsigned cpus) {
  const unsigned most = chosen.entry().most_cpus;
  if (cpus > most)
    throw std::invalid_argument("APIC driver '" + std::string{chosen.name()} + "' addresses " + std::to_string(most) +
                                " CPUs, not " + std::to_string(cpus));
  return chosen.make(cpus);
}
}  // namespace

/// What the locks of a kernel need of it.
class kernel::environment final : public lock_environment {
 public:
  explicit environment(kernel& of)
      : lock_environment{of.hw_, of.memory_, of.config_.cpus, of.hw_.add_fact_source()}, of_{of} {}
  unsigned this_cpu(const cpu::logical_cpu& c) const override { return of_.index_of(c); }

 private:
  kernel& of_;
};

kernel::kernel(cpu::machine& hw, kernel_config config)
    : hw_{hw},
      config_{std::move(config)},
      id_{static_cast<std::uint16_t>(hw.names().add_kernel())},
      data_base_{hw.names().add_data_areas(config_.cpus)},
      idtr_base_{hw.names().add(*this)},
      memory_{config_.memory_base, config_.memory_bytes},
      locks_{std::make_unique<environment>(*this)},
      policy_{config_.scheduler.make(scheduler_environment{config_.cpus, config_.tsc_khz})},
      apic_{make_driver(config_.apic, config_.cpus)},
      idle_{config_.idle.make(idle_environment{config_.cpus, config_.tsc_khz})},
      cpus_(config_.cpus) {
  for (unsigned i = 0; i < config_.cpus; ++i) {
    per_cpu& p = cpus_[i];
    p.index = i;
    p.source = hw.add_fact_source();
    p.idle = std::make_unique<thread>(hw.names(), "swapper/" + std::to_string(i), 0);
    p.current = p.idle.get();
    p.queue_lock = make_lock();
    p.balance = balance_state{config_.cpus};
  }
}

kernel::~kernel() { abandon_threads(); }

nanoseconds kernel::to_ns(cycles c) const { return to_nanoseconds(c, config_.tsc_khz); }

cycles kernel::from_ns(nanoseconds ns) const {
  const std::uint64_t khz = config_.tsc_khz;
  return cycles{ns / 1'000'000 * khz + ns % 1'000'000 * khz / 1'000'000};
}

bool kernel::idle(unsigned cpu) const { return cpus_[cpu].current == cpus_[cpu].idle.get() && nr_running(cpu) == 0; }

bool kernel::shares_cache(unsigned a, unsigned b) const {
  const cpu::topology& shape = hw_.config().shape;
  if (config_.cpus != shape.cpus()) return true;  // a guest that sees one package
  return shape.socket_of(a) == shape.socket_of(b);
}

unsigned kernel::cache_size() const {
  const cpu::topology& shape = hw_.config().shape;
  return config_.cpus == shape.cpus() ? shape.cores * shape.threads : config_.cpus;
}

// -- bringing CPUs up -------------------------------------------------------------------------------------------------

thread& kernel::add_thread(std::string name, std::function<cpu::program(thread&)> body, const cpu::code_location& where,
                           std::vector<unsigned> affinity) {
  threads_.push_back(std::make_unique<thread>(hw_.names(), std::move(name), next_pid_++));
  thread& t = *threads_.back();
  t.entity = policy_->make_entity(t.pid, 0);
  t.entity->owner = &t;
  if (!affinity.empty()) {
    t.entity->affinity.assign(config_.cpus, false);
    for (unsigned c : affinity) t.entity->affinity.at(c) = true;
    t.entity->cpu = affinity.front();
  }
  t.body = std::move(body);
  t.strand.start(thread_main(t), where);
  return t;
}

void kernel::abandon_threads() {
  for (auto& t : threads_) t->strand.abandon();
  for (per_cpu& p : cpus_) p.idle->strand.abandon();
}

cpu::strand& kernel::boot_cpu(unsigned index) {
  cpu::strand& s = cpus_.at(index).idle->strand;
  if (s.depth() == 0) s.start(boot_program(index), index == 0 ? code::start_kernel : code::start_secondary);
  return s;
}

cpu::strand& kernel::boot(cpu::logical_cpu& c, physical_address) { return boot_cpu(c.number()); }

// What was needed to come up is gone when the CPU idles: a big machine has many of these.
cpu::program kernel::boot_program(unsigned index) {
  co_await bring_up(index);
  co_await idle_loop(index);
}

cpu::program kernel::bring_up(unsigned index) {
  cpu::logical_cpu& c = co_await isa::this_cpu();
  c.set_idtr_base(idtr_base_);
  c.set_gs_base(gs_base_of(index));
  cpus_[index].idle->on_cpu = true;
  co_await isa::compute(bring_up_work);
  for (unsigned leaf = 0; leaf < boot_cpuids; ++leaf) co_await isa::cpuid(leaf);
  co_await apic_->prepare(index);
  co_await apic_->write(apic::msr::svr, apic_software_enable);
  co_await apic_->write(apic::msr::lvt_timer, lvt_tsc_deadline | vector::local_timer);
  if (on_cpu_up) co_await on_cpu_up(index);
  cpus_[index].online = true;
  ++online_;
  if (index == 0) {
    for (unsigned other = 1; other < config_.cpus; ++other) {
      co_await apic_->command(other, icr_init);
      co_await isa::compute(bring_up_poll);
      co_await apic_->command(other, icr_startup | trampoline_page);
    }
    while (online_ < config_.cpus) {
      co_await isa::sti();  // a guest's start-up may need this CPU's host to take interrupts
      co_await isa::compute(bring_up_poll);
      co_await isa::cli();
    }
    co_await start_threads();
  }
}

cpu::program kernel::start_threads() {
  for (auto& t : threads_) {
    const unsigned target =
        t->entity->affinity.empty() ? select_cpu_for_fork(*this, 0, t->entity.get()) : t->entity->cpu;
    per_cpu& p = cpus_[target];
    co_await p.queue_lock->acquire();
    policy_->enqueue(target, *t->entity, enqueue_reason::fork, now_ns());
    co_await isa::compute(costs().enqueue);
    co_await resched(target);
    co_await p.queue_lock->release();
  }
}

cpu::program kernel::thread_main(thread& t) {
  co_await begin_thread();
  co_await t.body(t);
  co_await end_thread(t);
}

cpu::program kernel::begin_thread() {
  co_await finish_switch();
  co_await isa::sti();
}

cpu::program kernel::end_thread(thread& t) {
  for (;;) {
    co_await isa::cli();
    prepare_to_sleep(t);
    co_await schedule();
  }
}

cpu::program kernel::idle_loop(unsigned index) {
  auto here = co_await isa::in(code::do_idle);
  per_cpu& p = cpus_[index];
  for (;;) {
    if (p.need_resched) {
      co_await schedule();
    } else {
      co_await idle_->idle(*this, index);
    }
  }
}

cpu::program kernel::stop_tick(unsigned cpu) {
  per_cpu& p = cpus_[cpu];
  p.tick_armed = false;
  return program_deadline(p);
}

// -- small pieces -----------------------------------------------------------------------------------------------------

isa::conditional<isa::located_compute> kernel::trace() {
  return isa::when(config_.tracing, isa::compute_at(code::trace_event, costs().tracepoint));
}

cpu::program kernel::load_extended_state(thread& self) {
  if (!self.extended_state || self.extended_state_loaded) co_return;
  auto here = co_await isa::in(code::fpu_switch);
  co_await isa::xrstor();
  self.extended_state_loaded = true;
}

// -- interrupts -------------------------------------------------------------------------------------------------------

cpu::program kernel::entry(cpu::logical_cpu&, std::uint8_t vec) {
  co_await handle_irq(vec);
  const cpu::strand& s = co_await isa::this_strand();
  const unsigned cpu = index_of(co_await isa::this_cpu());
  // A kernel without full preemption reschedules on its way back to user mode only.
  if (s.interrupted_location().cpl == 3 && cpus_[cpu].need_resched) co_await schedule();
}

cpu::program kernel::cond_resched() {
  const unsigned cpu = index_of(co_await isa::this_cpu());
  if (!cpus_[cpu].need_resched) co_return;
  co_await isa::cli();
  co_await schedule();
  co_await isa::sti();
}

cpu::program kernel::handle_irq(std::uint8_t vec) {
  auto here = co_await isa::in(code::irq_enter);
  const cpu::logical_cpu& on = co_await isa::this_cpu();
  const unsigned cpu = index_of(on);
  per_cpu& p = cpus_[cpu];
  if (on_interrupt) on_interrupt(on, cpu, vec);
  co_await isa::compute(costs().interrupt_entry);
  co_await apic_->write(apic::msr::eoi, 0);
  // Linux' number of it, for IPIs and the timer alike.
  const bool timer = vec == vector::local_timer;
  switch (timer ? vec : vec + config_.ipi_vector_shift) {
    case vector::local_timer:
      co_await timer_interrupt();
      break;
    case vector::reschedule:
      break;  // need_resched says it all
    case vector::call_function_single:
      co_await run_calls(p, code::call_function_single_interrupt);
      if (std::exchange(p.deadline_moved, false)) co_await program_deadline(p);
      break;
    case vector::call_function:
      co_await run_calls(p, code::call_function_interrupt);
      break;
    default:
      if (on_vector) co_await on_vector(cpu, vec);
  }
  co_await isa::compute(costs().interrupt_exit);
}

// -- time -------------------------------------------------------------------------------------------------------------

cpu::program kernel::timer_interrupt() {
  auto here = co_await isa::in(code::timer_interrupt);
  per_cpu& p = cpus_[index_of(co_await isa::this_cpu())];
  p.armed_deadline = cycles::never();
  for (;;) {
    const cycles now = hw_.time().now();
    const auto due = std::min_element(p.timers.begin(), p.timers.end(), [](const timer_event* x, const timer_event* y) {
      return x->due_ != y->due_ ? x->due_ < y->due_ : x->number_ < y->number_;
    });
    if (due == p.timers.end() || (*due)->due_ > now) break;
    timer_event& t = **due;
    p.timers.erase(due);
    t.due_ = cycles::never();
    co_await isa::compute(costs().hrtimer);
    co_await t.expire();
  }
  if (p.tick_armed && p.tick_due <= hw_.time().now()) co_await tick(p);
  co_await program_deadline(p);
}

cpu::program kernel::tick(per_cpu& p) {
  auto here = co_await isa::in(code::scheduler_tick);
  ++p.ticks;
  while (p.tick_due <= hw_.time().now()) p.tick_due += tick_period();
  co_await isa::compute(costs().tick);
  if (!p.current->idle()) {
    co_await p.queue_lock->acquire();
    const bool resched = policy_->tick(p.index, now_ns());
    co_await p.queue_lock->release();
    if (resched && !p.need_resched) p.need_resched = p.preempt_requested = true;
  }
  if (p.ticks >= p.next_balance) {
    co_await pull_task(p, balance_reason::periodic);
    p.next_balance = p.ticks + balance_interval_jiffies(p.balance.interval_ms(), !p.current->idle(), config_.cpus,
                                                        {.hz = config_.hz});
  }
}

/// Where in its period this kernel ticks: kernels of one machine have booted at different times.
std::uint64_t kernel::tick_phase() const {
  std::uint64_t h = 0xcbf29ce484222325ULL + id_;
  for (char c : config_.name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return (h >> 16) % tick_period().count();
}

// Ticks of different CPUs are spread over the period, so that no CPU's always comes first.
cpu::program kernel::start_tick(per_cpu& p) {
  const std::uint64_t period = tick_period().count();
  const std::uint64_t offset = (tick_phase() + period / config_.cpus * p.index) % period;
  const std::uint64_t now = hw_.time().now().count();
  p.tick_armed = true;
  p.tick_due = cycles{now < offset ? offset : offset + ((now - offset) / period + 1) * period};
  co_await program_deadline(p);
}

cpu::program kernel::program_deadline(per_cpu& p) {
  cycles next = p.tick_armed ? p.tick_due : cycles::never();
  for (const timer_event* t : p.timers) next = min(next, t->due_);
  if (next == p.armed_deadline) co_return;
  p.armed_deadline = next;
  co_await isa::wrmsr(apic::msr::tsc_deadline, next == cycles::never() ? 0 : next.count());
}

cpu::program kernel::arm(timer_event& timer, cycles due) {
  cancel(timer);
  per_cpu& p = cpus_[index_of(co_await isa::this_cpu())];
  timer.due_ = due;
  timer.cpu_ = p.index;
  if (timer.number_ == 0) timer.number_ = ++timers_known_;
  p.timers.push_back(&timer);
  if (due < p.armed_deadline) co_await program_deadline(p);
}

cpu::program kernel::arm_on(unsigned cpu, timer_event& timer, cycles due) {
  const unsigned here = index_of(co_await isa::this_cpu());
  if (cpu == here) {
    co_await arm(timer, due);
    co_return;
  }
  cancel(timer);
  per_cpu& p = cpus_[cpu];
  timer.due_ = due;
  timer.cpu_ = cpu;
  if (timer.number_ == 0) timer.number_ = ++timers_known_;
  p.timers.push_back(&timer);
  if (due >= p.armed_deadline || p.deadline_moved) co_return;
  p.deadline_moved = true;
  co_await send_ipi(cpu, ipi(vector::call_function_single));
}

void kernel::cancel(timer_event& timer) {
  if (!timer.armed()) return;
  std::erase(cpus_[timer.cpu_].timers, &timer);
  timer.due_ = cycles::never();
}

}  // namespace vmxsys::models
