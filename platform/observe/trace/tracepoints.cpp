#include "tracepoints.hpp"

#include <algorithm>
#include <stdexcept>

#include <vmxsys/models/kernel/kernel_facts.hpp>
#include <vmxsys/models/kvm/kvm_facts.hpp>

#include "tracepoint_patterns.hpp"

namespace vmxsys::platform {

namespace {

namespace trace = models::trace;
constexpr auto version = trace::trace_version::v5_6;

/// What a payload needs beside the fact.
struct context {
  const traced_kernel& kernel;
  const std::unordered_set<std::uint32_t>& slept;  ///< vCPU threads, since their last VM exit
};

std::string kvm_entry(const models::kvm_entry_fact& f, const context&) {
  trace::kvm_entry_event e;
  e.vcpu = f.vcpu;
  e.rip = f.rip;
  return trace::kvm_entry(version, e);
}

std::string kvm_exit(const models::kvm_exit_fact& f, const context&) {
  trace::kvm_exit_event e;
  e.vcpu = f.vcpu;
  e.reason = static_cast<std::uint32_t>(f.reason);
  e.rip = f.rip;
  e.info1 = f.qualification;
  e.intr_info = f.interruption_information;
  return trace::kvm_exit(version, e);
}

std::string kvm_inj_virq(const models::inject_fact& f, const context&) {
  return trace::kvm_inj_virq(version, f.vector, false, false);
}

// Machines of this room have no I/O APIC, and their kernels send fixed interrupts.
std::string kvm_apicv_accept_irq(const models::post_fact& f, const context&) {
  constexpr unsigned fixed = 0;
  constexpr bool level_triggered = false;
  return trace::kvm_apic_accept_irq(f.vcpu, f.vector, fixed, level_triggered);
}

std::string kvm_ple_window_update(const models::ple_window_fact& f, const context&) {
  return trace::ple_window(version, f.vcpu, f.from, f.to, f.to > f.from);
}

std::string kvm_vcpu_wakeup(const models::vcpu_block_fact& f, const context& c) {
  const bool waited = c.slept.count(c.kernel.vcpu_pid(f.vm, f.vcpu)) != 0;
  constexpr bool polling_valid = true;  // always on x86
  return trace::kvm_vcpu_wakeup(waited, static_cast<std::int64_t>(c.kernel.to_ns(f.duration)), polling_valid);
}

std::string kvm_wait_lapic_expire(const models::wait_lapic_expire_fact& f, const context&) {
  return trace::kvm_wait_lapic_expire(f.vcpu, f.delta);
}

std::string sched_switch(const models::sched_switch_fact& f, const context& c) {
  // The idle thread gives way by itself (schedule_idle): that is no preemption.
  const char state = f.prev_state == 'P' && f.prev_pid == 0 ? 'R' : f.prev_state;
  const std::string letters = state == 'P' ? "R+" : std::string(1, state);
  return trace::sched_switch(c.kernel.task(f.prev_pid, f.cpu), letters, c.kernel.task(f.next_pid, f.cpu));
}

std::string sched_wakeup(const models::sched_wakeup_fact& f, const context& c) {
  return trace::sched_wakeup(version, c.kernel.task(f.pid, f.target_cpu), f.target_cpu);
}

std::string sched_migrate_task(const models::sched_migrate_fact& f, const context& c) {
  return trace::sched_migrate_task(c.kernel.task(f.pid, f.to), f.from, f.to);
}

struct tracepoint {
  std::string_view name;
  std::string_view description;
  const cpu::fact_kind* fact;
  std::string (*payload)(const cpu::fact_view& fact, const context& c);
};

template <class F, std::string (*payload)(const F&, const context&)>
constexpr tracepoint row(std::string_view name, std::string_view description) {
  return {name, description, &cpu::kind_of<F>,
          [](const cpu::fact_view& fact, const context& c) { return payload(*fact.as<F>(), c); }};
}

constexpr tracepoint table[] = {
    row<models::kvm_entry_fact, kvm_entry>("kvm:kvm_entry", "a vCPU is about to enter its guest"),
    row<models::kvm_exit_fact, kvm_exit>("kvm:kvm_exit",
                                         "right after a VM exit: reason, RIP, qualification, interruption information"),
    row<models::inject_fact, kvm_inj_virq>("kvm:kvm_inj_virq", "an interrupt is injected by the next entry"),
    row<models::post_fact, kvm_apicv_accept_irq>("kvm:kvm_apicv_accept_irq", "software has posted an interrupt"),
    row<models::ple_window_fact, kvm_ple_window_update>("kvm:kvm_ple_window_update",
                                                        "the PLE window of a vCPU grows or shrinks"),
    row<models::vcpu_block_fact, kvm_vcpu_wakeup>("kvm:kvm_vcpu_wakeup",
                                                  "a vCPU that had nothing to do goes on, and how long that took"),
    row<models::wait_lapic_expire_fact, kvm_wait_lapic_expire>(
        "kvm:kvm_wait_lapic_expire", "how early or late an entry is for a timer that expired in advance"),
    row<models::sched_switch_fact, sched_switch>("sched:sched_switch", "a CPU of the host switches threads"),
    row<models::sched_wakeup_fact, sched_wakeup>("sched:sched_wakeup", "a thread of the host is woken"),
    row<models::sched_migrate_fact, sched_migrate_task>("sched:sched_migrate_task",
                                                        "a thread of the host moves to another run queue"),
};

}  // namespace

std::vector<choice> known_tracepoints() {
  std::vector<choice> result;
  for (const tracepoint& t : table) result.push_back({std::string{t.name}, std::string{t.description}});
  return result;
}

tracepoint_stream::tracepoint_stream(const observed_machine& of, const std::vector<std::string>& patterns)
    : kernel_{of} {
  if (const std::string fault = tracepoint_fault(patterns, known_tracepoints()); !fault.empty())
    throw std::invalid_argument{fault};
  for (std::size_t i = 0; i < std::size(table); ++i) {
    const auto names_it = [&](const std::string& pattern) { return names_tracepoint(pattern, table[i].name); };
    if (std::none_of(patterns.begin(), patterns.end(), names_it)) continue;
    chosen_.push_back(i);
    width_ = std::max(width_, table[i].name.size());
  }
}

std::optional<tracepoint_event> tracepoint_stream::next(const cpu::fact_view& fact) {
  const std::optional<unsigned> cpu = kernel_.cpu_of(fact);
  if (!cpu) return std::nullopt;
  const cpu::fact_header& h = fact.header();
  std::optional<tracepoint_event> event;
  for (const std::size_t i : chosen_) {
    if (table[i].fact != h.kind) continue;
    event = {table[i].name, table[i].payload(fact, {kernel_, slept_}), *cpu, kernel_.to_ns(h.at),
             kernel_.current(*cpu)};
    break;
  }
  follow_sleep(fact);
  return event;
}

// A spin policy may put a vCPU to sleep while it handles a PAUSE exit, so an exit begins anew.
void tracepoint_stream::follow_sleep(const cpu::fact_view& fact) {
  if (const auto* f = fact.as<models::kvm_exit_fact>()) {
    slept_.erase(f->pid);
  } else if (const auto* s = fact.as<models::sched_switch_fact>()) {
    if (s->prev_state == 'S') slept_.insert(s->prev_pid);
  }
}

}  // namespace vmxsys::platform
