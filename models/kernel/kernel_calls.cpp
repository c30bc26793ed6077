#include <utility>

#include "code.hpp"
#include "kernel.hpp"

// Calls between the CPUs of one kernel, and what is built on them. Source: kernel/smp.c and arch/x86/mm/tlb.c, v6.1.
// How many ICR writes interrupt several CPUs is the APIC driver's; the queue's own line is not modelled.
namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

constexpr auto while_locked = cpu::spin_predicate{~std::uint64_t{0}, 1, true};

void must_be_interruptible(const cpu::logical_cpu& caller) {
  if (!caller.interrupts_enabled())
    throw cpu::invariant_error("a CPU calls another with interrupts off; two that do so would wait for ever",
                               caller.now());
}

}  // namespace

cpu::program kernel::call_on(unsigned cpu, std::function<cpu::program()> call) {
  auto here = co_await isa::in(code::smp_call_function_single);
  const cpu::logical_cpu& caller = co_await isa::this_cpu();
  per_cpu& self = cpus_[index_of(caller)];
  if (cpu == self.index) {
    co_await run_here(call);
    co_return;
  }
  if (!online(cpu)) co_return;
  must_be_interruptible(caller);
  cpu::word& lock = call_lock(calls_of(self).lock);
  co_await isa::store(lock, 1);
  const bool alone = queue_call(cpu, {&call, &lock});
  if (alone) co_await send_ipi(cpu, ipi(vector::call_function_single));
  co_await isa::spin_while(lock, while_locked, code::csd_lock_wait_single, &calls_of(cpus_[cpu]).occupant);
}

cpu::program kernel::call_on(cpu::cpu_set cpus, std::function<cpu::program()> call) {
  auto here = co_await isa::in(code::smp_call_function_many);
  const cpu::logical_cpu& caller = co_await isa::this_cpu();
  per_cpu& self = cpus_[index_of(caller)];
  std::vector<cpu::word*>& locks = calls_of(self).locks;
  locks.resize(config_.cpus);
  std::vector<unsigned> others;
  cpus.for_each([&](unsigned c) {
    if (c != self.index && online(c)) others.push_back(c);
  });
  if (!others.empty()) must_be_interruptible(caller);

  std::vector<unsigned> to_interrupt;
  for (const unsigned target : others) {
    cpu::word& lock = call_lock(locks[target]);
    co_await isa::store(lock, 1);
    const bool alone = queue_call(target, {&call, &lock});
    if (alone) to_interrupt.push_back(target);
  }
  co_await interrupt(to_interrupt);
  if (cpus.test(self.index)) co_await run_here(call);
  for (const unsigned target : others)
    co_await isa::spin_while(*locks[target], while_locked, code::csd_lock_wait_many, &calls_of(cpus_[target]).occupant);
}

// arch_send_call_function_single_ipi, arch_send_call_function_ipi_mask.
cpu::program kernel::interrupt(const std::vector<unsigned>& targets) {
  if (targets.empty()) co_return;
  if (targets.size() == 1) {
    co_await apic_->send(targets.front(), ipi(vector::call_function_single));
  } else if (config_.ipi_shorthands && targets.size() + 1 == online_) {
    co_await apic_->send_to_others(ipi(vector::call_function));
  } else {
    co_await apic_->send(targets, ipi(vector::call_function));
  }
}

cpu::program kernel::run_here(const std::function<cpu::program()>& call) {
  const bool enabled = co_await irq_save();
  co_await call();
  co_await irq_restore(enabled);
}

// The handler of both vectors: all that is queued by now. What comes later finds an empty queue and interrupts again.
// The store releases the caller, and with it the function.
cpu::program kernel::run_calls(per_cpu& p, const cpu::code_location& handler) {
  auto here = co_await isa::in(handler);
  const std::vector<call_single_data> queued = std::exchange(calls_of(p).queued, {});
  for (const call_single_data& c : queued) {
    co_await (*c.call)();
    co_await isa::store(*c.lock, 0);
  }
}

// True if nothing was queued there: what was has brought an interrupt already, and its handler will find this, too.
bool kernel::queue_call(unsigned on, call_single_data call) {
  std::vector<call_single_data>& queued = calls_of(cpus_[on]).queued;
  queued.push_back(call);
  return queued.size() == 1;
}

kernel::call_data& kernel::calls_of(per_cpu& p) {
  if (!p.calls) {
    p.calls = std::make_unique<call_data>();
    thread& there = p.switched_from != nullptr ? *p.switched_from : *p.current;  // until the stacks are switched
    p.calls->occupant.await(&there.strand, hw_.time().now());
  }
  return *p.calls;
}

// Most CPUs never call most others, so a lock has its line from its first use on.
cpu::word& kernel::call_lock(cpu::word*& known) {
  if (known == nullptr) known = &hw_.physical().word_at(memory_.take(64, 64));
  return *known;
}

cpu::program kernel::flush_tlb(std::uint32_t address_space) {
  auto here = co_await isa::in(code::flush_tlb_mm_range);
  cpu::cpu_set concerned;
  for (const per_cpu& p : cpus_)
    if (p.current->address_space == address_space) concerned.set(p.index);
  const auto invalidate = [this, address_space]() -> cpu::program {
    const thread& running = current(index_of(co_await isa::this_cpu()));
    if (running.address_space == address_space) co_await isa::compute(costs().tlb_flush);
  };
  co_await call_on(concerned, invalidate);
}

}  // namespace vmxsys::models
