#include "spinlock.hpp"

#include <vmxsys/cpu/core/logical_cpu.hpp>

namespace vmxsys::models {

namespace {
constexpr std::uint64_t line = 64;
}  // namespace

unsigned lock_environment::this_cpu(const cpu::logical_cpu& cpu) const { return cpu.number(); }

cpu::word& lock_environment::take_line() { return machine_.physical().word_at(region_.take(line, line)); }

void lock_environment::prepare_queue_nodes() {
  if (nodes_.empty()) nodes_.resize(cpus_);
}

queue_node& lock_environment::node_of(unsigned cpu, unsigned level) {
  queue_node& node = nodes_.at(cpu).level[level];
  if (node.next == nullptr) {  // most CPUs never wait in an interrupt
    node.next = &take_line();
    node.locked = &machine_.physical().word_at(node.next->address() + 8);
  }
  return node;
}

spinlock::spinlock(std::uint8_t fact_kind, lock_environment& in)
    : environment_{in}, word_{in.take_line()}, fact_kind_{fact_kind} {}

void spinlock::set_truth(cpu::strand* holder, cpu::strand* next, cycles now) {
  holder_ = holder;
  cpu::strand* awaited = holder != nullptr ? holder : next;
  if (awaited != subject_.awaited()) subject_.await(awaited, now);
}

void spinlock::hand_over(cpu::strand& to, cycles now) { set_truth(&to, nullptr, now); }

spinlock::waiting spinlock::begin_wait(const cpu::strand& waiter) const {
  const cycles now = environment_.now();
  return {waiter.id(), holder_ == nullptr ? lock_wait_fact::nobody : holder_->id(), now, subject_.running(now)};
}

void spinlock::end_wait(const waiting& wait) {
  const cycles now = environment_.now();
  const cycles waited = now - wait.began;
  const cycles useful = subject_.running(now) - wait.running;
  environment_.machine().facts().record(
      environment_.fact_source(), now,
      lock_wait_fact{address(), fact_kind_, wait.waiter, wait.holder, wait.began, waited, waited - useful});
}

}  // namespace vmxsys::models
