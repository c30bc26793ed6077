#include <ostream>

#include <vmxsys/models/kernel/kernel_facts.hpp>

#include "sched_map.hpp"
#include "trace_sink.hpp"
#include "traced_kernel.hpp"

namespace vmxsys::platform {

namespace {

/// A line for each context switch of the host, or on bare metal of the only kernel, in the order of time.
class sched_map_trace final : public trace_sink {
 public:
  explicit sched_map_trace(const trace_environment& e) : kernel_{e.machine}, to_{e.to}, picture_{kernel_.cpus()} {}

  void observe(const cpu::fact_view& fact) override {
    const auto* f = fact.as<models::sched_switch_fact>();
    if (f == nullptr || !kernel_.cpu_of(fact)) return;
    const models::trace::task_name next = kernel_.task(f->next_pid, f->cpu);
    to_ << picture_.on_switch(f->cpu, next.pid, next.comm, kernel_.to_ns(fact.header().at)) << '\n';
  }

 private:
  traced_kernel kernel_;
  std::ostream& to_;
  models::trace::sched_map picture_;
};

}  // namespace

extern const trace_format_entry sched_map_entry = entry_without<trace_format_entry>(
    "sched_map", "the host's context switches as `perf sched map` draws them: a column per CPU, two letters a thread",
    [](const void*, const trace_environment& e) -> std::unique_ptr<trace_sink> {
      return std::make_unique<sched_map_trace>(e);
    });

}  // namespace vmxsys::platform
