#include "spinlock.hpp"

#include <iterator>
#include <stdexcept>

#include <vmxsys/cpu/core/logical_cpu.hpp>

#include "queued_lock.hpp"
#include "test_and_set_lock.hpp"
#include "ticket_lock.hpp"

namespace vmxsys::models {

namespace {
constexpr std::uint64_t line = 64;
constexpr const char* kind_names[] = {"test_and_set", "ticket", "queued"};
}  // namespace

const char* to_string(lock_kind kind) noexcept { return kind_names[static_cast<std::size_t>(kind)]; }

std::optional<lock_kind> lock_kind_named(std::string_view name) noexcept {
  for (std::size_t i = 0; i < std::size(kind_names); ++i)
    if (name == kind_names[i]) return static_cast<lock_kind>(i);
  return std::nullopt;
}

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

spinlock::spinlock(lock_kind kind, lock_environment& in) : environment_{in}, word_{in.take_line()}, kind_{kind} {}

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
  environment_.machine().facts().state(
      environment_.fact_source(), now,
      lock_wait_fact{address(), kind_, wait.waiter, wait.holder, wait.began, waited, waited - useful});
}

std::unique_ptr<spinlock> make_spinlock(lock_kind kind, lock_environment& in) {
  switch (kind) {
    case lock_kind::test_and_set:
      return std::make_unique<test_and_set_lock>(in);
    case lock_kind::ticket:
      return std::make_unique<ticket_lock>(in);
    case lock_kind::queued:
      return std::make_unique<queued_lock>(in);
  }
  throw std::invalid_argument("no such kind of spinlock");
}

}  // namespace vmxsys::models
